// average = decay · average + (1 − decay) · values, the moving average of the parameters.
// One invocation per parameter. Nothing changes in a step that is held.

struct Params {
    len: u32,
    decay: f32,
    one_minus_decay: f32,
    before: u32, // invocations of other dispatches
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> values: array<f32>;         // [P], the parameters
@group(0) @binding(2) var<storage, read> status: array<f32>;         // as in norm
@group(0) @binding(3) var<storage, read_write> average: array<f32>;  // [P]

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let i = params.before + flat_index(group, groups, 64u, local);
    if i >= params.len || status[2] != 0.0 {
        return;
    }
    average[i] = params.decay * average[i] + params.one_minus_decay * values[i];
}
