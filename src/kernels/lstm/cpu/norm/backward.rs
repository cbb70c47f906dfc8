//! Back: the gates made again, then the gradients through both normalisations.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::{GateRow, GatesOfRow, NormParameters, Normed, quarters, quarters_mut};
use crate::device::wide::{Along, Wide, lanes, registers, registers_mut};
use crate::device::{Cpu, Real};
use crate::kernels::Lstm;

/// The element-wise part of a backward step on `n` sequences.
pub struct BackwardNormStep<'a, F> {
    pub own: &'a NormParameters<'a, F>,
    pub kept: Normed<'a, F>,
    pub c_before: &'a [F], // [n, H]
    pub d_h: &'a [F],      // [n, H]
    pub d_c: &'a mut [F],  // [n, H], in: from the step after, out: for the step before
    pub sums: Sums<'a, F>,
    pub hidden: usize,
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
        let sequences = self.d_c.len() / self.hidden;
        if sequences == 0 {
            return;
        }
        let mut row_of = CellRow::new(self.hidden);
        let mut d_gates = vec![F::zero(); 2 * 4 * self.hidden]; // before activation, of two sequences
        let mut n = 0;
        while n < sequences {
            // Two sequences whose gradients are summed in one place: their rows stay in a core's nearest cache.
            let count = (2 - (self.sums.first + n) % 2).min(sequences - n);
            for row in 0..count {
                let d_gates = &mut d_gates[4 * row * self.hidden..][..4 * self.hidden];
                self.row(simd, n + row, &mut row_of, d_gates);
            }
            match count {
                2 => self.products::<S, 2>(simd, n, &d_gates),
                _ => self.products::<S, 1>(simd, n, &d_gates),
            }
            n += count;
        }
    }
}

/// One row on the way back.
struct CellRow<F> {
    gates: Vec<F>,  // [4H]
    normed: Vec<F>, // [H], ĉ
    d_v: Vec<F>,    // [H], the gradient of what enters the last tanh
}

impl<F: Real> CellRow<F> {
    fn new(hidden: usize) -> Self {
        let zeros = |len| vec![F::zero(); len];
        Self { gates: zeros(4 * hidden), normed: zeros(hidden), d_v: zeros(hidden) }
    }
}

impl<F: Real> BackwardNormStep<'_, F> {
    /// d_gates `[4H]` of sequence `n`, and d_c.
    #[inline(always)]
    fn row<S: Simd>(&mut self, simd: S, n: usize, row_of: &mut CellRow<F>, d_gates: &mut [F]) {
        let (own, hidden) = (self.own, self.hidden);
        let (row, wide) = (n * hidden..(n + 1) * hidden, 4 * n * hidden..4 * (n + 1) * hidden);
        let CellRow { gates, normed, d_v } = row_of;
        let c_before = &self.c_before[row.clone()];
        GatesOfRow { own, normed: [&self.kept.ih[wide.clone()], &self.kept.hh[wide]], gates }.fill(simd, hidden);
        let gates = quarters(gates, hidden);
        let (mean, scale) = (self.kept.means[n], self.kept.scales[3 * n + 2]);
        let (_, sums) = self.sums.of(n, hidden);
        let mut output = BackwardOutput {
            parameters: [own.gain_c, own.shift_c],
            moments: (mean, scale),
            d_h: &self.d_h[row.clone()],
            gates,
            c_before,
            normed,
            d_v,
            d_o: &mut d_gates[3 * hidden..],
            sums,
        };
        output.all(simd, hidden);
        let [[shares]] = Shares::<F, 1, 1>::of(simd, d_v, [own.gain_c], [normed]);
        let mut cell = BackwardGates {
            d_v,
            gain_c: own.gain_c,
            normed,
            scale,
            shares,
            gates,
            c_before,
            d_c: &mut self.d_c[row],
            d_gates: quarters_mut(d_gates, hidden),
        };
        cell.all(simd, hidden);
    }

    /// d_a and d_r of `R` sequences from `first` on.
    #[inline(always)]
    fn products<S: Simd, const R: usize>(&mut self, simd: S, first: usize, d_gates: &[F]) {
        let (own, gates) = (self.own, 4 * self.hidden);
        let kept = &mut self.kept;
        let (ih, hh) = (&mut kept.ih[first * gates..][..R * gates], &mut kept.hh[first * gates..][..R * gates]);
        let gains = [own.gain_ih, own.gain_hh];
        let d = &d_gates[..R * gates];
        let shares = Shares::<F, R, 2>::of(simd, d, gains, [ih, hh]);
        let mut scales = [[F::zero(); 2]; R];
        for (row, scales) in scales.iter_mut().enumerate() {
            scales.copy_from_slice(&kept.scales[3 * (first + row)..][..2]);
        }
        let (sums, _) = self.sums.of(first, self.hidden);
        let mut rows = BackwardProducts::<F, R> { d, gains, scales, shares, normed: [ih, hh], sums };
        rows.all(simd, gates);
    }
}

