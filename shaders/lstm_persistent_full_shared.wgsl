// The units, columns and sequences of an invocation in the kernels that walk through time with layer normalisation or a
// projection. Appended to those that name this file, with lstm_persistent_shared.wgsl.
//
// An invocation has SLOTS units and TURNS sequences, each unit with each sequence. Where there are more invocations than
// units, SIDE sequences lie side by side.

const PADDED = (HIDDEN + 3u) / 4u * 4u;
const WIDE = (WIDTH + 3u) / 4u * 4u;
const SIDE = max(THREADS / PADDED, 1u);
const SLOTS = (PADDED + THREADS - 1u) / THREADS;
const TURNS = (SEQUENCES + SIDE - 1u) / SIDE;
const OWN = SLOTS * TURNS;
const COLUMN_SIDE = max(THREADS / WIDE, 1u);
const COLUMN_SLOTS = (WIDE + THREADS - 1u) / THREADS;
const COLUMN_TURNS = (SEQUENCES + COLUMN_SIDE - 1u) / COLUMN_SIDE;
const COLUMN_OWN = COLUMN_SLOTS * COLUMN_TURNS;

// Sums over the units of a sequence: TERMS invocations have one each, which are added in SLICES.
const TERMS = min(THREADS, PADDED);
const SLICES = 1u + 7u * min((TERMS - 1u) / 32u, 1u);
const SLICE = (TERMS + SLICES - 1u) / SLICES;

// Loops over two may be written out by a compiler; over more that takes it seconds, so it is not told how many there are.
fn hidden_count(count: u32) -> u32 {
    if count <= 2u {
        return count;
    }
    return min(count, count * arrayLength(&packed));
}

// Where `norm` has the moments of a row.
fn moments_place(row: u32) -> u32 {
    return here.cell * params.norm_apart + 3u * (row - here.base);
}

fn packed_four(at: u32) -> vec4f {
    return packed[at];
}

fn unit_at(slot: u32, turn: u32, local: u32, first: u32) -> Pair {
    let j = slot * THREADS + local % PADDED;
    let s = turn * SIDE + local / PADDED;
    let n = first + s;
    return Pair(j, s, n, j < HIDDEN && local / PADDED < SIDE && s < SEQUENCES && n < params.batch);
}

fn column_at(slot: u32, turn: u32, local: u32, first: u32) -> Pair {
    let p = slot * THREADS + local % WIDE;
    let s = turn * COLUMN_SIDE + local / WIDE;
    let n = first + s;
    return Pair(p, s, n, p < WIDTH && local / WIDE < COLUMN_SIDE && s < SEQUENCES && n < params.batch);
}

// Units of the invocations from number `begin` on, `count` of them.
fn units_of(begin: u32, count: u32) -> f32 {
    if HIDDEN % TERMS == 0u && TERMS % SLICES == 0u {
        return f32(HIDDEN / TERMS * count);
    }
    let end = min(begin + count, TERMS);
    let start = min(begin, end);
    return f32(HIDDEN / THREADS * (end - start) + clamp(HIDDEN % THREADS, start, end) - start);
}
