//! `bptt evaluate`: a model's scores on the test part of a file, or on all of it.

use std::path::PathBuf;
use std::process::ExitCode;

use bptt::config::{Precision, Task};
use bptt::device::Device;
use bptt::error::{Error, Place, Result};
use bptt::forecaster::Forecaster;
use bptt::trainer::Trainer;
use pollster::block_on;
use serde_json::json;

use super::source::Source;
use super::train::open_engine;
use super::{Global, results};

#[derive(clap::Args)]
pub struct EvaluateArgs {
    /// A run folder or a model.safetensors
    model: PathBuf,
    /// CSV file with the model's columns, or a text [default: the data it was trained on]
    file: Option<PathBuf>,
    /// Score every window of the file, not only those of its test part
    #[arg(long)]
    all: bool,
}

pub fn run(args: &EvaluateArgs, global: &Global) -> Result<ExitCode> {
    let source = Source::open(&args.model)?;
    if source.model.info.config.task() != Task::Forecast {
        return of_learnt(args, &source, global);
    }
    let series = source.series(args.file.as_deref(), global)?;
    let data = source.model.info.dataset(series)?;
    let windows = &data.windows;
    let starts = match args.all {
        true => [&windows.train[..], &windows.validation, &windows.test].concat(),
        false => windows.test.clone(),
    };
    if starts.is_empty() {
        let place = Place::file(&data.series.file);
        return Err(Error::file(place, "has no row to test on, by the model's own shares", "use --all"));
    }
    let engine = open_engine(global, Precision::F32)?;
    let (device, scaled) = bptt::on!(engine, device => {
        let shown = json!({ "device": device.kind(), "adapter": device.adapter() });
        let mut forecaster = Forecaster::new(device, &source.model, data.series.rows(), starts.len())?;
        (shown, block_on(forecaster.predict(&data.inputs(), &starts))?)
    });
    let evaluation = data.evaluate(&starts, &data.unscale(&scaled));
    results::print_scores(&format!("{}, {} windows", data.series.file, starts.len()), &evaluation, data.season);
    let mut object = json!({
        "device": device["device"], "adapter": device["adapter"], "windows": starts.len(),
        "test": evaluation.model, "baselines": evaluation.baselines,
    });
    if let Some(calibration) = evaluation.calibration {
        object["calibration"] = json!(calibration);
    }
    global.print_json(&object);
    Ok(ExitCode::SUCCESS)
}

/// The loss on the test part of a text or a task, or on all of it.
fn of_learnt(args: &EvaluateArgs, source: &Source, global: &Global) -> Result<ExitCode> {
    let mut data = source.learnt(args.file.as_deref())?;
    if args.all {
        data.split.test = 0..data.split.test.end;
        data.windows.test = [&data.windows.train[..], &data.windows.validation, &data.windows.test].concat();
    }
    let mut config = source.model.info.config.clone();
    // A short text has few streams.
    config.batch_size = config.batch_size.min(data.split.train.len() / config.bptt.unwrap_or(1)).max(1);
    config.precision = Precision::F32;
    let engine = open_engine(global, config.precision)?;
    let parameters = source.model.parameters.clone();
    let (report, _) = bptt::on!(engine, device => {
        // A run of no step: what is measured is what it begins with.
        block_on(Trainer::new(device, config, data.clone(), Some(parameters))?.finish())?
    });
    let Some(loss) = report.test_loss else {
        let place = Place::file(&data.series.file);
        return Err(Error::file(place, "has nothing to test on, by the model's own shares", "use --all"));
    };
    results::print_loss(loss, &data);
    global.print_json(&json!({ "test_loss": loss, "naive_loss": data.naive_loss().map(|(loss, _)| loss) }));
    Ok(ExitCode::SUCCESS)
}
