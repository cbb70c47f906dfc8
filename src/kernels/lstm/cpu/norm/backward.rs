//! Back: the gradients through both normalisations, of c̃ and of the gates' row.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::{NormParameters, Normed};
use crate::device::wide::{Along, Wide, ask_for, lanes, registers, registers_mut};
use crate::device::{Cpu, Real};
use crate::kernels::Lstm;
use crate::kernels::lstm::cpu::steps::{quarters, quarters_mut};

/// The element-wise part of a backward step on `n` sequences.
pub struct BackwardNormStep<'a, F> {
    pub own: &'a NormParameters<'a, F>,
    pub kept: Normed<'a, F>,
    pub gates: &'a mut [F], // [n, 4H], in: activated gates, out: d_a
    pub c_before: &'a [F],  // [n, H]
    pub d_h: &'a mut [F],   // [n, H], in: the gradient of h, out: nothing of use
    pub d_c: &'a mut [F],   // [n, H], in: from the step after, out: for the step before
    pub sums: Sums<'a, F>,
    /// Gates and a of the step before, which is the next to be read, to be asked for row by row; or none.
    pub ahead: [&'a [F]; 2], // [n, 4H]
}

/// The gradients of a layer's gains and biases over all steps, which each step adds to.
pub struct Sums<'a, F> {
    pub values: &'a mut [F], // [⌈tile / 4⌉, 10H]
    pub first: usize,        // the tile's sequence that comes first in the step
}

impl<F: Real> Sums<'_, F> {
    /// γ and the biases, γ_c and β_c, for the step's sequence `n`.
    #[inline(always)]
    fn of(&mut self, n: usize, hidden: usize) -> ([&mut [F]; 2], [&mut [F]; 2]) {
        let place = (self.first + n) / Cpu::<F>::SUMMED_TOGETHER;
        let (gains, rest) = self.values[10 * place * hidden..].split_at_mut(4 * hidden);
        let (c, rest) = rest.split_at_mut(hidden);
        let (shift, rest) = rest.split_at_mut(hidden);
        ([gains, &mut rest[..4 * hidden]], [c, shift])
    }
}

impl<F: Real> WithSimd for BackwardNormStep<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let sequences = self.kept.moments.len();
        let mut n = 0;
        while n < sequences {
            // Two sequences whose gradients are summed in one place: their rows stay in a core's nearest cache.
            let pair = 2 - (self.sums.first + n) % 2;
            if pair == 2 && n + 1 < sequences {
                self.rows::<S, 2>(simd, n);
                n += 2;
            } else {
                self.rows::<S, 1>(simd, n);
                n += 1;
            }
        }
    }
}

impl<F: Real> BackwardNormStep<'_, F> {
    /// `R` sequences from `first` on.
    #[inline(always)]
    fn rows<S: Simd, const R: usize>(&mut self, simd: S, first: usize) {
        let Self { own, kept, gates, c_before, d_h, d_c, sums, ahead } = self;
        let hidden = own.gain_c.len();
        let wide = 4 * first * hidden..4 * (first + R) * hidden;
        for ahead in ahead {
            if let Some(rows) = ahead.get(wide.clone()) {
                ask_for(rows);
            }
        }
        let (a, gates) = (&kept.a[wide.clone()], &mut gates[wide]);
        let (of_gates, [sum_c, sum_shift]) = sums.of(first, hidden);
        let mut before_norm = [[F::zero(); 3]; R];
        for n in 0..R {
            let wide = 4 * n * hidden..4 * (n + 1) * hidden;
            let narrow = (first + n) * hidden..(first + n + 1) * hidden;
            let (c_before, d_h) = (&c_before[narrow.clone()], &mut d_h[narrow.clone()]);
            let [scale, mean_c, scale_c] = kept.moments[first + n];
            let normed = [mean_c, scale_c];
            let mut output = BackwardOutput {
                parameters: [own.gain_c, own.shift_c],
                normed,
                c_before,
                gates: quarters_mut(&mut gates[wide.clone()], hidden),
                d_h,
                sums: [sum_c, sum_shift],
                of_normed: [F::zero(); 2],
            };
            output.all(simd, hidden);
            let (share, [mean, slope]) = (F::of(1.0 / hidden as f64), output.of_normed);
            let mut cell = BackwardCell {
                gains: quarters(own.gains, hidden),
                a: quarters(&a[wide.clone()], hidden),
                before: [scale_c, -scale_c * mean * share, -scale_c * slope * share],
                normed,
                c_before,
                d_normed: d_h,
                d_c: &mut d_c[narrow],
                gates: quarters_mut(&mut gates[wide], hidden),
                of_a: [F::zero(); 2],
            };
            cell.all(simd, hidden);
            let (share, [mean, slope]) = (F::of(0.25 / hidden as f64), cell.of_a);
            before_norm[n] = [scale, -scale * mean * share, -scale * scale * scale * slope * share];
        }
        let mut rows = BackwardGates::<F, R> { gains: own.gains, before: before_norm, a, d: gates, sums: of_gates };
        rows.all(simd, 4 * hidden);
    }
}

