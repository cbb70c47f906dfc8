// One time step of one direction of one layer, or of several, with layer normalisation, after `recur` of lstm_forward_step has made
// a = x_t · W_ihᵀ + h_{t−1} · W_hhᵀ; x̂ is a row less its mean, divided by √(its variance + 1e-5):
//   (i, f, g, o) = γ ∘ â + b_ih + b_hh, then i, f, o through σ and g through tanh
//   c̃_t = f ∘ c_{t−1} + i ∘ g        h_t = o ∘ tanh(γ_c ∘ ĉ + β_c), ĉ of c̃_t, which `project` multiplies by W_hrᵀ
// With zoneout, elements of c_t and h_t keep their value from the step before. â is kept in place of the gates, which the way back
// makes from it once more.
// One workgroup per sequence and cell, one invocation for every 64th unit. With lstm_gates.wgsl, lstm_publish.wgsl,
// lstm_step_shared.wgsl, lstm_zone.wgsl and workgroup_sum.wgsl.

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> norm: array<f32>;   // [rows, 3]: 1 / σ of a, mean and 1 / σ of c̃; [N, 10H]
                                                                   // of others; γ [4H], γ_c, β_c [H], b_ih, b_hh [4H]
@group(0) @binding(2) var<storage, read> h_0: array<f32>;          // [L · R, N, P], if has_start
@group(0) @binding(3) var<storage, read> mask: array<u32>;         // the draw's number, [N, P] as f32 if masked
@group(0) @binding(4) var<storage, read_write> gates: array<f32>;  // [rows, 4H], â; in: a
@group(0) @binding(5) var<storage, read_write> h_in: array<f32>;   // [rows (+ N), P]
@group(0) @binding(6) var<storage, read_write> c: array<f32>;      // [N + rows, H]
@group(0) @binding(7) var<storage, read_write> y: array<f32>;      // [rows, R · P], unless shared_output
@group(0) @binding(8) var<storage, read_write> u: array<f32>;      // [rows, H], if projected

const EPS = 1e-5;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let step = step_of(group.z);
    here = step;
    let n = flat_index(group, groups, 1u, 0u);
    if n >= max(step.present, step.joining) {
        return;
    }
    if n < step.present {
        sequence_step(n, local);
    }
    if params.projected == 0u {
        for (var j = local; j < params.hidden; j += 64u) {
            join(j, n, 1u);
        }
    }
}

fn sequence_step(n: u32, local: u32) {
    let row = here.row + n;
    let gate_row = moments(row, local);
    let kept = here.norm + 3u * (row - here.base);
    let shift_c = own_place() + 5u * params.hidden;
    let share = 1.0 / f32(params.hidden);
    var sum = vec4f();
    for (var j = local; j < params.hidden; j += 64u) {
        sum.x += cell_step(j, n, gate_row);
    }
    let mean = workgroup_sum(sum, local).x * share;
    sum = vec4f();
    for (var j = local; j < params.hidden; j += 64u) {
        let apart = c[c_place(j, n)] - mean;
        sum.x += apart * apart;
    }
    let scale = 1.0 / sqrt(workgroup_sum(sum, local).x * share + EPS);
    for (var j = local; j < params.hidden; j += 64u) {
        let normed = (c[c_place(j, n)] - mean) * scale;
        let o = sigmoid(before_activation(j, n).w);
        let fresh = o * tangent(norm[shift_c - params.hidden + j] * normed + norm[shift_c + j]);
        let words = zone_words(here.t, here.cell, params.hidden, j, n)[n % 4u];
        if params.zoneout != 0u {
            let z_c = zone_share(words >> 16u, params.limit_c, params.rate_c);
            c[c_place(j, n)] = zoned(z_c, c_before(j, n), c[c_place(j, n)]);
        }
        if params.projected != 0u {
            u[row * params.hidden + j] = fresh;
        } else {
            publish(j, n, fresh, words);
        }
    }
    if local == 0u {
        norm[kept] = gate_row.y;
        norm[kept + 1u] = mean;
        norm[kept + 2u] = scale;
    }
}

// Mean and 1 / σ of a.
fn moments(row: u32, local: u32) -> vec2f {
    let share = 0.25 / f32(params.hidden);
    var sum = vec4f();
    for (var j = local; j < params.hidden; j += 64u) {
        sum += products(row * 4u * params.hidden + j);
    }
    let mean = dot(workgroup_sum(sum, local), vec4f(1.0)) * share;
    sum = vec4f();
    for (var j = local; j < params.hidden; j += 64u) {
        let apart = products(row * 4u * params.hidden + j) - mean;
        sum += apart * apart;
    }
    return vec2f(mean, 1.0 / sqrt(dot(workgroup_sum(sum, local), vec4f(1.0)) * share + EPS));
}

// â and c̃_t of one unit, which is kept for now where c_t goes.
fn cell_step(j: u32, n: u32, gate_row: vec2f) -> f32 {
    let at = (here.row + n) * 4u * params.hidden + j;
    let a = (products(at) - gate_row.x) * gate_row.y;
    gates[at] = a.x;
    gates[at + params.hidden] = a.y;
    gates[at + 2u * params.hidden] = a.z;
    gates[at + 3u * params.hidden] = a.w;
    let fresh = cell_state(activated(before_activation(j, n)), c_before(j, n));
    c[c_place(j, n)] = fresh;
    return fresh;
}

// γ ∘ â + b_ih + b_hh of one unit's gates, once there is â.
fn before_activation(j: u32, n: u32) -> vec4f {
    let own = own_place() + j;
    let biases = four(own + 6u * params.hidden) + four(own + 10u * params.hidden);
    return four(own) * products((here.row + n) * 4u * params.hidden + j) + biases;
}

fn c_place(j: u32, n: u32) -> u32 {
    return (params.batch + here.row + n) * params.hidden + j;
}

fn c_before(j: u32, n: u32) -> f32 {
    return c[select(here.base + n, params.batch + here.before + n, n < here.ongoing) * params.hidden + j];
}

// One unit's four gates of a, later of â.
fn products(at: u32) -> vec4f {
    return vec4f(gates[at], gates[at + params.hidden], gates[at + 2u * params.hidden], gates[at + 3u * params.hidden]);
}

// One unit's four gates at a place of `norm`.
fn four(at: u32) -> vec4f {
    return vec4f(norm[at], norm[at + params.hidden], norm[at + 2u * params.hidden], norm[at + 3u * params.hidden]);
}

// Of the parameters.
fn own_place() -> u32 {
    return here.norm + 3u * params.rows + 10u * params.batch * params.hidden;
}
