//! Columns of mean 0 and deviation 1, by the training rows alone, so that nothing of the future leaks into the inputs.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Place, Result};

use super::{Columns, Series};

/// `x' = (x − mean) / scale` for each column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scaler {
    /// Mean over the training rows.
    pub mean: Vec<f64>, // [C]
    /// Population standard deviation over them, as in scikit-learn's `StandardScaler`; 1 for a constant column.
    pub scale: Vec<f64>, // [C]
}

impl Scaler {
    /// Mean and scale of every column over `rows`.
    ///
    /// # Panics
    /// If `rows` is empty or reaches beyond the series.
    pub fn fit(series: &Series, rows: Range<usize>) -> Self {
        let columns = 0..series.columns.len();
        let (mean, scale) =
            columns.map(|column| moments(series, rows.clone(), column)).map(|(m, s)| (m, s.unwrap_or(1.0))).unzip();
        Self { mean, scale }
    }

    /// The scaled values of `columns` (indices into the series, in this order), rounded to `f32`: `[rows, columns]`.
    pub fn transform(&self, series: &Series, columns: &[usize]) -> Vec<f32> {
        let width = series.columns.len();
        assert_eq!(self.mean.len(), width, "columns of the scaler and of the series");
        let mut scaled = Vec::with_capacity(series.rows() * columns.len());
        for row in series.values.chunks_exact(width) {
            scaled.extend(columns.iter().map(|&column| self.scaled(row[column], column) as f32));
        }
        scaled
    }

    /// One value of `column` in scaled units.
    pub fn scaled(&self, value: f64, column: usize) -> f64 {
        (value - self.mean[column]) / self.scale[column]
    }

    /// One scaled value of `column` in the data's units.
    pub fn inverse(&self, value: f64, column: usize) -> f64 {
        value * self.scale[column] + self.mean[column]
    }
}

/// The columns that do not change in `rows`.
pub fn constant_columns(series: &Series, rows: Range<usize>) -> Vec<usize> {
    (0..series.columns.len()).filter(|&column| moments(series, rows.clone(), column).1.is_none()).collect()
}

/// Notes, for the user, on features that are constant in the training rows.
///
/// # Errors
/// If a target is constant there: nothing can be learnt from it, and its scores say nothing.
pub fn check_constant(series: &Series, rows: Range<usize>, columns: &Columns) -> Result<Vec<String>> {
    let constant = constant_columns(series, rows.clone());
    if let Some(&column) = columns.targets.iter().find(|target| constant.contains(target)) {
        let value = series.value(rows.start, column);
        return Err(Error::file(
            Place::file(&series.file).column(&series.columns[column]),
            format!("the target is {value} in all {} rows of the training part", rows.len()),
            "choose another column with `target`, or a larger `train_share`",
        ));
    }
    let features = columns.features.iter().filter(|feature| constant.contains(feature));
    Ok(features
        .map(|&column| {
            format!(
                "`{}` does not change in the training part: the model learns nothing from it",
                series.columns[column]
            )
        })
        .collect())
}

/// Mean and population standard deviation of a column over `rows`; `None` for the deviation of a constant column.
fn moments(series: &Series, rows: Range<usize>, column: usize) -> (f64, Option<f64>) {
    assert!(!rows.is_empty(), "no rows to take a mean of");
    let count = rows.len() as f64;
    let values = || rows.clone().map(|row| series.value(row, column));
    let mean = values().sum::<f64>() / count;
    let variance = values().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    // scikit-learn's bound on what rounding alone leaves of a constant column's variance (`_is_constant_feature`).
    let rounding = count * f64::EPSILON * variance + (count * mean * f64::EPSILON).powi(2);
    (mean, (variance > rounding).then(|| variance.sqrt()))
}
