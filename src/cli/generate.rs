//! `bptt generate`: a model of text goes on with a prompt.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use bptt::config::Precision;
use bptt::error::Result;
use bptt::generator::{Generator, Sampling};
use pollster::block_on;
use serde_json::json;

use super::Global;
use super::source::Source;
use super::train::open_engine;

#[derive(clap::Args)]
pub struct GenerateArgs {
    /// A run folder or a model.safetensors that was trained on a text
    model: PathBuf,
    /// Text to go on with
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, default_value = "")]
    prompt: String,
    /// Characters to write
    #[arg(long, value_name = "N", default_value_t = 500)]
    length: usize,
    /// Below 1 it dares less, above 1 more; 0 always takes the likeliest character
    #[arg(long, value_name = "T", allow_negative_numbers = true, default_value_t = Sampling::default().temperature)]
    temperature: f64,
    /// Choose among this many of the likeliest characters only; 0 is no limit
    #[arg(long, value_name = "K", default_value_t = Sampling::default().top_k)]
    top_k: usize,
    /// Choose among the likeliest that together have this probability
    #[arg(long, value_name = "P", default_value_t = Sampling::default().top_p)]
    top_p: f64,
}

pub fn run(args: &GenerateArgs, global: &Global) -> Result<ExitCode> {
    let source = Source::open(&args.model)?;
    let sampling = Sampling { temperature: args.temperature, top_k: args.top_k, top_p: args.top_p };
    sampling.validate()?;
    let mut text = String::new();
    let show = |letter: char| {
        text.push(letter);
        if !global.json {
            super::print::to_stdout(format_args!("{letter}"));
            _ = std::io::stdout().flush();
        }
    };
    let engine = open_engine(global, Precision::F32)?;
    bptt::on!(engine, device => {
        let mut generator = Generator::new(device, &source.model, global.seed.unwrap_or(0))?;
        if !global.json {
            super::print::to_stdout(format_args!("{}", args.prompt));
        }
        block_on(generator.write(&args.prompt, args.length, &sampling, show))?;
    });
    if !global.json {
        out!("");
    }
    global.print_json(&json!({ "prompt": args.prompt, "text": text }));
    Ok(ExitCode::SUCCESS)
}
