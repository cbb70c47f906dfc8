// All time steps of one direction of one layer, or of several, in one dispatch, as lstm_persistent_forward, with layer normalisation
// or a projection; x̂ is a row less its mean, divided by √(its variance + 1e-5):
//   (i, f, g, o) = γ ∘ â + b_ih + b_hh, where a = x_t · W_ihᵀ + h_{t−1} · W_hhᵀ; without NORM a, which has the biases;
//   then i, f, o through σ and g through tanh
//   c̃_t = f ∘ c_{t−1} + i ∘ g        u_t = o ∘ tanh(γ_c ∘ ĉ + β_c), ĉ of c̃_t; without NORM o ∘ tanh(c̃_t)
//   h_t = u_t · W_hrᵀ if PROJECTED, else u_t
// With ZONEOUT, elements of c_t and h_t keep their value from the step before. With NORM â is kept in place of the gates, which
// the way back makes from it once more.
// Workgroups and parts of the first product are those of lstm_persistent_forward. In the second an invocation has, of the
// fours of h's columns, u, u + FOUR_THREADS, … (FOURS of them), and its part's units. With lstm_persistent_shared.wgsl,
// lstm_persistent_full_shared.wgsl, lstm_persistent_held.wgsl, lstm_gates.wgsl and lstm_zone.wgsl.

const HIDDEN = 4u;
const WIDTH = 4u;       // of h
const SEQUENCES = 1u;
const UNIT_THREADS = 4u;
const UNITS = 1u;
const PARTS = 1u;
const QUADS = 2u;       // blocks of a part
const RESIDENT = 1u;
const HELD = 1u;        // of the others, in workgroup memory
const HOLDS = 1u;       // or 0, if none are
const ZONEOUT = 0u;     // or 1, as the two below
const NORM = 1u;
const PROJECTED = 1u;
const FOUR_THREADS = 1u;
const FOURS = 1u;
const FOUR_PARTS = 1u;
const FOUR_QUADS = 1u;  // blocks of a part of the projection
const R = 0u;
const Q = 0u;
const S = 0u;

const THREADS = UNIT_THREADS * PARTS;
const HELD_APART = UNITS * THREADS;
const COLUMNS = 4u * QUADS;
const FOUR_COUNT = WIDE / 4u;
const U_LEN = 4u * FOUR_PARTS * FOUR_QUADS;
const TOTALS = SEQUENCES * TERMS;
const EPS = 1e-5;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> packed: array<vec4f>;
@group(0) @binding(2) var<storage, read> mask: array<u32>;         // the draw's number, [N, P] as f32 if masked
@group(0) @binding(3) var<storage, read_write> gates: array<f32>;  // [rows, 4H], gates, or with NORM â; in: the part of a
                                                                   // that x_t gives
@group(0) @binding(4) var<storage, read_write> h_in: array<f32>;   // [rows (+ N), P]
@group(0) @binding(5) var<storage, read_write> c: array<f32>;      // [N + rows, H]
@group(0) @binding(6) var<storage, read_write> y: array<f32>;      // [rows, R · P], unless shared_output
@group(0) @binding(7) var<storage, read_write> u: array<f32>;      // [rows, H], if PROJECTED
@group(0) @binding(8) var<storage, read_write> norm: array<f32>;   // [rows, 3]: 1 / σ of a, mean and 1 / σ of c̃

var<workgroup> h: array<f32, SEQUENCES * PARTS * COLUMNS>;         // h_{t−1}
var<workgroup> sums: array<vec4f, SUMS>;                           // of both products, each part's
var<workgroup> u_t: array<f32, max(PROJECTED * SEQUENCES * U_LEN, 1u)>;
var<workgroup> terms: array<vec2f, max(NORM * SEQUENCES * (TERMS + SLICES), 1u)>; // moments of each invocation's units

// The sums of one part are those of the invocation's own units.
const SUMS = SEQUENCES * max(max(min(PARTS - 1u, 1u) * PARTS * PADDED, PROJECTED * FOUR_PARTS * FOUR_COUNT), 1u);

// Of an invocation's units and sequences: a, first what x_t gives, c_{t−1}, and (c̃_t, o).
var<private> products: array<vec4f, OWN>;
var<private> c_before: array<f32, OWN>;
var<private> fresh: array<vec2f, OWN>;
// Of its sequences: the sums of a over its units; mean and 1 / σ of a, and of c̃.
var<private> unit_sums: array<vec4f, TURNS>;
var<private> gate_rows: array<vec2f, TURNS>;
var<private> cell_rows: array<vec2f, TURNS>;
// Of its units.
var<private> gains: array<Gains, SLOTS>;

