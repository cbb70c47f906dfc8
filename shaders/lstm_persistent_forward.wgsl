// All time steps of one direction of one layer, or of several such cells, in one dispatch, the recurrent weights kept on
// chip:
//   (i, f, g, o) += h_{t−1} · W_hhᵀ, then i, f, o through σ and g through tanh
//   c_t = f ∘ c_{t−1} + i ∘ g        h_t = o ∘ tanh(c_t)
// With INPUTS the product of x, which has so many columns, is made here too. With ZONEOUT, elements of c_t and h_t keep their
// value from the step before.
// One workgroup per SEQUENCES sequences, a layer of the grid per cell. Its invocations make PARTS parts: an invocation holds,
// of its units u, u + ITEM_THREADS, … (ITEMS of them), the weights of its part's columns of h, a 4 × 4 block for the four gates
// and four columns. What the parts sum up meets in workgroup memory, from where each invocation takes PAIRS (unit, sequence)
// pairs on, or without FAR in the part's own invocations, whose pairs are those of its units: that, with two SIDES, spares a
// barrier a step. With SPREAD, of one sequence, each part activates some of a unit's gates, and all parts go on from there. Of a
// part's blocks beyond the first RESIDENT the next HELD are in workgroup memory, and the others are read again at each step.
// Lines between `repeat X in COUNT` and `end` are compiled COUNT times, with 0, 1, … for X; as they stand here they are the
// kernel for four units. With lstm_persistent_shared.wgsl, lstm_persistent_pairs.wgsl, lstm_persistent_alone.wgsl or
// lstm_persistent_lanes.wgsl, lstm_persistent_held.wgsl, lstm_gates.wgsl and lstm_zone.wgsl.

const HIDDEN = 4u;
const SEQUENCES = 1u;
const ITEM_THREADS = 4u;
const ITEMS = 1u;
const PARTS = 1u;
const BLOCKS = 2u;    // of a part
const RESIDENT = 1u;
const HELD = 1u;      // of the others, in workgroup memory
const HOLDS = 1u;     // or 0, if none are
const INPUTS = 1u;    // to 4, or 0 if `gates` has x · W_ihᵀ + b_ih + b_hh
const ZONEOUT = 0u;   // or 1
const FAR = 1u;       // or 0, where a unit's parts are one, or of one subgroup
const SIDES = 1u;     // or 2, if what a step writes has room beside what it reads
const I = 0u;
const R = 0u;
const Q = 0u;
const S = 0u;

const PADDED = (HIDDEN + 3u) / 4u * 4u;
const THREADS = ITEM_THREADS * PARTS;
const HELD_APART = ITEMS * THREADS;
const COLUMNS = 4u * BLOCKS;
const INPUT_PAIRS = select(1u, PAIRS, INPUTS > 0u);
const ITEM = 1u;      // units
const H_LEN = SEQUENCES * PARTS * COLUMNS;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> packed: array<array<vec4f, PADDED>>;
@group(0) @binding(2) var<storage, read> h_0: array<f32>;            // [L · R, N, H], if has_start; with INPUTS x [rows, D]
@group(0) @binding(3) var<storage, read> c_0: array<f32>;            // [L · R, N, H], if has_start; with INPUTS all parameters
@group(0) @binding(4) var<storage, read> mask: array<u32>;           // the draw's number, [N, H] as f32 if masked
@group(0) @binding(5) var<storage, read_write> gates: array<Gates>;  // [rows, 4H], in without INPUTS
@group(0) @binding(6) var<storage, read_write> h_in: array<Units>;   // [rows (+ N), H]
@group(0) @binding(7) var<storage, read_write> c: array<Units>;      // [N + rows, H]
@group(0) @binding(8) var<storage, read_write> y: array<f32>;        // [rows, R · H], unless shared_output

