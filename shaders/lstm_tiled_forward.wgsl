// One time step as in lstm_forward_step, in tiles that keep a GPU's multiprocessors busy: a workgroup takes UNITS units of
// SEQUENCES sequences, its invocations make PARTS parts that share out the terms of h_{t−1} · W_hhᵀ. An invocation sums up for
// one unit and QUADS times four sequences; what the parts have meets in workgroup memory, from where an invocation takes PAIRS
// (unit, sequence) pairs at a time on. What those read beside the products is asked for ahead.
// A layer of the grid is one direction of one layer. In a stack of `layers` each is a step after the one below, and the terms
// of x_t · W_ihᵀ, where x_t is that one's h_t after dropout, follow those of h_{t−1}.
// At H=256, N=64 that is 128 workgroups of 256 invocations with 32 terms each, instead of 64 of 64 with 256: by counting, not yet
// timed on hardware.
// Lines between `repeat X in COUNT` and `end` are compiled COUNT times, with 0, 1, … for X; as they stand here they are the
// kernel for four units and four sequences.
// With lstm_forward_cell.wgsl, lstm_publish.wgsl,
// lstm_step_shared.wgsl, lstm_gates.wgsl and lstm_zone.wgsl.

const UNITS = 4u;
const GROUPS = 1u; // of invocations beside each other, each with its sequences
const QUADS = 1u;
const PARTS = 4u;
const PAIRS = 1u;  // 4 / PARTS, at least one
const TERMS = 16u; // of the product, in workgroup memory at a time; a multiple of 4 PARTS
const AHEAD = 1u;  // terms whose weights are asked for together; a part's share of TERMS is a multiple
const FILLS = 1u;  // fours of the tile that an invocation fills: TERMS · FOURS / THREADS
const PARTED = 0u; // 1 if what a layer hands up may differ from what its next step reads
const P = 0u;
const Q = 0u;
const K = 0u;
const F = 0u;

const LINE = UNITS * GROUPS;
const THREADS = LINE * PARTS;
const FOURS = GROUPS * QUADS;
const SEQUENCES = 4u * FOURS;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> packed: array<vec4f>;     // [k][j] = (i, f, g, o) of W_hh at w_hh,
                                                                   // then of W_ih, if `layers`
@group(0) @binding(2) var<storage, read> h_0: array<f32>;          // [L · R, N, P], if has_start; if projected and
                                                                   // `dropped` what dropout multiplies inputs by
@group(0) @binding(3) var<storage, read> mask: array<u32>;         // the draw's number, [N, P] as f32 if masked
@group(0) @binding(4) var<storage, read_write> gates: array<f32>;  // [rows, 4H], in: x · W_ihᵀ + b_ih + b_hh
@group(0) @binding(5) var<storage, read_write> h_in: array<f32>;   // [rows (+ N), P]
@group(0) @binding(6) var<storage, read_write> c: array<f32>;      // [N + rows, H]
@group(0) @binding(7) var<storage, read_write> y: array<f32>;      // [rows, R · P], unless shared_output
@group(0) @binding(8) var<storage, read_write> u: array<f32>;      // [rows, H], if projected; else, if `dropped`, what
                                                                   // dropout multiplies inputs by

// Columns of h, four sequences together; then the sums of each part, of each gate, four sequences together.
var<workgroup> tile: array<vec4f, max(TERMS * FOURS, 4u * THREADS)>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
    step(group, local, false);
}

// gates += h_{t−1} · W_hhᵀ
@compute @workgroup_size(THREADS)
fn recur(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
    step(group, local, true);
}

