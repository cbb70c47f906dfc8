// The (unit, sequence) pairs of an invocation where no row has to be seen as a whole. Appended to the kernels that name this
// file and have `gates`, with lstm_persistent_shared.wgsl.

const WIDTH = HIDDEN;

alias Units = array<f32, HIDDEN>;
alias Gates = array<Units, 4>;

// Whether the parts of a unit activate its gates, where they have one sequence: all carry its state then, and the first one stores
// it.
const SPREAD = ITEM * SEQUENCES == 1u && PARTS > 1u && FAR == 0u;

// FAR parts have one item.
const PAIRS = ITEMS * ((ITEM * SEQUENCES + PARTS - 1u) / PARTS);

// Of the invocation.
var<private> part: u32;

// Where, in what has SIDES, a step reads what was written in the one before, and where it writes.
var<private> read_from: u32;
var<private> write_to: u32;
var<private> side: u32;

// Before each step; a side has `len` elements. Products tell a compiler how these places are aligned.
fn turn_over(len: u32) {
    read_from = side * len;
    side = SIDES - 1u - side;
    write_to = side * len;
}

// The part and the first item, which is a unit or a four of units, of an invocation. Without FAR parts are neighbours.
fn part_of(local: u32) -> u32 {
    return select(local % PARTS, local / ITEM_THREADS, FAR != 0u);
}

fn item_of(local: u32) -> u32 {
    return select(local / PARTS, local % ITEM_THREADS, FAR != 0u);
}

// Whether the invocation stores what its pairs carry.
fn stores() -> bool {
    return !SPREAD || part == 0u;
}

// The pairs of an invocation. Loops over two may be written out by a compiler; over more that takes it seconds, so it is
// not told how many they are.
fn pair_count() -> u32 {
    if PAIRS <= 2u {
        return PAIRS;
    }
    return min(PAIRS, PAIRS * params.batch);
}

// An invocation's pair number p.
fn pair(p: u32, local: u32, first: u32) -> Pair {
    let index = p * THREADS + local;
    var j = index % PADDED;
    var s = index / PADDED;
    if FAR == 0u {
        // The units of an item, for one sequence after the other, go round its parts.
        let turn = p / ITEMS * PARTS + select(part, 0u, SPREAD);
        j = (item_of(local) + p % ITEMS * ITEM_THREADS) * ITEM + turn % ITEM;
        s = turn / ITEM;
    }
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
