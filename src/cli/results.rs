//! The end of a run: the kept model, its scores beside the naive forecasts, its forecast and the pictures.

use bptt::config::Task;
use bptt::data::{Dataset, Evaluation, Scores, repeat_last, seasonal};
use bptt::error::Result;
use bptt::kernels::Kernels;
use bptt::trainer::{Report, Trainer};
use pollster::block_on;
use serde_json::{Value, json};

use super::Global;
use super::plot::{self, LossPoint};
use super::run_folder::RunFolder;

/// Finishes `trainer`, fills the folder, and prints the scores.
pub fn write<D: Kernels>(trainer: Trainer<D>, folder: &RunFolder, seconds: f64, global: &Global) -> Result<()> {
    let data = trainer.data().clone();
    let (horizon, window) = (trainer.config().horizon, trainer.config().window);
    let device = json!({ "device": trainer.device().kind(), "adapter": trainer.device().adapter() });
    let points = trainer.epochs().iter();
    let points: Vec<_> =
        points.map(|e| LossPoint { epoch: e.epoch, train: e.train_loss, validation: e.val_loss }).collect();
    let (report, model) = block_on(trainer.finish())?;

    folder.write("model.safetensors", &model.to_bytes())?;
    folder.write("loss.svg", plot::loss(&points).as_bytes())?;
    if data.task == Task::Forecast {
        folder.write("forecast.csv", &report.ahead.to_csv(&data.series, &data.target_names()))?;
        folder.write("forecast.svg", plot::forecast(&figure(&data, &report, window, horizon)).as_bytes())?;
    }

    let shown = folder.path.display().to_string();
    let (epochs, best, steps) = (report.epochs, report.best_epoch, report.steps);
    out!("{epochs} epochs, {steps} steps, {seconds:.1} s; kept epoch {best}");
    out!("computed on the {}: {}", device["device"].as_str().unwrap_or(""), device["adapter"].as_str().unwrap_or(""));
    if let Some(test) = &report.test {
        print_scores(&format!("test, {} windows", data.windows.test.len()), test, data.season);
    }
    if let Some(loss) = report.test_loss {
        print_loss(loss, &data);
    }
    out!("run folder: {shown}");
    let mut object = device;
    let rest = json!({
        "epochs": report.epochs, "steps": report.steps, "seconds": seconds,
        "train_loss": report.train_loss, "val_loss": report.val_loss,
        "test": report.test.map(|test| test.model),
        "baselines": report.test.map(|test| test.baselines),
        "run_dir": shown,
    });
    if let (Value::Object(object), Value::Object(rest)) = (&mut object, rest) {
        object.extend(rest);
    }
    if let Some(loss) = report.test_loss {
        object["test_loss"] = json!(loss);
    }
    if let Some(calibration) = report.test.and_then(|test| test.calibration) {
        object["calibration"] = json!(calibration);
    }
    global.print_json(&object);
    Ok(())
}

/// A model's loss on the test rows of a text or a task beside that of one that has learnt nothing.
pub fn print_loss(loss: f64, data: &Dataset) {
    let unit = match data.task {
        Task::Adding => "of mean squared error".to_owned(),
        Task::Text => format!("nats a character: {:.3} bits, perplexity {:.2}", loss / 2f64.ln(), loss.exp()),
        _ => "nats a step".to_owned(),
    };
    out!("\ntest loss {} {unit}", digits(loss));
    if let Some((naive, name)) = data.naive_loss() {
        out!("  {name}: {}", digits(naive));
        if loss >= naive {
            out!(
                "\nThe model LOSES to that: it has learnt nothing yet. More epochs or another learning rate may help."
            );
        }
    }
    out!("");
}

