// Where the rows of a time step lie, and of those that a direction walks before and after it. Appended to the kernels that name
// this file, whose `params` has the first rows of time steps.

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
