// parts[w] = Σ g² over every (number of parts)-th block of 64 gradients
// A workgroup for each of up to 256 parts; sums run in a fixed order.

struct Params {
    len: u32,
    parts: u32,
    part: u32, // the dispatch's first
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_params: array<f32>;     // [P]
@group(0) @binding(2) var<storage, read_write> parts: array<f32>;  // [parts]

var<workgroup> sums: array<f32, 64>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    var sum = 0.0;
    let part = params.part + group.x;
    for (var p = part * 64u + local; p < params.len; p += params.parts * 64u) {
        sum += d_params[p] * d_params[p];
    }
    sums[local] = sum;
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half {
            sums[local] += sums[local + half];
        }
    }
    if local == 0u {
        parts[part] = sums[0];
    }
}
