//! The binary in a fresh folder: what it is given, and what it leaves behind.
#![allow(dead_code)]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A model that trains in a moment.
pub const TINY: &[(&str, &str)] =
    &[("--hidden-size", "8"), ("--num-layers", "1"), ("--window", "24"), ("--horizon", "4"), ("--epochs", "2")];

/// What a process left behind.
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the output is UTF-8");
        let said = Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) };
        assert!(!said.err.contains("panicked"), "{}", said.err);
        said
    }
}

impl Said {
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits_with(0)
    }

    #[track_caller]
    pub fn exits_with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "exit code; stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// Exit code 2 and a message that begins with `place`, says `problem`, and ends in a remedy that holds `remedy`.
    #[track_caller]
    pub fn refused(self, place: &str, problem: &str, remedy: &str) {
        let said = self.exits_with(2);
        let message = said.err.split_once("error: ").map_or("", |(_, message)| message);
        let (first, rest) = message.split_once('\n').unwrap_or((message, ""));
        assert!(
            first.starts_with(place) && message.contains(problem) && rest.contains(remedy),
            "got\n{message}\nbut want\n{place}… {problem}\n  …{remedy}…"
        );
    }

    /// The last line of stdout.
    #[track_caller]
    pub fn json(&self) -> Value {
        let last = self.out.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {last}"))
    }
}

pub fn folder() -> TempDir {
    tempfile::tempdir().expect("a fresh folder")
}

pub fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bptt"));
    // What was tuned on this machine is not of these runs.
    command.env("XDG_CACHE_HOME", folder.join("cache"));
    command.args(args).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub fn bptt(folder: &Path, args: &[&str]) -> Said {
    command(folder, args).output().expect("the binary runs").into()
}

/// `bptt train` on the CPU with [`TINY`] where `args` do not say otherwise.
pub fn training(folder: &Path, args: &[&str]) -> Command {
    let mut all = vec!["train"];
    for (flag, value) in TINY.iter().chain(&[("--device", "cpu")]) {
        if !args.contains(flag) {
            all.extend([*flag, *value]);
        }
    }
    all.extend(args);
    command(folder, &all)
}

pub fn train(folder: &Path, args: &[&str]) -> Said {
    training(folder, args).output().expect("the binary runs").into()
}

pub fn resume(folder: &Path, run: &str) -> Said {
    bptt(folder, &["train", "--device", "cpu", "--resume", run])
}

/// A CSV file of `rows` months with two columns.
pub fn table(rows: usize) -> String {
    let month = |row: usize| format!("{}-{:02}", 1950 + row / 12, row % 12 + 1);
    let line = |row: usize| format!("{},{},{}\n", month(row), row % 7, row * 37 % 11);
    std::iter::once("month,load,price\n".to_owned()).chain((0..rows).map(line)).collect()
}

pub fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    std::fs::write(folder.join(name), bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
}

pub fn read(path: impl AsRef<Path>) -> Vec<u8> {
    let path = path.as_ref();
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn text(path: impl AsRef<Path>) -> String {
    String::from_utf8(read(path)).expect("UTF-8")
}
