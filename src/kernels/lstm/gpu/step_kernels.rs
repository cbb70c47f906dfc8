//! The kernels of a time step that multiply by the recurrent weights. Plain, an invocation for each unit and four sequences; or in
//! tiles, for hardware, where a step at large hidden sizes needs many invocations, and each weight and each h in workgroup
//! memory or registers as often as it is used.

use super::LstmShape;
use super::weights::{self, padded};
use crate::device::{Gpu, Kernel, StepTiles, kernel, params};
use crate::kernels::unroll::{Constant, unrolled};

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

// Plain, to be read first.
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
// In tiles.
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

/// One of these kernels in both kinds.
pub(super) struct StepKernel {
    plain: &'static Kernel,
    tiled: &'static Kernel,
    backward: bool,
}

pub(super) static FORWARD: StepKernel = StepKernel { plain: &FORWARD_STEP, tiled: &TILED_FORWARD, backward: false };
pub(super) static RECUR: StepKernel = StepKernel { plain: &FORWARD_RECUR, tiled: &TILED_RECUR, backward: false };
pub(super) static BACKWARD: StepKernel = StepKernel { plain: &BACKWARD_STEP, tiled: &TILED_BACKWARD, backward: true };
pub(super) static PROJECT: StepKernel = StepKernel { plain: &BACKWARD_PROJECT, tiled: &TILED_PROJECT, backward: true };
pub(super) static START: StepKernel = StepKernel { plain: &BACKWARD_START, tiled: &TILED_START, backward: true };

impl StepKernel {
    /// The plain kernel, or the one that these tiles make for a shape.
    pub fn of(&self, tiles: Option<StepTiles>, shape: &LstmShape) -> &'static Kernel {
        tiles.map_or(self.plain, |tiles| unrolled(self.tiled, &tiles.constants(self.backward, shape)))
    }
}

/// The kernels that these tiles make for a shape.
pub(super) fn in_tiles(tiles: StepTiles, shape: &LstmShape) -> Vec<&'static Kernel> {
    [&FORWARD, &RECUR, &BACKWARD, &PROJECT, &START].map(|kernel| kernel.of(Some(tiles), shape)).into()
}

/// Workgroups for a step of so many units, or columns of h, and sequences.
pub(super) fn grid(tiles: Option<StepTiles>, units: usize, sequences: usize) -> [u32; 3] {
    tiles.map_or(plain_grid(units, sequences), |tiles| groups([tiles.units, tiles.sequences()], units, sequences))
}

/// Those of a plain kernel: 16 units and 16 sequences each, as in the WGSL.
pub(super) fn plain_grid(units: usize, sequences: usize) -> [u32; 3] {
    groups([16, 16], units, sequences)
}

fn groups(tile: [usize; 2], units: usize, sequences: usize) -> [u32; 3] {
    [units.div_ceil(tile[0]) as u32, sequences.div_ceil(tile[1]) as u32, 1]
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

/// Whether an adapter binds the weights of all cells as the tiled kernels read them.
pub(super) fn fits(gpu: &Gpu, tiles: StepTiles, shape: &LstmShape) -> bool {
    4 * packed_len(Some(tiles), shape) as u64 <= gpu.largest_binding()
}

/// Invocations of a workgroup, at most WebGPU's 256.
const INVOCATIONS: usize = 256;
/// Fours of numbers in workgroup memory: WebGPU's 16 KiB.
const MEMORY: usize = 1024;

impl StepTiles {
    fn constants(&self, backward: bool, shape: &LstmShape) -> [Constant; 7] {
        // Invocations across; the pairs whose products one of them sums up; the terms of a product.
        let (across, sums, terms): (Constant, usize, usize) = match backward {
            false => (("UNITS", self.units), 4, padded(shape.width())),
            true => (("COLUMNS", self.units / 4), 16, shape.gates()),
        };
        let fours = self.groups * self.quads;
        let parts = (INVOCATIONS / (across.1 * self.groups)).min(terms / 4).min(MEMORY / fours / 4);
        let share = (MEMORY / fours / parts / 4 * 4).min(terms.div_ceil(parts).next_multiple_of(4));
        [
            across,
            ("GROUPS", self.groups),
            ("QUADS", self.quads),
            ("PARTS", parts),
            ("PAIRS", sums.div_ceil(parts)),
            ("TERMS", share * parts),
            ("AHEAD", 4),
        ]
    }
}
