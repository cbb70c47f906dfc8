//! Which kernels run the recurrence, and in what tiles.

use std::cell::Cell;

use super::tiled::StepTiles;
use crate::device::{Gpu, Kernel};
use crate::kernels::LstmShape;

/// How a GPU runs the recurrence. Each gives the same numbers up to rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// A dispatch for every time step of one direction of one layer: for every option and every size.
    Steps,
    /// The same in tiles, for hardware.
    TiledSteps(StepTiles),
    /// A dispatch for all time steps of one direction of one layer, the recurrent weights on chip: for every option and
    /// small sizes.
    Persistent(Tiles),
}

/// How the work of a persistent kernel is cut. A kernel takes less where its sizes or the limits of WebGPU ask for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiles {
    /// Invocations of a workgroup.
    pub threads: usize,
    /// Sequences of a workgroup.
    pub sequences: usize,
    /// 4 × 4 blocks of weights that an invocation keeps in registers; it reads the others at every step.
    pub blocks: usize,
    /// Time steps that one dispatch walks. Longer ways take several, so that none keeps a device from its other work for
    /// long.
    pub steps: usize,
}

/// The largest hidden size for which a persistent kernel is taken by itself: beyond, most weights would come from memory
/// again at every step, through one workgroup each.
const PERSISTENT_HIDDEN: usize = 192;

/// Units of an invocation on a software rasteriser, which pays for each group of 8 invocations at every barrier, far more
/// for a load than for an operation, and compiles slowly what is written out: few invocations, large tiles, no weights kept.
const SOFTWARE_UNITS: usize = 8;

/// Some milliseconds on a small device.
const STEPS: usize = 256;

/// On a software rasteriser: lavapipe ends every loop of an invocation once they have turned 65,535 times together, and does
/// not say so. A step takes up to 700 turns.
const SOFTWARE_STEPS: usize = 64;

/// 16 registers each; more than this spills where an invocation has 255 registers.
const HARDWARE_BLOCKS: usize = 10;

thread_local! {
    static FORCED: Cell<Option<Strategy>> = const { Cell::new(None) };
}

/// While it lives, the tapes and passes of this thread use one strategy. For tests and tuning.
pub struct Forced(Option<Strategy>);

impl Drop for Forced {
    fn drop(&mut self) {
        FORCED.set(self.0);
    }
}

impl Strategy {
    /// Takes this strategy on this thread as long as the answer lives. A tape is used under the strategy that it was made
    /// under.
    #[must_use]
    pub fn force(self) -> Forced {
        Forced(FORCED.replace(Some(self)))
    }

    /// The kernels that it makes for a shape, beside those of [`all`](crate::kernels::all).
    pub fn kernels(self, shape: &LstmShape) -> Vec<&'static Kernel> {
        match self {
            Self::Steps => Vec::new(),
            Self::TiledSteps(tiles) => tiles.kernels(shape),
            Self::Persistent(tiles) => tiles.kernels(shape).into(),
        }
    }

    /// The tiles of a dispatch for one time step, if it is in tiles.
    pub(super) fn step_tiles(self) -> Option<StepTiles> {
        match self {
            Self::TiledSteps(tiles) => Some(tiles),
            _ => None,
        }
    }

    /// The strategy for a shape.
    pub fn of(gpu: &Gpu, shape: &LstmShape) -> Self {
        FORCED.get().unwrap_or_else(|| match (shape.hidden_size <= PERSISTENT_HIDDEN, gpu.is_software()) {
            (true, _) => Self::Persistent(Tiles::suited_to(gpu, shape)),
            (false, true) => Self::Steps,
            (false, false) => Self::TiledSteps(StepTiles::suited_to(shape)),
        })
    }
}

impl Tiles {
    fn suited_to(gpu: &Gpu, shape: &LstmShape) -> Self {
        if gpu.is_software() {
            let threads = shape.hidden_size.div_ceil(SOFTWARE_UNITS).next_multiple_of(8);
            return Self { threads, sequences: 8.min(shape.batch), blocks: 0, steps: SOFTWARE_STEPS };
        }
        // One sequence a workgroup as long as there are enough multiprocessors, then as many as fit.
        let sequences = (shape.batch / 128).clamp(1, 8);
        Self { threads: 256, sequences, blocks: HARDWARE_BLOCKS, steps: STEPS }
    }
}
