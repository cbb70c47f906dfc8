// d_prediction = d_prediction · the loss's scale
// One invocation per element.

struct Params {
    len: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> status: array<f32>;              // as in norm
@group(0) @binding(2) var<storage, read_write> d_prediction: array<f32>;  // [≥ len]

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, 64u, local);
    if i < params.len {
        d_prediction[i] *= status[3];
    }
}
