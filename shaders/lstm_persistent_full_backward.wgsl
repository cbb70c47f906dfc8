// All time steps of one direction of one layer, or of several, backwards in one dispatch, as lstm_persistent_backward, with layer
// normalisation or a projection; v is what enters the last tanh, γ_c ∘ ĉ + β_c, and c̃_t without NORM:
//   (i, f, g, o) = γ ∘ â + b_ih + b_hh, then i, f, o through σ and g through tanh
//   d_u_t = d_h_t · W_hr if PROJECTED, else d_h_t
//   d_v = d_u_t ∘ o ∘ (1 − tanh²(v))                  d_o = d_u_t ∘ tanh(v) ∘ o(1 − o)
//   d_c_t = d_c + back(d_v, γ_c, ĉ)                   and d_i, d_f, d_g and d_c for the step before as there
//   d_a = back(d_gates, γ, â), which goes on to the step before
//   back(d, γ, x̂) = (γ ∘ d − mean(γ ∘ d) − x̂ ∘ mean(γ ∘ d ∘ x̂)) / σ, and d ∘ x̂ is added to the sum for d_γ
// With ZONEOUT, what was kept of h and c takes its share of the gradient to the step before.
// Workgroups and parts of the first product are those of lstm_persistent_backward. In the second an invocation has, of the
// fours of units, u, u + UP_THREADS, … (UP_FOURS of them), and its part's columns of d_h. With lstm_persistent_shared.wgsl,
// lstm_persistent_full_shared.wgsl, lstm_persistent_held.wgsl, lstm_gates.wgsl and lstm_zone.wgsl.

const HIDDEN = 1u;
const WIDTH = 1u;     // of h
const SEQUENCES = 1u;
const FOUR_THREADS = 1u;
const FOURS = 1u;
const PARTS = 1u;
const UNITS = 4u;     // blocks of a part
const RESIDENT = 1u;
const HELD = 1u;      // of the others, in workgroup memory
const HOLDS = 1u;     // or 0, if none are
const ZONEOUT = 0u;   // or 1, as the two below
const NORM = 1u;
const PROJECTED = 1u;
const UP_THREADS = 1u;
const UP_FOURS = 1u;
const UP_PARTS = 1u;
const UP_QUADS = 1u;  // blocks of a part on the way up through the projection
const R = 0u;
const M = 0u;
const S = 0u;

const THREADS = FOUR_THREADS * PARTS;
const HELD_APART = FOURS * THREADS;
const FOUR_COUNT = WIDE / 4u;
const UP_COUNT = PADDED / 4u;
const D_LEN = PARTS * UNITS;
const D_H_LEN = 4u * UP_PARTS * UP_QUADS;
// Whether an invocation asks for what it needs before the products, so that it is there after them. One with many units
// would only carry it from place to place.
const AHEAD = OWN <= 2u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> packed: array<vec4f>;
@group(0) @binding(2) var<storage, read> d_y: array<f32>;            // [rows from d_y_row on, R · P], none before d_y_from
@group(0) @binding(3) var<storage, read> c: array<f32>;              // [N + rows, H]
@group(0) @binding(4) var<storage, read> mask: array<u32>;           // the draw's number, [N, P] as f32 if masked
@group(0) @binding(5) var<storage, read_write> gates: array<f32>;    // [rows, 4H], gates, or with NORM â; after d_gates or d_a
@group(0) @binding(6) var<storage, read_write> d_state: array<f32>;  // d_h [N, P] and d_c [N, H], the final ones, then what
                                                                     // is kept of them, then the start's
@group(0) @binding(7) var<storage, read_write> norm: array<f32>;     // [rows, 3]: 1 / σ of a, mean and 1 / σ of c̃; at sums
                                                                     // [N, 10H] what added up is d_γ, d_γ_c, d_β_c and d_b
@group(0) @binding(8) var<storage, read_write> d_h: array<f32>;      // [rows, P], if PROJECTED

var<workgroup> d_gates: array<vec4f, SEQUENCES * D_LEN>;             // d_gates_{t+1}, or d_a; after the product the terms of sums
                                                                     // over a row, one for each invocation
