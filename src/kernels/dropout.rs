//! Dropout: elements times random masks that are drawn again wherever they are needed, and stored only where a recurrence reads them.

use pulp::NullaryFnOnce;

use crate::device::threads::prelude::*;
use crate::device::wide::dispatch;
use crate::device::{Cpu, CpuBuffer, Device, Gpu, Kernel, Real, kernel, params};
use crate::rng::MaskKey;

/// One draw: each element of the mask is 0 with probability `rate`, else 1 / (1 − `rate`).
#[derive(Clone, Copy, Debug)]
pub struct Drop {
    /// In [0, 1).
    pub rate: f64,
    /// Which numbers.
    pub key: MaskKey,
}

impl Drop {
    /// Words below this are dropped.
    fn threshold(&self) -> u32 {
        (self.rate * 4_294_967_296.0) as u32
    }
    /// What the others are multiplied by.
    fn scale(&self) -> f64 {
        1.0 / (1.0 - self.rate)
    }
}

/// Which rows share a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Masks {
    /// None do.
    Each,
    /// Rows that are this many apart: the time steps of sequences of equal length.
    Every(usize),
    /// Rows of the same sequence, by a list.
    Listed,
}

/// The elements that masks are for.
#[derive(Clone, Copy, Debug)]
pub struct DropShape {
    /// Rows.
    pub rows: usize,
    /// Elements of a row.
    pub columns: usize,
    /// Masks to skip, for a part of a larger whole.
    pub first: usize,
    /// Which rows share a mask.
    pub masks: Masks,
}

/// What the masks are multiplied with.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a, B: ?Sized> {
    /// One: the result is the masks themselves.
    Ones,
    /// Elements from a place on.
    Values(&'a B, usize),
    /// What the result's place holds.
    Itself,
}

/// Dropout.
pub trait Dropout: Device {
    /// `out[at + i] = mask[i] · source[i]`, or added to it if `add`, for all rows · columns elements.
    /// `sequences` `[rows]` holds each row's sequence and is read only for [`Masks::Listed`].
    fn dropout(
        &self,
        drop: &Drop,
        shape: &DropShape,
        sequences: &Self::Indices,
        source: Source<Self::Buffer>,
        out: (&mut Self::Buffer, usize),
        add: bool,
    );
}

params! {
    struct DropParams {
        seed_0: u32, seed_1: u32, draw: u32, purpose: u32, cell: u32,
        threshold: u32, scale: f32,
        rows: u32, columns: u32, first: u32, masks: u32, period: u32,
        source: u32, x: u32, out: u32, add: u32, before: u32,
    }
}
static DROPOUT: Kernel = kernel!("dropout", DropParams, [Read, Read, Write], varying);
pub(super) static KERNELS: &[&Kernel] = &[&DROPOUT];

/// About as many operations of [`Tuning::operations`] as four elements take in software.
const OF_FOUR: u64 = 256;

impl Dropout for Gpu {
    fn dropout(
        &self,
        drop: &Drop,
        shape: &DropShape,
        sequences: &Self::Indices,
        source: Source<Self::Buffer>,
        (out, at): (&mut Self::Buffer, usize),
        add: bool,
    ) {
        let ([seed_0, seed_1], [draw, purpose, cell]) = drop.key.parts();
        // The list stands in where there are no values: each binding needs a buffer.
        let (kind, x, place) = match source {
            Source::Ones => (0, sequences, 0),
            Source::Values(x, place) => (1, x, place),
            Source::Itself => (2, sequences, 0),
        };
        let (masks, period) = match shape.masks {
            Masks::Each => (0, 0),
            Masks::Every(period) => (1, period),
            Masks::Listed => (2, 0),
        };
        let params = DropParams {
            seed_0,
            seed_1,
            draw,
            purpose,
            cell,
            threshold: drop.threshold(),
            scale: drop.scale() as f32,
            rows: shape.rows as u32,
            columns: shape.columns as u32,
            first: shape.first as u32,
            masks,
            period: period as u32,
            source: kind,
            x: place as u32,
            out: at as u32,
            add: u32::from(add),
            before: 0,
        };
        self.run_each(&DROPOUT, &params, &[x, sequences, out], shape.rows * shape.columns.div_ceil(4), OF_FOUR);
    }
}

impl<F: Real> Dropout for Cpu<F> {
    fn dropout(
        &self,
        drop: &Drop,
        shape: &DropShape,
        sequences: &Vec<u32>,
        source: Source<CpuBuffer<F>>,
        (out, at): (&mut CpuBuffer<F>, usize),
        add: bool,
    ) {
        let out = &mut out[at..][..shape.rows * shape.columns];
        out.par_chunks_mut(16 * shape.columns).enumerate().for_each(|(block, rows)| {
            let source = match source {
                Source::Ones => Source::Ones,
                Source::Values(x, place) => Source::Values(&x[..], place + 16 * block * shape.columns),
                Source::Itself => Source::Itself,
            };
            drop_rows(drop, shape, 16 * block, sequences, source, rows, add);
        });
    }
}

/// Dropout of the rows from number `first` on, `out`, on this thread.
pub fn drop_rows<F: Real>(
    drop: &Drop,
    shape: &DropShape,
    first: usize,
    sequences: &[u32],
    source: Source<[F]>,
    out: &mut [F],
    add: bool,
) {
    let columns = shape.columns;
    let mut words = vec![0; columns];
    for (index, out) in out.chunks_exact_mut(columns).enumerate() {
        let row = first + index;
        let masks = match shape.masks {
            Masks::Each => row,
            Masks::Every(period) => row % period,
            Masks::Listed => sequences[row] as usize,
        };
        let x = match source {
            Source::Values(x, place) => Some(&x[place + index * columns..][..columns]),
            _ => None,
        };
        let itself = matches!(source, Source::Itself);
        dispatch(DropRow { drop, first: shape.first + masks * columns, words: &mut words, x, itself, out, add });
    }
}

/// One row.
struct DropRow<'a, F> {
    drop: &'a Drop,
    first: usize,
    words: &'a mut [u32],
    x: Option<&'a [F]>,
    itself: bool,
    out: &'a mut [F],
    add: bool,
}

impl<F: Real> NullaryFnOnce for DropRow<'_, F> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { drop, first, words, x, itself, out, add } = self;
        drop.key.fill(first, words);
        let (threshold, scale) = (drop.threshold(), F::of(drop.scale()));
        for (j, (out, &word)) in out.iter_mut().zip(&*words).enumerate() {
            let mask = if word < threshold { F::zero() } else { scale };
            let value = match x {
                Some(x) => x[j],
                None if itself => *out,
                None => F::one(),
            };
            *out = if add { *out + value * mask } else { value * mask };
        }
    }
}
