//! Where numbers live and who computes with them: [`Gpu`] (any WebGPU adapter) or [`Cpu`] (the definition).
//!
//! This is the only module that owns `wgpu` objects. A run chooses its device once and never changes it.

mod cpu;
mod engine;
mod gpu;
pub(crate) mod threads;
mod tuning;
pub(crate) mod wide;

pub use cpu::{Cpu, CpuBuffer, Real};
pub use engine::Engine;
#[cfg(any(target_arch = "wasm32", test))]
pub(crate) use gpu::bare;
pub use gpu::{
    Access, AdapterReport, Cost, Gpu, GpuBuffer, GpuCounts, GpuOptions, Half, Kernel, KernelTime, Params, Twenty,
    adapters, grid,
};
pub(crate) use gpu::{BORDER, kernel, params};
pub use tuning::{Recurrence, StepTiles, Tile, Tuned, Tuning};

use std::future::Future;
use std::ops::Range;

use crate::config::Precision;
use crate::error::Result;

/// Buffers and their traffic, the same on every device.
///
/// Commands are carried out in the order given. Nothing comes back until [`read`](Device::read).
pub trait Device {
    /// One number as the device computes with it: `f32`, or `f64` for the definition.
    type Element: Real;
    /// Numbers in the device's memory.
    type Buffer;
    /// Row numbers in the device's memory.
    type Indices;

    /// "gpu" or "cpu".
    fn kind(&self) -> &'static str;
    /// The adapter's or the processor's name.
    fn adapter(&self) -> &str;
    /// What products are made of.
    fn precision(&self) -> Precision {
        Precision::F32
    }
    /// Bytes of all buffers made so far.
    fn allocated(&self) -> u64;
    /// How it computes, where that is a choice; a run that goes on with the same choice keeps its bits.
    fn tuned(&self) -> Option<Tuned>;
    /// Computes as `tuned` says from here on, if that is about this adapter. What was allocated before may not suit it.
    fn compute_as(&mut self, tuned: &Tuned);
    /// Fails, before anything is allocated, if buffers of these lengths (in elements) exceed a limit of the device.
    fn check(&self, need: &[Need]) -> Result<()>;
    /// A buffer of `len` elements. Its contents are not specified: write before reading.
    fn buffer(&self, name: &'static str, len: usize) -> Self::Buffer;
    /// So many buffers of `len` elements each, so that a device may work on all of them at once. No operation may read one and
    /// write another.
    fn buffers(&self, name: &'static str, len: usize, count: usize) -> Vec<Self::Buffer> {
        (0..count).map(|_| self.buffer(name, len)).collect()
    }
    /// A buffer of `len` row numbers.
    fn indices(&self, name: &'static str, len: usize) -> Self::Indices;
    /// Writes `values` to the start of `buffer`.
    fn write(&self, buffer: &mut Self::Buffer, values: &[Self::Element]);
    /// Writes `values` to the start of `indices`.
    fn write_indices(&self, indices: &mut Self::Indices, values: &[u32]);
    /// Sets `len` elements from `offset` on to zero.
    fn zero(&self, buffer: &mut Self::Buffer, offset: usize, len: usize);
    /// Says that a step is complete: its commands go to the device now, or together with those of the next steps if they are
    /// short; those of a long step have gone in parts. Returns before they are done, unless many are waiting.
    ///
    /// # Errors
    /// What the device refused since the last call, or that it is lost.
    fn submit(&self) -> Result<()>;
    /// Waits for all commands and returns the elements `range` of `buffer`.
    ///
    /// # Errors
    /// What the device refused since the last call, or that it is lost.
    fn read(&self, buffer: &Self::Buffer, range: Range<usize>) -> impl Future<Output = Result<Vec<Self::Element>>>;

    /// [`write`](Device::write) for numbers in single precision.
    fn write_f32(&self, buffer: &mut Self::Buffer, values: &[f32]) {
        let values: Vec<_> = values.iter().map(|&value| Self::Element::of(f64::from(value))).collect();
        self.write(buffer, &values);
    }
    /// [`read`](Device::read) in single precision.
    fn read_f32(&self, buffer: &Self::Buffer, range: Range<usize>) -> impl Future<Output = Result<Vec<f32>>> {
        async { Ok(self.read(buffer, range).await?.iter().map(|value| value.double() as f32).collect()) }
    }
}

/// One buffer that a run is going to need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// What it is for, as the user would say it.
    pub name: &'static str,
    /// Its length in elements.
    pub len: usize,
    /// The options that make it smaller.
    pub lower: &'static str,
}

impl Need {
    /// `len` elements for `name`; lowering the options named in `lower` makes it smaller.
    pub fn new(name: &'static str, len: usize, lower: &'static str) -> Self {
        Self { name, len, lower }
    }
}
