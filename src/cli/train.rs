//! `bptt train`: a run from its first step, or from its last checkpoint, to its scores and pictures.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bptt::checkpoint::Checkpoint;
use bptt::config::{Config, DeviceKind, InitScheme, Precision, Task};
use bptt::data::Dataset;
use bptt::device::{Device, Engine};
use bptt::error::{Error, Place, Result};
use bptt::interop::read_parameters;
use bptt::kernels::Kernels;
use bptt::model::NetworkShape;
use bptt::trainer::{Change, Event, Trainer};
use clap::ArgMatches;
use clap::parser::ValueSource;
use pollster::block_on;
use serde_json::json;

use super::progress::Progress;
use super::run_folder::RunFolder;
use super::{Global, layers, results, tune};

#[derive(clap::Args, Default)]
pub struct TrainArgs {
    #[command(flatten)]
    config: Config,
    /// Folder to write to [default: runs/<time>-<name>]
    #[arg(long, value_name = "DIR", help_heading = "Run", conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Go on with the run in this folder
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    resume: Option<PathBuf>,
    /// Start from the parameters in this safetensors file, PyTorch's or bptt's
    #[arg(long, value_name = "FILE", help_heading = "Run", conflicts_with = "resume")]
    init: Option<PathBuf>,
}

/// How long a mid-epoch checkpoint may be old.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(30);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

pub fn run(args: TrainArgs, matches: Option<&ArgMatches>, global: &Global) -> Result<ExitCode> {
    let start = match &args.resume {
        Some(folder) => Start::resumed(folder, &args.config, matches, global)?,
        None => Start::fresh(&args, matches, global)?,
    };
    start.data.notes.iter().for_each(|note| global.say(&format!("note: {note}")));
    let engine = open_engine(global, start.config.precision)?;
    // A second Ctrl-C means it: the last checkpoint stands.
    let handler = || {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    };
    ctrlc::set_handler(handler).expect("no other handler");
    bptt::on!(engine, device => train(device, start, global))
}

/// Opens the device asked for and says which it is. A GPU computes as was measured for it.
pub fn open_engine(global: &Global, precision: Precision) -> Result<Engine> {
    let engine = block_on(Engine::open(global.device, global.adapter.clone(), precision, tune::known()))?;
    let (kind, adapter) = bptt::on!(&engine, device => (device.kind(), device.adapter().to_owned()));
    let fell_back = kind == "cpu" && global.device == DeviceKind::Auto;
    let why = if fell_back { "no usable hardware GPU; " } else { "" };
    let half = match &engine {
        Engine::Gpu(gpu) => gpu.half().map_or(String::new(), |half| format!(", products of {half}")),
        Engine::Cpu(_) => String::new(),
    };
    global.say(&format!("{why}computing on the {}: {adapter}{half}", kind.to_uppercase()));
    Ok(engine)
}

/// What a run begins with.
struct Start {
    config: Config,
    data: Dataset,
    init: Option<Vec<f32>>,
    out: Option<PathBuf>,
    resumed: Option<(PathBuf, Checkpoint)>,
}

impl Start {
    fn fresh(args: &TrainArgs, matches: Option<&ArgMatches>, global: &Global) -> Result<Self> {
        let config = layers::resolve(&args.config, matches, global.config.as_deref(), global.seed)?;
        let biases = config.forget_bias.is_some() || config.chrono.is_some();
        let made = config.init_scheme != InitScheme::Default || biases;
        if args.init.is_some() && made {
            let problem = "takes all start values from a file, but `init_scheme`, `forget_bias` or `chrono` is given";
            return Err(Error::option("init", problem, "leave one of them out"));
        }
        let data = Dataset::load(&config)?;
        let (inputs, outputs) = data.widths();
        let shape = NetworkShape::new(&config, inputs, outputs);
        let read = |path: &PathBuf| {
            let bytes = std::fs::read(path).map_err(|error| Error::io("read", path, error))?;
            read_parameters(&path.display().to_string(), &bytes, &shape)
        };
        let init = args.init.as_ref().map(read).transpose()?;
        Ok(Self { config, data, init, out: args.out.clone(), resumed: None })
    }

    fn resumed(folder: &Path, flags: &Config, matches: Option<&ArgMatches>, global: &Global) -> Result<Self> {
        let file = folder.join("last.ckpt");
        let bytes = std::fs::read(&file).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::file(
                Place::file(folder.display().to_string()),
                "there is no last.ckpt in it",
                "give the folder of a run, or begin a new run",
            ),
            _ => Error::io("read", &file, error),
        })?;
        let mut checkpoint = Checkpoint::from_bytes(&file.display().to_string(), &bytes)?;
        let given = |id: &str| matches.is_some_and(|m| m.value_source(id) == Some(ValueSource::CommandLine));
        let known = flags.to_table()?;
        let fixed = known.keys().find(|key| !["seed", "epochs", "data"].contains(&key.as_str()) && given(key));
        if let Some(key) =
            fixed.cloned().or(global.seed.map(|_| "seed".into())).or(global.config.as_ref().map(|_| "config".into()))
        {
            let problem = format!("`{key}` is given, but a run keeps its options when it goes on");
            return Err(Error::file(
                Place::file("--resume"),
                problem,
                "leave it out (--epochs and the data's place can change), or begin a new run",
            ));
        }
        if given("epochs") {
            let change = Change { epochs: Some(flags.epochs), ..Change::default() };
            checkpoint.info.config = change.of(&checkpoint.info.config)?;
        }
        if given("data") {
            // A run that was begun elsewhere knows its file by another path; that it holds the same is checked.
            let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
            checkpoint.info.config.data = flags.data.as_ref().map(absolute);
        }
        let config = checkpoint.info.config.clone();
        let data = Dataset::load(&config)?;
        Ok(Self { config, data, init: None, out: None, resumed: Some((folder.to_owned(), checkpoint)) })
    }
}

