//! Layer normalisation on the CPU: the element-wise parts of a time step in place of those without it.

use pulp::NullaryFnOnce;

use super::steps::quarters;
use crate::device::Real;
use crate::kernels::lstm::NORM_EPS;
use crate::kernels::lstm::shape::CellPlaces;

/// The parameters of one layer and direction that come after its products.
pub struct NormParameters<'a, F> {
    gain_ih: &'a [F], // [4H]
    gain_hh: &'a [F], // [4H]
    gain_c: &'a [F],  // [H]
    shift_c: &'a [F], // [H]
    biases: Vec<F>,   // [4H]
}

impl<'a, F: Real> NormParameters<'a, F> {
    /// None without layer normalisation; else `biases` go with it, and zeros stay.
    pub fn take(places: &CellPlaces, hidden: usize, params: &'a [F], biases: &mut Vec<F>) -> Option<Self> {
        let gains = &params[places.layer_norm?..];
        let gates = 4 * hidden;
        let biases = std::mem::replace(biases, vec![F::zero(); gates]);
        let (gain_ih, rest) = gains.split_at(gates);
        let (gain_hh, rest) = rest.split_at(gates);
        let (gain_c, rest) = rest.split_at(hidden);
        Some(Self { gain_ih, gain_hh, gain_c, shift_c: &rest[..hidden], biases })
    }
}

/// What is kept of the rows of some sequences at one time step.
pub struct Normed<'a, F> {
    pub hh: &'a mut [F], // [n, 4H], in: h · W_hhᵀ, after the forward step normalised, after the backward step d_r
    pub ih: &'a mut [F], // [n, 4H], after the forward step x · W_ihᵀ normalised, after the backward step d_a
    pub c: &'a mut [F],  // [n, H], after the forward step c̃ normalised
    pub scales: &'a mut [F], // [n, 3], 1 / σ of ih, hh and c
}

impl<F> Normed<'_, F> {
    /// Those of the first `ongoing` sequences, and the others.
    pub fn split_at(&mut self, ongoing: usize, hidden: usize) -> [Normed<'_, F>; 2] {
        let (hh, hh_after) = self.hh.split_at_mut(ongoing * 4 * hidden);
        let (ih, ih_after) = self.ih.split_at_mut(ongoing * 4 * hidden);
        let (c, c_after) = self.c.split_at_mut(ongoing * hidden);
        let (scales, scales_after) = self.scales.split_at_mut(ongoing * 3);
        [Normed { hh, ih, c, scales }, Normed { hh: hh_after, ih: ih_after, c: c_after, scales: scales_after }]
    }
}

/// Numbers that are added side by side, as vector instructions do.
const LANES: usize = 16;

/// Σ of each of `K` terms over `0 .. len`, in one pass.
#[expect(clippy::needless_range_loop, reason = "both indices are short and fixed, so that the loops become vectors")]
#[inline(always)]
fn totals<F: Real, const K: usize>(len: usize, terms: impl Fn(usize) -> [F; K]) -> [F; K] {
    let mut lanes = [[F::zero(); LANES]; K];
    let whole = len - len % LANES;
    for first in (0..whole).step_by(LANES) {
        for lane in 0..LANES {
            let terms = terms(first + lane);
            for k in 0..K {
                lanes[k][lane] = lanes[k][lane] + terms[k];
            }
        }
    }
    for (lane, place) in (whole..len).enumerate() {
        let terms = terms(place);
        for k in 0..K {
            lanes[k][lane] = lanes[k][lane] + terms[k];
        }
    }
    lanes.map(|lanes| lanes.into_iter().fold(F::zero(), |sum, lane| sum + lane))
}

/// Mean and 1 / σ of each of two equally long rows.
#[inline(always)]
fn moments<F: Real>(a: &[F], b: &[F]) -> [(F, F); 2] {
    let len = a.len();
    let b = &b[..len];
    let share = F::one() / F::of(len as f64);
    let [mean_a, mean_b] = totals(len, |j| [a[j], b[j]]).map(|sum| sum * share);
    let square = |value: F| value * value;
    let variances = totals(len, |j| [square(a[j] - mean_a), square(b[j] - mean_b)]);
    let [scale_a, scale_b] = variances.map(|sum| F::one() / (sum * share + F::of(NORM_EPS)).sqrt());
    [(mean_a, scale_a), (mean_b, scale_b)]
}

