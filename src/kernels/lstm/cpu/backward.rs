//! Back through time: each thread takes a few sequences back through all layers and sums the gradients of the weights on the
//! way, where these are few enough to stay in its core's own cache.

use std::ops::Range;

use super::norm::{BackwardNormStep, Sums};
use super::steps::BackwardStep;
use super::tiles::{Before, Groups, Tile, chains, cut, paired, tile_size, tiles, with_earlier};
use super::zone::Zone;
use super::{Packs, Recurrence, Tape};
use crate::device::threads::prelude::*;
use crate::device::wide::dispatch;
use crate::device::{Cpu, CpuBuffer, Real};
use crate::kernels::dropout::{Source, drop_rows};
use crate::kernels::lstm::packing::Step;
use crate::kernels::lstm::tape::output_in;
use crate::kernels::lstm::{
    LstmGradients, LstmState, LstmTape, Pass, affine_maps, input_gradient, input_of, projection_gradient,
};
use crate::kernels::product::{Left, Term, add_products, pack_together};
use crate::kernels::weight_gradients::{MaskedMap, Piece, RowOrder, WeightSums, add_groups, weight_gradients_in_order};
use crate::kernels::{AffineSize, CellTape, LayerTape, Matrix};

/// Runs the stack back.
pub fn backward<F: Real>(
    device: &Cpu<F>,
    pass: &Pass,
    params: &CpuBuffer<F>,
    x: (&CpuBuffer<F>, usize),
    tape: &mut Tape<F>,
    gradients: LstmGradients<CpuBuffer<F>>,
) {
    let LstmGradients { d_y, from, d_final, d_params, mut d_x, d_start } = gradients;
    let places: Vec<_> = pass.shape.places().collect();
    let groups = Groups::of(pass);
    let on_the_way = groups.filter(Groups::busy_all_threads);
    let sums = on_the_way.map(|groups| {
        let sizes = |&(layer, direction): &(usize, usize)| {
            let maps = affine_maps::<Cpu<F>>(pass, (layer, direction), x, &tape.layers).into_iter();
            maps.map(|map| map.size()).find(|size| Groups::take(pass.shape, layer, size))
        };
        OnTheWay { together: groups.together, sizes: places.iter().map(sizes).collect() }
    });
    walk(pass, params, x, tape, (d_y, from), (d_final, d_start.is_some()), sums);
    if let Some(state) = d_start {
        for (cell, &(layer, direction)) in places.iter().enumerate() {
            let (h, c) = pass.state_places(cell);
            let (d_h, d_c) = tape.layers[layer].cells[direction].d_state.split_at(h.len());
            state.h[h].copy_from_slice(d_h);
            state.c[c.clone()].copy_from_slice(&d_c[..c.len()]);
        }
    }
    let later = groups.filter(|_| on_the_way.is_none());
    let orders = later.map(|groups| [false, true].map(|reverse| groups.order(pass, reverse)));
    let (mut summed, mut others) = (Vec::new(), Vec::new());
    let of_cell = |&place: &(usize, usize)| affine_maps::<Cpu<F>>(pass, place, x, &tape.layers);
    let maps: Vec<_> = places.iter().map(of_cell).collect();
    for (cell, (&(layer, direction), maps)) in places.iter().zip(&maps).enumerate() {
        for map in maps {
            let of = MaskedMap { map, drop: pass.weight_drop(cell) };
            let grouped = groups.is_some() && Groups::take(pass.shape, layer, &map.size());
            match &orders {
                None if grouped => summed.push(of),
                Some(orders) if grouped => others.push((of, orders[direction].clone())),
                _ => others.push((of, RowOrder::of(map.rows))),
            }
        }
    }
    if let Some(Groups { count, .. }) = on_the_way {
        add_groups(&summed, count, &tape.scratch, d_params);
    }
    weight_gradients_in_order(&others, d_params);
    for &place in &places {
        projection_gradient(device, pass, place, tape, d_params);
        // Those of the other layers have been handed down.
        if let Some((d_x, at)) = d_x.as_mut().filter(|_| place.0 == 0) {
            input_gradient(device, pass, place, params, 0..pass.rows(), &tape.layers, (d_x, *at));
        }
    }
}

/// The sums of weights' gradients that are made on the way.
struct OnTheWay {
    together: usize,                // tiles that make one sum
    sizes: Vec<Option<AffineSize>>, // of the map of each layer and direction, if it is among them
}

/// A thread's sequences.
struct Stack<'a, F> {
    cells: Vec<CellTile<'a, F>>,
    between: Vec<&'a mut [F]>, // T of [n, R · P], the gradient that a layer hands down
}

/// One layer and direction of them.
struct CellTile<'a, F> {
    tile: Tile<'a, F>,
    d_h: &'a mut [F], // [n, P], goes from step to step
    d_c: &'a mut [F], // [n, H]
}

