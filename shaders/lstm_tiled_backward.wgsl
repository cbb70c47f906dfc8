// One time step backwards, as in lstm_backward_step, in tiles that keep a GPU's multiprocessors busy: a workgroup takes 4
// COLUMNS columns of h of SEQUENCES sequences, its invocations make PARTS parts that share out the terms of
// d_gates_{t+1} · W_hh. An invocation sums up for four columns and QUADS times four sequences; what the parts have meets in
// workgroup memory, from where an invocation takes PAIRS (column, sequence) pairs at a time on. What those read beside the
// products is asked for ahead.
// A layer of the grid is one direction of one layer. In a stack of `layers` each is a step after the one above, and the terms
// of that one's d_gates_t · W_ih follow those of its own d_gates_{t+1}, or come before them, for themselves, where masks may lie
// on the way or lengths differ.
// Lines between `repeat X in COUNT` and `end` are compiled COUNT times, with 0, 1, … for X; as they stand here they are the
// kernel for four columns and four sequences.
// With lstm_backward_cell.wgsl, lstm_step_shared.wgsl,
// lstm_gates.wgsl and lstm_zone.wgsl.

const COLUMNS = 1u;
const GROUPS = 1u; // of invocations beside each other, each with its sequences
const QUADS = 1u;
const PARTS = 16u;
const PAIRS = 1u;  // 16 / PARTS, at least one
const TERMS = 64u; // of the product, in workgroup memory at a time; a multiple of 4 PARTS
const AHEAD = 1u;  // terms whose weights are asked for together; a part's share of TERMS is a multiple
const FILLS = 1u;  // fours of the tile that an invocation fills: TERMS · FOURS / THREADS
const TURNS = 1u;  // two if what comes from above and through time are summed apart: with masks or unequal lengths
const P = 0u;
const Q = 0u;
const T = 0u;
const K = 0u;
const F = 0u;

const LINE = COLUMNS * GROUPS;
const THREADS = LINE * PARTS;
const FOURS = GROUPS * QUADS;
const SEQUENCES = 4u * FOURS;
const STEP = 0u;
const KEEP = 1u;
const START = 2u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weights: array<vec4f>;      // [unit][gate][k / 4] of W_hh at w_hh,
                                                                     // then of W_ih of the layer above, if `layers`
@group(0) @binding(2) var<storage, read> drop: array<f32>;           // [rows, P], what dropout multiplies the inputs of the
                                                                     // layer above by, in a stack
@group(0) @binding(3) var<storage, read> d_y: array<f32>;            // [N, R · P] at d_y, if has_d_y
@group(0) @binding(4) var<storage, read> c: array<f32>;              // [N + rows, H]
@group(0) @binding(5) var<storage, read> mask: array<u32>;           // the draw's number, [N, P] as f32 if masked
@group(0) @binding(6) var<storage, read_write> gates: array<f32>;    // [rows, 4H], gates before, their gradients after
@group(0) @binding(7) var<storage, read_write> d_state: array<f32>;  // d_h [N, P] and d_c [N, H], from step to step
@group(0) @binding(8) var<storage, read_write> d_h: array<f32>;      // [rows, P], if projected or normalised

// Gradients of a unit's gates, four sequences together; then the sums of each part, of each sequence, four columns together.
var<workgroup> tile: array<vec4f, max(TERMS * FOURS, 4u * THREADS)>;

// Without projection and layer normalisation.
@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
    step(group, local, STEP);
}

// d_h_t, kept for the gradient of W_hr and for layer normalisation.
@compute @workgroup_size(THREADS)
fn project(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
    step(group, local, KEEP);
}

// The gradient of the start h of the sequences that start with this step.
@compute @workgroup_size(THREADS)
fn start(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
    step(group, local, START);
}