/// The gradient of a row before normalisation from that of γ ∘ `normed`: `d_gained` = d ∘ γ, less its mean and its share
/// along the row.
#[inline(always)]
fn before_norm<F: Real>(d_gained: F, normed: F, scale: F, mean: F, slope: F) -> F {
    scale * (d_gained - mean - normed * slope)
}

/// The element-wise part of a forward step on `n` sequences.
pub struct ForwardNormStep<'a, F> {
    pub own: &'a NormParameters<'a, F>,
    pub gates: &'a mut [F], // [n, 4H], in: x · W_ihᵀ, out: activated
    pub kept: Normed<'a, F>,
    pub c_before: &'a [F], // [n, H]
    pub c_t: &'a mut [F],  // [n, H], written
    pub h_t: &'a mut [F],  // [n, H], written
    pub hidden: usize,
}

impl<F: Real> NullaryFnOnce for ForwardNormStep<'_, F> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { own, gates, kept, c_before, c_t, h_t, hidden } = self;
        for (n, gates) in gates.chunks_exact_mut(4 * hidden).enumerate() {
            let (row, wide) = (n * hidden..(n + 1) * hidden, 4 * n * hidden..4 * (n + 1) * hidden);
            let (ih, hh) = (&mut kept.ih[wide.clone()], &mut kept.hh[wide]);
            let scales = &mut kept.scales[3 * n..][..3];
            let len = gates.len();
            let (ih, hh) = (&mut ih[..len], &mut hh[..len]);
            let (gain_ih, gain_hh, biases) = (&own.gain_ih[..len], &own.gain_hh[..len], &own.biases[..len]);
            let [(mean_ih, scale_ih), (mean_hh, scale_hh)] = moments(gates, hh);
            (scales[0], scales[1]) = (scale_ih, scale_hh);
            for j in 0..len {
                ih[j] = (gates[j] - mean_ih) * scale_ih;
                hh[j] = (hh[j] - mean_hh) * scale_hh;
                gates[j] = gain_ih[j] * ih[j] + gain_hh[j] * hh[j] + biases[j];
            }
            let [i, f, g, o] = quarters(gates, hidden);
            let (c_before, c_t, c_normed, h_t) =
                (&c_before[row.clone()], &mut c_t[row.clone()], &mut kept.c[row.clone()], &mut h_t[row]);
            for j in 0..hidden {
                i[j] = i[j].sigmoid();
                f[j] = f[j].sigmoid();
                g[j] = g[j].tangent();
                o[j] = o[j].sigmoid();
                c_t[j] = f[j] * c_before[j] + i[j] * g[j];
            }
            let [(mean, scale), _] = moments(c_t, c_t);
            scales[2] = scale;
            let (gain_c, shift_c) = (&own.gain_c[..hidden], &own.shift_c[..hidden]);
            for j in 0..hidden {
                c_normed[j] = (c_t[j] - mean) * scale;
                h_t[j] = o[j] * (gain_c[j] * c_normed[j] + shift_c[j]).tangent();
            }
        }
    }
}

/// The element-wise part of a backward step on `n` sequences.
pub struct BackwardNormStep<'a, F> {
    pub own: &'a NormParameters<'a, F>,
    pub gates: &'a mut [F], // [n, 4H], in: activated gates, out: their gradients before activation
    pub kept: Normed<'a, F>,
    pub c_before: &'a [F], // [n, H]
    pub d_h: &'a [F],      // [n, H]
    pub d_c: &'a mut [F],  // [n, H], in: from the step after, out: for the step before
    pub sums: &'a mut [F], // [n, 14H], added to
    pub hidden: usize,
}

