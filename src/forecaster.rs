//! A trained model at work: forecasts of windows, and of what comes after the last row.

use crate::config::LossKind;
use crate::data::{Forecasts, Series};
use crate::device::Need;
use crate::error::{Error, Place, Result};
use crate::interop::{Model, ModelInfo};
use crate::kernels::Kernels;
use crate::model::Network;

/// A model on a device.
pub struct Forecaster<D: Kernels> {
    device: D,
    info: ModelInfo,
    net: Network<D>,
    inputs: D::Buffer,  // [R, D], scaled
    starts: D::Indices, // [windows]
}

impl<D: Kernels> Forecaster<D> {
    /// Puts `model` on `device`, with room for `rows` rows and `windows` windows.
    ///
    /// # Errors
    /// If that does not fit the device, or if the model tells classes apart and forecasts no numbers.
    pub fn new(device: D, model: &Model, rows: usize, windows: usize) -> Result<Self> {
        if model.info.config.loss == LossKind::CrossEntropy {
            let problem = "is cross_entropy in this model, which forecasts no numbers";
            return Err(Error::option("loss", problem, "give a model that was trained on a series"));
        }
        let mut shape = model.info.shape();
        shape.lstm.batch = shape.lstm.batch.min(windows.max(1));
        let features = Need::new("the features", rows * shape.lstm.input_size, "the rows of the file");
        let places = Need::new("the windows", windows.max(1), "the rows of the file");
        let needs: Vec<Need> = [features.clone(), places.clone()].into_iter().chain(shape.needs(&device)).collect();
        device.check(&needs)?;
        let inputs = device.buffer(features.name, features.len);
        let starts = device.indices(places.name, places.len);
        let mut net = Network::new(&device, shape);
        device.write_f32(&mut net.params, &model.parameters);
        Ok(Self { device, info: model.info.clone(), net, inputs, starts })
    }

    /// The forecasts, scaled, of the windows of `inputs` `[R, D]` that begin at `starts`.
    ///
    /// # Errors
    /// Those of the device.
    pub async fn predict(&mut self, inputs: &[f32], starts: &[u32]) -> Result<Forecasts> {
        self.device.write_f32(&mut self.inputs, inputs);
        self.device.write_indices(&mut self.starts, starts);
        let window = self.info.config.window;
        let outputs = self.net.predict(&self.device, &self.inputs, &self.starts, starts.len(), window).await?;
        Ok(Forecasts::read(&self.info.config, self.info.targets.len(), &outputs))
    }

    /// The `horizon` rows `[horizon, targets]` after the last one of `series`, in the data's units. Beyond the model's own
    /// horizon its point forecasts become its inputs, which asks that it forecasts every column it reads; the quantiles there
    /// do not know how uncertain those inputs are.
    ///
    /// # Errors
    /// Too few rows, missing columns, or a horizon that would need features nobody knows yet.
    pub async fn ahead(&mut self, series: &Series, horizon: usize) -> Result<Forecasts> {
        let (window, own) = (self.info.config.window, self.info.config.horizon);
        let place = || Place::file(&series.file);
        if series.rows() < window {
            let problem = format!("has {} rows, but the model looks back on {window}", series.rows());
            return Err(Error::file(place(), problem, "give a file with more rows"));
        }
        let fed_back = self.fed_back();
        if horizon == 0 || (horizon > own && fed_back.is_none()) {
            let problem = format!("is {horizon}; the model forecasts {own} rows, and not every column that it reads");
            return Err(Error::option("horizon", problem, format!("use 1 to {own}")));
        }
        let columns = series.select(&self.info.features, &self.info.targets)?;
        let scaler = &self.info.scaler;
        let first = series.rows() - window;
        let cells =
            (first..series.rows()).flat_map(|row| columns.features.iter().enumerate().map(move |cell| (row, cell)));
        let scaled = cells.map(|(row, (index, &column))| scaler.scaled(series.value(row, column), index) as f32);
        let mut recent: Vec<f32> = scaled.collect();
        let targets = self.info.targets.len();
        let mut ahead = Forecasts::default();
        while ahead.point.len() < horizon * targets {
            let forecast = self.predict(&recent, &[0]).await?;
            if let Some(places) = &fed_back {
                for row in forecast.point.chunks_exact(targets) {
                    recent.extend(places.iter().map(|&target| row[target] as f32));
                }
                recent.drain(..recent.len() - window * self.info.features.len());
            }
            ahead.extend(forecast);
        }
        ahead.truncate(horizon * targets);
        let features = self.info.features.len();
        Ok(ahead.map(|place, value| self.info.scaler.inverse(value, features + place % targets)))
    }

    /// For each feature the target that is the same column, if all have one.
    fn fed_back(&self) -> Option<Vec<usize>> {
        let target = |feature: &String| self.info.targets.iter().position(|target| target == feature);
        self.info.features.iter().map(target).collect()
    }
}
