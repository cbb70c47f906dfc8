//! Back: the gradients through both normalisations.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::{NormParameters, Normed};
use crate::device::wide::{Along, Wide, lanes, registers, registers_mut};
use crate::device::{Cpu, Real};
use crate::kernels::Lstm;
use crate::kernels::lstm::cpu::steps::{quarters, quarters_mut};

/// The element-wise part of a backward step on `n` sequences.
pub struct BackwardNormStep<'a, F> {
    pub own: &'a NormParameters<'a, F>,
    pub kept: Normed<'a, F>,
    pub gates: &'a [F],    // [n, 4H], activated
    pub c_before: &'a [F], // [n, H]
    pub d_h: &'a [F],      // [n, H]
    pub d_c: &'a mut [F],  // [n, H], in: from the step after, out: for the step before
    pub sums: Sums<'a, F>,
}

/// The gradients of a layer's gains and biases over all steps, which each step adds to.
pub struct Sums<'a, F> {
    pub values: &'a mut [F], // [⌈tile / 4⌉, 14H]
    pub first: usize,        // the tile's sequence that comes first in the step
}

impl<F: Real> Sums<'_, F> {
    /// γ_ih, γ_hh and the biases, γ_c and β_c, for the step's sequence `n`.
    #[inline(always)]
    fn of(&mut self, n: usize, hidden: usize) -> ([&mut [F]; 3], [&mut [F]; 2]) {
        let place = (self.first + n) / Cpu::<F>::SUMMED_TOGETHER;
        let (ih, rest) = self.values[14 * place * hidden..].split_at_mut(4 * hidden);
        let (hh, rest) = rest.split_at_mut(4 * hidden);
        let (c, rest) = rest.split_at_mut(hidden);
        let (shift, rest) = rest.split_at_mut(hidden);
        ([ih, hh, &mut rest[..4 * hidden]], [c, shift])
    }
}

impl<F: Real> WithSimd for BackwardNormStep<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let sequences = self.kept.means.len();
        let mut n = 0;
        let mut scratch = Scratch::new(self.own.gain_c.len());
        while n < sequences {
            // Two sequences whose gradients are summed in one place: their rows stay in a core's nearest cache.
            let pair = 2 - (self.sums.first + n) % 2;
            if pair == 2 && n + 1 < sequences {
                self.rows::<S, 2>(simd, n, &mut scratch);
                n += 2;
            } else {
                self.rows::<S, 1>(simd, n, &mut scratch);
                n += 1;
            }
        }
    }
}

/// What lies between the parts of a step, of two sequences.
struct Scratch<F> {
    normed: Vec<F>,   // [2, H], ĉ
    d_normed: Vec<F>, // [2, H], its gradient
    d_gates: Vec<F>,  // [2, 4H], before activation
}

impl<F: Real> Scratch<F> {
    fn new(hidden: usize) -> Self {
        let zeros = |len| vec![F::zero(); len];
        Self { normed: zeros(2 * hidden), d_normed: zeros(2 * hidden), d_gates: zeros(8 * hidden) }
    }
}

