//! The recurrence: a stack of LSTM layers over whole sequences, forward and back through time.
//!
//! For each layer, direction and time step t, with PyTorch's names and gate order
//! ([`torch.nn.LSTM`](https://pytorch.org/docs/stable/generated/torch.nn.LSTM.html); Hochreiter & Schmidhuber 1997,
//! Gers et al. 2000 for the forget gate):
//!
//! ```text
//! (i, f, g, o) = x_t · W_ihᵀ + b_ih + h_{t−1} · W_hhᵀ + b_hh        i, f, o through σ, g through tanh
//! c_t = f ∘ c_{t−1} + i ∘ g
//! h_t = o ∘ tanh(c_t)
//! ```
//!
//! and back, from the last step to the first, with d_h_t the gradient from above plus what step t + 1 sends:
//!
//! ```text
//! d_c_t = d_h_t ∘ o ∘ (1 − tanh²(c_t)) + d_c_{t+1} ∘ f_{t+1}
//! d_i = d_c_t ∘ g ∘ i(1 − i)        d_f = d_c_t ∘ c_{t−1} ∘ f(1 − f)
//! d_g = d_c_t ∘ i ∘ (1 − g²)        d_o = d_h_t ∘ tanh(c_t) ∘ o(1 − o)
//! d_h_{t−1} += d_gates_t · W_hh     d_x_t = d_gates_t · W_ih
//! d_W_ih = Σ_t d_gates_tᵀ · x_t     d_W_hh = Σ_t d_gates_tᵀ · h_{t−1}     d_b = Σ_t d_gates_t
//! ```
//!
//! What a shape may add to that:
//!
//! - **Two directions**: the second takes the steps from the last to the first; a layer's output is both, side by side.
//! - **Projection** (Sak et al. 2014): h_t = (o ∘ tanh(c_t)) · W_hrᵀ, P wide; d_W_hr = Σ_t d_h_tᵀ · (o ∘ tanh(c_t)).
//! - **Unequal lengths**: the rows are those of a [`Packing`]. A sequence that is over keeps its state, and in reverse it
//!   begins at its own last step.
//! - **Dropout** m ∘ x on a layer's input, **recurrent dropout** m ∘ h_{t−1} on the way into the gates, **weight drop**
//!   M ∘ W_hh; the masks hold 0 or 1 / (1 − rate), and the gradients pass through the same masks.
//! - **Zoneout** (Krueger et al. 2017), with z = 1 at the rate given, else 0, and in evaluation the rate itself:
//!
//! ```text
//! c̃_t = f ∘ c_{t−1} + i ∘ g     c_t = z_c ∘ c_{t−1} + (1 − z_c) ∘ c̃_t     h_t = z_h ∘ h_{t−1} + (1 − z_h) ∘ o ∘ tanh(c̃_t)
//! ```
//!
//! - **Layer normalisation** (Ba, Kiros & Hinton 2016, equation 4) of each row by itself, â = (a − mean(a)) / √(var(a) + 1e-5)
//!   with the variance that divides by the number of elements; all four gates are one row:
//!
//! ```text
//! a_t = x_t · W_ihᵀ + h_{t−1} · W_hhᵀ     (i, f, g, o) = γ ∘ â_t + b_ih + b_hh
//! c̃_t = f ∘ c_{t−1} + i ∘ g               h_t = o ∘ tanh(γ_c ∘ ĉ_t + β_c), where ĉ_t is c̃_t normalised
//! ```
//!
//! c itself goes on as it is, with zoneout or without. Back through either, with n the row's elements:
//!
//! ```text
//! d_â = γ ∘ d_gates     d_a = (d_â − Σ d_â / n − â ∘ Σ (d_â ∘ â) / n) / √(var(a) + 1e-5)     d_γ = Σ_t d_gates ∘ â
//! ```
//!
//! so that d_a_t takes the place of d_gates_t in everything but d_b and d_γ. γ is the parameter `layer_norm`, γ_c
//! `layer_norm_c` and β_c `layer_norm_c_bias`. The LSTM of the paper's appendix normalises x_t · W_ihᵀ and h_{t−1} · W_hhᵀ each by
//! itself, which leaves of a single input only its sign, and of few only their proportions: on the built-in series such a model was
//! worse than the naive forecasts.

