// What every forward step has: its parameters, and the way of h_t to the output and into the next step. Appended to the
// kernels that name this file, whose bindings `h_0`, `mask`, `h_in` and `y` it uses, with lstm_step_rows.wgsl.
// A dispatch takes one cell, which is one direction of one layer, or several: then each layer of the grid is one, at a step of
// its own, and the buffers hold the rows of all cells, those of each `rows_apart` after those of the one before.

struct Params {
    // First rows of time steps one after the other: those that the cells take, and each with one earlier and two later. A step that
    // there is not has no rows.
    step_rows: array<vec4u, 5>,
    // Where the first cell's step is among them and what is its own, and how much more each number is for every layer of the grid.
    place: u32,
    place_apart: u32,
    t: u32,
    t_apart: u32,
    cell: u32,
    cell_apart: u32,
    rows_apart: u32, // from cell to cell; 0 where the buffers are one cell's
    mask_apart: u32,
    norm_apart: u32,
    dropped: u32,    // whether dropout lies between `layers`
    layers: u32,     // that pass h on in the same dispatches; 0 where all input has gone into `gates` before
    rows: u32,       // rows of the whole batch
    batch: u32,
    hidden: u32,
    width: u32,
    outputs: u32,
    column: u32,
    projected: u32,
    w_hh_t: u32,
    w_hh_t_apart: u32,
    w_hr_t: u32,
    w_hr_t_apart: u32,
    shared_output: u32,
    has_start: u32,
    masked: u32,
    zoneout: u32,
    limit_h: u32,
    limit_c: u32,
    rate_h: f32,
    rate_c: f32,
    seed_0: u32,
    seed_1: u32,
}

// A cell's step; `row`, `before` and `next` count the rows of all cells.
struct Step {
    t: u32,
    row: u32,
    present: u32,
    before: u32,
    ongoing: u32,
    next: u32,
    following: u32,
    joining: u32,
    cell: u32,
    base: u32,   // the cell's first row
    y: u32,      // likewise, where `y` begins: with that of all `layers`, or with the cell's own
    column: u32, // of the output
    mask: u32,   // where the cell's begins
    w_hr_t: u32, // likewise
}

var<private> here: Step;

// The step of the cell in this layer of the grid.
fn step_of(z: u32) -> Step {
    let cell = params.cell + z * params.cell_apart;
    let base = cell * params.rows_apart;
    let reverse = params.outputs > params.width && cell % 2u == 1u;
    let rows = step_rows(params.place + z * params.place_apart, reverse);
    return Step(
        params.t + z * params.t_apart,
        base + rows.row,
        rows.present,
        base + rows.before,
        rows.ongoing,
        base + rows.next,
        rows.following,
        rows.joining,
        cell,
        base,
        select(base, 0u, params.layers > 0u),
        select(params.column + z * params.width, 0u, params.layers > 0u),
        cell * params.mask_apart,
        params.w_hr_t + z * params.w_hr_t_apart,
    );
}

// Where `h_in` has h_{t−1}, or h_t of the layer below, which with shared_output is its `h_in` one step on.
fn row_of_h(below: bool) -> u32 {
    return select(here.row, here.row + params.batch - params.rows_apart, below);
}

// Where `y` has h_t of the layer below, unless shared_output, and `u` what dropout multiplies it by.
fn row_below() -> u32 {
    return here.row - params.rows_apart;
}

// h_t goes to the output and into the next step.
fn publish(p: u32, n: u32, fresh: f32, word: u32) {
    var h_t = fresh;
    if params.zoneout != 0u {
        var h_before = h_in[(here.row + n) * params.width + p];
        if params.masked != 0u {
            h_before = start(p, n);
            if n < here.ongoing {
                h_before = y[(here.before - here.y + n) * params.outputs + here.column + p];
            }
        }
        let z = zone_share(word & 0xffffu, params.limit_h, params.rate_h);
        h_t = z * h_before + (1.0 - z) * fresh;
    }
    let next = (here.next + n) * params.width + p;
    if params.shared_output != 0u {
        h_in[next] = h_t;
        return;
    }
    y[(here.row - here.y + n) * params.outputs + here.column + p] = h_t;
    if n < here.following {
        h_in[next] = h_t * recurrent_mask(p, n);
    }
}

// Of `count` sequences from `first` on, those that start with the next step.
fn join(p: u32, first: u32, count: u32) {
    for (var n = max(first, here.following); n < min(first + count, here.joining); n++) {
        h_in[(here.next + n) * params.width + p] = start(p, n) * recurrent_mask(p, n);
    }
}

fn start(p: u32, n: u32) -> f32 {
    if params.has_start == 0u {
        return 0.0;
    }
    return h_0[(here.cell * params.batch + n) * params.width + p];
}

fn recurrent_mask(p: u32, n: u32) -> f32 {
    if params.masked == 0u {
        return 1.0;
    }
    return bitcast<f32>(mask[here.mask + 1u + n * params.width + p]);
}
