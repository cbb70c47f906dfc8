// history[row, 0] = share · Σ −ln p(target), d_prediction = its gradient, with z = (target − μ)/σ, σ = softplus(r) + 10⁻⁴
//   gaussian ½z² + ln σ + ½ ln 2π · student_t (ν+1)/2 · ln(1 + z²/ν) + ln σ + C(ν/2), ν = 2 + softplus(s)
// One workgroup for all values; sums run in a fixed order.

struct Params {
    kind: u32,
    len: u32,
    values: u32,
    parts: u32,
    least_scale: f32,
    least_freedom: f32,
    share: f32,
    row: u32,
    add: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> prediction: array<f32>;          // [M, K, V], K = μ, r or μ, r, s
@group(0) @binding(2) var<storage, read> target_value: array<f32>;        // [M, V]
@group(0) @binding(3) var<storage, read_write> d_prediction: array<f32>;  // [M, K, V]
@group(0) @binding(4) var<storage, read_write> history: array<f32>;       // [rows, 2]

const GAUSSIAN = 5u;
const HALF_LN_TAU = 0.918938533;

var<workgroup> sums: array<f32, 256>;

// ln(1 + x) for x ≥ 0: below 1 by 2·artanh(x/(2+x)), since 1 + x has lost the digits of a small x. Not every driver's log of
// NaN is NaN.
fn log_1p(x: f32) -> f32 {
    let s = x / (2.0 + x);
    let z = s * s;
    let near = 2.0 * s * (1.0 + z * (1.0 / 3.0 + z * (1.0 / 5.0 + z * (1.0 / 7.0 + z * (1.0 / 9.0 + z * (1.0 / 11.0
        + z * (1.0 / 13.0 + z * (1.0 / 15.0))))))));
    return select(select(log(1.0 + x), near, x < 1.0), x, is_nan(x));
}

fn softplus(x: f32) -> f32 {
    return select(max(x, 0.0) + log_1p(exp(-min(abs(x), 80.0))), x, is_nan(x));
}

// C(a) = ln Γ(a) − ln Γ(a + ½) + ½ ln 2πa and its slope for a ≥ 1; src/kernels/loss/likelihood.rs says how.
fn student_constant(a: f32) -> vec2f {
    var product = 1.0;
    var sum = 0.0;
    for (var k = 0u; k < 4u; k++) {
        let u = a + f32(k);
        product *= 1.0 + 0.25 / u / (u + 1.0);
        sum += 1.0 / u / (u + 0.5) / (u + 1.0);
    }
    let v = 1.0 / (a + 4.0);
    let w = v * v;
    let series = v * (1.0 / 8.0 - w * (1.0 / 192.0 - w * (1.0 / 640.0 - w * (17.0 / 14336.0))));
    let d_series = -w * (1.0 / 8.0 - w * (1.0 / 64.0 - w * (1.0 / 128.0 - w * (17.0 / 2048.0))));
    return vec2f(HALF_LN_TAU + 0.5 * log(product) + series, d_series - 0.25 * sum);
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) local: u32) {
    var sum = 0.0;
    for (var m = local; m < params.len; m += 256u) {
        let place = m / params.values * params.parts * params.values + m % params.values;
        let raw_scale = prediction[place + params.values];
        let scale = softplus(raw_scale) + params.least_scale;
        let z = (target_value[m] - prediction[place]) / scale;
        var loss = HALF_LN_TAU + 0.5 * z * z;
        // The share of an error's pull on a normal distribution: less for Student's, the further out it lies.
        var pull = 1.0;
        if params.kind != GAUSSIAN {
            let raw_freedom = prediction[place + 2u * params.values];
            let freedom = softplus(raw_freedom) + params.least_freedom;
            let far = z * z / freedom;
            let constant = student_constant(0.5 * freedom);
            loss = constant.x + 0.5 * (freedom + 1.0) * log_1p(far);
            pull = (freedom + 1.0) / freedom / (1.0 + far);
            let d_freedom = 0.5 * (constant.y + log_1p(far) - pull * far);
            d_prediction[place + 2u * params.values] = d_freedom * sigmoid(raw_freedom) * params.share;
        }
        sum += loss + log(scale);
        d_prediction[place] = -pull * z / scale * params.share;
        d_prediction[place + params.values] = (1.0 - pull * z * z) / scale * sigmoid(raw_scale) * params.share;
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
