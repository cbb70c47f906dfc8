//! What a run says of itself when asked, between two steps. Nothing of the training state is touched.

use super::Trainer;
use crate::data::Forecasts;
use crate::error::Result;
use crate::interop::{Model, ModelInfo};
use crate::kernels::Kernels;
use crate::model::Batch;

impl<D: Kernels> Trainer<D> {
    /// Loss and gradient norm `[steps, 2]` of each step of the epoch under way. Waits until the device has done them.
    ///
    /// # Errors
    /// Those of [`next`](Trainer::next).
    pub async fn losses(&mut self) -> Result<&[f32]> {
        self.collect().await?;
        Ok(&self.seen)
    }

    /// The model as it is now: its parameters, or their average if there is one.
    ///
    /// # Errors
    /// Those of the device.
    pub async fn current(&self) -> Result<Model> {
        Ok(Model { info: ModelInfo::new(&self.config, &self.data), parameters: self.kept_parameters().await? })
    }

    /// Its forecasts `[windows, horizon, targets]`, in the data's units, of the windows that begin at `starts`.
    ///
    /// # Errors
    /// Those of the device.
    ///
    /// # Panics
    /// If the run forecasts no numbers, or a window reaches beyond the series.
    pub async fn forecasts(&mut self, starts: &[u32]) -> Result<Forecasts> {
        let window = self.config.window;
        let last = self.data.series.rows().saturating_sub(window);
        assert!(starts.iter().all(|&start| start as usize <= last), "windows of {window} rows from {starts:?}");
        let mut outputs = Vec::new();
        for starts in starts.chunks(self.config.batch_size) {
            let pass = Batch::even(window, starts.len());
            // As in a measurement: nothing is awaited between the exchanges.
            self.exchange();
            self.device.write_indices(&mut self.test, starts);
            self.net.gather(&self.device, &self.inputs, None, &self.test, 0..starts.len(), 0..window);
            self.net.forward(&self.device, &pass);
            self.exchange();
            let last = self.net.shape.last_predictions(&pass.packing);
            outputs.extend(self.device.read_f32(&self.net.prediction, last).await?);
        }
        Ok(self.in_units(&outputs))
    }
}
