//! Forward: each thread takes a few sequences through all layers.

use std::ops::Range;

use super::norm::ForwardNormStep;
use super::steps::ForwardStep;
use super::tiles::{Before, Tile, cut, paired, tile_size, tiles};
use super::zone::Zone;
use super::{Packs, Recurrence, Tape};
use crate::device::threads::prelude::*;
use crate::device::wide::dispatch;
use crate::device::{Cpu, CpuBuffer, Real};
use crate::kernels::dropout::{Dropout, Masks, Source, drop_rows};
use crate::kernels::lstm::packing::Step;
use crate::kernels::lstm::{LstmState, LstmTape, Pass};
use crate::kernels::product::{Left, Term, add_products, pack_together};
use crate::kernels::weight_gradients::means;
use crate::kernels::{CellTape, DropShape, LayerTape, LstmShape, Matrix};

/// Runs the stack forward.
pub fn forward<F: Real>(
    device: &Cpu<F>,
    pass: &Pass,
    params: &[F],
    (x, first): (&CpuBuffer<F>, usize),
    start: Option<&LstmState<CpuBuffer<F>>>,
    tape: &mut Tape<F>,
) {
    let shape = pass.shape;
    let LstmTape { layers, sequences, packed, dropped, .. } = tape;
    drop_weights(pass, params, dropped);
    let (batch, hidden, width) = (pass.batch(), shape.hidden_size, shape.width());
    let (tile, steps) = (tile_size(pass), pass.packing.actives());
    let mut stacks: Vec<_> = (0..batch.div_ceil(tile)).map(|_| Vec::new()).collect();
    let (mut cells, mut packs) = (Vec::new(), Packs::new());
    for (layer, LayerTape { cells: tapes, y, x }) in layers.iter_mut().enumerate() {
        let [mut y, mut x] = [y, x].map(|rows| cut(rows, tile, &steps, shape.output_size()));
        for stack in &mut stacks {
            let [y, x] = [&mut y, &mut x].map(|tiles| tiles.next().unwrap_or_default());
            stack.push(LayerTile { cells: Vec::new(), y, x });
        }
        for (direction, tape) in tapes.iter_mut().enumerate() {
            let CellTape { gates, h_in, c, u, mask, norm, .. } = tape;
            let recurrence = Recurrence::new(pass, layer, direction, params);
            let weights = Weights::add(&recurrence, dropped, &mut packs);
            let start = start.map(|start| {
                let (h, c) = pass.state_places(recurrence.cell);
                (&start.h[h], &start.c[c])
            });
            match start {
                Some((_, start)) => c[..batch * hidden].copy_from_slice(start),
                None => c[..batch * hidden].fill(F::zero()),
            }
            let drop = pass.recurrent_drop(recurrence.cell);
            if let Some(drop) = &drop {
                let shape = DropShape { rows: batch, columns: width, first: 0, masks: Masks::Each };
                device.dropout(drop, &shape, sequences, Source::Ones, (mask, 1), false);
            }
            for (stack, tile) in stacks.iter_mut().zip(tiles(pass, gates, h_in, c, u, norm)) {
                stack[layer].cells.push(tile);
            }
            let mask = drop.map(|_| &mask[1..][..batch * width]);
            cells.push(Cell { recurrence, weights, start: start.map(|(h, _)| h), mask });
        }
    }
    pack_together(&packs.all, packed);
    let walk = Walk { pass, cells, packed, sequences, x: &x[first..] };
    paired(stacks).into_par_iter().with_max_len(1).for_each(|stack| walk.stack(stack));
}

/// Weight drop, of all layers and directions in one go.
fn drop_weights<F: Real>(pass: &Pass, params: &[F], dropped: &mut [F]) {
    let (shape, elements) = (pass.shape, pass.weight_elements());
    let (mut blocks, mut matrices) = (Vec::new(), dropped.chunks_exact_mut(shape.gates() * shape.width()));
    for (cell, (layer, direction)) in shape.places().enumerate() {
        let Some(drop) = pass.weight_drop(cell) else { return };
        let weights = &params[shape.cell(layer, direction).weight_hh..];
        let matrix = matrices.next().expect("one for each layer and direction");
        let rows = matrix.chunks_mut(DROPPED_ROWS * shape.width()).zip((0..).step_by(DROPPED_ROWS));
        blocks.extend(rows.map(|(to, first)| (drop, weights, first, to)));
    }
    blocks.into_par_iter().for_each(|(drop, weights, first, to)| {
        drop_rows(&drop, &elements, first, &[], Source::Values(weights, first * shape.width()), to, false);
    });
}

/// Rows of a recurrent matrix that one thread drops in one go.
const DROPPED_ROWS: usize = 64;

