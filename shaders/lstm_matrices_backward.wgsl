// One time step backwards, as in lstm_backward_step, whose product is of 16-bit numbers: a workgroup of 256 invocations takes
// COLUMNS columns of h of SEQUENCES sequences, and an invocation PAIRS (column, sequence) pairs from the product on. What those
// read beside it is asked for ahead. Several directions or layers are taken as in lstm_tiled_backward.
// Lines between `repeat X in COUNT` and `end` are compiled COUNT times, with 0, 1, … for X; as they stand here they are the
// kernel for eight columns and eight sequences.
// With lstm_matrices.wgsl, lstm_backward_cell.wgsl, lstm_step_shared.wgsl,
// lstm_gates.wgsl and lstm_zone.wgsl.

const PAIRS = 1u;
const TURNS = 1u; // two if what comes from above and through time are summed apart: with masks or unequal lengths
const P = 0u;
const STEP = 0u;
const KEEP = 1u;
const START = 2u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> packed: array<vec4<f16>>;   // [unit][gate][k / 4] of W_hh at w_hh,
                                                                     // then of W_ih of the layer above, if `layers`
@group(0) @binding(2) var<storage, read> drop: array<f32>;           // [rows, P], what dropout multiplies the inputs of the
                                                                     // layer above by, in a stack
@group(0) @binding(3) var<storage, read> d_y: array<f32>;            // [N, R · P] at d_y, if has_d_y
@group(0) @binding(4) var<storage, read> c: array<f32>;              // [N + rows, H]
@group(0) @binding(5) var<storage, read> mask: array<u32>;           // the draw's number, [N, P] as f32 if masked
@group(0) @binding(6) var<storage, read_write> gates: array<f32>;    // [rows, 4H], gates before, their gradients after
@group(0) @binding(7) var<storage, read_write> d_state: array<f32>;  // d_h [N, P] and d_c [N, H], from step to step
@group(0) @binding(8) var<storage, read_write> d_h: array<f32>;      // [rows, P], if projected or normalised

// The first of the workgroup's sequences; the step after, or this one for the start: its first row and its sequences.
var<private> first: u32;
var<private> row: u32;
var<private> present: u32;

// Without projection and layer normalisation.
@compute @workgroup_size(256)
fn matrices(
    @builtin(workgroup_id) group: vec3u,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    step(group, local, subgroup, STEP);
}

// d_h_t, kept for the gradient of W_hr and for layer normalisation.
@compute @workgroup_size(256)
fn matrices_project(
    @builtin(workgroup_id) group: vec3u,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    step(group, local, subgroup, KEEP);
}

// The gradient of the start h of the sequences that start with this step.
@compute @workgroup_size(256)
fn matrices_start(
    @builtin(workgroup_id) group: vec3u,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    step(group, local, subgroup, START);
}

fn step(dispatched: vec3u, local: u32, subgroup: u32, kind: u32) {
    let group = in_whole(dispatched);
    let own = step_of(group.z);
    here = own;
    let ongoing = select(own.following, own.present, kind == START);
    first = group.y * SEQUENCES;
    row = select(own.next, own.row, kind == START);
    present = ongoing;
    // repeat P in PAIRS
    let pair_P = pair(group, P * 256u + local);
    var kept_P: Kept;
    if pair_P.present && kind == STEP {
        kept_P = kept_of(pair_P.p, pair_P.n);
    }
    // end
    let terms = 4u * params.hidden;
    let weights = params.w_hh + group.z * params.w_hh_apart;
    // repeat P in PAIRS
    var above_P = 0.0;
    // end
    // What comes from the layer above comes for itself where masks may lie on the way or lengths differ.
    let apart = TURNS > 1u && own.stacked;
    if apart {
        multiply(terms, 2u * terms, weights, params.width, group.x * COLUMNS, local, subgroup);
        // repeat P in PAIRS
        if pair_P.present {
            above_P = sum_of(pair_P.s, pair_P.column);
            if params.dropped != 0u {
                above_P *= drop[(here.row + pair_P.n) * params.width + pair_P.p];
            }
        }
        // end
    }
    let skipped = select(terms, 0u, group.y * SEQUENCES < ongoing);
    let end = select(terms, 2u * terms, own.stacked && !apart);
    let through = skipped < end;
    if through {
        multiply(skipped, end, weights, params.width, group.x * COLUMNS, local, subgroup);
    }
    // repeat P in PAIRS
    finish(pair_P, kept_P, kind, through, above_P);
    // end
}

// The gradients of a unit's gates, then those of the layer above.
fn left_four(term: u32, s: u32) -> vec4f {
    let terms = 4u * params.hidden;
    let above = term >= terms;
    let k = select(term, term - terms, above);
    // Sequences beyond the last read that one again and are not used.
    let own = row + min(first + s, present - 1u);
    let same = here.row + params.rows_apart + min(first + s, here.present - 1u);
    let at = select(own, same, above) * terms + k / 4u;
    return vec4f(gates[at], gates[at + params.hidden], gates[at + 2u * params.hidden], gates[at + 3u * params.hidden]);
}

// A column and a sequence, and their numbers in the workgroup's tile.
struct Pair {
    p: u32,
    n: u32,
    column: u32,
    s: u32,
    present: bool,
}

fn pair(group: vec3u, index: u32) -> Pair {
    let column = index % COLUMNS;
    let s = index / COLUMNS;
    let p = group.x * COLUMNS + column;
    let n = group.y * SEQUENCES + s;
    return Pair(p, n, column, s, s < SEQUENCES && p < params.width && n < here.present);
}

fn finish(place: Pair, kept: Kept, kind: u32, multiplied: bool, sum_from_above: f32) {
    if !place.present {
        return;
    }
    var through = 0.0;
    if multiplied {
        through = sum_of(place.s, place.column);
    }
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
