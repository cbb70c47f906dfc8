//! Rust's values and errors as JavaScript's.

use js_sys::{Array, Float32Array, Float64Array, JSON, Object, Reflect, Uint8Array, Uint32Array};
use serde::Serialize;
use wasm_bindgen::prelude::*;

use crate::config::Config;
use crate::data::{Dataset, Forecasts};
use crate::error::{Error, Place};

/// An error on its way to JavaScript.
pub struct Fault(JsValue);

impl Fault {
    /// With something that belongs to it.
    pub fn with(self, key: &str, value: impl IntoJs) -> Self {
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
            Error::Memory { bytes, allowed, .. } => fault("memory").with("bytes", bytes.0).with("allowed", allowed.0),
            Error::Device { .. } => fault("device"),
            Error::Lost { .. } => fault("lost"),
            Error::Diverged { step, tensor } => fault("diverged").with("step", *step).with("tensor", tensor.as_str()),
        }
    }
}

fn with_place(fault: Fault, place: &Place) -> Fault {
    let fault = fault.with("file", place.file.as_str());
    let fault = match place.line {
        Some(line) => fault.with("line", line),
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

/// A number in an object, if it is there.
pub fn number(object: &JsValue, key: &str) -> Option<f64> {
    Reflect::get(object, &key.into()).ok()?.as_f64()
}

/// A config from those options that are given; what is `undefined` or `null` is not.
pub fn config_of(options: &JsValue) -> Result<Config, Fault> {
    let given = Object::new();
    if let Some(options) = options.dyn_ref::<Object>() {
        for entry in Object::entries(options) {
            let [key, value] = [0, 1].map(|place| entry.unchecked_ref::<Array>().get(place));
            if !value.is_undefined() && !value.is_null() {
                _ = Reflect::set(&given, &key, &value);
            }
        }
    }
    let text = String::from(JSON::stringify(&given).map_err(Fault)?);
    let table = serde_json::from_str(&text).map_err(|error| wrong(&error.to_string()))?;
    Ok(Config::over_defaults("the options", table)?)
}

fn wrong(problem: &str) -> Fault {
    Fault::of_kind("option", problem, "see the types of the options")
}

/// The same, where it is an object.
pub fn to_object(value: &impl Serialize) -> Result<Object, Fault> {
    Ok(to_js(value)?.unchecked_into())
}

/// What becomes a value of JavaScript's by itself.
pub trait IntoJs {
    fn into_js(self) -> JsValue;
}

macro_rules! into_js {
    ($($kind:ty: $value:ident => $js:expr),* $(,)?) => {
        $(impl IntoJs for $kind {
            fn into_js(self) -> JsValue {
                let $value = self;
                $js.into()
            }
        })*
    };
}
into_js! {
    &str: text => JsValue::from_str(text),
    String: text => JsValue::from_str(&text),
    bool: flag => JsValue::from_bool(flag),
    f64: number => number,
    usize: number => number as f64,
    u64: number => number as f64,
    u32: number => number as f64,
    JsValue: value => value,
    Object: value => value,
    Array: value => value,
    Float32Array: value => value,
    Float64Array: value => value,
    Uint32Array: value => value,
    Uint8Array: value => value,
}

impl<T: IntoJs> IntoJs for Option<T> {
    fn into_js(self) -> JsValue {
        self.map_or(JsValue::NULL, T::into_js)
    }
}

impl<T: IntoJs> IntoJs for Vec<T> {
    fn into_js(self) -> JsValue {
        self.into_iter().map(T::into_js).collect::<Array>().into()
    }
}

/// A plain object: `object! { rows: 3, name: "x" }`.
macro_rules! object {
    ($($key:ident: $value:expr),* $(,)?) => {{
        let object = js_sys::Object::new();
        $($crate::web::values::set(&object, stringify!($key), $value);)*
        object
    }};
}
pub(super) use object;

/// Sets a key of an object.
pub fn set(object: &JsValue, key: &str, value: impl IntoJs) {
    // Only on objects made here, which refuse nothing.
    _ = Reflect::set(object, &key.into(), &value.into_js());
}

pub fn doubles(values: &[f64]) -> Float64Array {
    Float64Array::from(values)
}

pub fn singles(values: &[f32]) -> Float32Array {
    Float32Array::from(values)
}

pub fn bytes(values: &[u8]) -> Uint8Array {
    Uint8Array::from(values)
}

pub fn places(values: impl IntoIterator<Item = usize>) -> Uint32Array {
    let values: Vec<u32> = values.into_iter().map(|value| value as u32).collect();
    Uint32Array::from(&values[..])
}

/// A forecast beyond the last row: `{time, labels, targets, horizon, point, quantiles, csv}`.
pub fn forecast_ahead(ahead: &Forecasts, data: &Dataset) -> Object {
    let targets = data.target_names();
    let horizon = ahead.point.len() / targets.len();
    let (time, labels) = data.series.labels_after(horizon);
    let csv = ahead.to_csv(&data.series, &targets);
    object! {
        time: time, labels: labels, horizon: horizon, targets: targets, point: doubles(&ahead.point),
        quantiles: quantiles(ahead), csv: bytes(&csv),
    }
}

/// `[{level, values}]`, in rising order.
pub fn quantiles(forecasts: &Forecasts) -> Array {
    let each = forecasts.quantiles.iter();
    each.map(|quantile| object! { level: quantile.level, values: doubles(&quantile.values) }).collect()
}
