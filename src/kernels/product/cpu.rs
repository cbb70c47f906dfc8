//! On the CPU: blocks of rows of C, one a thread. The sums of an element of C run in the same order however C is cut.

mod panels;

pub use panels::{CHAIN, Left, Term, ToPack, add_products, columns_len, pack, pack_together, panels_len};

use super::{Matrix, Onto, Product, ProductShape};
use crate::device::threads::{current_num_threads, prelude::*};
use crate::device::{Cpu, CpuBuffer, Real};

impl<F: Real> Product for Cpu<F> {
    fn product(
        &self,
        shape: &ProductShape,
        a: &CpuBuffer<F>,
        b: &CpuBuffer<F>,
        onto: Onto<CpuBuffer<F>>,
        c: &mut CpuBuffer<F>,
    ) {
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
        let mut panels = CpuBuffer::of(F::zero(), panels_len::<F>(k, n));
        pack_together(&[ToPack { k, n, b: shape.b, from: b, less: Vec::new() }], &mut panels);
        c.par_chunks_mut(CACHED_ROWS * n).enumerate().for_each(|(block, c)| {
            let first = shape.a.offset + block * CACHED_ROWS * shape.a.row;
            let term = Term { k, a: Left::Rows(&a[first..], shape.a.row), panels: &panels };
            add_products(c.len() / n, n, &[term], onto, c);
        });
    }

    fn product_add(
        &self,
        shape: &ProductShape,
        a: &CpuBuffer<F>,
        b: &CpuBuffer<F>,
        c: &mut CpuBuffer<F>,
        _scratch: &mut CpuBuffer<F>,
    ) {
        add_blocks(shape, a, b, &mut c[shape.c..][..shape.m * shape.n]);
    }

    fn scratch_len(&self, _m: usize, _n: usize, _k: usize) -> usize {
        0
    }
}

/// Rows of A that stay in a core's own cache while one panel after the other passes by.
const CACHED_ROWS: usize = 48;

/// `c += a · b` for a long summed dimension; `c` is C alone.
fn add_blocks<F: Real>(shape: &ProductShape, a: &[F], b: &[F], c: &mut [F]) {
    let &ProductShape { m, n, k, .. } = shape;
    // Two blocks for each thread, and enough rows that packing B for each of them costs little.
    let rows = m.div_ceil(2 * current_num_threads()).next_multiple_of(CACHED_ROWS);
    c.par_chunks_mut(rows * n).enumerate().for_each(|(block, c)| {
        let (a, m) = (&a[shape.a.offset + block * rows * shape.a.row..], c.len() / n);
        let [mut panels, mut packed] = [panels_len::<F>(k.min(CHAIN), n), columns_len(m, k.min(CHAIN), n)]
            .map(|len| CpuBuffer::of(F::zero(), len));
        // A chain of terms at a time, for which A comes from memory once.
        for first in (0..k).step_by(CHAIN) {
            let terms = CHAIN.min(k - first);
            pack(terms, n, Matrix { offset: shape.b.offset + first * shape.b.row, ..shape.b }, b, &mut panels);
            let a = &a[first * shape.a.column..];
            let a = match shape.a {
                Matrix { column: 1, row, .. } => Left::Rows(a, row),
                Matrix { row: 1, column, .. } => Left::columns(m, terms, n, (a, column), &mut packed),
                Matrix { row, column, .. } => panic!("a row's neighbours are {column} apart, a column's {row}"),
            };
            add_products(m, n, &[Term { k: terms, a, panels: &panels }], None, c);
        }
    });
}
