// The recurrent weights as all kernels but the plain ones take them, and in a stack whose layers go together those of the
// inputs, the four gates of a unit together and what lies beyond the last unit zero:
//   forward [k][j] = (i, f, g, o) of W[unit j][k]        backward [m][gate][k / 4] = W[gate of unit m][k .. k + 4]
// One invocation per four elements of each; one layer of the grid per matrix.

struct Params {
    hidden: u32,
    width: u32,
    padded: u32,    // hidden, rounded up to fours
    wide: u32,      // width, likewise
    place: u32,     // of the first W; those after it lie `apart`
    apart: u32,
    early: u32,     // up to this number; from there on
    late_place: u32,
    late_apart: u32,
    to: u32,        // where, in fours, the first way forward lies, and the first way back; those after it lie `to_apart`
    to_back: u32,
    to_apart: u32,
    half: u32,      // whether a four is of 16-bit numbers, and half as long
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weights: array<f32>;         // W [4H, P] of each
@group(0) @binding(2) var<storage, read_write> packed: array<vec2u>;  // [wide, padded] fours each

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let index = flat_index(group, groups, 64u, local);
    let len = params.wide * params.padded;
    if index >= len {
        return;
    }
    var place = params.place + group.z * params.apart;
    if group.z >= params.early {
        place = params.late_place + (group.z - params.early) * params.late_apart;
    }
    let k = index / params.padded;
    let j = index % params.padded;
    var forward: vec4f;
    for (var gate = 0u; gate < 4u; gate++) {
        forward[gate] = element(place, gate, j, k);
    }
    keep(params.to + group.z * params.to_apart + index, forward);
    let quads = params.wide / 4u;
    let m = index / params.wide;
    let gate = index / quads % 4u;
    var backward: vec4f;
    for (var q = 0u; q < 4u; q++) {
        backward[q] = element(place, gate, m, 4u * (index % quads) + q);
    }
    keep(params.to_back + group.z * params.to_apart + index, backward);
}

fn keep(place: u32, four: vec4f) {
    if params.half != 0u {
        packed[place] = vec2u(pack2x16float(four.xy), pack2x16float(four.zw));
    } else {
        packed[2u * place] = bitcast<vec2u>(four.xy);
        packed[2u * place + 1u] = bitcast<vec2u>(four.zw);
    }
}

fn element(place: u32, gate: u32, unit: u32, k: u32) -> f32 {
    if unit >= params.hidden || k >= params.width {
        return 0.0;
    }
    return weights[place + (gate * params.hidden + unit) * params.width + k];
}
