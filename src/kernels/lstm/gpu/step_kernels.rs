//! The kernels of a time step that multiply by the recurrent weights. Plain, an invocation for each unit and four sequences; in
//! tiles, for hardware, where a step at large hidden sizes needs many invocations, and each weight and each h in workgroup
//! memory or registers as often as it is used; or by matrices of 16-bit numbers.

use super::LstmShape;
use super::weights::{Layout, padded};
use crate::device::{Gpu, Half, Kernel, StepTiles, Twenty, kernel, params};
use crate::kernels::unroll::{Constant, unrolled};

params! {
    /// Of all kernels of a time step; 0 where one has no use for a number.
    pub(super) struct StepParams {
        step_rows: Twenty, place: u32, place_apart: u32, t: u32, t_apart: u32, cell: u32, cell_apart: u32,
        w_hh: u32, w_hh_apart: u32, w_hr: u32, w_hr_apart: u32, has_d_y: u32, has_d_y_apart: u32, d_y: u32, d_y_apart: u32,
        rows_apart: u32, state_apart: u32, mask_apart: u32, norm_apart: u32, dropped: u32, layers: u32,
        rows: u32, batch: u32, hidden: u32, width: u32, outputs: u32, column: u32, projected: u32,
        shared_output: u32, has_start: u32, has_final: u32, masked: u32,
        zoneout: u32, limit_h: u32, limit_c: u32, rate_h: f32, rate_c: f32, seed_0: u32, seed_1: u32,
        group_x: u32, group_y: u32,
    }
}

// Plain, to be read first.
static FORWARD_STEP: Kernel = kernel!(
    "lstm_forward_step" + "lstm_forward_cell" + "lstm_publish" + "lstm_step_shared" + "lstm_gates" + "lstm_zone",
    StepParams,
    [Read, Read, Read, Write, Write, Write, Write, Write]
);
static FORWARD_RECUR: Kernel = FORWARD_STEP.entry("recur");
pub(super) static FORWARD_PROJECT: Kernel = FORWARD_STEP.entry("project");
pub(super) static BACKWARD_STEP: Kernel = kernel!(
    "lstm_backward_step" + "lstm_backward_cell" + "lstm_step_shared" + "lstm_gates" + "lstm_zone",
    StepParams,
    [Read, Read, Read, Read, Read, Write, Write, Write]
);
static BACKWARD_PROJECT: Kernel = BACKWARD_STEP.entry("project");
static BACKWARD_START: Kernel = BACKWARD_STEP.entry("start");
// In tiles.
static TILED_FORWARD: Kernel = kernel!(
    "lstm_tiled_forward" + "lstm_forward_cell" + "lstm_publish" + "lstm_step_shared" + "lstm_gates" + "lstm_zone",
    StepParams,
    [Read, Read, Read, Write, Write, Write, Write, Write]
);
static TILED_RECUR: Kernel = TILED_FORWARD.entry("recur");
static TILED_BACKWARD: Kernel = kernel!(
    "lstm_tiled_backward" + "lstm_backward_cell" + "lstm_step_shared" + "lstm_gates" + "lstm_zone",
    StepParams,
    [Read, Read, Read, Read, Read, Write, Write, Write]
);
static TILED_PROJECT: Kernel = TILED_BACKWARD.entry("project");
static TILED_START: Kernel = TILED_BACKWARD.entry("start");
// By matrices.
#[cfg(not(target_arch = "wasm32"))]
static MATRIX_FORWARD: Kernel = kernel!(
    "lstm_matrices_forward"
        + "lstm_matrices"
        + "lstm_forward_cell"
        + "lstm_publish"
        + "lstm_step_shared"
        + "lstm_gates"
        + "lstm_zone",
    StepParams,
    [Read, Read, Read, Write, Write, Write, Write, Write]
);
#[cfg(not(target_arch = "wasm32"))]
static MATRIX_BACKWARD: Kernel = kernel!(
    "lstm_matrices_backward" + "lstm_matrices" + "lstm_backward_cell" + "lstm_step_shared" + "lstm_gates" + "lstm_zone",
    StepParams,
    [Read, Read, Read, Read, Read, Write, Write, Write]
);
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
    #[cfg(not(target_arch = "wasm32"))]
    &FORWARD.matrices,
    #[cfg(not(target_arch = "wasm32"))]
    &RECUR.matrices,
    #[cfg(not(target_arch = "wasm32"))]
    &BACKWARD.matrices,
    #[cfg(not(target_arch = "wasm32"))]
    &PROJECT.matrices,
    #[cfg(not(target_arch = "wasm32"))]
    &START.matrices,
];

/// In what a time step's products are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steps {
    /// An invocation for each unit and four sequences.
    Plain,
    /// Tiles.
    Tiles(StepTiles),
    /// Matrices of 16-bit numbers.
    Matrices(StepMatrices),
}

