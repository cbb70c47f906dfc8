//! `model.safetensors`: parameters under the names of PyTorch's `state_dict`, config and scaler in the metadata.
//!
//! ```python
//! model.load_state_dict(safetensors.torch.load_file("model.safetensors"))   # from bptt
//! safetensors.torch.save_file(model.state_dict(), "mine.safetensors")       # to bptt: --init mine.safetensors
//! ```

use std::collections::HashMap;

use ::safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::config::{Config, Task};
use crate::data::{Dataset, Scaler, Series};
use crate::error::{Error, Place, Result, sure};
use crate::kernels::Tensor;
use crate::model::NetworkShape;

/// One key holds all of our metadata, so that equal runs give equal bytes: the format's own map has no order.
const KEY: &str = "bptt";

/// What a model must know besides its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// How it was trained, without the path of its data.
    pub config: Config,
    /// Whether it was trained on the built-in series.
    pub built_in: bool,
    /// The feature columns' names.
    pub features: Vec<String>,
    /// The target columns' names.
    pub targets: Vec<String>,
    /// Mean and scale of the features, then of the targets.
    pub scaler: Scaler,
    /// The characters that a model of text knows, in the order of its classes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub alphabet: String,
}

impl ModelInfo {
    /// What a model trained on `data` as `config` says must know.
    pub fn new(config: &Config, data: &Dataset) -> Self {
        let chosen: Vec<usize> = data.columns.features.iter().chain(&data.columns.targets).copied().collect();
        let pick = |values: &[f64]| chosen.iter().map(|&column| values[column]).collect();
        let names = |columns: &[usize]| columns.iter().map(|&column| data.series.columns[column].clone()).collect();
        Self {
            // The task can no longer be told by the file's name.
            config: Config { data: None, task: named(config), ..config.clone() },
            built_in: config.data.is_none(),
            features: names(&data.columns.features),
            targets: names(&data.columns.targets),
            scaler: Scaler { mean: pick(&data.scaler.mean), scale: pick(&data.scaler.scale) },
            alphabet: data.alphabet.iter().collect(),
        }
    }

    /// `series` as the model sees it: its columns, its scaler, and its shares of training, validation and test rows.
    ///
    /// # Errors
    /// Missing columns or too few rows.
    pub fn dataset(&self, series: Series) -> Result<Dataset> {
        let config = Config { features: self.features.clone(), target: self.targets.clone(), ..self.config.clone() };
        let mut data = Dataset::new(series, &config, Vec::new())?;
        let columns: Vec<usize> = data.columns.features.iter().chain(&data.columns.targets).copied().collect();
        for (index, column) in columns.into_iter().enumerate() {
            data.scaler.mean[column] = self.scaler.mean[index];
            data.scaler.scale[column] = self.scaler.scale[index];
        }
        Ok(data)
    }

    /// The network's sizes.
    pub fn shape(&self) -> NetworkShape {
        match self.alphabet.chars().count() {
            0 => NetworkShape::new(&self.config, self.features.len(), self.targets.len()),
            classes => NetworkShape::new(&self.config, classes, classes),
        }
    }
}

/// The task, unless it is the default.
fn named(config: &Config) -> Option<Task> {
    Some(config.task()).filter(|&task| task != Task::Forecast)
}

/// A trained model: what `model.safetensors` holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Config, columns and scaler.
    pub info: ModelInfo,
    /// The parameters `[P]` as the network's shape lays them out.
    pub parameters: Vec<f32>,
}

impl Model {
    /// The file's bytes. Equal models give equal bytes: no time and no path is in them.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut archive = ArchiveBuilder::default();
        archive.add_parameters("", &self.info.shape(), &self.parameters);
        archive.finish(&self.info)
    }

    /// Reads a file written by [`to_bytes`](Model::to_bytes); `file` names it in messages.
    ///
    /// # Errors
    /// If it is no such file, is cut short, or its tensors are not those of its config.
    pub fn from_bytes(file: &str, bytes: &[u8]) -> Result<Self> {
        let archive = Archive::read(file, bytes)?;
        let info: ModelInfo = archive.metadata("train it with bptt, or give bptt's own model.safetensors")?;
        info.config.validate()?;
        let parameters = archive.parameters("", &info.shape().tensors())?;
        Ok(Self { info, parameters })
    }
}

/// The parameters for `shape` from any safetensors file that has PyTorch's names, such as a saved `state_dict`.
///
/// # Errors
/// Lists every tensor that is missing, extra or of another shape.
pub fn read_parameters(file: &str, bytes: &[u8], shape: &NetworkShape) -> Result<Vec<f32>> {
    Archive::read(file, bytes)?.parameters("", &shape.tensors())
}

/// Tensors and metadata on their way into a file.
#[derive(Default)]
pub(crate) struct ArchiveBuilder {
    tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
}

impl ArchiveBuilder {
    /// Every tensor of `shape`, its name after `prefix`.
    pub fn add_parameters(&mut self, prefix: &str, shape: &NetworkShape, parameters: &[f32]) {
        for tensor in shape.tensors() {
            let values = parameters[tensor.range()].to_vec();
            self.tensors.push((format!("{prefix}{}", tensor.name), tensor.dims, values));
        }
    }

