// sums[s, j] = Σ_r values[r, j] over the rows of split s
// One invocation per (column, split): 64 neighbouring columns a workgroup, one split a row of workgroups.

struct Params {
    rows: u32,
    columns: u32,
    rows_per_split: u32,
    place: u32,
    row: u32,     // elements from row to row
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> values: array<f32>;      // rows of C at place
@group(0) @binding(2) var<storage, read_write> sums: array<f32>;  // [splits, C]

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
    if id.x >= params.columns {
        return;
    }
    var sum = 0.0;
    let end = min((id.y + 1u) * params.rows_per_split, params.rows);
    for (var r = id.y * params.rows_per_split; r < end; r++) {
        sum += values[params.place + r * params.row + id.x];
    }
    sums[id.y * params.columns + id.x] = sum;
}