/// What multiplies where a time step's products are of matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepMatrices {
    /// Rows and columns of a matrix.
    pub side: usize,
    /// Subgroups of a workgroup, each with one matrix and a part of the terms.
    pub subgroups: usize,
}

/// One of these kernels in every kind.
pub(super) struct StepKernel {
    plain: &'static Kernel,
    tiled: &'static Kernel,
    #[cfg(not(target_arch = "wasm32"))]
    matrices: Kernel,
    backward: bool,
}

macro_rules! step_kernel {
    ($plain:ident, $tiled:ident, $matrices:ident, $entry:literal, $backward:literal) => {
        StepKernel {
            plain: &$plain,
            tiled: &$tiled,
            #[cfg(not(target_arch = "wasm32"))]
            matrices: $matrices.entry($entry),
            backward: $backward,
        }
    };
}
pub(super) static FORWARD: StepKernel = step_kernel!(FORWARD_STEP, TILED_FORWARD, MATRIX_FORWARD, "matrices", false);
pub(super) static RECUR: StepKernel = step_kernel!(FORWARD_RECUR, TILED_RECUR, MATRIX_FORWARD, "matrices_recur", false);
pub(super) static BACKWARD: StepKernel = step_kernel!(BACKWARD_STEP, TILED_BACKWARD, MATRIX_BACKWARD, "matrices", true);
pub(super) static PROJECT: StepKernel =
    step_kernel!(BACKWARD_PROJECT, TILED_PROJECT, MATRIX_BACKWARD, "matrices_project", true);
pub(super) static START: StepKernel =
    step_kernel!(BACKWARD_START, TILED_START, MATRIX_BACKWARD, "matrices_start", true);

impl StepKernel {
    /// The kernel of this kind for a shape; `parted` as in [`LstmShape::parts_ways`], where layers go together.
    pub fn of(&'static self, steps: Steps, shape: &LstmShape, parted: bool) -> &'static Kernel {
        match steps {
            Steps::Tiles(tiles) => unrolled(self.tiled, &tiles.constants(self.backward, shape, parted)),
            #[cfg(not(target_arch = "wasm32"))]
            Steps::Matrices(matrices) => unrolled(&self.matrices, &matrices.constants(self.backward, shape, parted)),
            _ => self.plain,
        }
    }
}

/// The kernels that are made for a shape.
pub(super) fn made(steps: Steps, shape: &LstmShape) -> Vec<&'static Kernel> {
    match steps {
        Steps::Plain => Vec::new(),
        _ => {
            let parted = shape.parts_ways();
            [&FORWARD, &RECUR, &BACKWARD, &PROJECT, &START].map(|kernel| kernel.of(steps, shape, parted)).into()
        }
    }
}

/// Workgroups for a step of one cell, of so many units, or of so many columns of h if `backward`, and sequences.
pub(super) fn grid(steps: Steps, shape: &LstmShape, backward: bool, units: usize, sequences: usize) -> [u32; 3] {
    match steps {
        Steps::Plain => plain_grid(units, sequences),
        Steps::Tiles(tiles) => groups([tiles.units, tiles.sequences()], units, sequences),
        Steps::Matrices(matrices) => {
            let [of_one, columns] = matrices.tile(backward, shape);
            groups([if backward { columns } else { columns / 4 }, of_one], units, sequences)
        }
    }
}

/// Those of a plain kernel: 16 units and 16 sequences each, as in the WGSL.
pub(super) fn plain_grid(units: usize, sequences: usize) -> [u32; 3] {
    groups([16, 16], units, sequences)
}

fn groups(tile: [usize; 2], units: usize, sequences: usize) -> [u32; 3] {
    [units.div_ceil(tile[0]) as u32, sequences.div_ceil(tile[1]) as u32, 1]
}

impl Steps {
    /// How the weights are packed, those of layers that go together if `stacked`.
    pub(super) fn layout(self, stacked: bool) -> Layout {
        Layout { half: matches!(self, Self::Matrices(_)), stacked }
    }
}

/// Where the tape's `packed` has the transposed projection of a cell, behind the weights of all; plain kernels have one cell's at a
/// time there.
pub(super) fn projection_place(steps: Steps, layout: Layout, shape: &LstmShape, cell: usize) -> usize {
    match steps {
        Steps::Plain => shape.gates() * shape.width(),
        _ => 4 * layout.place(shape, shape.cells(), false) + cell * shape.proj_size * shape.hidden_size,
    }
}

/// Elements of the tape's `packed`, with the weights of layers that go together if `stacked`.
pub(super) fn packed_len(steps: Steps, shape: &LstmShape, stacked: bool) -> usize {
    let last = projection_place(steps, steps.layout(stacked), shape, shape.cells() - 1);
    last + shape.proj_size * shape.hidden_size
}

