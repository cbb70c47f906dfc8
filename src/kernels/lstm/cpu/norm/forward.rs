//! Forward: the moments of each row, then what they normalise.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::{GateRow, NormParameters, Normed, quarters};
use crate::device::Real;
use crate::device::wide::{Along, Wide, lanes, registers, registers_mut};
use crate::kernels::lstm::NORM_EPS;

/// Rows that a step takes together: while the sums along one wait for one another, those along the others go on.
const ROWS: usize = 4;

/// The element-wise part of a forward step on `n` sequences.
pub struct ForwardNormStep<'a, F> {
    pub own: &'a NormParameters<'a, F>,
    pub a: &'a [F], // [n, 4H], x · W_ihᵀ
    pub r: &'a [F], // [n, 4H], h · W_hhᵀ
    pub kept: Normed<'a, F>,
    pub c_before: &'a [F], // [n, H]
    pub c_t: &'a mut [F],  // [n, H], written
    pub h_t: &'a mut [F],  // [n, H], written
    pub hidden: usize,
}

impl<F: Real> WithSimd for ForwardNormStep<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { own, a, r, kept, c_before, c_t, h_t, hidden } = self;
        if kept.means.is_empty() {
            return;
        }
        let mut gates = vec![F::zero(); ROWS * 4 * hidden];
        let sequences = kept.means.len();
        for first in (0..sequences).step_by(ROWS) {
            let rows = first..sequences.min(first + ROWS);
            let mut moments_of = [[(F::zero(), F::zero()); 3]; ROWS];
            for (n, moments_of) in rows.clone().zip(&mut moments_of) {
                let wide = 4 * n * hidden..4 * (n + 1) * hidden;
                [moments_of[0], moments_of[1]] = moments(simd, [&a[wide.clone()], &r[wide]]);
            }
            for ((n, moments_of), gates) in rows.clone().zip(&moments_of).zip(gates.chunks_exact_mut(4 * hidden)) {
                let (row, wide) = (n * hidden..(n + 1) * hidden, 4 * n * hidden..4 * (n + 1) * hidden);
                let products = [&a[wide.clone()], &r[wide.clone()]];
                let normed = [&mut kept.ih[wide.clone()], &mut kept.hh[wide]];
                let moments = [moments_of[0], moments_of[1]];
                FreshGates { own, products, moments, normed, gates }.fill(simd, hidden);
                let gates = quarters(gates, hidden);
                Cell { gates, c_before: &c_before[row.clone()], c_t: &mut c_t[row] }.all(simd, hidden);
            }
            for (n, moments_of) in rows.clone().zip(&mut moments_of) {
                [moments_of[2]] = moments(simd, [&c_t[n * hidden..(n + 1) * hidden]]);
            }
            for ((n, moments_of), gates) in rows.zip(&moments_of).zip(gates.chunks_exact(4 * hidden)) {
                let row = n * hidden..(n + 1) * hidden;
                let (parameters, o) = ([own.gain_c, own.shift_c], &gates[3 * hidden..]);
                let (c_t, h_t) = (&c_t[row.clone()], &mut h_t[row]);
                ForwardOutput { c_t, moments: moments_of[2], parameters, o, h_t }.all(simd, hidden);
                kept.means[n] = moments_of[2].0;
                kept.scales[3 * n..][..3].copy_from_slice(&moments_of.map(|(_, scale)| scale));
            }
        }
    }
}

/// Mean and 1 / σ of each of `R` rows, in one pass: the sums of its elements and of their squares, less the mean of the first
/// few. That is near enough to the mean of all: with w of n elements a variance's error is at most n / w roundings.
#[inline(always)]
fn moments<F: Real, S: Simd, const R: usize>(simd: S, rows: [&[F]; R]) -> [(F, F); R] {
    let (len, few) = (rows[0].len(), lanes::<F, S>());
    let mut about = [F::zero(); R];
    for n in 0..R {
        about[n] = if len < few {
            rows[n][0]
        } else {
            let [first] = registers::<F, S, 1>([rows[n]], &(0..few));
            Wide::<F, S>::of(simd, first[0]).total() * F::of(1.0 / few as f64)
        };
    }
    let mut moments = Moments { rows, about, sums: [F::zero(); R], squares: [F::zero(); R] };
    moments.all(simd, len);
    let Moments { sums, squares, .. } = moments;
    let share = F::one() / F::of(len as f64);
    let mut of_rows = [(F::zero(), F::zero()); R];
    for n in 0..R {
        let apart = sums[n] * share;
        let variance = squares[n] * share - apart * apart;
        // A comparison, not `max`: that would turn a NaN into a number.
        let variance = if variance < F::zero() { F::zero() } else { variance };
        of_rows[n] = (about[n] + apart, F::one() / (variance + F::of(NORM_EPS)).sqrt());
    }
    of_rows
}

