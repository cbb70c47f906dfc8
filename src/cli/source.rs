//! A model to use: a run folder or a model file, and the data to use it on.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bptt::config::Task;
use bptt::data::{CsvOptions, Dataset, Series, read_csv};
use bptt::error::{Error, Place, Result};
use bptt::interop::Model;

use super::Global;

/// A model and where it came from.
pub struct Source {
    pub model: Model,
    /// The data of the run folder it lies in.
    run_data: Option<PathBuf>,
}

impl Source {
    /// Reads `path`: a model file or a run folder that holds one.
    pub fn open(path: &Path) -> Result<Self> {
        let file = if path.is_dir() { path.join("model.safetensors") } else { path.to_owned() };
        let bytes = std::fs::read(&file).map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                let remedy = "give a run folder, which holds one after its first epoch, or a model file";
                let problem =
                    if path.is_dir() { "there is no model.safetensors in it" } else { "no such file or folder" };
                Error::file(Place::file(path.display().to_string()), problem, remedy)
            }
            _ => Error::io("read", &file, error),
        })?;
        let model = Model::from_bytes(&file.display().to_string(), &bytes)?;
        let config = file.parent().map(|folder| folder.join("config.toml"));
        let text = config.and_then(|config| std::fs::read_to_string(config).ok());
        let config = text.and_then(|text| toml::from_str::<bptt::config::Config>(&text).ok());
        Ok(Self { model, run_data: config.and_then(|config| config.data) })
    }

    /// The text in `file`, or the one the model was trained on; or its task's own data.
    pub fn learnt(&self, file: Option<&Path>) -> Result<Dataset> {
        let info = &self.model.info;
        match (info.config.task(), file.or(self.run_data.as_deref())) {
            (Task::Text, Some(path)) => Dataset::text(path, &info.config, &info.alphabet),
            (Task::Text, None) => Err(no_data()),
            (_, Some(path)) => {
                let place = Place::file(path.display().to_string());
                Err(Error::file(place, "is given, but the model's task makes its own data", "leave it out"))
            }
            _ => Dataset::load(&info.config),
        }
    }

    /// The series in `file`, or the one the model was trained on.
    pub fn series(&self, file: Option<&Path>, global: &Global) -> Result<Series> {
        let info = &self.model.info;
        let path = match (file, &self.run_data) {
            (Some(file), _) => file,
            (None, Some(data)) => data,
            (None, None) if info.built_in => return Ok(Series::sunspots()),
            (None, None) => return Err(no_data()),
        };
        let columns = info.features.iter().chain(&info.targets).cloned().collect();
        let options = CsvOptions { time: info.config.time.clone(), missing: info.config.missing, columns };
        let parsed = read_csv(path, &options)?;
        parsed.notes.iter().for_each(|note| global.say(&format!("note: {note}")));
        Ok(parsed.series)
    }
}

fn no_data() -> Error {
    let problem = "no data file is given, and a model does not hold the path of its own";
    Error::file(Place::file("the command"), problem, "name the CSV file or the text after the model")
}
