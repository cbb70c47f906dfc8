//! `bptt devices --tune`: which tiles are fastest on an adapter, measured once and kept for later runs.
//!
//! The file is `bptt/tuning.json` in the user's cache folder, one entry for each adapter, driver and version of `bptt`. A run
//! keeps what it began with in its checkpoint, so that it goes on with the same bits after the file has changed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use bptt::device::{Device, Gpu, GpuBuffer, GpuOptions, Tuned, Tuning};
use bptt::error::{Error, Result};
use bptt::kernels::{Affine, AffineInput, AffineSize, Matrix, Onto, Product, ProductShape, WeightGradients};
use etcetera::BaseStrategy;
use pollster::block_on;
use serde_json::{Value, json};

use super::run_folder::replace;

/// Rows, inputs and hidden units of what is measured: small models, and a larger one where that takes no time.
const SIZES: [[usize; 3]; 3] = [[640, 64, 64], [2048, 128, 128], [16_384, 512, 512]];
/// Seconds that one candidate may take at one size for the next size to be worth while.
const SHORT: f64 = 0.02;

/// Where the choices are kept.
fn file() -> Result<PathBuf> {
    let strategy = etcetera::choose_base_strategy()
        .map_err(|_| Error::device("this user has no home folder", "set HOME, or train without tuning"))?;
    Ok(strategy.cache_dir().join("bptt").join("tuning.json"))
}

/// The choices of earlier calls; none where there is no file or it is not one of this version's.
pub fn known() -> Vec<Tuned> {
    let text = file().ok().and_then(|file| std::fs::read_to_string(file).ok());
    text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// Keeps `tuned`, in the place of an earlier choice for the same adapter.
fn keep(tuned: &Tuned) -> Result<PathBuf> {
    let file = file()?;
    let mut all: BTreeMap<String, Tuned> = known().into_iter().map(|tuned| (tuned.adapter.clone(), tuned)).collect();
    all.insert(tuned.adapter.clone(), tuned.clone());
    let folder = file.parent().expect("a file in a folder");
    std::fs::create_dir_all(folder).map_err(|error| Error::io("create", folder, error))?;
    let all: Vec<_> = all.into_values().collect();
    replace(&file, serde_json::to_string_pretty(&all).expect("plain data").as_bytes())?;
    Ok(file)
}

/// Measures the adapter called `name`, prints the table and keeps the fastest; what was found, for JSON.
pub fn tune(name: &str) -> Result<Value> {
    let mut rows = Vec::new();
    let mut sizes = SIZES.len();
    for (candidate, tuning) in Tuning::candidates() {
        let options = GpuOptions { adapter: Some(name.to_lowercase()), tuning: Some(tuning), ..GpuOptions::default() };
        let gpu = block_on(Gpu::open(options))?;
        let mut times = Vec::new();
        for size in &SIZES[..sizes] {
            times.push(measure(&gpu, *size)?);
            if times[times.len() - 1] > SHORT {
                break;
            }
        }
        // All candidates are compared at the sizes that the slowest could take.
        sizes = times.len();
        rows.push((candidate, tuning, gpu.tuned().expect("a GPU is tuned").adapter, times));
    }
    // The time at each size counts as a share of the best there.
    let best = |size: usize| rows.iter().map(|row| row.3[size]).fold(f64::INFINITY, f64::min);
    let best: Vec<f64> = (0..sizes).map(best).collect();
    let score = |times: &[f64]| best.iter().zip(times).map(|(best, time)| time / best).product::<f64>();
    let chosen = rows.iter().min_by(|a, b| score(&a.3).total_cmp(&score(&b.3))).expect("some candidates");
    let heads: String =
        SIZES[..sizes].iter().map(|[rows, _, hidden]| format!("{:>18}", format!("{rows} × {hidden}"))).collect();
    out!("     {:28}{heads}   ms for rows × hidden units", "products in");
    for row in &rows {
        let times: String = row.3[..sizes].iter().map(|time| format!("{:18.3}", 1e3 * time)).collect();
        let mark = if row.0 == chosen.0 { "  ← chosen" } else { "" };
        out!("     {:28}{times}{mark}", row.0);
    }
    let file = keep(&Tuned { adapter: chosen.2.clone(), tuning: chosen.1 })?;
    out!("     kept in {}", file.display());
    let table: Vec<Value> = rows.iter().map(|row| json!({ "candidate": row.0, "seconds": row.3[..sizes] })).collect();
    Ok(json!({ "chosen": chosen.0, "candidates": table, "file": file.display().to_string() }))
}

/// Seconds for the products of one layer over all time steps: its gates, and the gradients of its weights. The best of three.
fn measure(gpu: &Gpu, [rows, inputs, hidden]: [usize; 3]) -> Result<f64> {
    let gates = 4 * hidden;
    let parameters = gates * (inputs + hidden + 2);
    let filled = |len: usize| -> GpuBuffer {
        let mut buffer = gpu.buffer("what is tuned with", len);
        gpu.zero(&mut buffer, 0, len);
        buffer
    };
    let (x, h, weights) = (filled(rows * inputs), filled(rows * hidden), filled(parameters));
    let (mut d, mut d_params) = (filled(rows * gates), filled(parameters));
    let size = AffineSize { rows, outputs: gates, widths: [inputs, hidden], bias: true };
    let mut scratch = filled(gpu.weight_scratch_len(&[size], parameters));
    let input = |values, width, weight| Some(AffineInput { values, rows: Matrix::rows(0, width), width, weight });
    let b = Matrix::rows(0, inputs).transposed();
    let product = ProductShape { m: rows, n: gates, k: inputs, a: Matrix::rows(0, inputs), b, c: 0 };
    let mut best = f64::INFINITY;
    // The first run compiles.
    for run in 0..4 {
        let begun = Instant::now();
        gpu.product(&product, &x, &weights, Onto::Zero, &mut d);
        let biases = vec![parameters - 2 * gates, parameters - gates];
        let (x, h) = (input(&x, inputs, 0), input(&h, hidden, gates * inputs));
        let map = Affine { rows, outputs: gates, d: (&d, Matrix::rows(0, gates)), x, h, biases };
        gpu.weight_gradients(&[map], &mut d_params, &mut scratch);
        block_on(gpu.read(&d_params, 0..1))?;
        if run > 0 {
            best = best.min(begun.elapsed().as_secs_f64());
        }
    }
    Ok(best)
}
