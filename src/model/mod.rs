//! The network: a stack of LSTM layers and a linear head, forward and backward in reading order.
//!
//! It is the PyTorch program `fc(lstm(x)[0][:, -1])` with `lstm = nn.LSTM(…, batch_first=True)` and
//! `fc = nn.Linear(hidden_size, output_size)`, and its parameters carry that program's names.

mod average;
mod init;
mod optimizer;
mod predict;
mod shape;
mod through_time;

pub use average::Average;
pub use init::{initial_parameters, start_parameters};
pub use optimizer::Optimizer;
pub use shape::NetworkShape;
pub use through_time::HiddenGradient;

use crate::config::Head;
use crate::kernels::{
    Affine, AffineInput, Kernels, Listed, LossShape, LstmGradients, LstmState, LstmTape, Matrix, Onto, Packing, Pass,
    ProductShape, Record, RowsShape,
};

/// One batch on its way through a network.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Its sequences.
    pub packing: Packing,
    /// The number of the draw of masks; `None` in evaluation.
    pub draw: Option<u32>,
    /// Whether the sequences begin with [`Network::state`] rather than with zero.
    pub stateful: bool,
}

impl Batch {
    /// `batch` sequences of `steps` steps in evaluation, from zero.
    pub fn even(steps: usize, batch: usize) -> Self {
        Self::of(Packing::even(steps, batch))
    }
    /// The same for any sequences.
    pub fn of(packing: Packing) -> Self {
        Self { packing, draw: None, stateful: false }
    }
    /// The same in training.
    pub fn training(self, draw: u32) -> Self {
        Self { draw: Some(draw), ..self }
    }
    /// The same from the network's state.
    pub fn from_state(self) -> Self {
        Self { stateful: true, ..self }
    }
}

/// Gradients of what goes into a network, for those who want them.
pub struct InputGradients<'a, B> {
    /// Of the inputs; written.
    pub d_x: &'a mut B, // [rows, D]
    /// Of the start state; written.
    pub d_start: &'a mut LstmState<B>,
}

/// A network on a device with all its buffers, made once.
pub struct Network<D: Kernels> {
    /// Its sizes.
    pub shape: NetworkShape,
    /// The parameters, as [`NetworkShape::tensors`] lays them out.
    pub params: D::Buffer, // [P]
    /// Their gradients, added up since [`zero_gradients`](Network::zero_gradients).
    pub d_params: D::Buffer, // [P]
    /// The inputs of a batch.
    pub x: D::Buffer, // [rows, D]
    /// The targets of a batch, a row for each row of the predictions; for cross entropy a class id each.
    pub target: D::Buffer, // [N or rows, O / parts]
    /// What the head says: for each sequence, or for each row of the packing.
    pub prediction: D::Buffer, // [N or rows, O]
    /// The state that a batch may begin with.
    pub state: LstmState<D::Buffer>,
    /// The state at the end of the last forward pass, where [`carry`](Network::carry) has put it.
    pub carried: LstmState<D::Buffer>,
    /// What the stack keeps between forward and backward pass.
    pub tape: LstmTape<D::Buffer, D::Indices>,
    d_prediction: D::Buffer,             // [N or rows, O]
    d_y: D::Buffer,                      // [N or rows, R · P]
    ends: D::Buffer,                     // [N, R · P], the output at each sequence's end, where lengths differ
    d_ends: D::Buffer,                   // [N, R · P]
    scratch: D::Buffer,                  // partial sums of the head's gradients
    loss_scratch: D::Buffer,             // losses of single rows
    starts: Vec<LstmState<D::Buffer>>,   // of the parts that are computed again in the backward pass
    d_states: Vec<LstmState<D::Buffer>>, // two, that take the gradient from part to part
    last: D::Indices,                    // [N], the row of each sequence's last step, where lengths differ
    listed: Option<Packing>,             // whose rows `last` and the tape's list hold
}

