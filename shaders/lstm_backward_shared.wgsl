// The parameters of every backward step. Appended to the kernels that name this file.

struct Params {
    t: u32,
    row: u32,        // first row of this step
    present: u32,    // sequences that have it
    before: u32,     // first row of the step before
    ongoing: u32,    // sequences that have that; the others start here
    next: u32,       // first row of the step after
    following: u32,  // sequences that have that; the others end here
    rows: u32,       // rows of the whole batch
    batch: u32,
    hidden: u32,
    width: u32,
    outputs: u32,
    column: u32,
    projected: u32,
    w_hh: u32,
    w_hr: u32,
    has_d_y: u32,
    d_y: u32,
    has_final: u32,
    masked: u32,
    zoneout: u32,
    limit_h: u32,
    limit_c: u32,
    rate_h: f32,
    rate_c: f32,
    seed_0: u32,
    seed_1: u32,
    cell: u32,
}
