// One time step of one direction of one layer, or of several, gates and state in one pass over the recurrent weights:
//   (i, f, g, o) += h_{t−1} · W_hhᵀ, then i, f, o through σ and g through tanh
//   c_t = f ∘ c_{t−1} + i ∘ g        h_t = o ∘ tanh(c_t), which `project` multiplies by W_hrᵀ
// With zoneout, elements of c_t and h_t keep their value from the step before. With layer normalisation `recur` makes
// that sum alone, and lstm_forward_norm_step goes on.
// One invocation per (unit, 4 sequences), so that each weight is read once for four products; 16 units × 16 sequences a
// workgroup. With lstm_forward_cell.wgsl, lstm_publish.wgsl,
// lstm_step_shared.wgsl, lstm_gates.wgsl and lstm_zone.wgsl.

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> packed: array<f32>;       // W_hhᵀ [P, 4H] at w_hh, W_hrᵀ [H, P] at w_hr
@group(0) @binding(2) var<storage, read> h_0: array<f32>;          // [L · R, N, P], if has_start
@group(0) @binding(3) var<storage, read> mask: array<u32>;         // the draw's number, [N, P] as f32 if masked
@group(0) @binding(4) var<storage, read_write> gates: array<f32>;  // [rows, 4H], in: x · W_ihᵀ + b_ih + b_hh
@group(0) @binding(5) var<storage, read_write> h_in: array<f32>;   // [rows (+ N), P]
@group(0) @binding(6) var<storage, read_write> c: array<f32>;      // [N + rows, H]
@group(0) @binding(7) var<storage, read_write> y: array<f32>;      // [rows, R · P], unless shared_output
@group(0) @binding(8) var<storage, read_write> u: array<f32>;      // [rows, H], if projected

@compute @workgroup_size(16, 4)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let id = vec3u(16u, 4u, 1u) * in_whole(group) + local;
    here = step_of(id.z);
    let j = id.x;
    let n = id.y * 4u;
    if j >= params.hidden || n >= max(here.present, here.joining) {
        return;
    }
    if n < here.present {
        cell_step(j, n);
    }
    if params.projected == 0u {
        join(j, n, 4u);
    }
}

// gates += h_{t−1} · W_hhᵀ
@compute @workgroup_size(16, 4)
fn recur(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let id = vec3u(16u, 4u, 1u) * in_whole(group) + local;
    here = step_of(id.z);
    let j = id.x;
    let n = id.y * 4u;
    if j >= params.hidden || n >= here.present {
        return;
    }
    let sums = recurrent_sums(j, n);
    for (var q = 0u; q < min(4u, here.present - n); q++) {
        keep_products(j, n + q, vec4f(sums.i[q], sums.f[q], sums.g[q], sums.o[q]));
    }
}

// h_t = u_t · W_hrᵀ
@compute @workgroup_size(16, 4)
fn project(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let id = vec3u(16u, 4u, 1u) * in_whole(group) + local;
    here = step_of(id.z);
    let p = id.x;
    let n = id.y * 4u;
    if p >= params.width || n >= max(here.present, here.joining) {
        return;
    }
    if n < here.present {
        let rows = (here.row + sequences(n)) * params.hidden;
        var h_t = vec4f();
        for (var j = 0u; j < params.hidden; j++) {
            let u_j = vec4f(u[rows.x + j], u[rows.y + j], u[rows.z + j], u[rows.w + j]);
            h_t += packed[here.w_hr + j * params.width + p] * u_j;
        }
        let words = zone_words(here.t, here.cell, params.hidden, p, n);
        for (var q = 0u; q < min(4u, here.present - n); q++) {
            publish(p, n + q, h_t[q], words[q]);
        }
    }
    join(p, n, 4u);
}

// Sequences beyond the last read that one again and are not stored.
fn sequences(n: u32) -> vec4u {
    return min(vec4u(n, n + 1u, n + 2u, n + 3u), vec4u(here.present - 1u));
}

struct Sums {
    i: vec4f,
    f: vec4f,
    g: vec4f,
    o: vec4f,
}

// h_{t−1} · W_hhᵀ of one unit and four sequences
fn recurrent_sums(j: u32, n: u32) -> Sums {
    let h_rows = (here.row + sequences(n)) * params.width;
    let width = 4u * params.hidden;
    var sums = Sums();
    for (var k = 0u; k < params.width; k++) {
        let h_k = vec4f(h_in[h_rows.x + k], h_in[h_rows.y + k], h_in[h_rows.z + k], h_in[h_rows.w + k]);
        let w = params.w_hh + k * width + j;
        sums.i += packed[w] * h_k;
        sums.f += packed[w + params.hidden] * h_k;
        sums.g += packed[w + 2u * params.hidden] * h_k;
        sums.o += packed[w + 3u * params.hidden] * h_k;
    }
    return sums;
}

fn cell_step(j: u32, n: u32) {
    let sums = recurrent_sums(j, n);
    let words = zone_words(here.t, here.cell, params.hidden, j, n);
    for (var q = 0u; q < min(4u, here.present - n); q++) {
        let recurrent = vec4f(sums.i[q], sums.f[q], sums.g[q], sums.o[q]);
        cell(j, n + q, entering(j, n + q), recurrent, words[q]);
    }
}
