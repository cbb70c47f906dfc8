//! x
#![allow(missing_docs)]
pub mod checkpoint;
pub mod config;
pub mod data;
pub mod device;
pub mod error;
pub mod forecaster;
pub mod interop;
pub mod kernels;
pub mod model;
pub mod rng;
pub mod trainer;
