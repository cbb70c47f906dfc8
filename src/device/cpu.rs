//! The processor as a device: commands are carried out at once.

mod buffer;

use std::future::{Future, ready};
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use pulp::Simd;

pub use buffer::CpuBuffer;

use super::threads::prelude::*;
use super::{Device, Need, Tuned};
use crate::error::{Bytes, Error, Result};

/// A real number that the CPU engine computes with: `f32` to train, `f64` to define what is right.
pub trait Real:
    num_traits::Float + bytemuck::Pod + Send + Sync + std::fmt::Debug + std::fmt::Display + Default + 'static
{
    /// The nearest representable number.
    fn of(value: f64) -> Self;
    /// The same number in double precision.
    fn double(self) -> f64;

    /// A vector register's worth of numbers.
    type Lanes<S: Simd>: bytemuck::Pod;
    /// `value` in every lane.
    fn splat<S: Simd>(simd: S, value: Self) -> Self::Lanes<S>;
    /// a + b
    fn add_lanes<S: Simd>(simd: S, a: Self::Lanes<S>, b: Self::Lanes<S>) -> Self::Lanes<S>;
    /// a − b
    fn sub_lanes<S: Simd>(simd: S, a: Self::Lanes<S>, b: Self::Lanes<S>) -> Self::Lanes<S>;
    /// a · b
    fn mul_lanes<S: Simd>(simd: S, a: Self::Lanes<S>, b: Self::Lanes<S>) -> Self::Lanes<S>;
    /// a · b + c, rounded once where the processor can.
    fn mul_add_lanes<S: Simd>(simd: S, a: Self::Lanes<S>, b: Self::Lanes<S>, c: Self::Lanes<S>) -> Self::Lanes<S>;
    /// The sum of all lanes.
    fn sum_lanes<S: Simd>(simd: S, a: Self::Lanes<S>) -> Self;
    /// `a`, zero where it is so small that products with it may not be normal numbers, which take some processors a hundred times
    /// as long: below 2⁻⁹⁰ in single precision. Squares of those are zero anyway, so neither a norm nor Adam would notice them.
    fn normal_lanes<S: Simd>(simd: S, a: Self::Lanes<S>) -> Self::Lanes<S>;
    /// 1 / (1 + exp(−x))
    fn sigmoid_lanes<S: Simd>(simd: S, x: Self::Lanes<S>) -> Self::Lanes<S>;
    /// tanh x
    fn tanh_lanes<S: Simd>(simd: S, x: Self::Lanes<S>) -> Self::Lanes<S>;
}

impl Real for f64 {
    fn of(value: f64) -> Self {
        value
    }
    fn double(self) -> f64 {
        self
    }

    type Lanes<S: Simd> = S::f64s;
    #[inline(always)]
    fn splat<S: Simd>(simd: S, value: Self) -> S::f64s {
        simd.splat_f64s(value)
    }
    #[inline(always)]
    fn add_lanes<S: Simd>(simd: S, a: S::f64s, b: S::f64s) -> S::f64s {
        simd.add_f64s(a, b)
    }
    #[inline(always)]
    fn mul_add_lanes<S: Simd>(simd: S, a: S::f64s, b: S::f64s, c: S::f64s) -> S::f64s {
        simd.mul_add_e_f64s(a, b, c)
    }
    #[inline(always)]
    fn sub_lanes<S: Simd>(simd: S, a: S::f64s, b: S::f64s) -> S::f64s {
        simd.sub_f64s(a, b)
    }
    #[inline(always)]
    fn mul_lanes<S: Simd>(simd: S, a: S::f64s, b: S::f64s) -> S::f64s {
        simd.mul_f64s(a, b)
    }
    #[inline(always)]
    fn normal_lanes<S: Simd>(_: S, a: S::f64s) -> S::f64s {
        a
    }
    #[inline(always)]
    fn sum_lanes<S: Simd>(simd: S, a: S::f64s) -> Self {
        simd.reduce_sum_f64s(a)
    }
    fn sigmoid_lanes<S: Simd>(_simd: S, x: S::f64s) -> S::f64s {
        each::<S>(x, |x| 1.0 / (1.0 + (-x).exp()))
    }
    fn tanh_lanes<S: Simd>(_simd: S, x: S::f64s) -> S::f64s {
        each::<S>(x, f64::tanh)
    }
}

