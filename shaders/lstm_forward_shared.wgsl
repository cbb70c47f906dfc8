// What every forward step has: its parameters, and the way of h_t to the output and into the next step. Appended to the
// kernels that name this file, whose bindings `h_0`, `mask`, `h_in` and `y` it uses.
// A dispatch takes one cell, which is one direction of one layer, or several: then each layer of the grid is one, at a step of
// its own, and the buffers hold the rows of all cells, those of each `rows_apart` after those of the one before.

struct Params {
    // The first cell's step, and how much more each number is for every layer of the grid. With `layers`, rows and sequences come
    // from `step_rows` instead.
    t: u32,
    t_apart: u32,
    row: u32,        // first row of this step
    row_apart: u32,
    present: u32,    // sequences that have it
    present_apart: u32,
    before: u32,     // first row of the step before
    before_apart: u32,
    ongoing: u32,    // sequences that have that; the others start here
    ongoing_apart: u32,
    next: u32,       // first row of the step after
    next_apart: u32,
    following: u32,  // sequences that have that
    following_apart: u32,
    joining: u32,    // sequences that have it or start with it
    joining_apart: u32,
    cell: u32,
    cell_apart: u32,
    rows_apart: u32, // from cell to cell; 0 where the buffers are one cell's
    mask_apart: u32,
    dropped: u32,    // whether dropout lies between `layers`
    layers: u32,     // that pass h on in the same dispatches; 0 where all input has gone into `gates` before
    place: u32,      // where `step_rows` has the first cell's step, of such layers
    place_apart: u32, // −1: each layer is a step earlier than the one below
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
    // First rows of time steps one after the other: those that `layers` take, one before and two after. A step that there is not has
    // no rows.
    step_rows: array<vec4u, 5>,
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
}

var<private> here: Step;

// The step of the cell in this layer of the grid.
fn step_of(z: u32) -> Step {
    let cell = params.cell + z * params.cell_apart;
    let base = cell * params.rows_apart;
    var step = Step(
        params.t + z * params.t_apart,
        base + params.row + z * params.row_apart,
        params.present + z * params.present_apart,
        base + params.before + z * params.before_apart,
        params.ongoing + z * params.ongoing_apart,
        base + params.next + z * params.next_apart,
        params.following + z * params.following_apart,
        params.joining + z * params.joining_apart,
        cell,
        base,
        select(base, 0u, params.layers > 0u),
        select(params.column + z * params.width, 0u, params.layers > 0u),
        cell * params.mask_apart,
    );
    if params.layers > 0u {
        let place = params.place + z * params.place_apart;
        let before = step_row(place - 1u);
        let row = step_row(place);
        let next = step_row(place + 1u);
        step.row = base + row;
        step.present = next - row;
        step.before = base + before;
        step.ongoing = min(row - before, next - row);
        step.next = base + next;
        step.following = step_row(place + 2u) - next;
        step.joining = step.following;
    }
    return step;
}

fn step_row(place: u32) -> u32 {
    return params.step_rows[place / 4u][place % 4u];
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
