//! What can go wrong, told to a person: the place, the problem and the remedy.
//!
//! A programmer's mistake is an `assert!`; everything a user, a file or a device can cause is an [`Error`].

use std::fmt;
use std::path::Path;

/// The crate's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a result that cannot be an error holds. `expect` would bring the code that prints each kind of error, for a page to load.
pub(crate) fn sure<T, E>(result: std::result::Result<T, E>, why: &str) -> T {
    match result {
        Ok(value) => value,
        Err(_) => panic!("{why}"),
    }
}

/// Where in a file a problem was found; parts that are unknown are left out when printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file's name as the user wrote it.
    pub file: String,
    /// Line of the file, counted from 1.
    pub line: Option<u64>,
    /// Name of the column.
    pub column: Option<String>,
}

impl Place {
    /// A whole file.
    pub fn file(file: impl Into<String>) -> Self {
        Self { file: file.into(), ..Self::default() }
    }
    /// One line of it, counted from 1.
    pub fn line(mut self, line: u64) -> Self {
        self.line = Some(line);
        self
    }
    /// One column of it.
    pub fn column(mut self, column: impl Into<String>) -> Self {
        self.column = Some(column.into());
        self
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if let Some(column) = &self.column {
            write!(f, ", column `{column}`")?;
        }
        Ok(())
    }
}

/// Every error of the library. Its text says where, what, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A data, model or checkpoint file does not hold what it must.
    #[error("{place}: {problem}\n  {remedy}")]
    File {
        /// File, line and column.
        place: Place,
        /// What was found.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// An option has a value that cannot be used, alone or together with another one.
    #[error("option `{option}`: {problem}\n  {remedy}")]
    Option {
        /// The option's name as in the config file.
        option: &'static str,
        /// What is wrong with its value.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// The operating system refused to read or write.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// "read", "write", "create", …
        action: &'static str,
        /// The path as the user would recognise it.
        path: String,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The run does not fit the device.
    #[error("{need} needs {bytes}, but {limit} is {allowed}\n  {remedy}")]
    Memory {
        /// What needs the memory.
        need: String,
        /// How much, printed with its unit.
        bytes: Bytes,
        /// The limit's name.
        limit: String,
        /// The limit's value.
        allowed: Bytes,
        /// What to lower.
        remedy: String,
    },
    /// No device, or a device that refused a command.
    #[error("{problem}\n  {remedy}")]
    Device {
        /// What happened.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// The device is gone, with all that was on it: its driver was reset, or it was taken away.
    #[error("{problem}\n  {remedy}")]
    Lost {
        /// Which device, and why as far as it is known.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// Training produced a value that is not finite.
    #[error(
        "step {step}: `{tensor}` is not finite; the weights before this step are kept\n  lower `lr` or `max_norm`, or look for extreme values in the data"
    )]
    Diverged {
        /// The optimizer step, counted from 1.
        step: u64,
        /// The first tensor, in the order of computation, that holds a NaN or an infinity.
        tensor: String,
    },
}

impl Error {
    /// A file's content is wrong at `place`.
    pub fn file(place: Place, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::File { place, problem: problem.into(), remedy: remedy.into() }
    }
    /// An option's value is wrong.
    pub fn option(option: &'static str, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Option { option, problem: problem.into(), remedy: remedy.into() }
    }
    /// The operating system refused `action` on `path`.
    pub fn io(action: &'static str, path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io { action, path: path.as_ref().display().to_string(), source }
    }
    /// The device is missing or refused.
    pub fn device(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Device { problem: problem.into(), remedy: remedy.into() }
    }
}

/// A number of bytes that prints with a unit people read: `1.5 GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = self.0 as f64;
        for unit in ["bytes", "KiB", "MiB"] {
            if value < 1024.0 {
                let digits = if unit == "bytes" || value >= 100.0 { 0 } else { 1 };
                return write!(f, "{value:.digits$} {unit}");
            }
            value /= 1024.0;
        }
        write!(f, "{value:.1} GiB")
    }
}
