// One time step of one direction of one layer, gates and state in one pass over the recurrent weights:
//   (i, f, g, o) += h_{t−1} · W_hhᵀ, then i, f, o through σ and g through tanh
//   c_t = f ∘ c_{t−1} + i ∘ g        h_t = o ∘ tanh(c_t), which `project` multiplies by W_hrᵀ
// With zoneout, elements of c_t and h_t keep their value from the step before.
// One invocation per (unit, 4 sequences), so that each weight is read once for four products; 16 units × 16 sequences a
// workgroup.

struct Params {
    t: u32,
    row: u32,         // first row of this step
    present: u32,      // sequences that have it
    before: u32,      // first row of the step before
    ongoing: u32,  // sequences that have that; the others start here
    next: u32,        // first row of the step after
    following: u32,   // sequences that have that
    joining: u32,     // sequences that have it or start with it
    batch: u32,
    hidden: u32,
    width: u32,
    outputs: u32,
    column: u32,
    projected: u32,
    w_hr_t: u32,
    shared_output: u32,
    has_start: u32,
    start_h: u32,
    masked: u32,
    zoneout: u32,
    limit_h: u32,
    limit_c: u32,
    rate_h: f32,
    rate_c: f32,
    seed_0: u32,
    seed_1: u32,
    cell: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> packed: array<f32>;       // W_hhᵀ [P, 4H], W_hrᵀ [H, P] at w_hr_t
@group(0) @binding(2) var<storage, read> h_0: array<f32>;          // [N, P] at start_h, if has_start
@group(0) @binding(3) var<storage, read> mask: array<u32>;         // the draw's number, [N, P] as f32 if masked
@group(0) @binding(4) var<storage, read_write> gates: array<f32>;  // [rows, 4H], in: x · W_ihᵀ + b_ih + b_hh
@group(0) @binding(5) var<storage, read_write> h_in: array<f32>;   // [rows (+ N), P]
@group(0) @binding(6) var<storage, read_write> c: array<f32>;      // [N + rows, H]
@group(0) @binding(7) var<storage, read_write> y: array<f32>;      // [rows, R · P], unless shared_output
@group(0) @binding(8) var<storage, read_write> u: array<f32>;      // [rows, H], if projected

@compute @workgroup_size(16, 4)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let j = id.x;
    let n = id.y * 4u;
    if j >= params.hidden || n >= max(params.present, params.joining) {
        return;
    }
    if n < params.present {
        cell_step(j, n);
    }
    if params.projected == 0u {
        join(j, n);
    }
}

// h_t = u_t · W_hrᵀ
@compute @workgroup_size(16, 4)
fn project(@builtin(global_invocation_id) id: vec3u) {
    let p = id.x;
    let n = id.y * 4u;
    if p >= params.width || n >= max(params.present, params.joining) {
        return;
    }
    if n < params.present {
        let rows = (params.row + sequences(n)) * params.hidden;
        var h_t = vec4f();
        for (var j = 0u; j < params.hidden; j++) {
            let u_j = vec4f(u[rows.x + j], u[rows.y + j], u[rows.z + j], u[rows.w + j]);
            h_t += packed[params.w_hr_t + j * params.width + p] * u_j;
        }
        let words = zone_words(p, n);
        for (var q = 0u; q < min(4u, params.present - n); q++) {
            publish(p, n + q, h_t[q], words[q]);
        }
    }
    join(p, n);
}

// Sequences beyond the last read that one again and are not stored.
fn sequences(n: u32) -> vec4u {
    return min(vec4u(n, n + 1u, n + 2u, n + 3u), vec4u(params.present - 1u));
}