struct Gains {
    gates: vec4f,
    biases: vec4f,
    c: vec2f,
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
    let way = way_of(group.z);
    here = way;
    let first = first_of(group.x);
    let slots = hidden_count(SLOTS);
    let turns = hidden_count(TURNS);
    let part = local / UNIT_THREADS;
    let unit = local % UNIT_THREADS;
    // repeat R in UNITS
    // repeat Q in RESIDENT
    let w_R_Q = weights(part * QUADS + Q, unit + R * UNIT_THREADS);
    // end
    // end
    // repeat B in HOLDS
    for (var k = 0u; k < HELD; k++) {
        // repeat R in UNITS
        hold(k, R * THREADS + local, weights(part * QUADS + RESIDENT + k, unit + R * UNIT_THREADS));
        // end
    }
    // end
    // Columns beyond the last and sequences that are not there yet are multiplied too.
    for (var at = local; at < SEQUENCES * PARTS * COLUMNS; at += THREADS) {
        h[at] = 0.0;
    }
    if PROJECTED != 0u {
        for (var at = local; at < SEQUENCES * U_LEN; at += THREADS) {
            u_t[at] = 0.0;
        }
    }
    workgroupBarrier();
    var coming = step_at(way, way.begin);
    enter(local, first, coming);
    for (var index = way.begin; index < way.end; index++) {
        let step = coming;
        coming = step_after(way, index + 1u, step);
        if first >= max(step.present, step.joining) {
            continue;
        }
        // Asked for before the products, so that they are there after them.
        for (var turn = 0u; turn < turns; turn++) {
            var sum = vec4f();
            for (var slot = 0u; slot < slots; slot++) {
                let a = input_gates(unit_at(slot, turn, local, first), step);
                products[turn * SLOTS + slot] = a;
                sum += a;
            }
            unit_sums[turn] = sum;
        }
        workgroupBarrier();
        // repeat S in SEQUENCES
        // repeat R in UNITS
        var sum_S_R = vec4f();
        // end
        // end
        // repeat Q in RESIDENT
        // repeat S in SEQUENCES
        let h_Q_S = four(S, part * QUADS + Q);
        // repeat R in UNITS
        sum_S_R = multiplied(w_R_Q, h_Q_S, sum_S_R);
        // end
        // end
        // end
        // repeat B in HOLDS
        for (var k = 0u; k < HELD; k++) {
            // repeat R in UNITS
            let w_R = held_block(k, R * THREADS + local);
            // end
            // repeat S in SEQUENCES
            let h_S = four(S, part * QUADS + RESIDENT + k);
            // repeat R in UNITS
            sum_S_R = multiplied(w_R, h_S, sum_S_R);
            // end
            // end
        }
        // end
        for (var q = part * QUADS + RESIDENT + HELD; q < (part + 1u) * QUADS; q++) {
            // repeat R in UNITS
            let w_R = weights(q, unit + R * UNIT_THREADS);
            // end
            // repeat S in SEQUENCES
            let h_S = four(S, q);
            // repeat R in UNITS
            sum_S_R = multiplied(w_R, h_S, sum_S_R);
            // end
            // end
        }
        // repeat S in SEQUENCES
        // repeat R in UNITS
        if PARTS == 1u {
            products[(S * SLOTS + R) % OWN] += sum_S_R;
        } else if unit + R * UNIT_THREADS < PADDED {
            sums[((part * SEQUENCES + S) * PADDED + unit + R * UNIT_THREADS) % SUMS] = sum_S_R;
        }
        // end
        // end
        if PARTS == 1u {
            // repeat S in SEQUENCES
            var total_S = vec4f();
            // repeat R in UNITS
            total_S += sum_S_R;
            // end
            unit_sums[S % TURNS] += total_S;
            // end
        } else {
            workgroupBarrier();
            for (var turn = 0u; turn < turns; turn++) {
                var sum = vec4f();
                for (var slot = 0u; slot < slots; slot++) {
                    let r = recurrent_sum(unit_at(slot, turn, local, first));
                    products[turn * SLOTS + slot] += r;
                    sum += r;
                }
                unit_sums[turn] += sum;
            }
        }
        if NORM != 0u {
            for (var turn = 0u; turn < turns; turn++) {
                keep_term(turn, local, gate_moments(turn, slots, local));
            }
            workgroupBarrier();
            merge_terms(4.0, local);
            workgroupBarrier();
            for (var turn = 0u; turn < turns; turn++) {
                gate_rows[turn] = row_moments(turn, 4.0, local);
            }
        }
        for (var slot = 0u; slot < slots; slot++) {
            let own = gains[slot];
            for (var turn = 0u; turn < turns; turn++) {
                cell_step(unit_at(slot, turn, local, first), step, turn * SLOTS + slot, own, gate_rows[turn]);
            }
        }
        if NORM != 0u {
            for (var turn = 0u; turn < turns; turn++) {
                keep_term(turn, local, cell_moments(turn, slots, local));
            }
            workgroupBarrier();
            merge_terms(1.0, local);
            workgroupBarrier();
            for (var turn = 0u; turn < turns; turn++) {
                cell_rows[turn] = row_moments(turn, 1.0, local);
            }
        }
        for (var slot = 0u; slot < slots; slot++) {
            let own = gains[slot].c;
            for (var turn = 0u; turn < turns; turn++) {
                output_step(unit_at(slot, turn, local, first), step, fresh[turn * SLOTS + slot], own, cell_rows[turn]);
            }
        }
        if PROJECTED != 0u {
            workgroupBarrier();
            project(local);
            workgroupBarrier();
            for (var turn = 0u; turn < hidden_count(COLUMN_TURNS); turn++) {
                for (var slot = 0u; slot < hidden_count(COLUMN_SLOTS); slot++) {
                    let place = column_at(slot, turn, local, first);
                    var h_t = 0.0;
                    if place.valid {
                        h_t = projection_sum(place);
                    }
                    publish(place, step, h_t);
                }
            }
        }
    }
}

