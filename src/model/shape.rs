//! The sizes of a network, and what follows from them.

use crate::config::{Config, Head, LossKind};
use crate::device::Need;
use crate::kernels::{AffineSize, Kernels, LossShape, LstmShape, LstmState, Noise, Packing, Tensor};

/// The sizes of a network and of its largest batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NetworkShape {
    /// The stack, with T and the largest N of the run.
    pub lstm: LstmShape,
    /// O, outputs of the head: `parts` for each target value.
    pub output_size: usize,
    /// Outputs for one target value, all values' first ones first: 1, a distribution's parameters, quantiles, or the classes.
    pub parts: usize,
    /// Where the head reads.
    pub head: Head,
    /// Whether the inputs are ids of classes, which become vectors with one 1.
    pub classes: bool,
    /// Steps that are kept for the backward pass at a time; the others are computed again. 0 keeps all.
    pub checkpoint_every: usize,
}

impl NetworkShape {
    /// The network that `config` describes for `inputs` feature columns and `targets` target columns; for cross entropy
    /// `targets` is the number of classes.
    pub fn new(config: &Config, inputs: usize, targets: usize) -> Self {
        let (values, parts) = match config.loss {
            LossKind::Mse | LossKind::L1 | LossKind::Huber => (config.horizon * targets, 1),
            LossKind::CrossEntropy => (1, targets),
            LossKind::Quantile => (config.horizon * targets, config.quantiles.len()),
            LossKind::Gaussian => (config.horizon * targets, 2),
            LossKind::StudentT => (config.horizon * targets, 3),
        };
        Self {
            lstm: LstmShape {
                steps: config.steps(),
                batch: config.batch_size,
                input_size: inputs,
                hidden_size: config.hidden_size,
                num_layers: config.num_layers,
                bias: config.bias,
                bidirectional: config.bidirectional,
                proj_size: config.proj_size,
                layer_norm: config.layer_norm,
                ragged: false,
                noise: Noise {
                    dropout: config.dropout,
                    locked: config.locked_dropout,
                    recurrent_dropout: config.recurrent_dropout,
                    weight_drop: config.weight_drop,
                    zoneout_h: config.zoneout_h,
                    zoneout_c: config.zoneout_c,
                    seed: config.seed,
                },
            },
            output_size: values * parts,
            parts,
            head: config.head,
            classes: config.loss == LossKind::CrossEntropy,
            checkpoint_every: config.checkpoint_every,
        }
    }

    /// Every parameter in the order of PyTorch's `state_dict`.
    pub fn tensors(&self) -> Vec<Tensor> {
        let mut tensors = self.lstm.tensors();
        tensors.iter_mut().for_each(|tensor| tensor.name.insert_str(0, "lstm."));
        let (weight, bias) = self.head_places();
        let dims = vec![self.output_size, self.lstm.output_size()];
        tensors.push(Tensor { name: "fc.weight".into(), dims, offset: weight });
        tensors.push(Tensor { name: "fc.bias".into(), dims: vec![self.output_size], offset: bias });
        tensors
    }

    /// P, the number of parameters.
    pub fn parameters(&self) -> usize {
        self.head_places().1 + self.output_size
    }

    /// Where the head's weight and bias lie.
    pub(super) fn head_places(&self) -> (usize, usize) {
        let weight = self.lstm.tensors().last().map_or(0, |tensor| tensor.range().end);
        (weight, weight + self.output_size * self.lstm.output_size())
    }

    /// The first time step that the head reads where all sequences have `steps`.
    pub fn head_from(&self, steps: usize) -> usize {
        match self.head {
            Head::Last => steps - 1,
            Head::Every => 0,
        }
    }

    /// Rows of the prediction for a batch: a row for each sequence, or for each row.
    pub fn prediction_rows(&self, packing: &Packing) -> usize {
        match self.head {
            Head::Last => packing.batch(),
            Head::Every => packing.rows(),
        }
    }

    /// Elements of the prediction for a batch.
    pub fn predictions(&self, packing: &Packing) -> usize {
        self.prediction_rows(packing) * self.output_size
    }

    /// Elements of the target for a batch.
    pub fn targets(&self, packing: &Packing) -> usize {
        self.predictions(packing) / self.parts
    }