mod cpu;
mod gpu;
mod packing;
mod shape;
mod tape;

pub use gpu::{StepMatrices, Steps, Strategy, Tiles};
pub use packing::Packing;
pub use shape::{LstmShape, Noise, Tensor};
pub use tape::{CellTape, LayerTape, LstmState, LstmTape};

pub(super) use gpu::KERNELS;

use std::ops::Range;

use super::dropout::{Drop, DropShape, Dropout, Masks};
use crate::device::Device;
use crate::kernels::{Affine, AffineInput, Matrix, Onto, ProductShape, Rows, WeightGradients};
use crate::rng::{MaskKey, Purpose};
use tape::{NormPlaces, output};

/// One run of a stack over one batch, forward and back.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    /// The stack.
    pub shape: &'a LstmShape,
    /// The batch's rows.
    pub packing: &'a Packing,
    /// The number of the draw of masks; `None` in evaluation.
    pub draw: Option<u32>,
    /// Steps of the sequences before this part of them, so that each step has masks of its own.
    pub first_step: usize,
}

/// The gradients that the backward pass reads and writes.
pub struct LstmGradients<'a, B> {
    /// The loss's gradient of the top layer's output from step `from` on; before it there is none.
    pub d_y: &'a B, // [rows from there on, R · P]
    /// The first step in `d_y`; 0 with unequal lengths.
    pub from: usize,
    /// The gradient of the final state; none is zero.
    pub d_final: Option<&'a LstmState<B>>,
    /// Is added to; laid out as [`LstmShape::tensors`] says.
    pub d_params: &'a mut B,
    /// Written where asked for, from the place given on.
    pub d_x: Option<(&'a mut B, usize)>, // [rows, D]
    /// Written where asked for.
    pub d_start: Option<&'a mut LstmState<B>>,
}

/// The whole stack over the whole sequence, so that a device may keep the recurrence on chip.
///
/// A batch smaller than the one the tape was made for uses the start of each buffer.
pub trait Lstm: WeightGradients + Rows + Dropout {
    /// Sequences of a batch, one after the other, whose gradients of layer normalisation's parameters are summed in one row.
    const SUMMED_TOGETHER: usize;
    /// Whether the tape has the activated gates with layer normalisation too; else it has in their place their rows after
    /// normalisation, before they are multiplied by the gains.
    const KEEPS_GATES: bool;
    /// Whether the gradients of weights after weight drop take their masks as they are summed; else they lie in a buffer first.
    const MASKS_SUMS: bool;

    /// Runs the stack forward.
    ///
    /// - `params` as laid out by [`LstmShape::tensors`]
    /// - `x` `[rows, D]` from the place given on
    /// - `start`, the state that the sequences begin with; none is zero
    /// - `tape` is written
    fn lstm_forward(
        &self,
        pass: &Pass,
        params: &Self::Buffer,
        x: (&Self::Buffer, usize),
        start: Option<&LstmState<Self::Buffer>>,
        tape: &mut LstmTape<Self::Buffer, Self::Indices>,
    );

    /// Copies the state at each sequence's end into `state`. `last` `[N]` holds the row of each sequence's last step; it is
    /// read only with unequal lengths.
    fn lstm_final_state(
        &self,
        pass: &Pass,
        tape: &LstmTape<Self::Buffer, Self::Indices>,
        last: &Self::Indices,
        state: &mut LstmState<Self::Buffer>,
    );

    /// Runs back through time, once after each forward pass; `gates` in the tape becomes what its contract says.
    fn lstm_backward(
        &self,
        pass: &Pass,
        params: &Self::Buffer,
        x: (&Self::Buffer, usize),
        tape: &mut LstmTape<Self::Buffer, Self::Indices>,
        gradients: LstmGradients<Self::Buffer>,
    );

    /// Elements of the device's own arrangement of the weights.
    fn packed_len(&self, shape: &LstmShape) -> usize;

    /// Elements of the scratch that the backward pass itself sums weights' gradients in, before it serves anything else.
    fn sums_len(&self, _shape: &LstmShape) -> usize {
        0
    }

