//! Other people's file formats.

mod safetensors;

pub(crate) use self::safetensors::{Archive, ArchiveBuilder};
pub use self::safetensors::{Model, ModelInfo, read_parameters};
