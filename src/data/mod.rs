//! Files → [`Series`] → windows, on the host and in `f64`. Plain Rust: nothing here knows of a device.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `series.rs` | a table of numbers with names and, if known, the time of each row; features and targets |
//! | `sunspots.rs` | the built-in series |
//! | `csv_file.rs` | CSV → series: separators, decimal commas, missing values, and an error for everything else |
//! | `time.rs` | which column is time, that it increases, its step and season, labels beyond the last row |
//! | `split.rs` | training, validation and test rows; the windows whose targets lie in each |
//! | `scaler.rs` | mean and scale of each column over the training rows |
//! | `dataset.rs` | all of that together, as one run needs it, and the evaluation of a forecast |
//! | `forecast.rs` | naive forecasts, and the scores that every forecast gets |
//! | `text.rs` | a text and its alphabet |
//! | `tasks.rs` | the adding and the copying task, made up |
//! | `outputs.rs` | a head's outputs → point forecasts and quantiles, and how well these fit |

mod csv_file;
mod dataset;
mod forecast;
mod outputs;
mod scaler;
mod series;
mod split;
mod sunspots;
mod tasks;
mod text;
mod time;

pub use csv_file::{CsvOptions, Parsed, parse_csv, parse_csv_watched, read_csv};
pub use dataset::{Dataset, Evaluation, NaiveScores};
pub use forecast::{Scorer, Scores, repeat_last, seasonal};
pub use outputs::{Calibration, Forecasts, Quantile};
pub use scaler::{Scaler, check_constant, constant_columns};
pub use series::{Columns, Series};
pub use split::{Split, Windows, windows};
pub use time::{Clock, Form, Step, TimeIndex};
