//! What a forecast must beat, and by how much: naive forecasts and scores, in the data's own units.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::Series;

/// How far forecasts are from the truth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Root of the mean squared error over all values of all targets.
    pub rmse: f64,
    /// Mean absolute error over all values of all targets.
    pub mae: f64,
    /// Mean absolute scaled error (Hyndman & Koehler 2006), below 1 where a forecast beats the seasonal naive one at one step:
    /// each target's mean absolute error by `mean |y[t] − y[t−m]|` over the training part, averaged over the targets. `None`
    /// where a target's training part repeats itself exactly or is no longer than its season `m`.
    pub mase: Option<f64>,
}

/// Adds up errors in `f64`, in the order they are pushed in.
#[derive(Clone, Debug)]
pub struct Scorer {
    targets: Vec<TargetErrors>,
}

#[derive(Clone, Debug)]
struct TargetErrors {
    /// Mean absolute seasonal difference in the training part, if there is one above 0.
    unit: Option<f64>,
    squares: f64,
    absolutes: f64,
    count: u64,
}

impl Scorer {
    /// A scorer of `targets` (columns of `series`). `season` is the `m` of the scaled error: 1 where there is no season.
    pub fn new(series: &Series, train: Range<usize>, targets: &[usize], season: Option<usize>) -> Self {
        let unit = |column| seasonal_difference(series, train.clone(), column, season.unwrap_or(1));
        let targets = targets
            .iter()
            .map(|&column| TargetErrors { unit: unit(column), squares: 0.0, absolutes: 0.0, count: 0 })
            .collect();
        Self { targets }
    }

    /// Adds one value of the target at position `target` in the list given to [`Scorer::new`].
    pub fn push(&mut self, target: usize, truth: f64, forecast: f64) {
        let errors = &mut self.targets[target];
        let error = forecast - truth;
        errors.squares += error * error;
        errors.absolutes += error.abs();
        errors.count += 1;
    }

    /// The scores of all values pushed so far.
    ///
    /// # Panics
    /// If a target has none.
    pub fn finish(&self) -> Scores {
        let count = self.targets.iter().map(|errors| errors.count).sum::<u64>() as f64;
        assert!(self.targets.iter().all(|errors| errors.count > 0), "a target has no value to score");
        let scaled = self.targets.iter().map(|errors| Some(errors.absolutes / errors.count as f64 / errors.unit?));
        let mase = scaled.sum::<Option<f64>>().map(|sum| sum / self.targets.len() as f64);
        Scores {
            rmse: (self.targets.iter().map(|errors| errors.squares).sum::<f64>() / count).sqrt(),
            mae: self.targets.iter().map(|errors| errors.absolutes).sum::<f64>() / count,
            mase,
        }
    }
}

fn seasonal_difference(series: &Series, train: Range<usize>, column: usize, season: usize) -> Option<f64> {
    assert!(season > 0, "a season of {season} rows");
    let rows = train.start + season..train.end;
    let differences = rows.clone().map(|row| (series.value(row, column) - series.value(row - season, column)).abs());
    let mean = differences.sum::<f64>() / rows.len() as f64;
    (mean > 0.0).then_some(mean)
}

/// Forecasts rows `origin .. origin + horizon` of `column` by the value before them.
///
/// # Panics
/// If no row is before `origin`.
pub fn repeat_last(series: &Series, column: usize, origin: usize, horizon: usize) -> Vec<f64> {
    seasonal(series, column, origin, horizon, 1)
}

/// Forecasts rows `origin .. origin + horizon` of `column` by the season before them, over and over.
///
/// # Panics
/// If fewer than `season` rows are before `origin`, or `season` is 0.
pub fn seasonal(series: &Series, column: usize, origin: usize, horizon: usize, season: usize) -> Vec<f64> {
    assert!((1..=origin).contains(&season), "a season of {season} rows before row {origin}");
    (0..horizon).map(|step| series.value(origin - season + step % season, column)).collect()
}
