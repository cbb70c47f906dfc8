// One time step of one direction of one layer, or of several, backwards:
//   d_h_t = d_y_t + d_gates_{t+1} · W_hh, at a sequence's last step d_y_t + the gradient of its final h
//   with a projection `project` makes d_h_t and d_u_t = d_h_t · W_hr takes its place, else d_u_t = d_h_t
//   d_c_t = d_c + d_u_t ∘ o ∘ (1 − tanh²(c_t)), and d_c = d_c_t ∘ f for the step before
//   d_i = d_c_t ∘ g ∘ i(1 − i)    d_f = d_c_t ∘ c_{t−1} ∘ f(1 − f)
//   d_g = d_c_t ∘ i ∘ (1 − g²)    d_o = d_u_t ∘ tanh(c_t) ∘ o(1 − o)
// What zoneout kept of h and c takes its share of the gradient to the step before. With layer normalisation d_gates are the
// gradients before it, and lstm_backward_norm_step takes the place of `main`.
// One invocation per (unit, 4 sequences), so that each weight is read once for four products; 16 units × 16 sequences a
// workgroup. With lstm_backward_cell.wgsl, lstm_step_shared.wgsl,
// lstm_gates.wgsl and lstm_zone.wgsl.

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weights: array<f32>;        // W_hh [4H, P] at w_hh
@group(0) @binding(2) var<storage, read> projection: array<f32>;     // W_hr [P, H] at w_hr, if projected
@group(0) @binding(3) var<storage, read> d_y: array<f32>;            // [N, R · P] at d_y, if has_d_y
@group(0) @binding(4) var<storage, read> c: array<f32>;              // [N + rows, H]
@group(0) @binding(5) var<storage, read> mask: array<u32>;           // the draw's number, [N, P] as f32 if masked
@group(0) @binding(6) var<storage, read_write> gates: array<f32>;    // [rows, 4H], gates before, their gradients after
@group(0) @binding(7) var<storage, read_write> d_state: array<f32>;  // d_h [N, P] and d_c [N, H], from step to step
@group(0) @binding(8) var<storage, read_write> d_h: array<f32>;      // [rows, P], if projected or normalised

@compute @workgroup_size(16, 4)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let id = vec3u(16u, 4u, 1u) * in_whole(group) + local;
    here = step_of(id.z);
    let j = id.x;
    let n = id.y * 4u;
    if j >= params.hidden || n >= here.present {
        return;
    }
    let words = zone_words(here.t, here.cell, params.hidden, j, n);
    var d_u = vec4f();
    if params.projected != 0u {
        let rows = (here.row + min(vec4u(n, n + 1u, n + 2u, n + 3u), vec4u(here.present - 1u))) * params.width;
        for (var p = 0u; p < params.width; p++) {
            let d_h_p = vec4f(d_h[rows.x + p], d_h[rows.y + p], d_h[rows.z + p], d_h[rows.w + p]);
            d_u += projection[here.w_hr + p * params.hidden + j] * d_h_p;
        }
    } else {
        d_u = hidden_gradients(j, n, words);
    }
    for (var q = 0u; q < min(4u, here.present - n); q++) {
        cell_gradient(j, n + q, kept_of(j, n + q), d_u[q], words[q]);
    }
}

// d_h_t, kept for the gradient of W_hr and for layer normalisation.
@compute @workgroup_size(16, 4)
fn project(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let id = vec3u(16u, 4u, 1u) * in_whole(group) + local;
    here = step_of(id.z);
    let p = id.x;
    let n = id.y * 4u;
    if p >= params.width || n >= here.present {
        return;
    }
    let d_h_t = hidden_gradients(p, n, zone_words(here.t, here.cell, params.hidden, p, n));
    for (var q = 0u; q < min(4u, here.present - n); q++) {
        d_h[(here.row + n + q) * params.width + p] = d_h_t[q];
    }
}

// The gradient of the start h of the sequences that start with this step.
@compute @workgroup_size(16, 4)
fn start(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let id = vec3u(16u, 4u, 1u) * in_whole(group) + local;
    here = step_of(id.z);
    let p = id.x;
    let n = id.y * 4u;
    if p >= params.width || n >= here.present {
        return;
    }
    let d_h_0 = through_gates(p, n, here.row, here.present);
    for (var q = 0u; q < min(4u, here.present - n); q++) {
        start_gradient(p, n + q, d_h_0[q]);
    }
}

// d_gates · W_hh for the rows of a step.
fn through_gates(p: u32, n: u32, row: u32, present: u32) -> vec4f {
    if n >= present {
        return vec4f();
    }
    // Sequences beyond the last read that one again and are not used.
    let sequences = min(vec4u(n, n + 1u, n + 2u, n + 3u), vec4u(present - 1u));
    let rows = (row + sequences) * 4u * params.hidden;
    var d_h_t = vec4f();
    // Gate by gate: four short sums lose fewer digits than a long one.
    for (var gate = 0u; gate < 4u; gate++) {
        var sum = vec4f();
        for (var k = gate * params.hidden; k < (gate + 1u) * params.hidden; k++) {
            let d_gate = vec4f(gates[rows.x + k], gates[rows.y + k], gates[rows.z + k], gates[rows.w + k]);
            sum += weights[params.w_hh + k * params.width + p] * d_gate;
        }
        d_h_t += sum;
    }
    return d_h_t;
}

// d_h_t of four sequences.
fn hidden_gradients(p: u32, n: u32, words: vec4u) -> vec4f {
    let through = through_gates(p, n, here.next, here.following);
    var d_h_t = vec4f();
    for (var q = 0u; q < min(4u, here.present - n); q++) {
        d_h_t[q] = hidden_gradient(p, n + q, through[q], 0.0, words[q]);
    }
    return d_h_t;
}
