//! The matrix product itself: C `[M, N]` += A `[M, K]` · B `[K, N]` on one thread, with B packed into panels.
//!
//! A panel is as many columns of B as two vector registers hold, [K, width], so that the innermost loop reads it from front to
//! back. A few rows of C and one panel's columns stay in registers while K passes by. What multiplies by the same
//! matrix again and again, as each time step does, packs it once.

use std::marker::PhantomData;
use std::ops::Range;

use pulp::{Simd, WithSimd};

use crate::device::Real;
use crate::device::threads::prelude::*;
use crate::device::wide::{Wide, dispatch};
use crate::kernels::product::Matrix;

/// Rows of C in registers, enough that their sums hide the latency of a multiply-add: with two vectors each, twelve of the
/// sixteen registers that AVX2 and SSE have, and sixteen of AVX-512's 32. Browsers' compilers need the products and A's elements
/// in registers, too, and with more rows than four move the sums to memory and back.
#[inline(always)]
const fn rows<F: Real, S: Simd>() -> usize {
    if cfg!(target_arch = "wasm32") {
        4
    } else if size_of::<F::Lanes<S>>() == 64 {
        8
    } else {
        6
    }
}

/// Terms summed in one chain: sums of sums lose fewer digits than a long one, and so much of a panel stays in the nearest
/// cache.
pub const CHAIN: usize = 128;

/// The body for each row, written out: the sums stay in registers only if every index into them is a constant.
macro_rules! each_row {
    ($rows:expr, $i:ident => $body:block) => { each_row!(@ $rows, $i, $body, 0, 1, 2, 3, 4, 5, 6, 7) };
    (@ $rows:expr, $i:ident, $body:block, $($row:literal),*) => {
        $(if $rows > $row {
            let $i = $row;
            $body
        })*
    };
}

/// Where A's elements come from.
#[derive(Clone, Copy)]
pub enum Left<'a, F> {
    /// Rows this far apart.
    Rows(&'a [F], usize),
    /// Columns this far apart.
    Columns(&'a [F], usize),
    /// Blocks of rows one behind the other, each [K, rows], as [`Left::columns`] packs them for a product of just so many rows.
    Packed(&'a [F]),
}

/// Columns of a panel on this processor.
fn width<F: Real>() -> usize {
    struct Width<F>(PhantomData<F>);
    impl<F: Real> WithSimd for Width<F> {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            panel_width::<F, S>()
        }
    }
    dispatch(Width::<F>(PhantomData))
}

#[inline(always)]
fn panel_width<F: Real, S: Simd>() -> usize {
    2 * size_of::<F::Lanes<S>>() / size_of::<F>()
}

/// Elements of the panels of a matrix `[K, N]`.
pub fn panels_len<F: Real>(k: usize, n: usize) -> usize {
    k * n.next_multiple_of(width::<F>())
}

/// Packs B, which lies in `from` as `b` says, on this thread. Columns beyond the last are zero.
pub fn pack<F: Real>(k: usize, n: usize, b: Matrix, from: &[F], panels: &mut [F]) {
    let panels = panels[..panels_len::<F>(k, n)].chunks_mut(k * width::<F>()).enumerate();
    panels.for_each(|(panel, to)| dispatch(PackPanel { n, b, from, less: &[], panel, to }));
}

/// A matrix B `[K, N]` to be packed.
pub struct ToPack<'a, F> {
    pub k: usize,
    pub n: usize,
    pub b: Matrix,
    pub from: &'a [F],
    /// What is taken off each of B's rows, and off what stands for columns beyond its last, or none.
    pub less: Vec<F>,
}

/// Packs matrices one behind the other, on all threads.
pub fn pack_together<F: Real>(all: &[ToPack<F>], mut panels: &mut [F]) {
    let mut parts = Vec::new();
    for &ToPack { k, n, b, from, ref less } in all {
        let (own, rest) = panels.split_at_mut(panels_len::<F>(k, n));
        panels = rest;
        let own = own.chunks_mut(k * width::<F>()).enumerate();
        parts.extend(own.map(|(panel, to)| PackPanel { n, b, from, less, panel, to }));
    }
    parts.into_par_iter().for_each(dispatch);
}

struct PackPanel<'a, F> {
    n: usize,
    b: Matrix,
    from: &'a [F],
    less: &'a [F],
    panel: usize,
    to: &'a mut [F], // [K, width]
}

