//! The network: a stack of LSTM layers and a linear head, forward and backward in reading order.
//!
//! It is the PyTorch program `fc(lstm(x)[0][:, -1])` with `lstm = nn.LSTM(…, batch_first=True)` and
//! `fc = nn.Linear(hidden_size, output_size)`, and its parameters carry that program's names.

mod init;
mod optimizer;
mod predict;

pub use init::initial_parameters;
pub use optimizer::Optimizer;

use crate::config::{Config, Head};
use crate::device::Need;
use crate::kernels::{Kernels, LossShape, LstmShape, LstmTape, Matrix, ProductShape, Record, Tensor};

/// The sizes of a network and of its largest batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkShape {
    /// The stack, with T and the largest N of the run.
    pub lstm: LstmShape,
    /// O, outputs of the head.
    pub output_size: usize,
    /// Where the head reads.
    pub head: Head,
}

impl NetworkShape {
    /// The network that `config` describes for `inputs` feature columns and `targets` target columns.
    pub fn new(config: &Config, inputs: usize, targets: usize) -> Self {
        Self {
            lstm: LstmShape {
                steps: config.window,
                batch: config.batch_size,
                input_size: inputs,
                hidden_size: config.hidden_size,
                num_layers: config.num_layers,
                bias: config.bias,
            },
            output_size: config.horizon * targets,
            head: config.head,
        }
    }

    /// Every parameter in the order of PyTorch's `state_dict`.
    pub fn tensors(&self) -> Vec<Tensor> {
        let mut tensors = self.lstm.tensors();
        tensors.iter_mut().for_each(|tensor| tensor.name.insert_str(0, "lstm."));
        let (weight, bias) = self.head_places();
        tensors.push(Tensor {
            name: "fc.weight".into(),
            dims: vec![self.output_size, self.lstm.hidden_size],
            offset: weight,
        });
        tensors.push(Tensor { name: "fc.bias".into(), dims: vec![self.output_size], offset: bias });
        tensors
    }

    /// P, the number of parameters.
    pub fn parameters(&self) -> usize {
        self.head_places().1 + self.output_size
    }

    fn head_places(&self) -> (usize, usize) {
        let weight = self.lstm.tensors().last().map_or(0, |tensor| tensor.range().end);
        (weight, weight + self.output_size * self.lstm.hidden_size)
    }

    /// Time steps that the head reads, and the first of them.
    fn head_steps(&self) -> (usize, usize) {
        match self.head {
            Head::Last => (1, self.lstm.steps - 1),
            Head::Every => (self.lstm.steps, 0),
        }
    }

    /// Elements of the prediction for `batch` sequences.
    pub fn predictions(&self, batch: usize) -> usize {
        self.head_steps().0 * batch * self.output_size
    }

    /// Where the last time step's predictions for `batch` sequences lie in the prediction.
    pub fn last_predictions(&self, batch: usize) -> std::ops::Range<usize> {
        self.predictions(batch) - batch * self.output_size..self.predictions(batch)
    }

    /// The buffers of a [`Network`] of this shape, those of its tape last.
    pub fn needs<D: Kernels>(&self, device: &D) -> Vec<Need> {
        let model = "`hidden_size` or `num_layers`";
        let batch = "`batch_size`, `window` or `horizon`";
        let lstm = self.lstm;
        let (steps, _) = self.head_steps();
        let rows = steps * lstm.batch;
        let scratch = device.scratch_len(self.output_size, lstm.hidden_size, rows).max(device.scratch_len(
            1,
            self.output_size,
            rows,
        ));
        let mut needs = vec![
            Need::new("the parameters", self.parameters(), model),
            Need::new("the gradients of the parameters", self.parameters(), model),
            Need::new("the windows of a batch", lstm.steps * lstm.batch * lstm.input_size, batch),
            Need::new("the targets of a batch", self.predictions(lstm.batch), batch),
            Need::new("the predictions of a batch", self.predictions(lstm.batch), batch),
            Need::new("the gradients of the predictions", self.predictions(lstm.batch), batch),
            Need::new("the gradients of the LSTM's output", rows * lstm.hidden_size, batch),
            Need::new("the partial sums of the head's gradients", scratch, batch),
        ];
        needs.extend(lstm.needs(device));
        needs
    }
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
    pub x: D::Buffer, // [T, N, D]
    /// The targets of a batch, laid out as the predictions.
    pub target: D::Buffer, // [1 or T, N, O]
    /// What the head says.
    pub prediction: D::Buffer, // [1 or T, N, O]
    /// What the stack keeps between forward and backward pass; the top layer's `h` is its output.
    pub tape: LstmTape<D::Buffer>,
    d_prediction: D::Buffer,      // [1 or T, N, O]
    d_y: D::Buffer,               // [1 or T, N, H]
    scratch: D::Buffer,           // partial sums of the head's gradients
    zero_start_of: Option<usize>, // the batch whose start state in the tape is known to be zero
}

