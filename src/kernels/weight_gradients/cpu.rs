//! On the CPU: sums over rows that come a chain at a time, for blocks of the outputs of all maps in shares of equal work for the
//! threads, or for a whole map as its rows come to be.

use std::ops::Range;

use pulp::{Scalar, Simd, WithSimd};

use super::{Affine, AffineInput, AffineSize, WeightGradients};
use crate::device::threads::{current_num_threads, prelude::*};
use crate::device::wide::{Wide, dispatch, lanes, registers, registers_mut};
use crate::device::{Cpu, CpuBuffer, Real};
use crate::kernels::Matrix;
use crate::kernels::dropout::{Drop, DropShape, Masks, Source, drop_rows};
use crate::kernels::product::{CHAIN, Left, Term, add_products, columns_len, pack, panels_len};
use crate::order;

impl<F: Real> WeightGradients for Cpu<F> {
    fn weight_gradients(
        &self,
        maps: &[Affine<CpuBuffer<F>>],
        d_params: &mut CpuBuffer<F>,
        _scratch: &mut CpuBuffer<F>,
    ) {
        let maps: Vec<_> = maps.iter().map(|map| (MaskedMap { map, drop: None }, RowOrder::of(map.rows))).collect();
        weight_gradients_in_order(&maps, d_params);
    }

    fn weight_scratch_len(&self, _sizes: &[AffineSize], _span: usize) -> usize {
        0
    }
}

/// The order in which rows are summed: groups that are each summed by themselves, of chains of at most [`CHAIN`] rows.
#[derive(Clone)]
pub struct RowOrder(pub Vec<Vec<Vec<Range<usize>>>>);

impl RowOrder {
    /// From the first row to the last.
    pub fn of(rows: usize) -> Self {
        let chain = |first| std::iter::once(first..rows.min(first + CHAIN)).collect();
        Self(vec![(0..rows).step_by(CHAIN).map(chain).collect()])
    }
}

/// A map, and the dropout that its weights of h went through.
#[derive(Clone, Copy)]
pub struct MaskedMap<'a, F> {
    pub map: &'a Affine<'a, CpuBuffer<F>>,
    pub drop: Option<Drop>,
}

/// Adds the gradients of all maps, each summed in its own order, to `d_params`.
pub fn weight_gradients_in_order<F: Real>(maps: &[(MaskedMap<F>, RowOrder)], d_params: &mut [F]) {
    // All maps in one go, so that no thread waits for another between them.
    let shares = shares(maps.iter().flat_map(|(map, order)| OutputBlock::of(*map, order)).collect());
    let sums_of = |share: &Vec<OutputBlock<F>>| share.iter().map(OutputBlock::sums).collect::<Vec<_>>();
    // Little is soonest done where it is.
    let work: usize = shares.iter().flatten().map(OutputBlock::work).sum();
    let at_once = if work < WORTH_A_THREAD { shares.len() } else { 1 };
    let sums: Vec<_> = shares.par_iter().with_min_len(at_once).map(sums_of).collect();
    for (block, sums) in shares.iter().flatten().zip(sums.iter().flatten()) {
        for to in block.of.destinations(&block.outputs) {
            add(&mut d_params[to.place..], &sums[to.part]);
        }
    }
}

/// Multiplications that take longer than to wake a thread.
const WORTH_A_THREAD: usize = 1 << 16;

fn add<F: Real>(to: &mut [F], what: &[F]) {
    to.iter_mut().zip(what).for_each(|(to, &what)| *to = *to + what);
}