impl<F: Real> WithSimd for PackPanel<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { n, b, from, less, panel, to } = self;
        let width = panel_width::<F, S>();
        let first = panel * width;
        let columns = width.min(n - first);
        let from = &from[b.offset + first * b.column..];
        if b.column == 1 && columns == width {
            let to: &mut [[F::Lanes<S>; 2]] = bytemuck::cast_slice_mut(to);
            for (k, to) in to.iter_mut().enumerate() {
                *to = bytemuck::cast_slice(&from[k * b.row..][..width])[0];
            }
        } else {
            if columns < width {
                to.fill(F::zero());
            }
            for column in 0..columns {
                for (k, to) in to.chunks_exact_mut(width).enumerate() {
                    to[column] = from[column * b.column + k * b.row];
                }
            }
        }
        let to: &mut [[F::Lanes<S>; 2]] = bytemuck::cast_slice_mut(to);
        for (to, &less) in to.iter_mut().zip(less) {
            let less = Wide::splat(simd, less);
            *to = [(Wide::of(simd, to[0]) - less).lanes(), (Wide::of(simd, to[1]) - less).lanes()];
        }
    }
}

/// Elements that [`Left::columns`] packs: none where few columns of C would read them.
pub fn columns_len(m: usize, k: usize, n: usize) -> usize {
    if n > 128 { m * k } else { 0 }
}

impl<'a, F: Real> Left<'a, F> {
    /// A `[M, K]` whose columns lie so far apart, for a C of `n` columns, packed into `to`: columns that are a power of two apart share
    /// a few places of a core's own cache, and would be fetched again for every panel.
    pub fn columns(m: usize, k: usize, n: usize, (from, apart): (&'a [F], usize), to: &'a mut [F]) -> Self {
        match columns_len(m, k, n) {
            0 => Self::Columns(from, apart),
            len => {
                let to = &mut to[..len];
                dispatch(PackColumns { m, k, from, apart, to });
                Self::Packed(to)
            }
        }
    }
}

struct PackColumns<'a, F> {
    m: usize,
    k: usize,
    from: &'a [F],
    apart: usize,
    to: &'a mut [F], // blocks of rows one behind the other, each [K, rows]
}

impl<F: Real> WithSimd for PackColumns<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { m, k, from, apart, to } = self;
        let most = const { rows::<F, S>() };
        for (first, rows) in blocks(m, most) {
            let (from, to) = (&from[first..], &mut to[first * k..][..rows * k]);
            match rows {
                8 if most > 7 => copy_columns::<F, 8>(from, apart, to),
                7 if most > 6 => copy_columns::<F, 7>(from, apart, to),
                6 if most > 5 => copy_columns::<F, 6>(from, apart, to),
                5 if most > 4 => copy_columns::<F, 5>(from, apart, to),
                4 => copy_columns::<F, 4>(from, apart, to),
                3 => copy_columns::<F, 3>(from, apart, to),
                2 => copy_columns::<F, 2>(from, apart, to),
                _ => copy_columns::<F, 1>(from, apart, to),
            }
        }
    }
}

#[inline(always)]
fn copy_columns<F: Real, const M: usize>(from: &[F], apart: usize, to: &mut [F]) {
    for (k, to) in to.as_chunks_mut::<M>().0.iter_mut().enumerate() {
        *to = *from[k * apart..].first_chunk().expect("as many rows in each column");
    }
}

/// Blocks of at most so many of the rows, as equal as can be: first row and rows of each.
fn blocks(m: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let blocks = m.div_ceil(most);
    let mut first = 0;
    (0..blocks).map(move |block| {
        let rows = m / blocks + usize::from(block < m % blocks);
        first += rows;
        (first - rows, rows)
    })
}

/// One product of a sum of products: A `[M, K]` and B's panels.
#[derive(Clone, Copy)]
pub struct Term<'a, F> {
    pub k: usize,
    pub a: Left<'a, F>,
    pub panels: &'a [F],
}

/// c `[M, N]` = `onto` `[N]` in each row, or what c holds, + Σ a `[M, K]` · the matrix in `panels`, at least one K above 0.
pub fn add_products<F: Real>(m: usize, n: usize, terms: &[Term<F>], onto: Option<&[F]>, c: &mut [F]) {
    assert!(m * n <= c.len(), "C [{m}, {n}] in {}", c.len());
    if m > 0 && n > 0 {
        dispatch(AddProducts { m, n, terms, onto, c });
    }
}

struct AddProducts<'a, F> {
    m: usize,
    n: usize,
    terms: &'a [Term<'a, F>],
    onto: Option<&'a [F]>,
    c: &'a mut [F],
}

