//! On the GPU: products over all time steps before and after the recurrence, which one of the strategies runs.
//!
//! [`Strategy::Steps`] in its plain kind is to be read first.

mod layers;
mod masks;
mod persistent;
mod step_kernels;
mod steps;
mod strategy;
mod waves;
mod weights;

use layers::{after_layer, before_layer, drop_weights, dropped_gradient, input_products, weight_gradients};
pub use step_kernels::{StepMatrices, Steps};
pub use strategy::{Strategy, Tiles};
use waves::Company;

use super::{
    CellTape, LayerTape, Lstm, LstmGradients, LstmShape, LstmState, LstmTape, Pass, input_gradient, projection_gradient,
};
use crate::device::{BORDER, Gpu, GpuBuffer, Kernel};
use crate::kernels::Matrix;
use crate::kernels::rows::{Listed, Rows, RowsShape};

/// The kernels of all strategies.
pub(in crate::kernels) static KERNELS: &[&[&Kernel]] = &[
    &[&masks::DRAW, &weights::PACK],
    steps::KERNELS,
    step_kernels::KERNELS,
    persistent::KERNELS[0],
    persistent::KERNELS[1],
];

type Tape = LstmTape<GpuBuffer, GpuBuffer>;

impl Lstm for Gpu {
    const SUMMED_TOGETHER: usize = 1;
    const KEEPS_GATES: bool = false;
    const MASKS_SUMS: bool = false;

    fn lstm_forward(
        &self,
        pass: &Pass,
        params: &GpuBuffer,
        x: (&GpuBuffer, usize),
        start: Option<&LstmState<GpuBuffer>>,
        tape: &mut Tape,
    ) {
        // Where the start states lie apart from what is written later, zeros stay from batch to batch.
        let plain = pass.shape.shares_output() && start.is_none();
        let keeps_zeros = plain && tape.zero_start == Some(pass.batch());
        let company = Company::of(self, pass.shape).in_tape(pass.shape, tape);
        match Strategy::of(self, pass.shape) {
            Strategy::Steps(kind) => {
                steps::Recurrences::new(self, pass, kind, company).forward(params, x, start, tape, keeps_zeros);
            }
            Strategy::Persistent(tiles) => {
                persistent::Recurrences::new(self, pass, tiles, company).forward(params, x, start, tape);
            }
        }
        tape.zero_start = plain.then_some(pass.batch());
    }

    fn lstm_final_state(&self, pass: &Pass, tape: &Tape, last: &GpuBuffer, state: &mut LstmState<GpuBuffer>) {
        let (shape, batch, packing) = (pass.shape, pass.batch(), pass.packing);
        let (hidden, width) = (shape.hidden_size, shape.width());
        for cell in 0..shape.cells() {
            let (layer, direction) = (cell / shape.directions(), cell % shape.directions());
            let (y, place) = tape.output(shape, packing, layer);
            let (first, listed) = match (direction, packing.is_even()) {
                (1, _) => (0, false),
                (_, true) => (packing.row(packing.steps() - 1), false),
                _ => (0, true),
            };
            let from = |list| if listed { Listed::From(list) } else { Listed::No };
            let h = Matrix { offset: place.offset + first * place.row + direction * width, ..place };
            let to = Matrix::rows(pass.h_at(cell), width);
            self.copy_rows(&RowsShape { rows: batch, width, from: h, to }, from(last), y, &mut state.h);
            let c = Matrix::rows((batch + first) * hidden, hidden);
            let to = Matrix::rows(pass.c_at(cell), hidden);
            let c_of = &tape.layers[layer].cells[direction].c;
            self.copy_rows(&RowsShape { rows: batch, width: hidden, from: c, to }, from(last), c_of, &mut state.c);
        }
    }