impl<D: Kernels> Network<D> {
    /// Makes all buffers for `shape`.
    pub fn new(device: &D, shape: NetworkShape) -> Self {
        let part = shape.part();
        let needs = shape.own_needs(device);
        let mut next = needs.iter().map(|need| device.buffer(need.name, need.len));
        let mut next = || next.next().expect("as many needs as buffers");
        let states = |count: usize| (0..count).map(|_| LstmState::new(device, &part)).collect();
        let last = shape.list_need();
        Self {
            shape,
            params: next(),
            d_params: next(),
            x: next(),
            target: next(),
            prediction: next(),
            d_prediction: next(),
            d_y: next(),
            ends: next(),
            d_ends: next(),
            scratch: next(),
            loss_scratch: next(),
            state: LstmState::new(device, &part),
            carried: LstmState::new(device, &part),
            tape: LstmTape::new(device, &part),
            starts: states(shape.parts() - 1),
            d_states: states(if shape.parts() > 1 { 2 } else { 0 }),
            last: device.indices(last.name, last.len),
            listed: None,
        }
    }

    /// The predictions for the sequences in `x`.
    ///
    /// # Panics
    /// If the batch is larger than the shape, or its lengths differ where the shape says that they do not.
    pub fn forward(&mut self, device: &D, batch: &Batch) {
        self.list_rows(device, &batch.packing);
        let parts = self.shape.parts_of(&batch.packing);
        for (index, (from, part)) in parts.iter().enumerate() {
            self.forward_part(device, batch, index, *from, part);
            self.predict_part(device, batch, *from, part);
            if index + 1 < parts.len() {
                // The next part begins where this one ends.
                let pass = pass(&self.shape, part, batch, *from);
                device.lstm_final_state(&pass, &self.tape, &self.last, &mut self.starts[index]);
            }
        }
    }

    /// Part `index`, `part`, from step `from` on.
    fn forward_part(&mut self, device: &D, batch: &Batch, index: usize, from: usize, part: &Packing) {
        let start = match index {
            0 => batch.stateful.then_some(&self.state),
            _ => Some(&self.starts[index - 1]),
        };
        let x = batch.packing.row(from) * self.shape.lstm.input_size;
        let pass = pass(&self.shape, part, batch, from);
        device.lstm_forward(&pass, &self.params, (&self.x, x), start, &mut self.tape);
    }

    /// The head on the part that the tape holds.
    fn predict_part(&mut self, device: &D, batch: &Batch, from: usize, part: &Packing) {
        let (outputs, width) = (self.shape.output_size, self.shape.lstm.output_size());
        let (weight, bias) = self.shape.head_places();
        let Some((rows, first)) = self.shape.head_rows(&batch.packing, from, part) else { return };
        let layer = self.shape.lstm.num_layers - 1;
        let (y, place) = self.tape.output(&self.shape.lstm, part, layer);
        let (input, a) = match self.reads_ends(&batch.packing) {
            true => {
                let shape = RowsShape { rows, width, from: place, to: Matrix::rows(0, width) };
                device.copy_rows(&shape, Listed::From(&self.last), y, &mut self.ends);
                (&self.ends, Matrix::rows(0, width))
            }
            false => (y, Matrix { offset: place.offset + (part.rows() - rows) * width, ..place }),
        };
        let b = Matrix::rows(weight, width).transposed();
        let product = ProductShape { m: rows, n: outputs, k: width, a, b, c: first * outputs };
        device.product(&product, input, &self.params, Onto::Biases(&self.params, &[bias]), &mut self.prediction);
    }

    /// Whether the head reads rows that do not lie together.
    fn reads_ends(&self, packing: &Packing) -> bool {
        self.shape.head == Head::Last && !packing.is_even()
    }

    /// Puts the batch's lists on the device, where its lengths differ and they are not there yet.
    fn list_rows(&mut self, device: &D, packing: &Packing) {
        let lstm = &self.shape.lstm;
        assert!(
            packing.steps() <= lstm.steps && packing.batch() <= lstm.batch,
            "the batch is larger than the network's"
        );
        assert!(lstm.ragged || packing.is_even(), "sequences of unequal length in a network for equal ones");
        if !packing.is_even() && self.listed.as_ref() != Some(packing) {
            let numbers = |rows: Vec<usize>| rows.into_iter().map(|row| row as u32).collect::<Vec<_>>();
            device.write_indices(&mut self.last, &numbers(packing.last_rows()));
            device.write_indices(&mut self.tape.sequences, &numbers(packing.sequences()));
            self.listed = Some(packing.clone());
        }
    }

    /// Keeps the state at the end of the last forward pass in `carried`.
    pub fn carry(&mut self, device: &D, batch: &Batch) {
        let (from, part) = self.shape.parts_of(&batch.packing).pop().expect("at least one part");
        let pass = pass(&self.shape, &part, batch, from);
        device.lstm_final_state(&pass, &self.tape, &self.last, &mut self.carried);
    }