/// `sigmoid` and `tanh` within 3 ulp (tested over all exponents); a NaN stays a NaN.
impl Real for f32 {
    fn of(value: f64) -> Self {
        value as f32
    }
    fn double(self) -> f64 {
        f64::from(self)
    }

    type Lanes<S: Simd> = S::f32s;
    #[inline(always)]
    fn splat<S: Simd>(simd: S, value: Self) -> S::f32s {
        simd.splat_f32s(value)
    }
    #[inline(always)]
    fn add_lanes<S: Simd>(simd: S, a: S::f32s, b: S::f32s) -> S::f32s {
        simd.add_f32s(a, b)
    }
    #[inline(always)]
    fn mul_add_lanes<S: Simd>(simd: S, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
        simd.mul_add_e_f32s(a, b, c)
    }
    #[inline(always)]
    fn sub_lanes<S: Simd>(simd: S, a: S::f32s, b: S::f32s) -> S::f32s {
        simd.sub_f32s(a, b)
    }
    #[inline(always)]
    fn mul_lanes<S: Simd>(simd: S, a: S::f32s, b: S::f32s) -> S::f32s {
        simd.mul_f32s(a, b)
    }
    #[inline(always)]
    fn normal_lanes<S: Simd>(simd: S, a: S::f32s) -> S::f32s {
        const LEAST: f32 = 1.0 / (1_u128 << 90) as f32;
        let tiny = simd.less_than_f32s(simd.abs_f32s(a), simd.splat_f32s(LEAST));
        simd.select_f32s(tiny, simd.splat_f32s(0.0), a)
    }
    #[inline(always)]
    fn sum_lanes<S: Simd>(simd: S, a: S::f32s) -> Self {
        simd.reduce_sum_f32s(a)
    }
    #[inline(always)]
    fn sigmoid_lanes<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
        let one = simd.splat_f32s(1.0);
        let (power, p) = exp(simd, simd.neg_f32s(x));
        simd.div_f32s(one, simd.add_f32s(one, simd.mul_add_e_f32s(power, p, power)))
    }
    /// (exp(2x) − 1) / (exp(2x) + 1), the numerator without loss of digits near 0.
    #[inline(always)]
    fn tanh_lanes<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
        let (one, two) = (simd.splat_f32s(1.0), simd.splat_f32s(2.0));
        let (power, p) = exp(simd, simd.add_f32s(x, x));
        let less_one = simd.mul_add_e_f32s(power, p, simd.sub_f32s(power, one));
        simd.div_f32s(less_one, simd.add_f32s(less_one, two))
    }
}

/// `f` of every lane.
#[inline(always)]
fn each<S: Simd>(mut lanes: S::f64s, f: impl Fn(f64) -> f64) -> S::f64s {
    let numbers: &mut [f64] = bytemuck::cast_slice_mut(std::slice::from_mut(&mut lanes));
    numbers.iter_mut().for_each(|number| *number = f(*number));
    lanes
}

