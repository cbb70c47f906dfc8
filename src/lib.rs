//! `bptt` trains LSTMs by back-propagation through time on any GPU, on the CPU, and in a browser tab.
//!
//! It does what a PyTorch user writes with `nn.LSTM`, `DataLoader`, `loss.backward()`, `clip_grad_norm_`, `Adam` and
//! `state_dict`. The kernels are hand-written WGSL in `shaders/`, the host is Rust on `wgpu`, and every operation has a
//! second implementation on the CPU, which in double precision is its definition.
//!
//! # The map
//!
//! A module imports only from those below it; the leaves may be used by all. `tests/architecture.rs` holds them to it.
//!
//! | module | what it is |
//! | --- | --- |
//! | `main.rs`, `cli/` | the command line: parse → [`config`] → pull events → print |
//! | `web.rs`, `web/` | the browser: JavaScript's values → [`config`] → pull events → JavaScript's values |
//! | [`trainer`] | the loop: batch → forward → loss → backward → clip → step |
//! | [`forecaster`], [`generator`], [`inspector`] | a trained model at work on numbers, on text; its gradient through time |
//! | [`checkpoint`] | everything a run is, as bytes, to go on later |
//! | [`interop`] | other people's formats: safetensors with PyTorch's names |
//! | [`data`] | files → series → windows; scaler, naive forecasts, scores, quantiles. Knows no device |
//! | [`model`] | config → shapes, table of parameters, start values; forward and backward in reading order |
//! | [`tuner`] | which kernels are fastest on an adapter, measured |
//! | [`kernels`] | one operation a file: contract, GPU, CPU |
//! | [`device`] | the only owner of `wgpu` objects; adapters, buffers, pipelines, submissions, read-back |
//! | [`config`], [`error`], `order`, [`rng`] | leaves |
//!
//! # Invariants
//!
//! 1. `data` and `model` name no GPU type, `kernels` opens no file, the library never prints.
//! 2. No operation exists for one device alone, and no device is swapped silently within a run.
//! 3. Nothing is read back from the device unless someone asked for the value.
//! 4. A shell holds no training logic: it pulls [`trainer::Event`]s and shows them.
//! 5. What a run needs to go on is in its checkpoint.
//!
//! # Example
//!
//! ```
//! use bptt::{config::Config, data::Dataset, device::Cpu, trainer::{Event, Trainer}};
//!
//! # fn main() -> bptt::error::Result<()> {
//! let config = Config { hidden_size: 8, window: 24, epochs: 1, ..Config::default() };
//! let data = Dataset::load(&config)?; // the built-in monthly sunspot numbers
//! let mut trainer = Trainer::new(Cpu::<f32>::new(), config, data, None)?;
//! while let Some(event) = pollster::block_on(trainer.next())? {
//!     if let Event::Epoch(epoch) = event {
//!         println!("epoch {}: {:.3}, validation {:?}", epoch.epoch, epoch.train_loss, epoch.val_loss);
//!     }
//! }
//! let (report, model) = pollster::block_on(trainer.finish())?;
//! assert!(report.test.is_some() && model.to_bytes().len() > 1000);
//! # Ok(())
//! # }
//! ```

#![warn(clippy::print_stdout, clippy::print_stderr)]

#[cfg(all(target_arch = "wasm32", feature = "web"))]
pub mod web;

pub mod forecaster;
pub mod generator;
pub mod inspector;
pub mod trainer;

pub mod checkpoint;
pub mod interop;

pub mod data;
pub mod model;
pub mod tuner;

pub mod kernels;

pub mod device;

pub mod config;
pub mod error;
mod order;
pub mod rng;
