//! Batches from a table on the device, and forecasts of many windows with fixed parameters.

use std::ops::Range;

use super::{Batch, Network};
use crate::error::Result;
use crate::kernels::{Kernels, WindowShape};

impl<D: Kernels> Network<D> {
    /// Fills `x` with steps `steps` of the sequences that begin at places `sequences` of `starts`, from the scaled features
    /// `[R, D]`, or from the ids `[R]` of classes, which become vectors with one 1; and `target` from the scaled targets
    /// `[R, channels]`, if they are given, with the rows after each step that the head reads.
    pub fn gather(
        &mut self,
        device: &D,
        inputs: &D::Buffer,
        targets: Option<(&D::Buffer, usize)>,
        starts: &D::Indices,
        sequences: Range<usize>,
        steps: Range<usize>,
    ) {
        let (from, channels) = (self.shape.head_from(steps.len()), targets.map_or(1, |(_, channels)| channels));
        let shape = WindowShape {
            first: sequences.start,
            batch: sequences.len(),
            offset: steps.start,
            steps: steps.len(),
            features: self.shape.lstm.input_size,
            one_hot: self.shape.classes,
            ahead: from + 1,
            target_steps: if targets.is_some() { steps.len() - from } else { 0 },
            width: self.shape.output_size / self.shape.parts / channels,
            channels,
        };
        let tables = [inputs, targets.map_or(inputs, |(values, _)| values)];
        device.gather_windows(&shape, tables, starts, [&mut self.x, &mut self.target]);
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
            self.gather(device, inputs, None, starts, first..first + batch, 0..window);
            let pass = Batch::even(window, batch);
            self.forward(device, &pass);
            let last = self.shape.last_predictions(&pass.packing);
            forecasts.extend(device.read_f32(&self.prediction, last).await?);
        }
        Ok(forecasts)
    }
}
