//! x
pub mod config;
pub mod data;
pub mod device;
pub mod error;
pub mod kernels;
pub mod model;
pub mod rng;
