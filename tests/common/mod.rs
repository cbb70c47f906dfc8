//! What the tests share: one way to compare, one way to open a GPU.
#![allow(dead_code, clippy::neg_cmp_op_on_partial_ord)] // `!(a <= b)` also catches NaN

use bptt::config::Precision;
use bptt::device::{Device, Gpu, GpuOptions, Half, Recurrence, StepTiles, Tuning};

/// The distance of `got` from `want`, as the largest share of the tolerance `atol + rtol · |want|`.
///
/// # Errors
/// Names the worst element if it is beyond the tolerance, or if either value is not a number.
pub fn compare(name: &str, got: &[f64], want: &[f64], atol: f64, rtol: f64) -> Result<f64, String> {
    if got.len() != want.len() {
        return Err(format!("{name}: {} elements, not {}", got.len(), want.len()));
    }
    let mut worst = (0.0, None);
    for (index, (&got, &want)) in got.iter().zip(want).enumerate() {
        let share = (got - want).abs() / (atol + rtol * want.abs());
        if !(share <= worst.0) {
            worst = (share, Some((index, got, want)));
            if share.is_nan() {
                break;
            }
        }
    }
    match worst {
        (share, Some((index, got, want))) if !(share <= 1.0) => {
            Err(format!("{name}[{index}]: {got:e}, not {want:e} ({share:.2} times the tolerance)"))
        }
        (share, _) => Ok(share),
    }
}

/// A tolerance relative to the largest element.
pub fn compare_to_largest(name: &str, got: &[f64], want: &[f64], share: f64) -> Result<f64, String> {
    let largest = want.iter().fold(0.0f64, |most, value| most.max(value.abs()));
    compare(name, got, want, share * largest.max(f64::MIN_POSITIVE), 0.0)
}

pub fn doubles(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

/// An adapter, software or not, whose fresh buffers hold NaN.
pub fn gpu(checked: bool) -> Gpu {
    open(checked, None)
}

/// The same, made to compute in one way.
pub fn tuned(tuning: Tuning) -> Gpu {
    open(false, Some(tuning))
}

/// The same with the driver's bounds checks.
pub fn tuned_and_checked(tuning: Tuning) -> Gpu {
    open(true, Some(tuning))
}

/// The same, made to run the recurrence in one way.
pub fn recurring(recurrence: Recurrence) -> Gpu {
    let suited = *gpu(false).tuning();
    tuned(Tuning { recurrence, ..suited })
}

/// A dispatch for each time step, whatever the size.
pub const STEPS: Recurrence = Recurrence {
    persistent_to: 0,
    threads: 1,
    units: 0,
    sequences: 1,
    groups: 0,
    blocks: 0,
    memory: 0,
    steps: 1,
    chunks: 0,
    inputs: 0,
    lanes: 0,
    step: None,
    stack_to: 0,
};

/// The same in tiles of this kind.
pub fn tiled(units: usize, groups: usize, quads: usize) -> Recurrence {
    Recurrence { step: Some(StepTiles { units, groups, quads, workgroups: 0 }), ..STEPS }
}

/// The same with all layers of a stack in one dispatch.
pub fn stacked(units: usize, groups: usize, quads: usize) -> Recurrence {
    Recurrence { stack_to: usize::MAX, ..tiled(units, groups, quads) }
}

/// All time steps in one dispatch in tiles of this kind, whatever the size, narrow inputs too where the tiles allow it.
pub fn persistent(threads: usize, sequences: usize, blocks: usize, steps: usize) -> Recurrence {
    Recurrence { persistent_to: usize::MAX, threads, sequences, blocks, steps, inputs: 4, ..STEPS }
}

/// Every kind of tile, each with sums cut into many parts and with whole ones, in whole dispatches and in the
/// shortest.
pub fn tunings() -> Vec<Tuning> {
    let tiles = [Tuning::SOFTWARE, Tuning::HARDWARE, Tuning { large_from: 1, ..Tuning::HARDWARE }];
    let cuts = [(1, 0), (1, 1), (512, 1)];
    let cut = |tuning| cuts.map(|(workgroups, operations)| Tuning { workgroups, operations, ..tuning });
    tiles.into_iter().flat_map(cut).collect()
}

/// The adapter with products of 16-bit numbers, in tiles of every kind that it has: each number by itself and matrices. None if
/// it has no such numbers.
pub fn halves() -> Vec<Gpu> {
    halves_recurring(false, Tuning::HARDWARE.recurrence)
}

/// The same, made to run the recurrence in one way, with the driver's bounds checks if `checked`; those in the largest tiles in the
/// shortest dispatches.
pub fn halves_recurring(checked: bool, recurrence: Recurrence) -> Vec<Gpu> {
    let open = |no_matrices: bool, tuning: Tuning| {
        let adapter = std::env::var("BPTT_ADAPTER").ok();
        let options = GpuOptions {
            precision: Precision::Mixed,
            no_matrices,
            adapter,
            checked,
            poison: true,
            ..GpuOptions::default()
        };
        match pollster::block_on(Gpu::open(GpuOptions { tuning: Some(tuning), ..options })) {
            Ok(gpu) => Some(gpu),
            Err(error) if error.to_string().contains("has no 16-bit numbers") => None,
            Err(error) => panic!("{error}"),
        }
    };
    let tilings = [(usize::MAX, 0), (1, 1)];
    let tilings =
        tilings.map(|(large_from, operations)| Tuning { large_from, operations, recurrence, ..Tuning::HARDWARE });
    let mut found = Vec::new();
    for tuning in tilings {
        let best = open(false, tuning);
        let by_itself = best.as_ref().filter(|gpu| gpu.half() != Some(Half::Numbers)).and_then(|_| open(true, tuning));
        found.extend(best.into_iter().chain(by_itself));
    }
    // Else what is tried on these would hold by there being none.
    assert!(!found.is_empty() || !gpu(false).adapter().contains("llvmpipe"), "lavapipe has 16-bit numbers");
    found
}

fn open(checked: bool, tuning: Option<Tuning>) -> Gpu {
    let adapter = std::env::var("BPTT_ADAPTER").ok();
    let options = GpuOptions { checked, poison: true, adapter, tuning, ..GpuOptions::default() };
    pollster::block_on(Gpu::open(options)).unwrap_or_else(|error| {
        panic!("these tests need a GPU adapter, a software one will do: install mesa-vulkan-drivers\n{error}")
    })
}

#[test]
fn comparing_finds_differences_and_nan() {
    assert!(compare("same", &[1.0, 2.0], &[1.0, 2.0], 1e-6, 0.0).is_ok());
    assert!(compare("far", &[1.0, 2.0], &[1.0, 2.1], 1e-6, 0.0).is_err());
    assert!(compare("got NaN", &[1.0, f64::NAN], &[1.0, 2.0], 1e9, 1e9).is_err());
    assert!(compare("want NaN", &[1.0, 2.0], &[f64::NAN, 2.0], 1e9, 1e9).is_err());
    assert!(compare("first NaN, then equal", &[f64::NAN, 2.0], &[1.0, 2.0], 1.0, 0.0).is_err());
    assert!(compare("short", &[1.0], &[1.0, 2.0], 1.0, 0.0).is_err());
    assert!(compare("infinite", &[f64::INFINITY], &[f64::INFINITY], 1.0, 1.0).is_err());
    assert!(compare_to_largest("small", &[10.0, 0.2], &[10.0, 0.1], 1e-3).is_err());
}
