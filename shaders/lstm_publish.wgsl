// The way of h_t to the output and into the next step. Appended to the kernels that name this file, whose bindings `h_0`,
// `h_in` and `y` it uses, with lstm_step_shared.wgsl and lstm_zone.wgsl.

// Where `h_in` has h_{t−1}, or h_t of the layer below, which with shared_output is its `h_in` one step on.
fn row_of_h(below: bool) -> u32 {
    return select(here.row, here.row + params.batch - params.rows_apart, below);
}

// Where `y` has h_t of the layer below, unless shared_output, and what dropout multiplies it by.
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
        h_t = zoned(z, h_before, fresh);
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
