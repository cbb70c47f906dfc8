//! On the CPU: blocks of the outputs of all maps, in shares of equal work for the threads.

use std::ops::Range;

use pulp::{Scalar, Simd, WithSimd};

use super::{Affine, AffineInput, AffineSize, WeightGradients};
use crate::device::threads::{current_num_threads, prelude::*};
use crate::device::wide::{Wide, dispatch, lanes, registers, registers_mut};
use crate::device::{Cpu, Real};
use crate::kernels::Matrix;
use crate::kernels::product::{Right, Rows, multiply_add};
use crate::order;

impl<F: Real> WeightGradients for Cpu<F> {
    fn weight_gradients(&self, maps: &[Affine<Vec<F>>], d_params: &mut Vec<F>, _scratch: &mut Vec<F>) {
        // All maps in one go, so that no thread waits for another between them.
        let shares = shares(maps.iter().flat_map(OutputBlock::of).collect());
        let sums_of = |share: &Vec<OutputBlock<F>>| share.iter().map(OutputBlock::sums).collect::<Vec<_>>();
        let sums: Vec<_> = shares.par_iter().map(sums_of).collect();
        for (block, sums) in shares.iter().flatten().zip(sums.iter().flatten()) {
            block.add(sums, d_params);
        }
    }

    fn weight_scratch_len(&self, _sizes: &[AffineSize], _span: usize) -> usize {
        0
    }
}

/// The blocks in shares of about equal work, two for each thread: the largest first, each where there is least so far.
fn shares<F: Real>(blocks: Vec<OutputBlock<F>>) -> Vec<Vec<OutputBlock<F>>> {
    let mut shares: Vec<(usize, Vec<_>)> = (0..2 * current_num_threads()).map(|_| (0, Vec::new())).collect();
    let largest_first = order::by_key(blocks.len(), |place| !(blocks[place].work() as u64));
    let mut blocks: Vec<_> = blocks.into_iter().map(Some).collect();
    for block in largest_first.into_iter().filter_map(|place| blocks[place].take()) {
        let (work, share) = shares.iter_mut().min_by_key(|(work, _)| *work).expect("a thread at least");
        *work += block.work();
        share.push(block);
    }
    shares.into_iter().map(|(_, share)| share).collect()
}

/// Columns of an input up to which it is narrow.
const NARROW: usize = 4;

/// Some of the outputs of one map, for one thread.
struct OutputBlock<'a, F> {
    map: &'a Affine<'a, Vec<F>>,
    outputs: Range<usize>,
}

impl<'a, F: Real> OutputBlock<'a, F> {
    /// Two blocks for each thread, and not so small that packing the inputs for each of them counts. Whole registers but for the
    /// last outputs, so that however many threads there are the same ones are reckoned one by one.
    fn of(map: &'a Affine<'a, Vec<F>>) -> impl Iterator<Item = Self> {
        let size = map.outputs.div_ceil(2 * current_num_threads()).max(48).next_multiple_of(16);
        (0..map.outputs).step_by(size).map(move |first| Self { map, outputs: first..map.outputs.min(first + size) })
    }