impl<D: Kernels> Network<D> {
    /// Makes all buffers for `shape`.
    pub fn new(device: &D, shape: NetworkShape) -> Self {
        let needs = shape.needs(device);
        let mut next = needs.iter().map(|need| device.buffer(need.name, need.len));
        let mut next = || next.next().expect("as many needs as buffers");
        let (params, d_params, x, target) = (next(), next(), next(), next());
        let (prediction, d_prediction, d_y, scratch) = (next(), next(), next(), next());
        let tape = LstmTape::new(device, &shape.lstm);
        Self { shape, params, d_params, x, target, prediction, tape, d_prediction, d_y, scratch, zero_start_of: None }
    }

    /// Starts every sequence of the next forward passes from zero, as PyTorch does when no state is given.
    fn zero_start(&mut self, device: &D, batch: usize) {
        // The forward pass never writes step 0, but its place moves with the batch size.
        if self.zero_start_of != Some(batch) {
            for layer in &mut self.tape.layers {
                device.zero(&mut layer.h, 0, batch * self.shape.lstm.hidden_size);
                device.zero(&mut layer.c, 0, batch * self.shape.lstm.hidden_size);
            }
            self.zero_start_of = Some(batch);
        }
    }

    /// The predictions for the first `batch` sequences of `x`, started from zero.
    pub fn forward(&mut self, device: &D, batch: usize) {
        self.zero_start(device, batch);
        self.forward_from_state(device, batch);
    }

    /// The same, started from the state that the caller has written to step 0 of each layer's `h` and `c` in the tape.
    pub fn forward_given(&mut self, device: &D, batch: usize) {
        self.zero_start_of = None;
        self.forward_from_state(device, batch);
    }

    fn forward_from_state(&mut self, device: &D, batch: usize) {
        let lstm = LstmShape { batch, ..self.shape.lstm };
        device.lstm_forward(&lstm, &self.params, &self.x, &mut self.tape);
        let (weight, bias) = self.shape.head_places();
        let product = ProductShape {
            m: self.shape.head_steps().0 * batch,
            n: self.shape.output_size,
            k: lstm.hidden_size,
            a: self.head_input(batch),
            b: Matrix::rows(weight, lstm.hidden_size).transposed(),
            c: 0,
        };
        let output = &self.tape.layers[lstm.num_layers - 1].h;
        device.product(&product, output, &self.params, &self.params, &[bias], &mut self.prediction);
    }

    /// The rows of the top layer's `h` that the head reads.
    fn head_input(&self, batch: usize) -> Matrix {
        let hidden = self.shape.lstm.hidden_size;
        Matrix::rows((self.shape.head_steps().1 + 1) * batch * hidden, hidden)
    }

    /// The loss of the predictions against `target`, into `history`.
    pub fn loss(&mut self, device: &D, loss: &LossShape, record: Record, history: &mut D::Buffer) {
        device.loss(loss, record, &self.prediction, &self.target, &mut self.d_prediction, history);
    }

    /// Forgets the gradients of the last step.
    pub fn zero_gradients(&mut self, device: &D) {
        device.zero(&mut self.d_params, 0, self.shape.parameters());
    }

    /// Adds the gradients of the last [`loss`](Network::loss) to `d_params`; `d_x` `[T, N, D]` is written where asked for.
    pub fn backward(&mut self, device: &D, batch: usize, d_x: Option<&mut D::Buffer>) {
        let lstm = LstmShape { batch, ..self.shape.lstm };
        let (weight, bias) = self.shape.head_places();
        let (hidden, outputs) = (lstm.hidden_size, self.shape.output_size);
        let (steps, from) = self.shape.head_steps();
        let rows = steps * batch;
        let input = self.head_input(batch);
        let output = &self.tape.layers[lstm.num_layers - 1].h;
        let a = Matrix::rows(0, outputs);
        let d_weight = ProductShape { m: outputs, n: hidden, k: rows, a: a.transposed(), b: input, c: weight };
        device.product_add(&d_weight, &self.d_prediction, output, &mut self.d_params, &mut self.scratch);
        device.column_sums(rows, outputs, &self.d_prediction, &[bias], &mut self.d_params, &mut self.scratch);
        let d_input = ProductShape { m: rows, n: hidden, k: outputs, a, b: Matrix::rows(weight, hidden), c: 0 };
        device.product(&d_input, &self.d_prediction, &self.params, &self.params, &[], &mut self.d_y);

        for layer in &mut self.tape.layers {
            device.zero(&mut layer.d_h, 0, lstm.state());
            device.zero(&mut layer.d_c, 0, lstm.state());
        }
        device.lstm_backward(&lstm, &self.params, &self.x, (&self.d_y, from), &mut self.tape, &mut self.d_params, d_x);
    }
}