var<workgroup> sums: array<vec4f, SUMS>;                             // of both products, each part's
var<workgroup> d_h_t: array<f32, max(PROJECTED * SEQUENCES * D_H_LEN, 1u)>;
var<workgroup> totals: array<vec2f, max(NORM * SEQUENCES * SLICES, 1u)>; // of the terms

const SUMS = SEQUENCES * max(PARTS * FOUR_COUNT, PROJECTED * UP_PARTS * UP_COUNT);

// Of an invocation's units and sequences: (d_v, ĉ or c̃, d_o), f and what d_c becomes d_i, d_f and d_g by, d_gates_t, d_c, and
// â.
var<private> d_out: array<vec3f, OWN>;
var<private> factors: array<vec4f, OWN>;
var<private> d_gate: array<vec4f, OWN>;
var<private> d_c: array<f32, OWN>;
var<private> normed: array<vec4f, OWN>;
// What is asked for ahead.
const KEPT = select(1u, OWN, AHEAD);
const ABOVE = select(1u, COLUMN_OWN, AHEAD);
var<private> kept: array<Kept, KEPT>;
var<private> above: array<Above, ABOVE>;
// Of its sequences.
var<private> rows: array<Row, TURNS>;
var<private> means: array<vec2f, TURNS>;
// Of its units: the gains and biases, and the sums for their gradients.
var<private> gains: array<Gains, SLOTS>;
var<private> d_gains: array<Sums, SLOTS>;

struct Kept {
    gates: vec4f,
    c_before: f32,
}

struct Above {
    d_y: f32,
    d_h: f32, // what zoneout passes on
}

struct Row {
    scale: f32,
    mean_c: f32,
    scale_c: f32,
}

struct Gains {
    gates: vec4f,
    biases: vec4f,
    c: vec2f,
}

