// What every kernel of a time step has: its parameters, and where the rows of a cell's step lie. Appended to the kernels that name
// this file, whose `mask` it uses.
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
    w_hh: u32,
    w_hh_apart: u32,
    w_hr: u32,
    w_hr_apart: u32,
    has_d_y: u32,
    has_d_y_apart: u32,
    d_y: u32,
    d_y_apart: u32,
    rows_apart: u32, // from cell to cell; 0 where the buffers are one cell's
    state_apart: u32,
    mask_apart: u32,
    norm_apart: u32,
    dropped: u32,    // whether dropout lies between `layers`
    layers: u32,     // that pass on what goes up and down in the same dispatches; 0 where `gates` and `d_y` have all of it
    rows: u32,       // rows of the whole batch
    batch: u32,
    hidden: u32,
    width: u32,
    outputs: u32,
    column: u32,
    projected: u32,
    shared_output: u32,
    has_start: u32,
    has_final: u32,
    masked: u32,
    zoneout: u32,
    limit_h: u32,
    limit_c: u32,
    rate_h: f32,
    rate_c: f32,
    seed_0: u32,
    seed_1: u32,
    group_x: u32, // of the whole step's grid, the dispatch's first workgroup
    group_y: u32,
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
    base: u32,     // the cell's first row
    mask: u32,     // where the cell's begins
    norm: u32,     // likewise, as the next two
    d_state: u32,
    w_hr: u32,
    y: u32,        // where `y` begins: with that of all `layers`, or with the cell's own
    column: u32,   // of the output
    has_d_y: bool,
    d_y: u32,      // with the column of the output
    stacked: bool, // whether d_h_t comes from the layer above
}

var<private> here: Step;

// A workgroup's place in the grid of the whole step, of which a dispatch may take a part.
fn in_whole(group: vec3u) -> vec3u {
    return group + vec3u(params.group_x, params.group_y, 0u);
}

// The step of the cell in this layer of the grid.
fn step_of(z: u32) -> Step {
    let cell = params.cell + z * params.cell_apart;
    let base = cell * params.rows_apart;
    let stacked = cell + 1u < params.layers;
    let reverse = params.outputs > params.width && cell % 2u == 1u;
    let rows = step_rows(params.place + z * params.place_apart, reverse);
    let column = params.column + z * params.width;
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
        cell * params.mask_apart,
        cell * params.norm_apart,
        cell * params.state_apart,
        params.w_hr + z * params.w_hr_apart,
        select(base, 0u, params.layers > 0u),
        select(column, 0u, params.layers > 0u),
        params.has_d_y + z * params.has_d_y_apart != 0u && !stacked,
        params.d_y + z * params.d_y_apart + column,
        stacked,
    );
}

struct StepRows {
    row: u32,       // first row of the step
    present: u32,   // sequences that have it
    before: u32,    // first row of the step before
    ongoing: u32,   // sequences that have that, too; the others start here
    next: u32,      // first row of the step after
    following: u32, // sequences that have that, too; the others end here
    joining: u32,   // sequences that have that; those from `following` on start with it
}

// Of the step that begins at `place` of `step_rows`, with the one earlier and the two later beside it.
fn step_rows(place: u32, reverse: bool) -> StepRows {
    let row = first_row(place);
    let later = first_row(place + 1u);
    let present = later - row;
    // First row and sequences.
    var before = vec2u(first_row(place - 1u), row - first_row(place - 1u));
    var next = vec2u(later, first_row(place + 2u) - later);
    if reverse {
        let earlier = before;
        before = next;
        next = earlier;
    }
    return StepRows(row, present, before.x, min(present, before.y), next.x, min(present, next.y), next.y);
}

fn first_row(place: u32) -> u32 {
    return params.step_rows[place / 4u][place % 4u];
}

fn recurrent_mask(p: u32, n: u32) -> f32 {
    if params.masked == 0u {
        return 1.0;
    }
    return bitcast<f32>(mask[here.mask + 1u + n * params.width + p]);
}