/// One row from d_h to the gradient of ĉ, γ_c ∘ d_h ∘ o ∘ (1 − tanh²), and from o to d_o, each in the place of what it is made from.
struct BackwardOutput<'a, F> {
    parameters: [&'a [F]; 2], // γ_c and β_c
    normed: [F; 2],           // mean and 1 / σ of c̃
    c_before: &'a [F],
    gates: [&'a mut [F]; 4],
    d_h: &'a mut [F],
    sums: [&'a mut [F]; 2], // for γ_c and β_c
    of_normed: [F; 2],      // the sums of the gradient of ĉ, and of it times ĉ
}

impl<F: Real> Along<F> for BackwardOutput<'_, F> {
    #[inline(always)]
    fn along<S: Simd>(&mut self, simd: S, range: Range<usize>) {
        let wide = |lanes| Wide::<F, S>::of(simd, lanes);
        let one = Wide::splat(simd, F::one());
        let c_normed = CellNormed::<F, S>::new(simd, self.normed);
        let rows = [self.parameters[0], self.parameters[1], self.c_before];
        let [gain, shift, c_before] = registers::<F, S, 3>(rows, &range);
        let ([i, f, g, o], [sum_gain, sum_shift]) = (&mut self.gates, &mut self.sums);
        let [i, f, g] = registers::<F, S, 3>([i, f, g], &range);
        let [o, d_h, sum_gain, sum_shift] = registers_mut::<F, S, 4>([o, self.d_h, sum_gain, sum_shift], &range);
        let mut of_normed = [Wide::<F, S>::splat(simd, F::zero()); 2];
        for j in 0..range.len() / lanes::<F, S>() {
            let normed = c_normed.of([wide(i[j]), wide(f[j]), wide(g[j])], wide(c_before[j]));
            let (output, d_h_t, gain) = (wide(o[j]), wide(d_h[j]).normal(), wide(gain[j]));
            let tanh = normed.mul_add(gain, wide(shift[j])).tanh();
            o[j] = (d_h_t * tanh * output * (one - output)).lanes();
            let d = d_h_t * output * (one - tanh * tanh);
            sum_gain[j] = d.mul_add(normed, wide(sum_gain[j])).lanes();
            sum_shift[j] = (wide(sum_shift[j]) + d).lanes();
            let d = d * gain;
            d_h[j] = d.lanes();
            let [mean, slope] = of_normed;
            of_normed = [mean + d, d.mul_add(normed, slope)];
        }
        let [mean, slope] = of_normed;
        self.of_normed = [self.of_normed[0] + mean.total(), self.of_normed[1] + slope.total()];
    }
}

/// ĉ of a step, made again from its gates.
#[derive(Clone, Copy)]
struct CellNormed<F: Real, S: Simd> {
    mean: Wide<F, S>,
    scale: Wide<F, S>,
}

impl<F: Real, S: Simd> CellNormed<F, S> {
    /// From the mean and 1 / σ of c̃.
    #[inline(always)]
    fn new(simd: S, [mean, scale]: [F; 2]) -> Self {
        Self { mean: Wide::splat(simd, mean), scale: Wide::splat(simd, scale) }
    }

    /// From i, f and g, and the c before the step.
    #[inline(always)]
    fn of(&self, [input, forget, candidate]: [Wide<F, S>; 3], c_before: Wide<F, S>) -> Wide<F, S> {
        (forget.mul_add(c_before, input * candidate) - self.mean) * self.scale
    }
}

/// One row from the gradient of ĉ to d_c, and from i, f and g to theirs in the same place, with the sums that d_a needs.
struct BackwardCell<'a, F> {
    gains: [&'a [F]; 4],
    a: [&'a [F]; 4],
    before: [F; 3],
    normed: [F; 2], // mean and 1 / σ of c̃
    c_before: &'a [F],
    d_normed: &'a [F], // the gradient of ĉ
    d_c: &'a mut [F],
    gates: [&'a mut [F]; 4], // i, f and g, in: gates, out: their gradients; the fourth is d_o already
    of_a: [F; 2],            // the sums of d ∘ γ and of d ∘ γ ∘ a
}

impl<F: Real> Along<F> for BackwardCell<'_, F> {
    #[inline(always)]
    fn along<S: Simd>(&mut self, simd: S, range: Range<usize>) {
        let wide = |lanes| Wide::<F, S>::of(simd, lanes);
        let (one, zero) = (Wide::splat(simd, F::one()), Wide::<F, S>::splat(simd, F::zero()));
        let [d_normed, c_before] = registers::<F, S, 2>([self.d_normed, self.c_before], &range);
        let [i, f, g, d_o] = &mut self.gates;
        let [d_o] = registers::<F, S, 1>([d_o], &range);
        let [i, f, g, d_c] = registers_mut::<F, S, 4>([i, f, g, self.d_c], &range);
        let (a, gains) = (registers::<F, S, 4>(self.a, &range), registers::<F, S, 4>(self.gains, &range));
        let c_normed = CellNormed::<F, S>::new(simd, self.normed);
        let before = BeforeNorm::<F, S>::new(simd, self.before);
        // Each sum waits for its last addition, but there are others beside it.
        let mut sums = [[zero; 2]; 2];
        for j in 0..range.len() / lanes::<F, S>() {
            let (input, forget, candidate, c_before) = (wide(i[j]), wide(f[j]), wide(g[j]), wide(c_before[j]));
            let normed = c_normed.of([input, forget, candidate], c_before);
            let d_c_t = (before.of(wide(d_normed[j]), normed) + wide(d_c[j])).normal();
            d_c[j] = (d_c_t * forget).lanes();
            let d = [
                d_c_t * candidate * input * (one - input),
                d_c_t * c_before * forget * (one - forget),
                d_c_t * input * (one - candidate * candidate),
                wide(d_o[j]),
            ];
            (i[j], f[j], g[j]) = (d[0].lanes(), d[1].lanes(), d[2].lanes());
            for gate in 0..4 {
                let (of_a, [mean, slope]) = (d[gate] * wide(gains[gate][j]), sums[gate % 2]);
                sums[gate % 2] = [mean + of_a, of_a.mul_add(wide(a[gate][j]), slope)];
            }
        }
        for sum in 0..2 {
            self.of_a[sum] = self.of_a[sum] + (sums[0][sum] + sums[1][sum]).total();
        }
    }
}

/// Some rows from the gates' gradients to those of a. The sums of all rows are made in registers.
struct BackwardGates<'a, F, const R: usize> {
    gains: &'a [F],
    before: [[F; 3]; R],
    a: &'a [F],             // [R, 4H]
    d: &'a mut [F],         // [R, 4H], in: of the gates, out: of a
    sums: [&'a mut [F]; 2], // for γ and the biases
}

impl<F: Real, const R: usize> Along<F> for BackwardGates<'_, F, R> {
    #[inline(always)]
    fn along<S: Simd>(&mut self, simd: S, range: Range<usize>) {
        let wide = |lanes| Wide::<F, S>::of(simd, lanes);
        let gates = self.gains.len();
        let [gains] = registers::<F, S, 1>([self.gains], &range);
        let mut a: [&[F::Lanes<S>]; R] = [&[]; R];
        let mut d: [&mut [F::Lanes<S>]; R] = std::array::from_fn(|_| Default::default());
        let mut before = [BeforeNorm::<F, S>::new(simd, [F::zero(); 3]); R];
        for (row, of_row) in self.d.chunks_exact_mut(gates).enumerate() {
            [a[row]] = registers::<F, S, 1>([&self.a[row * gates..(row + 1) * gates]], &range);
            [d[row]] = registers_mut::<F, S, 1>([of_row], &range);
            before[row] = BeforeNorm::new(simd, self.before[row]);
        }
        let [sum_gain, sum_b] = &mut self.sums;
        let [sum_gain, sum_b] = registers_mut::<F, S, 2>([sum_gain, sum_b], &range);
        for j in 0..range.len() / lanes::<F, S>() {
            let (gain, mut of_gain, mut of_b) = (wide(gains[j]), wide(sum_gain[j]), wide(sum_b[j]));
            for row in 0..R {
                let (of_gate, a) = (wide(d[row][j]), wide(a[row][j]));
                of_gain = (of_gate * before[row].scale).mul_add(a, of_gain);
                of_b = of_b + of_gate;
                d[row][j] = before[row].of(of_gate * gain, a).lanes();
            }
            (sum_gain[j], sum_b[j]) = (of_gain.lanes(), of_b.lanes());
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
