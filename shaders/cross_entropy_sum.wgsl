// history[row, 0] = scratch[0] · Σ_m scratch[1 + m]
// One workgroup for all rows; sums run in a fixed order.

struct Params {
    rows: u32,
    row: u32,
    add: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> scratch: array<f32>;        // [1 + M]: each row's share, each row's loss
@group(0) @binding(2) var<storage, read_write> history: array<f32>;  // [rows, 2]

var<workgroup> sums: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) local: u32) {
    var sum = 0.0;
    for (var m = local; m < params.rows; m += 256u) {
        sum += scratch[1u + m];
    }
    sums[local] = sum;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half {
            sums[local] += sums[local + half];
        }
    }
    if local == 0u {
        let loss = sums[0] * scratch[0];
        let place = 2u * params.row;
        if params.add != 0u {
            history[place] += loss;
        } else {
            history[place] = loss;
        }
    }
}
