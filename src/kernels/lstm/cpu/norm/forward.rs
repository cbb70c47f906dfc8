//! Forward: the moments of each row, then what they normalise.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::{NormParameters, Normed};
use crate::device::Real;
use crate::device::wide::{Along, Wide, lanes, registers, registers_mut};
use crate::kernels::lstm::NORM_EPS;
use crate::kernels::lstm::cpu::steps::{quarters, quarters_mut};

/// Rows that a step takes together: while the sums along one wait for one another, those along the others go on.
const ROWS: usize = 4;

/// The element-wise part of a forward step on `n` sequences.
pub struct ForwardNormStep<'a, F> {
    pub own: &'a NormParameters<'a, F>,
    pub kept: Normed<'a, F>, // a is there, the others are written
    pub gates: &'a mut [F],  // [n, 4H], written
    pub c_before: &'a [F],   // [n, H]
    pub c_t: &'a mut [F],    // [n, H], written
    pub h_t: &'a mut [F],    // [n, H], written
}

impl<F: Real> WithSimd for ForwardNormStep<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let sequences = self.kept.moments.len();
        let mut first = 0;
        while first + ROWS <= sequences {
            self.rows::<S, ROWS>(simd, first);
            first += ROWS;
        }
        while first < sequences {
            self.rows::<S, 1>(simd, first);
            first += 1;
        }
    }
}

impl<F: Real> ForwardNormStep<'_, F> {
    /// `R` sequences from `first` on.
    #[inline(always)]
    fn rows<S: Simd, const R: usize>(&mut self, simd: S, first: usize) {
        let Self { own, kept, gates, c_before, c_t, h_t } = self;
        let hidden = own.gain_c.len();
        let (narrow, wide) = (first * hidden..(first + R) * hidden, 4 * first * hidden..4 * (first + R) * hidden);
        let (a, gates) = (&kept.a[wide.clone()], &mut gates[wide]);
        let scales = scales::<F, S, R>(simd, a);
        let (c_before, c_t, h_t) = (&c_before[narrow.clone()], &mut c_t[narrow.clone()], &mut h_t[narrow]);
        for n in 0..R {
            let (row, wide) = (n * hidden..(n + 1) * hidden, 4 * n * hidden..4 * (n + 1) * hidden);
            let mut cell = Cell {
                a: quarters(&a[wide.clone()], hidden),
                scale: scales[n],
                gains: quarters(own.gains, hidden),
                biases: quarters(&own.biases, hidden),
                c_before: &c_before[row.clone()],
                c_t: &mut c_t[row.clone()],
                gates: quarters_mut(&mut gates[wide], hidden),
            };
            cell.all(simd, hidden);
        }
        let moments = moments::<F, S, R>(simd, c_t);
        for n in 0..R {
            let row = n * hidden..(n + 1) * hidden;
            let (c_t, o, h_t) = (&c_t[row.clone()], &gates[(4 * n + 3) * hidden..][..hidden], &mut h_t[row]);
            let (mean, scale) = moments[n];
            ForwardOutput { c_t, mean, scale, parameters: [own.gain_c, own.shift_c], o, h_t }.all(simd, hidden);
            kept.moments[first + n] = [scales[n], mean, scale];
        }
    }
}

/// 1 / σ of some rows whose means are zero.
#[inline(always)]
fn scales<F: Real, S: Simd, const R: usize>(simd: S, rows: &[F]) -> [F; R] {
    let row = rows.len() / R;
    let mut squares = Squares { rows, sums: [F::zero(); R] };
    squares.all(simd, row);
    let (share, mut scales) = (F::one() / F::of(row as f64), squares.sums);
    for scale in &mut scales {
        *scale = F::one() / (*scale * share + F::of(NORM_EPS)).sqrt();
    }
    scales
}

/// The sums of the squares of each row.
struct Squares<'a, F, const R: usize> {
    rows: &'a [F], // [R, 4H]
    sums: [F; R],
}

impl<F: Real, const R: usize> Along<F> for Squares<'_, F, R> {
    #[inline(always)]
    fn along<S: Simd>(&mut self, simd: S, range: Range<usize>) {
        let row = self.rows.len() / R;
        let mut rows: [&[F::Lanes<S>]; R] = [&[]; R];
        for n in 0..R {
            [rows[n]] = registers::<F, S, 1>([&self.rows[n * row..][..row]], &range);
        }
        let mut sums = [Wide::<F, S>::splat(simd, F::zero()); R];
        for j in 0..range.len() / lanes::<F, S>() {
            for n in 0..R {
                let value = Wide::of(simd, rows[n][j]);
                sums[n] = value.mul_add(value, sums[n]);
            }
        }
        for n in 0..R {
            self.sums[n] = self.sums[n] + sums[n].total();
        }
    }
}