/// Adds the gradients of all maps to `d_params`. `sums` holds so many `groups`, each with the sums of all maps one behind the
/// other.
pub fn add_groups<F: Real>(maps: &[MaskedMap<F>], groups: usize, sums: &[F], d_params: &mut [F]) {
    let (mut destinations, mut len) = (Vec::new(), 0);
    for of in maps {
        let own = of.destinations(&(0..of.map.outputs)).into_iter();
        destinations.extend(own.map(|to| Destination { part: len + to.part.start..len + to.part.end, ..to }));
        len += of.map.size().sums_len(of.map.outputs);
    }
    let (mut parts, mut rest, mut passed) = (Vec::new(), d_params, 0);
    for index in order::by_key(destinations.len(), |index| destinations[index].place as u64) {
        let to = &destinations[index];
        let (own, after) = std::mem::take(&mut rest)[to.place - passed..].split_at_mut(to.part.len());
        (rest, passed) = (after, to.place + to.part.len());
        let rows = PART.div_ceil(to.columns);
        parts.extend(own.chunks_mut(rows * to.columns).zip((0..).step_by(rows)).map(|(d, row)| (to, row, d)));
    }
    parts.into_par_iter().for_each(|(to, row, d)| {
        let (mut all, first) = (vec![F::zero(); d.len()], to.part.start + row * to.columns);
        sums.chunks_exact(len).take(groups).for_each(|group| add(&mut all, &group[first..]));
        to.mask(row, &mut all);
        add(d, &all);
    });
}

/// Elements of the sums, or a few more, that one thread adds up in one go.
const PART: usize = 4096;

/// Where some outputs of a map have their sums added.
struct Destination {
    place: usize,       // among the parameters
    part: Range<usize>, // of the sums
    columns: usize,
    first: usize, // output
    drop: Option<Drop>,
}

impl Destination {
    /// Masks the `sums` of its rows from number `row` on, where their weights were dropped.
    fn mask<F: Real>(&self, row: usize, sums: &mut [F]) {
        if let Some(drop) = &self.drop {
            let (rows, columns) = (sums.len() / self.columns, self.columns);
            let shape = DropShape { rows, columns, first: 0, masks: Masks::Each };
            drop_rows(drop, &shape, self.first + row, &[], Source::Itself, sums, false);
        }
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
    of: MaskedMap<'a, F>,
    order: &'a RowOrder,
    outputs: Range<usize>,
}

impl<'a, F: Real> OutputBlock<'a, F> {
    /// Two blocks for each thread, and not so small that packing the inputs for each of them counts, or that one is not worth a
    /// thread. Whole registers but for the last outputs, so that however many threads there are the same ones are reckoned one by
    /// one.
    fn of(of: MaskedMap<'a, F>, order: &'a RowOrder) -> impl Iterator<Item = Self> {
        let outputs = of.map.outputs;
        let least = WORTH_A_THREAD / Self::work_of(of.map, 1).max(1);
        let size = outputs.div_ceil(2 * current_num_threads()).max(least.max(48)).next_multiple_of(16);
        (0..outputs).step_by(size).map(move |first| Self { of, order, outputs: first..outputs.min(first + size) })
    }

    fn work(&self) -> usize {
        Self::work_of(self.of.map, self.outputs.len())
    }

    /// How much there is to do, in multiplications; a narrow input counts as two columns, and a map without input as one.
    fn work_of(map: &Affine<CpuBuffer<F>>, outputs: usize) -> usize {
        let columns = |width: usize| if width > NARROW { width } else { width.min(1) * 2 };
        map.rows * outputs * map.size().widths.map(columns).iter().sum::<usize>().max(1)
    }

