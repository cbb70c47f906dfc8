//! `bptt bench --profile`: where a step's time goes, kernel by kernel, beside what the device can do at best.

use std::time::Instant;

use bptt::device::{Cost, Device, Gpu, GpuBuffer, KernelTime};
use bptt::error::Result;
use bptt::kernels::{Listed, Matrix, Onto, Product, ProductShape, Rows, RowsShape};
use pollster::block_on;
use serde_json::{Value, json};

use super::Global;

/// What a device reaches in this run.
pub struct Ceilings {
    /// Floating-point operations a second, in a square product.
    product: f64,
    /// Bytes a second, read and written, in a copy.
    copy: f64,
}

/// From this many seconds on the wait for the end of a measurement does not show.
const LONG_ENOUGH: f64 = 0.03;

/// Seconds of the fastest of three runs.
fn fastest(mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut least = f64::INFINITY;
    for _ in 0..3 {
        let begun = Instant::now();
        run()?;
        least = least.min(begun.elapsed().as_secs_f64());
    }
    Ok(least)
}

fn filled(gpu: &Gpu, len: usize) -> GpuBuffer {
    let mut buffer = gpu.buffer("what a ceiling is measured with", len);
    gpu.zero(&mut buffer, 0, len);
    buffer
}

impl Ceilings {
    /// Measures `gpu` at growing sizes, until a run is long enough to be timed.
    pub fn measure(gpu: &Gpu) -> Result<Self> {
        let wait = |buffer: &GpuBuffer| block_on(gpu.read(buffer, 0..1)).map(drop);
        let mut best = Self { product: 0.0, copy: 0.0 };
        for n in [256, 512, 1024, 2048, 4096] {
            let (a, b, mut c) = (filled(gpu, n * n), filled(gpu, n * n), filled(gpu, n * n));
            let rows = Matrix::rows(0, n);
            let shape = ProductShape { m: n, n, k: n, a: rows, b: rows, c: 0 };
            let seconds = fastest(|| {
                gpu.product(&shape, &a, &b, Onto::Zero, &mut c);
                wait(&c)
            })?;
            best.product = best.product.max(2.0 * (n * n * n) as f64 / seconds);
            if seconds > LONG_ENOUGH {
                break;
            }
        }
        for len in [1 << 18, 1 << 20, 1 << 22, 1 << 24] {
            let (from, mut to) = (filled(gpu, len), filled(gpu, len));
            let rows = Matrix::rows(0, len);
            let shape = RowsShape { rows: 1, width: len, from: rows, to: rows };
            let seconds = fastest(|| {
                gpu.copy_rows(&shape, Listed::No, &from, &mut to);
                wait(&to)
            })?;
            best.copy = best.copy.max(8.0 * len as f64 / seconds);
            if seconds > LONG_ENOUGH {
                break;
            }
        }
        block_on(gpu.profile())?; // the next profile is that of a step
        Ok(best)
    }
}

/// Prints the profile of `steps` steps of `shape`.
pub fn print(shape: &str, steps: usize, kernels: &[KernelTime], ceilings: &Ceilings, global: &Global) {
    let dispatches = kernels.iter().map(|kernel| kernel.runs).sum::<u64>() / steps as u64;
    let total = kernels.iter().map(|kernel| kernel.seconds).sum::<Option<f64>>();
    if global.json {
        let rows: Vec<Value> = kernels.iter().map(|kernel| object(kernel, steps, ceilings)).collect();
        let (product, copy) = (ceilings.product / 1e9, ceilings.copy / 1e9);
        out!(
            "{}",
            json!({
                "profile": shape, "dispatches": dispatches, "ms": total.map(|total| total / steps as f64 * 1e3),
                "product_gflops": product, "copy_gbytes": copy, "kernels": rows,
            })
        );
        return;
    }
    let time = match total {
        Some(total) => format!("{:.3} ms of kernels", total / steps as f64 * 1e3),
        None => "no times: this adapter has no timestamp queries".to_owned(),
    };
    let (product, copy) = (ceilings.product / 1e9, ceilings.copy / 1e9);
    out!("{shape}: {dispatches} dispatches a step, {time}");
    out!("at best {product:.2} GFLOP/s (a product) and {copy:.2} GB/s (a copy)");
    let name = |kernel: &KernelTime| match kernel.entry {
        "main" => kernel.name.to_owned(),
        entry => format!("{}, {entry}", kernel.name),
    };
    let wide = kernels.iter().map(|kernel| name(kernel).len()).max().unwrap_or(0).max(32) + 2;
    out!(
        "{:wide$}{:>7}{:>11}{:>8}{:>11}{:>7}{:>10}{:>7}",
        "kernel",
        "a step",
        "ms a step",
        "share",
        "GFLOP/s",
        "",
        "GB/s",
        ""
    );
    for kernel in kernels {
        let runs = kernel.runs as f64 / steps as f64;
        let time = kernel.seconds.map_or(format!("{:>11}{:>8}", "–", "–"), |seconds| {
            let share = total.map_or(0.0, |total| 100.0 * seconds / total);
            format!("{:11.3}{share:7.1}%", seconds / steps as f64 * 1e3)
        });
        let speed =
            rates(kernel).map_or(format!("{:>11}{:>7}{:>10}{:>7}", "–", "", "–", ""), |(operations, bytes)| {
                let (of_product, of_copy) = (100.0 * operations / ceilings.product, 100.0 * bytes / ceilings.copy);
                format!("{:11.3}{of_product:6.0}%{:10.3}{of_copy:6.0}%", operations / 1e9, bytes / 1e9)
            });
        out!("{:wide$}{runs:7.0}{time}{speed}", name(kernel));
    }
}

/// Operations and bytes a second, where both time and cost are known.
fn rates(kernel: &KernelTime) -> Option<(f64, f64)> {
    let (seconds, Cost { operations, bytes }) = kernel.seconds.filter(|&seconds| seconds > 0.0).zip(kernel.cost)?;
    Some((operations / seconds, bytes / seconds))
}

fn object(kernel: &KernelTime, steps: usize, ceilings: &Ceilings) -> Value {
    let rates = rates(kernel);
    json!({
        "kernel": kernel.name, "entry": kernel.entry, "runs": kernel.runs as f64 / steps as f64,
        "ms": kernel.seconds.map(|seconds| seconds / steps as f64 * 1e3),
        "operations": kernel.cost.map(|cost| cost.operations / steps as f64),
        "bytes": kernel.cost.map(|cost| cost.bytes / steps as f64),
        "of_product": rates.map(|(operations, _)| operations / ceilings.product),
        "of_copy": rates.map(|(_, bytes)| bytes / ceilings.copy),
    })
}