/// What the threads read of one layer and direction.
struct Cell<'a, F> {
    recurrence: Recurrence<'a, F>,
    weights: Weights,
    h_in: &'a [F],         // [rows, P]
    mask: Option<&'a [F]>, // [N, P]
}

/// Where among the packed weights those lie that backward steps multiply by.
struct Weights {
    hh: Range<usize>, // [4H, P]
    hr: Range<usize>, // [P, H]
    ih: Range<usize>, // [4H, D], not of the first layer
}

/// What the threads read of all.
struct Walk<'a, F> {
    pass: &'a Pass<'a>,
    cells: Vec<Cell<'a, F>>,
    inputs: Vec<(&'a [F], Matrix)>, // of the layers
    packed: &'a [F],
    sequences: &'a [u32],
    d_y: (&'a [F], usize),
    wants_start: bool,
}

/// Takes all sequences back through all layers; `sums` come into the tape's scratch, one group's after the other's.
fn walk<F: Real>(
    pass: &Pass,
    params: &[F],
    x: (&CpuBuffer<F>, usize),
    tape: &mut Tape<F>,
    (d_y, from): (&CpuBuffer<F>, usize),
    (d_final, wants_start): (Option<&LstmState<CpuBuffer<F>>>, bool),
    sums: Option<OnTheWay>,
) {
    let LstmTape { layers, sequences, between, packed, dropped, scratch, .. } = tape;
    let (shape, tile) = (pass.shape, tile_size(pass));
    let (batch, hidden, width) = (pass.batch(), shape.hidden_size, shape.width());
    let mut between = cut(between, tile, &pass.packing.actives(), shape.output_size());
    let stack = |_| Stack { cells: Vec::new(), between: between.next().unwrap_or_default() };
    let mut stacks: Vec<_> = (0..batch.div_ceil(tile)).map(stack).collect();
    let (mut cells, mut inputs, mut below) = (Vec::new(), Vec::new(), None);
    let mut packs = Packs::new();
    for (layer, LayerTape { cells: tapes, y, x: after_dropout }) in layers.iter_mut().enumerate() {
        inputs.push(input_of(pass, layer, x, below, &*after_dropout));
        below = None;
        for (direction, tape) in tapes.iter_mut().enumerate() {
            let CellTape { gates, h_in, c, d_h, d_state, mask, norm, .. } = tape;
            let recurrence = Recurrence::new(pass, layer, direction, params);
            let weights = Weights::add(&recurrence, dropped, &mut packs);
            let (d_h_t, d_c_t) = d_state[..batch * (width + hidden)].split_at_mut(batch * width);
            match d_final {
                Some(state) => {
                    let (h, c) = pass.state_places(recurrence.cell);
                    d_h_t.copy_from_slice(&state.h[h]);
                    d_c_t.copy_from_slice(&state.c[c]);
                }
                None => {
                    d_h_t.fill(F::zero());
                    d_c_t.fill(F::zero());
                }
            }
            let carried = d_h_t.chunks_mut(tile * width).zip(d_c_t.chunks_mut(tile * hidden));
            let tiles = tiles(pass, gates, &mut [], c, d_h, norm).into_iter().zip(carried);
            for (stack, (tile, (d_h, d_c))) in stacks.iter_mut().zip(tiles) {
                stack.cells.push(CellTile { tile, d_h, d_c });
            }
            let (h_in, mask) = (&*h_in, &*mask);
            below = below.or(Some(output_in(shape, pass.packing, h_in, &*y)));
            let mask = pass.recurrent_drop(recurrence.cell).map(|_| &mask[1..][..batch * width]);
            cells.push(Cell { recurrence, weights, h_in, mask });
        }
    }
    pack_together(&packs.all, packed);
    let inputs = inputs.into_iter().map(|(values, place)| (&values[..], place)).collect();
    let walk = Walk { pass, cells, inputs, packed, sequences, d_y: (d_y, from), wants_start };
    let stacks = paired(stacks);
    let Some(OnTheWay { together, sizes }) = sums else {
        return stacks.into_par_iter().with_max_len(1).for_each(|stack| walk.stack(stack, None));
    };
    let len: usize = sizes.iter().flatten().map(|size| size.sums_len(size.outputs)).sum();
    let (mut groups, mut stacks, mut scratch) = (Vec::new(), stacks.into_iter(), &mut scratch[..]);
    while stacks.len() > 0 {
        let (sums, rest) = scratch.split_at_mut(len);
        scratch = rest;
        groups.push((stacks.by_ref().take(together).collect::<Vec<_>>(), sums));
    }
    groups.into_par_iter().with_max_len(1).for_each(|(stacks, mut rest)| {
        let mut sum = |size: AffineSize| {
            let (sums, after) = std::mem::take(&mut rest).split_at_mut(size.sums_len(size.outputs));
            rest = after;
            WeightSums::new(size, 0..size.outputs, sums)
        };
        let mut sums: Vec<_> = sizes.iter().map(|size| size.map(&mut sum)).collect();
        stacks.into_iter().for_each(|stack| walk.stack(stack, Some(&mut sums)));
        sums.into_iter().flatten().for_each(WeightSums::finish);
    });
}

impl Weights {
    fn add<'a, F: Real>(recurrence: &Recurrence<'a, F>, dropped: &'a [F], packs: &mut Packs<'a, F>) -> Self {
        let shape = recurrence.pass.shape;
        let (gates, hidden, width) = (shape.gates(), shape.hidden_size, shape.width());
        let input = if recurrence.layer > 0 { shape.layer_inputs(recurrence.layer) } else { 0 };
        let mut add = |k, n, weights| packs.add(k, n, Matrix::rows(0, n), weights, Vec::new());
        Self {
            hh: add(gates, width, recurrence.weights(dropped)),
            hr: recurrence.weight_hr.map_or(0..0, |w_hr| add(width, hidden, w_hr)),
            ih: add(gates, input, recurrence.weight_ih),
        }
    }
}