// The block of four columns of h and one unit: a column for each of h's, a row for each gate.
fn weights(quad: u32, unit: u32) -> mat4x4f {
    if 4u * quad >= WIDE || unit >= PADDED {
        return mat4x4f();
    }
    let at = here.weights + 4u * quad * PADDED + unit;
    return mat4x4f(packed[at], packed[at + PADDED], packed[at + 2u * PADDED], packed[at + 3u * PADDED]);
}

fn four(s: u32, quad: u32) -> vec4f {
    let at = s * PARTS * COLUMNS + 4u * quad;
    return vec4f(h[at], h[at + 1u], h[at + 2u], h[at + 3u]);
}

fn recurrent_sum(place: Pair) -> vec4f {
    var sum = vec4f();
    if place.valid {
        for (var part = 0u; part < PARTS; part++) {
            sum += sums[(part * SEQUENCES + place.s) * PADDED + place.j];
        }
    }
    return sum;
}

// The state that the invocation's units and columns enter the dispatch with, at its first step.
fn enter(local: u32, first: u32, step: Step) {
    for (var slot = 0u; slot < hidden_count(SLOTS); slot++) {
        for (var turn = 0u; turn < hidden_count(TURNS); turn++) {
            let place = unit_at(slot, turn, local, first);
            if !place.valid {
                continue;
            }
            if turn == 0u && NORM != 0u {
                let at = params.gains + here.cell * 3u * PADDED + place.j;
                gains[slot] = Gains(packed[at], packed[at + PADDED], packed[at + 2u * PADDED].xy);
            }
            var before = start_c(place);
            if here.begin > 0u && place.n < step.ongoing {
                before = c[(params.batch + step.before + place.n) * HIDDEN + place.j];
            }
            c_before[turn * SLOTS + slot] = before;
            if here.begin == 0u {
                c[(here.base + place.n) * HIDDEN + place.j] = before;
            }
        }
    }
    for (var slot = 0u; slot < hidden_count(COLUMN_SLOTS); slot++) {
        for (var turn = 0u; turn < hidden_count(COLUMN_TURNS); turn++) {
            let place = column_at(slot, turn, local, first);
            if place.valid && here.begin > 0u && place.n < step.ongoing {
                h[h_place(place)] = h_in[(step.row + place.n) * WIDTH + place.j];
            } else if place.valid && place.n < step.present {
                join(place, step.row);
            }
        }
    }
}

// A sequence starts at a step whose first row is `row`.
fn join(place: Pair, row: u32) {
    let h_start = start_h(place) * recurrent_mask(place);
    h[h_place(place)] = h_start;
    h_in[(row + place.n) * WIDTH + place.j] = h_start;
}

fn start_h(place: Pair) -> f32 {
    return start_element(place.n * WIDTH + place.j);
}

fn start_c(place: Pair) -> f32 {
    return start_element(params.batch * WIDTH + place.n * HIDDEN + place.j);
}

fn start_element(index: u32) -> f32 {
    if params.has_start == 0u {
        return 0.0;
    }
    let at = params.start + here.cell * params.batch * (WIDTH + HIDDEN) + index;
    return packed[at / 4u][at % 4u];
}

