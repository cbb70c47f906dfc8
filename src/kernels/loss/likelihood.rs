//! −ln p of one value under a distribution whose parameters come raw from the head, and its slopes.
//!
//! Γ appears only as the ratio in Student's constant C(a) = ln Γ(a) − ln Γ(a + ½) + ½ ln 2πa with a = ν/2. Its two
//! logarithms grow with a and their difference does not, so it is computed as one thing: n steps of Γ(a + 1) = a·Γ(a) up to
//! b = a + n, then the ratio's asymptotic series ([DLMF 5.5.1, 5.11.13](https://dlmf.nist.gov/5.11#iii)). No two terms
//! cancel:
//!
//! ```text
//! C(a)  =  ½ ln 2π + ½ ln Π_k (1 + ¼/((a+k)(a+k+1))) + 1/8b − 1/192b³ + 1/640b⁵ − 17/14336b⁷      k = 0 … n − 1
//! C′(a) = −¼ Σ_k 1/((a+k)(a+k+½)(a+k+1)) − 1/8b² + 1/64b⁴ − 1/128b⁶ + 17/2048b⁸
//! ```
//!
//! With a ≥ 1 the first term left out is below 2·10⁻¹⁴ for n = 16, here, and below 1.5·10⁻⁹ for n = 4, in the WGSL.

/// Added to a standard deviation, in scaled units, so that an exact forecast does not make the likelihood infinite.
pub(super) const LEAST_SCALE: f64 = 1e-4;
/// Student's distribution has no variance at ν = 2 and below.
pub(super) const LEAST_FREEDOM: f64 = 2.0;
/// ½ ln 2π
const HALF_LN_TAU: f64 = 0.918_938_533_204_672_7;
/// n, steps before the series.
const STEPS: u32 = 16;

/// σ = softplus(raw) + 10⁻⁴ of the likelihood heads, in scaled units.
pub fn scale_from_raw(raw: f64) -> f64 {
    softplus(raw) + LEAST_SCALE
}

/// ν = 2 + softplus(raw) of the Student-t head.
pub fn freedom_from_raw(raw: f64) -> f64 {
    LEAST_FREEDOM + softplus(raw)
}

/// ln(1 + eˣ) without overflow.
fn softplus(x: f64) -> f64 {
    // Not `max`, which would turn a NaN into 0.
    (if x < 0.0 { 0.0 } else { x }) + (-x.abs()).exp().ln_1p()
}

/// The derivative of softplus.
fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// −ln p and its derivatives by μ and r.
pub(super) fn gaussian(target: f64, location: f64, raw_scale: f64) -> (f64, [f64; 2]) {
    let scale = scale_from_raw(raw_scale);
    let z = (target - location) / scale;
    let loss = z * z / 2.0 + scale.ln() + HALF_LN_TAU;
    (loss, [-z / scale, (1.0 - z * z) / scale * sigmoid(raw_scale)])
}

/// −ln p and its derivatives by μ, r and s.
pub(super) fn student_t(target: f64, location: f64, raw_scale: f64, raw_freedom: f64) -> (f64, [f64; 3]) {
    let (scale, freedom) = (scale_from_raw(raw_scale), freedom_from_raw(raw_freedom));
    let z = (target - location) / scale;
    let far = z * z / freedom;
    let (constant, d_constant) = student_constant(freedom / 2.0);
    let loss = constant + scale.ln() + (freedom + 1.0) / 2.0 * far.ln_1p();
    // The share of an error's pull on a normal distribution: less, the further out it lies.
    let pull = (freedom + 1.0) / freedom / (1.0 + far);
    let d_location = -pull * z / scale;
    let d_scale = (1.0 - pull * z * z) / scale;
    let d_freedom = (d_constant + far.ln_1p() - pull * far) / 2.0;
    (loss, [d_location, d_scale * sigmoid(raw_scale), d_freedom * sigmoid(raw_freedom)])
}

/// C(a) and C′(a) for a ≥ 1.
fn student_constant(a: f64) -> (f64, f64) {
    let (mut product, mut sum) = (1.0, 0.0);
    for k in 0..STEPS {
        let u = a + f64::from(k);
        product *= 1.0 + 0.25 / (u * (u + 1.0));
        sum += 1.0 / (u * (u + 0.5) * (u + 1.0));
    }
    let v = 1.0 / (a + f64::from(STEPS));
    let w = v * v;
    let series = v * (1.0 / 8.0 - w * (1.0 / 192.0 - w * (1.0 / 640.0 - w * (17.0 / 14336.0))));
    let d_series = -w * (1.0 / 8.0 - w * (1.0 / 64.0 - w * (1.0 / 128.0 - w * (17.0 / 2048.0))));
    (HALF_LN_TAU + product.ln() / 2.0 + series, d_series - sum / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By mpmath with 40 digits:
    /// `loggamma(a) - loggamma(a + 0.5) + log(2 * pi * a) / 2`, and `psi(0, a) - psi(0, a + 0.5) + 1 / (2 * a)`.
    #[test]
    fn the_constant_of_students_distribution_is_right() {
        for (a, constant, slope) in [
            (1.0, 1.039_720_770_839_918, -0.113_705_638_880_109_38),
            (1.25, 1.016_639_593_460_45, -0.074_925_986_923_126_57),
            (2.0, 0.980_829_253_011_726_2, -0.030_372_305_546_776_05),
            (3.5, 0.954_534_150_571_376, -0.010_103_884_929_414_428),
            (10.0, 0.931_433_340_379_401_6, -0.001_248_445_230_965_267_6),
            (123.25, 0.919_952_729_205_811_7, -8.228_725_660_072_35e-6),
            (1e4, 0.918_951_033_204_667_5, -1.249_999_998_437_5e-9),
            (1e9, 0.918_938_533_329_672_8, -1.25e-19),
        ] {
            let (got, d_got) = student_constant(a);
            assert!((got - constant).abs() < 3e-14, "C({a}) = {got}, not {constant}");
            assert!((d_got - slope).abs() < 1e-12 * slope.abs(), "C'({a}) = {d_got}, not {slope}");
        }
    }
}