impl Steps {
    /// The kind for a shape, by the GPU's tuning and by what its products are made of.
    pub(super) fn of(gpu: &Gpu, shape: &LstmShape) -> Self {
        let tiles = gpu.tuning().recurrence.step.map(|tiles| Self::Tiles(tiles.of(shape.hidden_size, shape.batch)));
        // The weights of all cells have to be in one binding.
        let fits = |steps: &Self| 4 * packed_len(*steps, shape, false) as u64 <= gpu.largest_binding();
        let Some(tiles) = tiles.filter(fits) else { return Self::Plain };
        match gpu.half() {
            Some(Half::Matrices { side, lanes }) if (shape.hidden_size | shape.width()).is_multiple_of(side) => {
                Self::Matrices(StepMatrices { side, subgroups: 256 / lanes })
            }
            _ => tiles,
        }
    }
}

/// Invocations of a workgroup, at most WebGPU's 256.
const INVOCATIONS: usize = 256;
/// Fours of numbers in workgroup memory: WebGPU's 16 KiB.
const MEMORY: usize = 1024;

/// Whether what layers that go together hand up and what their next steps read may be two things: on the way back the terms of
/// a product then take two turns.
fn ways(backward: bool, parted: bool) -> Constant {
    if backward { ("TURNS", 1 + usize::from(parted)) } else { ("PARTED", usize::from(parted)) }
}

impl StepTiles {
    fn constants(&self, backward: bool, shape: &LstmShape, parted: bool) -> [Constant; 9] {
        // Invocations across; the pairs whose products one of them sums up; the terms of a product.
        let (across, sums, terms): (Constant, usize, usize) = match backward {
            false => (("UNITS", self.units), 4, padded(shape.width())),
            true => (("COLUMNS", self.units / 4), 16, shape.gates()),
        };
        let fours = self.groups * self.quads;
        let parts = (INVOCATIONS / (across.1 * self.groups)).min(terms / 4).min(MEMORY / fours / 4);
        let [room, wanted] = [MEMORY / fours / parts, terms.div_ceil(parts)];
        let ahead = [16, 8].into_iter().find(|ahead| *ahead <= room.min(wanted)).unwrap_or(4);
        let share = (room / ahead * ahead).min(wanted.next_multiple_of(ahead));
        [
            across,
            ("GROUPS", self.groups),
            ("QUADS", self.quads),
            ("PARTS", parts),
            ("PAIRS", sums.div_ceil(parts)),
            ("TERMS", share * parts),
            ("AHEAD", ahead),
            ("FILLS", (share * fours).div_ceil(across.1 * self.groups)),
            ways(backward, parted),
        ]
    }
}

impl StepMatrices {
    /// Workgroups that keep most of a large GPU's multiprocessors busy.
    const WORKGROUPS: usize = 100;

    /// Sequences and columns of a workgroup, the columns those of the gates, or of h if `backward`: one matrix for each subgroup
    /// at most, and no weights read by more workgroups than it takes to have enough of them.
    fn tile(&self, backward: bool, shape: &LstmShape) -> [usize; 2] {
        let Self { side, subgroups } = *self;
        let all = if backward { shape.width() } else { shape.gates() };
        let mut columns = 32.min(side * subgroups);
        let most = (side * side * subgroups / columns).min(64);
        let mut sequences = shape.batch.next_multiple_of(side).next_power_of_two().min(most);
        while all.div_ceil(columns) * shape.batch.div_ceil(sequences) < Self::WORKGROUPS {
            match (sequences > side, columns > side) {
                (true, _) => sequences /= 2,
                (_, true) => columns /= 2,
                _ => break,
            }
        }
        [sequences, columns]
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn constants(&self, backward: bool, shape: &LstmShape, parted: bool) -> [Constant; 8] {
        let Self { side, subgroups } = *self;
        let [sequences, columns] = self.tile(backward, shape);
        let parts = subgroups * side * side / (sequences * columns);
        let terms = if backward { shape.gates() } else { shape.width() };
        // Up to 16 KiB of the left side at a time.
        let ahead = terms.div_ceil(parts * side).min(8192 / (sequences * parts * side)).max(1);
        let pairs = sequences * columns / if backward { 1 } else { 4 };
        [
            ("SEQUENCES", sequences),
            ("COLUMNS", columns),
            ("SIDE", side),
            ("SUBGROUPS", subgroups),
            ("AHEAD", ahead),
            ("FILLS", (sequences * parts * ahead * side).div_ceil(1024)),
            ("PAIRS", pairs.div_ceil(256)),
            ways(backward, parted),
        ]
    }
}
