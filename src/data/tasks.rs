//! Data made for one purpose: to see whether a network remembers over a long time. Sequence after sequence in one table, so
//! that a sequence is a window; its answers stand one row later, where a forecast's targets stand.

use std::ops::Range;

use super::{Columns, Dataset, Scaler, Series, Split, Windows};
use crate::config::{Config, Task};
use crate::error::Result;
use crate::rng::{Rng, Stream};

/// Symbols to remember in the copying task, and how many kinds of them there are.
const SYMBOLS: usize = 10;
const KINDS: u32 = 8;
/// Nothing to say, and the sign to begin.
const BLANK: f64 = 8.0;
const BEGIN: f64 = 9.0;

/// The adding task (Hochreiter & Schmidhuber 1997): of `window` numbers uniform in [0, 1) two are marked, one in each half;
/// the answer is their sum. Guessing 1 always has a mean squared error of 1/6.
///
/// # Errors
/// Shares that are none.
pub(super) fn adding(config: &Config) -> Result<Dataset> {
    let (steps, mut rng) = (config.window, Rng::new(config.seed, Stream::Data));
    let mut values = Vec::with_capacity(3 * (config.sequences * steps + 1));
    let mut answer = 0.0;
    for _ in 0..config.sequences {
        let half = (steps / 2) as u32;
        let marked = [rng.below(half), half + rng.below(steps as u32 - half)];
        let mut sum = 0.0;
        for t in 0..steps {
            let (number, mark) = (rng.uniform(), marked.contains(&(t as u32)));
            sum += if mark { number } else { 0.0 };
            values.extend([number, f64::from(u8::from(mark)), if t == 0 { answer } else { 0.0 }]);
        }
        answer = sum;
    }
    values.extend([0.0, 0.0, answer]);
    let columns = ["number", "marked", "sum"].map(String::from).to_vec();
    dataset(config, Series { file: "adding".into(), columns, values, time: None }, vec![0, 1], 2, Vec::new())
}

/// The copying task (Hochreiter & Schmidhuber 1997; Arjovsky, Shah & Bengio 2016): ten symbols, a pause, a sign, and then
/// the ten symbols are to be repeated; before, the answer is blank. Remembering nothing leaves 10 · ln 8 / window of loss.
///
/// # Errors
/// Shares that are none.
pub(super) fn copying(config: &Config) -> Result<Dataset> {
    let (steps, mut rng) = (config.window, Rng::new(config.seed, Stream::Data));
    let mut values = Vec::with_capacity(2 * (config.sequences * steps + 1));
    let mut answer = BLANK;
    for _ in 0..config.sequences {
        let symbols: Vec<f64> = (0..SYMBOLS).map(|_| f64::from(rng.below(KINDS))).collect();
        for t in 0..steps {
            let input = match t {
                _ if t < SYMBOLS => symbols[t],
                _ if t + SYMBOLS + 1 == steps => BEGIN,
                _ => BLANK,
            };
            values.extend([input, answer]);
            answer = if t + SYMBOLS >= steps { symbols[t + SYMBOLS - steps] } else { BLANK };
        }
    }
    values.extend([BLANK, answer]);
    let columns = ["symbol", "answer"].map(String::from).to_vec();
    let series = Series { file: "copying".into(), columns, values, time: None };
    dataset(config, series, vec![0], 1, "ABCDEFGH.>".chars().collect())
}

fn dataset(
    config: &Config,
    series: Series,
    features: Vec<usize>,
    target: usize,
    alphabet: Vec<char>,
) -> Result<Dataset> {
    let split = Split::by_time(config.sequences, config.train_share, config.validation_share)?;
    let starts = |part: &Range<usize>| part.clone().map(|sequence| (sequence * config.window) as u32).collect();
    let windows =
        Windows { train: starts(&split.train), validation: starts(&split.validation), test: starts(&split.test) };
    let columns = series.columns.len();
    Ok(Dataset {
        series,
        columns: Columns { features, targets: vec![target] },
        scaler: Scaler { mean: vec![0.0; columns], scale: vec![1.0; columns] },
        split,
        windows,
        season: None,
        notes: Vec::new(),
        task: if alphabet.is_empty() { Task::Adding } else { Task::Copying },
        alphabet,
        window: config.window,
        horizon: 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_the_sum_of_the_marked_numbers() {
        let config = Config { window: 7, sequences: 50, ..Config::defaults(Task::Adding, false) };
        let data = adding(&config).unwrap();
        let (mut first_halves, mut sums) = (0, 0.0);
        for &start in data.windows.train.iter().chain(&data.windows.validation).chain(&data.windows.test) {
            let rows = start as usize..start as usize + 7;
            let marked: Vec<usize> = rows.clone().filter(|&row| data.series.value(row, 1) == 1.0).collect();
            assert_eq!(marked.len(), 2);
            assert!(marked[0] - rows.start < 3 && marked[1] - rows.start >= 3, "{marked:?}");
            let sum: f64 = marked.iter().map(|&row| data.series.value(row, 0)).sum();
            assert_eq!(data.series.value(rows.end, 2), sum);
            first_halves += marked[0] - rows.start;
            sums += sum;
        }
        assert!(first_halves > 20 && (sums / 50.0 - 1.0).abs() < 0.3);
        assert_eq!(data.windows.train.len() + data.windows.validation.len() + data.windows.test.len(), 50);
    }

    #[test]
    fn the_symbols_come_back_after_the_sign() {
        let config = Config { window: 25, sequences: 9, ..Config::defaults(Task::Copying, false) };
        let data = copying(&config).unwrap();
        for sequence in 0..9 {
            let at = sequence * 25;
            let inputs: Vec<f64> = (at..at + 25).map(|row| data.series.value(row, 0)).collect();
            let answers: Vec<f64> = (at + 1..at + 26).map(|row| data.series.value(row, 1)).collect();
            assert!(inputs[..10].iter().all(|&symbol| symbol < 8.0));
            assert_eq!(inputs[10..14], [BLANK; 4]);
            assert_eq!(inputs[14], BEGIN);
            assert_eq!(inputs[15..], [BLANK; 10]);
            assert_eq!(answers[..15], [BLANK; 15]);
            assert_eq!(answers[15..], inputs[..10]);
        }
    }
}
