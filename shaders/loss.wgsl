// history[row, 0] = share · Σ loss(e) over one part of the prediction, d_prediction = its gradient, with e = prediction − target
//   mse e² · l1 |e| · huber e²/2 if |e| ≤ δ, else δ(|e| − δ/2) · quantile (1 − q)·e if e > 0, else −q·e
// One workgroup for all values; sums run in a fixed order.

struct Params {
    kind: u32,
    len: u32,
    values: u32,
    parts: u32,
    part: u32,
    limit: f32,
    share: f32,
    row: u32,
    add: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> prediction: array<f32>;          // [M, K, V]
@group(0) @binding(2) var<storage, read> target_value: array<f32>;        // [M, V]
@group(0) @binding(3) var<storage, read_write> d_prediction: array<f32>;  // [M, K, V]
@group(0) @binding(4) var<storage, read_write> history: array<f32>;       // [rows, 2]

const MSE = 0u;
const L1 = 1u;
const HUBER = 2u;

var<workgroup> sums: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) local: u32) {
    var sum = 0.0;
    for (var m = local; m < params.len; m += 256u) {
        let place = (m / params.values * params.parts + params.part) * params.values + m % params.values;
        let e = prediction[place] - target_value[m];
        let size = abs(e);
        var value = e * e;
        var slope = 2.0 * e;
        if params.kind == L1 {
            value = size;
            slope = sign(e);
        } else if params.kind == HUBER {
            let near = size <= params.limit;
            value = select(params.limit * (size - 0.5 * params.limit), 0.5 * value, near);
            slope = select(params.limit * sign(e), e, near);
        } else if params.kind != MSE {
            slope = select(-params.limit, 1.0 - params.limit, e > 0.0);
            value = slope * e;
            slope = select(slope, 0.0, e == 0.0);
        }
        sum += value;
        d_prediction[place] = slope * params.share;
    }
    sums[local] = sum;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half {
            sums[local] += sums[local + half];
        }
    }
    if local == 0u {
        let loss = sums[0] * params.share;
        let place = 2u * params.row;
        if params.add != 0u {
            history[place] += loss;
        } else {
            history[place] = loss;
        }
    }
}