fn cell_step(j: u32, n: u32) {
    let h_rows = (params.row + sequences(n)) * params.width;
    let width = 4u * params.hidden;
    var sum_i = vec4f();
    var sum_f = vec4f();
    var sum_g = vec4f();
    var sum_o = vec4f();
    for (var k = 0u; k < params.width; k++) {
        let h_k = vec4f(h_in[h_rows.x + k], h_in[h_rows.y + k], h_in[h_rows.z + k], h_in[h_rows.w + k]);
        let w = k * width + j;
        sum_i += packed[w] * h_k;
        sum_f += packed[w + params.hidden] * h_k;
        sum_g += packed[w + 2u * params.hidden] * h_k;
        sum_o += packed[w + 3u * params.hidden] * h_k;
    }
    let words = zone_words(j, n);
    for (var q = 0u; q < min(4u, params.present - n); q++) {
        let sequence = n + q;
        let row = params.row + sequence;
        let at = row * width + j;
        let i = sigmoid(gates[at] + sum_i[q]);
        let f = sigmoid(gates[at + params.hidden] + sum_f[q]);
        let g = tangent(gates[at + 2u * params.hidden] + sum_g[q]);
        let o = sigmoid(gates[at + 3u * params.hidden] + sum_o[q]);
        gates[at] = i;
        gates[at + params.hidden] = f;
        gates[at + 2u * params.hidden] = g;
        gates[at + 3u * params.hidden] = o;
        let before = select(sequence, params.batch + params.before + sequence, sequence < params.ongoing);
        let c_before = c[before * params.hidden + j];
        let c_fresh = f * c_before + i * g;
        let z = zone_share(words[q] >> 16u, params.limit_c, params.rate_c);
        c[(params.batch + row) * params.hidden + j] = select(c_fresh, z * c_before + (1.0 - z) * c_fresh, params.zoneout != 0u);
        let fresh = o * tangent(c_fresh);
        if params.projected != 0u {
            u[row * params.hidden + j] = fresh;
        } else {
            publish(j, sequence, fresh, words[q]);
        }
    }
}

// h_t goes to the output and into the next step.
fn publish(p: u32, n: u32, fresh: f32, word: u32) {
    var h_t = fresh;
    if params.zoneout != 0u {
        var h_before = h_in[(params.row + n) * params.width + p];
        if params.masked != 0u {
            h_before = start(p, n);
            if n < params.ongoing {
                h_before = y[(params.before + n) * params.outputs + params.column + p];
            }
        }
        let z = zone_share(word & 0xffffu, params.limit_h, params.rate_h);
        h_t = z * h_before + (1.0 - z) * fresh;
    }
    let next = (params.next + n) * params.width + p;
    if params.shared_output != 0u {
        h_in[next] = h_t;
        return;
    }
    y[(params.row + n) * params.outputs + params.column + p] = h_t;
    if n < params.following {
        h_in[next] = h_t * recurrent_mask(p, n);
    }
}

// Sequences that start with the next step.
fn join(p: u32, first: u32) {
    for (var n = max(first, params.following); n < min(first + 4u, params.joining); n++) {
        h_in[(params.next + n) * params.width + p] = start(p, n) * recurrent_mask(p, n);
    }
}

fn start(p: u32, n: u32) -> f32 {
    if params.has_start == 0u {
        return 0.0;
    }
    return h_0[params.start_h + n * params.width + p];
}

fn recurrent_mask(p: u32, n: u32) -> f32 {
    if params.masked == 0u {
        return 1.0;
    }
    return bitcast<f32>(mask[1u + n * params.width + p]);
}

const RANDOM = 1u;

// One word for each of four sequences: its low half for h, its high half for c.
fn zone_words(j: u32, n: u32) -> vec4u {
    if params.zoneout != RANDOM {
        return vec4u();
    }
    let block = (params.t * ((params.batch + 3u) / 4u) + n / 4u) * params.hidden + j;
    return philox(vec4u(block, mask[0], 5u, params.cell), vec2u(params.seed_0, params.seed_1));
}

// What is kept: all or nothing in training, the expected share in evaluation.
fn zone_share(half: u32, limit: u32, rate: f32) -> f32 {
    return select(rate, select(0.0, 1.0, half < limit), params.zoneout == RANDOM);
}
