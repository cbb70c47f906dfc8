//! The choice of a device, made once per run.

use super::{Cpu, Gpu, GpuOptions, Tuned};
use crate::config::{DeviceKind, Precision};
use crate::error::{Error, Result};

/// The device of a run.
#[expect(clippy::large_enum_variant, reason = "one is made per run")]
pub enum Engine {
    /// A WebGPU adapter.
    Gpu(Gpu),
    /// The processor's cores, in single precision.
    Cpu(Cpu<f32>),
}

/// Runs the same generic code on whichever device an [`Engine`] holds: `on!(engine, device => train(device))`.
#[macro_export]
macro_rules! on {
    ($engine:expr, $device:ident => $run:expr) => {
        match $engine {
            $crate::device::Engine::Gpu($device) => $run,
            $crate::device::Engine::Cpu($device) => $run,
        }
    };
}

impl Engine {
    /// The device that `kind` asks for. `Auto` takes a hardware GPU, else the CPU: a software rasteriser is far slower
    /// than the CPU engine on the same cores. An adapter named by `adapter` is a GPU, software or not. A GPU in `tuned`
    /// computes as that says.
    ///
    /// # Errors
    /// No adapter fits, or an adapter or products of 16-bit numbers are asked of the CPU.
    pub async fn open(
        kind: DeviceKind,
        adapter: Option<String>,
        precision: Precision,
        tuned: Vec<Tuned>,
    ) -> Result<Self> {
        let hardware_only = kind == DeviceKind::Auto && adapter.is_none();
        let options = GpuOptions { hardware_only, adapter, precision, tuned, ..GpuOptions::default() };
        let mixed = |why: &str, remedy: &str| {
            let remedy = format!("{remedy}, or `--precision f32` for a new run");
            Error::option("precision", format!("is `mixed`, which takes a GPU, and {why}"), remedy)
        };
        match kind {
            DeviceKind::Cpu => match options.adapter {
                Some(_) => {
                    Err(Error::option("adapter", "names a GPU, but the device is `cpu`", "leave one of them out"))
                }
                None if precision == Precision::Mixed => Err(mixed("the device is `cpu`", "use `--device gpu`")),
                None => Ok(Self::Cpu(Cpu::new())),
            },
            DeviceKind::Auto if hardware_only => match Gpu::open(options).await {
                Ok(gpu) => Ok(Self::Gpu(gpu)),
                Err(error) if precision == Precision::Mixed => {
                    let why = error.to_string();
                    Err(mixed(
                        why.lines().next().unwrap_or_default(),
                        "name another, or a software one, with `--adapter`",
                    ))
                }
                Err(_) => Ok(Self::Cpu(Cpu::new())),
            },
            _ => Ok(Self::Gpu(Gpu::open(options).await?)),
        }
    }
}
