// The parameters of every backward step. Appended to the kernels that name this file, with
// lstm_step_rows.wgsl.
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
    has_d_y: u32,
    has_d_y_apart: u32,
    d_y: u32,
    d_y_apart: u32,
    cell: u32,
    cell_apart: u32,
    rows_apart: u32, // from cell to cell; 0 where the buffers are one cell's
    state_apart: u32,
    mask_apart: u32,
    norm_apart: u32,
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
    w_hr_apart: u32,
    has_final: u32,
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
    cell: u32,
    base: u32,    // the cell's first row
    mask: u32,    // where the cell's begins
    w_hr: u32,    // likewise
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
        cell,
        base,
        cell * params.mask_apart,
        params.w_hr + z * params.w_hr_apart,
        cell * params.state_apart,
        params.has_d_y + z * params.has_d_y_apart != 0u && !stacked,
        params.d_y + z * params.d_y_apart + params.column + z * params.width,
        stacked,
    );
}
