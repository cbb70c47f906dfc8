//! Forecasts of many windows with fixed parameters. No training state is touched.

use super::{Batch, Network};
use crate::error::Result;
use crate::kernels::{Kernels, WindowShape};

impl<D: Kernels> Network<D> {
    /// Fills `x` with the windows at places `first .. first + batch` of `starts`, from the scaled features `[R, D]`.
    pub fn gather_inputs(&mut self, device: &D, inputs: &D::Buffer, starts: &D::Indices, first: usize, batch: usize) {
        let lstm = self.shape.lstm;
        let shape = WindowShape { first, batch, offset: 0, steps: lstm.steps, width: 1, channels: lstm.input_size };
        device.gather_windows(&shape, inputs, starts, &mut self.x);
    }

    /// Fills `target` likewise, from the scaled targets `[R, targets]`: the rows after each step that the head reads.
    pub fn gather_targets(
        &mut self,
        device: &D,
        (values, channels): (&D::Buffer, usize),
        starts: &D::Indices,
        first: usize,
        batch: usize,
    ) {
        let from = self.shape.head_from(self.shape.lstm.steps);
        let steps = self.shape.lstm.steps - from;
        let width = self.shape.output_size / self.shape.parts / channels;
        let shape = WindowShape { first, batch, offset: from + 1, steps, width, channels };
        device.gather_windows(&shape, values, starts, &mut self.target);
    }

    /// The head's outputs `[windows, O]` for all `count` windows in `starts`, scaled, each from its last time step.
    ///
    /// # Errors
    /// Those of the device.
    pub async fn predict(
        &mut self,
        device: &D,
        inputs: &D::Buffer,
        starts: &D::Indices,
        count: usize,
    ) -> Result<Vec<f32>> {
        let mut forecasts = Vec::with_capacity(count * self.shape.output_size);
        for first in (0..count).step_by(self.shape.lstm.batch) {
            let batch = self.shape.lstm.batch.min(count - first);
            self.gather_inputs(device, inputs, starts, first, batch);
            let pass = Batch::even(self.shape.lstm.steps, batch);
            self.forward(device, &pass);
            let last = self.shape.last_predictions(&pass.packing);
            forecasts.extend(device.read_f32(&self.prediction, last).await?);
        }
        Ok(forecasts)
    }
}
