//! Defaults, then the config file, then the flags that were given.

use std::path::Path;

use bptt::config::Config;
use bptt::error::{Error, Result};
use clap::ArgMatches;
use clap::parser::ValueSource;

/// `flags` over `file` over the defaults. `matches` tells which flags were given rather than defaulted.
pub fn resolve(flags: &Config, matches: Option<&ArgMatches>, file: Option<&Path>, seed: Option<u64>) -> Result<Config> {
    let (name, mut table) = match file {
        Some(path) => {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?;
            let table = Config::read_toml(&name, &text)?;
            (name, table)
        }
        None => (String::from("the options"), toml::Table::new()),
    };
    let given = |id: &str| {
        matches.is_some_and(|matches| {
            matches.try_contains_id(id).is_ok() && matches.value_source(id) == Some(ValueSource::CommandLine)
        })
    };
    table.extend(flags.to_table()?.into_iter().filter(|(key, _)| given(key)));
    if let Some(seed) = seed {
        let seed = i64::try_from(seed);
        let seed = seed.map_err(|_| Error::option("seed", "is above 2⁶³ − 1", "use a smaller whole number"))?;
        table.insert("seed".into(), toml::Value::Integer(seed));
    }
    Config::over_defaults(&name, table)
}
