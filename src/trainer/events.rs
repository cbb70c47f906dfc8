//! What a trainer tells its shell.

use serde::{Deserialize, Serialize};

use crate::checkpoint::EpochReport;
use crate::data::{Evaluation, Forecasts};

/// What the trainer has to tell. Everything a shell shows comes from here.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A step was taken.
    Step(StepReport),
    /// An epoch is over.
    Epoch(EpochReport),
}

/// Where training is, and every `log_every` steps how it goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// The epoch under way, counted from 1.
    pub epoch: usize,
    /// Steps taken in this epoch.
    pub step_in_epoch: usize,
    /// Optimizer steps taken in all.
    pub step: u64,
    /// Loss and gradient norm; only every `log_every` steps and at an epoch's end are they read from the device.
    pub means: Option<StepMeans>,
}

/// Means since the last report.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepMeans {
    /// Training loss.
    pub loss: f64,
    /// Norm of the gradients before clipping.
    pub grad_norm: f64,
    /// Learning rate of the last of these steps.
    pub lr: f64,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Epochs trained.
    pub epochs: usize,
    /// Optimizer steps taken.
    pub steps: u64,
    /// The epoch whose parameters were kept, counted from 1.
    pub best_epoch: usize,
    /// Training loss of that epoch.
    pub train_loss: f64,
    /// Validation loss of that epoch.
    pub val_loss: Option<f64>,
    /// Scores on the test windows, if there are any.
    pub test: Option<Evaluation>,
    /// Loss on the test rows of a text or a task, if there are any.
    pub test_loss: Option<f64>,
    /// Forecasts of the test windows `[windows, horizon, targets]` in the data's units.
    pub test_forecasts: Forecasts,
    /// The forecast beyond the last row `[horizon, targets]` in the data's units.
    pub ahead: Forecasts,
}