    /// Elements of the device's own for the layer normalisation of one layer and direction.
    fn norm_len(&self, _shape: &LstmShape) -> usize {
        0
    }

    /// Rows that a buffer of one layer and direction has where `rows` are asked for.
    fn cell_rows(&self, _shape: &LstmShape, rows: usize) -> usize {
        rows
    }
}

/// Is added to a variance before its root is taken.
const NORM_EPS: f64 = 1e-5;

impl Pass<'_> {
    fn rows(&self) -> usize {
        self.packing.rows()
    }
    fn batch(&self) -> usize {
        self.packing.batch()
    }
    /// Place of the cell's number `cell`'s h in a state.
    fn h_at(&self, cell: usize) -> usize {
        cell * self.batch() * self.shape.width()
    }
    /// Place of the cell's number `cell`'s c in a state.
    fn c_at(&self, cell: usize) -> usize {
        cell * self.batch() * self.shape.hidden_size
    }
    /// Places of its h and of its c.
    fn state_places(&self, cell: usize) -> (Range<usize>, Range<usize>) {
        (self.h_at(cell)..self.h_at(cell + 1), self.c_at(cell)..self.c_at(cell + 1))
    }
    fn key(&self, purpose: Purpose, cell: usize) -> Option<MaskKey> {
        self.draw.map(|draw| MaskKey { seed: self.shape.noise.seed, draw, purpose, cell: cell as u32 })
    }
    /// Masks that are drawn in this pass at `rate`.
    fn drop(&self, rate: f64, purpose: Purpose, cell: usize) -> Option<Drop> {
        self.key(purpose, cell).filter(|_| rate > 0.0).map(|key| Drop { rate, key })
    }
    fn recurrent_drop(&self, cell: usize) -> Option<Drop> {
        self.drop(self.shape.noise.recurrent_dropout, Purpose::Recurrent, cell)
    }
    fn weight_drop(&self, cell: usize) -> Option<Drop> {
        self.drop(self.shape.noise.weight_drop, Purpose::Weight, cell)
    }
    /// Dropout on the input of `layer`.
    fn input_drop(&self, layer: usize) -> Option<Drop> {
        self.drop(self.shape.noise.dropout, Purpose::Input, layer).filter(|_| layer > 0)
    }
    /// Its elements in some of the rows: those of whole time steps, and all where sequences differ in length.
    fn input_elements(&self, rows: &Range<usize>) -> DropShape {
        let columns = self.shape.output_size();
        let (masks, first) = match (self.shape.noise.locked, self.packing.is_even()) {
            (false, _) => (Masks::Each, (self.first_step * self.batch() + rows.start) * columns),
            (true, true) => (Masks::Every(self.batch()), 0),
            (true, false) => (Masks::Listed, 0),
        };
        DropShape { rows: rows.len(), columns, first, masks }
    }
    /// Elements of one recurrent matrix.
    fn weight_elements(&self) -> DropShape {
        DropShape { rows: self.shape.gates(), columns: self.shape.width(), first: 0, masks: Masks::Each }
    }
    /// Where layer normalisation keeps its parts.
    fn norm_places<D: Lstm>(&self) -> NormPlaces {
        NormPlaces::new::<D>(self.shape, self.rows(), self.batch())
    }
    /// Whether a cell takes the steps from the last to the first.
    fn is_reverse(&self, cell: usize) -> bool {
        self.shape.bidirectional && cell % 2 == 1
    }
    /// Where one cell's weights after weight drop lie.
    fn dropped_at(&self, cell: usize) -> usize {
        cell * self.shape.gates() * self.shape.width()
    }
}

/// The tape of a device.
type TapeOf<D> = LstmTape<<D as Device>::Buffer, <D as Device>::Indices>;

