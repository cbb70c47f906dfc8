//! The steps' kernels in tiles: for hardware, where a step at large hidden sizes needs many invocations and each weight and
//! each h in workgroup memory or registers as often as it is used.

use super::LstmShape;
use super::steps::{BackwardParams, ForwardParams};
use super::unroll::unrolled;
use super::weights::padded;
use crate::device::{Kernel, kernel};

pub(super) static FORWARD: Kernel = kernel!(
    "lstm_tiled_forward" + "lstm_forward_cell" + "lstm_forward_shared" + "lstm_zone",
    ForwardParams,
    [Read, Read, Read, Write, Write, Write, Write, Write]
);
pub(super) static RECUR: Kernel = FORWARD.entry("recur");
pub(super) static BACKWARD: Kernel = kernel!(
    "lstm_tiled_backward" + "lstm_backward_cell" + "lstm_backward_shared" + "lstm_zone",
    BackwardParams,
    [Read, Read, Read, Read, Read, Write, Write, Write]
);
pub(super) static PROJECT: Kernel = BACKWARD.entry("project");
pub(super) static START: Kernel = BACKWARD.entry("start");
pub(super) static KERNELS: &[&Kernel] = &[&FORWARD, &RECUR, &BACKWARD, &PROJECT, &START];

/// Invocations of a workgroup, at most WebGPU's 256.
const INVOCATIONS: usize = 256;
/// Fours of numbers in workgroup memory: WebGPU's 16 KiB.
const MEMORY: usize = 1024;

/// What one workgroup of a step takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepTiles {
    /// Hidden units, or columns of h on the way back; a multiple of four.
    pub units: usize,
    /// Invocations beside each other, for four sequences each time.
    pub groups: usize,
    /// Times four sequences of an invocation.
    pub quads: usize,
}

impl StepTiles {
    /// The largest tiles of which a step of `shape` has at least a hundred, so that a large GPU has work everywhere; the
    /// smallest if none has.
    pub fn suited_to(shape: &LstmShape) -> Self {
        let tiles = |units, groups, quads| Self { units, groups, quads };
        let sizes = [tiles(32, 4, 2), tiles(16, 4, 1), tiles(16, 2, 1)];
        let [rest @ .., smallest] = sizes;
        let count = |tiles: &Self| shape.hidden_size.div_ceil(tiles.units) * shape.batch.div_ceil(tiles.sequences());
        rest.into_iter().find(|tiles| count(tiles) >= 100).unwrap_or(smallest)
    }

    pub(super) fn sequences(&self) -> usize {
        4 * self.groups * self.quads
    }

    /// Workgroups for a step of so many units, or columns of h, and sequences.
    pub(super) fn grid(&self, units: usize, sequences: usize) -> [u32; 3] {
        [units.div_ceil(self.units) as u32, sequences.div_ceil(self.sequences()) as u32, 1]
    }

    pub(super) fn forward(&self, kernel: &'static Kernel, shape: &LstmShape) -> &'static Kernel {
        self.kernel(kernel, ("UNITS", self.units), 4, padded(shape.width()))
    }

    pub(super) fn backward(&self, kernel: &'static Kernel, shape: &LstmShape) -> &'static Kernel {
        self.kernel(kernel, ("COLUMNS", self.units / 4), 16, shape.gates())
    }

    /// `sums` are the pairs whose products one invocation sums up, `terms` those of a product.
    fn kernel(
        &self,
        kernel: &'static Kernel,
        across: (&'static str, usize),
        sums: usize,
        terms: usize,
    ) -> &'static Kernel {
        let fours = self.groups * self.quads;
        let parts = (INVOCATIONS / (across.1 * self.groups)).min(terms / 4).min(MEMORY / fours / 4);
        let share = (MEMORY / fours / parts / 4 * 4).min(terms.div_ceil(parts).next_multiple_of(4));
        let constants = [
            across,
            ("GROUPS", self.groups),
            ("QUADS", self.quads),
            ("PARTS", parts),
            ("PAIRS", sums.div_ceil(parts)),
            ("TERMS", share * parts),
            ("AHEAD", 4),
        ];
        unrolled(kernel, &constants)
    }

    /// The kernels that these tiles make for a shape.
    pub(super) fn kernels(&self, shape: &LstmShape) -> Vec<&'static Kernel> {
        let forward = [&FORWARD, &RECUR].map(|kernel| self.forward(kernel, shape));
        let backward = [&BACKWARD, &PROJECT, &START].map(|kernel| self.backward(kernel, shape));
        forward.into_iter().chain(backward).collect()
    }
}
