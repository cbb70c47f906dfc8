//! The steps' kernels in tiles: for hardware, where a step at large hidden sizes needs many invocations and each weight and
//! each h in workgroup memory or registers as often as it is used.

use super::LstmShape;
use super::steps::{BackwardParams, ForwardParams};
use super::unroll::unrolled;
use super::weights::{self, padded};
use crate::device::{Gpu, Kernel, StepTiles, kernel};

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

/// Whether an adapter binds the weights of all cells as these kernels read them.
pub(super) fn fits(gpu: &Gpu, shape: &LstmShape) -> bool {
    16 * weights::place(shape, shape.cells(), false) as u64 <= gpu.largest_binding()
}

/// Invocations of a workgroup, at most WebGPU's 256.
const INVOCATIONS: usize = 256;
/// Fours of numbers in workgroup memory: WebGPU's 16 KiB.
const MEMORY: usize = 1024;

impl StepTiles {
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
