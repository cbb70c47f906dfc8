//! The browser's shell: what a page or a worker calls, over the same trainer, events and config as the command line.
//!
//! Objects go in and out as plain JavaScript objects whose keys are those of `config.toml` and `metrics.jsonl`; long rows of
//! numbers as typed arrays. Errors are `Error` objects with a `kind` and what belongs to it (`values.rs`). Whoever calls
//! awaits one call before the next on the same object.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `source.rs` | a file's bytes: what is understood of it, and a data set for a run |
//! | `run.rs` | a device and a run on it: steps in slices of time, changes, checkpoints, the end |
//! | `look.rs` | a model at work: forecasts, text, gradients through time |
//! | `values.rs` | Rust's values and errors as JavaScript's |

mod look;
mod run;
mod source;
mod values;

use std::cell::RefCell;

use wasm_bindgen::prelude::*;

use crate::config::Config;
use values::{Fault, config_of, to_js};

thread_local! {
    static ON_PANIC: RefCell<Option<js_sys::Function>> = const { RefCell::new(None) };
}

#[wasm_bindgen]
extern "C" {
    /// Milliseconds since some moment.
    #[wasm_bindgen(js_namespace = performance)]
    fn now() -> f64;
}

/// Has `told` called with the message of a panic, which is a defect: after it nothing here can be used any more.
#[wasm_bindgen(js_name = onPanic)]
pub fn on_panic(told: js_sys::Function) {
    ON_PANIC.set(Some(told));
    std::panic::set_hook(Box::new(|panic| {
        ON_PANIC.with_borrow(|told| {
            if let Some(told) = told {
                _ = told.call1(&JsValue::NULL, &panic.to_string().into());
            }
        });
    }));
}

/// The crate's version.
#[wasm_bindgen]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").into()
}

/// All options of a run, from those that are given over the defaults of their task.
///
/// # Errors
/// Options that there are not, or that cannot be used.
#[wasm_bindgen]
pub fn complete(options: &JsValue) -> Result<JsValue, Fault> {
    to_js(&config_of(options)?)
}

/// Options as the text of a config file.
///
/// # Errors
/// Those of [`complete`].
#[wasm_bindgen(js_name = toToml)]
pub fn to_toml(options: &JsValue) -> Result<String, Fault> {
    Ok(config_of(options)?.to_toml())
}

/// All options, from the text of a config file, which `file` names in messages.
///
/// # Errors
/// With its line, a key or a value that is none.
#[wasm_bindgen(js_name = fromToml)]
pub fn from_toml(file: &str, text: &str) -> Result<JsValue, Fault> {
    to_js(&Config::over_defaults(file, Config::read_toml(file, text)?)?)
}

/// The options that are not their task's defaults, as pairs for the query of a link.
///
/// # Errors
/// Those of [`complete`].
#[wasm_bindgen(js_name = toPairs)]
pub fn to_pairs(options: &JsValue) -> Result<JsValue, Fault> {
    to_js(&config_of(options)?.to_pairs()?)
}

/// All options, from such pairs.
///
/// # Errors
/// Those of [`complete`].
#[wasm_bindgen(js_name = fromPairs)]
pub fn from_pairs(pairs: &JsValue) -> Result<JsValue, Fault> {
    let word = |pair: &JsValue, place| pair.unchecked_ref::<js_sys::Array>().get(place).as_string().unwrap_or_default();
    let pairs = js_sys::Array::from(pairs).iter().map(|pair| (word(&pair, 0), word(&pair, 1))).collect::<Vec<_>>();
    to_js(&Config::from_pairs(pairs)?)
}
