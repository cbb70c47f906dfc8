// The gates and the state of one unit and sequence at a forward step. Appended to the kernels that name this file, whose
// `gates`, `c` and `u` it uses, with lstm_gates.wgsl, lstm_publish.wgsl, lstm_step_shared.wgsl
// and lstm_zone.wgsl.

// What a pair has before h_{t−1} · W_hhᵀ is known.
struct Entering {
    z: vec4f, // x · W_ihᵀ + b_ih + b_hh of i, f, g and o
    c: f32,   // c_{t−1}
}

fn entering(j: u32, n: u32) -> Entering {
    let at = (here.row + n) * 4u * params.hidden + j;
    let before = select(here.base + n, params.batch + here.before + n, n < here.ongoing);
    return Entering(
        vec4f(gates[at], gates[at + params.hidden], gates[at + 2u * params.hidden], gates[at + 3u * params.hidden]),
        c[before * params.hidden + j],
    );
}

// `recurrent` is h_{t−1} · W_hhᵀ, `word` what zoneout has drawn.
fn cell(j: u32, n: u32, entered: Entering, recurrent: vec4f, word: u32) {
    let row = here.row + n;
    let at = row * 4u * params.hidden + j;
    let four = activated(entered.z + recurrent);
    gates[at] = four.x;
    gates[at + params.hidden] = four.y;
    gates[at + 2u * params.hidden] = four.z;
    gates[at + 3u * params.hidden] = four.w;
    let c_fresh = cell_state(four, entered.c);
    let kept = zone_share(word >> 16u, params.limit_c, params.rate_c);
    let c_t = select(c_fresh, zoned(kept, entered.c, c_fresh), params.zoneout != 0u);
    c[(params.batch + row) * params.hidden + j] = c_t;
    let fresh = four.w * tangent(c_fresh);
    if params.projected != 0u {
        u[row * params.hidden + j] = fresh;
    } else {
        publish(j, n, fresh, word);
    }
}

// x · W_ihᵀ + h · W_hhᵀ, for layer normalisation.
fn keep_products(j: u32, n: u32, recurrent: vec4f) {
    let at = (here.row + n) * 4u * params.hidden + j;
    gates[at] += recurrent.x;
    gates[at + params.hidden] += recurrent.y;
    gates[at + 2u * params.hidden] += recurrent.z;
    gates[at + 3u * params.hidden] += recurrent.w;
}
