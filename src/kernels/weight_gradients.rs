//! The gradients of the weights of affine maps, over all rows of a batch at once.
//!
//! For y = x · W_xᵀ + h · W_hᵀ + b, with d the gradient of y:
//!
//! ```text
//! d_W_x += dᵀ · x        d_W_h += dᵀ · h        d_b += Σ_r d[r]
//! ```
//!
//! The head is such a map with one input; each direction of a layer is one with the input and the h of the step before, or with
//! layer normalisation one for each, and without inputs those of its gains and biases.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::product::{CHAIN, Right, Rows, Splits, multiply_add};
use super::{Matrix, Product};
use crate::device::threads::{current_num_threads, prelude::*};
use crate::device::wide::{Along, Wide, dispatch, registers, registers_mut};
use crate::device::{Cost, Cpu, Gpu, GpuBuffer, Kernel, Real, Tile, grid, kernel, params};

/// One input of an affine map.
#[derive(Clone, Copy, Debug)]
pub struct AffineInput<'a, B> {
    /// The buffer it lies in.
    pub values: &'a B,
    /// Its rows `[R, width]` there.
    pub rows: Matrix,
    /// Its width.
    pub width: usize,
    /// Place of its weights `[M, width]` among the parameters.
    pub weight: usize,
}

/// One affine map of many rows.
#[derive(Clone, Debug)]
pub struct Affine<'a, B> {
    /// R, rows.
    pub rows: usize,
    /// M, outputs.
    pub outputs: usize,
    /// The gradient of the outputs: its buffer, and its rows `[R, M]` there.
    pub d: (&'a B, Matrix),
    /// x, if the gradient of its weights is wanted.
    pub x: Option<AffineInput<'a, B>>,
    /// h likewise.
    pub h: Option<AffineInput<'a, B>>,
    /// Up to two places of `[M]` biases, which all have the same gradient.
    pub biases: Vec<usize>,
}

/// The sizes of an affine map.
#[derive(Clone, Copy, Debug)]
pub struct AffineSize {
    /// R, rows.
    pub rows: usize,
    /// M, outputs.
    pub outputs: usize,
    /// The widths of x and h; 0 for none.
    pub widths: [usize; 2],
    /// Whether there is a bias.
    pub bias: bool,
}

impl<B> Affine<'_, B> {
    fn size(&self) -> AffineSize {
        let width = |input: &Option<AffineInput<B>>| input.as_ref().map_or(0, |input| input.width);
        let Self { rows, outputs, .. } = *self;
        AffineSize { rows, outputs, widths: [width(&self.x), width(&self.h)], bias: !self.biases.is_empty() }
    }

    /// Places of its parameters.
    fn spans(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let inputs = [&self.x, &self.h].into_iter().flatten();
        let weights = inputs.map(|input| input.weight..input.weight + self.outputs * input.width);
        weights.chain(self.biases.iter().map(|&place| place..place + self.outputs))
    }
}

/// The gradients of weights.
pub trait WeightGradients: Product {
    /// Adds the gradients of all `maps` to `d_params`. The sums over the rows run in an order that depends on the device's
    /// tuning and the sizes alone. `scratch` holds [`weight_scratch_len`](WeightGradients::weight_scratch_len) elements.
    fn weight_gradients(&self, maps: &[Affine<Self::Buffer>], d_params: &mut Self::Buffer, scratch: &mut Self::Buffer);
    /// Elements of scratch for maps of these sizes or fewer rows, whose parameters lie within `span` places of each other.
    fn weight_scratch_len(&self, sizes: &[AffineSize], span: usize) -> usize;
}

params! {
    struct WeightParams {
        rows: u32, outputs: u32, d: u32, d_row: u32,
        x: u32, x_row: u32, x_width: u32,
        h: u32, h_row: u32, h_width: u32,
        biases: u32, d_w_x: u32, d_w_h: u32, d_b_0: u32, d_b_1: u32,
        add: u32, stride: u32, rows_per_split: u32,
    }
}
static WEIGHTS: Kernel = kernel!("weight_gradients" + "product_tiles", WeightParams, [Read, Read, Read, Write]);
static WEIGHTS_DIRECT: Kernel = WEIGHTS.entry("direct");
static WEIGHTS_LARGE: Kernel = WEIGHTS.entry("large");
pub(super) static KERNELS: &[&Kernel] = &[&WEIGHTS, &WEIGHTS_DIRECT, &WEIGHTS_LARGE];