fn h_place(place: Pair) -> u32 {
    return place.s * PARTS * COLUMNS + place.j;
}

fn input_gates(place: Pair, step: Step) -> vec4f {
    if !place.valid || place.n >= step.present {
        return vec4f();
    }
    let at = (step.row + place.n) * 4u * HIDDEN + place.j;
    return vec4f(gates[at], gates[at + HIDDEN], gates[at + 2u * HIDDEN], gates[at + 3u * HIDDEN]);
}

// Moments of a group of elements: the mean, and the sum of squares about it.
fn gate_moments(turn: u32, slots: u32, local: u32) -> vec2f {
    let mean = dot(unit_sums[turn], vec4f(1.0)) / max(4.0 * units_of(local % PADDED, 1u), 1.0);
    var squares = 0.0;
    for (var slot = 0u; slot < slots; slot++) {
        if slot * THREADS + local % PADDED < HIDDEN {
            let apart = products[turn * SLOTS + slot] - mean;
            squares += dot(apart, apart);
        }
    }
    return vec2f(mean, squares);
}

fn cell_moments(turn: u32, slots: u32, local: u32) -> vec2f {
    var mean = 0.0;
    for (var slot = 0u; slot < slots; slot++) {
        mean += fresh[turn * SLOTS + slot].x;
    }
    mean /= max(units_of(local % PADDED, 1u), 1.0);
    var squares = 0.0;
    for (var slot = 0u; slot < slots; slot++) {
        if slot * THREADS + local % PADDED < HIDDEN {
            let apart = fresh[turn * SLOTS + slot].x - mean;
            squares += apart * apart;
        }
    }
    return vec2f(mean, squares);
}

fn keep_term(turn: u32, local: u32, value: vec2f) {
    let s = turn * SIDE + local / PADDED;
    if local / PADDED < SIDE && s < SEQUENCES {
        terms[s * TERMS + local % PADDED] = value;
    }
}

// The moments of each sequence's slices, each of `each` elements a unit.
fn merge_terms(each: f32, local: u32) {
    for (var index = local; index < SEQUENCES * SLICES; index += THREADS) {
        let begin = index % SLICES * SLICE;
        let end = min(begin + hidden_count(SLICE), TERMS);
        terms[TOTALS + index] = merged(index / SLICES * TERMS, begin, end, 1u, each);
    }
}

// Mean and 1 / σ of a sequence's row.
fn row_moments(turn: u32, each: f32, local: u32) -> vec2f {
    let totals = TOTALS + min(turn * SIDE + local / PADDED, SEQUENCES - 1u) * SLICES;
    var row = terms[totals];
    if SLICES != 1u {
        row = merged(totals, 0u, SLICES, SLICE, each);
    }
    return vec2f(row.x, 1.0 / sqrt(row.y / (each * f32(HIDDEN)) + EPS));
}

// The moments of groups `begin` to `end` of `width` invocations each as one (Chan, Golub & LeVeque 1979).
fn merged(base: u32, begin: u32, end: u32, width: u32, each: f32) -> vec2f {
    var units = 0.0;
    var mean = 0.0;
    for (var group = begin; group < end; group++) {
        let count = units_of(group * width, width);
        units += count;
        mean += count * terms[base + group].x;
    }
    mean /= max(units, 1.0);
    var squares = 0.0;
    for (var group = begin; group < end; group++) {
        let apart = terms[base + group].x - mean;
        squares += terms[base + group].y + each * units_of(group * width, width) * apart * apart;
    }
    return vec2f(mean, squares);
}

fn cell_step(place: Pair, step: Step, at: u32, own: Gains, moments: vec2f) {
    if !place.valid || place.n >= step.present {
        if place.valid && place.n < step.joining {
            c_before[at] = start_c(place);
        }
        return;
    }
    let row = step.row + place.n;
    let gate = row * 4u * HIDDEN + place.j;
    var z = products[at];
    if NORM != 0u {
        let normed = (z - moments.x) * moments.y;
        keep_gates(gate, normed);
        z = own.gates * normed + own.biases;
        if place.j == 0u {
            norm[moments_place(row)] = moments.y;
        }
    }
    let four = activated(z);
    if NORM == 0u {
        keep_gates(gate, four);
    }
    let c_fresh = cell_state(four, c_before[at]);
    var c_t = c_fresh;
    if ZONEOUT != 0u {
        c_t = zoned(zone_shares(place, step).y, c_before[at], c_fresh);
    }
    c[(params.batch + row) * HIDDEN + place.j] = c_t;
    c_before[at] = c_t;
    fresh[at] = vec2f(c_fresh, four.w);
}

