//! A series made ready for one run: columns chosen, rows split, scaler fitted, windows found.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{
    Calibration, Columns, CsvOptions, Forecasts, Scaler, Scorer, Scores, Series, Split, Windows, check_constant,
    read_csv, repeat_last, seasonal, tasks, text,
};
use crate::config::{Config, LossKind, Task};
use crate::error::{Error, Result};

/// Everything a run takes from its data.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The whole series in its own units.
    pub series: Series,
    /// Which of its columns go in and come out.
    pub columns: Columns,
    /// Fitted on the training rows alone.
    pub scaler: Scaler,
    /// Rows to train, validate and test on.
    pub split: Split,
    /// The windows whose targets lie in each part.
    pub windows: Windows,
    /// Rows in a season, from the option or the time column.
    pub season: Option<usize>,
    /// What a user should know: values filled in, columns left out, gaps.
    pub notes: Vec<String>,
    /// What there is to learn in it.
    pub task: Task,
    /// The characters that the columns hold the places of; none where they hold numbers.
    pub alphabet: Vec<char>,
    pub(super) window: usize,
    pub(super) horizon: usize,
}

/// The scores of forecasts that need no model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NaiveScores {
    /// Every step ahead is the last value.
    pub repeat_last: Scores,
    /// Every step ahead is the value one season before, where there is a season.
    pub seasonal: Option<Scores>,
}

/// A model's scores on some windows beside the naive ones on the same windows, in the data's own units.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The model's.
    pub model: Scores,
    /// The naive forecasts'.
    pub baselines: NaiveScores,
    /// The fit of the model's quantiles, if it has any.
    pub calibration: Option<Calibration>,
}

impl Evaluation {
    /// The naive forecast with the smaller RMSE, and its name.
    pub fn best_naive(&self) -> (&'static str, Scores) {
        match self.baselines.seasonal {
            Some(seasonal) if seasonal.rmse < self.baselines.repeat_last.rmse => {
                ("the seasonal naive forecast", seasonal)
            }
            _ => ("repeating the last value", self.baselines.repeat_last),
        }
    }
}

/// Reads the series that `config` names: its file, or the built-in sunspots. The notes are for the user.
///
/// # Errors
/// What is wrong with the file, with its place and a remedy.
pub(crate) fn read_series(config: &Config) -> Result<(Series, Vec<String>)> {
    let Some(path) = &config.data else { return Ok((Series::sunspots(), Vec::new())) };
    let parsed = read_csv(path, &CsvOptions::from(config))?;
    Ok((parsed.series, parsed.notes))
}

impl Dataset {
    /// Reads and prepares the data that `config` names.
    ///
    /// # Errors
    /// What is wrong with the file or with the options for it.
    pub fn load(config: &Config) -> Result<Self> {
        config.validate()?;
        match (config.task(), &config.data) {
            (Task::Forecast, _) => {
                let (series, notes) = read_series(config)?;
                Self::new(series, config, notes)
            }
            (Task::Text, Some(path)) => text::load(path, config, None),
            (Task::Text, None) => {
                Err(Error::option("task", "is text, but there is no file", "name a text file in UTF-8"))
            }
            (Task::Adding, _) => tasks::adding(config),
            (Task::Copying, _) => tasks::copying(config),
        }
    }

    /// The text in `path` as a model of characters sees it.
    ///
    /// # Errors
    /// If it cannot be read or has characters outside `alphabet`.
    pub fn text(path: &Path, config: &Config, alphabet: &str) -> Result<Self> {
        text::load(path, config, Some(alphabet))
    }

    /// The text in `bytes`; `file` names it in messages. Its alphabet is `alphabet`, or what characters it has.
    ///
    /// # Errors
    /// If it is not UTF-8, is too short for its parts, or has characters outside `alphabet`.
    pub fn read_text(file: &str, bytes: &[u8], config: &Config, alphabet: Option<&str>) -> Result<Self> {
        text::read(file.to_owned(), bytes.to_vec(), config, alphabet)
    }

    /// Prepares `series` as `config` says.
    ///
    /// # Errors
    /// Unknown columns, too few rows for the window, a target that never changes, or a loss that is not for numbers.
    pub fn new(series: Series, config: &Config, mut notes: Vec<String>) -> Result<Self> {
        if config.loss == LossKind::CrossEntropy {
            let problem = "is cross_entropy, but a series has numbers and no classes";
            return Err(Error::option("loss", problem, "use mse, l1, huber, quantile, gaussian or student_t"));
        }
        let columns = series.select(&config.features, &config.target)?;
        let split = Split::by_time(series.rows(), config.train_share, config.validation_share)?;
        let windows = split.windows(config.window, config.horizon)?;
        notes.extend(check_constant(&series, split.train.clone(), &columns)?);
        let scaler = Scaler::fit(&series, split.train.clone());
        let season = config.season.or_else(|| series.time.as_ref().and_then(|time| time.season()));
        let (window, horizon) = (config.window, config.horizon);
        let (task, alphabet) = (Task::Forecast, Vec::new());
        Ok(Self { series, columns, scaler, split, windows, season, notes, task, alphabet, window, horizon })
    }