impl<F: Real> BackwardNormStep<'_, F> {
    /// `R` sequences from `first` on.
    #[inline(always)]
    fn rows<S: Simd, const R: usize>(&mut self, simd: S, first: usize, scratch: &mut Scratch<F>) {
        let Self { own, kept, gates, c_before, d_h, d_c, sums } = self;
        let hidden = own.gain_c.len();
        let wide = 4 * first * hidden..4 * (first + R) * hidden;
        let (ih, hh, gates) = (&mut kept.ih[wide.clone()], &mut kept.hh[wide.clone()], &gates[wide]);
        let scales = &kept.scales[3 * first..][..3 * R];
        let ([sum_ih, sum_hh, sum_b], [sum_c, sum_shift]) = sums.of(first, hidden);
        let mut before_norm = [[[F::zero(); 3]; 2]; R];
        for n in 0..R {
            let (row, wide) = (n * hidden..(n + 1) * hidden, 4 * n * hidden..4 * (n + 1) * hidden);
            let [normed, d_normed] = [&mut scratch.normed, &mut scratch.d_normed].map(|rows| &mut rows[row.clone()]);
            let d_gates = &mut scratch.d_gates[wide.clone()];
            let gates = quarters(&gates[wide.clone()], hidden);
            let narrow = (first + n) * hidden..(first + n + 1) * hidden;
            let c_before = &c_before[narrow.clone()];
            let mut output = BackwardOutput {
                parameters: [own.gain_c, own.shift_c],
                mean: kept.means[first + n],
                scale: scales[3 * n + 2],
                c_before,
                d_h: &d_h[narrow.clone()],
                gates,
                normed,
                d_normed,
                d_o: &mut d_gates[3 * hidden..],
                sums: [sum_c, sum_shift],
                of_normed: [F::zero(); 2],
            };
            output.all(simd, hidden);
            let (scale, share, [mean, slope]) = (scales[3 * n + 2], F::of(1.0 / hidden as f64), output.of_normed);
            let mut cell = BackwardCell {
                gains: [quarters(own.gain_ih, hidden), quarters(own.gain_hh, hidden)],
                products: [quarters(&ih[wide.clone()], hidden), quarters(&hh[wide], hidden)],
                before: [scale, -scale * mean * share, -scale * slope * share],
                gates,
                normed,
                d_normed,
                c_before,
                d_c: &mut d_c[narrow],
                d_gates: quarters_mut(d_gates, hidden),
                of_products: [[F::zero(); 2]; 2],
            };
            cell.all(simd, hidden);
            let share = F::of(0.25 / hidden as f64);
            for of in 0..2 {
                let (scale, [mean, slope]) = (scales[3 * n + of], cell.of_products[of]);
                before_norm[n][of] = [scale, -scale * mean * share, -scale * scale * scale * slope * share];
            }
        }
        let mut rows = BackwardProducts::<F, R> {
            d: &scratch.d_gates[..4 * R * hidden],
            gains: [own.gain_ih, own.gain_hh],
            before: before_norm,
            products: [ih, hh],
            sums: [sum_ih, sum_hh, sum_b],
        };
        rows.all(simd, 4 * hidden);
    }
}