/// A table of the model's scores and the naive ones, and a plain word if the model loses.
pub fn print_scores(title: &str, evaluation: &Evaluation, season: Option<usize>) {
    out!("\n{title:32}{:>10}{:>10}{:>8}", "RMSE", "MAE", "MASE");
    let row = |name: &str, scores: &Scores| {
        let mase = scores.mase.map_or("–".to_owned(), |mase| format!("{mase:.3}"));
        out!("  {name:30}{:>10}{:>10}{mase:>8}", digits(scores.rmse), digits(scores.mae));
    };
    row("this model", &evaluation.model);
    row("repeat the last value", &evaluation.baselines.repeat_last);
    if let (Some(scores), Some(season)) = (&evaluation.baselines.seasonal, season) {
        row(&format!("repeat the last {season} rows"), scores);
    }
    if let Some(calibration) = evaluation.calibration {
        let interval = calibration.coverage.map_or(String::new(), |coverage| {
            let (share, nominal) = (100.0 * coverage, 100.0 * calibration.nominal);
            format!("; {share:.1} % of the values lie in the {nominal:.0} % interval")
        });
        out!("  mean pinball loss of the quantiles {}{interval}", digits(calibration.pinball));
    }
    let (name, naive) = evaluation.best_naive();
    if evaluation.model.rmse >= naive.rmse {
        out!("\nThe model LOSES to {name}: do not use it. More data, a longer window or other features may help.");
    }
    out!("");
}

/// Four significant digits, as many as anyone compares.
fn digits(value: f64) -> String {
    let whole = value.abs().max(1e-12).log10().floor() as i32 + 1;
    let decimals = (4 - whole).clamp(0, 9) as usize;
    format!("{value:.decimals$}")
}

/// The first target: its test part with every horizon-th forecast, and the forecast beyond the data.
fn figure(data: &Dataset, report: &Report, window: usize, horizon: usize) -> plot::Forecast {
    let (series, column, targets) = (&data.series, data.columns.targets[0], data.columns.targets.len());
    let rows = series.rows();
    // Long tests show their last part: a line of thousands of rows shows nothing of a forecast.
    let from = data.split.test.start.saturating_sub(2 * horizon).max(rows.saturating_sub(40 * horizon.max(12)));
    let labels = (from..rows).map(|row| series.label(row));
    let labels = labels.chain(series.labels_after(horizon).1).collect();
    let (mut model, mut naive, mut bands) = (Vec::new(), Vec::new(), Vec::new());
    let cycle = report.test.filter(|test| test.best_naive().0 != "repeating the last value").and(data.season);
    for (index, &start) in data.windows.test.iter().enumerate().step_by(horizon) {
        let origin = start as usize + window;
        if origin < from {
            continue;
        }
        let place = |step: usize| (index * horizon + step) * targets;
        let value = |step: usize| report.test_forecasts.point[place(step)];
        model.push((0..horizon).map(|step| (origin + step - from, value(step))).collect());
        if let Some((low, high)) = report.test_forecasts.interval() {
            let both = |step: usize| (origin + step - from, low.values[place(step)], high.values[place(step)]);
            bands.push((0..horizon).map(both).collect());
        }
        let simple = match cycle {
            Some(season) => seasonal(series, column, origin, horizon, season),
            None => repeat_last(series, column, origin, horizon),
        };
        naive.push(simple.into_iter().enumerate().map(|(step, value)| (origin + step - from, value)).collect());
    }
    let interval = report.ahead.interval();
    if let Some((low, high)) = interval {
        let both = |step: usize| (rows + step - from, low.values[step * targets], high.values[step * targets]);
        bands.push((0..horizon).map(both).collect());
    }
    let name = &series.columns[column];
    plot::Forecast {
        title: format!("{name}: {horizon} rows ahead"),
        unit: name.clone(),
        labels,
        truth: (from..rows).map(|row| series.value(row, column)).collect(),
        model,
        naive,
        bands,
        interval: interval.map_or(String::new(), |(low, high)| format!("{:.0} %", 100.0 * (high.level - low.level))),
        ahead: report
            .ahead
            .point
            .iter()
            .step_by(targets)
            .enumerate()
            .map(|(step, &value)| (rows + step - from, value))
            .collect(),
        split: (data.split.test.start > from).then(|| data.split.test.start - from),
    }
}
