//! Output whose reader may leave at any time, as `head` does: that is no reason to panic.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write, stderr, stdout};

use bptt::error::Error;

/// Prints a line to stdout.
macro_rules! out {
    ($($text:tt)*) => { $crate::cli::print::to_stdout(format_args!("{}\n", format_args!($($text)*))) };
}

/// Prints a line to stderr.
macro_rules! note {
    ($($text:tt)*) => { $crate::cli::print::to_stderr(format_args!("{}\n", format_args!($($text)*))) };
}

/// Results: once nobody reads them the process is done; if they cannot be written it has failed.
pub fn to_stdout(text: Arguments) {
    let Err(error) = stdout().write_fmt(text) else { return };
    if error.kind() == ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    note!("error: {}", Error::io("write", "stdout", error));
    std::process::exit(1);
}

/// Messages: a training run goes on without a reader.
pub fn to_stderr(text: Arguments) {
    _ = stderr().write_fmt(text);
}
