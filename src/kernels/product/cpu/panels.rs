//! The matrix product itself: C `[M, N]` += A `[M, K]` · B `[K, N]` on one thread, with B packed into panels.
//!
//! A panel is as many columns of B as two vector registers hold, [K, width], so that the innermost loop reads it from front to
//! back. A few rows of C and the columns of one panel, or two, stay in registers while K passes by. What multiplies by the same
//! matrix again and again, as each time step does, packs it once.

use std::marker::PhantomData;
use std::ops::Range;

use pulp::{Simd, WithSimd};

use crate::device::Real;
use crate::device::threads::prelude::*;
use crate::device::wide::{Wide, dispatch};
use crate::kernels::product::Matrix;

/// Rows of C in registers, enough that their sums hide the latency of a multiply-add: with two vectors a panel, twelve of the
/// sixteen registers that AVX2 and SSE have, and twelve or 24 of AVX-512's 32. Browsers' compilers need the products and A's elements
/// in registers, too, and with more rows than four move the sums to memory and back.
const ROWS: usize = if cfg!(target_arch = "wasm32") { 4 } else { 6 };

/// Whether two panels lie side by side in registers: with AVX-512, so that there are ten loads to 24 multiply-adds, not ten to sixteen.
#[inline(always)]
const fn in_pairs<F: Real, S: Simd>() -> bool {
    size_of::<F::Lanes<S>>() == 64
}

/// Terms that the innermost loop adds in one turn; in a browser one, for less code to load.
const TURN: usize = if cfg!(target_arch = "wasm32") { 1 } else { 4 };

/// Terms summed in one chain: sums of sums lose fewer digits than a long one, and so much of a panel stays in the nearest
/// cache.
pub const CHAIN: usize = 128;

