//! Matrix products with any strides, and column sums: what lies outside the recurrence.

use rayon::prelude::*;

use crate::device::{Cpu, Device, Gpu, Kernel, Real, grid, kernel, params};

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
    /// The left matrix.
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
    /// `sums[j] += Σ_r values[r, j]` for each place of `sums` in `places`; `values` `[R, C]` from a place of its buffer on.
    /// `scratch` is long enough for `product_add` with M = 1, N = C, K = R.
    fn column_sums(
        &self,
        rows: usize,
        columns: usize,
        values: (&Self::Buffer, usize),
        places: &[usize],
        sums: &mut Self::Buffer,
        scratch: &mut Self::Buffer,
    );
    /// Elements of scratch that `product_add` needs for C `[m, n]` and K = `k`.
    fn scratch_len(&self, m: usize, n: usize, k: usize) -> usize;
}

params! {
    struct ProductParams {
        m: u32, n: u32, k: u32,
        a: u32, a_row: u32, a_column: u32,
        b: u32, b_row: u32, b_column: u32,
        c: u32,
        biases: u32, bias_0: u32, bias_1: u32, add: u32,
        k_per_split: u32,
    }
}
params! {
    struct SumParams { rows: u32, columns: u32, rows_per_split: u32, place: u32 }
}
params! {
    struct ReduceParams { count: u32, splits: u32, place: u32 }
}
static PRODUCT: Kernel = kernel!("product", ProductParams, [Read, Read, Read, Write]);
static COLUMN_SUMS: Kernel = kernel!("column_sums", SumParams, [Read, Write]);
static REDUCE_SPLITS: Kernel = kernel!("reduce_splits", ReduceParams, [Read, Write]);
pub(super) static KERNELS: &[&Kernel] = &[&PRODUCT, &COLUMN_SUMS, &REDUCE_SPLITS];

/// Edge of the tile of C that one workgroup computes.
const TILE: usize = 32;

impl Gpu {
    /// How many parts a sum of `k` terms is cut into: enough workgroups to fill a large GPU, parts of at least 128 terms.
    fn splits(m: usize, n: usize, k: usize) -> usize {
        let tiles = m.div_ceil(TILE) * n.div_ceil(TILE);
        (512 / tiles).min(k / 128).max(1)
    }

    fn dispatch_product(
        &self,
        shape: &ProductShape,
        [a, b, c]: [&<Self as Device>::Buffer; 3],
        onto: Onto<<Self as Device>::Buffer>,
        splits: usize,
    ) {
        // A buffer for the binding even where there is no bias.
        let (bias, biases) = if let Onto::Biases(bias, biases) = onto { (bias, biases) } else { (b, &[][..]) };
        assert!(biases.len() <= 2, "{} biases", biases.len());
        let params = ProductParams {
            m: shape.m as u32,
            n: shape.n as u32,
            k: shape.k as u32,
            a: shape.a.offset as u32,
            a_row: shape.a.row as u32,
            a_column: shape.a.column as u32,
            b: shape.b.offset as u32,
            b_row: shape.b.row as u32,
            b_column: shape.b.column as u32,
            c: shape.c as u32,
            biases: biases.len() as u32,
            bias_0: biases.first().map_or(0, |&place| place as u32),
            bias_1: biases.get(1).map_or(0, |&place| place as u32),
            add: u32::from(matches!(onto, Onto::Kept)),
            k_per_split: shape.k.div_ceil(splits) as u32,
        };
        let [x, y, _] = grid(shape.m.div_ceil(TILE) * shape.n.div_ceil(TILE), 1);
        self.run(&PRODUCT, &params, &[a, b, bias, c], [x, y, splits as u32]);
    }

    fn reduce_splits(
        &self,
        count: usize,
        splits: usize,
        scratch: &<Self as Device>::Buffer,
        place: usize,
        c: &<Self as Device>::Buffer,
    ) {
        let params = ReduceParams { count: count as u32, splits: splits as u32, place: place as u32 };
        self.run(&REDUCE_SPLITS, &params, &[scratch, c], grid(count, 64));
    }
}

impl Product for Gpu {
    fn product(
        &self,
        shape: &ProductShape,
        a: &Self::Buffer,
        b: &Self::Buffer,
        onto: Onto<Self::Buffer>,
        c: &mut Self::Buffer,
    ) {
        self.dispatch_product(shape, [a, b, c], onto, 1);
    }

    fn product_add(
        &self,
        shape: &ProductShape,
        a: &Self::Buffer,
        b: &Self::Buffer,
        c: &mut Self::Buffer,
        scratch: &mut Self::Buffer,
    ) {
        let splits = Self::splits(shape.m, shape.n, shape.k);
        self.dispatch_product(&ProductShape { c: 0, ..*shape }, [a, b, scratch], Onto::Zero, splits);
        self.reduce_splits(shape.m * shape.n, splits, scratch, shape.c, c);
    }

