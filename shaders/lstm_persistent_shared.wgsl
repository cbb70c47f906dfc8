// The way through time of the kernels that walk it inside one dispatch. Appended to those that name this file, whose
// `params`, `packed`, `mask` and constants it uses, with lstm_zone.wgsl.
// A dispatch takes one cell, which is one direction of one layer, or several: then each layer of the grid is one, and the
// buffers hold the rows of all cells, those of each `rows_apart` after those of the one before.

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
    let second = params.both * (cell % 2u);
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

// `row`, `before` and `next` count the rows of all cells.
struct Step {
    t: u32,
    row: u32,        // first row of this step
    present: u32,    // sequences that have it
    before: u32,     // first row of the step before
    ongoing: u32,    // sequences that have both; the others start here
    next: u32,       // first row of the step after
    joining: u32,    // sequences that have that
    following: u32,  // sequences that have both; the others end here
}

// Step `index` of the direction's way.
fn step_at(way: Way, index: u32) -> Step {
    var step: Step;
    step.t = time_of(way, index);
    step.row = way.base + row_of(step.t);
    step.present = row_of(step.t + 1u) - row_of(step.t);
    if index > 0u {
        let t = time_of(way, index - 1u);
        step.before = way.base + row_of(t);
        step.ongoing = min(row_of(t + 1u) - row_of(t), step.present);
    }
    if index + 1u < params.steps {
        let t = time_of(way, index + 1u);
        step.next = way.base + row_of(t);
        step.joining = row_of(t + 1u) - row_of(t);
        step.following = min(step.joining, step.present);
    } else {
        step.next = way.base + row_of(step.t + 1u);
    }
    return step;
}

fn time_of(way: Way, index: u32) -> u32 {
    return select(index, params.steps - 1u - index, way.reverse);
}

// The first row of time step t.
fn row_of(t: u32) -> u32 {
    if params.even != 0u {
        return t * params.batch;
    }
    return bitcast<u32>(packed[params.table + t / 4u][t % 4u]);
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
