//! The moving average of a network's parameters.

use super::{Network, Optimizer};
use crate::device::Need;
use crate::kernels::Kernels;

/// The exponential moving average of the parameters over the optimizer's steps.
pub struct Average<D: Kernels> {
    decay: f64,
    /// The average; the start parameters before the first step.
    pub values: D::Buffer, // [P]
}

impl<D: Kernels> Average<D> {
    /// Its buffer for `parameters` parameters.
    pub fn need(parameters: usize) -> Need {
        Need::new("the parameters' moving average", parameters, "`hidden_size` or `num_layers`")
    }

    /// An average whose start values the caller has yet to write to `values`.
    pub fn new(device: &D, decay: f64, parameters: usize) -> Self {
        let need = Self::need(parameters);
        Self { decay, values: device.buffer(need.name, need.len) }
    }

    /// Takes in the parameters of `net` after a step of `optimizer`; if that step was stopped, so is this one.
    pub fn step(&mut self, device: &D, net: &Network<D>, optimizer: &Optimizer<D>) {
        device.average_step(net.shape.parameters(), self.decay, &net.params, &optimizer.status, &mut self.values);
    }

    /// Puts the average in the place of the parameters of `net`, and these in its own. A second time undoes it.
    pub fn exchange(&mut self, net: &mut Network<D>) {
        std::mem::swap(&mut self.values, &mut net.params);
    }
}