impl<F: Real> Walk<'_, F> {
    /// A thread's sequences through all layers.
    fn stack(&self, stack: Stack<F>, mut sums: Option<&mut Vec<Option<WeightSums<F>>>>) {
        let (pass, shape) = (self.pass, self.pass.shape);
        let Stack { mut cells, mut between } = stack;
        for layer in (0..shape.num_layers).rev() {
            let own = layer * shape.directions()..(layer + 1) * shape.directions();
            let top = layer + 1 == shape.num_layers;
            for cell in own.clone() {
                let sums = sums.as_mut().and_then(|sums| sums[cell].as_mut());
                self.cell(layer, cell, &mut cells[cell], if top { None } else { Some(&between) }, sums);
            }
            if layer == 0 {
                continue;
            }
            // Both directions have read the gradient from above before it is replaced by the one for below.
            let zeros = vec![F::zero(); shape.output_size()];
            for cell in own {
                let onto = if cell % shape.directions() == 0 { Some(&zeros[..]) } else { None };
                let (tile, w_ih) = (&cells[cell].tile, &self.packed[self.cells[cell].weights.ih.clone()]);
                for (t, d_x) in between.iter_mut().enumerate() {
                    let d_gates = Left::Rows(&*tile.gates[t], shape.gates());
                    let term = Term { k: shape.gates(), a: d_gates, panels: w_ih };
                    add_products(d_x.len() / zeros.len(), zeros.len(), &[term], onto, d_x);
                }
            }
            if let Some(drop) = pass.input_drop(layer) {
                let elements = pass.input_elements(&(0..pass.rows()));
                for (t, d_x) in between.iter_mut().enumerate() {
                    let row = pass.packing.row(t) + cells[0].tile.first;
                    drop_rows(&drop, &elements, row, self.sequences, Source::Itself, d_x, false);
                }
            }
        }
    }

    /// One layer and direction of them; the gradient of its output is `above`, or at the top what the stack was given.
    fn cell(
        &self,
        layer: usize,
        cell: usize,
        CellTile { tile, d_h, d_c }: &mut CellTile<F>,
        above: Option<&[&mut [F]]>,
        mut sums: Option<&mut WeightSums<F>>,
    ) {
        let (pass, shape) = (self.pass, self.pass.shape);
        let Cell { recurrence, weights, h_in, mask } = &self.cells[cell];
        let width = shape.width();
        let mask = mask.map(|mask| &mask[tile.first * width..][..tile.count * width]);
        let mut zone = Zone::new(pass, cell, tile);
        tile.sums.fill(F::zero());
        for chain in chains(pass, tile.first..tile.first + tile.count, recurrence.reverse()) {
            for step in &chain {
                let d_y = match above {
                    Some(above) => Some(&*above[step.t]),
                    None => self.d_y(step.t, tile),
                };
                let wanted = self.wants_start || tile.rows(step.ongoing) > 0;
                recurrence.backward_step(step, tile, (weights, self.packed), d_y, wanted, mask, &mut zone, (d_h, d_c));
            }
            if let Some(sums) = &mut sums {
                let ((x, place), first) = (self.inputs[layer], tile.first);
                let pieces = chain.iter().map(|step| Piece {
                    rows: tile.rows(step.present),
                    d: (&*tile.gates[step.t], shape.gates()),
                    inputs: [
                        (&x[place.offset + (step.row + first) * place.row..], place.row),
                        (&h_in[(step.row + first) * width..], width),
                    ],
                });
                sums.add(&pieces.collect::<Vec<_>>());
            }
        }
    }

    /// The gradient of the top layer's output at step `t`, `[n, R · P]`.
    fn d_y(&self, t: usize, tile: &Tile<F>) -> Option<&[F]> {
        let ((d_y, from), packing, outputs) = (self.d_y, self.pass.packing, self.pass.shape.output_size());
        let row = |t| packing.row(t) * outputs;
        (t >= from).then(|| &d_y[row(t) - row(from) + tile.first * outputs..][..tile.rows(packing.active(t)) * outputs])
    }
}

