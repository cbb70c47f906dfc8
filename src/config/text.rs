//! A config as text: the TOML file, and the options that a link carries.

use std::path::Path;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toml::{Table, Value};

use super::{Config, Task};
use crate::error::{Error, Place, Result, sure};

const REMEDY: &str = "see the config.toml of any run folder";

impl Config {
    /// The config file's text.
    pub fn to_toml(&self) -> String {
        sure(toml::to_string(self), "a config is a flat table")
    }

    /// What the text of a config file gives; `file` names it in messages.
    ///
    /// # Errors
    /// With its line, a key or a value that is none.
    pub fn read_toml(file: &str, text: &str) -> Result<Table> {
        let broken = |error: toml::de::Error, line: Option<u64>| {
            let line = error.span().map(|span| line_at(text, span.start)).or(line);
            let place = Place::file(file);
            let place = if let Some(line) = line { place.line(line) } else { place };
            Error::file(place, error.message().trim().replace('\n', " "), REMEDY)
        };
        let table: Table = toml::from_str(text).map_err(|error| broken(error, None))?;
        // Each key by itself, so that a wrong one is reported with its line.
        for key in toml::de::DeTable::parse(text).map_err(|error| broken(error, None))?.get_ref().keys() {
            let name: &str = key.get_ref();
            let mut one = Table::new();
            one.extend(table.get(name).map(|value| (name.to_owned(), value.clone())));
            Self::deserialize(one).map_err(|error| broken(error, Some(line_at(text, key.span().start))))?;
        }
        Ok(table)
    }

    /// What is `given` over the defaults, which differ by task and with truncated back-propagation. `file` says in messages
    /// where it comes from.
    ///
    /// # Errors
    /// A key or a value that is none, or values that do not go together.
    pub fn over_defaults(file: &str, given: Table) -> Result<Self> {
        let invalid = |error: toml::de::Error| invalid(file, &error);
        let task = given.get("task").cloned().map(Value::try_into::<Task>).transpose().map_err(invalid)?;
        let data = given.get("data").and_then(Value::as_str);
        let task = task.unwrap_or_else(|| Self::task_of(data.map(Path::new)));
        let mut table = Self::defaults(task, given.contains_key("bptt")).to_table()?;
        if given.contains_key("chrono") {
            // It sets what a task's default would.
            table.remove("forget_bias");
        }
        table.extend(given);
        let config: Self = table.try_into().map_err(invalid)?;
        config.validate()?;
        Ok(config)
    }

    /// All options as a table.
    ///
    /// # Errors
    /// For a whole number above 2⁶³ − 1, which TOML does not know.
    pub fn to_table(&self) -> Result<Table> {
        let failed = |error: String| {
            let problem = format!("a number cannot be used: {error}");
            Error::file(Place::file("the options"), problem, "use whole numbers up to 2⁶³ − 1")
        };
        // By way of the text: the code for that is there anyway.
        let text = toml::to_string(self).map_err(|error| failed(error.to_string()))?;
        toml::from_str(&text).map_err(|error| failed(error.message().into()))
    }

    /// The options that are not their task's defaults, for a link: short words, and values of TOML where a word is not
    /// enough. The data file is not among them.
    ///
    /// # Errors
    /// Those of [`to_table`](Config::to_table).
    pub fn to_pairs(&self) -> Result<Vec<(String, String)>> {
        let defaults = Self::defaults(self.task(), self.bptt.is_some()).to_table()?;
        let task = (self.task() != Task::Forecast).then(|| Self { task: Some(self.task()), ..self.clone() });
        let own = task.as_ref().unwrap_or(self).to_table()?;
        let told = own.into_iter().filter(|(key, value)| key == "task" || defaults.get(key) != Some(value));
        Ok(told.filter(|(key, _)| key != "data").map(|(key, value)| (key, word(&value))).collect())
    }

    /// What the pairs of a link give.
    ///
    /// # Errors
    /// Those of [`over_defaults`](Config::over_defaults).
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let value = |(key, word): (String, String)| (key, literal(&word).unwrap_or(Value::String(word)));
        let mut given = Table::new();
        given.extend(pairs.into_iter().map(value));
        Self::over_defaults("the link", given)
    }
}

