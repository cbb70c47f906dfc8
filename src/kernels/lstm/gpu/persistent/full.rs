//! The kernels for layer normalisation and projections. Beside the recurrent weights they take those of the projection and
//! what normalisation needs of the parameters, and the start states from where the packed weights lie: their buffers are as
//! many as every adapter binds.

use std::ops::Range;

use super::{Packed, Recurrences, Tiled, Turn, WalkParams, split};
use crate::device::{Gpu, GpuBuffer, Kernel, grid, kernel, params};
use crate::kernels::Matrix;
use crate::kernels::lstm::gpu::strategy::Tiles;
use crate::kernels::lstm::gpu::weights::{Matrices, padded};
use crate::kernels::lstm::gpu::{LayerTape, LstmShape, LstmState, Pass, Tape};
use crate::kernels::rows::{Listed, Rows, RowsShape};
use crate::kernels::unroll::unrolled;

params! {
    struct PackParams {
        hidden: u32, width: u32, padded: u32, wide: u32, place: u32, apart: u32, early: u32, late_place: u32,
        late_apart: u32, projected: u32, w_hr: u32, normed: u32, gains: u32, biases: u32, b_ih: u32, b_hh: u32,
        to_w_hr: u32, to_gains: u32,
    }
}
static PACK: Kernel = kernel!("lstm_pack_full", PackParams, [Read, Write]);
static FORWARD: Kernel = kernel!(
    "lstm_persistent_full_forward"
        + "lstm_persistent_shared"
        + "lstm_persistent_full_shared"
        + "lstm_persistent_held"
        + "lstm_gates"
        + "lstm_zone",
    WalkParams,
    [Read, Read, Write, Write, Write, Write, Write, Write]
);
static BACKWARD: Kernel = kernel!(
    "lstm_persistent_full_backward"
        + "lstm_persistent_shared"
        + "lstm_persistent_full_shared"
        + "lstm_persistent_held"
        + "lstm_gates"
        + "lstm_zone",
    WalkParams,
    [Read, Read, Read, Read, Write, Write, Write, Write]
);
pub(super) static KERNELS: &[&Kernel] = &[&PACK, &FORWARD, &BACKWARD];

/// Sequences of a workgroup at most: with more a software adapter compiles too long.
const MOST: usize = 8;

/// What arrays of one element take that stand where an option is off.
const EMPTY_BYTES: usize = 32;

/// How many terms a sum over the units of a sequence has, and slices it is added in, as in the WGSL.
fn terms(padded: usize, threads: usize) -> usize {
    let terms = threads.min(padded);
    terms + if terms > 32 { 8 } else { 1 }
}