struct Moments<'a, F, const R: usize> {
    rows: [&'a [F]; R],
    about: [F; R],
    sums: [F; R],
    squares: [F; R],
}

impl<F: Real, const R: usize> Along<F> for Moments<'_, F, R> {
    #[inline(always)]
    fn along<S: Simd>(&mut self, simd: S, range: Range<usize>) {
        let rows = registers::<F, S, R>(self.rows, &range);
        let zero = Wide::<F, S>::splat(simd, F::zero());
        let (mut sums, mut squares) = ([zero; R], [zero; R]);
        for j in 0..range.len() / lanes::<F, S>() {
            for (n, row) in rows.iter().enumerate() {
                let apart = Wide::of(simd, row[j]) - Wide::splat(simd, self.about[n]);
                sums[n] = sums[n] + apart;
                squares[n] = apart.mul_add(apart, squares[n]);
            }
        }
        for n in 0..R {
            self.sums[n] = self.sums[n] + sums[n].total();
            self.squares[n] = self.squares[n] + squares[n].total();
        }
    }
}

/// The activated gates of one row from its products, which are normalised on the way. Pairs are of x · W_ihᵀ and of h · W_hhᵀ.
struct FreshGates<'a, F> {
    own: &'a NormParameters<'a, F>,
    products: [&'a [F]; 2],
    moments: [(F, F); 2], // mean and 1 / σ
    normed: [&'a mut [F]; 2],
    gates: &'a mut [F],
}

impl<F: Real> GateRow<F> for FreshGates<'_, F> {
    #[inline(always)]
    fn activate<S: Simd, const TANH: bool>(&mut self, simd: S, range: Range<usize>) {
        let wide = |lanes| Wide::<F, S>::of(simd, lanes);
        let splat = |value| Wide::<F, S>::splat(simd, value);
        let Self { own, products: [a, r], moments, normed: [ih, hh], gates } = self;
        let [(mean_a, scale_a), (mean_r, scale_r)] = *moments;
        let (mean_a, scale_a, mean_r, scale_r) = (splat(mean_a), splat(scale_a), splat(mean_r), splat(scale_r));
        let rows = [&**a, r, own.gain_ih, own.gain_hh, &own.biases];
        let [a, r, gain_a, gain_r, biases] = registers::<F, S, 5>(rows, &range);
        let [ih, hh, gates] = registers_mut::<F, S, 3>([ih, hh, gates], &range);
        for j in 0..range.len() / lanes::<F, S>() {
            let (a, r) = ((wide(a[j]) - mean_a) * scale_a, (wide(r[j]) - mean_r) * scale_r);
            (ih[j], hh[j]) = (a.lanes(), r.lanes());
            let z = a.mul_add(wide(gain_a[j]), r.mul_add(wide(gain_r[j]), wide(biases[j])));
            gates[j] = if TANH { z.tanh() } else { z.sigmoid() }.lanes();
        }
    }
}

/// c̃ = f ∘ c + i ∘ g of one row.
struct Cell<'a, F> {
    gates: [&'a [F]; 4],
    c_before: &'a [F],
    c_t: &'a mut [F],
}

impl<F: Real> Along<F> for Cell<'_, F> {
    #[inline(always)]
    fn along<S: Simd>(&mut self, simd: S, range: Range<usize>) {
        let wide = |lanes| Wide::<F, S>::of(simd, lanes);
        let [i, f, g, _] = self.gates;
        let [i, f, g, c_before] = registers::<F, S, 4>([i, f, g, self.c_before], &range);
        let [c_t] = registers_mut::<F, S, 1>([self.c_t], &range);
        for j in 0..range.len() / lanes::<F, S>() {
            c_t[j] = wide(f[j]).mul_add(wide(c_before[j]), wide(i[j]) * wide(g[j])).lanes();
        }
    }
}

/// One row from c̃ to h.
struct ForwardOutput<'a, F> {
    c_t: &'a [F],
    moments: (F, F),
    parameters: [&'a [F]; 2], // γ_c and β_c
    o: &'a [F],
    h_t: &'a mut [F],
}

impl<F: Real> Along<F> for ForwardOutput<'_, F> {
    #[inline(always)]
    fn along<S: Simd>(&mut self, simd: S, range: Range<usize>) {
        let wide = |lanes| Wide::<F, S>::of(simd, lanes);
        let (mean, scale) = (Wide::<F, S>::splat(simd, self.moments.0), Wide::splat(simd, self.moments.1));
        let [gain, shift] = self.parameters;
        let [gain, shift, c_t, o] = registers::<F, S, 4>([gain, shift, self.c_t, self.o], &range);
        let [h_t] = registers_mut::<F, S, 1>([self.h_t], &range);
        for j in 0..range.len() / lanes::<F, S>() {
            let c = (wide(c_t[j]) - mean) * scale;
            h_t[j] = (wide(o[j]) * c.mul_add(wide(gain[j]), wide(shift[j])).tanh()).lanes();
        }
    }
}
