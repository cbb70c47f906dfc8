//! On the CPU: blocks of rows, one a thread.

use rayon::prelude::*;

use super::{Matrix, Onto, Product, ProductShape};
use crate::device::{Cpu, Real};

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
pub fn multiply_add<F: Real>(shape: &ProductShape, a: &[F], b: &[F], c: &mut [F]) {
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
