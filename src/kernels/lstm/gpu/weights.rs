//! The weights as all kernels but the plain ones take them: the four gates of a unit together for the way forward, four
//! columns for the way back, both rounded up to fours.

use super::{LstmShape, Pass, Tape};
use crate::device::{Gpu, GpuBuffer, Kernel, grid, kernel, params};

params! {
    struct PackParams {
        hidden: u32, width: u32, padded: u32, wide: u32, place: u32, apart: u32, early: u32, late_place: u32, late_apart: u32,
        to: u32, to_back: u32, to_apart: u32, half: u32,
    }
}
pub(super) static PACK: Kernel = kernel!("lstm_pack", PackParams, [Read, Write]);

/// How the matrices lie in [`Tape::packed`].
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// Whether numbers are of 16 bits, in half the room.
    pub half: bool,
    /// Whether inputs' weights follow each recurrent matrix: on the way forward the layer's own, on the way back those of the
    /// layer above.
    pub stacked: bool,
}

/// Matrices of a buffer: the place of the first, and how far apart they are up to which number; the place of that one, and how
/// far apart from there on.
pub(super) struct Matrices {
    pub place: usize,
    pub apart: usize,
    pub early: usize,
    pub late_place: usize,
    pub late_apart: usize,
}

/// A size in fours.
pub(super) fn padded(size: usize) -> usize {
    size.next_multiple_of(4)
}

impl Layout {
    /// Recurrent matrices alone, of 32 bits.
    pub const PLAIN: Self = Self { half: false, stacked: false };

    /// Where the recurrent matrix of `cell` lies for one of the ways, counted in fours; behind all of them for the number of
    /// cells.
    pub fn place(self, shape: &LstmShape, cell: usize, backward: bool) -> usize {
        (2 * cell + usize::from(backward)) * matrix(shape) * if self.stacked { 2 } else { 1 }
    }

    /// Packs the weights of all layers, but for recurrent matrices of which weight drop makes others.
    pub fn pack_all(self, gpu: &Gpu, pass: &Pass, params: &GpuBuffer, tape: &Tape) {
        let shape = pass.shape;
        if pass.weight_drop(0).is_none() {
            let to = [false, true].map(|backward| self.place(shape, 0, backward));
            self.pack(gpu, shape, (params, Matrices::recurrent(shape)), shape.cells(), to, tape);
        }
        if self.stacked {
            let matrices = Matrices::alike(shape.cell(1, 0).weight_ih, shape.cell_len(1));
            let to = [self.place(shape, 1, false), self.place(shape, 0, true)].map(|place| place + matrix(shape));
            self.pack(gpu, shape, (params, matrices), shape.num_layers - 1, to, tape);
        }
    }

    /// Packs what weight drop made of the recurrent matrix of `cell`.
    pub fn pack_dropped(self, gpu: &Gpu, pass: &Pass, cell: usize, tape: &Tape) {
        if pass.weight_drop(cell).is_some() {
            let one = Matrices::alike(pass.dropped_at(cell), 0);
            let to = [false, true].map(|backward| self.place(pass.shape, cell, backward));
            self.pack(gpu, pass.shape, (&tape.dropped, one), 1, to, tape);
        }
    }

    fn pack(
        self,
        gpu: &Gpu,
        shape: &LstmShape,
        (weights, matrices): (&GpuBuffer, Matrices),
        count: usize,
        [to, to_back]: [usize; 2],
        tape: &Tape,
    ) {
        let (padded, wide) = (padded(shape.hidden_size), padded(shape.width()));
        let params = PackParams {
            hidden: shape.hidden_size as u32,
            width: shape.width() as u32,
            padded: padded as u32,
            wide: wide as u32,
            place: matrices.place as u32,
            apart: matrices.apart as u32,
            early: matrices.early as u32,
            late_place: matrices.late_place as u32,
            late_apart: matrices.late_apart as u32,
            to: to as u32,
            to_back: to_back as u32,
            to_apart: self.place(shape, 1, false) as u32,
            half: u32::from(self.half),
        };
        let [x, y, _] = grid(padded * wide, 64);
        gpu.run(&PACK, &params, &[weights, &tape.packed], [x, y, count as u32]);
    }
}

impl Matrices {
    /// All as far apart.
    fn alike(place: usize, apart: usize) -> Self {
        Self { place, apart, early: usize::MAX, late_place: 0, late_apart: 0 }
    }

    /// The recurrent matrices of all cells among the parameters.
    pub fn recurrent(shape: &LstmShape) -> Self {
        let place = |cell: usize| shape.cell(cell / shape.directions(), cell % shape.directions()).weight_hh;
        let apart = |cell: usize| if cell + 1 < shape.cells() { place(cell + 1) - place(cell) } else { 0 };
        let early = shape.directions();
        Self {
            place: place(0),
            // Within the first layer cells are as far apart as its inputs make them.
            apart: if early > 1 { apart(0) } else { 0 },
            early,
            late_place: if shape.num_layers > 1 { place(early) } else { 0 },
            late_apart: apart(early),
        }
    }
}

/// Fours of one matrix.
fn matrix(shape: &LstmShape) -> usize {
    padded(shape.hidden_size) * padded(shape.width())
}