fn train<D: Kernels>(device: D, start: Start, global: &Global) -> Result<ExitCode> {
    let Start { config, data, init, out, resumed } = start;
    let stem = config.data.as_deref().and_then(Path::file_stem);
    let name = stem.map_or(data.series.file.as_str().into(), |stem| stem.to_string_lossy());
    let name = name.replace(|letter: char| !letter.is_alphanumeric() && letter != '-' && letter != '_', "-");
    let fresh = resumed.is_none();
    let (mut trainer, mut folder) = match resumed {
        None => {
            // The path is kept absolute in the checkpoint, so that a run can go on from another folder.
            let mut config = config;
            config.data = config.data.map(|path| std::path::absolute(&path).unwrap_or(path));
            let trainer = Trainer::new(device, config, data, init)?;
            (trainer, RunFolder::create(out.as_deref(), &name)?)
        }
        Some((path, checkpoint)) => {
            let folder = RunFolder::reopen(&path, &checkpoint.position)?;
            (Trainer::resume(device, checkpoint, data)?, folder)
        }
    };
    let shown = folder.path.display().to_string();
    if fresh {
        folder.write("config.toml", trainer.config().to_toml().as_bytes())?;
        // From the first step on there is something to go on from.
        folder.write("last.ckpt", &block_on(trainer.checkpoint())?.to_bytes())?;
    }
    describe(&trainer, &shown, global);
    let begun = Instant::now();
    let finished = pull(&mut trainer, &mut folder, begun, global)?;
    let seconds = folder.seconds_before + begun.elapsed().as_secs_f64();
    if !finished {
        let position = trainer.position();
        let (epoch, step) = (position.epoch + 1, position.steps);
        note!("stopped after step {step}, in epoch {epoch}; go on with: bptt train --resume {shown}");
        return Ok(ExitCode::from(130));
    }
    results::write(trainer, &folder, seconds, global)?;
    Ok(ExitCode::SUCCESS)
}

fn describe<D: Kernels>(trainer: &Trainer<D>, folder: &str, global: &Global) {
    let (config, data) = (trainer.config(), trainer.data());
    let (series, windows) = (&data.series, &data.windows);
    let rhythm = series.time.as_ref().map_or(String::new(), |time| format!(", {}", time.describe()));
    let (train, validation, test) = (windows.train.len(), windows.validation.len(), windows.test.len());
    let (rows, window, horizon) = (series.rows(), config.window, config.horizon);
    global.say(&match data.task {
        Task::Forecast => format!("data: {}, {rows} rows{rhythm}; {window} rows in, {horizon} ahead", series.file),
        Task::Text => format!("data: {}, {rows} characters, {} different ones", series.file, data.alphabet.len()),
        _ => format!("data: the task {}, {} sequences of {window} steps", series.file, config.sequences),
    });
    global.say(&match config.bptt {
        Some(bptt) => {
            let (streams, steps) = (config.batch_size, trainer.steps_per_epoch());
            format!("streams: {streams} side by side, {bptt} steps at once, {steps} times an epoch")
        }
        None => format!("windows: {train} to train on, {validation} to validate, {test} to test"),
    });
    let memory = bptt::error::Bytes(trainer.device().allocated());
    let (layers, hidden) = (config.num_layers, config.hidden_size);
    global.say(&format!("model: {layers} × {hidden} units, {memory} on the device; writing to {folder}"));
}

/// Pulls the trainer until it ends (true) or Ctrl-C (false). The folder then holds a checkpoint of the last step.
fn pull<D: Kernels>(trainer: &mut Trainer<D>, folder: &mut RunFolder, begun: Instant, global: &Global) -> Result<bool> {
    let most = trainer.config().epochs.saturating_mul(trainer.steps_per_epoch()) as u64;
    let mut progress = Progress::new(global, most, trainer.position().steps);
    let mut saved = Instant::now();
    let finished = loop {
        if INTERRUPTED.load(Ordering::SeqCst) {
            break false;
        }
        let Some(event) = block_on(trainer.next())? else { break true };
        let seconds = folder.seconds_before + begun.elapsed().as_secs_f64();
        match &event {
            Event::Step(report) => {
                progress.step(report);
                if let Some(means) = report.means {
                    folder.log(&json!({
                        "step": report.step, "epoch": report.epoch, "loss": means.loss, "grad_norm": means.grad_norm,
                        "lr": means.lr, "seconds": seconds,
                    }))?;
                    if saved.elapsed() > CHECKPOINT_EVERY {
                        folder.write("last.ckpt", &block_on(trainer.checkpoint())?.to_bytes())?;
                        saved = Instant::now();
                    }
                }
            }
            Event::Epoch(report) => {
                progress.epoch(report);
                let mut line = serde_json::to_value(report).expect("plain data");
                line["seconds"] = json!(seconds);
                folder.log(&line)?;
                if report.best {
                    folder.write("model.safetensors", &block_on(trainer.model())?.to_bytes())?;
                }
                folder.write("last.ckpt", &block_on(trainer.checkpoint())?.to_bytes())?;
                saved = Instant::now();
            }
        }
    };
    folder.write("last.ckpt", &block_on(trainer.checkpoint())?.to_bytes())?;
    Ok(finished)
}