impl<F: Real> WithSimd for AddProducts<'_, F> {
    type Output = ();

    // The columns of one panel stay in the nearest cache until all terms are added. What is not kept is never read.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { m, n, terms, onto, c } = self;
        let (width, most) = (panel_width::<F, S>(), const { rows::<F, S>() });
        let mut chain = Vec::with_capacity(terms.len());
        for panel in 0..n.div_ceil(width) {
            let columns = panel * width..n.min((panel + 1) * width);
            let mut onto = onto.map(|row| &row[columns.clone()]);
            let mut rest = Rest::<F, S>::new(terms, panel);
            while rest.take_chain(&mut chain) {
                for (first, rows) in blocks(m, most) {
                    let part = Part::<F, S> { simd, first, n, columns: columns.clone(), onto };
                    match rows {
                        8 if most > 7 => part.add::<8>(&chain, c),
                        7 if most > 6 => part.add::<7>(&chain, c),
                        6 if most > 5 => part.add::<6>(&chain, c),
                        5 if most > 4 => part.add::<5>(&chain, c),
                        4 => part.add::<4>(&chain, c),
                        3 => part.add::<3>(&chain, c),
                        2 => part.add::<2>(&chain, c),
                        _ => part.add::<1>(&chain, c),
                    }
                }
                onto = None;
            }
        }
    }
}

/// Terms of one product within a chain.
struct Link<'a, F: Real, S: Simd> {
    a: Left<'a, F>,
    k: usize,                  // terms of the whole product
    from: usize,               // term
    b: &'a [[F::Lanes<S>; 2]], // [terms]
}

/// The terms of some products one after the other that are in no chain yet.
struct Rest<'a, F, S> {
    terms: &'a [Term<'a, F>],
    from: usize, // term of the first product
    panel: usize,
    lanes: PhantomData<S>,
}

impl<'a, F: Real, S: Simd> Rest<'a, F, S> {
    fn new(terms: &'a [Term<F>], panel: usize) -> Self {
        Self { terms, from: 0, panel, lanes: PhantomData }
    }

    /// Cuts off a chain of at most [`CHAIN`] terms, in place of what `chain` holds; false where nothing is left.
    #[inline(always)]
    fn take_chain(&mut self, chain: &mut Vec<Link<'a, F, S>>) -> bool {
        chain.clear();
        let (mut left, width) = (CHAIN, panel_width::<F, S>());
        while left > 0
            && let Some((&Term { k, a, panels }, rest)) = self.terms.split_first()
        {
            let from = self.from;
            let terms = left.min(k - from);
            let b = bytemuck::cast_slice(&panels[(self.panel * k + from) * width..][..terms * width]);
            chain.push(Link { a, k, from, b });
            left -= terms;
            (self.from, self.terms) = if from + terms == k { (0, rest) } else { (from + terms, self.terms) };
        }
        left < CHAIN
    }
}

/// One chain of terms of one block of rows and one panel. Loops and methods that are always inlined, no closures: one call
/// in the innermost loop costs more than the loop.
struct Part<'a, F: Real, S: Simd> {
    simd: S,
    first: usize, // row
    n: usize,
    columns: Range<usize>,
    onto: Option<&'a [F]>, // [columns]
}

