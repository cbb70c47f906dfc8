//! A model at work: forecasts of what was held out and of a file, text, gradients through time.
//!
//! Text and gradients are computed on the CPU, whatever the run computes on: a character at a time, or one small batch, a GPU
//! would mostly wait for its commands, and a run's own device stays the run's.

use js_sys::{Array, Object};
use wasm_bindgen::prelude::*;

use super::source::Source;
use super::values::{
    Fault, doubles, forecast_ahead, number, object, places, quantiles, set, singles, to_js, to_object,
};
use crate::config::{Config, LossKind, Task};
use crate::data::{CsvOptions, Dataset, Forecasts, Windows, repeat_last, seasonal};
use crate::device::Cpu;
use crate::error::{Error, Place};
use crate::forecaster::Forecaster;
use crate::generator::{Generator, Sampling};
use crate::inspector::{Inspector, Trace, judge, sample};
use crate::interop::Model;
use crate::trainer::Report;

/// Windows of a data set that are shown beside the truth.
pub struct Held {
    windows: Windows,
    window: usize,
    horizon: usize,
}

impl Held {
    pub fn of(data: &Dataset, config: &Config) -> Self {
        let windows = if data.task == Task::Forecast { data.windows.clone() } else { Windows::default() };
        Self { windows, window: config.window, horizon: config.horizon }
    }

    /// The last `most` windows of a part that do not overlap, in their order.
    pub fn starts(&self, part: &str, most: usize) -> Vec<u32> {
        let windows = if part == "test" { &self.windows.test } else { &self.windows.validation };
        let mut starts: Vec<u32> = windows.iter().rev().step_by(self.horizon).take(most).copied().collect();
        starts.reverse();
        starts
    }

    /// Forecasts of the windows at `starts` beside the truth and what naive forecasts say.
    pub fn beside(&self, starts: &[u32], forecasts: &Forecasts, data: &Dataset) -> Object {
        let targets = &data.columns.targets;
        let season = data.season.filter(|&season| season <= self.window);
        let origins: Vec<usize> = starts.iter().map(|&start| start as usize + self.window).collect();
        // [windows, horizon, targets], as the forecasts are.
        let each = |value: &dyn Fn(usize, usize) -> Vec<f64>| -> Vec<f64> {
            let window = |&origin: &usize| {
                let columns: Vec<Vec<f64>> = targets.iter().map(|&column| value(origin, column)).collect();
                (0..self.horizon)
                    .flat_map(|step| columns.iter().map(|c| c[step]).collect::<Vec<_>>())
                    .collect::<Vec<_>>()
            };
            origins.iter().flat_map(window).collect()
        };
        let series = &data.series;
        let truth = |origin, column| (origin..origin + self.horizon).map(|row| series.value(row, column)).collect();
        let last = |origin, column| repeat_last(series, column, origin, self.horizon);
        let cycle = season.map(|season| {
            doubles(&each(&move |origin, column| seasonal(series, column, origin, self.horizon, season)))
        });
        let labels: Vec<String> = origins.iter().map(|&origin| series.label(origin)).collect();
        object! {
            horizon: self.horizon, targets: data.target_names(), origins: places(origins.iter().copied()), labels: labels,
            point: doubles(&forecasts.point), quantiles: quantiles(forecasts), truth: doubles(&each(&truth)),
            repeat_last: doubles(&each(&last)), seasonal: cycle,
        }
    }

    /// Of a report's forecasts of all test windows those that do not overlap.
    pub fn of_report(&self, report: &Report, data: &Dataset) -> Option<Object> {
        let starts = self.starts("test", usize::MAX);
        let first = *self.windows.test.first()? as usize;
        let width = self.horizon * data.columns.targets.len();
        let chosen = |values: &[f64]| -> Vec<f64> {
            let of_window = |&start: &u32| &values[(start as usize - first) * width..][..width];
            starts.iter().flat_map(of_window).copied().collect()
        };
        let quantiles = report.test_forecasts.quantiles.iter();
        let quantiles = quantiles.map(|q| crate::data::Quantile { level: q.level, values: chosen(&q.values) });
        let forecasts = Forecasts { point: chosen(&report.test_forecasts.point), quantiles: quantiles.collect() };
        Some(self.beside(&starts, &forecasts, data))
    }
}

/// The norm of ∂loss/∂h by distance and the gates, as `bptt inspect` has them, and the verdict.
pub async fn inspect(model: &Model, data: &Dataset, windows: usize) -> Result<JsValue, Fault> {
    let starts = sample(&data.windows, windows.max(1));
    if starts.is_empty() {
        let problem = format!("is shorter than one window of {} rows", model.info.config.window);
        Err(Error::file(Place::file(&data.series.file), problem, "give a longer one"))?;
    }
    let (inputs, targets, places) = data.excerpt(&starts);
    let mut inspector = Inspector::new(Cpu::<f32>::new(), model, rows(&places, data, model), places.len())?;
    let found = inspector.inspect(&inputs, &targets, &places).await?;
    let shown = to_object(&found)?;
    set(&shown, "verdict", to_js(&judge(&found, &model.info.config, None))?);
    Ok(shown.into())
}

/// One window, the one at place `index` of those to test on: `{start, window, inputs, targets, cells}`.
pub async fn trace(model: &Model, data: &Dataset, index: usize) -> Result<JsValue, Fault> {
    let starts = sample(&data.windows, usize::MAX);
    let Some(&start) = starts.get(index) else {
        let problem = format!("is {index}, and there are {} windows", starts.len());
        return Err(Error::option("index", problem, "use a number below that").into());
    };
    let (inputs, targets, places) = data.excerpt(&[start]);
    let mut inspector = Inspector::new(Cpu::<f32>::new(), model, rows(&places, data, model), 1)?;
    let traces = inspector.trace(&inputs, &targets, places[0]).await?;
    let info = &model.info;
    Ok(object! {
        start: start, windows: starts.len(), window: info.config.window, features: info.features.clone(),
        targets: info.targets.clone(), alphabet: info.alphabet.as_str(), inputs: singles(&inputs),
        answers: singles(&targets), cells: traces.iter().map(tell_trace).collect::<Array>(),
    }
    .into())
}