    fn lstm_backward(
        &self,
        pass: &Pass,
        params: &GpuBuffer,
        x: (&GpuBuffer, usize),
        tape: &mut Tape,
        gradients: LstmGradients<GpuBuffer>,
    ) {
        let LstmGradients { d_y, from, d_final, d_params, mut d_x, mut d_start } = gradients;
        let company = Company::of(self, pass.shape).in_tape(pass.shape, tape);
        for layer in (0..pass.shape.num_layers).rev() {
            for direction in 0..pass.shape.directions() {
                let cell = layer * pass.shape.directions() + direction;
                if !company.begins_back(cell, pass.shape) {
                    continue;
                }
                let top = layer + 1 == pass.shape.num_layers;
                let upstream = top.then_some((d_y, from));
                let d_start = d_start.as_deref_mut();
                match Strategy::of(self, pass.shape) {
                    Strategy::Steps(kind) => steps::Recurrences::new(self, pass, kind, company)
                        .backward(cell, params, upstream, d_final, tape, d_start),
                    Strategy::Persistent(tiles) => persistent::Recurrences::new(self, pass, tiles, company)
                        .backward(cell, params, upstream, d_final, tape, d_start),
                }
            }
            let handed_down = company == Company::Layers;
            // Both directions read the gradient from above before it is replaced by the one for below.
            for direction in 0..pass.shape.directions() {
                dropped_gradient(self, pass, (layer, direction), tape, d_params);
                projection_gradient(self, pass, (layer, direction), tape, d_params);
                let d_input = match layer {
                    0 => d_x.as_mut().map(|(d_x, place)| (&mut **d_x, *place)),
                    _ => Some((&mut tape.between, 0)).filter(|_| !handed_down),
                };
                if let Some(d_input) = d_input {
                    let rows = 0..pass.rows();
                    input_gradient(self, pass, (layer, direction), params, rows, &tape.layers, d_input);
                }
            }
            if !handed_down {
                after_layer(self, pass, layer, 0..pass.rows(), tape);
            }
        }
        weight_gradients(self, pass, x, tape, d_params);
    }

    fn packed_len(&self, shape: &LstmShape) -> usize {
        match Strategy::of(self, shape) {
            Strategy::Persistent(_) => persistent::packed_len(shape),
            Strategy::Steps(steps) => {
                step_kernels::packed_len(steps, shape, Company::of(self, shape) == Company::Layers)
            }
        }
    }

    fn norm_len(&self, shape: &LstmShape) -> usize {
        match Strategy::of(self, shape) {
            Strategy::Persistent(_) => 0,
            // The parameters of the normalisation and the biases, then five values for each unit and sequence.
            Strategy::Steps(_) => shape.norm_parameters() + 2 * shape.gates() + 5 * shape.batch * shape.hidden_size,
        }
    }

    fn cell_rows(&self, shape: &LstmShape, rows: usize) -> usize {
        match Company::of(self, shape) {
            Company::None => rows,
            // As many in each kind of buffer, so that a cell's rows begin at one number in all of them.
            _ => (shape.rows() + shape.batch).next_multiple_of(BORDER),
        }
    }
}

/// What the final state of one cell and the start state have in `d_state`: places and widths of h and of c.
fn state_places(pass: &Pass, cell: usize) -> [[usize; 3]; 2] {
    let (hidden, width) = (pass.shape.hidden_size, pass.shape.width());
    [[pass.h_at(cell), 0, width], [pass.c_at(cell), pass.batch() * width, hidden]]
}

/// The gradient of the final state of one cell on its way into the recurrence.
fn take_final(gpu: &Gpu, pass: &Pass, cell: usize, state: &LstmState<GpuBuffer>, tape: &mut CellTape<GpuBuffer>) {
    for ([at, own, width], values) in state_places(pass, cell).into_iter().zip([&state.h, &state.c]) {
        let (from, to) = (Matrix::rows(at, width), Matrix::rows(own, width));
        let shape = RowsShape { rows: pass.batch(), width, from, to };
        gpu.copy_rows(&shape, Listed::No, values, &mut tape.d_state);
    }
}

/// The gradient of the start state of one cell as the recurrence leaves it.
fn give_start(gpu: &Gpu, pass: &Pass, cell: usize, tape: &CellTape<GpuBuffer>, state: &mut LstmState<GpuBuffer>) {
    for ([at, own, width], values) in state_places(pass, cell).into_iter().zip([&mut state.h, &mut state.c]) {
        let (from, to) = (Matrix::rows(own, width), Matrix::rows(at, width));
        let shape = RowsShape { rows: pass.batch(), width, from, to };
        gpu.copy_rows(&shape, Listed::No, &tape.d_state, values);
    }
}