impl<F: Real> NullaryFnOnce for BackwardNormStep<'_, F> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { own, gates, kept, c_before, d_h, d_c, sums, hidden } = self;
        let one = F::one();
        let mut d_in = vec![F::zero(); hidden]; // the gradient of what enters the last tanh
        for (n, gates) in gates.chunks_exact_mut(4 * hidden).enumerate() {
            let (row, wide) = (n * hidden..(n + 1) * hidden, 4 * n * hidden..4 * (n + 1) * hidden);
            let scales = &kept.scales[3 * n..][..3];
            let (sum_ih, rest) = sums[14 * n * hidden..].split_at_mut(4 * hidden);
            let (sum_hh, rest) = rest.split_at_mut(4 * hidden);
            let (sum_c, rest) = rest.split_at_mut(hidden);
            let (sum_shift, rest) = rest.split_at_mut(hidden);
            let sum_biases = &mut rest[..4 * hidden];

            let [i, f, g, o] = quarters(gates, hidden);
            let (c_before, normed, d_h, d_c) =
                (&c_before[row.clone()], &kept.c[row.clone()], &d_h[row.clone()], &mut d_c[row]);
            let (gain_c, shift_c) = (&own.gain_c[..hidden], &own.shift_c[..hidden]);
            for j in 0..hidden {
                let tanh = (gain_c[j] * normed[j] + shift_c[j]).tangent();
                d_in[j] = d_h[j] * o[j] * (one - tanh * tanh);
                o[j] = d_h[j] * tanh * o[j] * (one - o[j]);
                sum_shift[j] = sum_shift[j] + d_in[j];
            }
            let share = F::one() / F::of(hidden as f64);
            let d_in = &d_in[..hidden];
            let [mean, slope] = totals(hidden, |j| {
                let d_gained = d_in[j] * gain_c[j];
                [d_gained, d_gained * normed[j]]
            });
            let (mean, slope, sum_c) = (mean * share, slope * share, &mut sum_c[..hidden]);
            for j in 0..hidden {
                sum_c[j] = sum_c[j] + d_in[j] * normed[j];
                let d_c_t = d_c[j] + before_norm(d_in[j] * gain_c[j], normed[j], scales[2], mean, slope);
                d_c[j] = d_c_t * f[j];
                f[j] = d_c_t * c_before[j] * f[j] * (one - f[j]);
                let d_g = d_c_t * i[j] * (one - g[j] * g[j]);
                i[j] = d_c_t * g[j] * i[j] * (one - i[j]);
                g[j] = d_g;
            }
            let d = BothNorms { d_gates: gates, gains: [own.gain_ih, own.gain_hh], scales: [scales[0], scales[1]] };
            d.back([&mut kept.ih[wide.clone()], &mut kept.hh[wide]], [sum_ih, sum_hh], sum_biases);
        }
    }
}

/// The gradient of the gates of one row on its way back through both of their normalisations.
struct BothNorms<'a, F> {
    d_gates: &'a [F],
    gains: [&'a [F]; 2],
    scales: [F; 2],
}

impl<F: Real> BothNorms<'_, F> {
    /// The rows `normed` become the gradients of what they were before; `sums_of_gains` gets those of the gains,
    /// `sum_of_biases` that of the biases.
    #[inline(always)]
    fn back(self, normed: [&mut [F]; 2], sums_of_gains: [&mut [F]; 2], sum_of_biases: &mut [F]) {
        let (d, len) = (self.d_gates, self.d_gates.len());
        let [a, b] = normed.map(|row| &mut row[..len]);
        let [sum_a, sum_b] = sums_of_gains.map(|row| &mut row[..len]);
        let [gain_a, gain_b] = self.gains.map(|gain| &gain[..len]);
        let sum_d = &mut sum_of_biases[..len];
        let share = F::one() / F::of(len as f64);
        let [mean_a, slope_a, mean_b, slope_b] = totals(len, |j| {
            let (d_a, d_b) = (d[j] * gain_a[j], d[j] * gain_b[j]);
            [d_a, d_a * a[j], d_b, d_b * b[j]]
        })
        .map(|sum| sum * share);
        for j in 0..len {
            sum_d[j] = sum_d[j] + d[j];
            sum_a[j] = sum_a[j] + d[j] * a[j];
            sum_b[j] = sum_b[j] + d[j] * b[j];
            a[j] = before_norm(d[j] * gain_a[j], a[j], self.scales[0], mean_a, slope_a);
            b[j] = before_norm(d[j] * gain_b[j], b[j], self.scales[1], mean_b, slope_b);
        }
    }
}