struct Sums {
    gates: vec4f,
    c: vec2f,
    biases: vec4f,
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
    let way = way_of(group.z);
    here = way;
    let first = first_of(group.x);
    let slots = hidden_count(SLOTS);
    let turns = hidden_count(TURNS);
    let column_slots = hidden_count(COLUMN_SLOTS);
    let column_turns = hidden_count(COLUMN_TURNS);
    let part = local / FOUR_THREADS;
    let column = local % FOUR_THREADS;
    // repeat R in FOURS
    // repeat M in RESIDENT
    let w_R_M = weights(part * UNITS + M, column + R * FOUR_THREADS);
    // end
    // end
    // repeat B in HOLDS
    for (var k = 0u; k < HELD; k++) {
        // repeat R in FOURS
        hold(k, R * THREADS + local, weights(part * UNITS + RESIDENT + k, column + R * FOUR_THREADS));
        // end
    }
    // end
    // Units beyond the last and sequences that have no step yet are multiplied too.
    for (var at = local; at < SEQUENCES * D_LEN; at += THREADS) {
        d_gates[at] = vec4f();
    }
    if PROJECTED != 0u {
        for (var at = local; at < SEQUENCES * D_H_LEN; at += THREADS) {
            d_h_t[at] = 0.0;
        }
    }
    workgroupBarrier();
    var coming = step_at(way, way.end - 1u);
    for (var slot = 0u; slot < slots; slot++) {
        for (var turn = 0u; turn < turns; turn++) {
            enter(unit_at(slot, turn, local, first), slot, turn, coming);
        }
    }
    // The gradient of the start state takes the products once more.
    let walks = way.end - way.begin + select(0u, 1u, way.begin == 0u && params.wants_start != 0u);
    for (var walk = 0u; walk < walks; walk++) {
        let walked = way.end - walk;
        let step = coming;
        coming = step_before(way, walked - 2u, step);
        if first >= max(step.present, step.joining) {
            continue;
        }
        if AHEAD {
            for (var own = 0u; own < COLUMN_OWN; own++) {
                let place = column_at(own % COLUMN_SLOTS, own / COLUMN_SLOTS, local, first);
                above[own % ABOVE] = above_of(place, step);
            }
            for (var own = 0u; own < OWN; own++) {
                let place = unit_at(own % SLOTS, own / SLOTS, local, first);
                kept[own % KEPT] = kept_of(place, step, own);
            }
        }
        workgroupBarrier();
        // repeat S in SEQUENCES
        // repeat R in FOURS
        var sum_S_R = vec4f();
        // end
        // end
        // repeat M in RESIDENT
        // repeat S in SEQUENCES
        let d_M_S = d_gates[S * D_LEN + part * UNITS + M];
        // repeat R in FOURS
        sum_S_R = multiplied(w_R_M, d_M_S, sum_S_R);
        // end
        // end
        // end
        // repeat B in HOLDS
        for (var k = 0u; k < HELD; k++) {
            // repeat R in FOURS
            let w_R = held_block(k, R * THREADS + local);
            // end
            // repeat S in SEQUENCES
            let d_S = d_gates[S * D_LEN + part * UNITS + RESIDENT + k];
            // repeat R in FOURS
            sum_S_R = multiplied(w_R, d_S, sum_S_R);
            // end
            // end
        }
        // end
        for (var m = part * UNITS + RESIDENT + HELD; m < (part + 1u) * UNITS; m++) {
            // repeat R in FOURS
            let w_R = weights(m, column + R * FOUR_THREADS);
            // end
            // repeat S in SEQUENCES
            let d_S = d_gates[S * D_LEN + m];
            // repeat R in FOURS
            sum_S_R = multiplied(w_R, d_S, sum_S_R);
            // end
            // end
        }
        // repeat S in SEQUENCES
        // repeat R in FOURS
        if column + R * FOUR_THREADS < FOUR_COUNT {
            sums[(part * SEQUENCES + S) * FOUR_COUNT + column + R * FOUR_THREADS] = sum_S_R;
        }
        // end
        // end
        workgroupBarrier();
        if PROJECTED != 0u {
            for (var turn = 0u; turn < column_turns; turn++) {
                for (var slot = 0u; slot < column_slots; slot++) {
                    let place = column_at(slot, turn, local, first);
                    let d_h_p = hidden_gradient(place, step, turn * COLUMN_SLOTS + slot);
                    if place.valid {
                        d_h_t[place.s * D_H_LEN + place.j] = d_h_p;
                    }
                    if place.valid && place.n < step.present {
                        d_h[(step.row + place.n) * WIDTH + place.j] = d_h_p;
                    }
                }
            }
            workgroupBarrier();
            go_up(local);
            workgroupBarrier();
        }
        for (var turn = 0u; turn < turns; turn++) {
            let row = moments_of(unit_at(0u, turn, local, first), step);
            rows[turn] = row;
            var term = vec2f();
            for (var slot = 0u; slot < slots; slot++) {
                let place = unit_at(slot, turn, local, first);
                let at = turn * SLOTS + slot;
                var d_u = 0.0;
                if PROJECTED == 0u {
                    d_u = hidden_gradient(place, step, at);
                } else if place.valid {
                    d_u = up_sum(place);
                }
                term += output_gradient(place, step, at, d_u, gains[slot].c, row);
            }
            keep_term(turn, local, term);
        }
        if NORM != 0u {
            workgroupBarrier();
            add_terms(local);
            workgroupBarrier();
        }
        for (var turn = 0u; turn < turns; turn++) {
            let mean = row_total(turn, local) / f32(HIDDEN);
            let row = rows[turn];
            var term = vec2f();
            for (var slot = 0u; slot < slots; slot++) {
                let place = unit_at(slot, turn, local, first);
                term += cell_gradient(place, step, turn * SLOTS + slot, gains[slot], row, mean);
            }
            keep_term(turn, local, term);
        }
        if NORM != 0u {
            workgroupBarrier();
            add_terms(local);
            workgroupBarrier();
            for (var turn = 0u; turn < turns; turn++) {
                means[turn] = row_total(turn, local) / f32(4u * HIDDEN);
            }
        }
        for (var slot = 0u; slot < slots; slot++) {
            let own = gains[slot];
            var sum = d_gains[slot];
            for (var turn = 0u; turn < turns; turn++) {
                let place = unit_at(slot, turn, local, first);
                sum = product_gradients(place, step, turn * SLOTS + slot, turn, own, sum);
                if place.valid && place.n < step.present && walked > 1u && walked == way.begin + 1u {
                    d_state[d_c_place(place)] = d_c[turn * SLOTS + slot];
                }
            }
            d_gains[slot] = sum;
        }
    }
    if NORM != 0u {
        for (var slot = 0u; slot < slots; slot++) {
            for (var turn = 0u; turn < turns; turn++) {
                leave(unit_at(slot, turn, local, first), slot, turn);
            }
        }
    }
}

