// The gradients of one unit and sequence at a backward step. Appended to the kernels that name this file, whose `d_y`, `c`,
// `gates` and `d_state` it uses, with lstm_gates.wgsl, lstm_step_shared.wgsl and lstm_zone.wgsl.

// d_h_t, without the share that zoneout passes on; `through` is d_gates_{t+1} · W_hh, `above` what comes from the layer above.
fn hidden_gradient(p: u32, n: u32, through: f32, above: f32, word: u32) -> f32 {
    let unit = here.d_state + n * params.width + p;
    let ends = n >= here.following;
    var d_h_t = above + select(through * recurrent_mask(p, n), 0.0, ends);
    if (ends && params.has_final != 0u) || (!ends && params.zoneout != 0u) {
        d_h_t += d_state[unit];
    }
    if here.has_d_y {
        d_h_t += d_y[here.d_y + n * params.outputs + p];
    }
    if params.zoneout != 0u {
        let kept = zone_share(word & 0xffffu, params.limit_h, params.rate_h) * d_h_t;
        d_state[unit] = kept;
        d_h_t -= kept;
    }
    return d_h_t;
}

// The gradient of the start h of a sequence that starts with this step.
fn start_gradient(p: u32, n: u32, through: f32) {
    if n >= here.ongoing {
        let unit = here.d_state + n * params.width + p;
        d_state[unit] = through * recurrent_mask(p, n) + select(0.0, d_state[unit], params.zoneout != 0u);
    }
}

// What the forward pass kept of a pair, and the gradient of its c from the step after.
struct Kept {
    gates: vec4f,
    c_before: f32,
    c_t: f32,
    d_c: f32,
}

fn kept_of(j: u32, n: u32) -> Kept {
    let row = here.row + n;
    let at = row * 4u * params.hidden + j;
    let before = select(here.base + n, params.batch + here.before + n, n < here.ongoing);
    var kept: Kept;
    kept.gates =
        vec4f(gates[at], gates[at + params.hidden], gates[at + 2u * params.hidden], gates[at + 3u * params.hidden]);
    kept.c_before = c[before * params.hidden + j];
    kept.c_t = c[(params.batch + row) * params.hidden + j];
    if n < here.following || params.has_final != 0u {
        kept.d_c = d_state[here.d_state + params.batch * params.width + n * params.hidden + j];
    }
    return kept;
}

// d_gates and d_c from the gradient of o ∘ tanh(c_t).
fn cell_gradient(j: u32, n: u32, kept: Kept, d_out: f32, word: u32) {
    let d_u = normal(d_out);
    var c_t = kept.c_t;
    var passed = 0.0; // by zoneout, to c of the step before
    if params.zoneout != 0u {
        passed = zone_share(word >> 16u, params.limit_c, params.rate_c) * kept.d_c;
        c_t = cell_state(kept.gates, kept.c_before);
    }
    let out = output_slopes(kept.gates.w, tangent(c_t));
    let d_c_t = normal(kept.d_c - passed + d_u * out.x);
    let d = vec4f(d_c_t * cell_slopes(kept.gates, kept.c_before), d_u * out.y);
    let at = (here.row + n) * 4u * params.hidden + j;
    gates[at] = d.x;
    gates[at + params.hidden] = d.y;
    gates[at + 2u * params.hidden] = d.z;
    gates[at + 3u * params.hidden] = d.w;
    d_state[here.d_state + params.batch * params.width + n * params.hidden + j] = d_c_t * kept.gates.y + passed;
}