    /// The sums of all groups, each made by itself, then masked.
    fn sums(&self) -> Vec<F> {
        let map = self.of.map;
        let (size, (d, place)) = (map.size(), map.d);
        let len = size.sums_len(self.outputs.len());
        let (mut all, mut sums) = (vec![F::zero(); len], vec![F::zero(); len]);
        for group in &self.order.0 {
            let mut block = WeightSums::new(size, self.outputs.clone(), &mut sums);
            for chain in group {
                let pieces = chain.iter().map(|rows| Piece {
                    rows: rows.len(),
                    d: (&d[place.offset + rows.start * place.row..], place.row),
                    inputs: [&map.x, &map.h].map(|input| match input {
                        Some(AffineInput { values, rows: place, .. }) => {
                            (&values[place.offset + rows.start * place.row..], place.row)
                        }
                        None => (&[][..], 0),
                    }),
                });
                block.add(&pieces.collect::<Vec<_>>());
            }
            block.finish();
            add(&mut all, &sums);
        }
        for to in self.of.destinations(&self.outputs) {
            to.mask(0, &mut all[to.part.clone()]);
        }
        all
    }
}

impl AffineSize {
    /// Elements of the sums of so many of a map's outputs.
    pub fn sums_len(&self, outputs: usize) -> usize {
        outputs * (self.widths[0] + self.widths[1] + usize::from(self.bias))
    }
}

impl<F> MaskedMap<'_, F> {
    /// Where the sums of some outputs go.
    fn destinations(&self, outputs: &Range<usize>) -> Vec<Destination> {
        let Affine { x, h, biases, .. } = self.map;
        let weights = [(x, None), (h, self.drop)].into_iter();
        let weights = weights.filter_map(|(input, drop)| input.as_ref().map(|input| (input.weight, input.width, drop)));
        let (mut destinations, mut len) = (Vec::new(), 0);
        for (place, columns, drop) in weights {
            let (part, first) = (len..len + outputs.len() * columns, outputs.start);
            len = part.end;
            destinations.push(Destination { place: place + first * columns, part, columns, first, drop });
        }
        destinations.extend(biases.iter().map(|place| Destination {
            place: place + outputs.start,
            part: len..len + outputs.len(),
            columns: 1,
            first: outputs.start,
            drop: None,
        }));
        destinations
    }
}

