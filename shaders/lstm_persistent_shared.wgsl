// The parameters of the kernels that walk through time inside one dispatch, and their way. Appended to those that name this file,
// whose `packed_four`, `mask` and constants it uses, with lstm_zone.wgsl. What a kernel has no use for is 0.
// A dispatch takes one cell, which is one direction of one layer, or several: then each layer of the grid is one, and the
// buffers hold the rows of all cells, those of each `rows_apart` after those of the one before.

struct Params {
    begin: u32,   // the first step of the first cell's way that is walked, and how much more that of each other cell is
    begin_apart: u32,
    chunk: u32,   // steps that are walked at most
    cell: u32,
    cell_apart: u32,
    rows_apart: u32, // from cell to cell; 0 where the buffers are one cell's, as the next three
    mask_apart: u32,
    state_apart: u32,
    norm_apart: u32,
    layers: u32,  // of a stack that is walked back in chunks: all but the last have the gradient from above in all its rows
    steps: u32,   // T
    batch: u32,
    even: u32,
    paired: u32,  // whether workgroups take long and short sequences by turns
    table: u32,   // place of the steps' first rows, unless even
    weights: u32, // place of W_hh of the first cell: forwards [P, H, 4], back [H, 4, P]
    weights_apart: u32,
    x: u32,       // where a first layer's input is multiplied along its place, and those of its first cell's parameters
    w_ih: u32,
    b_ih: u32,
    b_hh: u32,
    biases: u32,  // whether there are any
    parameters_apart: u32,
    w_hr: u32,    // place of each cell's W_hr, [H, P] and [P, H], with a projection
    gains: u32,   // place of each cell's γ, b_ih + b_hh, (γ_c, β_c), [H] each, with layer normalisation
    sums: u32,    // and in `norm` of what their gradients are added up of
    start: u32,   // place of each cell's start states, h [N, P] and c [N, H], counted in single elements
    outputs: u32, // R · P
    shared_output: u32,
    has_start: u32,
    d_y_from: u32,
    d_y_row: u32,
    has_final: u32,
    wants_start: u32,
    masked: u32,
    zoneout: u32,
    first_step: u32, // steps of the sequences before these, for the masks
    limit_h: u32,
    limit_c: u32,
    rate_h: f32,
    rate_c: f32,
    seed_0: u32,
    seed_1: u32,
    group: u32,      // of the workgroups that the whole batch takes, the dispatch's first
}

// What a cell walks: steps begin .. end of its direction's way.
struct Way {
    begin: u32,
    end: u32,
    cell: u32,
    reverse: bool,
    base: u32,    // the cell's first row
    column: u32,  // of the output
    weights: u32, // place of W_hh
}

var<private> here: Way;

// The way of the cell in this layer of the grid.
fn way_of(z: u32) -> Way {
    let cell = params.cell + z * params.cell_apart;
    let begin = params.begin + z * params.begin_apart;
    let second = select(0u, cell % 2u, params.outputs > WIDTH);
    return Way(
        begin,
        min(begin + params.chunk, params.steps),
        cell,
        second != 0u,
        cell * params.rows_apart,
        second * WIDTH,
        params.weights + z * params.weights_apart,
    );
}

// The first sequence of a workgroup. The longest come first in a batch of unequal ones: with `paired` the first workgroup has those,
// the second the last ones, the third those after the first, and so on.
fn first_of(dispatched: u32) -> u32 {
    let x = params.group + dispatched;
    let last = (params.batch - 1u) / SEQUENCES;
    if params.paired == 0u {
        return x * SEQUENCES;
    }
    return select(x / 2u, last - x / 2u, x % 2u == 1u) * SEQUENCES;
}

// `row`, `before` and `next` count the rows of all cells.
struct Step {
    t: u32,
    row: u32,        // first row of this step
    present: u32,    // sequences that have it
    before: u32,     // first row of the step before
    earlier: u32,    // sequences that have that
    ongoing: u32,    // sequences that have both; the others start here
    next: u32,       // first row of the step after
    joining: u32,    // sequences that have that
    following: u32,  // sequences that have both; the others end here
}

// Step `index` of the direction's way. Beyond both ends are steps that no sequence has.
fn step_at(way: Way, index: u32) -> Step {
    return step_of(way, index, rows_at(way, index - 1u), rows_at(way, index), rows_at(way, index + 1u));
}

// Step `index`, from the one before it.
fn step_after(way: Way, index: u32, step: Step) -> Step {
    return step_of(way, index, vec2u(step.row, step.present), vec2u(step.next, step.joining), rows_at(way, index + 1u));
}

// Step `index`, from the one after it.
fn step_before(way: Way, index: u32, step: Step) -> Step {
    return step_of(way, index, rows_at(way, index - 1u), vec2u(step.before, step.earlier), vec2u(step.row, step.present));
}

fn step_of(way: Way, index: u32, before: vec2u, own: vec2u, next: vec2u) -> Step {
    return Step(
        time_of(way, index),
        own.x,
        own.y,
        before.x,
        before.y,
        min(before.y, own.y),
        next.x,
        next.y,
        min(next.y, own.y),
    );
}

// First row and sequences of step `index`.
fn rows_at(way: Way, index: u32) -> vec2u {
    let t = min(time_of(way, index), params.steps);
    let first = row_of(t);
    return vec2u(way.base + first, row_of(min(t + 1u, params.steps)) - first);
}

fn time_of(way: Way, index: u32) -> u32 {
    return select(index, params.steps - 1u - index, way.reverse);
}

// The first row of time step t.
fn row_of(t: u32) -> u32 {
    if params.even != 0u {
        return t * params.batch;
    }
    return bitcast<u32>(packed_four(params.table + t / 4u)[t % 4u]);
}

// sum + w · v
fn multiplied(w: mat4x4f, v: vec4f, sum: vec4f) -> vec4f {
    return fma(w[3], vec4f(v.w), fma(w[2], vec4f(v.z), fma(w[1], vec4f(v.y), fma(w[0], vec4f(v.x), sum))));
}

// Unit or column j of the workgroup's sequence s, which is number n of the batch.
struct Pair {
    j: u32,
    s: u32,
    n: u32,
    valid: bool,
}

fn recurrent_mask(place: Pair) -> f32 {
    if params.masked == 0u {
        return 1.0;
    }
    return bitcast<f32>(mask[here.cell * params.mask_apart + 1u + place.n * WIDTH + place.j]);
}

// What zoneout keeps of h and of c.
fn zone_shares(place: Pair, step: Step) -> vec2f {
    let word = zone_words(params.first_step + step.t, here.cell, HIDDEN, place.j, place.n)[place.n % 4u];
    return vec2f(
        zone_share(word & 0xffffu, params.limit_h, params.rate_h),
        zone_share(word >> 16u, params.limit_c, params.rate_c),
    );
}
