// c[place + i] += Σ_s parts[first + s · stride + i], in the order of s
// One invocation per element.

struct Params {
    count: u32,
    splits: u32,
    first: u32,
    stride: u32,
    place: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parts: array<f32>;    // [splits, count], splits stride apart, at first
@group(0) @binding(2) var<storage, read_write> c: array<f32>;  // [≥ place + count]

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, 64u, local);
    if i >= params.count {
        return;
    }
    var sum = 0.0;
    for (var s = 0u; s < params.splits; s++) {
        sum += parts[params.first + s * params.stride + i];
    }
    c[params.place + i] += sum;
}