/// Columns of [x | h | 1] as the kernel sees them: whole blocks of 8.
fn columns(size: &AffineSize) -> usize {
    size.widths.iter().map(|width| width.next_multiple_of(8)).sum::<usize>() + if size.bias { 8 } else { 0 }
}

/// Where the sums over the rows go: to the gradients themselves, or split by split to scratch.
struct Sums<'a> {
    to: &'a GpuBuffer,
    splits: usize,
    /// Place among the parameters that is the first in `to`.
    first: usize,
    stride: usize,
}

impl Gpu {
    fn weight_tile(&self, size: &AffineSize) -> Tile {
        self.tuning().tile_of(size.outputs, columns(size), size.rows, true)
    }

    /// How many parts the rows are cut into: the same for all maps, so that one dispatch adds them all.
    fn weight_splits(&self, sizes: &[AffineSize]) -> usize {
        let tiles: usize = sizes.iter().map(|size| self.weight_tile(size).count(size.outputs, columns(size))).sum();
        let rows = sizes.iter().map(|size| size.rows).max().unwrap_or(0);
        self.tuning().splits(tiles.div_ceil(sizes.len().max(1)), rows)
    }

    fn partial_sums(&self, map: &Affine<GpuBuffer>, sums: &Sums) {
        let (d, rows) = map.d;
        let inputs = [&map.x, &map.h];
        let whole = inputs.into_iter().flatten().all(|input| input.rows.column == 1);
        assert!(whole && rows.column == 1, "rows in pieces");
        assert!(map.biases.len() <= 2, "{} biases", map.biases.len());
        // A buffer for the binding even where there is no input.
        let [x, h] = inputs.map(|input| input.as_ref().map_or(d, |input| input.values));
        let number = |input: usize, number: fn(&AffineInput<GpuBuffer>) -> usize| {
            inputs[input].as_ref().map_or(0, |input| number(input) as u32)
        };
        let place = |place: usize| (place - sums.first) as u32;
        let bias = |index: usize| map.biases.get(index).map_or(0, |&at| place(at));
        let weight = |input: usize| inputs[input].as_ref().map_or(0, |input| place(input.weight));
        let params = WeightParams {
            rows: map.rows as u32,
            outputs: map.outputs as u32,
            d: rows.offset as u32,
            d_row: rows.row as u32,
            x: number(0, |x| x.rows.offset),
            x_row: number(0, |x| x.rows.row),
            x_width: number(0, |x| x.width),
            h: number(1, |h| h.rows.offset),
            h_row: number(1, |h| h.rows.row),
            h_width: number(1, |h| h.width),
            biases: map.biases.len() as u32,
            d_w_x: weight(0),
            d_w_h: weight(1),
            d_b_0: bias(0),
            d_b_1: bias(1),
            add: u32::from(sums.splits == 1),
            stride: sums.stride as u32,
            rows_per_split: map.rows.div_ceil(sums.splits) as u32,
        };
        let size = map.size();
        let tile = self.weight_tile(&size);
        let kernel = match tile {
            Tile::Direct => &WEIGHTS_DIRECT,
            Tile::Medium => &WEIGHTS,
            Tile::Large => &WEIGHTS_LARGE,
        };
        let width = size.widths.iter().sum::<usize>();
        let moved = map.rows * (map.outputs + width) + map.outputs * (width + map.biases.len()) * sums.splits;
        self.cost(Cost::new(map.rows * map.outputs * (2 * width + usize::from(size.bias)), moved));
        let [across, down, _] = grid(tile.count(size.outputs, columns(&size)), 1);
        self.run(kernel, &params, &[d, x, h, sums.to], [across, down, sums.splits as u32]);
    }
}

impl WeightGradients for Gpu {
    fn weight_gradients(&self, maps: &[Affine<GpuBuffer>], d_params: &mut GpuBuffer, scratch: &mut GpuBuffer) {
        let sizes: Vec<_> = maps.iter().map(Affine::size).collect();
        let splits = self.weight_splits(&sizes);
        if splits == 1 {
            let sums = Sums { to: d_params, splits, first: 0, stride: 0 };
            return maps.iter().for_each(|map| self.partial_sums(map, &sums));
        }
        let spans = merged(maps.iter().flat_map(Affine::spans).collect());
        let (Some(first), Some(last)) = (spans.first(), spans.last()) else { return };
        let (first, stride) = (first.start, last.end - first.start);
        assert!(splits * stride <= scratch.len(), "{splits} splits of {stride} in {}", scratch.len());
        let sums = Sums { to: scratch, splits, first, stride };
        maps.iter().for_each(|map| self.partial_sums(map, &sums));
        for span in spans {
            let splits = Splits { count: span.len(), splits, first: span.start - first, stride };
            self.reduce_splits(&splits, scratch, span.start, d_params);
        }
    }

