//! Arguments and exit codes. One file a subcommand.

#[macro_use]
mod print;

mod bench;
mod devices;
mod evaluate;
mod forecast;
mod generate;
mod inspect;
mod layers;
mod plot;
mod profile;
mod progress;
mod results;
mod run_folder;
mod source;
mod train;
mod tune;

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;

use bptt::config::DeviceKind;
use bptt::error::{Error, Result};
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

/// Train LSTMs by back-propagation through time, on any GPU or on the CPU
#[derive(Parser)]
#[command(
    name = "bptt",
    version,
    max_term_width = 120,
    after_help = "Without a command it trains on the built-in monthly sunspot numbers."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    global: Global,
}

/// Options that every command takes.
#[derive(Args, Clone)]
struct Global {
    /// Engine to compute on
    #[arg(
        long,
        value_enum,
        global = true,
        default_value_t,
        hide_possible_values = true,
        value_name = "auto|gpu|cpu",
        help_heading = "Everywhere"
    )]
    device: DeviceKind,
    /// Adapter to use: part of a name that `bptt devices` shows
    #[arg(long, global = true, value_name = "NAME", help_heading = "Everywhere")]
    adapter: Option<String>,
    /// Threads of the CPU engine [default: all cores]
    #[arg(
        long,
        global = true,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=1024),
        help_heading = "Everywhere"
    )]
    threads: Option<u16>,
    /// Seed of the start weights and of the order of the windows
    #[arg(long, global = true, value_name = "N", help_heading = "Everywhere")]
    seed: Option<u64>,
    /// Print one JSON object as the last line
    #[arg(long, global = true, help_heading = "Everywhere")]
    json: bool,
    /// Print errors and results only
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Everywhere")]
    quiet: bool,
    /// Print what each step does
    #[arg(short, long, global = true, help_heading = "Everywhere")]
    verbose: bool,
    /// Options from a file; flags win over it
    #[arg(long, global = true, value_name = "FILE.toml", help_heading = "Everywhere")]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Train a model, score it, and forecast
    Train(Box<train::TrainArgs>),
    /// Score a model beside the naive forecasts
    Evaluate(evaluate::EvaluateArgs),
    /// Forecast beyond the last row of a file
    Forecast(forecast::ForecastArgs),
    /// Go on with a text, by a model that was trained on one
    Generate(generate::GenerateArgs),
    /// See how far a model's gradient reaches back through time
    Inspect(inspect::InspectArgs),
    /// List the adapters and what they offer
    Devices(devices::DevicesArgs),
    /// Time training steps, after checking their result
    Bench(bench::BenchArgs),
    /// Write completions for a shell to stdout
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual page to stdout
    Man,
}

/// Parses the arguments and does what they say.
pub fn run() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    carry_out(cli.command, &matches, &cli.global).unwrap_or_else(|error| {
        note!("error: {error}");
        exit_code(&error)
    })
}

fn carry_out(command: Option<Command>, matches: &ArgMatches, global: &Global) -> Result<ExitCode> {
    global.start_threads()?;
    match command {
        None => {
            let args = train::TrainArgs::default();
            train::run(args, None, global)
        }
        Some(Command::Train(args)) => train::run(*args, matches.subcommand_matches("train"), global),
        Some(Command::Evaluate(args)) => evaluate::run(&args, global),
        Some(Command::Forecast(args)) => forecast::run(&args, global),
        Some(Command::Generate(args)) => generate::run(&args, global),
        Some(Command::Inspect(args)) => inspect::run(&args, global),
        Some(Command::Devices(args)) => devices::run(&args, global),
        Some(Command::Bench(args)) => bench::run(&args, global),
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "bptt", &mut script);
            Ok(written(&script))
        }
        Some(Command::Man) => man(),
    }
}

/// 2 for what the user can mend in arguments or files, 1 for everything else.
fn exit_code(error: &Error) -> ExitCode {
    match error {
        Error::File { .. } | Error::Option { .. } | Error::Memory { .. } => ExitCode::from(2),
        Error::Io { source, .. } if source.kind() == ErrorKind::NotFound => ExitCode::from(2),
        Error::Io { .. } | Error::Device { .. } | Error::Lost { .. } | Error::Diverged { .. } => ExitCode::FAILURE,
    }
}

fn man() -> Result<ExitCode> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(|error| Error::io("write", "the page", error))?;
    Ok(written(&page))
}

fn written(text: &[u8]) -> ExitCode {
    print::to_stdout(format_args!("{}", String::from_utf8_lossy(text)));
    ExitCode::SUCCESS
}

impl Global {
    /// Starts the CPU engine's threads, once. This thread is one of them: to hand each operation to the others and to wait for
    /// them takes longer than many a small one.
    fn start_threads(&self) -> Result<()> {
        let threads = self.threads.unwrap_or(0);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.into()).use_current_thread().build_global();
        pool.map_err(|error| Error::device(format!("the CPU engine's threads: {error}"), "use fewer with --threads"))
    }

    /// A line for the user, unless it is quiet.
    fn say(&self, line: &str) {
        if !self.quiet {
            note!("{line}");
        }
    }

    /// The last line of stdout, if JSON was asked for.
    fn print_json(&self, value: &serde_json::Value) {
        if self.json {
            out!("{value}");
        }
    }
}