    fn inputs(&self) -> impl Iterator<Item = &AffineInput<'a, Vec<F>>> {
        [&self.map.x, &self.map.h].into_iter().flatten()
    }

    /// How much there is to do, in multiplications; a narrow input counts as two columns, and a map without input as one.
    fn work(&self) -> usize {
        let columns = |input: &AffineInput<Vec<F>>| if input.width > NARROW { input.width } else { 2 };
        self.map.rows * self.outputs.len() * self.inputs().map(columns).sum::<usize>().max(1)
    }

    /// d_W_x, d_W_h and d_b of the block's outputs, one behind the other.
    fn sums(&self) -> Vec<F> {
        let ((d, rows), outputs) = (self.map.d, self.outputs.len());
        let biases = if self.map.biases.is_empty() { 0 } else { outputs };
        let mut sums = vec![F::zero(); self.inputs().map(|input| outputs * input.width).sum::<usize>() + biases];
        let mut rest = &mut sums[..];
        // An input of few columns would take up a whole panel.
        let (mut wide, mut narrow) = (Vec::new(), Vec::new());
        for input in self.inputs() {
            let (c, after) = rest.split_at_mut(outputs * input.width);
            rest = after;
            match input.width {
                ..=NARROW => narrow.push((input, c)),
                n => wide.push(Right { n, place: input.rows, values: input.values, c }),
            }
        }
        let (mut totals, mut column_sums) = (vec![0.0; biases], vec![F::zero(); outputs]);
        let place = Matrix { offset: rows.offset + self.outputs.start * rows.column, ..rows }.transposed();
        multiply_add(&Rows { m: outputs, k: self.map.rows, place, values: d }, &mut wide, |chain| {
            for (AffineInput { values, rows, width, .. }, c) in &mut narrow {
                for column in 0..*width {
                    self.weighted_sums(&chain, (&values[rows.offset + column..], rows.row), &mut column_sums);
                    let c = c[column..].iter_mut().step_by(*width);
                    c.zip(&column_sums).for_each(|(c, &sum)| *c = *c + sum);
                }
            }
            if biases > 0 {
                self.weighted_sums(&chain, (&[F::one()], 0), &mut column_sums);
                totals.iter_mut().zip(&column_sums).for_each(|(total, sum)| *total += sum.double());
            }
        });
        rest.iter_mut().zip(totals).for_each(|(sum, total)| *sum = F::of(total));
        sums
    }

    /// The sums over a chain of rows of d times x, whose rows are `x_row` apart.
    fn weighted_sums(&self, chain: &Range<usize>, (x, x_row): (&[F], usize), sums: &mut [F]) {
        let (d, rows) = self.map.d;
        assert_eq!(rows.column, 1, "d in pieces");
        let (d, x) = (&d[rows.offset + chain.start * rows.row + self.outputs.start..], &x[chain.start * x_row..]);
        dispatch(Weighted { terms: chain.len(), d, d_row: rows.row, x, x_row, sums });
    }

    fn add(&self, sums: &[F], d_params: &mut [F]) {
        let (first, outputs) = (self.outputs.start, self.outputs.len());
        let mut add = |place: usize, sums: &[F]| {
            d_params[place..].iter_mut().zip(sums).for_each(|(d, &sum)| *d = *d + sum);
        };
        let mut rest = sums;
        for input in self.inputs() {
            let (weights, after) = rest.split_at(outputs * input.width);
            rest = after;
            add(input.weight + first * input.width, weights);
        }
        for &place in &self.map.biases {
            add(place + first, rest);
        }
    }
}

/// The sums of rows of d, each times its x.
struct Weighted<'a, F> {
    terms: usize,
    d: &'a [F], // rows d_row apart
    d_row: usize,
    x: &'a [F], // x_row apart
    x_row: usize,
    sums: &'a mut [F], // written
}

impl<F: Real> WithSimd for Weighted<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (len, one) = (self.sums.len(), lanes::<F, S>());
        let (fours, ones) = (len - len % (4 * one), len - len % one);
        for first in (0..fours).step_by(4 * one) {
            self.columns::<S, 4>(simd, first);
        }
        for first in (fours..ones).step_by(one) {
            self.columns::<S, 1>(simd, first);
        }
        for first in ones..len {
            self.columns::<Scalar, 1>(Scalar, first);
        }
    }
}

impl<F: Real> Weighted<'_, F> {
    /// The sums of `N` registers of columns, which stay there while the rows pass by.
    #[inline(always)]
    fn columns<S: Simd, const N: usize>(&mut self, simd: S, first: usize) {
        let len = N * lanes::<F, S>();
        let mut sums = [Wide::<F, S>::splat(simd, F::zero()); N];
        for row in 0..self.terms {
            let x = Wide::splat(simd, self.x[row * self.x_row]);
            let [d] = registers::<F, S, 1>([&self.d[row * self.d_row + first..][..len]], &(0..len));
            for (sum, &d) in sums.iter_mut().zip(d) {
                *sum = Wide::of(simd, d).mul_add(x, *sum);
            }
        }
        let [to] = registers_mut::<F, S, 1>([&mut self.sums[first..][..len]], &(0..len));
        to.iter_mut().zip(sums).for_each(|(to, sum)| *to = sum.lanes());
    }
}