/// A layer of a thread's sequences.
struct LayerTile<'a, F> {
    cells: Vec<Tile<'a, F>>,
    y: Vec<&'a mut [F]>, // T of [n, R · P], where that is not in h_in
    x: Vec<&'a mut [F]>, // likewise, with dropout
}

impl<'a, F> LayerTile<'a, F> {
    /// T of [n, R · P].
    fn output(&self, shape: &LstmShape) -> &[&'a mut [F]] {
        if shape.shares_output() { &self.cells[0].h_in[1..] } else { &self.y }
    }
}

/// What the threads read of one layer and direction.
struct Cell<'a, F> {
    recurrence: Recurrence<'a, F>,
    weights: Weights,
    start: Option<&'a [F]>, // [N, P], h
    mask: Option<&'a [F]>,  // [N, P]
}

/// Where among the packed weights those lie that forward steps multiply by.
struct Weights {
    ih: Range<usize>, // [D, 4H]
    hh: Range<usize>, // [P, 4H]
    hr: Range<usize>, // [H, P]
}

impl Weights {
    fn add<'a, F: Real>(recurrence: &Recurrence<'a, F>, dropped: &'a [F], packs: &mut Packs<'a, F>) -> Self {
        let shape = recurrence.pass.shape;
        let (gates, hidden, width) = (shape.gates(), shape.hidden_size, shape.width());
        let input = shape.layer_inputs(recurrence.layer);
        let mut add = |k, n, weights, less| packs.add(k, n, Matrix::rows(0, k).transposed(), weights, less);
        let (w_ih, w_hh) = (recurrence.weight_ih, recurrence.weights(dropped));
        let normed = recurrence.norm.is_some();
        let less = |weights, inputs| if normed { means(weights, inputs) } else { Vec::new() };
        Self {
            ih: add(input, gates, w_ih, less(w_ih, input)),
            hh: add(width, gates, w_hh, less(w_hh, width)),
            hr: recurrence.weight_hr.map_or(0..0, |w_hr| add(hidden, width, w_hr, Vec::new())),
        }
    }
}

/// What the threads read of all.
struct Walk<'a, F> {
    pass: &'a Pass<'a>,
    cells: Vec<Cell<'a, F>>,
    packed: &'a [F],
    sequences: &'a [u32],
    x: &'a [F], // [rows, D]
}

/// A layer's input, `rows` apart at each of the time steps.
#[derive(Clone, Copy)]
struct Input<'a, F> {
    steps: &'a [&'a [F]], // T of [n, D]
    row: usize,
}

impl<F: Real> Walk<'_, F> {
    /// A thread's sequences through all layers.
    fn stack(&self, mut layers: Vec<LayerTile<F>>) {
        let (pass, shape) = (self.pass, self.pass.shape);
        for layer in 0..shape.num_layers {
            let (below, own) = layers.split_at_mut(layer);
            let LayerTile { cells, y, x } = &mut own[0];
            let sequence = cells[0].first;
            let first = |t: usize| pass.packing.row(t) + sequence;
            let mut steps: Vec<&[F]> = match below.last() {
                Some(below) => below.output(shape).iter().map(|y| &**y).collect(),
                None => (0..cells[0].steps()).map(|t| &self.x[first(t) * shape.input_size..]).collect(),
            };
            if let Some(drop) = pass.input_drop(layer) {
                let elements = pass.input_elements(&(0..pass.rows()));
                for (t, (x, y)) in x.iter_mut().zip(&steps).enumerate() {
                    drop_rows(&drop, &elements, first(t), self.sequences, Source::Values(y, 0), x, false);
                }
                steps = x.iter().map(|x| &**x).collect();
            }
            let input = Input { steps: &steps, row: shape.layer_inputs(layer) };
            for (direction, tile) in cells.iter_mut().enumerate() {
                self.cell(&self.cells[layer * shape.directions() + direction], tile, input, y);
            }
        }
    }

    /// One layer and direction of them.
    fn cell(&self, cell: &Cell<F>, tile: &mut Tile<F>, input: Input<F>, y: &mut [&mut [F]]) {
        let Cell { recurrence, start, mask, .. } = cell;
        let (pass, shape) = (self.pass, self.pass.shape);
        let rows = tile.first * shape.width()..(tile.first + tile.count) * shape.width();
        let mut h = start.map_or(vec![F::zero(); rows.len()], |h| h[rows.clone()].to_vec());
        if recurrence.shared {
            tile.h_in[0].copy_from_slice(&h);
        }
        let mask = mask.map(|mask| &mask[rows]);
        let mut zone = Zone::new(pass, recurrence.cell, tile);
        // Apart from what is kept of each step, so that it stays in a core's own cache.
        let mut z = CpuBuffer::of(F::zero(), if recurrence.norm.is_some() { 0 } else { tile.count * shape.gates() });
        let first = tile.first;
        for step in pass.packing.walk(recurrence.reverse()).filter(|step| step.present > first) {
            // A start state that is zero takes no product.
            let from_zero = start.is_none() && tile.rows(step.ongoing) == 0;
            let weights = (&cell.weights, self.packed);
            recurrence.forward_step(&step, tile, input, weights, from_zero, mask, &mut z, &mut zone, &mut h, y);
        }
    }
}

