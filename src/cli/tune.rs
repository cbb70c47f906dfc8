//! `bptt devices --tune`: which kernels are fastest on an adapter, measured once and kept for later runs.
//!
//! The file is `bptt/tuning.json` in the user's cache folder, one entry for each adapter, driver and version of `bptt`. A run
//! keeps what it began with in its checkpoint, so that it goes on with the same bits after the file has changed.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Instant;

use bptt::device::{Gpu, GpuOptions, Tuned};
use bptt::error::{Error, Result};
use bptt::tuner::{Table, measure};
use etcetera::BaseStrategy;
use pollster::block_on;
use serde_json::Value;

use super::run_folder::replace;

/// Where the choices are kept.
fn file() -> Result<PathBuf> {
    let strategy = etcetera::choose_base_strategy()
        .map_err(|_| Error::device("this user has no home folder", "set HOME, or train without tuning"))?;
    Ok(strategy.cache_dir().join("bptt").join("tuning.json"))
}

/// The choices of earlier calls that are this version's; none where there is no file or it is damaged.
pub fn known() -> Vec<Tuned> {
    entries().into_iter().filter_map(|tuned| serde_json::from_value(tuned).ok()).collect()
}

/// What the file holds, of whatever version.
fn entries() -> Vec<Value> {
    let text = file().ok().and_then(|file| std::fs::read_to_string(file).ok());
    text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// Keeps `tuned`, in the place of an earlier choice for the same adapter.
fn keep(tuned: &Tuned) -> Result<PathBuf> {
    let file = file()?;
    let mut all = entries();
    all.retain(|entry| entry["adapter"] != tuned.adapter);
    all.push(serde_json::to_value(tuned).expect("plain data"));
    let folder = file.parent().expect("a file in a folder");
    std::fs::create_dir_all(folder).map_err(|error| Error::io("create", folder, error))?;
    replace(&file, serde_json::to_string_pretty(&all).expect("plain data").as_bytes())?;
    Ok(file)
}

/// Measures the adapter called `name`, prints the tables and keeps the fastest; what was found, for JSON.
pub fn tune(name: &str) -> Result<Value> {
    let options = GpuOptions { adapter: Some(name.to_lowercase()), ..GpuOptions::default() };
    let mut gpu = block_on(Gpu::open(options))?;
    let found = block_on(measure(&mut gpu, seconds))?;
    print("products in", &found.products, "");
    let persistent_to = found.tuned.tuning.recurrence.persistent_to;
    let far = if persistent_to > 0 { format!(", to {persistent_to} hidden units") } else { String::new() };
    print("the recurrence in", &found.recurrences, &far);
    if let Some(stacks) = &found.stacks {
        let stack_to = found.tuned.tuning.recurrence.stack_to;
        let far = if stack_to > 0 { format!(", to {stack_to} hidden units") } else { String::new() };
        print("two layers, step by step", stacks, &far);
    }
    let file = keep(&found.tuned)?;
    out!("     kept in {}", file.display());
    let mut told = serde_json::to_value(&found).expect("plain data");
    told["file"] = file.display().to_string().into();
    Ok(told)
}

/// Seconds since the first call.
fn seconds() -> f64 {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    BEGUN.elapsed().as_secs_f64()
}

fn print(what: &str, table: &Table, far: &str) {
    let heads: String = table.hidden.iter().map(|hidden| format!("{hidden:10}")).collect();
    out!("     {what:28}{heads}   ms for so many hidden units");
    for (index, row) in table.rows.iter().enumerate() {
        let time = |size| row.seconds.get(size).map_or("–".into(), |time| format!("{:.3}", 1e3 * time));
        let times: String = (0..table.hidden.len()).map(|size| format!("{:>10}", time(size))).collect();
        let mark = if index == table.chosen { format!("  ← chosen{far}") } else { String::new() };
        out!("     {:28}{times}{mark}", row.candidate);
    }
}
