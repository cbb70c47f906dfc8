//! On the CPU, and so the definition: each thread takes a few sequences through all time steps.

mod norm;
mod steps;
mod tiles;
mod zone;

use super::packing::Step;
use super::{
    Lstm, LstmGradients, LstmShape, LstmState, LstmTape, Pass, after_layer, after_recurrence, before_layer,
    drop_weights, input_of, weight_gradients,
};
use crate::device::threads::{in_pool, prelude::*};
use crate::device::wide::dispatch;
use crate::device::{Cpu, Device, Real};
use crate::error::Result;
use crate::kernels::dropout::{Dropout, Masks, Source};
use crate::kernels::product::{Left, Term, add_products, pack_together, panels_len};
use crate::kernels::{DropShape, LayerTape, Matrix};
use norm::{BackwardNormStep, ForwardNormStep, GatesAgain, NormParameters, Sums};
use steps::{BackwardStep, ForwardStep};
use tiles::{Before, Tile, tile_size, tiles};
use zone::Zone;

type Tape<F> = LstmTape<Vec<F>, Vec<u32>>;

impl<F: Real> Lstm for Cpu<F> {
    const REMAKES_GATES: bool = true;
    // So that less of a core's own cache passes by at each step; tiles are multiples of it.
    const SUMMED_TOGETHER: usize = 4;

    fn lstm_forward(
        &self,
        pass: &Pass,
        params: &Vec<F>,
        x: (&Vec<F>, usize),
        start: Option<&LstmState<Vec<F>>>,
        tape: &mut Tape<F>,
    ) {
        in_pool(|| {
            for layer in 0..pass.shape.num_layers {
                before_layer(self, pass, layer, 0..pass.rows(), tape);
                for direction in 0..pass.shape.directions() {
                    drop_weights(self, pass, (layer, direction), params, tape);
                    Recurrence::new(pass, layer, direction, params).forward(self, x, start, tape);
                }
            }
        });
    }

    async fn lstm_gates(
        &self,
        pass: &Pass<'_>,
        params: &Vec<F>,
        (layer, direction): (usize, usize),
        tape: &Tape<F>,
    ) -> Result<Vec<f32>> {
        let (len, cell) = (pass.rows() * pass.shape.gates(), &tape.layers[layer].cells[direction]);
        let Some(own) = Recurrence::new(pass, layer, direction, params).norm else {
            return self.read_f32(&cell.gates, 0..len).await;
        };
        let places = pass.norm_places::<Self>();
        let mut gates = vec![F::zero(); len];
        let normed = [places.ih, places.hh].map(|place| &cell.norm[place..][..len]);
        dispatch(GatesAgain { own: &own, normed, gates: &mut gates, hidden: pass.shape.hidden_size });
        Ok(gates.iter().map(|gate| gate.double() as f32).collect())
    }

    fn lstm_final_state(&self, pass: &Pass, tape: &Tape<F>, last: &Vec<u32>, state: &mut LstmState<Vec<F>>) {
        let (shape, batch) = (pass.shape, pass.batch());
        let (hidden, width) = (shape.hidden_size, shape.width());
        let last = |n: usize| last[n] as usize;
        for cell in 0..shape.cells() {
            let (layer, direction) = (cell / shape.directions(), cell % shape.directions());
            let (y, place) = tape.output(shape, pass.packing, layer);
            for n in 0..batch {
                let row = match (direction, pass.packing.is_even()) {
                    (1, _) => n,
                    (_, true) => pass.packing.row(pass.packing.steps() - 1) + n,
                    _ => last(n),
                };
                let h = &y[place.offset + row * place.row + direction * width..][..width];
                state.h[pass.h_at(cell) + n * width..][..width].copy_from_slice(h);
                let c = &tape.layers[layer].cells[direction].c[(batch + row) * hidden..][..hidden];
                state.c[pass.c_at(cell) + n * hidden..][..hidden].copy_from_slice(c);
            }
        }
    }

    fn lstm_backward(
        &self,
        pass: &Pass,
        params: &Vec<F>,
        x: (&Vec<F>, usize),
        tape: &mut Tape<F>,
        gradients: LstmGradients<Vec<F>>,
    ) {
        in_pool(|| self.lstm_backward_in_pool(pass, params, x, tape, gradients));
    }

