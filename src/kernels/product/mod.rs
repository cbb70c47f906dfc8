//! Matrix products: what lies outside the recurrence.

mod cpu;
mod gpu;
mod tiles;

pub(super) use cpu::{CHAIN, Left, Term, ToPack, add_products, columns_len, pack, pack_together, panels_len};
pub(super) use gpu::{KERNELS, PRODUCT, Splits};
pub(super) use tiles::{TileKernels, tile_kernels};

use crate::device::Device;

/// A matrix inside a buffer: element `(i, j)` lies at `offset + i · row + j · column`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix {
    /// Place of the first element.
    pub offset: usize,
    /// Distance between two rows.
    pub row: usize,
    /// Distance between two columns.
    pub column: usize,
}

impl Matrix {
    /// Rows of `width` elements one after the other.
    pub fn rows(offset: usize, width: usize) -> Self {
        Self { offset, row: width, column: 1 }
    }
    /// The same memory with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }
}

/// Sizes and places of a product C `[M, N]` = A `[M, K]` · B `[K, N]`.
#[derive(Clone, Copy, Debug)]
pub struct ProductShape {
    /// M, rows of A and C.
    pub m: usize,
    /// N, columns of B and C.
    pub n: usize,
    /// K, the summed dimension.
    pub k: usize,
    /// The left matrix, whose elements lie side by side along its rows or along its columns.
    pub a: Matrix,
    /// The right matrix.
    pub b: Matrix,
    /// Where C's first element lies; C's rows are `n` apart.
    pub c: usize,
}

/// What a product is added to.
#[derive(Clone, Copy, Debug)]
pub enum Onto<'a, B> {
    /// Nothing.
    Zero,
    /// Up to two vectors `[N]` at places of a buffer, for every row.
    Biases(&'a B, &'a [usize]),
    /// What C holds.
    Kept,
}

/// Products of matrices. Sums run in an order that depends on the shape alone, so equal runs give equal bits.
pub trait Product: Device {
    /// `c = a · b`, added to what `onto` says.
    fn product(
        &self,
        shape: &ProductShape,
        a: &Self::Buffer,
        b: &Self::Buffer,
        onto: Onto<Self::Buffer>,
        c: &mut Self::Buffer,
    );
    /// `c += a · b` for a long summed dimension. `scratch` holds [`scratch_len`](Product::scratch_len) elements.
    fn product_add(
        &self,
        shape: &ProductShape,
        a: &Self::Buffer,
        b: &Self::Buffer,
        c: &mut Self::Buffer,
        scratch: &mut Self::Buffer,
    );
    /// Elements of scratch that `product_add` needs for C `[m, n]` and K = `k`.
    fn scratch_len(&self, m: usize, n: usize, k: usize) -> usize;
}
