// parts[w] = Σ g² over every (number of workgroups)-th block of 64 gradients
// Up to 256 workgroups; sums run in a fixed order.

struct Params {
    len: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_params: array<f32>;     // [P]
@group(0) @binding(2) var<storage, read_write> parts: array<f32>;  // [workgroups]

var<workgroup> sums: array<f32, 64>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    var sum = 0.0;
    for (var p = group.x * 64u + local; p < params.len; p += groups.x * 64u) {
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
        parts[group.x] = sums[0];
    }
}