fn step(dispatched: vec3u, local: u32, kind: u32) {
    let group = in_whole(dispatched);
    let own = step_of(group.z);
    here = own;
    let first = group.y * SEQUENCES;
    let column = local % COLUMNS;
    let four = local / COLUMNS % GROUPS;
    let part = local / LINE;
    let row = select(own.next, own.row, kind == START);
    let present = select(own.following, own.present, kind == START);
    // repeat Q in QUADS
    // repeat P in PAIRS
    let pair_Q_P = pair(group, local, Q, P);
    var kept_Q_P: Kept;
    if pair_Q_P.present && kind == STEP {
        kept_Q_P = kept_of(pair_Q_P.p, pair_Q_P.n);
    }
    var above_Q_P = 0.0;
    // end
    // end
    let quads = (params.width + 3u) / 4u;
    let w = params.w_hh + group.z * params.w_hh_apart + min(group.x * COLUMNS + column, quads - 1u);
    let padded = (params.hidden + 3u) / 4u * 4u;
    let skipped = select(4u * padded, 0u, first < present);
    let all = select(4u * padded, 8u * padded, own.stacked);
    let share = TERMS / PARTS;
    // repeat T in TURNS
    // repeat Q in QUADS
    var sum_T_Q_0 = vec4f();
    var sum_T_Q_1 = vec4f();
    var sum_T_Q_2 = vec4f();
    var sum_T_Q_3 = vec4f();
    // end
    let turn_T = turn(T, skipped, 4u * padded, all);
    for (var begin = turn_T.x; begin < turn_T.y; begin += TERMS) {
        let lead = begin + part * share;
        // All asked for together. Beyond the last term lies what is not multiplied.
        // repeat K in AHEAD
        var w_K = weights[w + min(lead + K, turn_T.y - 1u) * quads];
        // end
        // repeat F in FILLS
        let index_F = local + F * THREADS;
        let unit_F = min(begin / 4u + unit_of(index_F), turn_T.y / 4u - 1u);
        let d_F = d_gate_of(unit_F, gate_of(index_F), row, first + 4u * (index_F / TERMS), present);
        // end
        workgroupBarrier();
        // repeat F in FILLS
        if index_F < TERMS * FOURS {
            tile[(4u * unit_of(index_F) + gate_of(index_F)) * FOURS + index_F / TERMS] = d_F;
        }
        // end
        workgroupBarrier();
        for (var k = lead; k < min(lead + share, turn_T.y); k += AHEAD) {
            if k > lead {
                // repeat K in AHEAD
                w_K = weights[w + min(k + K, turn_T.y - 1u) * quads];
                // end
            }
            // repeat K in AHEAD
            // repeat Q in QUADS
            let d_K_Q = tile[(k + K - begin) * FOURS + Q * GROUPS + four];
            sum_T_Q_0 += w_K * d_K_Q.x;
            sum_T_Q_1 += w_K * d_K_Q.y;
            sum_T_Q_2 += w_K * d_K_Q.z;
            sum_T_Q_3 += w_K * d_K_Q.w;
            // end
            // end
        }
    }
    if T + 1u == TURNS || own.stacked {
        // repeat Q in QUADS
        workgroupBarrier();
        tile[part * 4u * LINE + local % LINE] = sum_T_Q_0;
        tile[(part * 4u + 1u) * LINE + local % LINE] = sum_T_Q_1;
        tile[(part * 4u + 2u) * LINE + local % LINE] = sum_T_Q_2;
        tile[(part * 4u + 3u) * LINE + local % LINE] = sum_T_Q_3;
        workgroupBarrier();
        // repeat P in PAIRS
        if T + 1u < TURNS {
            above_Q_P = sum_above(pair_Q_P);
        } else {
            finish(pair_Q_P, kept_Q_P, above_Q_P, kind);
        }
        // end
        // end
    }
    // end
}

// The terms of a turn, from x to y: all, or first those from the layer above.
fn turn(t: u32, skipped: u32, own: u32, all: u32) -> vec2u {
    if TURNS == 1u {
        return vec2u(skipped, all);
    }
    return select(vec2u(skipped, own), vec2u(own, all), t == 0u);
}

// Neighbours read neighbours: first all units of a gate.
fn unit_of(index: u32) -> u32 {
    return index % (TERMS / 4u);
}

fn gate_of(index: u32) -> u32 {
    return index / (TERMS / 4u) % 4u;
}

// The gradient of one gate of a unit, of four of the `own_present` sequences from `own_row` on; then those of the layer above.
fn d_gate_of(place: u32, gate: u32, own_row: u32, n: u32, own_present: u32) -> vec4f {
    let padded = (params.hidden + 3u) / 4u * 4u;
    var unit = place;
    var row = own_row;
    var present = own_present;
    if unit >= padded {
        unit -= padded;
        row = here.row + params.rows_apart;
        present = here.present;
    }
    if unit >= params.hidden {
        return vec4f();
    }
    // Sequences beyond the last read that one again and are not used.
    let sequences = min(vec4u(n, n + 1u, n + 2u, n + 3u), vec4u(present - 1u));
    let at = ((row + sequences) * 4u + gate) * params.hidden + unit;
    return vec4f(gates[at.x], gates[at.y], gates[at.z], gates[at.w]);
}

// A column and a sequence; `place` is where the tile has the first part's sums for its sequence and four columns, `q` which
// of them.
struct Pair {
    p: u32,
    n: u32,
    place: u32,
    q: u32,
    present: bool,
}

fn pair(group: vec3u, local: u32, quad: u32, pair: u32) -> Pair {
    let index = pair * THREADS + local;
    let column = index % (4u * COLUMNS);
    let s = index / (4u * COLUMNS);
    let p = group.x * 4u * COLUMNS + column;
    let n = group.y * SEQUENCES + 4u * GROUPS * quad + s;
    let place = s % 4u * LINE + s / 4u * COLUMNS + column / 4u;
    return Pair(p, n, place, column % 4u, s < 4u * GROUPS && p < params.width && n < here.present);
}

fn sum_of(place: Pair) -> f32 {
    var sum = 0.0;
    for (var part = 0u; part < PARTS; part++) {
        sum += tile[part * 4u * LINE + place.place][place.q];
    }
    return sum;
}

// What comes from the layer above, through dropout.
fn sum_above(place: Pair) -> f32 {
    if !place.present {
        return 0.0;
    }
    let sum = sum_of(place);
    if params.dropped == 0u {
        return sum;
    }
    return sum * drop[(here.row + place.n) * params.width + place.p];
}

fn finish(place: Pair, kept: Kept, sum_from_above: f32, kind: u32) {
    if !place.present {
        return;
    }
    var through = sum_of(place);
    var above = sum_from_above;
    if TURNS == 1u && here.stacked {
        // Both, of which the own ones were skipped where a sequence ends.
        above = through;
        through = 0.0;
    }
    if kind == START {
        start_gradient(place.p, place.n, through);
        return;
    }
    let word = zone_words(here.t, here.cell, params.hidden, place.p, place.n)[place.n % 4u];
    let d_h_t = hidden_gradient(place.p, place.n, through, above, word);
    if kind == KEEP {
        d_h[(here.row + place.n) * params.width + place.p] = d_h_t;
    } else {
        cell_gradient(place.p, place.n, kept, d_h_t, word);
    }
}
