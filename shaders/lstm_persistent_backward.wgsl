// All time steps of one direction of one layer backwards, or a chunk of several such cells, in one dispatch, the recurrent
// weights kept on chip:
//   d_h_t = d_y_t + d_gates_{t+1} · W_hh, at a sequence's last step d_y_t + the gradient of its final h
//   d_c_t = d_c + d_h_t ∘ o ∘ (1 − tanh²(c_t)), and d_c = d_c_t ∘ f for the step before
//   d_i = d_c_t ∘ g ∘ i(1 − i)    d_f = d_c_t ∘ c_{t−1} ∘ f(1 − f)
//   d_g = d_c_t ∘ i ∘ (1 − g²)    d_o = d_h_t ∘ tanh(c_t) ∘ o(1 − o)
// With ZONEOUT, what was kept of h and c takes its share of the gradient to the step before.
// One workgroup per SEQUENCES sequences, a layer of the grid per cell. Its invocations make PARTS parts: an invocation holds,
// of its fours of units u, u + ITEM_THREADS, … (ITEMS of them), the weights of its part's BLOCKS units, a 4 × 4 block for the
// gates of one unit and the d_h of four. What the parts sum up meets in workgroup memory, from where each invocation takes PAIRS
// (unit, sequence) pairs on, or without FAR in the part's own invocations, whose pairs are those of its fours: that, with two SIDES,
// spares a barrier a step. Of a part's blocks beyond the first RESIDENT the next HELD are in workgroup memory, and the others are
// read again at each step.
// Lines between `repeat X in COUNT` and `end` are compiled COUNT times, with 0, 1, … for X; as they stand here they are a
// kernel for one unit. With lstm_persistent_shared.wgsl, lstm_persistent_pairs.wgsl, lstm_persistent_alone.wgsl or
// lstm_persistent_lanes.wgsl, lstm_persistent_held.wgsl, lstm_gates.wgsl and lstm_zone.wgsl.

const HIDDEN = 1u;
const SEQUENCES = 1u;
const ITEM_THREADS = 1u;
const ITEMS = 1u;
const PARTS = 1u;
const BLOCKS = 2u;    // of a part
const RESIDENT = 1u;
const HELD = 1u;      // of the others, in workgroup memory
const HOLDS = 1u;     // or 0, if none are
const ZONEOUT = 0u;   // or 1
const FAR = 1u;       // or 0, where a four's parts are one, or of one subgroup
const SIDES = 1u;     // or 2, if what a step writes has room beside what it reads
const R = 0u;
const M = 0u;
const S = 0u;

const PADDED = (HIDDEN + 3u) / 4u * 4u;
const QUADS = PADDED / 4u;
const THREADS = ITEM_THREADS * PARTS;
const HELD_APART = ITEMS * THREADS;
const ITEM = 4u;      // units
const D_LEN = SEQUENCES * PARTS * BLOCKS;
const TOTALS = select(ITEMS * SEQUENCES, 1u, FAR != 0u);

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> packed: array<array<vec4f, QUADS>>;
@group(0) @binding(2) var<storage, read> d_y: array<f32>;            // [rows from d_y_row on, R · H], none before d_y_from
@group(0) @binding(3) var<storage, read> between: array<f32>;        // [rows, H], if `layers`
@group(0) @binding(4) var<storage, read> c: array<Units>;            // [N + rows, H]
@group(0) @binding(5) var<storage, read> mask: array<u32>;           // the draw's number, [N, H] as f32 if masked
@group(0) @binding(6) var<storage, read_write> gates: array<Gates>;  // [rows, 4H], gates before, their gradients after
@group(0) @binding(7) var<storage, read_write> d_state: array<f32>;  // d_h and d_c [N, H], the final ones, then what is kept
                                                                     // of them, then the start's

