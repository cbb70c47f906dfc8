//! The parameters' moving average within a run: training goes on with the parameters, and what is validated, kept and saved
//! is the average.

use super::Trainer;
use crate::error::Result;
use crate::kernels::Kernels;

impl<D: Kernels> Trainer<D> {
    /// Sets the average, if there is one.
    pub(super) fn write_average(&mut self, parameters: &[f32]) {
        if let Some(average) = &mut self.average {
            self.device.write_f32(&mut average.values, parameters);
        }
    }

    /// Puts the average, if there is one, in the parameters' place, or these back.
    pub(super) fn exchange(&mut self) {
        if let Some(average) = &mut self.average {
            average.exchange(&mut self.net);
        }
    }

    /// The average, if there is one.
    pub(super) async fn averaged(&self) -> Result<Option<Vec<f32>>> {
        match &self.average {
            Some(average) => Ok(Some(self.device.read_f32(&average.values, 0..self.net.shape.parameters()).await?)),
            None => Ok(None),
        }
    }

    /// What is validated and kept: the average if there is one, else the parameters.
    pub(super) async fn kept_parameters(&self) -> Result<Vec<f32>> {
        match self.averaged().await? {
            Some(average) => Ok(average),
            None => self.parameters().await,
        }
    }
}
