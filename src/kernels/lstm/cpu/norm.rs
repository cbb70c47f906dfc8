//! Layer normalisation on the CPU: the element-wise parts of a time step in place of those without it.

mod backward;
mod forward;

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::steps::{quarters, quarters_mut};
use crate::device::Real;
use crate::device::wide::{Along, Wide, lanes, registers, registers_mut};
use crate::kernels::lstm::shape::CellPlaces;

pub use backward::{BackwardNormStep, Sums};
pub use forward::ForwardNormStep;

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

/// What is kept of the rows of some sequences at one time step. Gates and c̃ are made again from it in the backward step, which
/// takes less time than to store and to load them.
pub struct Normed<'a, F> {
    pub hh: &'a mut [F], // [n, 4H], h · W_hhᵀ, after the forward step normalised, after the backward step d_r
    pub ih: &'a mut [F], // [n, 4H], x · W_ihᵀ, after the forward step normalised, after the backward step d_a
    pub scales: &'a mut [F], // [n, 3], 1 / σ of ih, hh and c̃
    pub means: &'a mut [F], // [n], of c̃
}

impl<F> Normed<'_, F> {
    /// Those of the first `ongoing` sequences, and the others.
    pub fn split_at(&mut self, ongoing: usize, hidden: usize) -> [Normed<'_, F>; 2] {
        let (hh, hh_after) = self.hh.split_at_mut(ongoing * 4 * hidden);
        let (ih, ih_after) = self.ih.split_at_mut(ongoing * 4 * hidden);
        let (scales, scales_after) = self.scales.split_at_mut(ongoing * 3);
        let (means, means_after) = self.means.split_at_mut(ongoing);
        let after = Normed { hh: hh_after, ih: ih_after, scales: scales_after, means: means_after };
        [Normed { hh, ih, scales, means }, after]
    }
}

/// One row whose gates are activated.
trait GateRow<F: Real>: Sized {
    /// σ, or tanh, of γ_ih ∘ â + γ_hh ∘ r̂ + b at the places `range`.
    fn activate<S: Simd, const TANH: bool>(&mut self, simd: S, range: Range<usize>);

    /// i and f, g, o.
    #[inline(always)]
    fn fill<S: Simd>(&mut self, simd: S, hidden: usize) {
        Along::<F>::all(&mut GatePart::<Self, false> { row: self, first: 0 }, simd, 2 * hidden);
        Along::<F>::all(&mut GatePart::<Self, true> { row: self, first: 2 * hidden }, simd, hidden);
        Along::<F>::all(&mut GatePart::<Self, false> { row: self, first: 3 * hidden }, simd, hidden);
    }
}

/// Gates with one activation, from place `first` on.
struct GatePart<'a, R, const TANH: bool> {
    row: &'a mut R,
    first: usize,
}

impl<F: Real, R: GateRow<F>, const TANH: bool> Along<F> for GatePart<'_, R, TANH> {
    #[inline(always)]
    fn along<S: Simd>(&mut self, simd: S, range: Range<usize>) {
        self.row.activate::<S, TANH>(simd, self.first + range.start..self.first + range.end);
    }
}

/// The activated gates of one row, from what is kept of it.
struct GatesOfRow<'a, F> {
    own: &'a NormParameters<'a, F>,
    normed: [&'a [F]; 2], // â and r̂
    gates: &'a mut [F],
}

impl<F: Real> GateRow<F> for GatesOfRow<'_, F> {
    #[inline(always)]
    fn activate<S: Simd, const TANH: bool>(&mut self, simd: S, range: Range<usize>) {
        let wide = |lanes| Wide::<F, S>::of(simd, lanes);
        let Self { own, normed: [a, r], gates } = self;
        let [a, r, gain_a, gain_r, biases] =
            registers::<F, S, 5>([a, r, own.gain_ih, own.gain_hh, &own.biases], &range);
        let [gates] = registers_mut::<F, S, 1>([gates], &range);
        for j in 0..range.len() / lanes::<F, S>() {
            let z = wide(a[j]).mul_add(wide(gain_a[j]), wide(r[j]).mul_add(wide(gain_r[j]), wide(biases[j])));
            gates[j] = if TANH { z.tanh() } else { z.sigmoid() }.lanes();
        }
    }
}

/// The activated gates of all rows of a layer and direction, from what is kept of them.
pub struct GatesAgain<'a, F> {
    pub own: &'a NormParameters<'a, F>,
    pub normed: [&'a [F]; 2], // [rows, 4H], â and r̂
    pub gates: &'a mut [F],   // [rows, 4H], written
    pub hidden: usize,
}

impl<F: Real> WithSimd for GatesAgain<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { own, normed: [ih, hh], gates, hidden } = self;
        let rows = ih.chunks_exact(4 * hidden).zip(hh.chunks_exact(4 * hidden));
        for ((ih, hh), gates) in rows.zip(gates.chunks_exact_mut(4 * hidden)) {
            GatesOfRow { own, normed: [ih, hh], gates }.fill(simd, hidden);
        }
    }
}