    /// Widths of the network for this data: its inputs, and its target columns or classes.
    pub fn widths(&self) -> (usize, usize) {
        match self.alphabet.len() {
            0 => (self.columns.features.len(), self.columns.targets.len()),
            classes => (classes, classes),
        }
    }

    /// The names of the target columns.
    pub fn target_names(&self) -> Vec<String> {
        self.columns.targets.iter().map(|&column| self.series.columns[column].clone()).collect()
    }

    /// What a model that has learnt nothing loses on the test part, and what that is; for a series there are naive
    /// forecasts instead.
    pub fn naive_loss(&self) -> Option<(f64, &'static str)> {
        match self.task {
            Task::Forecast => None,
            Task::Adding => Some((1.0 / 6.0, "always answering 1")),
            Task::Copying => Some((10.0 * 8f64.ln() / self.window as f64, "remembering nothing")),
            Task::Text => {
                let mut counts = vec![1.0; self.alphabet.len()];
                self.series.values[self.split.train.clone()].iter().for_each(|&id| counts[id as usize] += 1.0);
                let all: f64 = counts.iter().sum();
                let test = &self.series.values[self.split.test.clone()];
                let loss: f64 = test.iter().map(|&id| -(counts[id as usize] / all).ln()).sum();
                Some((loss / test.len() as f64, "knowing only how often each character comes"))
            }
        }
    }

    /// The scaled feature columns `[R, D]`, or the ids `[R]` of characters.
    pub fn inputs(&self) -> Vec<f32> {
        self.scaler.transform(&self.series, &self.columns.features)
    }

    /// The scaled target columns `[R, targets]`.
    pub fn targets(&self) -> Vec<f32> {
        self.scaler.transform(&self.series, &self.columns.targets)
    }

    /// The scaled inputs and targets, as [`inputs`](Dataset::inputs) and [`targets`](Dataset::targets) have them, of no more
    /// rows than the windows at `starts` and their targets reach, and where these windows begin among them.
    pub fn excerpt(&self, starts: &[u32]) -> (Vec<f32>, Vec<f32>, Vec<u32>) {
        let (reach, width) = (self.window + self.horizon, self.series.columns.len());
        let rows = |start: u32| start as usize..self.series.rows().min(start as usize + reach);
        let mut next = 0;
        let place = |&start: &u32| {
            next += rows(start).len();
            (next - rows(start).len()) as u32
        };
        let places = starts.iter().map(place).collect();
        let values = starts.iter().flat_map(|&start| {
            let rows = rows(start);
            self.series.values[rows.start * width..rows.end * width].iter().copied()
        });
        let (file, columns) = (self.series.file.clone(), self.series.columns.clone());
        let part = Series { file, columns, values: values.collect(), time: None };
        let scaled = |columns: &[usize]| self.scaler.transform(&part, columns);
        (scaled(&self.columns.features), scaled(&self.columns.targets), places)
    }

    /// Scaled `forecasts` in the data's own units.
    pub fn unscale(&self, forecasts: &Forecasts) -> Forecasts {
        let targets = &self.columns.targets;
        forecasts.map(|place, value| self.scaler.inverse(value, targets[place % targets.len()]))
    }

    /// Scores forecasts in the data's own units of the windows that begin at `starts`.
    ///
    /// # Panics
    /// If there is no window.
    pub fn evaluate(&self, starts: &[u32], forecasts: &Forecasts) -> Evaluation {
        let targets = &self.columns.targets;
        let season = self.season.filter(|&season| season <= self.window);
        let scorer = || Scorer::new(&self.series, self.split.train.clone(), targets, season);
        let (mut model, mut last, mut cycle) = (scorer(), scorer(), season.map(|season| (season, scorer())));
        let mut truths = vec![0.0; forecasts.point.len()];
        for (window, &start) in starts.iter().enumerate() {
            let origin = start as usize + self.window;
            for (index, &column) in targets.iter().enumerate() {
                let repeated = repeat_last(&self.series, column, origin, self.horizon);
                let cycled =
                    cycle.as_ref().map(|(season, _)| seasonal(&self.series, column, origin, self.horizon, *season));
                for step in 0..self.horizon {
                    let truth = self.series.value(origin + step, column);
                    let place = (window * self.horizon + step) * targets.len() + index;
                    truths[place] = truth;
                    model.push(index, truth, forecasts.point[place]);
                    last.push(index, truth, repeated[step]);
                    if let (Some((_, scorer)), Some(cycled)) = (&mut cycle, &cycled) {
                        scorer.push(index, truth, cycled[step]);
                    }
                }
            }
        }
        let baselines = NaiveScores { repeat_last: last.finish(), seasonal: cycle.map(|(_, scorer)| scorer.finish()) };
        Evaluation { model: model.finish(), baselines, calibration: forecasts.calibration(&truths) }
    }
}