    /// Begins the next batch with the state that was carried.
    pub fn advance(&mut self) {
        std::mem::swap(&mut self.state, &mut self.carried);
    }

    /// The loss of the predictions against `target`, into `history`.
    pub fn loss(&mut self, device: &D, loss: &LossShape, record: Record, history: &mut D::Buffer) {
        let Self { prediction, target, d_prediction, loss_scratch, .. } = self;
        device.loss(loss, record, prediction, target, d_prediction, loss_scratch, history);
    }

    /// Forgets the gradients of the last step.
    pub fn zero_gradients(&mut self, device: &D) {
        device.zero(&mut self.d_params, 0, self.shape.parameters());
    }

    /// Adds the gradients of the last [`loss`](Network::loss) to `d_params`. Parts that the tape no longer holds are
    /// computed again (Chen et al. 2016).
    pub fn backward(&mut self, device: &D, batch: &Batch, mut inputs: Option<InputGradients<D::Buffer>>) {
        let parts = self.shape.parts_of(&batch.packing);
        let last = parts.len() - 1;
        for (index, (from, part)) in parts.into_iter().enumerate().rev() {
            if index < last {
                self.forward_part(device, batch, index, from, &part);
            }
            let d_y_from = self.head_backward(device, batch, from, &part);
            let x = batch.packing.row(from) * self.shape.lstm.input_size;
            let pass = pass(&self.shape, &part, batch, from);
            let (d_final, d_start) = self.d_states.split_at_mut(1.min(last));
            let (d_x, wanted) = match inputs.as_mut() {
                Some(inputs) => (Some((&mut *inputs.d_x, x)), Some(&mut *inputs.d_start)),
                None => (None, None),
            };
            let gradients = LstmGradients {
                d_y: &self.d_y,
                from: d_y_from,
                d_final: d_final.first().filter(|_| index < last),
                d_params: &mut self.d_params,
                d_x,
                d_start: if index == 0 { wanted } else { d_start.first_mut() },
            };
            device.lstm_backward(&pass, &self.params, (&self.x, x), &mut self.tape, gradients);
            self.d_states.reverse();
        }
    }

    /// The head's gradients on the part that the tape holds, and `d_y`; the step where that begins.
    fn head_backward(&mut self, device: &D, batch: &Batch, from: usize, part: &Packing) -> usize {
        let (outputs, width) = (self.shape.output_size, self.shape.lstm.output_size());
        let (weight, bias) = self.shape.head_places();
        let Some((rows, first)) = self.shape.head_rows(&batch.packing, from, part) else { return part.steps() };
        let layer = self.shape.lstm.num_layers - 1;
        let (y, place) = self.tape.output(&self.shape.lstm, part, layer);
        let ends = self.reads_ends(&batch.packing);
        let (input, b) = match ends {
            true => (&self.ends, Matrix::rows(0, width)),
            false => (y, Matrix { offset: place.offset + (part.rows() - rows) * width, ..place }),
        };
        let a = Matrix::rows(first * outputs, outputs);
        let y = AffineInput { values: input, rows: b, width, weight };
        let d = (&self.d_prediction, a);
        let head = Affine { rows, outputs, d, x: Some(y), h: None, biases: vec![bias] };
        device.weight_gradients(&[head], &mut self.d_params, &mut self.scratch);
        let d_input = ProductShape { m: rows, n: width, k: outputs, a, b: Matrix::rows(weight, width), c: 0 };
        let to = if ends { &mut self.d_ends } else { &mut self.d_y };
        device.product(&d_input, &self.d_prediction, &self.params, Onto::Zero, to);
        if ends {
            device.zero(&mut self.d_y, 0, part.rows() * width);
            let rows_of = Matrix::rows(0, width);
            let shape = RowsShape { rows, width, from: rows_of, to: rows_of };
            device.copy_rows(&shape, Listed::To(&self.last), &self.d_ends, &mut self.d_y);
        }
        match self.shape.head {
            Head::Last if !ends => part.steps() - 1,
            _ => 0,
        }
    }
}

/// A part of a batch as the kernels see it.
fn pass<'a>(shape: &'a NetworkShape, packing: &'a Packing, batch: &Batch, first_step: usize) -> Pass<'a> {
    Pass { shape: &shape.lstm, packing, draw: batch.draw, first_step }
}
