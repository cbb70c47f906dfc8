// The (unit, sequence) pairs of an invocation where no row has to be seen as a whole. Appended to the kernels that name this
// file and have `gates`, with lstm_persistent_shared.wgsl.

const WIDTH = HIDDEN;

alias Units = array<f32, HIDDEN>;
alias Gates = array<Units, 4>;

// The pairs of an invocation. Loops over two may be written out by a compiler; over more that takes it seconds, so it is
// not told how many they are.
fn pair_count() -> u32 {
    if PAIRS <= 2u {
        return PAIRS;
    }
    return min(PAIRS, (PADDED * params.batch + THREADS - 1u) / THREADS);
}

// An invocation's pair number p.
fn pair(p: u32, local: u32, first: u32) -> Pair {
    let index = p * THREADS + local;
    let j = index % PADDED;
    let s = index / PADDED;
    return Pair(j, s, first + s, j < HIDDEN && s < SEQUENCES && first + s < params.batch);
}

fn four_gates(row: u32, j: u32) -> vec4f {
    return vec4f(gates[row][0][j], gates[row][1][j], gates[row][2][j], gates[row][3][j]);
}

fn keep_gates(row: u32, j: u32, four: vec4f) {
    gates[row][0][j] = four.x;
    gates[row][1][j] = four.y;
    gates[row][2][j] = four.z;
    gates[row][3][j] = four.w;
}