impl<F: Real> Recurrence<'_, F> {
    /// One time step of a tile, backwards; `d_h` `[n, P]` and `d_c` `[n, H]` go from step to step, to the one before only if
    /// `wanted` there.
    fn backward_step(
        &self,
        step: &Step,
        tile: &mut Tile<F>,
        (weights, packed): (&Weights, &[F]),
        d_y: Option<&[F]>,
        wanted: bool,
        mask: Option<&[F]>,
        zone: &mut Option<Zone<F>>,
        (d_h, d_c): (&mut [F], &mut [F]),
    ) {
        let (hidden, width) = (self.pass.shape.hidden_size, self.pass.shape.width());
        let (t, n) = (step.t, tile.rows(step.present));
        let (d_h, d_c) = (&mut d_h[..n * width], &mut d_c[..n * hidden]);
        if let Some(d_y) = d_y {
            let d_y = d_y.chunks_exact(self.pass.shape.output_size());
            for (d_h, d_y) in d_h.chunks_exact_mut(width).zip(d_y) {
                d_h.iter_mut().zip(&d_y[self.direction * width..]).for_each(|(d_h, &d_y)| *d_h = *d_h + d_y);
            }
        }
        let ongoing = tile.rows(step.ongoing);
        let at = ongoing * hidden;
        let (before, c_t) = Before::of(&mut tile.c, t, self.reverse(), at, n * hidden);
        let mut c_t = &*c_t;
        if let Some(zone) = zone {
            zone.draw(t, n);
            zone.split(d_h, d_c);
            if self.norm.is_none() {
                c_t = zone.cell_before_zoneout(&*tile.gates[t], &before);
            }
        }
        let mut d_u_t = Vec::new();
        if self.weight_hr.is_some() {
            tile.u[t].copy_from_slice(d_h);
            d_u_t.resize(n * hidden, F::zero());
            let d_h = Term { k: width, a: Left::Rows(d_h, width), panels: &packed[weights.hr.clone()] };
            add_products(n, hidden, &[d_h], None, &mut d_u_t);
        }
        let d_u = if self.weight_hr.is_some() { &mut d_u_t[..] } else { &mut *d_h };
        let (d_u_1, d_u_2) = d_u.split_at_mut(at);
        let (d_c_1, d_c_2) = d_c.split_at_mut(at);
        let parts = [([before.ongoing, &c_t[..at]], d_u_1, d_c_1), ([before.starting, &c_t[at..]], d_u_2, d_c_2)];
        let (gates, gates_ahead) = with_earlier(&mut tile.gates, t, self.reverse());
        let gates: [_; 2] = gates.split_at_mut(4 * at).into();
        let parts = parts.into_iter().zip(gates);
        let ahead = gates_ahead.filter(|_| tile.far).map_or(&[][..], |gates| &gates[..4 * at]);
        match &self.norm {
            Some(own) => {
                let (kept, kept_ahead) = with_earlier(&mut tile.norm, t, self.reverse());
                let a_ahead = kept_ahead.filter(|_| tile.far).map_or(&[][..], |kept| &kept.a[..4 * at]);
                let [kept, starting] = kept.split_at(ongoing, hidden);
                let kept = [(kept, 0, [ahead, a_ahead]), (starting, ongoing, [&[][..]; 2])];
                for ((([c_before, _], d_h, d_c), gates), (kept, first, ahead)) in parts.zip(kept) {
                    let sums = Sums { values: tile.sums, first };
                    dispatch(BackwardNormStep { own, kept, gates, c_before, d_h, d_c, sums, ahead });
                }
            }
            None => {
                for (((c, d_h, d_c), gates), ahead) in parts.zip([ahead, &[]]) {
                    dispatch(BackwardStep { gates, c, d_h, d_c, hidden, ahead });
                }
            }
        }
        if !wanted {
            return;
        }
        d_h.fill(F::zero());
        let d_gates = Left::Rows(&*tile.gates[t], 4 * hidden);
        let d_gates = Term { k: 4 * hidden, a: d_gates, panels: &packed[weights.hh.clone()] };
        add_products(n, width, &[d_gates], None, d_h);
        if let Some(mask) = mask {
            d_h.iter_mut().zip(mask).for_each(|(d_h, &mask)| *d_h = *d_h * mask);
        }
        if let Some(zone) = zone {
            zone.add_kept(d_h, d_c);
        }
    }
}