    /// The loss that `config` names over a batch, multiplied by `weight`.
    pub fn loss<'a>(&self, config: &'a Config, packing: &Packing, weight: f64) -> LossShape<'a> {
        LossShape {
            kind: config.loss,
            rows: self.prediction_rows(packing),
            values: self.output_size / self.parts,
            parts: self.parts,
            weight,
            delta: config.huber_delta,
            quantiles: &config.quantiles,
            label_smoothing: config.label_smoothing,
            ignore_index: config.ignore_index,
        }
    }

    /// Where the last time step's predictions for sequences of equal length lie in the prediction.
    pub fn last_predictions(&self, packing: &Packing) -> std::ops::Range<usize> {
        let all = self.predictions(packing);
        all - packing.batch() * self.output_size..all
    }

    /// Rows of a part that the head reads, and the first one's place in the prediction; none in parts before the last for a
    /// head that reads the last step.
    pub(super) fn head_rows(&self, batch: &Packing, from: usize, part: &Packing) -> Option<(usize, usize)> {
        match self.head {
            Head::Every => Some((part.rows(), batch.row(from))),
            Head::Last => (from + part.steps() == batch.steps()).then_some((batch.batch(), 0)),
        }
    }

    /// Parts that the longest batch is cut into.
    pub(super) fn parts(&self) -> usize {
        match self.checkpoint_every {
            0 => 1,
            every => self.lstm.steps.div_ceil(every),
        }
    }

    /// The stack with the steps of one part.
    pub(super) fn part(&self) -> LstmShape {
        let steps =
            if self.checkpoint_every == 0 { self.lstm.steps } else { self.checkpoint_every.min(self.lstm.steps) };
        LstmShape { steps, ..self.lstm }
    }

    /// A batch's parts: the step where each begins, and its rows.
    pub(super) fn parts_of(&self, packing: &Packing) -> Vec<(usize, Packing)> {
        match self.checkpoint_every {
            0 => vec![(0, packing.clone())],
            every => {
                let part = |from: usize| (from, packing.part(from, packing.steps().min(from + every)));
                (0..packing.steps()).step_by(every).map(part).collect()
            }
        }
    }

    /// The buffers of a [`Network`](super::Network) of this shape.
    pub fn needs<D: Kernels>(&self, device: &D) -> Vec<Need> {
        let part = self.part();
        // One state to begin with, one to go on with, and those of the parts with two for their gradients.
        let states = 2 + if self.parts() > 1 { self.parts() - 1 + 2 } else { 0 };
        let mut needs = self.own_needs(device);
        needs.extend((0..states).flat_map(|_| LstmState::<D::Buffer>::needs(&part)));
        needs.extend(part.needs(device));
        needs.push(self.list_need());
        needs
    }

    /// Those that belong to the network alone, in the order in which it makes them.
    pub(super) fn own_needs<D: Kernels>(&self, device: &D) -> Vec<Need> {
        let model = "`hidden_size` or `num_layers`";
        let batch = "`batch_size`, `window` or `horizon`";
        let (lstm, part) = (self.lstm, self.part());
        let outputs = lstm.output_size();
        let rows = |steps: usize| lstm.batch * if self.head == Head::Last { 1 } else { steps };
        let predictions = rows(lstm.steps) * self.output_size;
        let ends = if lstm.ragged && self.head == Head::Last { lstm.batch * outputs } else { 0 };
        let d_y = if lstm.ragged { lstm.rows() } else { rows(part.steps) } * outputs;
        let head = AffineSize { rows: rows(part.steps), outputs: self.output_size, widths: [outputs, 0], bias: true };
        let scratch = device.weight_scratch_len(&[head], self.output_size * (outputs + 1));
        vec![
            Need::new("the parameters", self.parameters(), model),
            Need::new("the gradients of the parameters", self.parameters(), model),
            Need::new("the windows of a batch", lstm.rows() * lstm.input_size, batch),
            Need::new("the targets of a batch", predictions / self.parts, batch),
            Need::new("the predictions of a batch", predictions, batch),
            Need::new("the gradients of the predictions", predictions, batch),
            Need::new("the gradients of the LSTM's output", d_y, batch),
            Need::new("the outputs at the sequences' ends", ends, batch),
            Need::new("the gradients of the outputs at the sequences' ends", ends, batch),
            Need::new("the partial sums of the head's gradients", scratch, batch),
            Need::new("the losses of a batch's rows", device.loss_scratch_len(rows(lstm.steps)), batch),
        ]
    }

    pub(super) fn list_need(&self) -> Need {
        let len = if self.lstm.ragged { self.lstm.batch } else { 0 };
        Need::new("the last row of each sequence", len, "`batch_size`")
    }
}
