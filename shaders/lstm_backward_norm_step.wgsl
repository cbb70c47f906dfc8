// One time step of one direction of one layer, or of several, with layer normalisation, backwards, after `project` of lstm_backward_step has
// made d_h_t:
//   (i, f, g, o) = γ ∘ â + b_ih + b_hh, then i, f, o through σ and g through tanh
//   d_u_t = d_h_t · W_hr with a projection, else d_h_t
//   d_v = d_u_t ∘ o ∘ (1 − tanh²(γ_c ∘ ĉ + β_c))      d_o = d_u_t ∘ tanh(γ_c ∘ ĉ + β_c) ∘ o(1 − o)
//   d_c_t = d_c + back(d_v, γ_c, ĉ)                   and d_i, d_f, d_g and the next d_c as without
//   d_a = back(d_gates, γ, â)
//   back(d, γ, x̂) = (γ ∘ d − mean(γ ∘ d) − x̂ ∘ mean(γ ∘ d ∘ x̂)) / σ, and d ∘ x̂ is added to the sum for d_γ
// What zoneout kept of c takes its share of the gradient to the step before.
// One workgroup per sequence and cell, one invocation for every 64th unit. With lstm_gates.wgsl, lstm_step_shared.wgsl,
// lstm_zone.wgsl and workgroup_sum.wgsl.

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> projection: array<f32>;     // W_hr [P, H] at w_hr, if projected
@group(0) @binding(2) var<storage, read> d_h: array<f32>;            // [rows, P]
@group(0) @binding(3) var<storage, read> c: array<f32>;              // [N + rows, H]
@group(0) @binding(4) var<storage, read> mask: array<u32>;           // the draw's number
@group(0) @binding(5) var<storage, read_write> gates: array<f32>;    // [rows, 4H], â, after that d_a
@group(0) @binding(6) var<storage, read_write> d_state: array<f32>;  // [N, P], d_c [N, H], from step to step
@group(0) @binding(7) var<storage, read_write> norm: array<f32>;     // [rows, 3]: 1 / σ of a, mean and 1 / σ of c̃; sums of
                                                                     // d_γ, d_γ_c, d_β_c, d_b [N, 10H]; γ [4H], γ_c, β_c [H],
                                                                     // b_ih, b_hh [4H]; d_v [N, H] and d_gates [N, 4H]

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let step = step_of(group.z);
    here = step;
    let n = flat_index(group, groups, 1u, 0u);
    if n >= step.present {
        return;
    }
    let share = 1.0 / f32(params.hidden);
    var sum = vec4f();
    for (var j = local; j < params.hidden; j += 64u) {
        sum += output_gradient(j, n);
    }
    let c_means = workgroup_sum(sum, local) * share;
    sum = vec4f();
    for (var j = local; j < params.hidden; j += 64u) {
        sum += cell_gradient(j, n, c_means);
    }
    let means = workgroup_sum(sum, local) * (0.25 * share);
    for (var j = local; j < params.hidden; j += 64u) {
        product_gradients(j, n, means);
    }
}

// d_v and d_o of one unit; its share in the sums of γ_c ∘ d_v and γ_c ∘ d_v ∘ ĉ.
fn output_gradient(j: u32, n: u32) -> vec4f {
    let row = here.row + n;
    let places = places_of(n);
    var d_u = 0.0;
    if params.projected != 0u {
        for (var p = 0u; p < params.width; p++) {
            d_u += projection[here.w_hr + p * params.hidden + j] * d_h[row * params.width + p];
        }
    } else {
        d_u = d_h[row * params.width + j];
    }
    d_u = normal(d_u);
    let four = gates_of(j, n);
    let normed = normed_c(four, j, n);
    let gain = norm[places.own + 4u * params.hidden + j];
    let tanh_v = tangent(gain * normed + norm[places.own + 5u * params.hidden + j]);
    let out = output_slopes(four.w, tanh_v);
    let d_v = d_u * out.x;
    norm[places.d_v + j] = d_v;
    norm[places.d_gates + 3u * params.hidden + j] = d_u * out.y;
    add(places.sums + 4u * params.hidden + j, n, d_v * normed);
    add(places.sums + 5u * params.hidden + j, n, d_v);
    return vec4f(gain * d_v, gain * d_v * normed, 0.0, 0.0);
}