/// The constants of the options.
fn options(shape: &LstmShape) -> [(&'static str, usize); 5] {
    [
        ("HIDDEN", shape.hidden_size),
        ("WIDTH", shape.width()),
        ("ZONEOUT", usize::from(shape.zones())),
        ("NORM", usize::from(shape.layer_norm)),
        ("PROJECTED", usize::from(shape.proj_size > 0)),
    ]
}

impl Tiles {
    pub(super) fn full_forward(&self, shape: &LstmShape) -> Tiled {
        let (padded, fours) = (padded(shape.hidden_size), padded(shape.width()) / 4);
        let [threads, units, parts, quads] = split(padded, fours, self.invocations());
        let own = threads * parts;
        let [four_threads, four_each, four_parts, four_quads] = match shape.proj_size {
            0 => [1; 4],
            _ => split(fours, padded / 4, own),
        };
        let (projected, normed) = (usize::from(shape.proj_size > 0), usize::from(shape.layer_norm));
        let sums = (parts * padded * usize::from(parts > 1)).max(projected * four_parts * fours).max(1);
        let bytes = 16 * (parts * quads + sums + projected * four_parts * four_quads) + 8 * normed * terms(padded, own);
        let sequences = self.sequences_of(bytes, EMPTY_BYTES).min(MOST);
        let [resident, held, holds] = self.on_chip(quads, units, own, bytes * sequences + EMPTY_BYTES);
        let tiles = [
            ("SEQUENCES", sequences),
            ("UNIT_THREADS", threads),
            ("UNITS", units),
            ("PARTS", parts),
            ("QUADS", quads),
            resident,
            held,
            holds,
            ("FOUR_THREADS", four_threads),
            ("FOURS", four_each),
            ("FOUR_PARTS", four_parts),
            ("FOUR_QUADS", four_quads),
        ];
        Tiled { kernel: unrolled(&FORWARD, &[&options(shape)[..], &tiles].concat()), sequences }
    }

    pub(super) fn full_backward(&self, shape: &LstmShape) -> Tiled {
        let (padded, fours) = (padded(shape.hidden_size), padded(shape.width()) / 4);
        let [threads, four_each, parts, units] = split(fours, padded, self.invocations());
        let own = threads * parts;
        let [up_threads, up_fours, up_parts, up_quads] = match shape.proj_size {
            0 => [1; 4],
            _ => split(padded / 4, fours, own),
        };
        let (projected, normed) = (usize::from(shape.proj_size > 0), usize::from(shape.layer_norm));
        let sums = (parts * fours).max(projected * up_parts * padded / 4);
        let slices = normed * (terms(padded, own) - own.min(padded));
        let bytes = 16 * (parts * units + sums + projected * up_parts * up_quads) + 8 * slices.max(1);
        let sequences = self.sequences_of(bytes, EMPTY_BYTES).min(MOST);
        let [resident, held, holds] = self.on_chip(units, four_each, own, bytes * sequences + EMPTY_BYTES);
        let tiles = [
            ("SEQUENCES", sequences),
            ("FOUR_THREADS", threads),
            ("FOURS", four_each),
            ("PARTS", parts),
            ("UNITS", units),
            resident,
            held,
            holds,
            ("UP_THREADS", up_threads),
            ("UP_FOURS", up_fours),
            ("UP_PARTS", up_parts),
            ("UP_QUADS", up_quads),
        ];
        Tiled { kernel: unrolled(&BACKWARD, &[&options(shape)[..], &tiles].concat()), sequences }
    }
}

/// The weights of the projections, what normalisation needs, and the start states, of all layers.
pub(super) fn pack_all(
    gpu: &Gpu,
    pass: &Pass,
    params: &GpuBuffer,
    start: Option<&LstmState<GpuBuffer>>,
    tape: &mut Tape,
) {
    let shape = pass.shape;
    let (cell, packed) = (shape.cell(0, 0), Packed::of(shape));
    let (padded, wide) = (padded(shape.hidden_size), padded(shape.width()));
    let Matrices { place, apart, early, late_place, late_apart } = Matrices::recurrent(shape);
    // Within a cell they lie as far behind the recurrent matrix in each.
    let within = |place: usize| (place - cell.weight_hh) as u32;
    let [b_ih, b_hh] = cell.bias.map_or([0; 2], |(ih, hh)| [ih, hh].map(within));
    let pack = PackParams {
        hidden: shape.hidden_size as u32,
        width: shape.width() as u32,
        padded: padded as u32,
        wide: wide as u32,
        place: place as u32,
        apart: apart as u32,
        early: early as u32,
        late_place: late_place as u32,
        late_apart: late_apart as u32,
        projected: u32::from(cell.weight_hr.is_some()),
        w_hr: cell.weight_hr.map_or(0, within),
        normed: u32::from(shape.layer_norm),
        gains: cell.layer_norm.map_or(0, within),
        biases: u32::from(cell.bias.is_some()),
        b_ih,
        b_hh,
        to_w_hr: packed.w_hr() as u32,
        to_gains: packed.gains() as u32,
    };
    let [x, y, _] = grid(padded * (wide / 4).max(1), 64);
    gpu.run(&PACK, &pack, &[params, &tape.packed], [x, y, shape.cells() as u32]);
    let Some(start) = start else { return };
    let (h, c) = (pass.batch() * shape.width(), pass.batch() * shape.hidden_size);
    for (values, place, width) in [(&start.h, 0, h), (&start.c, h, c)] {
        let to = Matrix { offset: packed.start() + place, ..Matrix::rows(0, h + c) };
        let rows = RowsShape { rows: shape.cells(), width, from: Matrix::rows(0, width), to };
        gpu.copy_rows(&rows, Listed::No, values, &mut tape.packed);
    }
}

impl Recurrences<'_> {
    pub(super) fn full_forward(&self, cells: &Range<usize>, turn: Turn, has_start: bool, tape: &Tape) {
        let shape = self.pass.shape;
        let LayerTape { cells: of_layer, y, .. } = &tape.layers[cells.start / shape.directions()];
        let cell = &of_layer[cells.start % shape.directions()];
        let packed = Packed::of(shape);
        let [mask, gates, h_in, c, u, norm] = [&cell.mask, &cell.gates, &cell.h_in, &cell.c, &cell.u, &cell.norm]
            .map(|buffer| self.company.all_of(buffer));
        let Tiled { kernel, sequences } = self.tiles.full_forward(shape);
        let params = WalkParams {
            w_hr: packed.w_hr() as u32,
            gains: packed.gains() as u32,
            start: packed.start() as u32,
            has_start: u32::from(has_start),
            ..self.params(turn, false, cell)
        };
        let buffers = [&tape.packed, mask, gates, h_in, c, y, u, norm];
        self.run(kernel, &params, &buffers, sequences, turn.count);
    }

    /// Where layers go together `between` has what comes from above the last of them, too.
    pub(super) fn full_backward(
        &self,
        cells: &Range<usize>,
        turn: Turn,
        upstream: Option<(&GpuBuffer, usize)>,
        tape: &Tape,
        [has_final, wants_start]: [bool; 2],
    ) {
        let (pass, shape) = (self.pass, self.pass.shape);
        let packed = Packed::of(shape);
        let (d_y, from) = upstream.unwrap_or((&tape.between, 0));
        let (d_y, d_y_row) = match self.layers() {
            0 => (d_y, pass.packing.row(from)),
            _ => (&tape.between, 0),
        };
        let cell = &tape.layers[cells.start / shape.directions()].cells[cells.start % shape.directions()];
        let [c, mask, gates, d_state, norm, d_h] =
            [&cell.c, &cell.mask, &cell.gates, &cell.d_state, &cell.norm, &cell.d_h]
                .map(|buffer| self.company.all_of(buffer));
        let Tiled { kernel, sequences } = self.tiles.full_backward(shape);
        let params = WalkParams {
            w_hr: packed.w_hr() as u32,
            gains: packed.gains() as u32,
            sums: pass.norm_places::<Gpu>().sums as u32,
            d_y_from: from as u32,
            d_y_row: d_y_row as u32,
            has_final: u32::from(has_final),
            wants_start: u32::from(wants_start),
            ..self.params(turn, true, cell)
        };
        let buffers = [&tape.packed, d_y, c, mask, gates, d_state, norm, d_h];
        self.run(kernel, &params, &buffers, sequences, turn.count);
    }
}