// The block of one unit's gates and the d_h of four columns: a column for each gate, a row for each of the four.
fn weights(unit: u32, quad: u32) -> mat4x4f {
    if unit >= PADDED || quad >= FOUR_COUNT {
        return mat4x4f();
    }
    let at = here.weights + 4u * unit * FOUR_COUNT + quad;
    return mat4x4f(packed[at], packed[at + FOUR_COUNT], packed[at + 2u * FOUR_COUNT], packed[at + 3u * FOUR_COUNT]);
}

fn d_h_place(place: Pair) -> u32 {
    return here.cell * params.state_apart + place.n * WIDTH + place.j;
}

fn d_c_place(place: Pair) -> u32 {
    return here.cell * params.state_apart + params.batch * WIDTH + place.n * HIDDEN + place.j;
}

// A unit's gains, and what a pair takes over from the dispatch before, whose last step came after `step`.
fn enter(place: Pair, slot: u32, turn: u32, step: Step) {
    if !place.valid {
        return;
    }
    if NORM != 0u && turn == 0u {
        let at = params.gains + here.cell * 3u * PADDED + place.j;
        gains[slot] = Gains(packed[at], packed[at + PADDED], packed[at + 2u * PADDED].xy);
    }
    if place.n >= step.joining {
        return;
    }
    let at = (step.next + place.n) * 4u * HIDDEN + place.j;
    d_gates[place.s * D_LEN + place.j] = four_gates(at);
    d_c[turn * SLOTS + slot] = d_state[d_c_place(place)];
}

fn four_gates(at: u32) -> vec4f {
    return vec4f(gates[at], gates[at + HIDDEN], gates[at + 2u * HIDDEN], gates[at + 3u * HIDDEN]);
}

fn four_of_norm(at: u32) -> vec4f {
    return vec4f(norm[at], norm[at + HIDDEN], norm[at + 2u * HIDDEN], norm[at + 3u * HIDDEN]);
}

fn moments_of(place: Pair, step: Step) -> Row {
    if NORM == 0u || place.n >= step.present {
        return Row();
    }
    let at = moments_place(step.row + place.n);
    return Row(norm[at], norm[at + 1u], norm[at + 2u]);
}

// What the forward pass kept of a pair; with NORM that is â, of which the gates are made once more.
fn kept_of(place: Pair, step: Step, at: u32) -> Kept {
    if !place.valid || place.n >= step.present {
        return Kept();
    }
    let before = select(here.base + place.n, params.batch + step.before + place.n, place.n < step.ongoing);
    var four = four_gates((step.row + place.n) * 4u * HIDDEN + place.j);
    if NORM != 0u {
        normed[at] = four;
        let own = gains[at % SLOTS];
        four = activated(own.gates * four + own.biases);
    }
    return Kept(four, c[before * HIDDEN + place.j]);
}

// The gradient from above.
fn above_of(place: Pair, step: Step) -> Above {
    var d: Above;
    if ZONEOUT != 0u && place.valid && place.n < step.joining {
        d.d_h = d_state[d_h_place(place)];
    }
    if place.valid && place.n < step.present && (step.t >= params.d_y_from || here.cell + 1u < params.layers) {
        d.d_y = d_y[(step.row - here.base + place.n - params.d_y_row) * params.outputs + here.column + place.j];
    }
    return d;
}

// d_h_t of one column, without the share that zoneout passes on.
fn hidden_gradient(place: Pair, step: Step, at: u32) -> f32 {
    if !place.valid {
        return 0.0;
    }
    var d: Above;
    if AHEAD {
        d = above[at % ABOVE];
    } else {
        d = above_of(place, step);
    }
    var d_h_p = 0.0;
    if place.n < step.joining {
        for (var part = 0u; part < PARTS; part++) {
            d_h_p += sums[(part * SEQUENCES + place.s) * FOUR_COUNT + place.j / 4u][place.j % 4u];
        }
        d_h_p *= recurrent_mask(place);
        if ZONEOUT != 0u {
            d_h_p += d.d_h;
        }
    } else if params.has_final != 0u && place.n < step.present {
        d_h_p = d_state[d_h_place(place)];
    }
    if place.n >= step.present {
        if place.n < step.joining && params.wants_start != 0u {
            d_state[d_h_place(place)] = d_h_p;
        }
        return 0.0;
    }
    d_h_p += d.d_y;
    if ZONEOUT != 0u {
        let passed_on = zone_shares(place, step).x * d_h_p;
        d_state[d_h_place(place)] = passed_on;
        d_h_p -= passed_on;
    }
    return normal(d_h_p);
}

