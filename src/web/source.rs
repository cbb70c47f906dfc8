//! A file's bytes: what is understood of it, what it looks like, and the data set that a run makes of it.

use std::iter;
use std::ops::Range;

use js_sys::{Array, Function, Object};
use wasm_bindgen::prelude::*;

use super::values::{Fault, IntoJs, config_of, doubles, object, places, set, to_js};
use crate::checkpoint::Checkpoint;
use crate::config::{Config, Task};
use crate::data::{Columns, CsvOptions, Dataset, Parsed, Series, parse_csv_watched};
use crate::error::{Error, Place, Result};

/// Characters of a text that are shown of it.
const SHOWN: usize = 500;

/// Data to learn from: a file, or what needs none (the built-in sunspots, the tasks that make their own data).
#[wasm_bindgen]
pub struct Source {
    name: Option<String>,
    bytes: Vec<u8>,
    parsed: Option<(CsvOptions, Parsed)>,
}

#[wasm_bindgen]
impl Source {
    /// The file `name`; without a name the data that a config makes or that is built in.
    #[wasm_bindgen(constructor)]
    pub fn new(name: Option<String>, bytes: Option<Vec<u8>>) -> Self {
        Self { name, bytes: bytes.unwrap_or_default(), parsed: None }
    }

    /// What is understood of it with `options`. `watch`, if given, is called with the share that is read.
    ///
    /// # Errors
    /// What is wrong with the file, with line, column and remedy.
    pub fn describe(&mut self, options: &JsValue, watch: Option<Function>) -> Result<JsValue, Fault> {
        let config = self.config(options)?;
        match config.task() {
            Task::Forecast => {
                let Parsed { series, notes } = self.table(&config, watch)?;
                Ok(describe_table(series, notes, &config))
            }
            Task::Text => self.describe_text(),
            task => {
                let (sequences, window) = (config.sequences, config.window);
                Ok(object! { kind: "task", task: to_js(&task)?, sequences: sequences, window: window }.into())
            }
        }
    }

    /// The same with what a run would make of it: its parts and windows, and notes.
    ///
    /// # Errors
    /// Those of [`describe`](Source::describe), and options that do not fit the data.
    pub fn prepare(&mut self, options: &JsValue, watch: Option<Function>) -> Result<JsValue, Fault> {
        let config = self.config(options)?;
        let data = self.dataset(&config, watch)?;
        let (split, windows) = (&data.split, &data.windows);
        let range = |rows: &Range<usize>| vec![rows.start, rows.end];
        let split =
            object! { train: range(&split.train), validation: range(&split.validation), test: range(&split.test) };
        let (train, validation, test) = (windows.train.len(), windows.validation.len(), windows.test.len());
        let shown = describe_columns(&data.series, &data.columns);
        set(&shown, "season", data.season);
        set(&shown, "notes", data.notes);
        set(&shown, "classes", data.alphabet.len());
        set(&shown, "split", split);
        set(&shown, "windows", object! { train: train, validation: validation, test: test });
        Ok(shown.into())
    }

    /// The values of a column, of which no more than `most` are needed for a picture: the least and the greatest of each
    /// stretch, in their order. `{rows: Uint32Array, values: Float64Array, labels: string[]}`; of labels there are those of
    /// the first, the middle and the last row.
    ///
    /// # Errors
    /// Those of [`describe`](Source::describe), or if there is no such column.
    pub fn preview(&mut self, options: &JsValue, column: &str, most: usize) -> Result<JsValue, Fault> {
        let config = self.config(options)?;
        let series = &self.table(&config, None)?.series;
        let index = series.column(column)?;
        let rows = extremes(series, index, most.max(4));
        let values: Vec<f64> = rows.iter().map(|&row| series.value(row, index)).collect();
        let last = series.rows() - 1;
        let labels = vec![series.label(0), series.label(last / 2), series.label(last)];
        Ok(object! { values: doubles(&values), rows: places(rows), labels: labels }.into())
    }
}

impl Source {
    /// Whether a person gave a file.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The options for this file.
    pub fn config(&self, options: &JsValue) -> Result<Config, Fault> {
        let options =
            if options.is_object() { Object::assign(&Object::new(), options.unchecked_ref()) } else { Object::new() };
        set(&options, "data", self.name.as_deref());
        config_of(&options)
    }

    /// The data set for `config`.
    pub fn dataset(&mut self, config: &Config, watch: Option<Function>) -> Result<Dataset, Fault> {
        match (config.task(), &self.name) {
            (Task::Forecast, Some(_)) => {
                let Parsed { series, notes } = self.table(config, watch)?;
                Ok(Dataset::new(series.clone(), config, notes.clone())?)
            }
            (Task::Text, Some(name)) => Ok(Dataset::read_text(name, &self.bytes, config, None)?),
            _ => Ok(Dataset::load(config)?),
        }
    }

