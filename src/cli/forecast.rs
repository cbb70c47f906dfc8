//! `bptt forecast`: the rows after the last one of a file.

use std::path::PathBuf;
use std::process::ExitCode;

use bptt::config::Precision;
use bptt::error::Result;
use bptt::forecaster::Forecaster;
use pollster::block_on;
use serde_json::json;

use super::run_folder::replace;
use super::source::Source;
use super::train::open_engine;
use super::{Global, print};

#[derive(clap::Args)]
pub struct ForecastArgs {
    /// A run folder or a model.safetensors
    model: PathBuf,
    /// CSV file with the model's columns [default: the data it was trained on]
    file: Option<PathBuf>,
    /// Rows to forecast [default: as many as the model was trained for]
    #[arg(long, value_name = "N")]
    horizon: Option<usize>,
    /// File to write [default: stdout]
    #[arg(short, long, value_name = "OUT.csv")]
    output: Option<PathBuf>,
}

pub fn run(args: &ForecastArgs, global: &Global) -> Result<ExitCode> {
    let source = Source::open(&args.model)?;
    let series = source.series(args.file.as_deref(), global)?;
    let info = &source.model.info;
    let horizon = args.horizon.unwrap_or(info.config.horizon);
    let engine = open_engine(global, Precision::F32)?;
    let ahead = bptt::on!(engine, device => {
        let mut forecaster = Forecaster::new(device, &source.model, info.config.window, 1)?;
        block_on(forecaster.ahead(&series, horizon))?
    });
    let text = ahead.to_csv(&series, &info.targets);
    match &args.output {
        Some(path) => {
            replace(path, &text)?;
            out!("{horizon} rows written to {}", path.display());
        }
        None => print::to_stdout(format_args!("{}", String::from_utf8_lossy(&text))),
    }
    let (_, labels) = series.labels_after(horizon);
    let mut object = json!({ "targets": info.targets, "labels": labels, "values": ahead.point });
    if !ahead.quantiles.is_empty() {
        object["quantiles"] = json!(ahead.quantiles);
    }
    global.print_json(&object);
    Ok(ExitCode::SUCCESS)
}