    fn packed_len(&self, shape: &LstmShape) -> usize {
        let input = shape.input_size.max(if shape.num_layers > 1 { shape.output_size() } else { 0 });
        let (gates, hidden, width) = (shape.gates(), shape.hidden_size, shape.width());
        let forward = [(input, gates), (width, gates), (hidden, shape.proj_size)];
        let backward = [(gates, width), (shape.proj_size, hidden)];
        let len = |matrices: &[(usize, usize)]| matrices.iter().map(|&(k, n)| panels_len::<F>(k, n)).sum::<usize>();
        len(&forward).max(len(&backward))
    }

    /// The mean of each row's c̃.
    fn norm_len(&self, shape: &LstmShape) -> usize {
        shape.rows()
    }
}

impl<F: Real> Cpu<F> {
    fn lstm_backward_in_pool(
        &self,
        pass: &Pass,
        params: &Vec<F>,
        x: (&Vec<F>, usize),
        tape: &mut Tape<F>,
        gradients: LstmGradients<Vec<F>>,
    ) {
        let LstmGradients { d_y, from, d_final, d_params, mut d_x, mut d_start } = gradients;
        for layer in (0..pass.shape.num_layers).rev() {
            for direction in 0..pass.shape.directions() {
                let top = layer + 1 == pass.shape.num_layers;
                let recurrence = Recurrence::new(pass, layer, direction, params);
                let Tape { layers, between, dropped, packed, .. } = tape;
                let upstream = if top { (d_y, from) } else { (&*between, 0) };
                let weights = (&dropped[..], &mut packed[..]);
                recurrence.backward(upstream, d_final, weights, &mut layers[layer], d_start.as_deref_mut());
            }
            // Both directions read the gradient from above before it is replaced by the one for below.
            for direction in 0..pass.shape.directions() {
                let d_x = d_x.as_mut().map(|(d_x, place)| (&mut **d_x, *place));
                after_recurrence(self, pass, (layer, direction), params, tape, d_params, (d_x, false));
            }
            after_layer(self, pass, layer, 0..pass.rows(), tape);
        }
        weight_gradients(self, pass, x, tape, d_params);
    }
}

/// One direction of one layer.
struct Recurrence<'a, F> {
    pass: &'a Pass<'a>,
    layer: usize,
    direction: usize,
    cell: usize,
    weight_ih: &'a [F],         // [4H, D]
    weight_hh: &'a [F],         // [4H, P]
    weight_hr: Option<&'a [F]>, // [P, H]
    biases: Vec<F>,             // [4H], b_ih + b_hh; zero with layer normalisation, which adds them later
    norm: Option<NormParameters<'a, F>>,
    shared: bool,
}

/// The weights that each forward step multiplies by, in panels.
#[derive(Clone, Copy)]
struct ForwardWeights<'a, F> {
    ih: &'a [F], // [D, 4H]
    hh: &'a [F], // [P, 4H]
    hr: &'a [F], // [H, P]
}

/// A layer's input: row r begins at `offset` + r · `row`.
#[derive(Clone, Copy)]
struct Input<'a, F> {
    values: &'a [F],
    place: Matrix,
    size: usize, // D
}

impl<'a, F: Real> Recurrence<'a, F> {
    fn new(pass: &'a Pass, layer: usize, direction: usize, params: &'a [F]) -> Self {
        let (shape, places) = (pass.shape, pass.shape.cell(layer, direction));
        let mut biases = vec![F::zero(); shape.gates()];
        for place in places.biases() {
            biases.iter_mut().zip(&params[place..]).for_each(|(sum, &bias)| *sum = *sum + bias);
        }
        let norm = NormParameters::take(&places, shape.hidden_size, params, &mut biases);
        Self {
            pass,
            layer,
            direction,
            cell: layer * shape.directions() + direction,
            weight_ih: &params[places.weight_ih..][..shape.gates() * places.input_size],
            weight_hh: &params[places.weight_hh..][..shape.gates() * shape.width()],
            weight_hr: places.weight_hr.map(|place| &params[place..][..shape.proj_size * shape.hidden_size]),
            biases,
            norm,
            shared: shape.shares_output(),
        }
    }

