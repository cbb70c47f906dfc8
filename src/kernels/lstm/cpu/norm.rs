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
    biases: Vec<F>,   // [4H], b_ih + b_hh
}

impl<'a, F: Real> NormParameters<'a, F> {
    /// None without layer normalisation.
    pub fn new(places: &CellPlaces, hidden: usize, params: &'a [F]) -> Option<Self> {
        let gains = &params[places.layer_norm?..];
        let gates = 4 * hidden;
        let mut biases = vec![F::zero(); gates];
        for place in places.biases() {
            biases.iter_mut().zip(&params[place..]).for_each(|(sum, &bias)| *sum = *sum + bias);
        }
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
    pub c: &'a mut [F],  // [n, H], likewise of c̃
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

/// Σ of `term` over `0 .. len`.
#[inline(always)]
fn sum<F: Real>(len: usize, term: impl Fn(usize) -> F) -> F {
    let mut lanes = [F::zero(); LANES];
    let whole = len - len % LANES;
    for first in (0..whole).step_by(LANES) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum = *sum + term(first + lane);
        }
    }
    for (lane, place) in (whole..len).enumerate() {
        lanes[lane] = lanes[lane] + term(place);
    }
    lanes.into_iter().fold(F::zero(), |sum, lane| sum + lane)
}

/// Normalises `row` in place and returns 1 / σ.
#[inline(always)]
fn normalise<F: Real>(row: &mut [F]) -> F {
    let share = F::one() / F::of(row.len() as f64);
    let mean = sum(row.len(), |j| row[j]) * share;
    row.iter_mut().for_each(|value| *value = *value - mean);
    let variance = sum(row.len(), |j| row[j] * row[j]) * share;
    let scale = F::one() / (variance + F::of(NORM_EPS)).sqrt();
    row.iter_mut().for_each(|value| *value = *value * scale);
    scale
}

/// A row, `normed`, becomes the gradient of what it was before normalisation; `d` is the gradient of γ ∘ `normed`, and
/// `sums` gets that of γ.
#[inline(always)]
fn back_through<F: Real>(d: &[F], gain: &[F], normed: &mut [F], scale: F, sums: &mut [F]) {
    let len = d.len();
    let (gain, normed, sums) = (&gain[..len], &mut normed[..len], &mut sums[..len]);
    let share = F::one() / F::of(len as f64);
    let mean = sum(len, |j| d[j] * gain[j]) * share;
    let slope = sum(len, |j| d[j] * gain[j] * normed[j]) * share;
    for j in 0..len {
        sums[j] = sums[j] + d[j] * normed[j];
        normed[j] = scale * (d[j] * gain[j] - mean - normed[j] * slope);
    }
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
            ih.copy_from_slice(gates);
            (scales[0], scales[1]) = (normalise(ih), normalise(hh));
            let (gain_ih, gain_hh, biases) =
                (&own.gain_ih[..gates.len()], &own.gain_hh[..gates.len()], &own.biases[..gates.len()]);
            for j in 0..gates.len() {
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
                c_normed[j] = c_t[j];
            }
            scales[2] = normalise(c_normed);
            let (gain_c, shift_c) = (&own.gain_c[..hidden], &own.shift_c[..hidden]);
            for j in 0..hidden {
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
    pub sums: &'a mut [F], // [n, 10H], added to
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
            let (sum_ih, rest) = sums[10 * n * hidden..].split_at_mut(4 * hidden);
            let (sum_hh, rest) = rest.split_at_mut(4 * hidden);
            let (sum_c, rest) = rest.split_at_mut(hidden);
            let sum_shift = &mut rest[..hidden];

            let [i, f, g, o] = quarters(gates, hidden);
            let (c_before, normed, d_h, d_c) =
                (&c_before[row.clone()], &mut kept.c[row.clone()], &d_h[row.clone()], &mut d_c[row]);
            let (gain_c, shift_c) = (&own.gain_c[..hidden], &own.shift_c[..hidden]);
            for j in 0..hidden {
                let tanh = (gain_c[j] * normed[j] + shift_c[j]).tangent();
                d_in[j] = d_h[j] * o[j] * (one - tanh * tanh);
                o[j] = d_h[j] * tanh * o[j] * (one - o[j]);
                sum_shift[j] = sum_shift[j] + d_in[j];
            }
            back_through(&d_in, gain_c, normed, scales[2], sum_c);
            for j in 0..hidden {
                let d_c_t = d_c[j] + normed[j];
                d_c[j] = d_c_t * f[j];
                f[j] = d_c_t * c_before[j] * f[j] * (one - f[j]);
                let d_g = d_c_t * i[j] * (one - g[j] * g[j]);
                i[j] = d_c_t * g[j] * i[j] * (one - i[j]);
                g[j] = d_g;
            }
            let (ih, hh) = (&mut kept.ih[wide.clone()], &mut kept.hh[wide]);
            back_through(gates, own.gain_ih, ih, scales[0], sum_ih);
            back_through(gates, own.gain_hh, hh, scales[1], sum_hh);
        }
    }
}
