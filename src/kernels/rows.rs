//! Copies of rows: from a list of places, or to one.

use crate::device::{Cost, Cpu, CpuBuffer, Device, Gpu, Kernel, Real, kernel, params};
use crate::kernels::Matrix;

/// Which rows to copy: the first ones, or those that a list of row numbers names.
pub enum Listed<'a, I> {
    /// Row `r` to row `r`.
    No,
    /// Row `list[r]` to row `r`.
    From(&'a I),
    /// Row `r` to row `list[r]`.
    To(&'a I),
}

/// Sizes and places of a copy.
#[derive(Clone, Copy, Debug)]
pub struct RowsShape {
    /// Rows to copy.
    pub rows: usize,
    /// Elements of a row.
    pub width: usize,
    /// Where they come from.
    pub from: Matrix,
    /// Where they go.
    pub to: Matrix,
}

/// Copies of rows between two buffers.
pub trait Rows: Device {
    /// Copies `shape.rows` rows of `from` to `to`.
    fn copy_rows(&self, shape: &RowsShape, listed: Listed<Self::Indices>, from: &Self::Buffer, to: &mut Self::Buffer);
}

params! {
    struct CopyParams {
        rows: u32, width: u32, listed: u32,
        source: u32, source_row: u32, place: u32, place_row: u32, before: u32,
    }
}
static COPY_ROWS: Kernel = kernel!("copy_rows", CopyParams, [Read, Read, Write]);
pub(super) static KERNELS: &[&Kernel] = &[&COPY_ROWS];

/// About as many operations of [`Tuning::operations`] as an element that is copied takes in software.
pub(super) const OF_ELEMENT: u64 = 32;

impl Rows for Gpu {
    fn copy_rows(&self, shape: &RowsShape, listed: Listed<Self::Indices>, from: &Self::Buffer, to: &mut Self::Buffer) {
        // Each binding needs a buffer, also where there is no list.
        let (kind, list) = match listed {
            Listed::No => (0, from),
            Listed::From(list) => (1, list),
            Listed::To(list) => (2, list),
        };
        let params = CopyParams {
            rows: shape.rows as u32,
            width: shape.width as u32,
            listed: kind,
            source: shape.from.offset as u32,
            source_row: shape.from.row as u32,
            place: shape.to.offset as u32,
            place_row: shape.to.row as u32,
            before: 0,
        };
        self.cost(Cost::new(0, 2 * shape.rows * shape.width));
        self.run_each(&COPY_ROWS, &params, &[from, list, to], shape.rows * shape.width, OF_ELEMENT);
    }
}

impl<F: Real> Rows for Cpu<F> {
    fn copy_rows(&self, shape: &RowsShape, listed: Listed<Vec<u32>>, from: &CpuBuffer<F>, to: &mut CpuBuffer<F>) {
        for row in 0..shape.rows {
            let (source, target) = match listed {
                Listed::No => (row, row),
                Listed::From(list) => (list[row] as usize, row),
                Listed::To(list) => (row, list[row] as usize),
            };
            let source = &from[shape.from.offset + source * shape.from.row..][..shape.width];
            to[shape.to.offset + target * shape.to.row..][..shape.width].copy_from_slice(source);
        }
    }
}
