//! The buffers of a run, known before any is made.

use super::streams::Streams;
use crate::config::Config;
use crate::data::Dataset;
use crate::device::Need;
use crate::kernels::{Kernels, LstmState, Rule};
use crate::model::{Average, NetworkShape, Optimizer};

/// Of a run those that are its own, and those that its parts have.
pub(super) struct Needs {
    pub own: [Need; 3],    // inputs, targets, history
    pub starts: [Need; 3], // of the windows to train, validate and test on
    pub average: Option<Need>,
    optimizer: [Need; 3],
    waiting: Option<[Need; 2]>, // the streams' state while a loss is measured
}

impl Needs {
    pub fn new<D: Kernels>(
        device: &D,
        config: &Config,
        data: &Dataset,
        shape: &NetworkShape,
        streams: Option<&[Streams; 3]>,
    ) -> Self {
        let (windows, bptt) = (&data.windows, config.bptt.unwrap_or(1));
        let history = match streams {
            Some(parts) => parts.iter().map(|part| part.most_parts(config, bptt)).max(),
            None => [
                windows.train.len().div_ceil(config.batch_size * config.accumulate),
                windows.validation.len().div_ceil(config.batch_size),
                windows.test.len().div_ceil(config.batch_size),
            ]
            .into_iter()
            .max(),
        };
        let history = history.unwrap_or(0);
        let rows = "the rows of the file";
        Self {
            own: [
                Need::new("the features", data.series.rows() * data.columns.features.len(), rows),
                Need::new("the targets", data.series.rows() * data.columns.targets.len(), rows),
                Need::new("the losses of an epoch", 2 * history, rows),
            ],
            starts: [
                Need::new("the order of the windows", windows.train.len().max(config.batch_size), rows),
                Need::new("the validation windows", windows.validation.len().max(config.batch_size), rows),
                Need::new("the test windows", windows.test.len().max(config.batch_size), rows),
            ],
            average: (config.ema > 0.0).then(|| Average::<D>::need(shape.parameters())),
            optimizer: Optimizer::needs(device, &Rule::from(config), shape.parameters()),
            waiting: streams.map(|_| LstmState::<D::Buffer>::needs(&shape.lstm)),
        }
    }

    /// All of them, with those of the network.
    pub fn all<D: Kernels>(&self, device: &D, shape: &NetworkShape) -> Vec<Need> {
        let own = self.own.iter().chain(&self.starts).chain(&self.optimizer).chain(&self.average);
        let own = own.chain(self.waiting.iter().flatten()).cloned();
        own.chain(shape.needs(device)).collect()
    }
}
