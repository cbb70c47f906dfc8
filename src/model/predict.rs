//! Batches from a table on the device, and forecasts of many windows with fixed parameters.

use std::ops::Range;

use super::{Batch, Network};
use crate::error::Result;
use crate::kernels::{Kernels, WindowShape};

impl<D: Kernels> Network<D> {
    /// Fills `x` with steps `steps` of the sequences that begin at places `sequences` of `starts`, from the scaled features
    /// `[R, D]`, or from the ids `[R]` of classes, which become vectors with one 1.
    pub fn gather_inputs(
        &mut self,
        device: &D,
        inputs: &D::Buffer,
        starts: &D::Indices,
        sequences: Range<usize>,
        steps: Range<usize>,
    ) {
        let shape = WindowShape {
            first: sequences.start,
            batch: sequences.len(),
            offset: steps.start,
            steps: steps.len(),
            width: 1,
            channels: self.shape.lstm.input_size,
            one_hot: self.shape.classes,
        };
        device.gather_windows(&shape, inputs, starts, &mut self.x);
    }

    /// Fills `target` likewise, from the scaled targets `[R, targets]`: the rows after each step that the head reads.
    pub fn gather_targets(
        &mut self,
        device: &D,
        (values, channels): (&D::Buffer, usize),
        starts: &D::Indices,
        sequences: Range<usize>,
        steps: Range<usize>,
    ) {
        let from = self.shape.head_from(steps.len());
        let shape = WindowShape {
            first: sequences.start,
            batch: sequences.len(),
            offset: steps.start + from + 1,
            steps: steps.len() - from,
            width: self.shape.output_size / self.shape.parts / channels,
            channels,
            one_hot: false,
        };
        device.gather_windows(&shape, values, starts, &mut self.target);
    }

    /// The head's outputs `[windows, O]` for all `count` windows of `window` steps in `starts`, scaled, each from its last
    /// time step.
    ///
    /// # Errors
    /// Those of the device.
    pub async fn predict(
        &mut self,
        device: &D,
        inputs: &D::Buffer,
        starts: &D::Indices,
        count: usize,
        window: usize,
    ) -> Result<Vec<f32>> {
        let mut forecasts = Vec::with_capacity(count * self.shape.output_size);
        for first in (0..count).step_by(self.shape.lstm.batch) {
            let batch = self.shape.lstm.batch.min(count - first);
            self.gather_inputs(device, inputs, starts, first..first + batch, 0..window);
            let pass = Batch::even(window, batch);
            self.forward(device, &pass);
            let last = self.shape.last_predictions(&pass.packing);
            forecasts.extend(device.read_f32(&self.prediction, last).await?);
        }
        Ok(forecasts)
    }
}
