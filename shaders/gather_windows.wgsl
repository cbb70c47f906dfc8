// windows[t, n, w, c] = rows[starts[first + n] + offset + t + w, c], or 1 where that row's id is c and else 0
// One invocation per element of `windows`.

struct Params {
    first: u32,
    batch: u32,
    offset: u32,
    steps: u32,
    width: u32,
    channels: u32,
    one_hot: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<f32>;           // [R, C], or ids [R] if one_hot
@group(0) @binding(2) var<storage, read> starts: array<u32>;         // [≥ first + N]
@group(0) @binding(3) var<storage, read_write> windows: array<f32>;  // [T, N, width, C]

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let index = flat_index(group, groups, 64u, local);
    let length = params.width * params.channels;
    if index >= params.steps * params.batch * length {
        return;
    }
    let within = index % length;
    let n = (index / length) % params.batch;
    let t = index / length / params.batch;
    let row = starts[params.first + n] + params.offset + t;
    if params.one_hot != 0u {
        let id = u32(rows[row + within / params.channels]);
        windows[index] = select(0.0, 1.0, id == within % params.channels);
    } else {
        windows[index] = rows[row * params.channels + within];
    }
}
