//! Registers of numbers as values, so that loops over rows say the formula and become the processor's vector instructions.
//!
//! Without these the compiler has to prove that rows do not overlap, and never fuses a multiplication with an addition.

use std::ops::{Add, Mul, Range, Sub};

use pulp::{Arch, Scalar, Simd, WithSimd};

use super::Real;

/// Does `work` with the best instructions that this processor has.
#[cfg(not(target_arch = "wasm32"))]
pub fn dispatch<W: WithSimd>(work: W) -> W::Output {
    Arch::new().dispatch(work)
}

/// Likewise, without the code for processors that a build for simd128 does not run on, and the work once for all that call it: a
/// page would load it for nothing.
#[cfg(target_arch = "wasm32")]
#[inline(never)]
pub fn dispatch<W: WithSimd>(work: W) -> W::Output {
    match Arch::new() {
        Arch::Simd128(simd) => Simd::vectorize(simd, work),
        _ => unreachable!("simd128 is among the target's features"),
    }
}

/// Bytes of a line of the cache.
pub const LINE: usize = 64;

/// Asks for values that are read later, so that they are on their way to a core's own cache meanwhile.
#[inline(always)]
pub fn ask_for<F: Real>(values: &[F]) {
    #[cfg(target_arch = "x86_64")]
    for line in values.chunks(LINE / size_of::<F>()) {
        use core::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a hint about an address, which is that of a value.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}

/// One register: `F::Lanes<S>` with the instructions `S` of a processor.
pub struct Wide<F: Real, S: Simd> {
    simd: S,
    lanes: F::Lanes<S>,
}

impl<F: Real, S: Simd> Clone for Wide<F, S> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}
impl<F: Real, S: Simd> Copy for Wide<F, S> {}

/// How many numbers a register holds.
#[inline(always)]
pub const fn lanes<F: Real, S: Simd>() -> usize {
    size_of::<F::Lanes<S>>() / size_of::<F>()
}

/// The places `range` of rows, in registers, all equally many. Loops and no closures or maps: what is not inlined is not compiled
/// for the processor's instructions.
#[inline(always)]
pub fn registers<'a, F: Real, S: Simd, const N: usize>(
    rows: [&'a [F]; N],
    range: &Range<usize>,
) -> [&'a [F::Lanes<S>]; N] {
    let len = range.len() / lanes::<F, S>();
    let mut parts: [&[F::Lanes<S>]; N] = [&[]; N];
    for (part, row) in parts.iter_mut().zip(rows) {
        *part = &bytemuck::cast_slice(&row[range.start..range.end])[..len];
    }
    parts
}

/// Likewise, to be written.
#[inline(always)]
pub fn registers_mut<'a, F: Real, S: Simd, const N: usize>(
    rows: [&'a mut [F]; N],
    range: &Range<usize>,
) -> [&'a mut [F::Lanes<S>]; N] {
    let len = range.len() / lanes::<F, S>();
    let mut parts: [&mut [F::Lanes<S>]; N] = std::array::from_fn(|_| Default::default());
    for (part, row) in parts.iter_mut().zip(rows) {
        *part = &mut bytemuck::cast_slice_mut(&mut row[range.start..range.end])[..len];
    }
    parts
}

impl<F: Real, S: Simd> Wide<F, S> {
    /// `value` in every lane.
    #[inline(always)]
    pub fn splat(simd: S, value: F) -> Self {
        Self { simd, lanes: F::splat(simd, value) }
    }
    /// What a register holds.
    #[inline(always)]
    pub fn of(simd: S, lanes: F::Lanes<S>) -> Self {
        Self { simd, lanes }
    }
    /// To be stored.
    #[inline(always)]
    pub fn lanes(self) -> F::Lanes<S> {
        self.lanes
    }
    /// a · b + c, rounded once where the processor can.
    #[inline(always)]
    pub fn mul_add(self, b: Self, c: Self) -> Self {
        Self { lanes: F::mul_add_lanes(self.simd, self.lanes, b.lanes, c.lanes), ..self }
    }
    /// 1 / (1 + exp(−x))
    #[inline(always)]
    pub fn sigmoid(self) -> Self {
        Self { lanes: F::sigmoid_lanes(self.simd, self.lanes), ..self }
    }
    /// tanh x
    #[inline(always)]
    pub fn tanh(self) -> Self {
        Self { lanes: F::tanh_lanes(self.simd, self.lanes), ..self }
    }
    /// The same, zero where it is too small for products with it to be normal numbers.
    #[inline(always)]
    pub fn normal(self) -> Self {
        Self { lanes: F::normal_lanes(self.simd, self.lanes), ..self }
    }
    /// The sum of all lanes.
    #[inline(always)]
    pub fn total(self) -> F {
        F::sum_lanes(self.simd, self.lanes)
    }
}

impl<F: Real, S: Simd> Add for Wide<F, S> {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self { lanes: F::add_lanes(self.simd, self.lanes, other.lanes), ..self }
    }
}

impl<F: Real, S: Simd> Sub for Wide<F, S> {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self { lanes: F::sub_lanes(self.simd, self.lanes, other.lanes), ..self }
    }
}

impl<F: Real, S: Simd> Mul for Wide<F, S> {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self { lanes: F::mul_lanes(self.simd, self.lanes, other.lanes), ..self }
    }
}

/// Work along rows of equal length, place by place.
pub trait Along<F: Real> {
    /// The places `range` of every row.
    fn along<S: Simd>(&mut self, simd: S, range: Range<usize>);

    /// All `len` places, whole registers first and then one by one what is left.
    #[inline(always)]
    fn all<S: Simd>(&mut self, simd: S, len: usize) {
        let whole = len - len % lanes::<F, S>();
        self.along(simd, 0..whole);
        if whole < len {
            self.along(Scalar, whole..len);
        }
    }
}