var<workgroup> h: array<f32, SIDES * H_LEN>;                        // h_{t−1}, with two SIDES beside h_t
// repeat F in FAR
var<workgroup> sums: array<vec4f, PARTS * SEQUENCES * PADDED>;      // h_{t−1} · W_hhᵀ, each part's
// end

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
    let way = way_of(group.z);
    here = way;
    let first = first_of(group.x);
    let pairs = pair_count();
    part = part_of(local);
    let u = item_of(local);
    // repeat R in ITEMS
    // repeat Q in RESIDENT
    let w_R_Q = weights(part * BLOCKS + Q, u + R * ITEM_THREADS);
    // end
    // end
    // repeat B in HOLDS
    for (var k = 0u; k < HELD; k++) {
        // repeat R in ITEMS
        hold(k, R * THREADS + local, weights(part * BLOCKS + RESIDENT + k, u + R * ITEM_THREADS));
        // end
    }
    // end
    // Columns beyond the last and sequences that are not there yet are multiplied too.
    for (var at = local; at < SIDES * H_LEN; at += THREADS) {
        h[at] = 0.0;
    }
    workgroupBarrier();
    var c_before: array<f32, PAIRS>;
    var own_inputs: array<Inputs, INPUT_PAIRS>;
    // Asked for a step ahead.
    var z: array<vec4f, PAIRS>;
    var coming = step_at(way, way.begin);
    for (var p = 0u; p < pairs; p++) {
        let place = pair(p, local, first);
        c_before[p] = enter(place, coming);
        own_inputs[p % INPUT_PAIRS] = input_weights(place);
        z[p] = entering(place, coming);
    }
    for (var index = way.begin; index < way.end; index++) {
        let step = coming;
        coming = step_after(way, index + 1u, step);
        if first >= max(step.present, step.joining) {
            continue;
        }
        turn_over(H_LEN);
        workgroupBarrier();
        // repeat S in SEQUENCES
        // repeat R in ITEMS
        var sum_S_R = vec4f();
        if SPREAD {
            sum_S_R = input_gates(z[0], own_inputs[0]);
        }
        // end
        // end
        // repeat Q in RESIDENT
        // repeat S in SEQUENCES
        let h_Q_S = four(S, part * BLOCKS + Q);
        // repeat R in ITEMS
        sum_S_R = multiplied(w_R_Q, h_Q_S, sum_S_R);
        // end
        // end
        // end
        // repeat B in HOLDS
        for (var k = 0u; k < HELD; k++) {
            // repeat R in ITEMS
            let w_R = held_block(k, R * THREADS + local);
            // end
            // repeat S in SEQUENCES
            let h_S = four(S, part * BLOCKS + RESIDENT + k);
            // repeat R in ITEMS
            sum_S_R = multiplied(w_R, h_S, sum_S_R);
            // end
            // end
        }
        // end
        for (var q = part * BLOCKS + RESIDENT + HELD; q < (part + 1u) * BLOCKS; q++) {
            // repeat R in ITEMS
            let w_R = weights(q, u + R * ITEM_THREADS);
            // end
            // repeat S in SEQUENCES
            let h_S = four(S, q);
            // repeat R in ITEMS
            sum_S_R = multiplied(w_R, h_S, sum_S_R);
            // end
            // end
        }
        // repeat S in SEQUENCES
        // repeat R in ITEMS
        if SPREAD {
            z[0] = gates_over_parts(sum_S_R);
        } else if FAR == 0u {
            let product_S_R = over_parts(sum_S_R);
            if SEQUENCES == 1u || S % PARTS == part {
                let p = (S / PARTS * ITEMS + R) % PAIRS;
                z[p] = input_gates(z[p], own_inputs[p % INPUT_PAIRS]) + product_S_R;
            }
        }
        // repeat F in FAR
        if u + R * ITEM_THREADS < PADDED {
            sums[(part * SEQUENCES + S) * PADDED + u + R * ITEM_THREADS] = sum_S_R;
        }
        // end
        // end
        // end
        if SIDES == 1u {
            workgroupBarrier();
        }
        for (var p = 0u; p < pairs; p++) {
            let place = pair(p, local, first);
            var four = z[p];
            if FAR != 0u {
                four = input_gates(four, own_inputs[p % INPUT_PAIRS]);
            }
            z[p] = entering(place, coming);
            if place.valid && place.n < step.present {
                c_before[p] = cell_step(place, step, four, c_before[p]);
            } else if place.valid && place.n < step.joining {
                c_before[p] = join(place, step.next);
            }
        }
    }
}

// The block of four columns of h and one unit: a column for each of h's, a row for each gate. What lies beyond the last is that one
// again: h is zero there, and no sum is kept.
fn weights(quad: u32, unit: u32) -> mat4x4f {
    let k = here.weights / PADDED + 4u * min(quad, PADDED / 4u - 1u);
    let j = min(unit, PADDED - 1u);
    return mat4x4f(packed[k][j], packed[k + 1u][j], packed[k + 2u][j], packed[k + 3u][j]);
}

fn packed_four(at: u32) -> vec4f {
    return packed[at / PADDED][at % PADDED];
}

fn four(s: u32, quad: u32) -> vec4f {
    let at = read_from + s * PARTS * COLUMNS + 4u * quad;
    return vec4f(h[at], h[at + 1u], h[at + 2u], h[at + 3u]);
}