fn step(dispatched: vec3u, local: u32, alone: bool) {
    let group = in_whole(dispatched);
    let own = step_of(group.z);
    here = own;
    let first = group.y * SEQUENCES;
    let column = local % UNITS;
    let four = local / UNITS % GROUPS;
    let part = local / LINE;
    // repeat Q in QUADS
    // repeat P in PAIRS
    let pair_Q_P = pair(group, local, Q, P);
    var entered_Q_P: Entering;
    if pair_Q_P.present && !alone {
        entered_Q_P = entering(pair_Q_P.j, pair_Q_P.n);
    }
    // end
    var i_Q = vec4f();
    var f_Q = vec4f();
    var g_Q = vec4f();
    var o_Q = vec4f();
    // end
    let padded = (params.hidden + 3u) / 4u * 4u;
    let wide = (params.width + 3u) / 4u * 4u;
    let weights = params.w_hh + group.z * params.w_hh_apart + min(group.x * UNITS + column, padded - 1u);
    let terms = select(wide, 2u * wide, params.layers > 0u && own.cell > 0u);
    let share = TERMS / PARTS;
    // Sequences that only join have no h yet.
    for (var begin = 0u; begin < select(0u, terms, first < own.present); begin += TERMS) {
        let lead = begin + part * share;
        // All asked for together. Terms beyond the last are multiplied by zero.
        // repeat K in AHEAD
        var w_K = packed[weights + min(lead + K, terms - 1u) * padded];
        // end
        // repeat F in FILLS
        let index_F = local + F * THREADS;
        let h_F = h_of(begin + index_F % TERMS, terms, first + 4u * (index_F / TERMS));
        // end
        workgroupBarrier();
        // repeat F in FILLS
        if index_F < TERMS * FOURS {
            tile[index_F % TERMS * FOURS + index_F / TERMS] = h_F;
        }
        // end
        workgroupBarrier();
        for (var k = lead; k < min(lead + share, terms); k += AHEAD) {
            if k > lead {
                // repeat K in AHEAD
                w_K = packed[weights + min(k + K, terms - 1u) * padded];
                // end
            }
            // repeat K in AHEAD
            // repeat Q in QUADS
            let h_K_Q = tile[(k + K - begin) * FOURS + Q * GROUPS + four];
            i_Q += w_K.x * h_K_Q;
            f_Q += w_K.y * h_K_Q;
            g_Q += w_K.z * h_K_Q;
            o_Q += w_K.w * h_K_Q;
            // end
            // end
        }
    }
    // repeat Q in QUADS
    workgroupBarrier();
    tile[part * 4u * LINE + local % LINE] = i_Q;
    tile[(part * 4u + 1u) * LINE + local % LINE] = f_Q;
    tile[(part * 4u + 2u) * LINE + local % LINE] = g_Q;
    tile[(part * 4u + 3u) * LINE + local % LINE] = o_Q;
    workgroupBarrier();
    // repeat P in PAIRS
    finish(pair_Q_P, entered_Q_P, alone);
    // end
    // end
}

// h_{t−1} of four sequences at a column, then h_t of the layer below, after dropout; none beyond all terms.
fn h_of(column: u32, terms: u32, n: u32) -> vec4f {
    let wide = (params.width + 3u) / 4u * 4u;
    var k = column;
    let below = k >= wide;
    if below {
        k -= wide;
    }
    if k >= params.width || column >= terms {
        return vec4f();
    }
    // Sequences beyond the last read that one again and are not stored.
    let sequences = min(vec4u(n, n + 1u, n + 2u, n + 3u), vec4u(here.present - 1u));
    let at = (row_of_h(below) + sequences) * params.width + k;
    let at_below = (row_below() + sequences) * params.width + k;
    let parted = PARTED != 0u && below;
    var h: vec4f;
    if parted && params.shared_output == 0u {
        h = vec4f(y[at_below.x], y[at_below.y], y[at_below.z], y[at_below.w]);
    } else {
        h = vec4f(h_in[at.x], h_in[at.y], h_in[at.z], h_in[at.w]);
    }
    if parted && params.dropped != 0u {
        if params.projected != 0u {
            h *= vec4f(h_0[at_below.x], h_0[at_below.y], h_0[at_below.z], h_0[at_below.w]);
        } else {
            h *= vec4f(u[at_below.x], u[at_below.y], u[at_below.z], u[at_below.w]);
        }
    }
    return h;
}

// A unit and a sequence; `place` is where the tile has the first part's sum for i of four sequences, `s` which of them.
struct Pair {
    j: u32,
    n: u32,
    place: u32,
    s: u32,
    valid: bool,
    present: bool,
}

fn pair(group: vec3u, local: u32, quad: u32, p: u32) -> Pair {
    let index = p * THREADS + local;
    let s = index / UNITS;
    let j = group.x * UNITS + index % UNITS;
    let n = group.y * SEQUENCES + 4u * GROUPS * quad + s;
    let valid = s < 4u * GROUPS && j < params.hidden;
    return Pair(j, n, s / 4u * UNITS + index % UNITS, s % 4u, valid, valid && n < here.present);
}

fn finish(place: Pair, entered: Entering, alone: bool) {
    if place.present {
        var sum = vec4f();
        for (var part = 0u; part < PARTS; part++) {
            let at = part * 4u * LINE + place.place;
            let s = place.s;
            sum += vec4f(tile[at][s], tile[at + LINE][s], tile[at + 2u * LINE][s], tile[at + 3u * LINE][s]);
        }
        if alone {
            keep_products(place.j, place.n, sum);
        } else {
            cell(place.j, place.n, entered, sum, zone_words(here.t, here.cell, params.hidden, place.j, place.n)[place.n % 4u]);
        }
    }
    if !alone && params.projected == 0u && place.valid {
        join(place.j, place.n, 1u);
    }
}
