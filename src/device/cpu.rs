//! The processor as a device: buffers are vectors, commands are carried out at once.

use std::cell::Cell;
use std::future::{Future, ready};
use std::marker::PhantomData;
use std::ops::Range;

use pulp::Simd;

use super::{Device, Need, Tuned};
use crate::error::{Bytes, Error, Result};

/// A real number that the CPU engine computes with: `f32` to train, `f64` to define what is right.
pub trait Real:
    num_traits::Float + bytemuck::Pod + Send + Sync + std::fmt::Debug + std::fmt::Display + Default + 'static
{
    /// 1 / (1 + exp(−x))
    fn sigmoid(self) -> Self;
    /// tanh x
    fn tangent(self) -> Self;
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
    /// a · b + c, rounded once where the processor can.
    fn mul_add_lanes<S: Simd>(simd: S, a: Self::Lanes<S>, b: Self::Lanes<S>, c: Self::Lanes<S>) -> Self::Lanes<S>;
}

impl Real for f64 {
    #[inline(always)]
    fn sigmoid(self) -> Self {
        1.0 / (1.0 + (-self).exp())
    }
    #[inline(always)]
    fn tangent(self) -> Self {
        self.tanh()
    }
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
}

/// Straight-line code without calls, so that loops over it become vector instructions. Within 3 ulp for `sigmoid`
/// and `tanh` (tested over all exponents); a NaN stays a NaN.
impl Real for f32 {
    #[inline(always)]
    fn sigmoid(self) -> Self {
        1.0 / (1.0 + exp(-self))
    }
    #[inline(always)]
    fn tangent(self) -> Self {
        let magnitude = self.abs();
        let z = self * self;
        // The quotient loses all digits near 0; the odd polynomial (Cephes, tanhf) does not.
        let near = ((((-5.704_988_7e-3 * z + 2.063_908_8e-2) * z - 5.373_971_5e-2) * z + 1.333_144_2e-1) * z
            - 3.333_328e-1)
            * z
            * self
            + self;
        let far = (1.0 - 2.0 / (exp(2.0 * magnitude) + 1.0)).copysign(self);
        if magnitude < 0.625 { near } else { far }
    }
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
}

/// exp x for x clamped to ±87: 2ⁿ · e^r with |r| ≤ ln 2 / 2, e^r by its Taylor series (the first term left out is below
/// 2⁻²⁷); ln 2 in two parts, so that n · ln 2 is exact.
#[inline(always)]
fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2²³: adding it leaves the nearest integer in the low bits
    // Comparisons, not min and max: those would turn a NaN into a number.
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 87.0 { 87.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let p = 1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0 + r * (1.0 / 5040.0)));
    let p = 0.5 + r * (1.0 / 6.0 + r * p);
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    (1.0 + (r + r * r * p)) * power
}

/// The CPU engine. `Cpu<f64>` is the definition of every operation; `Cpu<f32>` is what people without a GPU train on.
pub struct Cpu<F> {
    adapter: String,
    allocated: Cell<u64>,
    poison: bool,
    element: PhantomData<F>,
}

impl<F: Real> Cpu<F> {
    /// All cores of this machine.
    pub fn new() -> Self {
        let adapter = format!("{}, {} threads", processor(), super::threads::current_num_threads());
        Self { adapter, allocated: Cell::new(0), poison: false, element: PhantomData }
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

impl<F: Real> Device for Cpu<F> {
    type Element = F;
    type Buffer = Vec<F>;
    type Indices = Vec<u32>;

    fn kind(&self) -> &'static str {
        "cpu"
    }
    fn adapter(&self) -> &str {
        &self.adapter
    }
    fn allocated(&self) -> u64 {
        self.allocated.get()
    }
    fn tuned(&self) -> Option<Tuned> {
        None
    }
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
    fn buffer(&self, _name: &'static str, len: usize) -> Vec<F> {
        self.allocated.set(self.allocated.get() + (len * size_of::<F>()) as u64);
        vec![if self.poison { F::nan() } else { F::zero() }; len]
    }
    fn indices(&self, _name: &'static str, len: usize) -> Vec<u32> {
        self.allocated.set(self.allocated.get() + (len * size_of::<u32>()) as u64);
        vec![0; len]
    }
    fn write(&self, buffer: &mut Vec<F>, values: &[F]) {
        buffer[..values.len()].copy_from_slice(values);
    }
    fn write_indices(&self, indices: &mut Vec<u32>, values: &[u32]) {
        indices[..values.len()].copy_from_slice(values);
    }
    fn zero(&self, buffer: &mut Vec<F>, offset: usize, len: usize) {
        buffer[offset..offset + len].fill(F::zero());
    }
    fn submit(&self) -> Result<()> {
        Ok(())
    }
    fn read(&self, buffer: &Vec<F>, range: Range<usize>) -> impl Future<Output = Result<Vec<F>>> {
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
    use super::Real;

    /// Distance in units of the last place of the exact value.
    fn ulp(got: f32, want: f64) -> f64 {
        let unit = f64::from(f32::EPSILON) * 2f64.powi((want.abs().max(1e-37).log2().floor()) as i32);
        (f64::from(got) - want).abs() / unit
    }

    #[test]
    fn activations_are_within_a_few_ulp_everywhere() {
        let (mut worst_tanh, mut worst_sigmoid) = (0.0f64, 0.0f64);
        for bits in (0u32..0x4300_0000).step_by(997) {
            for x in [f32::from_bits(bits), -f32::from_bits(bits)] {
                let exact = f64::from(x);
                if x.is_normal() {
                    worst_tanh = worst_tanh.max(ulp(x.tangent(), exact.tanh()));
                }
                if x > -86.0 {
                    worst_sigmoid = worst_sigmoid.max(ulp(x.sigmoid(), 1.0 / (1.0 + (-exact).exp())));
                }
            }
        }
        assert!(worst_tanh < 3.0 && worst_sigmoid < 3.0, "tanh {worst_tanh} ulp, sigmoid {worst_sigmoid} ulp");
    }

    #[test]
    fn activations_of_extreme_values() {
        assert_eq!(f32::INFINITY.tangent(), 1.0);
        assert_eq!(f32::NEG_INFINITY.tangent(), -1.0);
        assert_eq!(1e30f32.sigmoid(), 1.0);
        assert!((-1e30f32).sigmoid() < 1e-37);
        assert!(f32::NAN.tangent().is_nan() && f32::NAN.sigmoid().is_nan());
        assert_eq!(0.0f32.tangent(), 0.0);
    }
}
