// What a projection and layer normalisation add to the arrangement of lstm_pack, for one layer and direction; what lies beyond
// the last unit or column is zero:
//   W_hr forward [j][p / 4] = W_hr[p .. p + 4][j], backward [p][j / 4] = W_hr[p][j .. j + 4]
//   [4][j] = (i, f, g, o) of γ_ih, of γ_hh and of b_ih + b_hh, and (γ_c, β_c)
// One invocation per four elements of W_hr, at least one per unit.

struct Params {
    hidden: u32,
    width: u32,
    padded: u32,  // hidden, rounded up to fours
    wide: u32,    // width, likewise
    projected: u32,
    w_hr: u32,
    normed: u32,
    gains: u32,   // place of γ_ih, γ_hh [4H], γ_c, β_c [H]
    biases: u32,  // whether there are
    b_ih: u32,
    b_hh: u32,
    to_w_hr: u32,
    to_gains: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read_write> packed: array<vec4f>;  // [2][padded · wide / 4] at to_w_hr, [4, padded] at
                                                                      // to_gains

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let index = flat_index(group, groups, 64u, local);
    let len = params.padded * params.wide / 4u;
    if params.projected != 0u && index < len {
        let columns = params.wide / 4u;
        let units = params.padded / 4u;
        var forward: vec4f;
        var backward: vec4f;
        for (var q = 0u; q < 4u; q++) {
            forward[q] = projection(4u * (index % columns) + q, index / columns);
            backward[q] = projection(index / units, 4u * (index % units) + q);
        }
        packed[params.to_w_hr + index] = forward;
        packed[params.to_w_hr + len + index] = backward;
    }
    if params.normed != 0u && index < params.padded {
        let to = params.to_gains + index;
        packed[to] = four(params.gains, index);
        packed[to + params.padded] = four(params.gains + 4u * params.hidden, index);
        packed[to + 2u * params.padded] = vec4f();
        if params.biases != 0u {
            packed[to + 2u * params.padded] = four(params.b_ih, index) + four(params.b_hh, index);
        }
        packed[to + 3u * params.padded] = vec4f();
        if index < params.hidden {
            let at = params.gains + 8u * params.hidden + index;
            packed[to + 3u * params.padded] = vec4f(weights[at], weights[at + params.hidden], 0.0, 0.0);
        }
    }
}

fn projection(p: u32, j: u32) -> f32 {
    if p >= params.width || j >= params.hidden {
        return 0.0;
    }
    return weights[params.w_hr + p * params.hidden + j];
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
