//! Options that may change while a run goes on. They take effect with the next step, and a checkpoint holds them.

use super::Trainer;
use crate::config::{Config, LrSchedule};
use crate::error::{Error, Result};
use crate::kernels::{Kernels, Rule};

/// What is to change; `None` leaves it as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Change {
    /// The learning rate that the schedule starts from.
    pub lr: Option<f64>,
    /// The norm that gradients are clipped to; 0 for no clipping. Clipping by value ends.
    pub max_norm: Option<f64>,
    /// What each gradient is clipped to instead.
    pub clip_value: Option<f64>,
    /// The most epochs. A run that has come to its end goes on if there are more.
    pub epochs: Option<usize>,
}

impl Change {
    /// `config` with the change.
    ///
    /// # Errors
    /// Values that cannot be used, or another number of epochs where the learning rate follows a curve over all of them.
    pub fn of(&self, config: &Config) -> Result<Config> {
        let curve = matches!(config.lr_schedule, LrSchedule::Cosine | LrSchedule::OneCycle);
        if curve && self.epochs.is_some_and(|epochs| epochs != config.epochs) {
            let problem = "cannot change, because the run's learning rate follows a curve over all its epochs";
            return Err(Error::option("epochs", problem, "leave it, or begin a new run"));
        }
        let mut changed = config.clone();
        changed.lr = self.lr.unwrap_or(config.lr);
        changed.epochs = self.epochs.unwrap_or(config.epochs);
        if let Some(norm) = self.max_norm {
            (changed.max_norm, changed.clip_value) = (norm, None);
        }
        changed.clip_value = self.clip_value.or(changed.clip_value);
        changed.validate()?;
        Ok(changed)
    }
}

impl<D: Kernels> Trainer<D> {
    /// Goes on from here with other options.
    ///
    /// # Errors
    /// Those of [`Change::of`]; then nothing has changed.
    pub fn change(&mut self, change: &Change) -> Result<()> {
        self.config = change.of(&self.config)?;
        self.optimizer.rule = Rule::from(&self.config);
        if self.position.step == 0 {
            self.position.finished = self.is_over();
        }
        Ok(())
    }
}
