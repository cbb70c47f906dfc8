//! Characters to learn: a text file, each character by the place it has in the text's alphabet.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Columns, Dataset, Scaler, Series, Split, Windows, windows};
use crate::config::{Config, Task};
use crate::error::{Error, Place, Result};

/// Most characters of one alphabet: each is a class.
const MOST_CLASSES: usize = 10_000;

/// Reads the text in `path`; characters outside `alphabet`, if one is given, are an error.
///
/// # Errors
/// If it cannot be read, is not UTF-8, or is too short for its parts.
pub(super) fn load(path: &Path, config: &Config, alphabet: Option<&str>) -> Result<Dataset> {
    let file = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| Error::io("read", path, error))?;
    read(file, bytes, config, alphabet)
}

/// The same of the bytes of `file`.
///
/// # Errors
/// If they are not UTF-8, or too few for the parts.
pub(super) fn read(file: String, bytes: Vec<u8>, config: &Config, alphabet: Option<&str>) -> Result<Dataset> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = 1 + error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|&&b| b == b'\n').count();
        let remedy = "convert it, for instance with iconv -t UTF-8";
        Error::file(Place::file(&file).line(line as u64), "is not text in UTF-8", remedy)
    })?;
    if text.is_empty() {
        return Err(Error::file(Place::file(&file), "the file is empty", "give a text file"));
    }
    let alphabet: Vec<char> = match alphabet {
        Some(alphabet) => alphabet.chars().collect(),
        None => {
            let mut letters = BTreeSet::new();
            letters.extend(text.chars());
            letters.into_iter().collect()
        }
    };
    if alphabet.len() > MOST_CLASSES {
        let problem = format!("has {} different characters, and {MOST_CLASSES} is the most", alphabet.len());
        return Err(Error::file(Place::file(&file), problem, "give a text in fewer scripts"));
    }
    of(file, &text, alphabet, config)
}

/// The data set of `text` from `file`.
///
/// # Errors
/// If a character is not in `alphabet`, or the text is too short for its parts.
pub(super) fn of(file: String, text: &str, alphabet: Vec<char>, config: &Config) -> Result<Dataset> {
    let mut ids = Vec::with_capacity(text.len());
    for (place, letter) in text.chars().enumerate() {
        let id = alphabet.binary_search(&letter).map_err(|_| {
            let line = 1 + text.chars().take(place).filter(|&letter| letter == '\n').count();
            let problem = format!("has the character {letter:?}, which the model has never seen");
            Error::file(Place::file(&file).line(line as u64), problem, "leave it out, or train on a text that has it")
        })?;
        ids.push(id as f64);
    }
    let split = Split::by_time(ids.len(), config.train_share, config.validation_share)?;
    let part = |rows| windows(rows, rows.start, config.window, 1).into_iter().step_by(config.window).collect();
    let parts = Windows { train: part(&split.train), validation: part(&split.validation), test: part(&split.test) };
    if config.bptt.is_none() && parts.train.is_empty() {
        let problem = format!("is {}, longer than the training part's {} characters", config.window, split.train.len());
        return Err(Error::option("window", problem, "lower it, or give a longer text"));
    }
    let series = Series { file, columns: vec!["text".into()], values: ids, time: None };
    Ok(Dataset {
        series,
        columns: Columns { features: vec![0], targets: vec![0] },
        scaler: Scaler { mean: vec![0.0], scale: vec![1.0] },
        split,
        windows: parts,
        season: None,
        notes: Vec::new(),
        task: Task::Text,
        alphabet,
        window: config.window,
        horizon: 1,
    })
}