// The sums of d_h_t · W_hr of this invocation's part.
fn go_up(local: u32) {
    let part = local / UP_THREADS;
    let quad = local % UP_THREADS;
    if part >= UP_PARTS {
        return;
    }
    // repeat S in SEQUENCES
    // repeat R in UP_FOURS
    var sum_S_R = vec4f();
    // end
    // end
    for (var q = part * UP_QUADS; q < (part + 1u) * UP_QUADS; q++) {
        // repeat R in UP_FOURS
        let w_R = projection(q, quad + R * UP_THREADS);
        // end
        // repeat S in SEQUENCES
        let d_S = d_h_four(S, q);
        // repeat R in UP_FOURS
        sum_S_R = multiplied(w_R, d_S, sum_S_R);
        // end
        // end
    }
    // repeat S in SEQUENCES
    // repeat R in UP_FOURS
    if quad + R * UP_THREADS < UP_COUNT {
        sums[((part * SEQUENCES + S) * UP_COUNT + quad + R * UP_THREADS) % SUMS] = sum_S_R;
    }
    // end
    // end
}

// The block of four columns of h and four units: a column for each of h's, a row for each unit.
fn projection(columns: u32, quad: u32) -> mat4x4f {
    if 4u * columns >= WIDE || quad >= UP_COUNT {
        return mat4x4f();
    }
    let at = params.w_hr + (2u * here.cell + 1u) * WIDE * UP_COUNT + 4u * columns * UP_COUNT + quad;
    return mat4x4f(packed[at], packed[at + UP_COUNT], packed[at + 2u * UP_COUNT], packed[at + 3u * UP_COUNT]);
}

fn d_h_four(s: u32, quad: u32) -> vec4f {
    let at = (s * D_H_LEN + 4u * quad) % (SEQUENCES * D_H_LEN);
    return vec4f(d_h_t[at], d_h_t[at + 1u], d_h_t[at + 2u], d_h_t[at + 3u]);
}

fn up_sum(place: Pair) -> f32 {
    var sum = 0.0;
    if place.valid {
        for (var part = 0u; part < UP_PARTS; part++) {
            sum += sums[(part * SEQUENCES + place.s) * UP_COUNT + place.j / 4u][place.j % 4u];
        }
    }
    return sum;
}

fn keep_term(turn: u32, local: u32, value: vec2f) {
    let s = turn * SIDE + local / PADDED;
    if NORM != 0u && local / PADDED < SIDE && s < SEQUENCES {
        d_gates[s * D_LEN + local % PADDED] = vec4f(value, 0.0, 0.0);
    }
}

fn add_terms(local: u32) {
    for (var index = local; index < SEQUENCES * SLICES; index += THREADS) {
        let begin = index % SLICES * SLICE;
        let end = min(begin + hidden_count(SLICE), TERMS);
        var sum = vec2f();
        for (var lane = begin; lane < end; lane++) {
            sum += d_gates[index / SLICES * D_LEN + lane].xy;
        }
        totals[index] = sum;
    }
}

fn row_total(turn: u32, local: u32) -> vec2f {
    var sum = vec2f();
    if NORM != 0u {
        let s = min(turn * SIDE + local / PADDED, SEQUENCES - 1u);
        for (var slice = 0u; slice < SLICES; slice++) {
            sum += totals[s * SLICES + slice];
        }
    }
    return sum;
}

