//! Defaults, then the config file, then the flags that were given.

use std::path::Path;

use bptt::config::{Config, Task};
use bptt::error::{Error, Place, Result};
use clap::ArgMatches;
use clap::parser::ValueSource;

/// `flags` over `file` over the defaults. `matches` tells which flags were given rather than defaulted.
pub fn resolve(flags: &Config, matches: Option<&ArgMatches>, file: Option<&Path>, seed: Option<u64>) -> Result<Config> {
    let (name, mut table) = match file {
        Some(path) => (path.display().to_string(), read(path)?),
        None => (String::from("the options"), toml::Table::new()),
    };
    let given = |id: &str| {
        matches.is_some_and(|matches| {
            matches.try_contains_id(id).is_ok() && matches.value_source(id) == Some(ValueSource::CommandLine)
        })
    };
    table.extend(self::table(flags)?.into_iter().filter(|(key, _)| given(key)));
    let mut table = over_defaults(&name, table)?;
    if let Some(seed) = seed {
        let seed = i64::try_from(seed);
        let seed = seed.map_err(|_| Error::option("seed", "is above 2⁶³ − 1", "use a smaller whole number"))?;
        table.insert("seed".into(), toml::Value::Integer(seed));
    }
    let config: Config = table.try_into().map_err(|error: toml::de::Error| invalid(&name, &error))?;
    config.validate()?;
    Ok(config)
}

/// The defaults, which differ by task and with truncated back-propagation, under what was given.
fn over_defaults(file: &str, given: toml::Table) -> Result<toml::Table> {
    let invalid = |error: toml::de::Error| invalid(file, &error);
    let task = given.get("task").cloned().map(toml::Value::try_into::<Task>).transpose().map_err(invalid)?;
    let data = given.get("data").and_then(toml::Value::as_str);
    let task = task.unwrap_or_else(|| Config::task_of(data.map(Path::new)));
    let mut table = self::table(&Config::defaults(task, given.contains_key("bptt")))?;
    if given.contains_key("chrono") {
        // It sets what a task's default would.
        table.remove("forget_bias");
    }
    table.extend(given);
    Ok(table)
}

/// The flags as a table. TOML knows no whole number above 2⁶³ − 1.
pub fn table(flags: &Config) -> Result<toml::Table> {
    toml::Table::try_from(flags).map_err(|error| {
        let problem = format!("a number cannot be used: {error}");
        Error::file(Place::file("the options"), problem, "use whole numbers up to 2⁶³ − 1")
    })
}

fn read(path: &Path) -> Result<toml::Table> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?;
    // Once as a config, so that a wrong key or value is reported with its line.
    let check: Result<Config, _> = toml::from_str(&text);
    check.map_err(|error| {
        let line = error.span().map(|span| 1 + text[..span.start].matches('\n').count() as u64);
        let place = Place::file(&name);
        let place = if let Some(line) = line { place.line(line) } else { place };
        Error::file(place, error.message().trim().replace('\n', " "), "see the config.toml of any run folder")
    })?;
    toml::from_str(&text).map_err(|error| invalid(&name, &error))
}

fn invalid(file: &str, error: &toml::de::Error) -> Error {
    Error::file(Place::file(file), error.message(), "see the config.toml of any run folder")
}