/// One row from d_h to d_v = d_h ∘ o ∘ (1 − tanh²) and d_o, with c̃ = f ∘ c + i ∘ g made again.
struct BackwardOutput<'a, F> {
    parameters: [&'a [F]; 2], // γ_c and β_c
    moments: (F, F),          // mean and 1 / σ of c̃
    d_h: &'a [F],
    gates: [&'a [F]; 4],
    c_before: &'a [F],
    normed: &'a mut [F], // ĉ
    d_v: &'a mut [F],
    d_o: &'a mut [F],
    sums: [&'a mut [F]; 2], // for γ_c and β_c
}

impl<F: Real> Along<F> for BackwardOutput<'_, F> {
    #[inline(always)]
    fn along<S: Simd>(&mut self, simd: S, range: Range<usize>) {
        let wide = |lanes| Wide::<F, S>::of(simd, lanes);
        let one = Wide::splat(simd, F::one());
        let (mean, scale) = (Wide::splat(simd, self.moments.0), Wide::splat(simd, self.moments.1));
        let [gain, shift] = self.parameters;
        let [i, f, g, o] = registers::<F, S, 4>(self.gates, &range);
        let [gain, shift, d_h, c_before] = registers::<F, S, 4>([gain, shift, self.d_h, self.c_before], &range);
        let [sum_gain, sum_shift] = &mut self.sums;
        let rows = [&mut *self.normed, self.d_v, self.d_o, sum_gain, sum_shift];
        let [c_normed, d_v, d_o, sum_gain, sum_shift] = registers_mut::<F, S, 5>(rows, &range);
        for j in 0..range.len() / lanes::<F, S>() {
            let (d_h, o) = (wide(d_h[j]), wide(o[j]));
            let c = wide(f[j]).mul_add(wide(c_before[j]), wide(i[j]) * wide(g[j]));
            let normed = (c - mean) * scale;
            c_normed[j] = normed.lanes();
            let tanh = normed.mul_add(wide(gain[j]), wide(shift[j])).tanh();
            let d = d_h * o * (one - tanh * tanh);
            d_v[j] = d.lanes();
            d_o[j] = (d_h * tanh * o * (one - o)).lanes();
            sum_gain[j] = d.mul_add(normed, wide(sum_gain[j])).lanes();
            sum_shift[j] = (wide(sum_shift[j]) + d).lanes();
        }
    }
}

/// One row from d_v to d_c, d_i, d_f and d_g.
struct BackwardGates<'a, F> {
    d_v: &'a [F],
    gain_c: &'a [F],
    normed: &'a [F], // ĉ
    scale: F,
    shares: [F; 2],
    gates: [&'a [F]; 4],
    c_before: &'a [F],
    d_c: &'a mut [F],
    d_gates: [&'a mut [F]; 4],
}

impl<F: Real> Along<F> for BackwardGates<'_, F> {
    #[inline(always)]
    fn along<S: Simd>(&mut self, simd: S, range: Range<usize>) {
        let wide = |lanes| Wide::<F, S>::of(simd, lanes);
        let one = Wide::splat(simd, F::one());
        let [i, f, g, _] = self.gates;
        let rows = [i, f, g, self.d_v, self.gain_c, self.normed, self.c_before];
        let [i, f, g, d_v, gain, normed, c_before] = registers::<F, S, 7>(rows, &range);
        let [d_i, d_f, d_g, _] = &mut self.d_gates;
        let [d_i, d_f, d_g, d_c] = registers_mut::<F, S, 4>([d_i, d_f, d_g, self.d_c], &range);
        let before = BeforeNorm::new(simd, self.scale, self.shares);
        for j in 0..range.len() / lanes::<F, S>() {
            let (i, f, g) = (wide(i[j]), wide(f[j]), wide(g[j]));
            let d_c_t = wide(d_c[j]) + before.of(wide(d_v[j]) * wide(gain[j]), wide(normed[j]));
            d_c[j] = (d_c_t * f).lanes();
            d_i[j] = (d_c_t * g * i * (one - i)).lanes();
            d_f[j] = (d_c_t * wide(c_before[j]) * f * (one - f)).lanes();
            d_g[j] = (d_c_t * i * (one - g * g)).lanes();
        }
    }
}

/// Some rows from d_gates to d_a and d_r, which take the places of â and r̂. The sums of all rows are made in registers.
struct BackwardProducts<'a, F, const R: usize> {
    d: &'a [F], // [R, 4H]
    gains: [&'a [F]; 2],
    scales: [[F; 2]; R],
    shares: [[[F; 2]; 2]; R],
    normed: [&'a mut [F]; 2], // [R, 4H] each
    sums: [&'a mut [F]; 3],   // for γ_ih, γ_hh and the biases
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
        let mut before = [[BeforeNorm::<F, S>::new(simd, F::zero(), [F::zero(); 2]); 2]; R];
        let [mut rest_a, mut rest_r] = self.normed.each_mut().map(|rows| &mut **rows);
        for row in 0..R {
            let (own_a, after_a) = std::mem::take(&mut rest_a).split_at_mut(gates);
            let (own_r, after_r) = std::mem::take(&mut rest_r).split_at_mut(gates);
            (rest_a, rest_r) = (after_a, after_r);
            [a[row], r[row]] = registers_mut::<F, S, 2>([own_a, own_r], &range);
            [d[row]] = registers::<F, S, 1>([&self.d[row * gates..][..gates]], &range);
            before[row] = [
                BeforeNorm::new(simd, self.scales[row][0], self.shares[row][0]),
                BeforeNorm::new(simd, self.scales[row][1], self.shares[row][1]),
            ];
        }
        let [sum_a, sum_r, sum_b] = &mut self.sums;
        let [sum_a, sum_r, sum_b] = registers_mut::<F, S, 3>([sum_a, sum_r, sum_b], &range);
        for j in 0..range.len() / lanes::<F, S>() {
            let (gain_a, gain_r) = (wide(gain_a[j]), wide(gain_r[j]));
            let (mut of_a, mut of_r, mut of_b) = (wide(sum_a[j]), wide(sum_r[j]), wide(sum_b[j]));
            for row in 0..R {
                let (d, normed_a, normed_r) = (wide(d[row][j]), wide(a[row][j]), wide(r[row][j]));
                of_a = d.mul_add(normed_a, of_a);
                of_r = d.mul_add(normed_r, of_r);
                of_b = of_b + d;
                a[row][j] = before[row][0].of(d * gain_a, normed_a).lanes();
                r[row][j] = before[row][1].of(d * gain_r, normed_r).lanes();
            }
            (sum_a[j], sum_r[j], sum_b[j]) = (of_a.lanes(), of_r.lanes(), of_b.lanes());
        }
    }
}

/// The means of d ∘ γ and of d ∘ γ ∘ x̂ along each of `R` rows, for `N` normalisations of each.
struct Shares<'a, F, const R: usize, const N: usize> {
    d: &'a [F], // [R, row]
    gains: [&'a [F]; N],
    normed: [&'a [F]; N], // [R, row] each
    means: [[[F; 2]; N]; R],
}

impl<'a, F: Real, const R: usize, const N: usize> Shares<'a, F, R, N> {
    #[inline(always)]
    fn of<S: Simd>(simd: S, d: &'a [F], gains: [&'a [F]; N], normed: [&'a [F]; N]) -> [[[F; 2]; N]; R] {
        let row = d.len() / R;
        let mut sums = Self { d, gains, normed, means: [[[F::zero(); 2]; N]; R] };
        sums.all(simd, row);
        let share = F::one() / F::of(row as f64);
        sums.means.as_flattened_mut().as_flattened_mut().iter_mut().for_each(|sum| *sum = *sum * share);
        sums.means
    }
}

impl<F: Real, const R: usize, const N: usize> Along<F> for Shares<'_, F, R, N> {
    #[inline(always)]
    fn along<S: Simd>(&mut self, simd: S, range: Range<usize>) {
        let row = self.d.len() / R;
        let gains = registers::<F, S, N>(self.gains, &range);
        let mut d: [&[F::Lanes<S>]; R] = [&[]; R];
        let mut normed: [[&[F::Lanes<S>]; N]; R] = [[&[]; N]; R];
        for n in 0..R {
            [d[n]] = registers::<F, S, 1>([&self.d[n * row..][..row]], &range);
            normed[n] = registers::<F, S, N>(self.normed.map(|rows| &rows[n * row..][..row]), &range);
        }
        // Each sum waits for its last addition, but there are others beside it.
        let mut sums = [[[Wide::<F, S>::splat(simd, F::zero()); 2]; N]; R];
        for j in 0..range.len() / lanes::<F, S>() {
            for n in 0..R {
                let d = Wide::of(simd, d[n][j]);
                for of in 0..N {
                    let d_gained = d * Wide::of(simd, gains[of][j]);
                    let [mean, slope] = sums[n][of];
                    sums[n][of] = [mean + d_gained, d_gained.mul_add(Wide::of(simd, normed[n][of][j]), slope)];
                }
            }
        }
        for (means, sums) in self.means.as_flattened_mut().iter_mut().zip(sums.as_flattened()) {
            for (mean, sum) in means.iter_mut().zip(sums) {
                *mean = *mean + sum.total();
            }
        }
    }
}

/// Normalisation of a row on the way back, its numbers in every lane.
#[derive(Clone, Copy)]
struct BeforeNorm<F: Real, S: Simd> {
    scale: Wide<F, S>,
    mean: Wide<F, S>,
    minus_slope: Wide<F, S>,
}

impl<F: Real, S: Simd> BeforeNorm<F, S> {
    #[inline(always)]
    fn new(simd: S, scale: F, [mean, slope]: [F; 2]) -> Self {
        let (scale, mean) = (Wide::splat(simd, scale), Wide::splat(simd, mean));
        Self { scale, mean, minus_slope: Wide::splat(simd, -slope) }
    }

    /// The gradient before normalisation: (γ ∘ d − mean(γ ∘ d) − x̂ ∘ mean(γ ∘ d ∘ x̂)) / σ.
    #[inline(always)]
    fn of(&self, d_gained: Wide<F, S>, normed: Wide<F, S>) -> Wide<F, S> {
        self.scale * normed.mul_add(self.minus_slope, d_gained - self.mean)
    }
}
