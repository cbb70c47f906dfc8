//! Which rows go through the network together: shuffled windows, or streams a part at a time.

use std::ops::Range;

use super::Trainer;
use super::streams::Streams;
use crate::config::Config;
use crate::data::Dataset;
use crate::error::Result;
use crate::kernels::{Kernels, LstmState, Record};
use crate::model::Batch as Sequences;
use crate::rng::{Rng, Stream};

/// Some time steps of some sequences.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    /// Places of their starts.
    pub sequences: Range<usize>,
    /// Their time steps, counted from the starts. The state of those before goes on.
    pub steps: Range<usize>,
    /// Its share of a step's, or of a measurement's elements.
    pub weight: f64,
    /// Where its loss goes.
    pub record: Record,
}

impl Batch {
    pub fn sequences(&self) -> Sequences {
        let batch = Sequences::even(self.steps.len(), self.sequences.len());
        if self.steps.start > 0 { batch.from_state() } else { batch }
    }
}

/// Which rows a loss is measured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Validation,
    Test,
}

/// The streams of a run that takes its rows in order.
pub(super) struct InOrder<B> {
    train: Streams,
    validation: Streams,
    test: Streams,
    /// This epoch's parts.
    parts: Vec<Range<usize>>,
    /// Where the state of training waits while a loss is measured.
    pub waiting: LstmState<B>,
}

/// The streams of training, validation and test.
pub(super) fn streams(config: &Config, data: &Dataset) -> Result<Option<[Streams; 3]>> {
    let Some(bptt) = config.bptt else { return Ok(None) };
    let cut = |rows| Streams::cut(rows, config.horizon, config.batch_size, bptt);
    let train = Streams::training(&data.split.train, config, bptt)?;
    Ok(Some([train, cut(&data.split.validation), cut(&data.split.test)]))
}

impl<B> InOrder<B> {
    pub fn new([train, validation, test]: [Streams; 3], waiting: LstmState<B>) -> Self {
        Self { train, validation, test, parts: Vec::new(), waiting }
    }
}

impl<D: Kernels> Trainer<D> {
    /// Optimizer steps in the epoch under way.
    pub fn steps_per_epoch(&self) -> usize {
        match &self.in_order {
            Some(streams) => streams.parts.len(),
            None => self.data.windows.train.len().div_ceil(self.config.batch_size * self.config.accumulate),
        }
    }

    /// Cuts this epoch's parts.
    pub(super) fn cut_parts(&mut self) {
        if let (Some(streams), Some(bptt)) = (&mut self.in_order, self.config.bptt) {
            streams.parts = streams.train.parts(&self.config, bptt, self.position.epoch);
        }
    }

    /// The batches of step `row` of an epoch, counted from 0.
    pub(super) fn batches(&self, row: usize) -> Vec<Batch> {
        if let Some(streams) = &self.in_order {
            let sequences = 0..streams.train.starts.len();
            let record = Record { row, add: false };
            return vec![Batch { sequences, steps: streams.parts[row].clone(), weight: 1.0, record }];
        }
        let size = self.config.batch_size;
        let first = row * size * self.config.accumulate;
        let last = self.data.windows.train.len().min(first + size * self.config.accumulate);
        let batch = |start: usize| {
            let sequences = start..last.min(start + size);
            let weight = sequences.len() as f64 / (last - first) as f64;
            Batch { sequences, steps: 0..self.config.window, weight, record: Record { row, add: start > first } }
        };
        (first..last).step_by(size).map(batch).collect()
    }

    /// The batches that a loss on `part` is measured with; none if it has no rows for one.
    pub(super) fn measured(&self, part: Part) -> Vec<Batch> {
        if let (Some(streams), Some(bptt)) = (&self.in_order, self.config.bptt) {
            let streams = if part == Part::Validation { &streams.validation } else { &streams.test };
            let parts = (0..streams.len).step_by(bptt).map(|from| from..streams.len.min(from + bptt));
            let batch = |(row, steps): (usize, Range<usize>)| {
                let weight = steps.len() as f64 / streams.len as f64;
                Batch { sequences: 0..streams.starts.len(), steps, weight, record: Record { row, add: false } }
            };
            return parts.enumerate().map(batch).collect();
        }
        let windows = &self.data.windows;
        let count = if part == Part::Validation { windows.validation.len() } else { windows.test.len() };
        let size = self.config.batch_size;
        let batch = |(row, first): (usize, usize)| {
            let sequences = first..count.min(first + size);
            let weight = sequences.len() as f64 / count as f64;
            Batch { sequences, steps: 0..self.config.window, weight, record: Record { row, add: false } }
        };
        (0..count).step_by(size).enumerate().map(batch).collect()
    }

    /// Puts this epoch's order of the training windows, or the streams, on the device.
    pub(super) fn upload_order(&mut self) {
        let epoch = self.position.epoch;
        if self.ordered_epoch == Some(epoch) {
            return;
        }
        let order = match &self.in_order {
            Some(streams) => streams.train.starts.clone(),
            None => {
                let mut order = self.data.windows.train.clone();
                Rng::new(self.config.seed, Stream::Shuffle { epoch: epoch as u32 }).shuffle(&mut order);
                order
            }
        };
        self.device.write_indices(&mut self.order, &order);
        self.ordered_epoch = Some(epoch);
    }

    /// Puts the starts of what losses are measured on, on the device.
    pub(super) fn upload_starts(&mut self) {
        let windows = &self.data.windows;
        let (validation, test) = match &self.in_order {
            Some(streams) => (&streams.validation.starts, &streams.test.starts),
            None => (&windows.validation, &windows.test),
        };
        self.device.write_indices(&mut self.validation, validation);
        self.device.write_indices(&mut self.test, test);
    }

    /// Inputs and targets of a training batch.
    pub(super) fn gather(&mut self, batch: &Batch) {
        let (sequences, steps) = (batch.sequences.clone(), batch.steps.clone());
        let targets = Some((&self.targets, self.channels()));
        self.net.gather(&self.device, &self.inputs, targets, &self.order, sequences, steps);
    }

    /// Target columns in the table.
    fn channels(&self) -> usize {
        self.data.columns.targets.len()
    }

    /// The commands that leave the loss of each batch of `part`, as its share of the mean, in `history`.
    pub(super) fn losses_of(&mut self, part: Part) -> Result<()> {
        let (batches, channels) = (self.measured(part), self.channels());
        let starts = if part == Part::Validation { &self.validation } else { &self.test };
        for (index, batch) in batches.iter().enumerate() {
            let (device, net) = (&self.device, &mut self.net);
            let targets = Some((&self.targets, channels));
            net.gather(device, &self.inputs, targets, starts, batch.sequences.clone(), batch.steps.clone());
            let sequences = batch.sequences();
            net.forward(device, &sequences);
            if batches.get(index + 1).is_some_and(|next| next.steps.start > 0) {
                net.carry(device, &sequences);
                net.advance();
            }
            let loss = net.shape.loss(&self.config, &sequences.packing, batch.weight);
            net.loss(device, &loss, batch.record, &mut self.history);
            device.submit()?;
        }
        Ok(())
    }
}