impl<F: Real> Recurrence<'_, F> {
    /// One time step of a tile, `from_zero` if the h before it is zero; `z` takes the gates before activation `[n, 4H]`, but not
    /// with layer normalisation, and `h` `[n, P]` goes from step to step unless it lies in `h_in`;
    /// `y` is written where it does not.
    fn forward_step(
        &self,
        step: &Step,
        tile: &mut Tile<F>,
        input: Input<F>,
        (weights, packed): (&Weights, &[F]),
        from_zero: bool,
        mask: Option<&[F]>,
        z: &mut [F],
        zone: &mut Option<Zone<F>>,
        h: &mut [F],
        y: &mut [&mut [F]],
    ) {
        let (hidden, width) = (self.pass.shape.hidden_size, self.pass.shape.width());
        let (t, n) = (step.t, tile.rows(step.present));
        let ongoing = tile.rows(step.ongoing);
        let (h_before, h_after) = tile.h_in.split_at_mut(t + 1);
        let h_in = &mut *h_before[t];
        if !self.shared {
            match mask {
                Some(mask) => h_in.iter_mut().zip(&*h).zip(mask).for_each(|((to, &h), &mask)| *to = h * mask),
                None => h_in.copy_from_slice(&h[..n * width]),
            }
        }
        let [w_ih, w_hh, w_hr] = [&weights.ih, &weights.hh, &weights.hr].map(|place| &packed[place.clone()]);
        let from_x = Term { k: input.row, a: Left::Rows(input.steps[t], input.row), panels: w_ih };
        let from_h = Term { k: width, a: Left::Rows(h_in, width), panels: w_hh };
        let biases = Some(&self.biases[..]);
        let z = if self.norm.is_some() { &mut *tile.norm[t].a } else { z };
        let terms = [from_x, from_h];
        add_products(n, 4 * hidden, &terms[..if from_zero { 1 } else { 2 }], biases, z);
        let mut fresh = if self.shared { Vec::new() } else { vec![F::zero(); n * width] };
        let h_t = if self.shared { &mut *h_after[0] } else { &mut fresh[..] };
        let (before, c_t) = Before::of(&mut tile.c, t, self.reverse(), ongoing * hidden, n * hidden);
        let u = if self.weight_hr.is_some() { &mut *tile.u[t] } else { &mut *h_t };
        let at = ongoing * hidden;
        let (c_1, c_2) = c_t.split_at_mut(at);
        let (u_1, u_2) = u.split_at_mut(at);
        let parts = [(before.ongoing, c_1, u_1), (before.starting, c_2, u_2)].into_iter();
        match &self.norm {
            Some(own) => {
                let kept = tile.norm[t].split_at(ongoing, hidden);
                let gates: [_; 2] = tile.gates[t].split_at_mut(4 * at).into();
                for (((c_before, c_t, h_t), kept), gates) in parts.zip(kept).zip(gates) {
                    dispatch(ForwardNormStep { own, kept, gates, c_before, c_t, h_t });
                }
            }
            None => {
                let (z_1, z_2) = z.split_at(4 * at);
                let (gates_1, gates_2) = tile.gates[t].split_at_mut(4 * at);
                for ((c_before, c_t, h_t), (z, gates)) in parts.zip([(z_1, gates_1), (z_2, gates_2)]) {
                    dispatch(ForwardStep { z, gates, c_before, c_t, h_t, hidden });
                }
            }
        }
        if self.weight_hr.is_some() {
            let u = Term { k: hidden, a: Left::Rows(&*tile.u[t], hidden), panels: w_hr };
            h_t.fill(F::zero());
            add_products(n, width, &[u], None, h_t);
        }
        if let Some(zone) = zone {
            zone.draw(t, n);
            zone.keep_h(if self.shared { h_in } else { &*h }, h_t);
            zone.keep_c(&before, c_t);
        }
        if !self.shared {
            h[..n * width].copy_from_slice(h_t);
            let (outputs, column) = (self.pass.shape.output_size(), self.direction * width);
            let rows = y[t].chunks_exact_mut(outputs).zip(h_t.chunks_exact(width));
            rows.for_each(|(y, h)| y[column..][..width].copy_from_slice(h));
        }
    }
}