// d_v and d_o of one unit; its share in the sums of γ_c ∘ d_v and γ_c ∘ d_v ∘ ĉ.
fn output_gradient(place: Pair, step: Step, at: u32, d_u: f32, own: vec2f, row: Row) -> vec2f {
    if !place.valid {
        return vec2f();
    }
    if place.n >= step.present {
        if place.n < step.joining && params.wants_start != 0u {
            d_state[d_c_place(place)] = d_c[at];
        }
        d_c[at] = 0.0;
        return vec2f();
    }
    if place.n >= step.joining {
        d_c[at] = 0.0;
        if params.has_final != 0u {
            d_c[at] = d_state[d_c_place(place)];
        }
    }
    var before: Kept;
    if AHEAD {
        before = kept[at % KEPT];
    } else {
        before = kept_of(place, step, at);
    }
    factors[at] = vec4f(cell_slopes(before.gates, before.c_before), before.gates.y);
    var c_normed = cell_state(before.gates, before.c_before);
    var v = c_normed;
    if NORM != 0u {
        c_normed = (c_normed - row.mean_c) * row.scale_c;
        v = own.x * c_normed + own.y;
    }
    let out = output_slopes(before.gates.w, tangent(v));
    let d_v = d_u * out.x;
    d_out[at] = vec3f(d_v, c_normed, d_u * out.y);
    return own.x * d_v * vec2f(1.0, c_normed);
}

// The gradients of one unit's gates and of its c before the step; its share in the sums for `product_gradients`.
fn cell_gradient(place: Pair, step: Step, at: u32, own: Gains, row: Row, mean: vec2f) -> vec2f {
    if !place.valid || place.n >= step.present {
        return vec2f();
    }
    let d_v = d_out[at];
    var through = d_v.x;
    if NORM != 0u {
        through = row.scale_c * (own.c.x * d_v.x - mean.x - d_v.y * mean.y);
    }
    let d_c_after = d_c[at];
    var d_c_kept = 0.0;
    if ZONEOUT != 0u {
        d_c_kept = zone_shares(place, step).y * d_c_after;
    }
    let d_c_t = normal(d_c_after - d_c_kept + through);
    let factor = factors[at];
    let d = vec4f(d_c_t * factor.xyz, d_v.z);
    d_gate[at] = d;
    d_c[at] = d_c_t * factor.w + d_c_kept;
    if NORM == 0u {
        return vec2f();
    }
    let d_normed = own.gates * d;
    return vec2f(dot(d_normed, vec4f(1.0)), dot(d_normed, normed[at]));
}

// What goes to the products, and the sums for the gradients of the gains with this step's.
fn product_gradients(place: Pair, step: Step, at: u32, turn: u32, own: Gains, before: Sums) -> Sums {
    var sum = before;
    var d = d_gate[at];
    if place.valid && place.n < step.present {
        if NORM != 0u {
            sum.gates += d * normed[at];
            sum.c += d_out[at].x * vec2f(d_out[at].y, 1.0);
            sum.biases += d;
            d = rows[turn].scale * (own.gates * d - means[turn].x - normed[at] * means[turn].y);
        }
        let gate = (step.row + place.n) * 4u * HIDDEN + place.j;
        gates[gate] = d.x;
        gates[gate + HIDDEN] = d.y;
        gates[gate + 2u * HIDDEN] = d.z;
        gates[gate + 3u * HIDDEN] = d.w;
        d_gates[place.s * D_LEN + place.j] = d;
    }
    return sum;
}

// The sums for the gradients of the gains: those of all an invocation's sequences in the row of the first.
fn leave(place: Pair, slot: u32, turn: u32) {
    if !place.valid {
        return;
    }
    let at = here.cell * params.norm_apart + params.sums + place.n * 10u * HIDDEN + place.j;
    var sum = d_gains[slot];
    if turn > 0u {
        sum = Sums();
    } else if here.end < params.steps {
        sum.gates += four_of_norm(at);
        sum.c += vec2f(norm[at + 4u * HIDDEN], norm[at + 5u * HIDDEN]);
        sum.biases += four_of_norm(at + 6u * HIDDEN);
    }
    for (var gate = 0u; gate < 4u; gate++) {
        norm[at + gate * HIDDEN] = sum.gates[gate];
        norm[at + (6u + gate) * HIDDEN] = sum.biases[gate];
    }
    norm[at + 4u * HIDDEN] = sum.c.x;
    norm[at + 5u * HIDDEN] = sum.c.y;
}
