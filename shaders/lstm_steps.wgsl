// The first row of each time step of sequences of unequal length: the rows of sequence 0, and the end.
// One workgroup; each invocation counts the steps that begin in its share of the rows.

struct Params {
    rows: u32,
    steps: u32,
    place: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> sequences: array<u32>;      // [rows]
@group(0) @binding(2) var<storage, read_write> table: array<u32>;    // [T + 1] at place

var<workgroup> counts: array<u32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) local: u32) {
    let share = (params.rows + 63u) / 64u;
    let begin = min(local * share, params.rows);
    let end = min(begin + share, params.rows);
    var count = 0u;
    for (var row = begin; row < end; row++) {
        count += select(0u, 1u, sequences[row] == 0u);
    }
    counts[local] = count;
    workgroupBarrier();
    var t = 0u;
    for (var other = 0u; other < local; other++) {
        t += counts[other];
    }
    for (var row = begin; row < end; row++) {
        if sequences[row] == 0u {
            table[params.place + t] = row;
            t++;
        }
    }
    if local == 0u {
        table[params.place + params.steps] = params.rows;
    }
}
