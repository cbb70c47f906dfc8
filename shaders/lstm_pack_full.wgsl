// What projections and layer normalisation add to the arrangement of lstm_pack, for each layer and direction; what lies beyond
// the last unit or column is zero:
//   W_hr forward [j][p / 4] = W_hr[p .. p + 4][j], backward [p][j / 4] = W_hr[p][j .. j + 4]
//   [3][j] = (i, f, g, o) of γ and of b_ih + b_hh, and (γ_c, β_c)
// One invocation per four elements of W_hr, at least one per unit; one layer of the grid per layer and direction of the stack.

struct Params {
    hidden: u32,
    width: u32,
    padded: u32,  // hidden, rounded up to fours
    wide: u32,    // width, likewise
    place: u32,   // of the first W_hh; those after it lie `apart`
    apart: u32,
    early: u32,   // up to this number; from there on
    late_place: u32,
    late_apart: u32,
    projected: u32,
    w_hr: u32,    // places of W_hr, of γ [4H], γ_c, β_c [H], and of the biases, if there are: from W_hh on
    normed: u32,
    gains: u32,
    biases: u32,
    b_ih: u32,
    b_hh: u32,
    to_w_hr: u32,
    to_gains: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read_write> packed: array<vec4f>;  // [L · R][2][padded · wide / 4] at to_w_hr,
                                                                      // [L · R][3, padded] at to_gains

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let index = flat_index(group, groups, 64u, local);
    let len = params.padded * params.wide / 4u;
    let cell = group.z;
    var place = params.place + cell * params.apart;
    if cell >= params.early {
        place = params.late_place + (cell - params.early) * params.late_apart;
    }
    if params.projected != 0u && index < len {
        let columns = params.wide / 4u;
        let units = params.padded / 4u;
        var forward: vec4f;
        var backward: vec4f;
        for (var q = 0u; q < 4u; q++) {
            forward[q] = projection(place, 4u * (index % columns) + q, index / columns);
            backward[q] = projection(place, index / units, 4u * (index % units) + q);
        }
        packed[params.to_w_hr + 2u * cell * len + index] = forward;
        packed[params.to_w_hr + (2u * cell + 1u) * len + index] = backward;
    }
    if params.normed != 0u && index < params.padded {
        let to = params.to_gains + 3u * cell * params.padded + index;
        let gains = place + params.gains;
        packed[to] = four(gains, index);
        packed[to + params.padded] = vec4f();
        if params.biases != 0u {
            packed[to + params.padded] = four(place + params.b_ih, index) + four(place + params.b_hh, index);
        }
        packed[to + 2u * params.padded] = vec4f();
        if index < params.hidden {
            let at = gains + 4u * params.hidden + index;
            packed[to + 2u * params.padded] = vec4f(weights[at], weights[at + params.hidden], 0.0, 0.0);
        }
    }
}

fn projection(place: u32, p: u32, j: u32) -> f32 {
    if p >= params.width || j >= params.hidden {
        return 0.0;
    }
    return weights[place + params.w_hr + p * params.hidden + j];
}

// One unit's four gates.
fn four(place: u32, j: u32) -> vec4f {
    if j >= params.hidden {
        return vec4f();
    }
    let at = place + j;
    let hidden = params.hidden;
    return vec4f(weights[at], weights[at + hidden], weights[at + 2u * hidden], weights[at + 3u * hidden]);
}