/// One row from d_h to the gradient of ĉ, γ_c ∘ d_h ∘ o ∘ (1 − tanh²), and to d_o, with c̃ made again.
struct BackwardOutput<'a, F> {
    parameters: [&'a [F]; 2], // γ_c and β_c
    mean: F,                  // of c̃
    scale: F,                 // 1 / σ of c̃
    c_before: &'a [F],
    d_h: &'a [F],
    gates: [&'a [F]; 4],
    normed: &'a mut [F], // ĉ
    d_normed: &'a mut [F],
    d_o: &'a mut [F],
    sums: [&'a mut [F]; 2], // for γ_c and β_c
    of_normed: [F; 2],      // the sums of the gradient of ĉ, and of it times ĉ
}

impl<F: Real> Along<F> for BackwardOutput<'_, F> {
    #[inline(always)]
    fn along<S: Simd>(&mut self, simd: S, range: Range<usize>) {
        let wide = |lanes| Wide::<F, S>::of(simd, lanes);
        let one = Wide::splat(simd, F::one());
        let (mean, scale) = (Wide::splat(simd, self.mean), Wide::splat(simd, self.scale));
        let rows = [self.parameters[0], self.parameters[1], self.d_h, self.c_before];
        let [gain, shift, d_h, c_before] = registers::<F, S, 4>(rows, &range);
        let [i, f, g, o] = registers::<F, S, 4>(self.gates, &range);
        let [sum_gain, sum_shift] = &mut self.sums;
        let rows = [&mut *self.normed, self.d_normed, self.d_o, sum_gain, sum_shift];
        let [c_normed, d_normed, d_o, sum_gain, sum_shift] = registers_mut::<F, S, 5>(rows, &range);
        let mut of_normed = [Wide::<F, S>::splat(simd, F::zero()); 2];
        for j in 0..range.len() / lanes::<F, S>() {
            let [input, forget, candidate, o] = [wide(i[j]), wide(f[j]), wide(g[j]), wide(o[j])];
            let c = forget.mul_add(wide(c_before[j]), input * candidate);
            let normed = (c - mean) * scale;
            c_normed[j] = normed.lanes();
            let (d_h, gain) = (wide(d_h[j]), wide(gain[j]));
            let tanh = normed.mul_add(gain, wide(shift[j])).tanh();
            d_o[j] = (d_h * tanh * o * (one - o)).lanes();
            let d = d_h * o * (one - tanh * tanh);
            sum_gain[j] = d.mul_add(normed, wide(sum_gain[j])).lanes();
            sum_shift[j] = (wide(sum_shift[j]) + d).lanes();
            let d = d * gain;
            d_normed[j] = d.lanes();
            let [mean, slope] = of_normed;
            of_normed = [mean + d, d.mul_add(normed, slope)];
        }
        let [mean, slope] = of_normed;
        self.of_normed = [self.of_normed[0] + mean.total(), self.of_normed[1] + slope.total()];
    }
}

/// One row from the gradient of ĉ to d_c, d_i, d_f and d_g, with the sums that its products need.
struct BackwardCell<'a, F> {
    gains: [[&'a [F]; 4]; 2],
    products: [[&'a [F]; 4]; 2],
    before: [F; 3],
    gates: [&'a [F]; 4],
    normed: &'a [F],   // ĉ
    d_normed: &'a [F], // its gradient
    c_before: &'a [F],
    d_c: &'a mut [F],
    d_gates: [&'a mut [F]; 4], // d_o is there
    of_products: [[F; 2]; 2],  // the sums of d ∘ γ and of d ∘ γ ∘ it, for each
}

impl<F: Real> Along<F> for BackwardCell<'_, F> {
    #[inline(always)]
    fn along<S: Simd>(&mut self, simd: S, range: Range<usize>) {
        let wide = |lanes| Wide::<F, S>::of(simd, lanes);
        let (one, zero) = (Wide::splat(simd, F::one()), Wide::<F, S>::splat(simd, F::zero()));
        let rows = [self.d_normed, self.normed, self.c_before];
        let [d_normed, normed, c_before] = registers::<F, S, 3>(rows, &range);
        let [i, f, g, _] = registers::<F, S, 4>(self.gates, &range);
        let [d_i, d_f, d_g, d_o] = &mut self.d_gates;
        let [d_i, d_f, d_g, d_o, d_c] = registers_mut::<F, S, 5>([d_i, d_f, d_g, d_o, self.d_c], &range);
        let ([a, r], [gain_a, gain_r]) = (self.products, self.gains);
        let (a, r) = (registers::<F, S, 4>(a, &range), registers::<F, S, 4>(r, &range));
        let (gain_a, gain_r) = (registers::<F, S, 4>(gain_a, &range), registers::<F, S, 4>(gain_r, &range));
        let before = BeforeNorm::<F, S>::new(simd, self.before);
        // Each sum waits for its last addition, but there are others beside it.
        let mut sums = [[[zero; 2]; 2]; 2];
        for j in 0..range.len() / lanes::<F, S>() {
            let (input, forget, candidate) = (wide(i[j]), wide(f[j]), wide(g[j]));
            let d_c_t = before.of(wide(d_normed[j]), wide(normed[j])) + wide(d_c[j]);
            d_c[j] = (d_c_t * forget).lanes();
            let d = [
                d_c_t * candidate * input * (one - input),
                d_c_t * wide(c_before[j]) * forget * (one - forget),
                d_c_t * input * (one - candidate * candidate),
                wide(d_o[j]),
            ];
            (d_i[j], d_f[j], d_g[j]) = (d[0].lanes(), d[1].lanes(), d[2].lanes());
            for gate in 0..4 {
                let (of_a, of_r) = (d[gate] * wide(gain_a[gate][j]), d[gate] * wide(gain_r[gate][j]));
                let [[mean_a, slope_a], [mean_r, slope_r]] = sums[gate % 2];
                sums[gate % 2] = [
                    [mean_a + of_a, of_a.mul_add(wide(a[gate][j]), slope_a)],
                    [mean_r + of_r, of_r.mul_add(wide(r[gate][j]), slope_r)],
                ];
            }
        }
        for of in 0..2 {
            for sum in 0..2 {
                self.of_products[of][sum] = self.of_products[of][sum] + (sums[0][of][sum] + sums[1][of][sum]).total();
            }
        }
    }
}

/// Some rows from d_gates to d_a and d_r, which take the places of the products. The sums of all rows are made in registers.
struct BackwardProducts<'a, F, const R: usize> {
    d: &'a [F], // [R, 4H]
    gains: [&'a [F]; 2],
    before: [[[F; 3]; 2]; R],
    products: [&'a mut [F]; 2], // [R, 4H] each
    sums: [&'a mut [F]; 3],     // for γ_ih, γ_hh and the biases
}

impl<F: Real, const R: usize> Along<F> for BackwardProducts<'_, F, R> {
    #[inline(always)]
    fn along<S: Simd>(&mut self, simd: S, range: Range<usize>) {
        let wide = |lanes| Wide::<F, S>::of(simd, lanes);
        let [gain_a, gain_r] = self.gains;
        let gates = gain_a.len();
        let [gain_a, gain_r] = registers::<F, S, 2>([gain_a, gain_r], &range);
        let mut d: [&[F::Lanes<S>]; R] = [&[]; R];
        let mut a: [&mut [F::Lanes<S>]; R] = std::array::from_fn(|_| Default::default());
        let mut r: [&mut [F::Lanes<S>]; R] = std::array::from_fn(|_| Default::default());
        let mut before = [[BeforeNorm::<F, S>::new(simd, [F::zero(); 3]); 2]; R];
        let [mut rest_a, mut rest_r] = self.products.each_mut().map(|rows| &mut **rows);
        for row in 0..R {
            let (own_a, after_a) = std::mem::take(&mut rest_a).split_at_mut(gates);
            let (own_r, after_r) = std::mem::take(&mut rest_r).split_at_mut(gates);
            (rest_a, rest_r) = (after_a, after_r);
            [a[row], r[row]] = registers_mut::<F, S, 2>([own_a, own_r], &range);
            [d[row]] = registers::<F, S, 1>([&self.d[row * gates..][..gates]], &range);
            let [of_a, of_r] = self.before[row];
            before[row] = [BeforeNorm::new(simd, of_a), BeforeNorm::new(simd, of_r)];
        }
        let [sum_a, sum_r, sum_b] = &mut self.sums;
        let [sum_a, sum_r, sum_b] = registers_mut::<F, S, 3>([sum_a, sum_r, sum_b], &range);
        for j in 0..range.len() / lanes::<F, S>() {
            let (gain_a, gain_r) = (wide(gain_a[j]), wide(gain_r[j]));
            let (mut of_a, mut of_r, mut of_b) = (wide(sum_a[j]), wide(sum_r[j]), wide(sum_b[j]));
            for row in 0..R {
                let (d, product_a, product_r) = (wide(d[row][j]), wide(a[row][j]), wide(r[row][j]));
                let [before_a, before_r] = before[row];
                of_a = (d * before_a.scale).mul_add(product_a, of_a);
                of_r = (d * before_r.scale).mul_add(product_r, of_r);
                of_b = of_b + d;
                a[row][j] = before_a.of(d * gain_a, product_a).lanes();
                r[row][j] = before_r.of(d * gain_r, product_r).lanes();
            }
            (sum_a[j], sum_r[j], sum_b[j]) = (of_a.lanes(), of_r.lanes(), of_b.lanes());
        }
    }
}

/// Normalisation of a row on the way back, its numbers in every lane: of x̂ = x / σ, with x less its mean, the gradient before it is
/// d / σ − mean(d) / σ − x · mean(d ∘ x) / σ³.
#[derive(Clone, Copy)]
struct BeforeNorm<F: Real, S: Simd> {
    scale: Wide<F, S>,
    minus_mean: Wide<F, S>,
    minus_slope: Wide<F, S>,
}

impl<F: Real, S: Simd> BeforeNorm<F, S> {
    /// From the three factors of d, 1 and x.
    #[inline(always)]
    fn new(simd: S, [scale, minus_mean, minus_slope]: [F; 3]) -> Self {
        let splat = |value| Wide::splat(simd, value);
        Self { scale: splat(scale), minus_mean: splat(minus_mean), minus_slope: splat(minus_slope) }
    }

    #[inline(always)]
    fn of(&self, d: Wide<F, S>, x: Wide<F, S>) -> Wide<F, S> {
        x.mul_add(self.minus_slope, d.mul_add(self.scale, self.minus_mean))
    }
}
