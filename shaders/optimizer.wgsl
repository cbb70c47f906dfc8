// One step of adam, adamw or sgd on every parameter; the formulas stand in src/kernels/optimizer.rs.
// One invocation per parameter. Nothing changes in a step that is held.

struct Params {
    kind: u32,
    len: u32,
    amsgrad: u32,
    clip_value: f32,
    beta_1: f32,
    beta_2: f32,
    one_minus_beta_1: f32,
    one_minus_beta_2: f32,
    eps: f32,
    weight_decay: f32,
    shrink: f32,
    momentum: f32,
    step_size: f32,
    v_divisor: f32,
    before: u32, // invocations of other dispatches
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_params: array<f32>;       // [P]
@group(0) @binding(2) var<storage, read> status: array<f32>;         // as in norm
@group(0) @binding(3) var<storage, read_write> moments: array<f32>;  // [0 to 3, P]: m, v, largest v
@group(0) @binding(4) var<storage, read_write> values: array<f32>;   // [P], the parameters

const SGD = 2u;

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
    let p = values[i];
    let g = clamp(d_params[i] * status[1], -params.clip_value, params.clip_value) + params.weight_decay * p;
    if params.kind == SGD {
        var m = g;
        if params.momentum != 0.0 {
            m += params.momentum * moments[i];
            moments[i] = m;
        }
        values[i] = p - params.step_size * m;
        return;
    }
    let m = params.beta_1 * moments[i] + params.one_minus_beta_1 * g;
    var v = params.beta_2 * moments[params.len + i] + params.one_minus_beta_2 * g * g;
    moments[i] = m;
    moments[params.len + i] = v;
    if params.amsgrad != 0u {
        v = max(v, moments[2u * params.len + i]);
        moments[2u * params.len + i] = v;
    }
    values[i] = p * params.shrink - params.step_size * m / (sqrt(v) / params.v_divisor + params.eps);
}
