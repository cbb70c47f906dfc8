//! Which kernels are fastest on an adapter, measured: the tiles of products, and how the recurrence is run.
//!
//! Candidates are measured one after the other at each size, from the smallest size on. What takes much longer than the
//! fastest drops out, so that a software adapter, which takes seconds to compile a kernel, is not kept busy for minutes. What
//! suits the adapter's kind stays unless something else gains more than measuring is off by.

use std::iter;

use serde::Serialize;

use crate::device::{Device, Gpu, GpuBuffer, Recurrence, Tuned, Tuning};
use crate::error::Result;
use crate::kernels::{
    Affine, AffineInput, AffineSize, Lstm, LstmGradients, LstmShape, LstmTape, Matrix, Onto, Packing, Pass, Product,
    ProductShape, WeightGradients,
};

/// Rows, inputs and hidden units of products: small models, and a larger one where that takes no time.
const PRODUCTS: [[usize; 3]; 3] = [[640, 64, 64], [2048, 128, 128], [16_384, 512, 512]];
/// Seconds of the fastest for the next size of products to be worth while.
const SHORT: f64 = 0.02;
/// Hidden units of recurrences.
const RECURRENCES: [usize; 4] = [64, 128, 192, 256];
/// Those of stacks, whose layers may go together where a time step takes a dispatch.
const STACKS: [usize; 3] = [256, 512, 1024];
/// Their sequences.
const BATCH: usize = 64;
/// Their time steps, on a software adapter and on hardware, where a dispatch costs more than a small step.
const STEPS: [usize; 2] = [4, 32];

/// A candidate that took so many times as long as the fastest drops out, on a software adapter and on hardware.
const SLOW: [f64; 2] = [1.5, 3.0];
/// Seconds that can be told apart from none, by clocks as coarse as browsers have.
const LEAST: f64 = 0.02;
/// Seconds after which nothing is measured again.
const LONG: f64 = 0.1;
/// The share of its time that something must gain over what suits the adapter's kind.
const GAIN: f64 = 0.02;

/// What was measured, and the choice.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// For later runs.
    pub tuned: Tuned,
    /// The products of one layer over all time steps: its gates, and the gradients of its weights.
    pub products: Table,
    /// One layer forward and back: a dispatch for each step, then all steps in one.
    pub recurrences: Table,
    /// Two layers with a dispatch for each step: layer by layer, then both in one. None where steps are not taken in tiles.
    pub stacks: Option<Table>,
}

/// Times of some candidates.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// Hidden units of the sizes that were measured.
    pub hidden: Vec<usize>,
    /// The candidates.
    pub rows: Vec<Row>,
    /// Which of them was chosen; a recurrence for as many hidden units as [`Recurrence::persistent_to`] says, layers together for
    /// as many as [`Recurrence::stack_to`] says.
    pub chosen: usize,
}

/// Times of one candidate.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub candidate: &'static str,
    /// Seconds at each size until it dropped out.
    pub seconds: Vec<f64>,
}

/// Measures `gpu`, which computes as was chosen from then on. `clock` tells seconds since some moment.
///
/// # Errors
/// Those of the device.
pub async fn measure(gpu: &mut Gpu, clock: fn() -> f64) -> Result<Measured> {
    let suited = Tuning::suited_to(gpu.is_software());
    let candidates = Tuning::CANDIDATES.map(|(name, kind)| (name, Tuning { operations: suited.operations, ..kind }));
    let rows = times(gpu, clock, &candidates, PRODUCTS.len(), SHORT, &products).await?;
    let kind = candidates.iter().position(|(_, tuning)| *tuning == suited).expect("a candidate");
    let (chosen, _) = choose(&rows, &whole(rows.len()), (kind, usize::MAX));
    let hidden = PRODUCTS.iter().map(|size| size[2]).take(rows[0].seconds.len()).collect();
    let (mut tuning, products) = (candidates[chosen].1, Table { hidden, rows, chosen });

    let candidates = with_recurrences(tuning, &suited.recurrence, gpu.lanes());
    let all = Recurrence { persistent_to: usize::MAX, ..suited.recurrence };
    let kind = candidates.iter().position(|(_, tuning)| tuning.recurrence == all).expect("a candidate");
    let suit = (kind, suited.recurrence.persistent_to);
    let (recurrences, persistent_to) = recurrences(gpu, clock, &candidates, (&RECURRENCES, 1), suit).await?;
    tuning.recurrence = Recurrence { persistent_to, ..candidates[recurrences.chosen].1.recurrence };

    let mut stacks = None;
    if tuning.recurrence.step.is_some() {
        let suit = (1, suited.recurrence.stack_to);
        let (table, stack_to) = self::recurrences(gpu, clock, &stacked(tuning), (&STACKS, 2), suit).await?;
        tuning.recurrence.stack_to = stack_to;
        stacks = Some(table);
    }

    let tuned = Tuned { tuning, ..gpu.tuned().expect("a GPU is tuned") };
    gpu.compute_as(&tuned);
    Ok(Measured { tuned, products, recurrences, stacks })
}