var<workgroup> d_gates: array<vec4f, SIDES * D_LEN>;                 // d_gates_{t+1}, with two SIDES beside d_gates_t
// repeat F in FAR
var<workgroup> sums: array<vec4f, PARTS * SEQUENCES * QUADS>;        // d_gates_{t+1} · W_hh, each part's
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
    // repeat M in RESIDENT
    let w_R_M = weights(part * BLOCKS + M, u + R * ITEM_THREADS);
    // end
    // end
    // repeat B in HOLDS
    for (var k = 0u; k < HELD; k++) {
        // repeat R in ITEMS
        hold(k, R * THREADS + local, weights(part * BLOCKS + RESIDENT + k, u + R * ITEM_THREADS));
        // end
    }
    // end
    // Units beyond the last and sequences that have no step yet are multiplied too.
    for (var at = local; at < SIDES * D_LEN; at += THREADS) {
        d_gates[at] = vec4f();
    }
    workgroupBarrier();
    var d_c: array<f32, PAIRS>;
    var totals: array<vec4f, TOTALS>; // of all parts, without FAR
    // Asked for a step ahead.
    var kept: array<Kept, PAIRS>;
    var coming = step_at(way, way.end - 1u);
    // From the last step of the workgroup's longest sequence on; what comes after it leaves nothing to take over.
    var end = way.end;
    for (; end > way.begin && first >= max(coming.present, coming.joining); end--) {
        coming = step_before(way, end - 2u, coming);
    }
    for (var p = 0u; p < pairs; p++) {
        let place = pair(p, local, first);
        d_c[p] = enter(place, coming);
        kept[p] = kept_of(place, coming);
    }
    // The gradient of the start state takes the products once more.
    let turns = end - way.begin + select(0u, 1u, way.begin == 0u && params.wants_start != 0u);
    for (var turn = 0u; turn < turns; turn++) {
        let walked = end - turn;
        let step = coming;
        coming = step_before(way, walked - 2u, step);
        if first >= max(step.present, step.joining) {
            continue;
        }
        turn_over(D_LEN);
        workgroupBarrier();
        // repeat S in SEQUENCES
        // repeat R in ITEMS
        var sum_S_R = vec4f();
        // end
        // end
        // repeat M in RESIDENT
        // repeat S in SEQUENCES
        let d_M_S = d_gates[read_from + S * PARTS * BLOCKS + part * BLOCKS + M];
        // repeat R in ITEMS
        sum_S_R = multiplied(w_R_M, d_M_S, sum_S_R);
        // end
        // end
        // end
        // repeat B in HOLDS
        for (var k = 0u; k < HELD; k++) {
            // repeat R in ITEMS
            let w_R = held_block(k, R * THREADS + local);
            // end
            // repeat S in SEQUENCES
            let d_S = d_gates[read_from + (S * PARTS + part) * BLOCKS + RESIDENT + k];
            // repeat R in ITEMS
            sum_S_R = multiplied(w_R, d_S, sum_S_R);
            // end
            // end
        }
        // end
        for (var m = part * BLOCKS + RESIDENT + HELD; m < (part + 1u) * BLOCKS; m++) {
            // repeat R in ITEMS
            let w_R = weights(m, u + R * ITEM_THREADS);
            // end
            // repeat S in SEQUENCES
            let d_S = d_gates[read_from + S * PARTS * BLOCKS + m];
            // repeat R in ITEMS
            sum_S_R = multiplied(w_R, d_S, sum_S_R);
            // end
            // end
        }
        // repeat S in SEQUENCES
        // repeat R in ITEMS
        if FAR == 0u {
            totals[(S * ITEMS + R) % TOTALS] = own_over_parts(sum_S_R);
        }
        // repeat F in FAR
        if u + R * ITEM_THREADS < QUADS {
            sums[(part * SEQUENCES + S) * QUADS + u + R * ITEM_THREADS] = sum_S_R;
        }
        // end
        // end
        // end
        if SIDES == 1u {
            workgroupBarrier();
        }
        for (var p = 0u; p < pairs; p++) {
            let place = pair(p, local, first);
            let own = kept[p];
            kept[p] = kept_of(place, coming);
            if place.valid {
                let product = component(totals[(place.s * ITEMS + p % ITEMS) % TOTALS], place.j % 4u);
                d_c[p] = cell_gradient(place, step, own, product, d_c[p]);
            }
        }
        if walked == way.begin + 1u && way.begin > 0u {
            for (var p = 0u; p < pairs; p++) {
                let place = pair(p, local, first);
                if place.valid && place.n < step.present {
                    d_state[d_c_place(place)] = d_c[p];
                }
            }
        }
    }
}

