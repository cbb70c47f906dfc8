//! How often a run's gradients were clipped, from its metrics.

use serde::Serialize;
use serde_json::Value;

use crate::config::Config;

/// Steps of a run whose gradient was longer than it may be. A logged step is the mean since the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Clipping {
    /// Steps that the metrics hold.
    pub logged: usize,
    /// Those whose norm was above `max_norm`.
    pub clipped: usize,
}

impl Clipping {
    /// From the lines of `metrics.jsonl`; none if the run clips no norm or has logged no step.
    pub fn read(metrics: &str, config: &Config) -> Option<Self> {
        if config.max_norm == 0.0 || config.clip_value.is_some() {
            return None;
        }
        // A line that a killed process left half written is none.
        let lines = metrics.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        // The lines at an epoch's end are means over all of it.
        let steps = lines.filter(|line| line.get("train_loss").is_none());
        let norms: Vec<f64> = steps.filter_map(|line| line["grad_norm"].as_f64()).collect();
        let clipped = norms.iter().filter(|norm| **norm > config.max_norm).count();
        (!norms.is_empty()).then_some(Self { logged: norms.len(), clipped })
    }

    /// The share of the logged steps that were clipped.
    pub fn share(&self) -> f64 {
        self.clipped as f64 / self.logged as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_counted_and_epochs_are_not() {
        let metrics = "{\"step\":1,\"grad_norm\":0.5}\n{\"step\":2,\"grad_norm\":2.5}\n\
                       {\"epoch\":1,\"train_loss\":1.0,\"grad_norm\":9.0}\n{\"step\":3,\"grad_norm\":1.0}\n{\"step\":4,\"gr";
        let config = Config { max_norm: 1.0, ..Config::default() };
        assert_eq!(Clipping::read(metrics, &config), Some(Clipping { logged: 3, clipped: 1 }));
        assert_eq!(Clipping::read("", &config), None);
        assert_eq!(Clipping::read(metrics, &Config { max_norm: 0.0, ..config.clone() }), None);
        assert_eq!(Clipping::read(metrics, &Config { clip_value: Some(0.1), ..config }), None);
    }
}