impl<F: Real, S: Simd> Part<'_, F, S> {
    #[inline(always)]
    fn add<const M: usize>(self, chain: &[Link<F, S>], c: &mut [F]) {
        let Self { simd, first, n, columns, onto } = self;
        let mut sums = [[F::splat(simd, F::zero()); 2]; M];
        for link in chain {
            match link.a {
                Left::Rows(a, row) => {
                    let terms = link.b.len();
                    let mut rows = [&a[..0]; M];
                    each_row!(M, i => { rows[i] = &a[(first + i) * row + link.from..][..terms]; });
                    sums = Self::add_link::<M>(simd, sums, InRows(rows), link.b);
                }
                Left::Columns(a, apart) => {
                    let columns = InColumns::<F, M>(&a[link.from * apart + first..], apart);
                    sums = Self::add_link::<M>(simd, sums, columns, link.b);
                }
                Left::Packed(a) => {
                    let columns = InColumns::<F, M>(&a[first * link.k + link.from * M..], M);
                    sums = Self::add_link::<M>(simd, sums, columns, link.b);
                }
            }
        }
        each_row!(M, i => {
            let c = &mut c[(first + i) * n..][columns.clone()];
            match onto {
                Some(onto) => Self::put_row(simd, sums[i], onto, c),
                None => Self::add_row(simd, sums[i], c),
            }
        });
    }

    #[inline(always)]
    fn add_link<const M: usize>(
        simd: S,
        mut sums: [[F::Lanes<S>; 2]; M],
        a: impl Block<F>,
        b: &[[F::Lanes<S>; 2]],
    ) -> [[F::Lanes<S>; 2]; M] {
        // Counted, and not by an iterator: so the compiler sees that `k` lies within all the rows.
        #[allow(clippy::needless_range_loop)]
        for k in 0..b.len() {
            let b = b[k];
            each_row!(M, i => {
                let a = F::splat(simd, a.at(i, k));
                sums[i][0] = F::mul_add_lanes(simd, a, b[0], sums[i][0]);
                sums[i][1] = F::mul_add_lanes(simd, a, b[1], sums[i][1]);
            });
        }
        sums
    }

    #[inline(always)]
    fn add_row(simd: S, sums: [F::Lanes<S>; 2], c: &mut [F]) {
        if size_of_val(c) == size_of_val(&sums) {
            let c: &mut [F::Lanes<S>] = bytemuck::cast_slice_mut(c);
            c[0] = F::add_lanes(simd, c[0], sums[0]);
            c[1] = F::add_lanes(simd, c[1], sums[1]);
        } else {
            let sums: &[F] = bytemuck::cast_slice(&sums);
            for (c, &sum) in c.iter_mut().zip(sums) {
                *c = *c + sum;
            }
        }
    }

    #[inline(always)]
    fn put_row(simd: S, sums: [F::Lanes<S>; 2], onto: &[F], c: &mut [F]) {
        if size_of_val(c) == size_of_val(&sums) {
            let onto: &[F::Lanes<S>] = bytemuck::cast_slice(onto);
            let c: &mut [F::Lanes<S>] = bytemuck::cast_slice_mut(c);
            c[0] = F::add_lanes(simd, onto[0], sums[0]);
            c[1] = F::add_lanes(simd, onto[1], sums[1]);
        } else {
            let sums: &[F] = bytemuck::cast_slice(&sums);
            for ((c, &onto), &sum) in c.iter_mut().zip(onto).zip(sums) {
                *c = onto + sum;
            }
        }
    }
}

/// A few rows of A.
trait Block<F> {
    fn at(&self, row: usize, k: usize) -> F;
}

struct InRows<'a, F, const M: usize>([&'a [F]; M]);

impl<F: Copy, const M: usize> Block<F> for InRows<'_, F, M> {
    #[inline(always)]
    fn at(&self, row: usize, k: usize) -> F {
        self.0[row][k]
    }
}

struct InColumns<'a, F, const M: usize>(&'a [F], usize);

impl<F: Copy, const M: usize> Block<F> for InColumns<'_, F, M> {
    #[inline(always)]
    fn at(&self, row: usize, k: usize) -> F {
        self.0[k * self.1..].first_chunk::<M>().expect("as many rows in each column")[row]
    }
}

#[cfg(test)]
mod tests {
    use super::{Left, PackColumns, Term, add_products, pack, panels_len};
    use crate::device::wide::dispatch;
    use crate::kernels::Matrix;

    fn numbers(seed: usize, len: usize) -> Vec<f32> {
        (0..len).map(|i| ((i + 31 * seed) as f32 * 0.7).cos()).collect()
    }

    #[test]
    fn packed_columns_give_the_same_bits() {
        let (n, chains) = (35, [vec![1], vec![7], vec![128], vec![3, 130], vec![40, 40, 100]]);
        for (m, chain) in (1..=25).flat_map(|m| chains.iter().map(move |chain| (m, chain))) {
            let apart = m + 3;
            let part = |(seed, &k): (usize, &usize)| {
                let (a, mut blocks, mut panels) =
                    (numbers(seed, k * apart), vec![0.0; m * k], vec![0.0; panels_len::<f32>(k, n)]);
                dispatch(PackColumns { m, k, from: &a, apart, to: &mut blocks });
                pack(k, n, Matrix::rows(0, n), &numbers(seed + 7, k * n), &mut panels);
                (k, a, blocks, panels)
            };
            let parts: Vec<_> = chain.iter().enumerate().map(part).collect();
            let sums = [false, true].map(|packed| {
                let mut terms = Vec::new();
                for (k, a, blocks, panels) in &parts {
                    let a = if packed { Left::Packed(blocks) } else { Left::Columns(a, apart) };
                    terms.push(Term { k: *k, a, panels });
                }
                let mut sums = numbers(0, m * n);
                add_products(m, n, &terms, None, &mut sums);
                sums
            });
            assert!(sums[0] != numbers(0, m * n), "nothing was added");
            assert_eq!(sums[0], sums[1], "{m} rows, {chain:?} columns");
        }
    }
}
