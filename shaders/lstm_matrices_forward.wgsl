// One time step as in lstm_forward_step, whose product is of 16-bit numbers: a workgroup of 256 invocations takes COLUMNS / 4
// units of SEQUENCES sequences, and an invocation PAIRS (unit, sequence) pairs from the product on. What those read beside it
// is asked for ahead. Several directions or layers are taken as in lstm_tiled_forward.
// Lines between `repeat X in COUNT` and `end` are compiled COUNT times, with 0, 1, … for X; as they stand here they are the
// kernel for two units and eight sequences.
// With lstm_matrices.wgsl, lstm_forward_cell.wgsl, lstm_publish.wgsl,
// lstm_step_shared.wgsl, lstm_gates.wgsl and lstm_zone.wgsl.

const PAIRS = 1u;
const PARTED = 0u; // 1 if what a layer hands up may differ from what its next step reads
const P = 0u;
const UNITS = COLUMNS / 4u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> packed: array<vec4<f16>>; // [k][j] = (i, f, g, o) of W_hh at w_hh,
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

var<private> first: u32; // of the workgroup's sequences

@compute @workgroup_size(256)
fn matrices(
    @builtin(workgroup_id) group: vec3u,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    step(group, local, subgroup, false);
}

// gates += h_{t−1} · W_hhᵀ
@compute @workgroup_size(256)
fn matrices_recur(
    @builtin(workgroup_id) group: vec3u,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    step(group, local, subgroup, true);
}

fn step(dispatched: vec3u, local: u32, subgroup: u32, alone: bool) {
    let group = in_whole(dispatched);
    let own = step_of(group.z);
    here = own;
    first = group.y * SEQUENCES;
    // repeat P in PAIRS
    let pair_P = pair(group, P * 256u + local);
    var entered_P: Entering;
    if pair_P.present && !alone {
        entered_P = entering(pair_P.j, pair_P.n);
    }
    // end
    // Sequences that only join have no h yet.
    if group.y * SEQUENCES < own.present {
        let terms = select(params.width, 2u * params.width, params.layers > 0u && own.cell > 0u);
        let weights = params.w_hh + group.z * params.w_hh_apart;
        multiply(0u, terms, weights, 4u * params.hidden, group.x * COLUMNS, local, subgroup);
    }
    // repeat P in PAIRS
    finish(pair_P, entered_P, alone);
    // end
}

// h_{t−1}, then h_t of the layer below, after dropout.
fn left_four(term: u32, s: u32) -> vec4f {
    let below = term >= params.width;
    let k = select(term, term - params.width, below);
    // Sequences beyond the last read that one again and are not stored.
    let n = min(first + s, here.present - 1u);
    let at = (row_of_h(below) + n) * params.width + k;
    let at_below = (row_below() + n) * params.width + k;
    let parted = PARTED != 0u && below;
    var h: vec4f;
    if parted && params.shared_output == 0u {
        h = vec4f(y[at_below], y[at_below + 1u], y[at_below + 2u], y[at_below + 3u]);
    } else {
        h = vec4f(h_in[at], h_in[at + 1u], h_in[at + 2u], h_in[at + 3u]);
    }
    if parted && params.dropped != 0u {
        if params.projected != 0u {
            h *= vec4f(h_0[at_below], h_0[at_below + 1u], h_0[at_below + 2u], h_0[at_below + 3u]);
        } else {
            h *= vec4f(u[at_below], u[at_below + 1u], u[at_below + 2u], u[at_below + 3u]);
        }
    }
    return h;
}

// A unit and a sequence, and their numbers in the workgroup's tile.
struct Pair {
    j: u32,
    n: u32,
    unit: u32,
    s: u32,
    valid: bool,
    present: bool,
}

fn pair(group: vec3u, index: u32) -> Pair {
    let unit = index % UNITS;
    let s = index / UNITS;
    let j = group.x * UNITS + unit;
    let n = group.y * SEQUENCES + s;
    let valid = s < SEQUENCES && j < params.hidden;
    return Pair(j, n, unit, s, valid, valid && n < here.present);
}

fn finish(place: Pair, entered: Entering, alone: bool) {
    if place.present {
        let column = 4u * place.unit;
        let s = place.s;
        let sum = vec4f(sum_of(s, column), sum_of(s, column + 1u), sum_of(s, column + 2u), sum_of(s, column + 3u));
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