// The gradients of one unit's gates and of its c before the step; its share in the sums for `product_gradients`.
fn cell_gradient(j: u32, n: u32, means: vec4f) -> vec4f {
    let places = places_of(n);
    let four = gates_of(j, n);
    let unit = here.d_state + params.batch * params.width + n * params.hidden + j;
    var d_c = 0.0;
    if n < here.following || params.has_final != 0u {
        d_c = d_state[unit];
    }
    var kept = 0.0;
    if params.zoneout != 0u {
        kept = zone_share(zone_words(here.t, here.cell, params.hidden, j, n)[n % 4u] >> 16u, params.limit_c, params.rate_c) * d_c;
    }
    let d_normed = norm[places.own + 4u * params.hidden + j] * norm[places.d_v + j];
    let through = norm[places.moments + 2u] * (d_normed - means.x - normed_c(four, j, n) * means.y);
    let d_c_t = normal(d_c - kept + through);
    let d_o = norm[places.d_gates + 3u * params.hidden + j];
    let d_gates = vec4f(d_c_t * cell_slopes(four, c_before(j, n)), d_o);
    norm[places.d_gates + j] = d_gates.x;
    norm[places.d_gates + params.hidden + j] = d_gates.y;
    norm[places.d_gates + 2u * params.hidden + j] = d_gates.z;
    d_state[unit] = d_c_t * four.y + kept;
    let d_a = four_at(places.own + j) * d_gates;
    return vec4f(dot(d_a, vec4f(1.0)), dot(d_a, normed_gates(j, n)), 0.0, 0.0);
}

// d_a of one unit.
fn product_gradients(j: u32, n: u32, means: vec4f) {
    let places = places_of(n);
    for (var gate = 0u; gate < 4u; gate++) {
        let at = gate * params.hidden + j;
        let d_gate = norm[places.d_gates + at];
        let a = gates[places.gates + at];
        add(places.sums + at, n, d_gate * a);
        add(places.sums + 6u * params.hidden + at, n, d_gate);
        gates[places.gates + at] = norm[places.moments] * (norm[places.own + at] * d_gate - means.x - a * means.y);
    }
}

// One unit's four of â, as long as they are there.
fn normed_gates(j: u32, n: u32) -> vec4f {
    let at = places_of(n).gates + j;
    return vec4f(gates[at], gates[at + params.hidden], gates[at + 2u * params.hidden], gates[at + 3u * params.hidden]);
}

fn gates_of(j: u32, n: u32) -> vec4f {
    let own = places_of(n).own + j;
    let biases = four_at(own + 6u * params.hidden) + four_at(own + 10u * params.hidden);
    return activated(four_at(own) * normed_gates(j, n) + biases);
}

// ĉ of one unit with such gates.
fn normed_c(four: vec4f, j: u32, n: u32) -> f32 {
    let places = places_of(n);
    return (cell_state(four, c_before(j, n)) - norm[places.moments + 1u]) * norm[places.moments + 2u];
}

fn c_before(j: u32, n: u32) -> f32 {
    return c[select(here.base + n, params.batch + here.before + n, n < here.ongoing) * params.hidden + j];
}

// One unit's four gates at a place of `norm`.
fn four_at(at: u32) -> vec4f {
    return vec4f(norm[at], norm[at + params.hidden], norm[at + 2u * params.hidden], norm[at + 3u * params.hidden]);
}

// A sum begins at the sequence's last step.
fn add(at: u32, n: u32, value: f32) {
    if n < here.following {
        norm[at] += value;
    } else {
        norm[at] = value;
    }
}

// Where the parts of `norm` of one sequence lie, and its gates.
struct Places {
    gates: u32,
    moments: u32,
    sums: u32,
    own: u32,
    d_v: u32,
    d_gates: u32,
}

fn places_of(n: u32) -> Places {
    let row = here.row + n;
    let sums = here.norm + 3u * params.rows;
    let own = sums + 10u * params.batch * params.hidden;
    return Places(
        row * 4u * params.hidden,
        here.norm + 3u * (row - here.base),
        sums + 10u * n * params.hidden,
        own,
        own + (14u + n) * params.hidden,
        own + (14u + params.batch + 4u * n) * params.hidden,
    );
}