/// 2ⁿ and p with exp x = 2ⁿ · (1 + p), for x clamped to ±87: p = e^r − 1 with |r| ≤ ln 2 / 2, by a polynomial whose error
/// is at most 2⁻²⁶ of p; ln 2 in two parts, so that n · ln 2 is exact.
#[inline(always)]
fn exp<S: Simd>(simd: S, x: S::f32s) -> (S::f32s, S::f32s) {
    // 1.5 · 2²³ + 127: adding it leaves the nearest integer, as exponents are stored, in the low bits.
    const ROUND: f32 = 12_583_039.0;
    let splat = |value| simd.splat_f32s(value);
    // Comparisons, not min and max: those would turn a NaN into a number.
    let x = simd.select_f32s(simd.less_than_f32s(x, splat(-87.0)), splat(-87.0), x);
    let x = simd.select_f32s(simd.less_than_f32s(splat(87.0), x), splat(87.0), x);
    let shifted = simd.mul_add_e_f32s(x, splat(std::f32::consts::LOG2_E), splat(ROUND));
    let n = simd.sub_f32s(shifted, splat(ROUND));
    let r = simd.mul_add_e_f32s(n, splat(-0.693_359_4), x);
    let r = simd.mul_add_e_f32s(n, splat(2.121_944_4e-4), r);
    // The least largest error in p, fitted to (e^r − 1 − r) / r².
    let q = simd.mul_add_e_f32s(r, splat(1.388_252_2e-3), splat(8.366_521e-3));
    let q = simd.mul_add_e_f32s(r, q, splat(4.166_72e-2));
    let q = simd.mul_add_e_f32s(r, q, splat(1.666_654_4e-1));
    let q = simd.mul_add_e_f32s(r, q, splat(0.5));
    let p = simd.mul_add_e_f32s(simd.mul_f32s(r, r), q, r);
    let power = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(shifted), simd.splat_u32s(23));
    (simd.transmute_f32s_u32s(power), p)
}

/// The CPU engine. `Cpu<f64>` is the definition of every operation; `Cpu<f32>` is what people without a GPU train on.
pub struct Cpu<F> {
    adapter: String,
    allocated: AtomicU64,
    poison: bool,
    element: PhantomData<F>,
}

impl<F: Real> Cpu<F> {
    /// All cores of this machine, or as many as rayon's pool has threads. Who trains on a thread of that pool, as
    /// `use_current_thread` of its builder makes one, spares each operation a hand-over.
    pub fn new() -> Self {
        let threads = super::threads::current_num_threads();
        let adapter = format!("{}, {threads} thread{}", processor(), if threads == 1 { "" } else { "s" });
        Self { adapter, allocated: AtomicU64::new(0), poison: false, element: PhantomData }
    }

    /// Fresh buffers hold NaN, so that a test notices what was never written.
    pub fn poisoned() -> Self {
        Self { poison: true, ..Self::new() }
    }
}

impl<F: Real> Default for Cpu<F> {
    fn default() -> Self {
        Self::new()
    }
}

/// Asks Linux for pages of 2 MiB under a large buffer: what passes over it then waits less for addresses.
#[cfg(target_os = "linux")]
fn ask_for_large_pages<F>(buffer: &[F]) {
    const PAGE: usize = 2 << 20;
    let range = buffer.as_ptr_range();
    let (start, end) = (range.start.addr().next_multiple_of(PAGE), range.end.addr() / PAGE * PAGE);
    if start < end {
        // SAFETY: a hint about pages that lie within the buffer, which changes nothing in them.
        unsafe { libc::madvise(range.start.with_addr(start).cast_mut().cast(), end - start, libc::MADV_HUGEPAGE) };
    }
}

/// Elements that a thread sets to zero at a time.
const ZEROED: usize = 16_384;

impl<F: Real> Device for Cpu<F> {
    type Element = F;
    type Buffer = CpuBuffer<F>;
    type Indices = Vec<u32>;