// The block of one unit's gates and the d_h of four units: a column for each gate, a row for each of the four. What lies beyond the
// last is that one again: d_gates is zero there, and no sum is kept.
fn weights(unit: u32, quad: u32) -> mat4x4f {
    let row = here.weights / QUADS + 4u * min(unit, PADDED - 1u);
    let k = min(quad, QUADS - 1u);
    return mat4x4f(packed[row][k], packed[row + 1u][k], packed[row + 2u][k], packed[row + 3u][k]);
}

fn packed_four(at: u32) -> vec4f {
    return packed[at / QUADS][at % QUADS];
}

fn d_h_place(place: Pair) -> u32 {
    return here.cell * params.state_apart + place.n * HIDDEN + place.j;
}

fn d_c_place(place: Pair) -> u32 {
    return here.cell * params.state_apart + (params.batch + place.n) * HIDDEN + place.j;
}

// An index that is no constant would put the four into memory.
fn component(four: vec4f, index: u32) -> f32 {
    return select(select(four.x, four.y, index == 1u), select(four.z, four.w, index == 3u), index >= 2u);
}

// What a pair takes over from the dispatch before, whose last step came after `step`; returns d_c.
fn enter(place: Pair, step: Step) -> f32 {
    if !place.valid || place.n >= step.joining {
        return 0.0;
    }
    d_gates[write_to + place.s * PARTS * BLOCKS + place.j] = four_gates(step.next + place.n, place.j);
    return d_state[d_c_place(place)];
}

// What the forward pass kept of a pair, and the gradient from above.
struct Kept {
    gates: vec4f,
    c_before: f32,
    c_t: f32,
    d_y: f32,
}

fn kept_of(place: Pair, step: Step) -> Kept {
    var kept: Kept;
    if !place.valid || place.n >= step.present {
        return kept;
    }
    let row = step.row + place.n;
    kept.gates = four_gates(row, place.j);
    let before = select(here.base + place.n, params.batch + step.before + place.n, place.n < step.ongoing);
    kept.c_before = c[before][place.j];
    kept.c_t = c[params.batch + row][place.j];
    if here.cell + 1u < params.layers {
        kept.d_y = between[(row - here.base) * HIDDEN + place.j];
    } else if step.t >= params.d_y_from {
        kept.d_y = d_y[(row - here.base - params.d_y_row) * params.outputs + here.column + place.j];
    }
    return kept;
}

// One unit and sequence at one step; returns d_c for the step before.
fn cell_gradient(place: Pair, step: Step, kept: Kept, product: f32, d_c_after: f32) -> f32 {
    var d_h = 0.0;
    var d_c = 0.0;
    if place.n < step.joining {
        d_h = product;
        // repeat F in FAR
        for (var other = 0u; other < PARTS; other++) {
            d_h += sums[(other * SEQUENCES + place.s) * QUADS + place.j / 4u][place.j % 4u];
        }
        // end
        d_h *= recurrent_mask(place);
        d_c = d_c_after;
        if ZONEOUT != 0u {
            d_h += d_state[d_h_place(place)]; // what it passed on
        }
    } else if params.has_final != 0u && place.n < step.present {
        d_h = d_state[d_h_place(place)];
        d_c = d_state[d_c_place(place)];
    }
    if place.n >= step.present {
        if place.n < step.joining && params.wants_start != 0u {
            d_state[d_h_place(place)] = d_h;
            d_state[d_c_place(place)] = d_c;
        }
        return 0.0;
    }
    d_h = normal(d_h + kept.d_y);
    var c_t = kept.c_t;
    var d_c_kept = 0.0;
    if ZONEOUT != 0u {
        let z = zone_shares(place, step);
        d_state[d_h_place(place)] = z.x * d_h;
        d_h -= z.x * d_h;
        d_c_kept = z.y * d_c;
        d_c -= d_c_kept;
        c_t = cell_state(kept.gates, kept.c_before);
    }
    let out = output_slopes(kept.gates.w, tangent(c_t));
    d_c = normal(d_c + d_h * out.x);
    let d_gate = vec4f(d_c * cell_slopes(kept.gates, kept.c_before), d_h * out.y);
    d_gates[write_to + place.s * PARTS * BLOCKS + place.j] = d_gate;
    keep_gates(step.row + place.n, place.j, d_gate);
    let d_c_before = d_c * kept.gates.y;
    if ZONEOUT != 0u {
        return d_c_before + d_c_kept;
    }
    return d_c_before;
}
