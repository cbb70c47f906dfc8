//! `bptt inspect`: how far a model's gradient reaches back through time, and what its gates do.

use std::path::PathBuf;
use std::process::ExitCode;

use bptt::config::{Precision, Task};
use bptt::device::Device;
use bptt::error::{Error, Place, Result};
use bptt::inspector::{Cell, Clipping, Inspection, Inspector, Verdict, judge, sample};
use pollster::block_on;
use serde_json::{Value, json};

use super::run_folder::replace;
use super::source::Source;
use super::train::open_engine;
use super::{Global, plot};

#[derive(clap::Args)]
pub struct InspectArgs {
    /// A run folder or a model.safetensors
    model: PathBuf,
    /// CSV file with the model's columns, or a text [default: the data it was trained on]
    file: Option<PathBuf>,
    /// Most windows to look at, those to test on if there are any
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    windows: u32,
    /// Picture to write [default: gradient.svg in the run folder]
    #[arg(short, long, value_name = "OUT.svg")]
    output: Option<PathBuf>,
}

pub fn run(args: &InspectArgs, global: &Global) -> Result<ExitCode> {
    let source = Source::open(&args.model)?;
    let config = &source.model.info.config;
    let data = match config.task() {
        Task::Forecast => source.model.info.dataset(source.series(args.file.as_deref(), global)?)?,
        _ => source.learnt(args.file.as_deref())?,
    };
    let starts = sample(&data.windows, args.windows as usize);
    if starts.is_empty() {
        let problem = format!("is shorter than one window of {} characters", config.window);
        return Err(Error::file(Place::file(&data.series.file), problem, "give a longer text"));
    }
    let engine = open_engine(global, Precision::F32)?;
    let (device, found) = bptt::on!(engine, device => {
        let shown = json!({ "device": device.kind(), "adapter": device.adapter() });
        let mut inspector = Inspector::new(device, &source.model, data.series.rows(), starts.len())?;
        (shown, block_on(inspector.inspect(&data.inputs(), &data.targets(), &starts))?)
    });
    let clipping = metrics(args)?.and_then(|metrics| Clipping::read(&metrics, config));
    let verdict = judge(&found, config, clipping);
    print(&data.series.file, &found, clipping, &verdict);

    let in_folder = args.model.is_dir().then(|| args.model.join("gradient.svg"));
    let picture = args.output.clone().or(in_folder);
    if let Some(picture) = &picture {
        let loss = if every_step(&found) { "(loss at the last row)" } else { "loss" };
        replace(picture, plot::gradient(loss, &curves(&found)).as_bytes())?;
        out!("picture: {}", picture.display());
    }
    global.print_json(&object(&device, &found, clipping, &verdict, picture));
    Ok(ExitCode::SUCCESS)
}

/// What the run in the folder has logged; a model file has no run.
fn metrics(args: &InspectArgs) -> Result<Option<String>> {
    let path = args.model.join("metrics.jsonl");
    if !path.is_file() {
        return Ok(None);
    }
    std::fs::read_to_string(&path).map(Some).map_err(|error| Error::io("read", &path, error))
}

/// Its layer, with an arrow if it takes the steps from the last to the first.
fn name(cell: &Cell) -> String {
    format!("layer {}{}", cell.layer, if cell.reverse { " ←" } else { "" })
}

/// Whether more of the window than its last row has a loss.
fn every_step(found: &Inspection) -> bool {
    found.cells.iter().any(|cell| cell.gradient != cell.last_step)
}

fn curves(found: &Inspection) -> Vec<(String, Vec<f64>)> {
    found.cells.iter().map(|cell| (name(cell), cell.last_step.0.clone())).collect()
}

fn print(file: &str, found: &Inspection, clipping: Option<Clipping>, verdict: &Verdict) {
    let (windows, window) = (found.windows, found.window);
    out!("{file}: {windows} windows of {window} rows\n");
    let distances = distances(window);
    let heads: String = distances.iter().map(|distance| format!("{distance:>10}")).collect();
    let table = |title: &str, norms: &dyn Fn(&Cell) -> &[f64]| {
        out!("{title}");
        out!("  {:18}{heads}", "rows back");
        for cell in &found.cells {
            let norms = norms(cell);
            let row: String = distances.iter().map(|&distance| format!("{:>10.1e}", norms[distance])).collect();
            out!("  {:18}{row}", name(cell));
        }
        out!("");
    };
    table("norm of ∂loss/∂h", &|cell| &cell.gradient.0);
    if every_step(found) {
        table("norm of ∂loss/∂h, of the loss at the last row alone", &|cell| &cell.last_step.0);
    }

    out!(
        "{:20}{:>9}{:>8}{:>9}{:>8}{:>9}{:>8}{:>11}",
        "gates",
        "i < 0.1",
        "> 0.9",
        "f < 0.1",
        "> 0.9",
        "o < 0.1",
        "> 0.9",
        "|g| > 0.9"
    );
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    for cell in &found.cells {
        let gates = &cell.gates;
        let ends = [gates.input, gates.forget, gates.output];
        let ends: String =
            ends.iter().map(|ends| format!("{:>9}{:>8}", percent(ends.shut), percent(ends.open))).collect();
        out!("  {:18}{ends}{:>11}", name(cell), percent(gates.candidate));
    }
    out!("\n{:20}{:>9}{:>17}{:>20}", "memory in rows", "mean f", "by forget gates", "gradient above 1 %");
    for cell in &found.cells {
        let (mean, memory) = (cell.gates.forget_mean, format!("{:.1}", cell.gates.memory));
        let reach = cell.last_step.reach().map_or("beyond the window".into(), |reach| reach.to_string());
        out!("  {:18}{mean:>9.3}{memory:>17}{reach:>20}", name(cell));
    }
    if let Some(Clipping { logged, clipped }) = clipping {
        out!("\n{clipped} of the {logged} logged steps were clipped");
    }
    out!("\nverdict: {}", verdict.because);
    for (index, advice) in verdict.advice.iter().enumerate() {
        out!("  {} {advice}", if index == 0 { "may help:" } else { "      or:" });
    }
    out!("");
}

/// The distances of the table: 0, the powers of 4, and the farthest.
fn distances(window: usize) -> Vec<usize> {
    let last = window - 1;
    let powers = (0..).map(|power| 4usize.pow(power)).take_while(|power| *power < last);
    let mut distances: Vec<usize> = std::iter::once(0).chain(powers).chain([last]).collect();
    distances.dedup();
    distances
}

fn object(
    device: &Value,
    found: &Inspection,
    clipping: Option<Clipping>,
    verdict: &Verdict,
    picture: Option<PathBuf>,
) -> Value {
    let layers = found.cells.iter().map(|cell| {
        let mut object = json!(cell);
        object["far_to_near"] = json!(cell.last_step.far_to_near());
        object["reach"] = json!(cell.last_step.reach());
        object
    });
    let mut object = json!({
        "device": device["device"], "adapter": device["adapter"], "windows": found.windows, "window": found.window,
        "layers": layers.collect::<Vec<_>>(), "verdict": verdict,
    });
    if let Some(clipping) = clipping {
        object["clipping"] = json!(clipping);
    }
    if let Some(picture) = picture {
        object["picture"] = json!(picture.display().to_string());
    }
    object
}