/// The body for each number below a constant, written out: the sums stay in registers only if every index into them is a constant.
macro_rules! each {
    ($count:expr, $i:ident => $body:block) => { each!(@ $count, $i, $body, 0, 1, 2, 3, 4, 5) };
    (@ $count:expr, $i:ident, $body:block, $($number:literal),*) => {
        $(if $count > $number {
            let $i = $number;
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
        for (first, rows) in blocks(m) {
            let (from, to) = (&from[first..], &mut to[first * k..][..rows * k]);
            match rows {
                6 if ROWS > 5 => copy_columns::<F, 6>(from, apart, to),
                5 if ROWS > 4 => copy_columns::<F, 5>(from, apart, to),
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

/// Blocks of at most [`ROWS`] of the rows, as equal as can be: first row and rows of each.
fn blocks(m: usize) -> impl Iterator<Item = (usize, usize)> {
    let blocks = m.div_ceil(ROWS);
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

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let mut alone = 0..self.n.div_ceil(panel_width::<F, S>());
        if const { in_pairs::<F, S>() } {
            alone.start = alone.end / 2 * 2;
            self.panels::<S, 2>(simd, 0..alone.start);
        }
        self.panels::<S, 1>(simd, alone);
    }
}

impl<F: Real> AddProducts<'_, F> {
    /// The columns of some panels, `P` at a time, which stay in the nearest cache until all terms are added. What is not kept is
    /// never read.
    #[inline(always)]
    fn panels<S: Simd, const P: usize>(&mut self, simd: S, panels: Range<usize>) {
        let &mut Self { m, n, terms, onto, ref mut c } = self;
        let (width, mut chain) = (panel_width::<F, S>(), Vec::new());
        for panel in panels.step_by(P) {
            let columns = panel * width..n.min((panel + P) * width);
            let mut onto = onto.map(|row| &row[columns.clone()]);
            let mut rest = Rest::<F, S>::new(terms, panel);
            while rest.take_chain::<P>(&mut chain) {
                for (first, rows) in blocks(m) {
                    let part = Part::<F, S> { simd, first, n, columns: columns.clone(), onto };
                    match rows {
                        6 if ROWS > 5 => part.add::<6, P>(&chain, c),
                        5 if ROWS > 4 => part.add::<5, P>(&chain, c),
                        4 => part.add::<4, P>(&chain, c),
                        3 => part.add::<3, P>(&chain, c),
                        2 => part.add::<2, P>(&chain, c),
                        _ => part.add::<1, P>(&chain, c),
                    }
                }
                onto = None;
            }
        }
    }
}

/// Terms of one product within a chain.
struct Link<'a, F: Real, S: Simd, const P: usize> {
    a: Left<'a, F>,
    k: usize,                       // terms of the whole product
    from: usize,                    // term
    b: [&'a [[F::Lanes<S>; 2]]; P], // [terms] of each panel
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
    fn take_chain<const P: usize>(&mut self, chain: &mut Vec<Link<'a, F, S, P>>) -> bool {
        chain.clear();
        let (mut left, width) = (CHAIN, panel_width::<F, S>());
        while left > 0
            && let Some((&Term { k, a, panels }, rest)) = self.terms.split_first()
        {
            let from = self.from;
            let terms = left.min(k - from);
            let of = |panel| bytemuck::cast_slice(&panels[(panel * k + from) * width..][..terms * width]);
            let b = std::array::from_fn(|number| of(self.panel + number));
            chain.push(Link { a, k, from, b });
            left -= terms;
            (self.from, self.terms) = if from + terms == k { (0, rest) } else { (from + terms, self.terms) };
        }
        left < CHAIN
    }
}

/// One chain of terms of one block of rows and the columns of some panels. Loops and methods that are always inlined, no closures: one
/// call in the innermost loop costs more than the loop.
struct Part<'a, F: Real, S: Simd> {
    simd: S,
    first: usize, // row
    n: usize,
    columns: Range<usize>,
    onto: Option<&'a [F]>, // [columns]
}

/// The sums of `M` rows and `P` panels.
type Sums<F, S, const M: usize, const P: usize> = [[[<F as Real>::Lanes<S>; 2]; P]; M];

impl<F: Real, S: Simd> Part<'_, F, S> {
    #[inline(always)]
    fn add<const M: usize, const P: usize>(self, chain: &[Link<F, S, P>], c: &mut [F]) {
        let Self { simd, first, n, columns, onto } = self;
        let mut sums = [[[F::splat(simd, F::zero()); 2]; P]; M];
        for link in chain {
            match link.a {
                Left::Rows(a, row) => {
                    let terms = link.b[0].len();
                    let mut rows = [&a[..0]; M];
                    each!(M, i => { rows[i] = &a[(first + i) * row + link.from..][..terms]; });
                    sums = Self::add_link::<_, M, P>(simd, sums, InRows(rows), link.b);
                }
                Left::Columns(a, apart) => {
                    let columns = InColumns::<F, M>(&a[link.from * apart + first..], apart);
                    sums = Self::add_link::<_, M, P>(simd, sums, columns, link.b);
                }
                Left::Packed(a) => {
                    let columns = InColumns::<F, M>(&a[first * link.k + link.from * M..], M);
                    sums = Self::add_link::<_, M, P>(simd, sums, columns, link.b);
                }
            }
        }
        let width = panel_width::<F, S>();
        each!(M, i => {
            let c = &mut c[(first + i) * n..][columns.clone()];
            each!(P, p => {
                let own = p * width..c.len().min((p + 1) * width);
                match onto {
                    Some(onto) => Self::put_row(simd, sums[i][p], &onto[own.clone()], &mut c[own]),
                    None => Self::add_row(simd, sums[i][p], &mut c[own]),
                }
            });
        });
    }

    #[inline(always)]
    fn add_link<A: Block<F, M>, const M: usize, const P: usize>(
        simd: S,
        sums: Sums<F, S, M, P>,
        a: A,
        b: [&[[F::Lanes<S>; 2]]; P],
    ) -> Sums<F, S, M, P> {
        let whole = b[0].len() / TURN * TURN;
        let [mut turns, mut rest] = [b; 2];
        each!(P, p => { (turns[p], rest[p]) = b[p].split_at(whole); });
        let sums = Self::add_turns::<A, M, P, TURN>(simd, sums, &a, 0, turns);
        Self::add_turns::<A, M, P, 1>(simd, sums, &a, whole, rest)
    }

    /// The terms from `first` on, `T` in a turn.
    #[inline(always)]
    fn add_turns<A: Block<F, M>, const M: usize, const P: usize, const T: usize>(
        simd: S,
        mut sums: Sums<F, S, M, P>,
        a: &A,
        first: usize,
        b: [&[[F::Lanes<S>; 2]]; P],
    ) -> Sums<F, S, M, P> {
        let mut turns = [&[][..]; P];
        each!(P, p => { turns[p] = b[p].as_chunks::<T>().0; });
        #[allow(clippy::needless_range_loop)] // Of all panels.
        for turn in 0..turns[0].len() {
            let a = a.turn::<T>(first + turn * T);
            each!(T, k => {
                each!(M, i => {
                    let a = F::splat(simd, A::at(&a, i, k));
                    each!(P, p => {
                        let b = turns[p][turn][k];
                        sums[i][p][0] = F::mul_add_lanes(simd, a, b[0], sums[i][p][0]);
                        sums[i][p][1] = F::mul_add_lanes(simd, a, b[1], sums[i][p][1]);
                    });
                });
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

/// `M` rows of A.
trait Block<F, const M: usize> {
    /// Where what they have of `T` terms lies.
    type Turn<const T: usize>;

    /// The turn that begins with term `k`.
    fn turn<const T: usize>(&self, k: usize) -> Self::Turn<T>;

    /// What one of the rows has of its term `k`.
    fn at<const T: usize>(turn: &Self::Turn<T>, row: usize, k: usize) -> F;
}

struct InRows<'a, F, const M: usize>([&'a [F]; M]);

impl<'a, F: Copy, const M: usize> Block<F, M> for InRows<'a, F, M> {
    type Turn<const T: usize> = [&'a [F; T]; M];

    #[inline(always)]
    fn turn<const T: usize>(&self, k: usize) -> Self::Turn<T> {
        let mut turn = [first(&self.0[0][k..]); M];
        each!(M, row => { turn[row] = first(&self.0[row][k..]); });
        turn
    }

    #[inline(always)]
    fn at<const T: usize>(turn: &Self::Turn<T>, row: usize, k: usize) -> F {
        turn[row][k]
    }
}

struct InColumns<'a, F, const M: usize>(&'a [F], usize);

impl<'a, F: Copy, const M: usize> Block<F, M> for InColumns<'a, F, M> {
    type Turn<const T: usize> = [&'a [F; M]; T];

    #[inline(always)]
    fn turn<const T: usize>(&self, k: usize) -> Self::Turn<T> {
        let Self(from, apart) = *self;
        let columns = &from[k * apart..][..(T - 1) * apart + M];
        let mut turn = [first(columns); T];
        each!(T, column => { turn[column] = first(&columns[column * apart..]); });
        turn
    }

    #[inline(always)]
    fn at<const T: usize>(turn: &Self::Turn<T>, row: usize, k: usize) -> F {
        turn[k][row]
    }
}

#[inline(always)]
fn first<F, const N: usize>(from: &[F]) -> &[F; N] {
    from.first_chunk().expect("as many as each of the others has")
}

#[cfg(test)]
mod tests {
    use pulp::{Scalar, Simd, WithSimd};

    use super::{AddProducts, Left, PackColumns, PackPanel, Term, add_products, pack, panel_width, panels_len};
    use crate::device::Real;
    use crate::device::wide::dispatch;
    use crate::kernels::Matrix;

    fn numbers(seed: usize, len: usize) -> Vec<f32> {
        (0..len).map(|i| ((i + 31 * seed) as f32 * 0.7).cos()).collect()
    }

    #[test]
    fn packed_columns_give_the_same_bits() {
        // Two panels, and one by itself that is not full.
        let (n, chains) = (67, [vec![1], vec![7], vec![128], vec![3, 130], vec![40, 40, 100]]);
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

    /// Not those alone that this processor would take: numbers of which no sum is rounded.
    #[test]
    fn products_are_exact_with_every_set_of_instructions() {
        fn exact<F: Real, S: Simd>(simd: S) {
            let width = panel_width::<F, S>();
            let number = |i: usize| ((i * 7919 + i / 13) % 17) as f64 - 8.0;
            for (m, n, k) in
                [(1, 1, 1), (7, width + 1, 5), (12, 2 * width, 131), (13, 3 * width + 2, 258), (5, 5 * width, 3)]
            {
                let numbers =
                    |first: usize, len: usize| (first..first + len).map(|i| F::of(number(i))).collect::<Vec<_>>();
                let (a, b, mut panels) =
                    (numbers(0, m * k), numbers(5, k * n), vec![F::nan(); k * n.next_multiple_of(width)]);
                for (panel, to) in panels.chunks_mut(k * width).enumerate() {
                    PackPanel { n, b: Matrix::rows(0, n), from: &b, less: &[], panel, to }.with_simd(simd);
                }
                let mut packed = vec![F::nan(); m * k];
                PackColumns { m, k, from: &a, apart: m, to: &mut packed }.with_simd(simd);
                // A as it lies, and transposed.
                for (left, place) in
                    [(Left::Rows(&a, k), [k, 1]), (Left::Columns(&a, m), [1, m]), (Left::Packed(&packed), [1, m])]
                {
                    let mut c = numbers(9, m * n);
                    AddProducts { m, n, terms: &[Term { k, a: left, panels: &panels }], onto: None, c: &mut c }
                        .with_simd(simd);
                    for (at, sum) in c.iter().enumerate() {
                        let (i, j) = (at / n, at % n);
                        let terms = (0..k).map(|k| a[i * place[0] + k * place[1]].double() * b[k * n + j].double());
                        assert_eq!(
                            sum.double(),
                            number(9 + at) + terms.sum::<f64>(),
                            "[{m}, {k}] · [{k}, {n}] at {i}, {j}"
                        );
                    }
                }
            }
        }
        fn both<S: Simd>(simd: S) {
            exact::<f32, S>(simd);
            exact::<f64, S>(simd);
        }
        both(Scalar);
        #[cfg(target_arch = "x86_64")]
        {
            use pulp::x86::{V3, V4};
            V3::try_new().into_iter().for_each(both);
            V4::try_new().into_iter().for_each(both);
        }
    }
}
