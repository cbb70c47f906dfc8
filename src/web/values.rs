//! Rust's values and errors as JavaScript's.

use js_sys::{Array, Float32Array, Float64Array, JSON, Object, Reflect, Uint32Array};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use wasm_bindgen::prelude::*;

use crate::config::Config;
use crate::error::{Error, Place};

/// An error on its way to JavaScript.
pub struct Fault(JsValue);

impl Fault {
    /// With something that belongs to it.
    pub fn with(self, key: &str, value: impl Into<JsValue>) -> Self {
        set(&self.0, key, value);
        self
    }

    pub fn of_kind(kind: &str, problem: &str, remedy: &str) -> Self {
        let message = if remedy.is_empty() { problem.to_owned() } else { format!("{problem}: {remedy}") };
        let error = Self(js_sys::Error::new(&message).into());
        error.with("name", "BpttError").with("kind", kind).with("problem", problem).with("remedy", remedy)
    }
}

impl From<Fault> for JsValue {
    fn from(fault: Fault) -> Self {
        fault.0
    }
}

/// The first line of the text is the problem with its place, what follows it the remedy.
impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        let (problem, remedy) = text.split_once("\n  ").unwrap_or((&text, ""));
        let fault = |kind| Self::of_kind(kind, problem, &remedy.replace("\n  ", "; "));
        match &error {
            Error::File { place, .. } => with_place(fault("file"), place),
            Error::Option { option, .. } => fault("option").with("option", *option),
            Error::Io { .. } => fault("io"),
            Error::Memory { bytes, allowed, .. } => {
                fault("memory").with("bytes", bytes.0 as f64).with("allowed", allowed.0 as f64)
            }
            Error::Device { .. } => fault("device"),
            Error::Lost { .. } => fault("lost"),
            Error::Diverged { step, tensor } => {
                fault("diverged").with("step", *step as f64).with("tensor", tensor.as_str())
            }
        }
    }
}

fn with_place(fault: Fault, place: &Place) -> Fault {
    let fault = fault.with("file", place.file.as_str());
    let fault = match place.line {
        Some(line) => fault.with("line", line as f64),
        None => fault,
    };
    match &place.column {
        Some(column) => fault.with("column", column.as_str()),
        None => fault,
    }
}

/// A plain object, array, string or number. What is not finite becomes `null`.
pub fn to_js(value: &impl Serialize) -> Result<JsValue, Fault> {
    let text = serde_json::to_string(value).map_err(|error| wrong(&error.to_string()))?;
    JSON::parse(&text).map_err(Fault)
}

/// The other way; what is `undefined` or `null` in an object is not there.
pub fn from_js<T: DeserializeOwned>(value: &JsValue) -> Result<T, Fault> {
    if value.is_undefined() || value.is_null() {
        return serde_json::from_str("{}").map_err(|error| wrong(&error.to_string()));
    }
    let text = JSON::stringify(value).map_err(Fault)?;
    let mut parsed: Value = serde_json::from_str(&String::from(text)).map_err(|error| wrong(&error.to_string()))?;
    if let Value::Object(map) = &mut parsed {
        map.retain(|_, value| !value.is_null());
    }
    serde_json::from_value(parsed).map_err(|error| wrong(&error.to_string()))
}

fn wrong(problem: &str) -> Fault {
    Fault::of_kind("option", problem, "see the types of the options")
}

/// A config from those options that are given.
pub fn config_of(options: &JsValue) -> Result<Config, Fault> {
    let given: Map<String, Value> = from_js(options)?;
    let table = toml::Table::try_from(given).map_err(|error| wrong(&error.to_string()))?;
    Ok(Config::over_defaults("the options", table)?)
}

/// Sets a key of an object.
pub fn set(object: &JsValue, key: &str, value: impl Into<JsValue>) {
    // Only on objects made here, which refuse nothing.
    _ = Reflect::set(object, &key.into(), &value.into());
}

/// An object of `serde`'s, to which more can be added.
pub fn object(value: &impl Serialize) -> Result<Object, Fault> {
    Ok(to_js(value)?.unchecked_into())
}

pub fn doubles(values: &[f64]) -> Float64Array {
    Float64Array::from(values)
}

pub fn singles(values: &[f32]) -> Float32Array {
    Float32Array::from(values)
}

pub fn places(values: impl IntoIterator<Item = usize>) -> Uint32Array {
    let values: Vec<u32> = values.into_iter().map(|value| value as u32).collect();
    Uint32Array::from(&values[..])
}

pub fn strings(values: impl IntoIterator<Item = String>) -> Array {
    values.into_iter().map(JsValue::from).collect()
}