    /// The data set of a run that goes on; from here on the run knows its file by this one's name.
    pub fn dataset_of(&mut self, checkpoint: &mut Checkpoint, watch: Option<Function>) -> Result<Dataset, Fault> {
        let config = &mut checkpoint.info.config;
        match (&config.data, &self.name) {
            (Some(path), None) => {
                let place = Place::file(path.display().to_string());
                Err(Error::file(place, "this file of the run is not here", "open it, then the checkpoint"))?
            }
            (Some(_), Some(name)) => config.data = Some(name.into()),
            (None, _) => return Ok(Dataset::load(config)?),
        }
        let config = config.clone();
        self.dataset(&config, watch)
    }

    /// The table as `config` has it read; it is kept until other columns or times are wanted.
    pub fn table(&mut self, config: &Config, watch: Option<Function>) -> Result<&Parsed, Fault> {
        self.read(&CsvOptions::from(config), watch)
    }

    /// The table as `options` have it read, likewise.
    pub fn read(&mut self, options: &CsvOptions, watch: Option<Function>) -> Result<&Parsed, Fault> {
        if self.parsed.as_ref().is_none_or(|(known, _)| known != options) {
            let tell = &mut |share: f64| {
                if let Some(watch) = &watch {
                    _ = watch.call1(&JsValue::NULL, &share.into());
                }
            };
            let parsed = match &self.name {
                Some(name) => parse_csv_watched(name, &self.bytes, options, tell)?,
                None => Parsed { series: Series::sunspots(), notes: Vec::new() },
            };
            self.parsed = Some((options.clone(), parsed));
        }
        Ok(&self.parsed.as_ref().expect("it was just read").1)
    }

    fn describe_text(&self) -> Result<JsValue, Fault> {
        let name = self.name.as_deref().unwrap_or_default();
        // Read as a run would, but for the length that it asks for.
        let config = Config { window: 1, bptt: Some(1), batch_size: 1, ..Config::defaults(Task::Text, true) };
        let data = Dataset::read_text(name, &self.bytes, &config, None)?;
        let text = String::from_utf8_lossy(&self.bytes);
        Ok(object! {
            kind: "text", name: name, characters: data.series.rows(),
            alphabet: data.alphabet.iter().collect::<String>(), lines: text.lines().count(),
            begins: text.chars().take(SHOWN).collect::<String>(),
        }
        .into())
    }
}

fn describe_table(series: &Series, notes: &[String], config: &Config) -> JsValue {
    let time = series.time.as_ref().map(|time| {
        let (first, last) = (time.label(0), time.label(series.rows() - 1));
        object! { name: time.name.clone(), step: time.describe(), season: time.season(), first: first, last: last }
    });
    // Names that are wrong are told when a run is prepared.
    let chosen = series.select(&config.features, &config.target).unwrap_or_default();
    let shown = describe_columns(series, &chosen);
    set(&shown, "kind", "table");
    set(&shown, "name", series.file.as_str());
    set(&shown, "columns", series.columns.clone());
    set(&shown, "time", time);
    set(&shown, "notes", notes.to_vec());
    shown.into()
}

fn describe_columns(series: &Series, columns: &Columns) -> Object {
    let names =
        |columns: &[usize]| -> Array { columns.iter().map(|&c| series.columns[c].as_str().into_js()).collect() };
    object! { rows: series.rows(), features: names(&columns.features), targets: names(&columns.targets) }
}

/// Rows of the least and the greatest value of each of at most `most / 2` stretches; all rows where there are few.
fn extremes(series: &Series, column: usize, most: usize) -> Vec<usize> {
    let rows = series.rows();
    if rows <= most {
        return (0..rows).collect();
    }
    let stretches = most / 2;
    let of_stretch = |stretch: usize| {
        let (from, to) = (stretch * rows / stretches, (stretch + 1) * rows / stretches);
        let by_value = |a: &usize, b: &usize| series.value(*a, column).total_cmp(&series.value(*b, column));
        let (least, greatest) = ((from..to).min_by(by_value), (from..to).max_by(by_value));
        let [least, greatest] = [least, greatest].map(|row| row.expect("a row in each stretch"));
        let (first, last) = (least.min(greatest), least.max(greatest));
        iter::once(first).chain((last > first).then_some(last))
    };
    (0..stretches).flat_map(of_stretch).collect()
}
