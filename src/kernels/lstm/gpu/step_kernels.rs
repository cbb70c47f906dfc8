//! The kernels of a time step that multiply by the recurrent weights. Plain, an invocation for each unit and four sequences; or in
//! tiles, for hardware, where a step at large hidden sizes needs many invocations, and each weight and each h in workgroup
//! memory or registers as often as it is used.

use super::LstmShape;
use super::unroll::unrolled;
use super::weights::{self, padded};
use crate::device::{Gpu, Kernel, StepTiles, kernel, params};

params! {
    pub(super) struct ForwardParams {
        t: u32, row: u32, present: u32, before: u32, ongoing: u32, next: u32, following: u32, joining: u32,
        rows: u32, batch: u32, hidden: u32, width: u32, outputs: u32, column: u32, projected: u32, w_hh_t: u32, w_hr_t: u32,
        shared_output: u32, has_start: u32, start_h: u32, masked: u32,
        zoneout: u32, limit_h: u32, limit_c: u32, rate_h: f32, rate_c: f32,
        seed_0: u32, seed_1: u32, cell: u32,
    }
}
params! {
    pub(super) struct BackwardParams {
        t: u32, row: u32, present: u32, before: u32, ongoing: u32, next: u32, following: u32,
        rows: u32, batch: u32, hidden: u32, width: u32, outputs: u32, column: u32, projected: u32, w_hh: u32, w_hr: u32,
        has_d_y: u32, d_y: u32, has_final: u32, masked: u32,
        zoneout: u32, limit_h: u32, limit_c: u32, rate_h: f32, rate_c: f32,
        seed_0: u32, seed_1: u32, cell: u32,
    }
}
/// Plain, to be read first.
static FORWARD_STEP: Kernel = kernel!(
    "lstm_forward_step" + "lstm_forward_cell" + "lstm_forward_shared" + "lstm_zone",
    ForwardParams,
    [Read, Read, Read, Write, Write, Write, Write, Write]
);
static FORWARD_RECUR: Kernel = FORWARD_STEP.entry("recur");
pub(super) static FORWARD_PROJECT: Kernel = FORWARD_STEP.entry("project");
pub(super) static BACKWARD_STEP: Kernel = kernel!(
    "lstm_backward_step" + "lstm_backward_cell" + "lstm_backward_shared" + "lstm_zone",
    BackwardParams,
    [Read, Read, Read, Read, Read, Write, Write, Write]
);
static BACKWARD_PROJECT: Kernel = BACKWARD_STEP.entry("project");
static BACKWARD_START: Kernel = BACKWARD_STEP.entry("start");
/// In tiles.
static TILED_FORWARD: Kernel = kernel!(
    "lstm_tiled_forward" + "lstm_forward_cell" + "lstm_forward_shared" + "lstm_zone",
    ForwardParams,
    [Read, Read, Read, Write, Write, Write, Write, Write]
);
static TILED_RECUR: Kernel = TILED_FORWARD.entry("recur");
static TILED_BACKWARD: Kernel = kernel!(
    "lstm_tiled_backward" + "lstm_backward_cell" + "lstm_backward_shared" + "lstm_zone",
    BackwardParams,
    [Read, Read, Read, Read, Read, Write, Write, Write]
);
static TILED_PROJECT: Kernel = TILED_BACKWARD.entry("project");
static TILED_START: Kernel = TILED_BACKWARD.entry("start");
pub(super) static KERNELS: &[&Kernel] = &[
    &FORWARD_STEP,
    &FORWARD_RECUR,
    &FORWARD_PROJECT,
    &BACKWARD_STEP,
    &BACKWARD_PROJECT,
    &BACKWARD_START,
    &TILED_FORWARD,
    &TILED_RECUR,
    &TILED_BACKWARD,
    &TILED_PROJECT,
    &TILED_START,
];

/// The kernels that multiply by the recurrent weights, and their workgroups for so many units and sequences.
pub(super) struct StepKernels {
    pub forward: &'static Kernel,
    pub recur: &'static Kernel,
    pub backward: &'static Kernel,
    pub project: &'static Kernel,
    pub start: &'static Kernel,
    pub tiles: Option<StepTiles>,
}

impl StepKernels {
    pub fn new(tiles: Option<StepTiles>, shape: &LstmShape) -> Self {
        let Some(own) = tiles else {
            return Self {
                forward: &FORWARD_STEP,
                recur: &FORWARD_RECUR,
                backward: &BACKWARD_STEP,
                project: &BACKWARD_PROJECT,
                start: &BACKWARD_START,
                tiles,
            };
        };
        Self {
            forward: own.forward(&TILED_FORWARD, shape),
            recur: own.forward(&TILED_RECUR, shape),
            backward: own.backward(&TILED_BACKWARD, shape),
            project: own.backward(&TILED_PROJECT, shape),
            start: own.backward(&TILED_START, shape),
            tiles,
        }
    }

    pub fn grid(&self, units: usize, sequences: usize) -> [u32; 3] {
        self.tiles.map_or(step_grid(units, sequences), |tiles| tiles.grid(units, sequences))
    }
}

/// Workgroups of a plain kernel for (unit, sequence) pairs of one step: 16 units and 16 sequences each, as in the WGSL.
pub(super) fn step_grid(units: usize, sequences: usize) -> [u32; 3] {
    [units.div_ceil(16) as u32, sequences.div_ceil(16) as u32, 1]
}

/// Where the tape's `packed` has the transposed projection, behind the recurrent weights.
pub(super) fn projection_place(tiles: Option<StepTiles>, shape: &LstmShape) -> usize {
    match tiles {
        Some(_) => 4 * weights::place(shape, shape.cells(), false),
        None => shape.gates() * shape.width(),
    }
}

/// Elements of the tape's `packed`.
pub(super) fn packed_len(tiles: Option<StepTiles>, shape: &LstmShape) -> usize {
    projection_place(tiles, shape) + shape.proj_size * shape.hidden_size
}

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
    fn grid(&self, units: usize, sequences: usize) -> [u32; 3] {
        [units.div_ceil(self.units) as u32, sequences.div_ceil(self.sequences()) as u32, 1]
    }

    fn forward(&self, kernel: &'static Kernel, shape: &LstmShape) -> &'static Kernel {
        self.kernel(kernel, ("UNITS", self.units), 4, padded(shape.width()))
    }

    fn backward(&self, kernel: &'static Kernel, shape: &LstmShape) -> &'static Kernel {
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
        let forward = [&TILED_FORWARD, &TILED_RECUR].map(|kernel| self.forward(kernel, shape));
        let backward = [&TILED_BACKWARD, &TILED_PROJECT, &TILED_START].map(|kernel| self.backward(kernel, shape));
        forward.into_iter().chain(backward).collect()
    }
}
