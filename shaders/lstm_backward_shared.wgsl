// The parameters of every backward step. Appended to the kernels that name this file.
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
    following: u32,  // sequences that have that; the others end here
    following_apart: u32,
    has_d_y: u32,
    has_d_y_apart: u32,
    d_y: u32,
    d_y_apart: u32,
    cell: u32,
    cell_apart: u32,
    rows_apart: u32, // from cell to cell; 0 where the buffers are one cell's
    state_apart: u32,
    mask_apart: u32,
    dropped: u32,    // whether dropout lies between `layers`
    layers: u32,     // whose gradients go down in the same dispatches; 0 where all of them have gone into `d_y` before
    rows: u32,       // rows of the whole batch
    batch: u32,
    hidden: u32,
    width: u32,
    outputs: u32,
    column: u32,
    projected: u32,
    w_hh: u32,
    w_hh_apart: u32,
    w_hr: u32,
    has_final: u32,
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
    cell: u32,
    base: u32,    // the cell's first row
    mask: u32,    // where the cell's begins
    d_h: u32,     // where the cell's d_state begins
    has_d_y: bool,
    d_y: u32,     // with the column of the output
    stacked: bool, // whether d_h_t comes from the layer above
}

var<private> here: Step;

// The step of the cell in this layer of the grid.
fn step_of(z: u32) -> Step {
    let cell = params.cell + z * params.cell_apart;
    let base = cell * params.rows_apart;
    let stacked = cell + 1u < params.layers;
    var step = Step(
        params.t + z * params.t_apart,
        base + params.row + z * params.row_apart,
        params.present + z * params.present_apart,
        base + params.before + z * params.before_apart,
        params.ongoing + z * params.ongoing_apart,
        base + params.next + z * params.next_apart,
        params.following + z * params.following_apart,
        cell,
        base,
        cell * params.mask_apart,
        cell * params.state_apart,
        params.has_d_y + z * params.has_d_y_apart != 0u && !stacked,
        params.d_y + z * params.d_y_apart + params.column + z * params.width,
        stacked,
    );
    if params.layers > 0u {
        let before = step_row(z);
        let row = step_row(z + 1u);
        let next = step_row(z + 2u);
        step.row = base + row;
        step.present = next - row;
        step.before = base + before;
        step.ongoing = min(row - before, next - row);
        step.next = base + next;
        step.following = step_row(z + 3u) - next;
    }
    return step;
}

fn step_row(place: u32) -> u32 {
    return params.step_rows[place / 4u][place % 4u];
}
