// One time step of one layer, backwards:
//   d_h_t = d_y_t + d_gates_{t+1} · W_hh, at the last step d_y_t + the gradient of the final h
//   d_c_t = d_c + d_h_t ∘ o ∘ (1 − tanh²(c_t)), and d_c = d_c_t ∘ f for the step before
//   d_i = d_c_t ∘ g ∘ i(1 − i)    d_f = d_c_t ∘ c_{t−1} ∘ f(1 − f)
//   d_g = d_c_t ∘ i ∘ (1 − g²)    d_o = d_h_t ∘ tanh(c_t) ∘ o(1 − o)
// One invocation per (unit, 4 sequences), so that each weight is read once for four products; 16 units × 16 sequences a
// workgroup.

struct Params {
    t: u32,
    steps: u32,
    batch: u32,
    hidden: u32,
    w_hh: u32,
    has_d_y: u32,
    d_y: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weights: array<f32>;      // W_hh [4H, H] at w_hh
@group(0) @binding(2) var<storage, read> d_y: array<f32>;          // [N, H] at d_y, if has_d_y
@group(0) @binding(3) var<storage, read> c: array<f32>;            // [T + 1, N, H]
@group(0) @binding(4) var<storage, read_write> gates: array<f32>;  // [T, N, 4H], gates before, their gradients after
@group(0) @binding(5) var<storage, read_write> d_h: array<f32>;    // [N, H], of the final state
@group(0) @binding(6) var<storage, read_write> d_c: array<f32>;    // [N, H], carried from step to step

@compute @workgroup_size(16, 4)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let j = id.x;
    let n = id.y * 4u;
    if j >= params.hidden || n >= params.batch {
        return;
    }
    let width = 4u * params.hidden;
    var d_h_t = vec4f();
    if params.t + 1u < params.steps {
        // Sequences beyond the batch read the last one again and are not stored.
        let sequences = min(vec4u(n, n + 1u, n + 2u, n + 3u), vec4u(params.batch - 1u));
        let rows = ((params.t + 1u) * params.batch + sequences) * width;
        // Gate by gate: four short sums lose fewer digits than a long one.
        for (var gate = 0u; gate < 4u; gate++) {
            var sum = vec4f();
            for (var k = gate * params.hidden; k < (gate + 1u) * params.hidden; k++) {
                let d_gate = vec4f(gates[rows.x + k], gates[rows.y + k], gates[rows.z + k], gates[rows.w + k]);
                sum += weights[params.w_hh + k * params.hidden + j] * d_gate;
            }
            d_h_t += sum;
        }
    }
    for (var q = 0u; q < min(4u, params.batch - n); q++) {
        let row = params.t * params.batch + n + q;
        let unit = (n + q) * params.hidden + j;
        var d_h_q = d_h_t[q];
        if params.t + 1u == params.steps {
            d_h_q = d_h[unit];
        }
        if params.has_d_y != 0u {
            d_h_q += d_y[params.d_y + unit];
        }
        let at = row * width + j;
        let i = gates[at];
        let f = gates[at + params.hidden];
        let g = gates[at + 2u * params.hidden];
        let o = gates[at + 3u * params.hidden];
        let tanh_c = tangent(c[(row + params.batch) * params.hidden + j]);
        let d_c_t = d_c[unit] + d_h_q * o * (1.0 - tanh_c * tanh_c);
        gates[at] = d_c_t * g * i * (1.0 - i);
        gates[at + params.hidden] = d_c_t * c[row * params.hidden + j] * f * (1.0 - f);
        gates[at + 2u * params.hidden] = d_c_t * i * (1.0 - g * g);
        gates[at + 3u * params.hidden] = d_h_q * tanh_c * o * (1.0 - o);
        d_c[unit] = d_c_t * f;
    }
}