    fn weight_scratch_len(&self, sizes: &[AffineSize], span: usize) -> usize {
        match self.weight_splits(sizes) {
            1 => 0,
            splits => splits * span,
        }
    }
}

/// The same places in as few ranges as can be, in order.
fn merged(mut spans: Vec<Range<usize>>) -> Vec<Range<usize>> {
    spans.sort_by_key(|span| span.start);
    let mut merged: Vec<Range<usize>> = Vec::new();
    for span in spans {
        match merged.last_mut() {
            Some(last) if last.end == span.start => last.end = span.end,
            _ => merged.push(span),
        }
    }
    merged
}

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
fn shares<F: Real>(mut blocks: Vec<OutputBlock<F>>) -> Vec<Vec<OutputBlock<F>>> {
    blocks.sort_by_key(|block| std::cmp::Reverse(block.work()));
    let mut shares: Vec<(usize, Vec<_>)> = (0..2 * current_num_threads()).map(|_| (0, Vec::new())).collect();
    for block in blocks {
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

    /// How much there is to do, in multiplications; a narrow input reads d once more, and a map without input reads it once.
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
        let mut rights = Vec::new();
        for input in self.inputs() {
            let (c, after) = rest.split_at_mut(outputs * input.width);
            rest = after;
            if input.width <= NARROW {
                self.add_narrow(input, c);
                continue;
            }
            rights.push(Right { n: input.width, place: input.rows, values: input.values, c });
        }
        let mut totals = vec![0.0f64; biases];
        if rights.is_empty() {
            // As they lie, row by row.
            for row in d[rows.offset..].chunks(rows.row).take(self.map.rows) {
                totals.iter_mut().zip(&row[self.outputs.clone()]).for_each(|(sum, &value)| *sum += value.double());
            }
        } else {
            let place = Matrix { offset: rows.offset + self.outputs.start * rows.column, ..rows }.transposed();
            multiply_add(&Rows { m: outputs, k: self.map.rows, place, values: d }, &mut rights, &mut totals);
        }
        rest.iter_mut().zip(totals).for_each(|(sum, total)| *sum = F::of(total));
        sums
    }

    /// d_W_x `[outputs, width]` of an input of few columns, which would take up a whole panel: row by row, as d lies.
    fn add_narrow(&self, input: &AffineInput<Vec<F>>, c: &mut [F]) {
        let ((d, rows), outputs) = (self.map.d, self.outputs.len());
        let mut column_sums = vec![F::zero(); outputs];
        for column in 0..input.width {
            let x = &input.values[input.rows.offset + column..];
            for first in (0..self.map.rows).step_by(CHAIN) {
                let d = &d[rows.offset + first * rows.row + self.outputs.start..];
                let (x, x_row) = (&x[first * input.rows.row..], input.rows.row);
                let terms = CHAIN.min(self.map.rows - first);
                column_sums.fill(F::zero());
                dispatch(Weighted { terms, d, d_row: rows.row, x, x_row, sums: &mut column_sums });
                let c = c[column..].iter_mut().step_by(input.width);
                c.zip(&column_sums).for_each(|(c, &sum)| *c = *c + sum);
            }
        }
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
    sums: &'a mut [F],
}

impl<F: Real> WithSimd for Weighted<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { terms, d, d_row, x, x_row, sums } = self;
        for row in 0..terms {
            let d = &d[row * d_row..][..sums.len()];
            OneRow { d, x: x[row * x_row], sums }.all(simd, d.len());
        }
    }
}

struct OneRow<'a, F> {
    d: &'a [F],
    x: F,
    sums: &'a mut [F],
}

impl<F: Real> Along<F> for OneRow<'_, F> {
    #[inline(always)]
    fn along<S: Simd>(&mut self, simd: S, range: Range<usize>) {
        let x = Wide::<F, S>::splat(simd, self.x);
        let [d] = registers::<F, S, 1>([self.d], &range);
        let [sums] = registers_mut::<F, S, 1>([self.sums], &range);
        for (sum, &d) in sums.iter_mut().zip(d) {
            *sum = Wide::of(simd, d).mul_add(x, Wide::of(simd, *sum)).lanes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::merged;

    #[test]
    fn neighbouring_places_are_one_range() {
        assert_eq!(merged(vec![10..14, 0..3, 3..10, 20..21]), [0..14, 20..21]);
        assert!(merged(Vec::new()).is_empty());
    }
}
