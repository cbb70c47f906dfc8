// scratch[1 + m] = −Σ_k w_k · ln softmax(x)_k, d_x = share · (softmax(x) − w), with x = prediction[m] and
// w = 1 − ε at the target's class, 0 elsewhere, plus ε/K; share = scratch[0]
// One workgroup per row; sums run in a fixed order.

struct Params {
    rows: u32,
    classes: u32,
    ignore_index: f32,
    label_smoothing: f32,
    nan: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> prediction: array<f32>;          // [M, K]
@group(0) @binding(2) var<storage, read> target_class: array<f32>;        // [M]
@group(0) @binding(3) var<storage, read_write> d_prediction: array<f32>;  // [M, K]
@group(0) @binding(4) var<storage, read_write> scratch: array<f32>;       // [1 + M]

var<workgroup> peaks: array<f32, 64>;
var<workgroup> powers: array<f32, 64>;
var<workgroup> totals: array<f32, 64>;

// exp x for x ≤ 0; a NaN stays one.
fn power(x: f32) -> f32 {
    return select(exp(max(x, -100.0)), x, is_nan(x));
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let m = group.y * groups.x + group.x;
    if m >= params.rows {
        return;
    }
    let first = m * params.classes;
    let id = target_class[m];
    if id == params.ignore_index {
        for (var k = local; k < params.classes; k += 64u) {
            d_prediction[first + k] = 0.0;
        }
        if local == 0u {
            scratch[1u + m] = 0.0;
        }
        return;
    }
    var peak = -3.4028234e38;
    for (var k = local; k < params.classes; k += 64u) {
        peak = max(peak, prediction[first + k]);
    }
    peaks[local] = peak;
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half {
            peaks[local] = max(peaks[local], peaks[local + half]);
        }
    }
    workgroupBarrier();
    peak = peaks[0];

    var sum = 0.0;
    var total = 0.0;
    for (var k = local; k < params.classes; k += 64u) {
        let x = prediction[first + k] - peak;
        sum += power(x);
        total += x;
    }
    powers[local] = sum;
    totals[local] = total;
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half {
            powers[local] += powers[local + half];
            totals[local] += totals[local + half];
        }
    }
    workgroupBarrier();
    sum = powers[0];

    // Whatever the id is, nothing is read out of bounds, and a bad one makes everything NaN; so does a NaN, which not every
    // driver's log keeps.
    let wanted = min(u32(clamp(id, 0.0, 16777216.0)), params.classes - 1u);
    let valid = f32(wanted) == id && !is_nan(id) && !is_nan(sum);
    let share = select(params.nan, scratch[0], valid);
    let all = params.label_smoothing / f32(params.classes);
    let own = 1.0 - params.label_smoothing;
    for (var k = local; k < params.classes; k += 64u) {
        let weight = all + select(0.0, own, k == wanted);
        d_prediction[first + k] = share * (power(prediction[first + k] - peak) / sum - weight);
    }
    if local == 0u {
        // Without smoothing a class of logit −∞ is one that cannot be, and no reason for an infinite loss.
        let spread = select(0.0, all * totals[0], all > 0.0);
        let loss = log(sum) - own * (prediction[first + wanted] - peak) - spread;
        scratch[1u + m] = select(params.nan, loss, valid);
    }
}
