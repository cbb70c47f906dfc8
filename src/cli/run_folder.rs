//! The folder of a run. Every file in it is replaced whole or not at all; only `metrics.jsonl` grows line by line.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use bptt::checkpoint::Position;
use bptt::error::{Error, Place, Result};
use serde_json::Value;

/// How the names of unfinished files begin.
const WRITING: &str = ".writing-";

/// A run folder that this process alone writes to.
pub struct RunFolder {
    pub path: PathBuf,
    metrics: File,
    /// Seconds of training before this process.
    pub seconds_before: f64,
    _lock: File,
}

impl RunFolder {
    /// A new folder: `out`, or `runs/<time>-<name>`.
    pub fn create(out: Option<&Path>, name: &str) -> Result<Self> {
        let path = match out {
            Some(out) => {
                let occupied = std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
                if occupied || out.is_file() {
                    let remedy = "name another folder with --out, or go on with --resume";
                    return Err(Error::file(Place::file(out.display().to_string()), "is there already", remedy));
                }
                std::fs::create_dir_all(out).map_err(|error| Error::io("create", out, error))?;
                out.to_owned()
            }
            None => Self::fresh(name)?,
        };
        let lock = lock(&path)?;
        let metrics = path.join("metrics.jsonl");
        let metrics = File::create(&metrics).map_err(|error| Error::io("create", &metrics, error))?;
        Ok(Self { path, metrics, seconds_before: 0.0, _lock: lock })
    }

    /// A folder nobody has yet, even if two runs begin in the same second.
    fn fresh(name: &str) -> Result<PathBuf> {
        let runs = Path::new("runs");
        std::fs::create_dir_all(runs).map_err(|error| Error::io("create", runs, error))?;
        let time = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string();
        for attempt in 1.. {
            let suffix = if attempt == 1 { String::new() } else { format!("-{attempt}") };
            let path = runs.join(format!("{time}-{name}{suffix}"));
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(path),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io("create", &path, error)),
            }
        }
        unreachable!("some number is free")
    }

    /// The folder of an earlier run, its metrics cut back to `position`.
    pub fn reopen(path: &Path, position: &Position) -> Result<Self> {
        let lock = lock(path)?;
        let left = std::fs::read_dir(path).into_iter().flatten().flatten();
        for entry in left.filter(|entry| entry.file_name().to_string_lossy().starts_with(WRITING)) {
            // A process that was killed could not tidy up.
            _ = std::fs::remove_file(entry.path());
        }
        let file = path.join("metrics.jsonl");
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let kept: Vec<(&str, Value)> = text
            .lines()
            .filter_map(|line| Some((line, serde_json::from_str::<Value>(line).ok()?)))
            .take_while(|(_, value)| belongs(value, position))
            .collect();
        let seconds_before = kept.last().and_then(|(_, value)| value["seconds"].as_f64()).unwrap_or(0.0);
        let kept: String = kept.iter().flat_map(|(line, _)| [*line, "\n"]).collect();
        replace(&file, kept.as_bytes())?;
        let metrics = OpenOptions::new().append(true).open(&file).map_err(|error| Error::io("write", &file, error))?;
        Ok(Self { path: path.to_owned(), metrics, seconds_before, _lock: lock })
    }

    /// Adds one object to `metrics.jsonl`.
    pub fn log(&mut self, value: &Value) -> Result<()> {
        let line = format!("{value}\n");
        self.metrics
            .write_all(line.as_bytes())
            .map_err(|error| Error::io("write", self.path.join("metrics.jsonl"), error))
    }

    /// Replaces the file `name`.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        replace(&self.path.join(name), bytes)
    }
}

/// Whether a line of the metrics was written before `position`.
fn belongs(line: &Value, position: &Position) -> bool {
    let number = |key: &str| line[key].as_u64().unwrap_or(u64::MAX);
    let epoch_over = line.get("train_loss").is_some();
    number("step") <= position.steps && (!epoch_over || number("epoch") <= position.epoch as u64)
}

/// Two processes that train in one folder would each undo the other's work.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(".lock");
    let file = File::create(&path).map_err(|error| Error::io("create", &path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let place = Place::file(folder.display().to_string());
            Err(Error::file(place, "another process is training in it", "wait for it, or use another folder"))
        }
        // Some file systems know no locks; then there is no protection, but also no reason not to train.
        Err(TryLockError::Error(_)) => Ok(file),
    }
}

/// Writes beside the file, syncs, and renames: whoever reads it finds the old bytes or the new ones.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |error| Error::io("write", path, error);
    // A link stays a link, and what is no file, such as /dev/stdout, cannot be replaced.
    let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        return std::fs::write(path, bytes).map_err(failed);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut beside = tempfile::Builder::new().prefix(WRITING).tempfile_in(folder).map_err(failed)?;
    beside.write_all(bytes).map_err(failed)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // A temporary file is private; a result is not.
        beside.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).map_err(failed)?;
    }
    beside.as_file().sync_all().map_err(failed)?;
    beside.persist(path).map_err(|error| failed(error.error))?;
    // The name itself is on disk only after the folder is; not every system can sync one.
    _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}
