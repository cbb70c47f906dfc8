//! Which kernels run the recurrence, and in what tiles.

use super::step_kernels::{Steps, made};
use crate::device::{Gpu, Kernel, Recurrence};
use crate::kernels::LstmShape;

/// How a GPU runs the recurrence. Each gives the same numbers up to rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// A dispatch for every time step of one direction of one layer, or of those that go together: for every option and every
    /// size.
    Steps(Steps),
    /// A dispatch for all time steps, or many of them, the recurrent weights on chip: for every option and small sizes.
    Persistent(Tiles),
}

/// How the work of a persistent kernel is cut for one shape. A kernel takes less where its sizes or the limits of WebGPU ask
/// for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiles {
    /// Invocations of a workgroup.
    pub threads: usize,
    /// Sequences of a workgroup.
    pub sequences: usize,
    /// As in [`Recurrence`].
    pub blocks: usize,
    /// As in [`Recurrence`], no more than the adapter has.
    pub memory: usize,
    /// As in [`Recurrence`].
    pub steps: usize,
    /// As in [`Recurrence`].
    pub chunks: usize,
    /// As in [`Recurrence`].
    pub inputs: usize,
    /// As in [`Recurrence`], no more than the adapter has.
    pub lanes: usize,
}

impl Strategy {
    /// The kernels that it makes for a shape, beside those of [`all`](crate::kernels::all).
    pub fn kernels(self, shape: &LstmShape) -> Vec<&'static Kernel> {
        match self {
            Self::Steps(steps) => made(steps, shape),
            Self::Persistent(tiles) => tiles.kernels(shape),
        }
    }

    /// The strategy for a shape, by the GPU's tuning.
    pub fn of(gpu: &Gpu, shape: &LstmShape) -> Self {
        let recurrence = &gpu.tuning().recurrence;
        if shape.hidden_size <= recurrence.persistent_to {
            let tiles = Tiles::of(recurrence, shape);
            return Self::Persistent(Tiles {
                lanes: tiles.lanes.min(gpu.lanes()),
                memory: tiles.memory.min(gpu.memory()),
                ..tiles
            });
        }
        Self::Steps(Steps::of(gpu, shape))
    }
}

impl Tiles {
    /// Those for a shape.
    pub fn of(
        &Recurrence { threads, units, sequences, groups, blocks, memory, steps, chunks, inputs, lanes, .. }: &Recurrence,
        shape: &LstmShape,
    ) -> Self {
        let wanted = if units == 0 { threads } else { shape.hidden_size.div_ceil(units).next_multiple_of(8) };
        let together = shape.batch.checked_div(groups).unwrap_or(sequences);
        let threads = wanted.clamp(1, threads.max(1));
        let sequences = together.clamp(1, sequences.max(1));
        Self { threads, sequences, blocks, memory, steps: steps.max(1), chunks: chunks.max(1), inputs, lanes }
    }
}
