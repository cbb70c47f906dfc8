//! On the CPU: blocks of rows of C, one a thread. The sums of an element of C run in the same order however C is cut.

mod panels;

pub use panels::{Left, Term, add_products, pack_together, panels_len};

use std::ops::Range;

use panels::{CHAIN, pack};

use super::{Matrix, Onto, Product, ProductShape};
use crate::device::threads::{current_num_threads, prelude::*};
use crate::device::{Cpu, Real};

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
        pack_together(k, n, shape.b, b, &mut panels);
        c.par_chunks_mut(CACHED_ROWS * n).enumerate().for_each(|(block, c)| {
            let first = shape.a.offset + block * CACHED_ROWS * shape.a.row;
            let term = Term { k, a: Left::Rows(&a[first..], shape.a.row), panels: &panels };
            add_products(c.len() / n, n, &[term], onto, c);
        });
    }

    fn product_add(&self, shape: &ProductShape, a: &Vec<F>, b: &Vec<F>, c: &mut Vec<F>, _scratch: &mut Vec<F>) {
        add_blocks(shape, a, b, &mut c[shape.c..][..shape.m * shape.n]);
    }

    fn scratch_len(&self, _m: usize, _n: usize, _k: usize) -> usize {
        0
    }
}

/// Rows of A that stay in a core's own cache while one panel after the other passes by.
const CACHED_ROWS: usize = 48;

/// `c += a · b`; `c` is C alone.
fn add_blocks<F: Real>(shape: &ProductShape, a: &[F], b: &[F], c: &mut [F]) {
    // Two blocks for each thread, and enough rows that packing B for each of them costs little.
    let rows = shape.m.div_ceil(2 * current_num_threads()).next_multiple_of(CACHED_ROWS);
    c.par_chunks_mut(rows * shape.n).enumerate().for_each(|(block, c)| {
        let place = Matrix { offset: shape.a.offset + block * rows * shape.a.row, ..shape.a };
        let left = Rows { m: c.len() / shape.n, k: shape.k, place, values: a };
        multiply_add(&left, &mut [Right { n: shape.n, place: shape.b, values: b, c }], |_| {});
    });
}

/// The left matrix A `[M, K]` of some products.
pub struct Rows<'a, F> {
    pub m: usize,
    pub k: usize,
    pub place: Matrix,
    pub values: &'a [F],
}

/// A right matrix B `[K, N]` and the C `[M, N]` that A · B is added to.
pub struct Right<'a, F> {
    pub n: usize,
    pub place: Matrix,
    pub values: &'a [F],
    pub c: &'a mut [F],
}

/// `c += a · b` for each of `rights` on this thread, for a long summed dimension: a chain of terms at a time, for which A comes
/// from memory once. `beside` is done before each chain: what reads A from front to back waits least for it.
pub fn multiply_add<F: Real>(a: &Rows<F>, rights: &mut [Right<F>], mut beside: impl FnMut(Range<usize>)) {
    let Rows { m, k, place, values } = *a;
    let len = |right: &Right<F>, terms| panels_len::<F>(terms, right.n);
    let mut all_panels = vec![F::zero(); rights.iter().map(|right| len(right, k.min(CHAIN))).sum()];
    for first in (0..k).step_by(CHAIN) {
        let terms = CHAIN.min(k - first);
        beside(first..first + terms);
        let mut panels = &mut all_panels[..];
        for right in &*rights {
            let (own, rest) = panels.split_at_mut(len(right, terms));
            panels = rest;
            let offset = right.place.offset + first * right.place.row;
            pack(terms, right.n, Matrix { offset, ..right.place }, right.values, own);
        }
        let a = &values[place.offset + first * place.column..];
        let a = match place {
            Matrix { column: 1, .. } => Left::Rows(a, place.row),
            Matrix { row: 1, .. } => Left::Columns(a, place.column),
            Matrix { row, column, .. } => panic!("a row's neighbours are {column} apart, a column's {row}"),
        };
        let mut panels = &all_panels[..];
        for right in &mut *rights {
            let (own, rest) = panels.split_at(len(right, terms));
            panels = rest;
            add_products(m, right.n, &[Term { k: terms, a, panels: own }], None, right.c);
        }
    }
}
