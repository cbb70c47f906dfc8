// transposed[j, i] = matrix[i, j], so that neighbouring gate rows lie together when the step kernel reads them.
// One invocation per element; neighbouring invocations write neighbouring elements.

struct Params {
    rows: u32,
    columns: u32,
    place: u32,
    to: u32,
    before: u32, // invocations of other dispatches
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> matrix: array<f32>;            // [R, C] at place
@group(0) @binding(2) var<storage, read_write> transposed: array<f32>;  // [C, R] at to

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let index = params.before + flat_index(group, groups, 64u, local);
    if index >= params.rows * params.columns {
        return;
    }
    let i = index % params.rows;
    let j = index / params.rows;
    transposed[params.to + index] = matrix[params.place + i * params.columns + j];
}
