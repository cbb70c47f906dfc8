//! On the CPU: blocks of rows of C, one a thread. The sums of an element of C run in the same order however C is cut.

mod panels;

pub use panels::{Left, Term, add_products, pack, panels_len};

use panels::{CHAIN, pack_left};

use super::{Matrix, Onto, Product, ProductShape};
use crate::device::threads::{current_num_threads, prelude::*};
use crate::device::{Cpu, Real};

/// Rows of a matrix whose columns are summed at a time. The split does not depend on the number of threads.
const ROWS: usize = 256;

impl<F: Real> Product for Cpu<F> {
    fn product(&self, shape: &ProductShape, a: &Vec<F>, b: &Vec<F>, onto: Onto<Vec<F>>, c: &mut Vec<F>) {
        let ProductShape { m, n, k, .. } = *shape;
        let c = &mut c[shape.c..][..m * n];
        let mut row = vec![F::zero(); n];
        if let Onto::Biases(bias, places) = onto {
            for &place in places {
                row.iter_mut().zip(&bias[place..]).for_each(|(sum, &bias)| *sum = *sum + bias);
            }
        }
        let onto = if let Onto::Kept = onto { None } else { Some(&row[..]) };
        if shape.a.column != 1 {
            if let Some(row) = onto {
                c.chunks_exact_mut(n).for_each(|c| c.copy_from_slice(row));
            }
            return add_blocks(shape, a, b, c);
        }
        let mut panels = vec![F::zero(); panels_len::<F>(k, n)];
        pack(k, n, shape.b, b, &mut panels);
        c.par_chunks_mut(CACHED_ROWS * n).enumerate().for_each(|(block, c)| {
            let first = shape.a.offset + block * CACHED_ROWS * shape.a.row;
            let term = Term { k, a: Left::Rows(&a[first..], shape.a.row), panels: &panels };
            add_products(c.len() / n, n, &[term], onto, c);
        });
    }

    fn product_add(&self, shape: &ProductShape, a: &Vec<F>, b: &Vec<F>, c: &mut Vec<F>, _scratch: &mut Vec<F>) {
        add_blocks(shape, a, b, &mut c[shape.c..][..shape.m * shape.n]);
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
        let block_sums = values[place..][..rows * columns].par_chunks(ROWS * columns).map(|block| {
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

/// Rows of A that stay in a core's own cache while one panel after the other passes by.
const CACHED_ROWS: usize = 48;

/// `c += a · b`; `c` is C alone.
fn add_blocks<F: Real>(shape: &ProductShape, a: &[F], b: &[F], c: &mut [F]) {
    // Two blocks for each thread, and enough rows that packing B for each of them costs little.
    let rows = shape.m.div_ceil(2 * current_num_threads()).next_multiple_of(CACHED_ROWS);
    c.par_chunks_mut(rows * shape.n).enumerate().for_each(|(block, c)| {
        multiply_add(&shape.block(block * rows, c.len() / shape.n), a, b, c);
    });
}

/// `c += a · b` on this thread for a long summed dimension, a chain of terms at a time; `c` is C alone.
pub fn multiply_add<F: Real>(shape: &ProductShape, a: &[F], b: &[F], c: &mut [F]) {
    let ProductShape { m, n, k, .. } = *shape;
    let mut panels = vec![F::zero(); panels_len::<F>(k.min(CHAIN), n)];
    let mut packed = vec![F::zero(); m.min(CACHED_ROWS) * k.min(CHAIN)];
    for first in (0..k).step_by(CHAIN) {
        let terms = CHAIN.min(k - first);
        let panels = &mut panels[..panels_len::<F>(terms, n)];
        pack(terms, n, Matrix { offset: shape.b.offset + first * shape.b.row, ..shape.b }, b, panels);
        for (block, c) in c.chunks_mut(CACHED_ROWS * n).enumerate() {
            let rows = c.len() / n;
            let offset = shape.a.offset + first * shape.a.column + block * CACHED_ROWS * shape.a.row;
            let packed = &mut packed[..rows * terms];
            pack_left(rows, terms, Matrix { offset, ..shape.a }, a, packed);
            add_products(rows, n, &[Term { k: terms, a: Left::Packed(packed), panels }], None, c);
        }
    }
}
