// One time step of one layer, gates and state in one pass over the recurrent weights:
//   (i, f, g, o) += h_{t−1} · W_hhᵀ, then i, f, o through σ and g through tanh
//   c_t = f ∘ c_{t−1} + i ∘ g        h_t = o ∘ tanh(c_t)
// One invocation per (unit, 4 sequences), so that each weight is read once for four products; 16 units × 16 sequences a
// workgroup.

struct Params {
    t: u32,
    batch: u32,
    hidden: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> w_hh_t: array<f32>;       // [H, 4H]
@group(0) @binding(2) var<storage, read_write> gates: array<f32>;  // [T, N, 4H], in: x · W_ihᵀ + b_ih + b_hh
@group(0) @binding(3) var<storage, read_write> h: array<f32>;      // [T + 1, N, H]
@group(0) @binding(4) var<storage, read_write> c: array<f32>;      // [T + 1, N, H]

@compute @workgroup_size(16, 4)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let j = id.x;
    let n = id.y * 4u;
    if j >= params.hidden || n >= params.batch {
        return;
    }
    // Sequences beyond the batch read the last one again and are not stored.
    let sequences = min(vec4u(n, n + 1u, n + 2u, n + 3u), vec4u(params.batch - 1u));
    let h_rows = (params.t * params.batch + sequences) * params.hidden;
    let width = 4u * params.hidden;
    var sum_i = vec4f();
    var sum_f = vec4f();
    var sum_g = vec4f();
    var sum_o = vec4f();
    for (var k = 0u; k < params.hidden; k++) {
        let h_k = vec4f(h[h_rows.x + k], h[h_rows.y + k], h[h_rows.z + k], h[h_rows.w + k]);
        let w = k * width + j;
        sum_i += w_hh_t[w] * h_k;
        sum_f += w_hh_t[w + params.hidden] * h_k;
        sum_g += w_hh_t[w + 2u * params.hidden] * h_k;
        sum_o += w_hh_t[w + 3u * params.hidden] * h_k;
    }
    for (var q = 0u; q < min(4u, params.batch - n); q++) {
        let row = params.t * params.batch + n + q;
        let at = row * width + j;
        let i = sigmoid(gates[at] + sum_i[q]);
        let f = sigmoid(gates[at + params.hidden] + sum_f[q]);
        let g = tangent(gates[at + 2u * params.hidden] + sum_g[q]);
        let o = sigmoid(gates[at + 3u * params.hidden] + sum_o[q]);
        gates[at] = i;
        gates[at + params.hidden] = f;
        gates[at + 2u * params.hidden] = g;
        gates[at + 3u * params.hidden] = o;
        let c_t = f * c[row * params.hidden + j] + i * g;
        let next = (row + params.batch) * params.hidden + j;
        c[next] = c_t;
        h[next] = o * tangent(c_t);
    }
}
