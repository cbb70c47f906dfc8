// out[i] = mask[i] · source[i], or added to it: the masks are 0, or 1 / (1 − rate), drawn from their places alone.
// One invocation per 4 elements of a row.

struct Params {
    seed_0: u32,
    seed_1: u32,
    draw: u32,
    purpose: u32,
    cell: u32,
    threshold: u32,
    scale: f32,
    rows: u32,
    columns: u32,
    first: u32,
    masks: u32,
    period: u32,
    source: u32,
    x: u32,
    out: u32,
    add: u32,
    before: u32, // invocations of other dispatches
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;           // [rows, columns] at x, if source is VALUES
@group(0) @binding(2) var<storage, read> sequences: array<u32>;   // [rows], if masks are LISTED
@group(0) @binding(3) var<storage, read_write> out: array<f32>;   // [rows, columns] at out

const EVERY = 1u;
const LISTED = 2u;
const VALUES = 1u;
const ITSELF = 2u;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let index = params.before + flat_index(group, groups, 64u, local);
    let quads = (params.columns + 3u) / 4u;
    let row = index / quads;
    if row >= params.rows {
        return;
    }
    var sharing = row;
    if params.masks == EVERY {
        sharing = row % params.period;
    } else if params.masks == LISTED {
        sharing = sequences[row];
    }
    let column = (index % quads) * 4u;
    let place = params.first + sharing * params.columns + column;
    // Four places lie in one block of random words or in two.
    var words = draw(place / 4u);
    for (var q = 0u; q < min(4u, params.columns - column); q++) {
        if q > 0u && (place + q) % 4u == 0u {
            words = draw((place + q) / 4u);
        }
        let at = row * params.columns + column + q;
        var value = select(params.scale, 0.0, words[(place + q) % 4u] < params.threshold);
        if params.source == VALUES {
            value *= x[params.x + at];
        } else if params.source == ITSELF {
            value *= out[params.out + at];
        }
        if params.add != 0u {
            value += out[params.out + at];
        }
        out[params.out + at] = value;
    }
}

fn draw(block: u32) -> vec4u {
    return philox(vec4u(block, params.draw, params.purpose, params.cell), vec2u(params.seed_0, params.seed_1));
}
