// With row(t, n) = starts[first + n] + offset + t:
// x[t, n, d] = inputs[row(t, n), d], or 1 where that row's id is d and else 0
// target_value[t, n, w, c] = targets[row(t, n) + ahead + w, c]
// One invocation per element of `x`, then of `target_value`.

struct Params {
    first: u32,
    batch: u32,
    offset: u32,
    steps: u32,
    features: u32,
    one_hot: u32,
    ahead: u32,
    target_steps: u32,
    width: u32,
    channels: u32,
    before: u32, // invocations of other dispatches
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> inputs: array<f32>;              // [R, D], or ids [R] if one_hot
@group(0) @binding(2) var<storage, read> targets: array<f32>;             // [R, C]
@group(0) @binding(3) var<storage, read> starts: array<u32>;              // [≥ first + N]
@group(0) @binding(4) var<storage, read_write> x: array<f32>;             // [T, N, D]
@group(0) @binding(5) var<storage, read_write> target_value: array<f32>;  // [target_steps, N, width, C]

// Of pair t · N + n.
fn row_of(pair: u32) -> u32 {
    return starts[params.first + pair % params.batch] + params.offset + pair / params.batch;
}

fn input(index: u32) -> f32 {
    let row = row_of(index / params.features);
    let d = index % params.features;
    if params.one_hot != 0u {
        return select(0.0, 1.0, u32(inputs[row]) == d);
    }
    return inputs[row * params.features + d];
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let index = params.before + flat_index(group, groups, 64u, local);
    let features = params.steps * params.batch * params.features;
    if index < features {
        x[index] = input(index);
        return;
    }
    let length = params.width * params.channels;
    let at = index - features;
    if at < params.target_steps * params.batch * length {
        target_value[at] = targets[(row_of(at / length) + params.ahead) * params.channels + at % length];
    }
}