/// A layer's input: `x`, or the output of the layer `below`, after dropout if that is on.
fn input_of<'a, B>(
    pass: &Pass,
    layer: usize,
    (x, offset): (&'a B, usize),
    below: Option<(&'a B, Matrix)>,
    dropped: &'a B,
) -> (&'a B, Matrix) {
    match below {
        None => (x, Matrix::rows(offset, pass.shape.input_size)),
        Some(_) if pass.input_drop(layer).is_some() => (dropped, Matrix::rows(0, pass.shape.output_size())),
        Some(below) => below,
    }
}

/// The affine maps of one layer and direction, as they are after its backward pass; with weight drop the first has its part of h
/// only where the device masks its sums. With layer normalisation the gains and biases are maps without input, of what was
/// summed up step by step.
fn affine_maps<'a, D: Lstm>(
    pass: &Pass,
    (layer, direction): (usize, usize),
    x: (&'a D::Buffer, usize),
    layers: &'a [LayerTape<D::Buffer>],
) -> Vec<Affine<'a, D::Buffer>> {
    let (shape, places) = (pass.shape, pass.shape.cell(layer, direction));
    let tape = &layers[layer].cells[direction];
    let below = layers[..layer].last().map(|below| output(below, shape, pass.packing));
    let (values, rows) = input_of(pass, layer, x, below, &layers[layer].x);
    let input = AffineInput { values, rows, width: places.input_size, weight: places.weight_ih };
    let width = shape.width();
    let recurrent = AffineInput { values: &tape.h_in, rows: Matrix::rows(0, width), width, weight: places.weight_hh };
    let dropped = pass.weight_drop(layer * shape.directions() + direction).is_some();
    let recurrent = Some(recurrent).filter(|_| D::MASKS_SUMS || !dropped);
    let d = (&tape.gates, Matrix::rows(0, shape.gates()));
    let map = |biases| Affine { rows: pass.rows(), outputs: shape.gates(), d, x: Some(input), h: recurrent, biases };
    let Some(gains) = places.layer_norm else {
        return vec![map(places.biases())];
    };
    let mut maps = vec![map(Vec::new())];
    let sums = |part, outputs, biases| {
        let d = (&tape.norm, Matrix::rows(pass.norm_places::<D>().sums + part, shape.norm_sums()));
        Affine { rows: pass.batch().div_ceil(D::SUMMED_TOGETHER), outputs, d, x: None, h: None, biases }
    };
    let own = shape.norm_parameters();
    maps.push(sums(0, own, vec![gains]));
    if let biases @ [_, ..] = &places.biases()[..] {
        maps.push(sums(own, shape.gates(), biases.to_vec()));
    }
    maps
}

/// After a recurrence with a projection, all time steps at once: the gradient of W_hr.
fn projection_gradient<D: Lstm>(
    device: &D,
    pass: &Pass,
    (layer, direction): (usize, usize),
    tape: &mut TapeOf<D>,
    d_params: &mut D::Buffer,
) {
    let Some(c) = pass.shape.cell(layer, direction).weight_hr else { return };
    let LstmTape { layers, scratch, .. } = tape;
    let tape = &layers[layer].cells[direction];
    let (m, n) = (pass.shape.proj_size, pass.shape.hidden_size);
    let (a, b) = (Matrix::rows(0, m).transposed(), Matrix::rows(0, n));
    device.product_add(&ProductShape { m, n, k: pass.rows(), a, b, c }, &tape.d_h, &tape.u, d_params, scratch);
}

/// After a recurrence, many time steps at once: the gradient of its input in those `rows`.
fn input_gradient<D: Lstm>(
    device: &D,
    pass: &Pass,
    (layer, direction): (usize, usize),
    params: &D::Buffer,
    rows: Range<usize>,
    layers: &[LayerTape<D::Buffer>],
    (to, place): (&mut D::Buffer, usize),
) {
    let (places, width) = (pass.shape.cell(layer, direction), pass.shape.layer_inputs(layer));
    let (d_gates, gates) = (&layers[layer].cells[direction].gates, pass.shape.gates());
    let a = Matrix::rows(rows.start * gates, gates);
    let (b, c) = (Matrix::rows(places.weight_ih, width), place + rows.start * width);
    let product = ProductShape { m: rows.len(), n: width, k: gates, a, b, c };
    let onto = if direction == 0 { Onto::Zero } else { Onto::Kept };
    device.product(&product, d_gates, params, onto, to);
}