fn tell_trace(trace: &Trace) -> Object {
    object! {
        layer: trace.layer, reverse: trace.reverse, hidden: trace.c.len() / trace.gradient.0.len(),
        gates: singles(&trace.gates), c: singles(&trace.c), h: singles(&trace.h), gradient: doubles(&trace.gradient.0),
    }
}

/// Rows of an excerpt.
fn rows(places: &[u32], data: &Dataset, model: &Model) -> usize {
    // The last window may end with the series, a row short of its targets.
    let config = &model.info.config;
    places
        .last()
        .map_or(0, |&last| last as usize + config.window + config.horizon)
        .min(data.series.rows() * places.len())
}

/// A model of text that goes on with one.
#[wasm_bindgen]
pub struct Writer {
    generator: Generator<Cpu<f32>>,
}

#[wasm_bindgen]
impl Writer {
    /// Reads a prompt, after which the text goes on.
    ///
    /// # Errors
    /// Characters that the model has never seen.
    pub async fn begin(&mut self, prompt: &str) -> Result<(), Fault> {
        Ok(self.generator.begin(prompt).await?)
    }

    /// The next `count` characters, chosen by `{temperature, top_k, top_p}`.
    ///
    /// # Errors
    /// A sampling that cannot be used.
    pub async fn next(&mut self, count: usize, sampling: &JsValue) -> Result<String, Fault> {
        let usual = Sampling::default();
        let sampling = Sampling {
            temperature: number(sampling, "temperature").unwrap_or(usual.temperature),
            top_k: number(sampling, "top_k").map_or(usual.top_k, |k| k as usize),
            top_p: number(sampling, "top_p").unwrap_or(usual.top_p),
        };
        let mut text = String::new();
        for _ in 0..count {
            text.push(self.generator.next(&sampling).await?);
        }
        Ok(text)
    }
}

impl Writer {
    pub fn of(model: &Model, seed: u32) -> Result<Self, Fault> {
        Ok(Self { generator: Generator::new(Cpu::new(), model, seed.into())? })
    }
}

/// A trained model, from the bytes of a `model.safetensors`.
#[wasm_bindgen]
pub struct Trained {
    model: Model,
}

#[wasm_bindgen]
impl Trained {
    /// Reads the file; `name` names it in messages.
    ///
    /// # Errors
    /// If it is not bptt's.
    pub fn read(name: &str, bytes: &[u8]) -> Result<Trained, Fault> {
        Ok(Self { model: Model::from_bytes(name, bytes)? })
    }

    /// What it is: `{config, built_in, features, targets, alphabet, task, parameters}`.
    ///
    /// # Errors
    /// None.
    pub fn describe(&self) -> Result<JsValue, Fault> {
        let info = &self.model.info;
        Ok(object! {
            config: to_js(&info.config)?, built_in: info.built_in, features: info.features.clone(),
            targets: info.targets.clone(), alphabet: info.alphabet.as_str(), task: to_js(&info.config.task())?,
            parameters: self.model.parameters.len(),
        }
        .into())
    }

    /// The rows after the last one of `source`: as many as the model forecasts at once, or `horizon`.
    ///
    /// # Errors
    /// Missing columns, too few rows, or a horizon that the model cannot reach.
    pub async fn forecast(&self, source: &mut Source, horizon: Option<usize>) -> Result<JsValue, Fault> {
        let data = self.dataset(source)?;
        let own = &self.model.info.config;
        let mut forecaster = Forecaster::new(Cpu::<f32>::new(), &self.model, own.window, 1)?;
        let ahead = forecaster.ahead(&data.series, horizon.unwrap_or(own.horizon)).await?;
        Ok(forecast_ahead(&ahead, &data).into())
    }

    /// Writes text.
    ///
    /// # Errors
    /// If it is no model of text.
    pub fn writer(&self, seed: u32) -> Result<Writer, Fault> {
        Writer::of(&self.model, seed)
    }

    /// How far its gradient reaches back on `source`, over at most `windows` windows.
    ///
    /// # Errors
    /// Those of an inspection.
    pub async fn inspect(&self, source: &mut Source, windows: usize) -> Result<JsValue, Fault> {
        inspect(&self.model, &self.dataset(source)?, windows).await
    }

    /// Gates, states and gradient of one window of `source`.
    ///
    /// # Errors
    /// Those of an inspection.
    pub async fn trace(&self, source: &mut Source, index: usize) -> Result<JsValue, Fault> {
        trace(&self.model, &self.dataset(source)?, index).await
    }

    /// `source` as the model sees it.
    fn dataset(&self, source: &mut Source) -> Result<Dataset, Fault> {
        let info = &self.model.info;
        match (info.config.task(), source.name()) {
            (Task::Text, Some(name)) => {
                Ok(Dataset::read_text(name, source.bytes(), &info.config, Some(&info.alphabet))?)
            }
            (Task::Forecast, _) if info.config.loss != LossKind::CrossEntropy => {
                let columns = info.features.iter().chain(&info.targets).cloned().collect();
                let options = CsvOptions { columns, ..CsvOptions::from(&info.config) };
                Ok(info.dataset(source.read(&options, None)?.series.clone())?)
            }
            _ => Ok(Dataset::load(&info.config)?),
        }
    }
}