/// Rows of a map that lie equally far apart.
pub struct Piece<'a, F> {
    pub rows: usize,
    /// The gradients of the outputs, and how far apart their rows are.
    pub d: (&'a [F], usize),
    /// x and h likewise.
    pub inputs: [(&'a [F], usize); 2],
}

/// d_W_x, d_W_h and d_b of some outputs, one behind the other, while their rows come.
pub struct WeightSums<'a, F> {
    size: AffineSize,
    outputs: Range<usize>,
    sums: &'a mut [F],
    totals: Vec<f64>,     // of d_b
    packed: CpuBuffer<F>, // d of a chain
    panels: CpuBuffer<F>, // x or h of a chain
    columns: Vec<F>,      // [outputs]
}

impl<'a, F: Real> WeightSums<'a, F> {
    /// Sums of no row.
    pub fn new(size: AffineSize, outputs: Range<usize>, sums: &'a mut [F]) -> Self {
        sums.fill(F::zero());
        let (totals, columns) = (vec![0.0; outputs.len()], vec![F::zero(); outputs.len()]);
        let [packed, panels] = [0; 2].map(|len| CpuBuffer::of(F::zero(), len));
        Self { size, totals, outputs, sums, packed, panels, columns }
    }

    /// Adds a chain of rows, at most [`CHAIN`]. First what reads them from front to back: that waits least for them.
    pub fn add(&mut self, pieces: &[Piece<F>]) {
        let outputs = self.outputs.len();
        let first = |input: usize| if input == 0 { 0 } else { outputs * self.size.widths[0] };
        let places = [0, 1].map(first);
        for (input, width) in self.size.widths.into_iter().enumerate().filter(|&(_, width)| width <= NARROW) {
            for column in 0..width {
                self.weighted_sums(pieces, |piece| (&piece.inputs[input].0[column..], piece.inputs[input].1));
                let sums = self.sums[places[input] + column..].iter_mut().step_by(width);
                sums.zip(&self.columns).for_each(|(sum, &column)| *sum = *sum + column);
            }
        }
        if self.size.bias {
            let one = [F::one()];
            self.weighted_sums(pieces, |_| (&one, 0));
            self.totals.iter_mut().zip(&self.columns).for_each(|(total, sum)| *total += sum.double());
        }
        // An input of few columns would take up a whole panel.
        let wide = self.size.widths.into_iter().enumerate().filter(|&(_, width)| width > NARROW);
        let all = wide.clone().map(|(_, width)| width).sum();
        let len = |piece: &Piece<F>| columns_len(outputs, piece.rows, all);
        let mut rest = self.packed.room(pieces.iter().map(len).sum());
        let columns_of = |piece| {
            let (&Piece { rows, d: (d, apart), .. }, own) = (piece, rest.split_off_mut(..len(piece)));
            Left::columns(outputs, rows, all, (&d[self.outputs.start..], apart), own.expect("room for each piece"))
        };
        let columns: Vec<_> = pieces.iter().map(columns_of).collect();
        for (input, n) in wide {
            let mut rest = self.panels.room(pieces.iter().map(|piece| panels_len::<F>(piece.rows, n)).sum());
            let mut terms = Vec::with_capacity(pieces.len());
            for (Piece { rows, inputs, .. }, &a) in pieces.iter().zip(&columns) {
                let (panels, after) = rest.split_at_mut(panels_len::<F>(*rows, n));
                rest = after;
                let (values, row) = inputs[input];
                pack(*rows, n, Matrix::rows(0, row), values, panels);
                terms.push(Term { k: *rows, a, panels });
            }
            add_products(outputs, n, &terms, None, &mut self.sums[places[input]..][..outputs * n]);
        }
    }

    /// Puts the sums of d_b to the others.
    pub fn finish(self) {
        if self.size.bias {
            let first = self.sums.len() - self.outputs.len();
            self.sums[first..].iter_mut().zip(self.totals).for_each(|(sum, total)| *sum = F::of(total));
        }
    }

    /// The sums over the rows of d times x, whose rows are as far apart as it says.
    fn weighted_sums<'b>(&mut self, pieces: &'b [Piece<F>], x: impl Fn(&'b Piece<F>) -> (&'b [F], usize)) {
        let rows = |piece: &'b Piece<F>| {
            let (d, (x, x_row)) = (&piece.d.0[self.outputs.start..], x(piece));
            WeightedRows { rows: piece.rows, d, d_row: piece.d.1, x, x_row }
        };
        dispatch(Weighted { pieces: &pieces.iter().map(rows).collect::<Vec<_>>(), sums: &mut self.columns });
    }
}

/// The mean of each column of some rows.
pub fn means<F: Real>(rows: &[F], columns: usize) -> Vec<F> {
    let (count, mut means) = (rows.len() / columns, vec![F::zero(); columns]);
    let share = [F::of(1.0 / count as f64)];
    let rows = WeightedRows { rows: count, d: rows, d_row: columns, x: &share, x_row: 0 };
    dispatch(Weighted { pieces: &[rows], sums: &mut means });
    means
}

/// Rows of d, each with its x.
struct WeightedRows<'a, F> {
    rows: usize,
    d: &'a [F], // d_row apart
    d_row: usize,
    x: &'a [F], // x_row apart
    x_row: usize,
}

/// The sums of rows of d, each times its x.
struct Weighted<'a, F> {
    pieces: &'a [WeightedRows<'a, F>],
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
        for piece in self.pieces {
            for row in 0..piece.rows {
                let x = Wide::splat(simd, piece.x[row * piece.x_row]);
                let [d] = registers::<F, S, 1>([&piece.d[row * piece.d_row + first..][..len]], &(0..len));
                for (sum, &d) in sums.iter_mut().zip(d) {
                    *sum = Wide::of(simd, d).mul_add(x, *sum);
                }
            }
        }
        let [to] = registers_mut::<F, S, 1>([&mut self.sums[first..][..len]], &(0..len));
        to.iter_mut().zip(sums).for_each(|(to, sum)| *to = sum.lanes());
    }
}