/// Times of so many layers at sizes of hidden units, and the largest of those to which the chosen row is taken; that and the row
/// are `suited` to the adapter's kind.
async fn recurrences(
    gpu: &mut Gpu,
    clock: fn() -> f64,
    candidates: &[(&'static str, Tuning)],
    (hidden, num_layers): (&[usize], usize),
    (row, to): (usize, usize),
) -> Result<(Table, usize)> {
    let work = |gpu: &Gpu, size: usize| layers(gpu, hidden[size], num_layers);
    let rows = times(gpu, clock, candidates, hidden.len(), f64::INFINITY, &work).await?;
    let suited = hidden.iter().filter(|&&hidden| hidden <= to).count();
    let (chosen, sizes) = choose(&rows, &parted(rows.len(), hidden.len()), (row, suited));
    let to = if sizes > 0 { hidden[sizes - 1] } else { 0 };
    Ok((Table { hidden: hidden.to_vec(), rows, chosen }, to))
}

/// The candidates for a stack: a dispatch for each step of a layer, then of all layers.
fn stacked(tuning: Tuning) -> [(&'static str, Tuning); 2] {
    let with = |(name, stack_to)| {
        let recurrence = Recurrence { persistent_to: 0, stack_to, ..tuning.recurrence };
        (name, Tuning { recurrence, ..tuning })
    };
    [("layer by layer", 0), ("all layers together", usize::MAX)].map(with)
}

/// The candidates for a recurrence, whose dispatches walk no more time steps than suits the adapter, and for a single step and for
/// stacks as suits it; those through memory instead of from lane to lane where a subgroup has several `lanes`.
fn with_recurrences(tuning: Tuning, suited: &Recurrence, lanes: usize) -> Vec<(&'static str, Tuning)> {
    let with = |&(name, kind): &(_, Recurrence)| {
        let Recurrence { step, chunks, inputs, stack_to, .. } = *suited;
        let (steps, lanes) = (kind.steps.min(suited.steps), if lanes > 1 { kind.lanes } else { suited.lanes });
        let recurrence = Recurrence { steps, step, chunks, inputs, lanes, stack_to, ..kind };
        (name, Tuning { recurrence, ..tuning })
    };
    let mut candidates: Vec<_> = Recurrence::CANDIDATES.iter().map(with).collect();
    candidates.dedup_by_key(|(_, tuning)| *tuning);
    candidates
}

/// What is run to be measured.
type Work = Box<dyn FnMut(&Gpu)>;

/// The times of `candidates` at some `sizes`, until the fastest takes more than `most` seconds. The first never drops out.
async fn times(
    gpu: &mut Gpu,
    clock: fn() -> f64,
    candidates: &[(&'static str, Tuning)],
    sizes: usize,
    most: f64,
    work: &dyn Fn(&Gpu, usize) -> Work,
) -> Result<Vec<Row>> {
    let row = |&(candidate, _): &(&'static str, Tuning)| Row { candidate, seconds: Vec::new() };
    let mut rows: Vec<Row> = candidates.iter().map(row).collect();
    let slow = SLOW[usize::from(!gpu.is_software())];
    let mut fastest = 0.0;
    for size in 0..sizes {
        let mut now = f64::INFINITY;
        for (index, row) in rows.iter_mut().enumerate() {
            let dropped = row.seconds.len() < size || row.seconds.last().is_some_and(|last| *last > slow * fastest);
            if index == 0 || !dropped {
                let tuned = gpu.tuned().expect("a GPU is tuned");
                gpu.compute_as(&Tuned { tuning: candidates[index].1, ..tuned });
                row.seconds.push(time(gpu, clock, work(gpu, size)).await?);
                now = now.min(row.seconds[size]);
            }
        }
        fastest = now;
        if fastest > most {
            break;
        }
    }
    Ok(rows)
}

/// Seconds that `work` takes: the best of three times of as many runs as can be told from none.
async fn time(gpu: &Gpu, clock: fn() -> f64, mut work: Work) -> Result<f64> {
    let end = zeros(gpu, 1);
    // The first run compiles.
    work(gpu);
    gpu.read(&end, 0..1).await?;
    let (mut best, mut runs, mut left) = (f64::INFINITY, 1, 3);
    while left > 0 {
        let begun = clock();
        for _ in 0..runs {
            work(gpu);
            gpu.submit()?;
        }
        gpu.read(&end, 0..1).await?;
        let seconds = clock() - begun;
        if seconds < LEAST && runs < 1024 {
            runs *= 2;
            continue;
        }
        best = best.min(seconds / f64::from(runs));
        left = if seconds > LONG { 0 } else { left - 1 };
    }
    Ok(best)
}

/// A row, and for how many sizes it is taken, from the smallest on; beyond them the first row is.
type Choice = (usize, usize);

/// The choice with the smallest times, each as a share of the best at its size; the `suited` one, unless another gains enough.
fn choose(rows: &[Row], choices: &[Choice], suited: Choice) -> Choice {
    let time = |&(row, sizes): &Choice, size: usize| {
        let row = if size < sizes { row } else { 0 };
        rows[row].seconds.get(size).copied().unwrap_or(f64::INFINITY)
    };
    let best = |size| choices.iter().map(|choice| time(choice, size)).fold(f64::INFINITY, f64::min);
    let best: Vec<f64> = (0..rows[0].seconds.len()).map(best).collect();
    let score = |choice: &Choice| best.iter().enumerate().map(|(size, best)| time(choice, size) / best).sum::<f64>();
    let fastest = choices.iter().min_by(|a, b| score(a).total_cmp(&score(b))).expect("some choices");
    if score(&suited) * (1.0 - GAIN) <= score(fastest) { suited } else { *fastest }
}

/// Every row for all sizes.
fn whole(rows: usize) -> Vec<Choice> {
    (0..rows).map(|row| (row, usize::MAX)).collect()
}

/// The first row, or another one for some of so many sizes.
fn parted(rows: usize, sizes: usize) -> Vec<Choice> {
    let others = (sizes..rows * sizes).map(|place| (place / sizes, 1 + place % sizes));
    iter::once((0, 0)).chain(others).collect()
}

fn zeros(gpu: &Gpu, len: usize) -> GpuBuffer {
    let mut buffer = gpu.buffer("what is tuned with", len);
    gpu.zero(&mut buffer, 0, len);
    buffer
}

/// The products of one layer over all time steps.
fn products(gpu: &Gpu, size: usize) -> Work {
    let [rows, inputs, hidden] = PRODUCTS[size];
    let gates = 4 * hidden;
    let parameters = gates * (inputs + hidden + 2);
    let (x, h, weights) = (zeros(gpu, rows * inputs), zeros(gpu, rows * hidden), zeros(gpu, parameters));
    let (mut d, mut d_params) = (zeros(gpu, rows * gates), zeros(gpu, parameters));
    let size = AffineSize { rows, outputs: gates, widths: [inputs, hidden], bias: true };
    let mut scratch = zeros(gpu, gpu.weight_scratch_len(&[size], parameters));
    let b = Matrix::rows(0, inputs).transposed();
    let product = ProductShape { m: rows, n: gates, k: inputs, a: Matrix::rows(0, inputs), b, c: 0 };
    Box::new(move |gpu| {
        gpu.product(&product, &x, &weights, Onto::Zero, &mut d);
        let input = |values, width, weight| Some(AffineInput { values, rows: Matrix::rows(0, width), width, weight });
        let (x, h) = (input(&x, inputs, 0), input(&h, hidden, gates * inputs));
        let biases = vec![parameters - 2 * gates, parameters - gates];
        let map = Affine { rows, outputs: gates, d: (&d, Matrix::rows(0, gates)), x, h, biases };
        gpu.weight_gradients(&[map], &mut d_params, &mut scratch);
    })
}

/// Layers, forward and back.
fn layers(gpu: &Gpu, hidden_size: usize, num_layers: usize) -> Work {
    let steps = STEPS[usize::from(!gpu.is_software())];
    let shape = LstmShape { steps, batch: BATCH, hidden_size, num_layers, ..LstmShape::default() };
    let packing = Packing::even(steps, BATCH);
    let len = shape.tensors().last().expect("some tensors").range().end;
    let (params, mut d_params) = (zeros(gpu, len), zeros(gpu, len));
    let (x, d_y) = (zeros(gpu, shape.rows() * shape.input_size), zeros(gpu, shape.rows() * shape.output_size()));
    let mut tape = LstmTape::new(gpu, &shape);
    Box::new(move |gpu| {
        let pass = Pass { shape: &shape, packing: &packing, draw: None, first_step: 0 };
        gpu.lstm_forward(&pass, &params, (&x, 0), None, &mut tape);
        let d_params = &mut d_params;
        let gradients = LstmGradients { d_y: &d_y, from: 0, d_final: None, d_params, d_x: None, d_start: None };
        gpu.lstm_backward(&pass, &params, (&x, 0), &mut tape, gradients);
    })
}

#[cfg(test)]
mod tests {
    use super::{Choice, Row, Table, choose, parted, recurrences, stacked, whole, with_recurrences};
    use crate::device::{Gpu, GpuOptions, Recurrence, Tuning};

    fn rows(seconds: &[&[f64]]) -> Vec<Row> {
        seconds.iter().map(|seconds| Row { candidate: "", seconds: seconds.to_vec() }).collect()
    }

    fn product(seconds: &[&[f64]], suited: usize) -> usize {
        choose(&rows(seconds), &whole(seconds.len()), (suited, usize::MAX)).0
    }

    fn recurrence(seconds: &[&[f64]], suited: Choice) -> Choice {
        choose(&rows(seconds), &parted(seconds.len(), seconds[0].len()), suited)
    }

    #[test]
    fn what_suits_a_kind_is_among_the_candidates() {
        for suited in [true, false].map(Tuning::suited_to) {
            assert!(Tuning::CANDIDATES.iter().any(|(_, tuning)| *tuning == suited));
            let all = Recurrence { persistent_to: usize::MAX, ..suited.recurrence };
            for lanes in [1, 32] {
                let candidates = with_recurrences(suited, &suited.recurrence, lanes);
                assert!(candidates.iter().any(|(_, tuning)| tuning.recurrence == all));
                assert!(candidates.iter().all(|(_, tuning)| tuning.recurrence.steps <= suited.recurrence.steps));
                assert_eq!(candidates.len(), Recurrence::CANDIDATES.len() - usize::from(lanes == 1));
            }
        }
    }

    #[test]
    fn the_fastest_product_is_chosen_by_shares() {
        // Half of the small time weighs as much as half of the large one.
        assert_eq!(product(&[&[1.0, 90.0], &[1.5, 80.0], &[0.5, 99.0]], 0), 2);
        assert_eq!(product(&[&[1.0, 90.0], &[1.5, 40.0], &[0.9, 99.0]], 0), 1);
    }

    #[test]
    fn what_dropped_out_is_not_chosen() {
        assert_eq!(product(&[&[3.0, 9.0], &[1.0], &[2.0, 5.0]], 1), 2);
    }

    #[test]
    fn what_suits_the_kind_stays_unless_another_gains() {
        assert_eq!(product(&[&[1.0], &[1.0], &[1.0]], 1), 1);
        assert_eq!(product(&[&[0.99], &[1.0]], 1), 1);
        assert_eq!(product(&[&[0.9], &[1.0]], 1), 0);
    }

    #[test]
    fn a_recurrence_is_taken_as_far_as_it_is_faster() {
        let steps: &[f64] = &[8.0, 8.0, 8.0, 8.0];
        let chosen = |tiles: &[f64]| recurrence(&[steps, tiles], (1, 3));
        assert_eq!(chosen(&[1.0, 2.0, 9.0, 20.0]), (1, 2));
        assert_eq!(chosen(&[1.0, 2.0, 4.0, 6.0]), (1, 4));
        assert_eq!(chosen(&[20.0, 20.0, 20.0, 20.0]), (0, 0));
        assert_eq!(chosen(&[20.0]), (0, 0));
        // Slower only in the middle: what the larger sizes gain decides.
        assert_eq!(chosen(&[1.0, 9.0, 1.0, 9.0]), (1, 3));
        assert_eq!(chosen(&[4.0, 80.0, 7.0, 8.0]), (1, 1));
        // As fast, or within what measuring is off by.
        assert_eq!(chosen(steps), (1, 3));
        assert_eq!(chosen(&[8.1, 8.1, 8.1, 7.9]), (1, 3));
    }

    /// On whichever adapter there is, in the tiles of hardware, at sizes that a software one can do.
    #[test]
    fn stacks_are_measured() {
        let clock = || std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a clock after 1970").as_secs_f64();
        let mut gpu =
            pollster::block_on(Gpu::open(GpuOptions::default())).expect("an adapter: install mesa-vulkan-drivers");
        let candidates = stacked(Tuning::HARDWARE);
        let measured = recurrences(&mut gpu, clock, &candidates, (&[16, 32], 2), (1, 16));
        let (Table { hidden, rows, chosen }, stack_to) = pollster::block_on(measured).expect("an adapter that works");
        assert_eq!((hidden, rows.len()), (vec![16, 32], 2));
        assert!(
            rows.iter().all(|row| row.seconds.len() == 2 && row.seconds.iter().all(|&time| time > 0.0)),
            "{rows:?}"
        );
        assert_eq!(chosen, usize::from(stack_to > 0));
        assert!([0, 16, 32].contains(&stack_to), "{stack_to}");
    }

    #[test]
    fn the_best_tiles_are_chosen_as_far_as_they_were_measured() {
        let times: [&[f64]; 4] = [&[8.0, 8.0, 8.0], &[1.0, 3.0], &[2.0, 2.0, 4.0], &[7.0]];
        assert_eq!(recurrence(&times, (1, 3)), (2, 3));
        assert_eq!(recurrence(&times, (3, 1)), (2, 3));
        assert_eq!(recurrence(&times[..2], (1, 3)), (1, 2));
    }
}