fn keep_gates(at: u32, four: vec4f) {
    gates[at] = four.x;
    gates[at + HIDDEN] = four.y;
    gates[at + 2u * HIDDEN] = four.z;
    gates[at + 3u * HIDDEN] = four.w;
}

// u_t of one unit from (c̃_t, o).
fn output_step(place: Pair, step: Step, fresh: vec2f, own: vec2f, row: vec2f) {
    var u_fresh = 0.0;
    if place.valid && place.n < step.present {
        var v = fresh.x;
        if NORM != 0u {
            v = own.x * ((v - row.x) * row.y) + own.y;
            if place.j == 0u {
                let at = moments_place(step.row + place.n);
                norm[at + 1u] = row.x;
                norm[at + 2u] = row.y;
            }
        }
        u_fresh = fresh.y * tangent(v);
        if PROJECTED != 0u {
            u_t[place.s * U_LEN + place.j] = u_fresh;
            u[(step.row + place.n) * HIDDEN + place.j] = u_fresh;
        }
    }
    if PROJECTED == 0u {
        publish(place, step, u_fresh);
    }
}

// The sums of u_t · W_hrᵀ of this invocation's part.
fn project(local: u32) {
    let part = local / FOUR_THREADS;
    let column = local % FOUR_THREADS;
    if part >= FOUR_PARTS {
        return;
    }
    // repeat S in SEQUENCES
    // repeat R in FOURS
    var sum_S_R = vec4f();
    // end
    // end
    for (var q = part * FOUR_QUADS; q < (part + 1u) * FOUR_QUADS; q++) {
        // repeat R in FOURS
        let w_R = projection(q, column + R * FOUR_THREADS);
        // end
        // repeat S in SEQUENCES
        let u_S = u_four(S, q);
        // repeat R in FOURS
        sum_S_R = multiplied(w_R, u_S, sum_S_R);
        // end
        // end
    }
    // repeat S in SEQUENCES
    // repeat R in FOURS
    if column + R * FOUR_THREADS < FOUR_COUNT {
        sums[((part * SEQUENCES + S) * FOUR_COUNT + column + R * FOUR_THREADS) % SUMS] = sum_S_R;
    }
    // end
    // end
}

// The block of four units and four columns of h: a column for each unit, a row for each of h's.
fn projection(quad: u32, column: u32) -> mat4x4f {
    if 4u * quad >= PADDED || column >= FOUR_COUNT {
        return mat4x4f();
    }
    let at = params.w_hr + here.cell * 2u * PADDED * FOUR_COUNT + 4u * quad * FOUR_COUNT + column;
    return mat4x4f(packed[at], packed[at + FOUR_COUNT], packed[at + 2u * FOUR_COUNT], packed[at + 3u * FOUR_COUNT]);
}

fn u_four(s: u32, quad: u32) -> vec4f {
    let at = (s * U_LEN + 4u * quad) % (SEQUENCES * U_LEN);
    return vec4f(u_t[at], u_t[at + 1u], u_t[at + 2u], u_t[at + 3u]);
}

fn projection_sum(place: Pair) -> f32 {
    var sum = 0.0;
    for (var part = 0u; part < FOUR_PARTS; part++) {
        sum += sums[(part * SEQUENCES + place.s) * FOUR_COUNT + place.j / 4u][place.j % 4u];
    }
    return sum;
}

// One column of h_t goes to the output and into the next step; a sequence that starts there joins.
fn publish(place: Pair, step: Step, h_fresh: f32) {
    if !place.valid || place.n >= step.present {
        if place.valid && place.n < step.joining {
            join(place, step.next);
        }
        return;
    }
    var h_t = h_fresh;
    if ZONEOUT != 0u {
        h_t = zoned(zone_shares(place, step).x, h_before(place, step), h_fresh);
    }
    let masked = h_t * recurrent_mask(place);
    h[h_place(place)] = masked;
    if params.shared_output == 0u {
        y[(step.row - here.base + place.n) * params.outputs + here.column + place.j] = h_t;
    }
    if params.shared_output != 0u || place.n < step.following {
        h_in[(step.next + place.n) * WIDTH + place.j] = masked;
    }
}

// h of the step before, as it was before recurrent dropout.
fn h_before(place: Pair, step: Step) -> f32 {
    if params.masked == 0u {
        return h[h_place(place)];
    }
    if place.n < step.ongoing {
        return y[(step.before - here.base + place.n) * params.outputs + here.column + place.j];
    }
    return start_h(place);
}
