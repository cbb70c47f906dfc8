// Zoneout's masks, for the recurrence. Appended to the kernels that name this file, whose `params` and `mask` it uses.

const RANDOM = 1u;

// Of unit j at the sequences' step t, one word for each of four sequences from n on: its low half for h, its high half for c.
fn zone_words(t: u32, cell: u32, hidden: u32, j: u32, n: u32) -> vec4u {
    if params.zoneout != RANDOM {
        return vec4u();
    }
    let block = (t * ((params.batch + 3u) / 4u) + n / 4u) * hidden + j;
    return philox(vec4u(block, mask[0], 5u, cell), vec2u(params.seed_0, params.seed_1));
}

// What is kept: all or nothing in training, the expected share in evaluation.
fn zone_share(half: u32, limit: u32, rate: f32) -> f32 {
    return select(rate, select(0.0, 1.0, half < limit), params.zoneout == RANDOM);
}

// `share` of what was before, the rest of what is new.
fn zoned(share: f32, before: f32, fresh: f32) -> f32 {
    return share * before + (1.0 - share) * fresh;
}
