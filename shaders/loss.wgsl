// history[row, 0] = weight · mean loss(prediction − target), d_prediction = its gradient
//   mse e² · l1 |e| · huber e²/2 if |e| ≤ δ, else δ(|e| − δ/2)
// One workgroup for all elements; sums run in a fixed order.

struct Params {
    kind: u32,
    len: u32,
    delta: f32,
    weight: f32,
    row: u32,
    add: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> prediction: array<f32>;          // [M]
@group(0) @binding(2) var<storage, read> target_value: array<f32>;        // [M]
@group(0) @binding(3) var<storage, read_write> d_prediction: array<f32>;  // [M]
@group(0) @binding(4) var<storage, read_write> history: array<f32>;       // [rows, 2]

const MSE = 0u;
const L1 = 1u;

var<workgroup> sums: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) local: u32) {
    let share = params.weight / f32(params.len);
    var sum = 0.0;
    for (var m = local; m < params.len; m += 256u) {
        let e = prediction[m] - target_value[m];
        let size = abs(e);
        var value = e * e;
        var slope = 2.0 * e;
        if params.kind == L1 {
            value = size;
            slope = sign(e);
        } else if params.kind != MSE {
            let near = size <= params.delta;
            value = select(params.delta * (size - 0.5 * params.delta), 0.5 * value, near);
            slope = select(params.delta * sign(e), e, near);
        }
        sum += value;
        d_prediction[m] = slope * share;
    }
    sums[local] = sum;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half {
            sums[local] += sums[local + half];
        }
    }
    if local == 0u {
        let loss = sums[0] * share;
        let place = 2u * params.row;
        if params.add != 0u {
            history[place] += loss;
        } else {
            history[place] = loss;
        }
    }
}
