//! The recurrent weights as all kernels but the plain ones take them: the four gates of a unit together for the way
//! forward, four columns for the way back, both rounded up to fours.

use super::{LstmShape, Pass, Tape};
use crate::device::{Gpu, GpuBuffer, Kernel, grid, kernel, params};

params! {
    struct PackParams {
        hidden: u32, width: u32, padded: u32, wide: u32, cell: u32, place: u32, apart: u32, early: u32, late_place: u32,
        late_apart: u32, half: u32,
    }
}
pub(super) static PACK: Kernel = kernel!("lstm_pack", PackParams, [Read, Write]);

/// A size in fours.
pub(super) fn padded(size: usize) -> usize {
    size.next_multiple_of(4)
}

/// Where [`Tape::packed`] has the weights of `cell` for one of the ways, counted in fours; behind all of them for the number
/// of cells.
pub(super) fn place(shape: &LstmShape, cell: usize, backward: bool) -> usize {
    (2 * cell + usize::from(backward)) * padded(shape.hidden_size) * padded(shape.width())
}

/// Packs those of all layers, unless weight drop makes others of them; if `half`, of 16 bits each, in half the
/// room.
pub(super) fn pack_all(gpu: &Gpu, pass: &Pass, half: bool, params: &GpuBuffer, tape: &Tape) {
    if pass.weight_drop(0).is_none() {
        let [place, first, early, late_place, late] = recurrent_places(pass.shape);
        let places = [0, place, first, early, late_place, late];
        pack(gpu, pass.shape, half, params, places, pass.shape.cells(), tape);
    }
}

/// Where the recurrent matrices of all cells lie among the parameters: the first, and how far apart they are up to which number;
/// the one of that number, and how far apart from there on.
pub(super) fn recurrent_places(shape: &LstmShape) -> [usize; 5] {
    let place = |cell: usize| shape.cell(cell / shape.directions(), cell % shape.directions()).weight_hh;
    let apart = |cell: usize| if cell + 1 < shape.cells() { place(cell + 1) - place(cell) } else { 0 };
    let early = shape.directions();
    let late_place = if shape.num_layers > 1 { place(early) } else { 0 };
    // Within the first layer cells are as far apart as its inputs make them.
    let first = if early > 1 { apart(0) } else { 0 };
    [place(0), first, early, late_place, apart(early)]
}

/// Packs what weight drop made of those of `cell`.
pub(super) fn pack_dropped(gpu: &Gpu, pass: &Pass, half: bool, cell: usize, tape: &Tape) {
    if pass.weight_drop(cell).is_some() {
        let shape = pass.shape;
        pack(gpu, shape, half, &tape.dropped, [cell, 0, shape.gates() * shape.width(), shape.cells(), 0, 0], 1, tape);
    }
}

fn pack(gpu: &Gpu, shape: &LstmShape, half: bool, weights: &GpuBuffer, places: [usize; 6], cells: usize, tape: &Tape) {
    let (padded, wide) = (padded(shape.hidden_size), padded(shape.width()));
    let [cell, place, apart, early, late_place, late_apart] = places.map(|place| place as u32);
    let params = PackParams {
        hidden: shape.hidden_size as u32,
        width: shape.width() as u32,
        padded: padded as u32,
        wide: wide as u32,
        cell,
        place,
        apart,
        early,
        late_place,
        late_apart,
        half: u32::from(half),
    };
    let [x, y, _] = grid(padded * wide, 64);
    gpu.run(&PACK, &params, &[weights, &tape.packed], [x, y, cells as u32]);
}
