// What every forward step has: its parameters, and the way of h_t to the output and into the next step. Appended to the
// kernels that name this file, whose bindings `h_0`, `mask`, `h_in` and `y` it uses.

struct Params {
    t: u32,
    row: u32,        // first row of this step
    present: u32,    // sequences that have it
    before: u32,     // first row of the step before
    ongoing: u32,    // sequences that have that; the others start here
    next: u32,       // first row of the step after
    following: u32,  // sequences that have that
    joining: u32,    // sequences that have it or start with it
    rows: u32,       // rows of the whole batch
    batch: u32,
    hidden: u32,
    width: u32,
    outputs: u32,
    column: u32,
    projected: u32,
    w_hh_t: u32,
    w_hr_t: u32,
    shared_output: u32,
    has_start: u32,
    start_h: u32,
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

// h_t goes to the output and into the next step.
fn publish(p: u32, n: u32, fresh: f32, word: u32) {
    var h_t = fresh;
    if params.zoneout != 0u {
        var h_before = h_in[(params.row + n) * params.width + p];
        if params.masked != 0u {
            h_before = start(p, n);
            if n < params.ongoing {
                h_before = y[(params.before + n) * params.outputs + params.column + p];
            }
        }
        let z = zone_share(word & 0xffffu, params.limit_h, params.rate_h);
        h_t = z * h_before + (1.0 - z) * fresh;
    }
    let next = (params.next + n) * params.width + p;
    if params.shared_output != 0u {
        h_in[next] = h_t;
        return;
    }
    y[(params.row + n) * params.outputs + params.column + p] = h_t;
    if n < params.following {
        h_in[next] = h_t * recurrent_mask(p, n);
    }
}

// Of `count` sequences from `first` on, those that start with the next step.
fn join(p: u32, first: u32, count: u32) {
    for (var n = max(first, params.following); n < min(first + count, params.joining); n++) {
        h_in[(params.next + n) * params.width + p] = start(p, n) * recurrent_mask(p, n);
    }
}

fn start(p: u32, n: u32) -> f32 {
    if params.has_start == 0u {
        return 0.0;
    }
    return h_0[params.start_h + n * params.width + p];
}

fn recurrent_mask(p: u32, n: u32) -> f32 {
    if params.masked == 0u {
        return 1.0;
    }
    return bitcast<f32>(mask[1u + n * params.width + p]);
}
