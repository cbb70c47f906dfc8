//! On the CPU, and so the definition: each thread takes a few sequences through all layers and time steps.

mod backward;
mod forward;
mod norm;
mod steps;
mod tiles;
mod zone;

use std::ops::Range;

use super::{Lstm, LstmGradients, LstmShape, LstmState, LstmTape, Pass};
use crate::device::threads::in_pool;
use crate::device::{Cpu, CpuBuffer, Real};
use crate::kernels::Matrix;
use crate::kernels::product::{ToPack, panels_len};
use norm::NormParameters;
use tiles::Groups;

type Tape<F> = LstmTape<CpuBuffer<F>, Vec<u32>>;

impl<F: Real> Lstm for Cpu<F> {
    // So that less of a core's own cache passes by at each step; tiles are multiples of it.
    const SUMMED_TOGETHER: usize = 4;
    // Activations take longer than to fetch their results.
    const KEEPS_GATES: bool = true;
    const MASKS_SUMS: bool = true;

    fn lstm_forward(
        &self,
        pass: &Pass,
        params: &CpuBuffer<F>,
        x: (&CpuBuffer<F>, usize),
        start: Option<&LstmState<CpuBuffer<F>>>,
        tape: &mut Tape<F>,
    ) {
        in_pool(|| forward::forward(self, pass, params, x, start, tape));
    }

    fn lstm_final_state(&self, pass: &Pass, tape: &Tape<F>, last: &Vec<u32>, state: &mut LstmState<CpuBuffer<F>>) {
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
        params: &CpuBuffer<F>,
        x: (&CpuBuffer<F>, usize),
        tape: &mut Tape<F>,
        gradients: LstmGradients<CpuBuffer<F>>,
    ) {
        in_pool(|| backward::backward(self, pass, params, x, tape, gradients));
    }

    fn packed_len(&self, shape: &LstmShape) -> usize {
        let (gates, hidden, width) = (shape.gates(), shape.hidden_size, shape.width());
        let of_cell = |cell: usize| {
            let layer = cell / shape.directions();
            let (input, handed_down) = (shape.layer_inputs(layer), shape.layer_inputs(layer) * layer.min(1));
            let forward = [(input, gates), (width, gates), (hidden, shape.proj_size)];
            let backward = [(gates, width), (shape.proj_size, hidden), (gates, handed_down)];
            [forward, backward].map(|all| all.iter().map(|&(k, n)| panels_len::<F>(k, n)).sum::<usize>())
        };
        let [forward, backward] = [0, 1].map(|way| (0..shape.cells()).map(|cell| of_cell(cell)[way]).sum::<usize>());
        forward.max(backward)
    }

    fn sums_len(&self, shape: &LstmShape) -> usize {
        Groups::sums_len(shape)
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

/// Weights to be packed for a pass, all together, so that no thread waits for another between them.
struct Packs<'a, F> {
    all: Vec<ToPack<'a, F>>,
    len: usize,
}

impl<'a, F: Real> Packs<'a, F> {
    fn new() -> Self {
        Self { all: Vec::new(), len: 0 }
    }

    /// Adds B `[K, N]`, which lies in `from` as `b` says, `less` a number for each row or none; the place that its panels will have.
    fn add(&mut self, k: usize, n: usize, b: Matrix, from: &'a [F], less: Vec<F>) -> Range<usize> {
        let first = self.len;
        self.len += panels_len::<F>(k, n);
        self.all.push(ToPack { k, n, b, from, less });
        first..self.len
    }
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
}