    /// A vector.
    pub fn add(&mut self, name: &str, values: Vec<f32>) {
        self.tensors.push((name.into(), vec![values.len()], values));
    }

    /// The file's bytes.
    pub fn finish<M: Serialize>(self, metadata: &M) -> Vec<u8> {
        let text = sure(serde_json::to_string(metadata), "metadata is plain data");
        let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = self
            .tensors
            .into_iter()
            .map(|(name, dims, values)| (name, dims, values.iter().flat_map(|value| value.to_le_bytes()).collect()))
            .collect();
        let views = bytes.iter().map(|(name, dims, bytes)| {
            (name, sure(TensorView::new(Dtype::F32, dims.clone(), bytes), "as many bytes as the dims say"))
        });
        let about = HashMap::from([(KEY.to_owned(), text)]);
        sure(::safetensors::serialize(views, Some(about)), "tensors fit a file")
    }
}

/// A safetensors file in memory.
pub(crate) struct Archive<'a> {
    file: &'a str,
    tensors: SafeTensors<'a>,
    metadata: Option<String>,
}

impl<'a> Archive<'a> {
    pub fn read(file: &'a str, bytes: &'a [u8]) -> Result<Self> {
        let broken = |error| {
            Error::file(
                Place::file(file),
                format!("not a whole safetensors file ({error})"),
                "give a file that ends in .safetensors or .ckpt; PyTorch writes one with safetensors.torch.save_file",
            )
        };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(broken)?;
        let metadata = header.metadata().as_ref().and_then(|map| map.get(KEY)).cloned();
        Ok(Self { file, tensors: SafeTensors::deserialize(bytes).map_err(broken)?, metadata })
    }

    /// Our metadata.
    pub fn metadata<M: DeserializeOwned>(&self, remedy: &str) -> Result<M> {
        let place = || Place::file(self.file);
        let text = self.metadata.as_ref().ok_or_else(|| Error::file(place(), "has no bptt metadata", remedy))?;
        serde_json::from_str(text)
            .map_err(|error| Error::file(place(), format!("its bptt metadata cannot be read: {error}"), remedy))
    }

    /// A part of it that another version may have written in another way, if it has not.
    pub fn known<M: DeserializeOwned>(&self) -> Option<M> {
        serde_json::from_str(self.metadata.as_ref()?).ok()
    }

    /// A vector by name.
    pub fn vector(&self, name: &str) -> Result<Vec<f32>> {
        let missing =
            |_| Error::file(Place::file(self.file), format!("has no tensor `{name}`"), "use an unchanged file");
        numbers(&self.tensors.tensor(name).map_err(missing)?).map_err(|problem| {
            Error::file(Place::file(self.file), format!("`{name}` {problem}"), "use an unchanged file")
        })
    }

    /// The flat parameters from exactly the tensors `wanted` under `prefix`.
    pub fn parameters(&self, prefix: &str, wanted: &[Tensor]) -> Result<Vec<f32>> {
        let mut parameters = Vec::new();
        let mut problems = Vec::new();
        for tensor in wanted {
            let name = format!("{prefix}{}", tensor.name);
            match self.tensors.tensor(&name) {
                Err(_) => problems.push(format!("`{name}` {:?} is missing", tensor.dims)),
                Ok(found) if found.shape() != tensor.dims => {
                    problems.push(format!("`{name}` is {:?}, not {:?}", found.shape(), tensor.dims));
                }
                Ok(found) => match numbers(&found) {
                    // Memory only for what the file holds: the sizes that are asked for may be absurd.
                    Ok(values) if problems.is_empty() => {
                        parameters.resize(tensor.range().end.max(parameters.len()), 0.0);
                        parameters[tensor.range()].copy_from_slice(&values);
                    }
                    Ok(_) => {}
                    Err(problem) => problems.push(format!("`{name}` {problem}")),
                },
            }
        }
        let known = |name: &str| wanted.iter().any(|tensor| name.strip_prefix(prefix) == Some(&tensor.name));
        let mut extra: Vec<_> = self.tensors.names().into_iter().filter(|name| !known(name)).collect();
        extra.sort_unstable();
        if prefix.is_empty() {
            problems.extend(extra.iter().map(|name| format!("`{name}` is extra")));
        }
        if problems.is_empty() {
            return Ok(parameters);
        }
        let remedy = "match --hidden-size, --num-layers, --bias, --horizon and the columns to the file, and name the modules \
                      `lstm` and `fc`";
        Err(Error::file(Place::file(self.file), problems.join("\n  "), remedy))
    }
}

/// The tensor's values as f32.
fn numbers(tensor: &TensorView<'_>) -> Result<Vec<f32>, String> {
    let bytes = tensor.data();
    match tensor.dtype() {
        Dtype::F32 => Ok(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()),
        Dtype::F64 => {
            Ok(bytemuck::pod_collect_to_vec::<u8, f64>(bytes).into_iter().map(|value| value as f32).collect())
        }
        other => Err(format!("holds {other:?}, not F32 or F64")),
    }
}