    fn reverse(&self) -> bool {
        self.direction == 1
    }

    /// The recurrent weights as this pass uses them.
    fn weights<'b>(&self, dropped: &'b [F]) -> &'b [F]
    where
        'a: 'b,
    {
        match self.pass.weight_drop(self.cell) {
            Some(_) => &dropped[self.pass.dropped_at(self.cell)..][..self.weight_hh.len()],
            None => self.weight_hh,
        }
    }

    fn forward(&self, device: &Cpu<F>, x: (&Vec<F>, usize), start: Option<&LstmState<Vec<F>>>, tape: &mut Tape<F>) {
        let (pass, shape) = (self.pass, self.pass.shape);
        let (batch, hidden, width) = (pass.batch(), shape.hidden_size, shape.width());
        let LstmTape { layers, sequences, packed, dropped, .. } = tape;
        let weights = self.pack_forward(dropped, packed);
        let (below, above) = layers.split_at_mut(self.layer);
        let LayerTape { cells, y, x: after_dropout } = &mut above[0];
        let (values, place) = input_of(pass, self.layer, x, below, after_dropout);
        let input = Input { values, place, size: self.weight_ih.len() / shape.gates() };
        let cell = &mut cells[self.direction];
        let starts = start.map(|start| {
            (&start.h[pass.h_at(self.cell)..][..batch * width], &start.c[pass.c_at(self.cell)..][..batch * hidden])
        });
        match starts {
            Some((_, c)) => cell.c[..batch * hidden].copy_from_slice(c),
            None => cell.c[..batch * hidden].fill(F::zero()),
        }
        let drop = pass.recurrent_drop(self.cell);
        if let Some(drop) = &drop {
            let shape = DropShape { rows: batch, columns: width, first: 0, masks: Masks::Each };
            device.dropout(drop, &shape, sequences, Source::Ones, (&mut cell.mask, 1), false);
        }
        let mask = drop.map(|_| &cell.mask[1..][..batch * width]);
        let tiles = tiles(pass, &mut cell.gates, &mut cell.h_in, &mut cell.c, &mut cell.u, y, &mut cell.norm);
        tiles.into_par_iter().with_max_len(1).for_each(|mut tile| {
            let rows = tile.first * width..(tile.first + tile.count) * width;
            let mut h = starts.map_or(vec![F::zero(); rows.len()], |(h, _)| h[rows.clone()].to_vec());
            if self.shared {
                tile.h_in[0].copy_from_slice(&h);
            }
            let mask = mask.map(|mask| &mask[rows]);
            let mut zone = Zone::new(pass, self.cell, &tile);
            // Apart from what is kept of each step, so that it stays in a core's own cache.
            let mut z = vec![F::zero(); tile.count * shape.gates() * if self.norm.is_some() { 2 } else { 1 }];
            for step in pass.packing.walk(self.reverse()) {
                // A start state that is zero takes no product.
                let from_zero = starts.is_none() && tile.rows(step.ongoing) == 0;
                self.forward_step(&step, &mut tile, input, weights, from_zero, mask, &mut z, &mut zone, &mut h);
            }
        });
    }

    /// Packs the weights once for all time steps.
    fn pack_forward<'b>(&self, dropped: &[F], packed: &'b mut [F]) -> ForwardWeights<'b, F> {
        let shape = self.pass.shape;
        let (gates, hidden, width) = (shape.gates(), shape.hidden_size, shape.width());
        let input = self.weight_ih.len() / gates;
        let mut rest = packed;
        let mut pack = |weights: &[F], k: usize, n: usize| {
            let (panels, after) = std::mem::take(&mut rest).split_at_mut(panels_len::<F>(k, n));
            rest = after;
            pack_together(k, n, Matrix::rows(0, k).transposed(), weights, panels);
            &*panels
        };
        ForwardWeights {
            ih: pack(self.weight_ih, input, gates),
            hh: pack(self.weights(dropped), width, gates),
            hr: self.weight_hr.map_or(&[], |w_hr| pack(w_hr, hidden, width)),
        }
    }

    /// One time step of a tile, `from_zero` if the h before it is zero; `z` takes the gates before activation `[n, 4H]`, with
    /// layer normalisation the two products instead, and `h` `[n, P]` goes from step to step unless it lies in `h_in`.
    fn forward_step(
        &self,
        step: &Step,
        tile: &mut Tile<F>,
        input: Input<F>,
        weights: ForwardWeights<F>,
        from_zero: bool,
        mask: Option<&[F]>,
        z: &mut [F],
        zone: &mut Option<Zone<F>>,
        h: &mut [F],
    ) {
        let (hidden, width) = (self.pass.shape.hidden_size, self.pass.shape.width());
        let (t, n) = (step.t, tile.rows(step.present));
        if n == 0 {
            return;
        }
        let ongoing = tile.rows(step.ongoing);
        let (h_before, h_after) = tile.h_in.split_at_mut(t + 1);
        let h_in = &mut *h_before[t];
        if !self.shared {
            match mask {
                Some(mask) => h_in.iter_mut().zip(&*h).zip(mask).for_each(|((to, &h), &mask)| *to = h * mask),
                None => h_in.copy_from_slice(&h[..n * width]),
            }
        }
        let x = &input.values[input.place.offset + (step.row + tile.first) * input.place.row..];
        let from_x = Term { k: input.size, a: Left::Rows(x, input.place.row), panels: weights.ih };
        let from_h = Term { k: width, a: Left::Rows(h_in, width), panels: weights.hh };
        let biases = Some(&self.biases[..]);
        match &self.norm {
            Some(_) => {
                let (a, r) = z.split_at_mut(z.len() / 2);
                add_products(n, 4 * hidden, &[from_x], biases, a);
                match from_zero {
                    true => r[..n * 4 * hidden].fill(F::zero()),
                    false => add_products(n, 4 * hidden, &[from_h], biases, r),
                }
            }
            None if from_zero => add_products(n, 4 * hidden, &[from_x], biases, z),
            None => add_products(n, 4 * hidden, &[from_x, from_h], biases, z),
        }
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
                let (a, r) = z.split_at(z.len() / 2);
                let ((a_1, a_2), (r_1, r_2)) = (a.split_at(4 * at), r.split_at(4 * at));
                for (((c_before, c_t, h_t), kept), (a, r)) in parts.zip(kept).zip([(a_1, r_1), (a_2, r_2)]) {
                    dispatch(ForwardNormStep { own, a, r, kept, c_before, c_t, h_t, hidden });
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
            let u = Term { k: hidden, a: Left::Rows(&*tile.u[t], hidden), panels: weights.hr };
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
            let rows = tile.y[t].chunks_exact_mut(outputs).zip(h_t.chunks_exact(width));
            rows.for_each(|(y, h)| y[column..][..width].copy_from_slice(h));
        }
    }

    fn backward(
        &self,
        upstream: (&Vec<F>, usize),
        d_final: Option<&LstmState<Vec<F>>>,
        (dropped, packed): (&[F], &mut [F]),
        layer: &mut LayerTape<Vec<F>>,
        d_start: Option<&mut LstmState<Vec<F>>>,
    ) {
        let (pass, shape) = (self.pass, self.pass.shape);
        let (batch, hidden, width) = (pass.batch(), shape.hidden_size, shape.width());
        let (h_range, c_range) = (pass.h_at(self.cell), pass.c_at(self.cell));
        let (h_range, c_range) = (h_range..h_range + batch * width, c_range..c_range + batch * hidden);
        let (w_hh, w_hr) = packed.split_at_mut(panels_len::<F>(4 * hidden, width));
        pack_together(4 * hidden, width, Matrix::rows(0, width), self.weights(dropped), w_hh);
        if let Some(weight_hr) = self.weight_hr {
            pack_together(width, hidden, Matrix::rows(0, hidden), weight_hr, w_hr);
        }
        let weights = (&*w_hh, &*w_hr);
        let cell = &mut layer.cells[self.direction];
        let (d_h, d_c) = cell.d_state[..batch * (width + hidden)].split_at_mut(batch * width);
        match d_final {
            Some(state) => {
                d_h.copy_from_slice(&state.h[h_range.clone()]);
                d_c.copy_from_slice(&state.c[c_range.clone()]);
            }
            None => {
                d_h.fill(F::zero());
                d_c.fill(F::zero());
            }
        }
        let wants_start = d_start.is_some();
        let mask = pass.recurrent_drop(self.cell).map(|_| &cell.mask[1..][..batch * width]);
        let tiles = tiles(pass, &mut cell.gates, &mut [], &mut cell.c, &mut cell.d_h, &mut [], &mut cell.norm);
        let tiles = tiles.into_par_iter().with_max_len(1);
        let tile = tile_size(pass);
        let carried = d_h.par_chunks_mut(tile * width).zip(d_c.par_chunks_mut(tile * hidden));
        tiles.zip(carried).for_each(|(mut tile, (d_h, d_c))| {
            let rows = tile.first * width..(tile.first + tile.count) * width;
            let mask = mask.map(|mask| &mask[rows]);
            let mut zone = Zone::new(pass, self.cell, &tile);
            tile.sums.fill(F::zero());
            for step in pass.packing.walk(self.reverse()).rev() {
                let wanted = wants_start || tile.rows(step.ongoing) > 0;
                let carried = (&mut *d_h, &mut *d_c);
                self.backward_step(&step, &mut tile, weights, upstream, wanted, mask, &mut zone, carried);
            }
        });
        if let Some(state) = d_start {
            state.h[h_range].copy_from_slice(d_h);
            state.c[c_range].copy_from_slice(d_c);
        }
    }

    /// One time step of a tile, backwards; `d_h` `[n, P]` and `d_c` `[n, H]` go from step to step, to the one before only if
    /// `wanted` there.
    fn backward_step(
        &self,
        step: &Step,
        tile: &mut Tile<F>,
        (w_hh, w_hr): (&[F], &[F]),
        (d_y, from): (&Vec<F>, usize),
        wanted: bool,
        mask: Option<&[F]>,
        zone: &mut Option<Zone<F>>,
        (d_h, d_c): (&mut [F], &mut [F]),
    ) {
        let (hidden, width) = (self.pass.shape.hidden_size, self.pass.shape.width());
        let (t, n) = (step.t, tile.rows(step.present));
        if n == 0 {
            return;
        }
        let (d_h, d_c) = (&mut d_h[..n * width], &mut d_c[..n * hidden]);
        if t >= from {
            let outputs = self.pass.shape.output_size();
            let row = self.pass.packing.row(t) - self.pass.packing.row(from) + tile.first;
            let d_y = d_y[row * outputs..][..n * outputs].chunks_exact(outputs);
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
            let d_h = Term { k: width, a: Left::Rows(d_h, width), panels: w_hr };
            add_products(n, hidden, &[d_h], None, &mut d_u_t);
        }
        let d_u = if self.weight_hr.is_some() { &d_u_t[..] } else { &*d_h };
        let (d_c_1, d_c_2) = d_c.split_at_mut(at);
        let parts =
            [([before.ongoing, &c_t[..at]], &d_u[..at], d_c_1), ([before.starting, &c_t[at..]], &d_u[at..], d_c_2)];
        let d_gates = match &self.norm {
            Some(own) => {
                let kept = tile.norm[t].split_at(ongoing, hidden).into_iter().zip([0, ongoing]);
                for (([c_before, _], d_h, d_c), (kept, first)) in parts.into_iter().zip(kept) {
                    let sums = Sums { values: tile.sums, first };
                    dispatch(BackwardNormStep { own, kept, c_before, d_h, d_c, sums, hidden });
                }
                &*tile.norm[t].hh
            }
            None => {
                let gates: [_; 2] = tile.gates[t].split_at_mut(4 * at).into();
                for ((c, d_h, d_c), gates) in parts.into_iter().zip(gates) {
                    dispatch(BackwardStep { gates, c, d_h, d_c, hidden });
                }
                &*tile.gates[t]
            }
        };
        if !wanted {
            return;
        }
        d_h.fill(F::zero());
        let d_gates = Term { k: 4 * hidden, a: Left::Rows(d_gates, 4 * hidden), panels: w_hh };
        add_products(n, width, &[d_gates], None, d_h);
        if let Some(mask) = mask {
            d_h.iter_mut().zip(mask).for_each(|(d_h, &mask)| *d_h = *d_h * mask);
        }
        if let Some(zone) = zone {
            zone.add_kept(d_h, d_c);
        }
    }
}