    fn kind(&self) -> &'static str {
        "cpu"
    }
    fn adapter(&self) -> &str {
        &self.adapter
    }
    fn allocated(&self) -> u64 {
        self.allocated.load(Ordering::Relaxed)
    }
    fn tuned(&self) -> Option<Tuned> {
        None
    }
    fn compute_as(&mut self, _tuned: &Tuned) {}
    fn check(&self, need: &[Need]) -> Result<()> {
        let size = |n: &Need| (n.len as u64).saturating_mul(size_of::<F>() as u64);
        let total = need.iter().map(size).fold(0, u64::saturating_add);
        let available = available_memory();
        match need.iter().max_by_key(|n| size(n)) {
            Some(largest) if total > available => Err(Error::Memory {
                need: "this run".into(),
                bytes: Bytes(total),
                limit: "the memory this machine has left".into(),
                allowed: Bytes(available),
                remedy: format!(
                    "lower {} (the largest part, {}, is {})",
                    largest.lower,
                    largest.name,
                    Bytes(size(largest))
                ),
            }),
            _ => Ok(()),
        }
    }
    fn buffer(&self, _name: &'static str, len: usize) -> CpuBuffer<F> {
        self.allocated.fetch_add((len * size_of::<F>()) as u64, Ordering::Relaxed);
        let buffer = CpuBuffer::of(if self.poison { F::nan() } else { F::zero() }, len);
        #[cfg(target_os = "linux")]
        ask_for_large_pages(&buffer);
        buffer
    }
    fn indices(&self, _name: &'static str, len: usize) -> Vec<u32> {
        self.allocated.fetch_add((len * size_of::<u32>()) as u64, Ordering::Relaxed);
        vec![0; len]
    }
    fn write(&self, buffer: &mut CpuBuffer<F>, values: &[F]) {
        buffer[..values.len()].copy_from_slice(values);
    }
    fn write_indices(&self, indices: &mut Vec<u32>, values: &[u32]) {
        indices[..values.len()].copy_from_slice(values);
    }
    fn zero(&self, buffer: &mut CpuBuffer<F>, offset: usize, len: usize) {
        buffer[offset..offset + len].par_chunks_mut(ZEROED).for_each(|part| part.fill(F::zero()));
    }
    fn submit(&self) -> Result<()> {
        Ok(())
    }
    fn read(&self, buffer: &CpuBuffer<F>, range: Range<usize>) -> impl Future<Output = Result<Vec<F>>> {
        ready(Ok(buffer[range].to_vec()))
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn processor() -> String {
    let kind = sysinfo::CpuRefreshKind::nothing();
    let system = sysinfo::System::new_with_specifics(sysinfo::RefreshKind::nothing().with_cpu(kind));
    let brand = system.cpus().first().map(|cpu| cpu.brand().trim().to_owned()).unwrap_or_default();
    if brand.is_empty() { std::env::consts::ARCH.to_owned() } else { brand }
}

#[cfg(not(target_arch = "wasm32"))]
fn available_memory() -> u64 {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    // Where nothing is told, as without /proc, asking for the limits of a control group panics.
    if system.total_memory() == 0 {
        return u64::MAX;
    }
    // A control group (a container, a batch job) may allow less than the machine has.
    let group = system.cgroup_limits().map_or(u64::MAX, |limits| limits.free_memory);
    match system.available_memory() {
        0 => group,
        machine => machine.min(group),
    }
}

#[cfg(target_arch = "wasm32")]
fn processor() -> String {
    "WebAssembly".into()
}

/// WebAssembly addresses 4 GiB.
#[cfg(target_arch = "wasm32")]
fn available_memory() -> u64 {
    (core::arch::wasm32::memory_size(0) as u64 * 65_536).abs_diff(1 << 32)
}

#[cfg(test)]
mod tests {
    use pulp::{Scalar, Simd, WithSimd};

    use super::super::wide::{Along, Wide, dispatch, registers_mut};

    /// Sigmoid of the first row, tanh of the second; of the third what is not too small.
    struct Activate([Vec<f32>; 3]);

    impl Along<f32> for Activate {
        #[inline(always)]
        fn along<S: Simd>(&mut self, simd: S, range: std::ops::Range<usize>) {
            let [sigmoid, tanh, normal] = &mut self.0;
            let [sigmoid, tanh, normal] = registers_mut::<f32, S, 3>([sigmoid, tanh, normal], &range);
            for x in sigmoid {
                *x = Wide::<f32, S>::of(simd, *x).sigmoid().lanes();
            }
            for x in tanh {
                *x = Wide::<f32, S>::of(simd, *x).tanh().lanes();
            }
            for x in normal {
                *x = Wide::<f32, S>::of(simd, *x).normal().lanes();
            }
        }
    }

    impl WithSimd for Activate {
        type Output = [Vec<f32>; 3];
        #[inline(always)]
        fn with_simd<S: Simd>(mut self, simd: S) -> Self::Output {
            let len = self.0[0].len();
            self.all(simd, len);
            self.0
        }
    }

    /// By this processor's instructions and, as on one without, number by number.
    fn activated(x: &[f32]) -> [[Vec<f32>; 3]; 2] {
        let rows = || Activate([x.to_vec(), x.to_vec(), x.to_vec()]);
        [dispatch(rows()), rows().with_simd(Scalar)]
    }

    /// Distance in units of the last place of the exact value.
    fn ulp(got: f32, want: f64) -> f64 {
        let unit = f64::from(f32::EPSILON) * 2f64.powi((want.abs().max(1e-37).log2().floor()) as i32);
        (f64::from(got) - want).abs() / unit
    }

    #[test]
    fn activations_are_within_a_few_ulp_everywhere() {
        let x: Vec<f32> = (0u32..0x4300_0000)
            .step_by(997)
            .map(f32::from_bits)
            .flat_map(|x| [x, -x])
            .filter(|x| x.is_normal())
            .collect();
        for [sigmoid, tanh, _] in activated(&x) {
            let (mut worst_tanh, mut worst_sigmoid) = (0.0f64, 0.0f64);
            for ((&x, &sigmoid), &tanh) in x.iter().zip(&sigmoid).zip(&tanh) {
                let exact = f64::from(x);
                worst_tanh = worst_tanh.max(ulp(tanh, exact.tanh()));
                if x > -86.0 {
                    worst_sigmoid = worst_sigmoid.max(ulp(sigmoid, 1.0 / (1.0 + (-exact).exp())));
                }
            }
            assert!(worst_tanh < 3.0 && worst_sigmoid < 3.0, "tanh {worst_tanh} ulp, sigmoid {worst_sigmoid} ulp");
        }
    }

    #[test]
    fn what_is_too_small_is_zero() {
        let least = 2f32.powi(-90);
        let x =
            [least, -least, 1e-27, 1.0, f32::INFINITY, 0.99 * least, -1e-30, 1e-40, -f32::from_bits(1), 0.0].repeat(4);
        for [_, _, normal] in activated(&x) {
            let want: Vec<f32> = x.iter().map(|&x| if x.abs() < least { 0.0 } else { x }).collect();
            assert_eq!(normal, want);
        }
        assert!(activated(&[f32::NAN; 17]).iter().all(|rows| rows[2].iter().all(|x| x.is_nan())));
    }

    #[test]
    fn activations_of_extreme_values() {
        // More than a register's worth, so that the values are met there too.
        let x = [f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30, f32::NAN, 0.0, 1.0].repeat(5);
        for [sigmoid, tanh, _] in activated(&x) {
            for (&x, (&sigmoid, &tanh)) in x.iter().zip(sigmoid.iter().zip(&tanh)) {
                assert_eq!(x.is_nan(), sigmoid.is_nan() && tanh.is_nan(), "{x}: {sigmoid} {tanh}");
                let sides = [(1e29, 1.0, 1.0), (0.0, 0.5, 0.0)];
                if let Some((_, own, other)) = sides.into_iter().find(|side| side.0 == x || x > side.0 && side.0 > 1.0)
                {
                    assert_eq!((sigmoid, tanh), (own, other), "{x}");
                }
                if x < -1e29 {
                    assert!(sigmoid < 1e-37 && tanh == -1.0, "{x}: {sigmoid} {tanh}");
                }
            }
        }
    }
}
