//! Layer normalisation on the CPU: the element-wise parts of a time step in place of those without it.
//!
//! The mean of x · W_ihᵀ over the gates is x times the mean of W_ih's rows: the forward step multiplies by W_ih less that mean, and
//! likewise by W_hh, so that their sum has no mean to take off.

// Counted, and not by iterators: so all of a row's parts stand in the formulas by the same place.
#![allow(clippy::needless_range_loop)]

mod backward;
mod forward;

use crate::device::Real;
use crate::kernels::lstm::shape::CellPlaces;

pub use backward::{BackwardNormStep, Sums};
pub use forward::ForwardNormStep;

/// The parameters of one layer and direction that come after its products.
pub struct NormParameters<'a, F> {
    gains: &'a [F],   // [4H]
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
        let (gains, rest) = gains.split_at(gates);
        let (gain_c, rest) = rest.split_at(hidden);
        Some(Self { gains, gain_c, shift_c: &rest[..hidden], biases })
    }
}

/// What is kept of the rows of some sequences at one time step, beside their gates.
pub struct Normed<'a, F> {
    pub a: &'a mut [F],            // [n, 4H], x · W_ihᵀ + h · W_hhᵀ less its mean
    pub moments: &'a mut [[F; 3]], // [n], 1 / σ of a, mean and 1 / σ of c̃
}

impl<F> Normed<'_, F> {
    /// Those of the first `ongoing` sequences, and the others.
    pub fn split_at(&mut self, ongoing: usize, hidden: usize) -> [Normed<'_, F>; 2] {
        let (a, a_after) = self.a.split_at_mut(ongoing * 4 * hidden);
        let (moments, moments_after) = self.moments.split_at_mut(ongoing);
        [Normed { a, moments }, Normed { a: a_after, moments: moments_after }]
    }
}