/// By way of a table: what `derive` makes for sixty fields is large, and so it is there for few formats.
impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(Table::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl Serialize for Config {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

/// The line, counted from 1, of the byte at `offset`.
fn line_at(text: &str, offset: usize) -> u64 {
    1 + text[..offset].matches('\n').count() as u64
}

fn invalid(file: &str, error: &toml::de::Error) -> Error {
    Error::file(Place::file(file), error.message(), REMEDY)
}

/// A string as it is, unless it would be taken for another value.
fn word(value: &Value) -> String {
    match value {
        Value::String(text) if literal(text).is_none() => text.clone(),
        other => other.to_string(),
    }
}

/// The value of TOML that `word` is.
fn literal(word: &str) -> Option<Value> {
    let mut table: Table = toml::from_str(&format!("value = {word}")).ok()?;
    let value = table.remove("value");
    value.filter(|_| table.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LossKind, LrSchedule};

    #[track_caller]
    fn goes_round(config: &Config) -> String {
        let pairs = config.to_pairs().expect("pairs");
        let text = pairs.iter().map(|(key, word)| format!("{key}={word}")).collect::<Vec<_>>().join("&");
        assert_eq!(Config::from_pairs(pairs).expect("a config"), Config { data: None, ..config.clone() }, "{text}");
        text
    }

    #[test]
    fn a_link_holds_what_is_not_the_default() {
        assert_eq!(goes_round(&Config::default()), "");
        let config = Config { hidden_size: 32, lr: 3e-4, bias: false, ..Config::default() };
        assert_eq!(goes_round(&config), "bias=false&hidden_size=32&lr=0.0003");
        for task in [Task::Text, Task::Adding, Task::Copying] {
            let name = serde_json::to_string(&task).unwrap();
            assert_eq!(goes_round(&Config::defaults(task, false)), format!("task={}", name.trim_matches('"')));
        }
        let streams = Config { bptt: Some(32), ..Config::defaults(Task::Forecast, true) };
        assert_eq!(goes_round(&streams), "bptt=32");
        let chrono = Config { chrono: Some(50), forget_bias: None, ..Config::defaults(Task::Adding, false) };
        assert_eq!(goes_round(&chrono), "chrono=50&task=adding");
        let named = Config { data: Some("my.txt".into()), task: None, ..Config::defaults(Task::Text, false) };
        let pairs = named.to_pairs().unwrap();
        assert_eq!(Config::from_pairs(pairs).unwrap().task(), Task::Text, "the task does not hang on the file's name");
    }

    #[test]
    fn odd_words_go_round() {
        for name in ["1", "true", "a, b", "a&b=c", "[1]", "'", "\"", "x\ny = 2", "1 # 2", "", " "] {
            goes_round(&Config { time: Some(name.into()), target: vec![name.into()], ..Config::default() });
        }
        goes_round(&Config {
            loss: LossKind::Quantile,
            quantiles: vec![0.05, 0.5],
            lr_schedule: LrSchedule::OneCycle,
            ignore_index: -7,
            ..Config::default()
        });
    }

    #[test]
    fn a_wrong_link_says_why() {
        let error = |key: &str, word: &str| Config::from_pairs([(key.into(), word.into())]).unwrap_err().to_string();
        assert!(error("hiden_size", "3").contains("unknown field `hiden_size`"), "{}", error("hiden_size", "3"));
        assert!(error("hidden_size", "many").contains("the link"), "{}", error("hidden_size", "many"));
        assert!(error("hidden_size", "0").contains("hidden_size"));
        assert!(error("task", "fly").contains("fly"));
    }

    #[test]
    fn a_file_goes_round() {
        let config = Config { hidden_size: 7, ..Config::defaults(Task::Text, true) };
        let table = Config::read_toml("x.toml", &config.to_toml()).expect("a table");
        assert_eq!(Config::over_defaults("x.toml", table).expect("a config"), config);
        let error = Config::read_toml("x.toml", "lr = 1\nwindow = \"a\"").unwrap_err().to_string();
        assert!(error.starts_with("x.toml, line 2"), "{error}");
    }
}