// The state that a pair enters the dispatch with, at its first step; returns c.
fn enter(place: Pair, step: Step) -> f32 {
    if !place.valid {
        return 0.0;
    }
    if here.begin > 0u && place.n < step.ongoing {
        if stores() {
            h[write_to + h_place(place)] = h_in[step.row + place.n][place.j];
        }
        return c[params.batch + step.before + place.n][place.j];
    }
    if here.begin == 0u && stores() {
        c[here.base + place.n][place.j] = start_c(place);
    }
    if place.n < step.present {
        return join(place, step.row);
    }
    return 0.0;
}

// A sequence starts at a step whose first row is `row`; returns c.
fn join(place: Pair, row: u32) -> f32 {
    let h_start = start_h(place) * recurrent_mask(place);
    if stores() {
        h[write_to + h_place(place)] = h_start;
        h_in[row + place.n][place.j] = h_start;
    }
    return start_c(place);
}

fn start_h(place: Pair) -> f32 {
    if params.has_start == 0u {
        return 0.0;
    }
    return h_0[(here.cell * params.batch + place.n) * HIDDEN + place.j];
}

fn start_c(place: Pair) -> f32 {
    if params.has_start == 0u {
        return 0.0;
    }
    return c_0[(here.cell * params.batch + place.n) * HIDDEN + place.j];
}

fn h_place(place: Pair) -> u32 {
    return place.s * PARTS * COLUMNS + place.j;
}

// What a pair's x is multiplied by, a column each, and the sum of its biases.
struct Inputs {
    columns: array<vec4f, max(INPUTS, 1u)>,
    biases: vec4f,
}

fn input_weights(place: Pair) -> Inputs {
    var own: Inputs;
    if INPUTS == 0u || !place.valid {
        return own;
    }
    let apart = here.cell * params.parameters_apart;
    // repeat I in INPUTS
    own.columns[I] = only_own(four_parameters(params.w_ih + apart + place.j * INPUTS + I, HIDDEN * INPUTS));
    // end
    if params.biases != 0u {
        let at = apart + place.j;
        own.biases = only_own(four_parameters(params.b_ih + at, HIDDEN) + four_parameters(params.b_hh + at, HIDDEN));
    }
    return own;
}

fn four_parameters(at: u32, apart: u32) -> vec4f {
    return vec4f(c_0[at], c_0[at + apart], c_0[at + 2u * apart], c_0[at + 3u * apart]);
}

// What a pair has beside h: x · W_ihᵀ + b_ih + b_hh, or with INPUTS x.
fn entering(place: Pair, step: Step) -> vec4f {
    var four: vec4f;
    if !place.valid || place.n >= step.present {
        return four;
    }
    let row = step.row + place.n;
    if INPUTS == 0u {
        return own_gates(row, place.j);
    }
    // repeat I in INPUTS
    four[I] = h_0[params.x + (row - here.base) * INPUTS + I];
    // end
    return four;
}

fn input_gates(entered: vec4f, own: Inputs) -> vec4f {
    if INPUTS == 0u {
        return entered;
    }
    var gates = own.biases;
    // repeat I in INPUTS
    gates += own.columns[I] * entered[I];
    // end
    return gates;
}

// `summed` are the gates' sums, or with SPREAD the gates; returns c.
fn cell_step(place: Pair, step: Step, summed: vec4f, c_before: f32) -> f32 {
    var four = summed;
    // repeat F in FAR
    for (var other = 0u; other < PARTS; other++) {
        four += sums[(other * SEQUENCES + place.s) * PADDED + place.j];
    }
    // end
    if !SPREAD {
        four = activated(four);
    }
    let row = step.row + place.n;
    keep_own_gates(row, place.j, four);
    let fresh = cell_state(four, c_before);
    var c_t = fresh;
    var share: vec2f;
    if ZONEOUT != 0u {
        share = zone_shares(place, step);
        c_t = zoned(share.y, c_before, fresh);
    }
    if !stores() {
        return c_t;
    }
    var h_t = four.w * tangent(fresh);
    if ZONEOUT != 0u {
        h_t = zoned(share.x, h_before(place, step), h_t);
    }
    c[params.batch + row][place.j] = c_t;
    let masked = h_t * recurrent_mask(place);
    h[write_to + h_place(place)] = masked;
    if params.shared_output == 0u {
        y[(row - here.base) * params.outputs + here.column + place.j] = h_t;
    }
    if params.shared_output != 0u || place.n < step.following {
        h_in[step.next + place.n][place.j] = masked;
    }
    return c_t;
}

// h of the step before, as it was before recurrent dropout.
fn h_before(place: Pair, step: Step) -> f32 {
    if params.masked == 0u {
        return h[read_from + h_place(place)];
    }
    if place.n < step.ongoing {
        return y[(step.before - here.base + place.n) * params.outputs + here.column + place.j];
    }
    return start_h(place);
}
