//! A table of numbers, row by row in time.

use crate::error::{Error, Place, Result};

use super::TimeIndex;

/// How many column names an error lists.
const NAMES_SHOWN: usize = 30;

/// A multivariate time series, `C` numeric columns of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The file's name, for messages.
    pub file: String,
    /// The names of the numeric columns.
    pub columns: Vec<String>, // [C]
    /// The values in the file's units, row by row; all are finite.
    pub values: Vec<f64>, // [rows, C]
    /// The time of each row, where the file says it.
    pub time: Option<TimeIndex>,
}

/// Which columns a model reads and which it forecasts, as indices into [`Series::columns`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// Inputs of the model.
    pub features: Vec<usize>,
    /// What it forecasts.
    pub targets: Vec<usize>,
}

impl Series {
    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.values.len() / self.columns.len().max(1)
    }

    /// What `row`, counted from 0, is called: its time as the file writes it, or its number counted from 1.
    pub fn label(&self, row: usize) -> String {
        self.time.as_ref().map_or_else(|| (row + 1).to_string(), |time| time.label(row))
    }

    /// What such names are of, the time column or `row`, and those of the `count` rows after the last one.
    pub fn labels_after(&self, count: usize) -> (String, Vec<String>) {
        match &self.time {
            Some(time) => (time.name.clone(), time.after(count)),
            None => ("row".into(), (self.rows()..self.rows() + count).map(|row| self.label(row)).collect()),
        }
    }

    /// The value in `row` and `column`.
    ///
    /// # Panics
    /// If there is no such row or column.
    pub fn value(&self, row: usize, column: usize) -> f64 {
        assert!(column < self.columns.len(), "column {column} of {}", self.columns.len());
        self.values[row * self.columns.len() + column]
    }

    /// The index of the column called `name`.
    ///
    /// # Errors
    /// If there is none; the error lists the columns there are.
    pub fn column(&self, name: &str) -> Result<usize> {
        self.columns.iter().position(|column| column == name).ok_or_else(|| {
            Error::file(
                Place::file(&self.file),
                format!("there is no column `{name}` of numbers"),
                format!("its columns of numbers are {}", list(&self.columns)),
            )
        })
    }

    /// Finds features and targets by name. No features: every column. No targets: the last of the features.
    ///
    /// # Errors
    /// If a name is unknown or given twice.
    pub fn select(&self, features: &[String], targets: &[String]) -> Result<Columns> {
        let mut chosen = Columns { features: self.find("features", features)?, targets: self.find("target", targets)? };
        if features.is_empty() {
            chosen.features = (0..self.columns.len()).collect();
        }
        if targets.is_empty() {
            chosen.targets = chosen.features.last().copied().into_iter().collect();
        }
        Ok(chosen)
    }

    fn find(&self, option: &'static str, names: &[String]) -> Result<Vec<usize>> {
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            let column = self.column(name)?;
            if found.contains(&column) {
                return Err(Error::option(option, format!("`{name}` is given twice"), "name each column once"));
            }
            found.push(column);
        }
        Ok(found)
    }
}

/// Names for a message: `a`, `b`, `c`.
pub(super) fn list(names: &[String]) -> String {
    let shown = names.iter().take(NAMES_SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
