//! An operation at one shape as a case: run on each device, the results compared with those of the definition.
#![allow(dead_code)]

use bptt::device::{Cpu, Device, Gpu, Real};
use bptt::kernels::Kernels;
use bptt::rng::{Rng, Stream};
use pollster::block_on;

use super::common::{self, compare};

/// Stands where an operation must not write. Exact in `f32`.
pub const UNTOUCHED: f64 = -12_345.625;

/// Numbers in ±1, multiples of 2⁻¹⁶ and so exact in `f32`. Equal calls in one order give equal numbers.
pub struct Numbers {
    rng: Rng,
    /// Of a number and its sign.
    bits: u32,
}

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed, Stream::Init), bits: 17 }
    }
    /// Multiples of 2⁻⁹: exact in 16 bits.
    pub fn coarse(seed: u64) -> Self {
        Self { bits: 10, ..Self::new(seed) }
    }
    pub fn take(&mut self, len: usize) -> Vec<f64> {
        let one = f64::from(1 << (self.bits - 1));
        (0..len).map(|_| (f64::from(self.rng.bits() >> (32 - self.bits)) - one) / one).collect()
    }
    pub fn scaled(&mut self, len: usize, scale: f64) -> Vec<f64> {
        self.take(len).iter().map(|value| f64::from((value * scale) as f32)).collect()
    }
}

pub fn elements<D: Device>(values: &[f64]) -> Vec<D::Element> {
    values.iter().map(|&value| D::Element::of(value)).collect()
}

pub fn filled<D: Device>(device: &D, values: &[f64]) -> D::Buffer {
    let mut buffer = device.buffer("values", values.len());
    device.write(&mut buffer, &elements::<D>(values));
    buffer
}

/// A buffer of NaN.
pub fn fresh<D: Device>(device: &D, len: usize) -> D::Buffer {
    device.buffer("fresh", len)
}

/// NaN where the operation writes, the mark everywhere else.
pub fn marked(len: usize, written: std::ops::Range<usize>) -> Vec<f64> {
    (0..len).map(|i| if written.contains(&i) { f64::NAN } else { UNTOUCHED }).collect()
}

pub fn read<D: Device>(device: &D, buffer: &D::Buffer, len: usize) -> Vec<f64> {
    block_on(device.read(buffer, 0..len)).expect("a read").into_iter().map(Real::double).collect()
}

/// The named results of some operations on one device.
pub type Results = Vec<(String, Vec<f64>)>;

/// `got` is `want` within `share` of each result's largest element, or of `floor` if that is larger; the marks are where
/// they were.
pub fn differences(case: &str, got: &Results, want: &Results, (share, floor): (f64, f64)) -> Vec<String> {
    let mut problems = Vec::new();
    if got.len() != want.len() || want.is_empty() {
        problems.push(format!("{case}: {} results, not {}", got.len(), want.len()));
    }
    for ((name, got), (_, want)) in got.iter().zip(want) {
        if got.len() != want.len() {
            problems.push(format!("{case}: {name}: {} elements, not {}", got.len(), want.len()));
            continue;
        }
        let places: Vec<usize> = (0..want.len()).filter(|&i| want[i] != UNTOUCHED).collect();
        let marks = |values: &[f64]| values.iter().filter(|&&value| value == UNTOUCHED).count();
        if marks(got) != marks(want) || places.iter().any(|&i| got[i] == UNTOUCHED) {
            problems.push(format!("{case}: {name}: {} marks are left, not {}", marks(got), marks(want)));
        }
        let pick = |values: &[f64]| places.iter().map(|&i| values[i]).collect::<Vec<_>>();
        let want = pick(want);
        let largest = want.iter().fold(floor.max(f64::MIN_POSITIVE), |most, value| most.max(value.abs()));
        if let Err(problem) = compare(name, &pick(got), &want, share * largest, 0.0) {
            problems.push(format!("{case}: {problem}"));
        }
    }
    problems
}

/// An operation at one shape, run on any device.
pub trait Case {
    fn name(&self) -> String;
    fn run<D: Kernels>(&self, device: &D) -> Results;
    /// The tolerance in single precision as a share of the largest element, and the least that this may be taken for.
    fn tolerance(&self) -> (f64, f64) {
        (2e-6, 0.0)
    }
}

/// Runs every case on the GPU and on `Cpu<f32>` against `Cpu<f64>`; all failures at once.
pub fn hold<C: Case>(cases: &[C]) {
    hold_on(cases, &[common::gpu(false)]);
}

/// The same on several GPUs, or on one that computes in several ways.
pub fn hold_on<C: Case>(cases: &[C], gpus: &[Gpu]) {
    let (exact, cpu) = (Cpu::<f64>::poisoned(), Cpu::<f32>::poisoned());
    let mut problems = Vec::new();
    for case in cases {
        let want = case.run(&exact);
        problems.extend(differences(&format!("Cpu<f32> {}", case.name()), &case.run(&cpu), &want, case.tolerance()));
        for gpu in gpus {
            let name = format!("Gpu {:?} {}", gpu.tuning(), case.name());
            problems.extend(differences(&name, &case.run(gpu), &want, case.tolerance()));
        }
    }
    let runs = cases.len() * (1 + gpus.len());
    assert!(problems.is_empty(), "{} of {runs} runs:\n{}", problems.len(), problems.join("\n"));
}

/// Bits, so that a NaN equals itself and zeros of both signs differ.
pub fn bits(results: &Results) -> Vec<(&str, Vec<u64>)> {
    results.iter().map(|(name, values)| (name.as_str(), values.iter().map(|value| value.to_bits()).collect())).collect()
}