    fn column_sums(
        &self,
        rows: usize,
        columns: usize,
        values: (&Self::Buffer, usize),
        places: &[usize],
        sums: &mut Self::Buffer,
        scratch: &mut Self::Buffer,
    ) {
        let splits = Self::splits(1, columns, rows);
        let (values, place) = values;
        let params = SumParams {
            rows: rows as u32,
            columns: columns as u32,
            rows_per_split: rows.div_ceil(splits) as u32,
            place: place as u32,
        };
        self.run(&COLUMN_SUMS, &params, &[values, scratch], [columns.div_ceil(64) as u32, splits as u32, 1]);
        for &place in places {
            self.reduce_splits(columns, splits, scratch, place, sums);
        }
    }

    fn scratch_len(&self, m: usize, n: usize, k: usize) -> usize {
        m * n * Self::splits(m, n, k)
    }
}

/// Rows of C that one thread computes at a time. The split does not depend on the number of threads.
const ROWS: usize = 64;

impl<F: Real> Product for Cpu<F> {
    fn product(&self, shape: &ProductShape, a: &Vec<F>, b: &Vec<F>, onto: Onto<Vec<F>>, c: &mut Vec<F>) {
        let c = &mut c[shape.c..][..shape.m * shape.n];
        c.par_chunks_mut(ROWS * shape.n).enumerate().for_each(|(block, c)| {
            match onto {
                Onto::Kept => {}
                Onto::Zero => c.fill(F::zero()),
                Onto::Biases(bias, places) => {
                    for row in c.chunks_exact_mut(shape.n) {
                        row.fill(F::zero());
                        for &place in places {
                            row.iter_mut().zip(&bias[place..]).for_each(|(c, &bias)| *c = *c + bias);
                        }
                    }
                }
            }
            multiply_add(&shape.block(block * ROWS, c.len() / shape.n), a, b, c);
        });
    }

    fn product_add(&self, shape: &ProductShape, a: &Vec<F>, b: &Vec<F>, c: &mut Vec<F>, _scratch: &mut Vec<F>) {
        let c = &mut c[shape.c..][..shape.m * shape.n];
        c.par_chunks_mut(ROWS * shape.n).enumerate().for_each(|(block, c)| {
            multiply_add(&shape.block(block * ROWS, c.len() / shape.n), a, b, c);
        });
    }

    fn column_sums(
        &self,
        rows: usize,
        columns: usize,
        (values, place): (&Vec<F>, usize),
        places: &[usize],
        sums: &mut Vec<F>,
        _scratch: &mut Vec<F>,
    ) {
        // Blocks of rows in parallel, their sums added in order.
        let block_sums = values[place..][..rows * columns].par_chunks(4 * ROWS * columns).map(|block| {
            let mut sum = vec![0.0f64; columns];
            for row in block.chunks_exact(columns) {
                sum.iter_mut().zip(row).for_each(|(sum, &value)| *sum += value.double());
            }
            sum
        });
        let mut total = vec![0.0f64; columns];
        for sum in block_sums.collect::<Vec<_>>() {
            total.iter_mut().zip(sum).for_each(|(total, sum)| *total += sum);
        }
        let total: Vec<F> = total.into_iter().map(F::of).collect();
        for &place in places {
            sums[place..].iter_mut().zip(&total).for_each(|(sum, &total)| *sum = *sum + total);
        }
    }

    fn scratch_len(&self, _m: usize, _n: usize, _k: usize) -> usize {
        0
    }
}

impl ProductShape {
    /// `m` rows of the product from row `first` on, with C at the start of its slice.
    fn block(&self, first: usize, m: usize) -> Self {
        let a = Matrix { offset: self.a.offset + first * self.a.row, ..self.a };
        Self { m, a, c: 0, ..*self }
    }
}

/// Terms summed in one chain: sums of sums lose fewer digits than a long one.
const CHAIN: usize = 128;

/// `c += a · b` on this thread; `c` starts its slice.
pub(super) fn multiply_add<F: Real>(shape: &ProductShape, a: &[F], b: &[F], c: &mut [F]) {
    let ProductShape { m, n, k, .. } = *shape;
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    let last = |x: Matrix, rows: usize, columns: usize| x.offset + (rows - 1) * x.row + (columns - 1) * x.column;
    assert!(last(shape.a, m, k) < a.len(), "A {shape:?} in {}", a.len());
    assert!(last(shape.b, k, n) < b.len(), "B {shape:?} in {}", b.len());
    assert!(m * n <= c.len(), "C {shape:?} in {}", c.len());
    for first in (0..k).step_by(CHAIN) {
        let a_at = &a[shape.a.offset + first * shape.a.column..];
        let b_at = &b[shape.b.offset + first * shape.b.row..];
        // SAFETY: the last element of each matrix lies inside its slice, asserted above, and `c` is borrowed mutably.
        // The library is fastest with columns that lie together, so it is given Cᵀ = Bᵀ · Aᵀ.
        unsafe {
            gemm::gemm(
                n,
                m,
                CHAIN.min(k - first),
                c.as_mut_ptr(),
                n as isize,
                1,
                true,
                b_at.as_ptr(),
                shape.b.row as isize,
                shape.b.column as isize,
                a_at.as_ptr(),
                shape.a.row as isize,
                shape.a.column as isize,
                F::one(),
                F::one(),
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }
}