/// Mean and 1 / σ of each of `R` rows, in one pass: the sums of its elements and of their squares, less the mean of the first
/// few. That is near enough to the mean of all: with w of n elements a variance's error is at most n / w roundings.
#[inline(always)]
fn moments<F: Real, S: Simd, const R: usize>(simd: S, rows: &[F]) -> [(F, F); R] {
    let (len, few) = (rows.len() / R, lanes::<F, S>());
    let mut about = [F::zero(); R];
    for n in 0..R {
        about[n] = if len < few {
            rows[n * len]
        } else {
            let [first] = registers::<F, S, 1>([&rows[n * len..]], &(0..few));
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
    rows: &'a [F], // [R, row]
    about: [F; R],
    sums: [F; R],
    squares: [F; R],
}

impl<F: Real, const R: usize> Along<F> for Moments<'_, F, R> {
    #[inline(always)]
    fn along<S: Simd>(&mut self, simd: S, range: Range<usize>) {
        let len = self.rows.len() / R;
        let mut rows: [&[F::Lanes<S>]; R] = [&[]; R];
        for n in 0..R {
            [rows[n]] = registers::<F, S, 1>([&self.rows[n * len..][..len]], &range);
        }
        let zero = Wide::<F, S>::splat(simd, F::zero());
        let (mut sums, mut squares) = ([zero; R], [zero; R]);
        for j in 0..range.len() / lanes::<F, S>() {
            for n in 0..R {
                let apart = Wide::of(simd, rows[n][j]) - Wide::splat(simd, self.about[n]);
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

/// One row from a to its gates and c̃: σ, or tanh, of γ ∘ â + b, and f ∘ c + i ∘ g.
struct Cell<'a, F> {
    a: [&'a [F]; 4],
    scale: F,
    gains: [&'a [F]; 4],
    biases: [&'a [F]; 4],
    c_before: &'a [F],
    c_t: &'a mut [F],
    gates: [&'a mut [F]; 4],
}

impl<F: Real> Along<F> for Cell<'_, F> {
    #[inline(always)]
    fn along<S: Simd>(&mut self, simd: S, range: Range<usize>) {
        let wide = |lanes| Wide::<F, S>::of(simd, lanes);
        let (a, gains) = (registers::<F, S, 4>(self.a, &range), registers::<F, S, 4>(self.gains, &range));
        let biases = registers::<F, S, 4>(self.biases, &range);
        let scale = Wide::splat(simd, self.scale);
        let [c_before] = registers::<F, S, 1>([self.c_before], &range);
        let [i, f, g, o] = &mut self.gates;
        let [i, f, g, o, c_t] = registers_mut::<F, S, 5>([i, f, g, o, self.c_t], &range);
        for j in 0..range.len() / lanes::<F, S>() {
            let mut z = [Wide::<F, S>::splat(simd, F::zero()); 4];
            for gate in 0..4 {
                z[gate] = (wide(a[gate][j]) * scale).mul_add(wide(gains[gate][j]), wide(biases[gate][j]));
            }
            let (input, forget, candidate, output) = (z[0].sigmoid(), z[1].sigmoid(), z[2].tanh(), z[3].sigmoid());
            (i[j], f[j], g[j], o[j]) = (input.lanes(), forget.lanes(), candidate.lanes(), output.lanes());
            c_t[j] = forget.mul_add(wide(c_before[j]), input * candidate).lanes();
        }
    }
}

/// One row from c̃ to h.
struct ForwardOutput<'a, F> {
    c_t: &'a [F],
    mean: F,
    scale: F,
    parameters: [&'a [F]; 2], // γ_c and β_c
    o: &'a [F],
    h_t: &'a mut [F],
}

impl<F: Real> Along<F> for ForwardOutput<'_, F> {
    #[inline(always)]
    fn along<S: Simd>(&mut self, simd: S, range: Range<usize>) {
        let wide = |lanes| Wide::<F, S>::of(simd, lanes);
        let (mean, scale) = (Wide::<F, S>::splat(simd, self.mean), Wide::splat(simd, self.scale));
        let [gain, shift] = self.parameters;
        let [gain, shift, c_t, o] = registers::<F, S, 4>([gain, shift, self.c_t, self.o], &range);
        let [h_t] = registers_mut::<F, S, 1>([self.h_t], &range);
        for j in 0..range.len() / lanes::<F, S>() {
            let c = (wide(c_t[j]) - mean) * scale;
            h_t[j] = (wide(o[j]) * c.mul_add(wide(gain[j]), wide(shift[j])).tanh()).lanes();
        }
    }
}
