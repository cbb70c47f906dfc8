//! Every option of a layer, alone and with the others, and its masks.

use crate::cases::{Case, Numbers, bits, differences, filled, hold, hold_on};
use crate::common::{STEPS, stacked};
use crate::{LstmCase, common};
use bptt::device::Cpu;
use bptt::kernels::{Lstm, LstmShape, LstmTape, Noise, Packing, Pass};

/// Masks of every kind at once, at rates that nothing divides.
pub const NOISE: Noise = Noise {
    dropout: 0.3,
    locked: false,
    recurrent_dropout: 0.4,
    weight_drop: 0.2,
    zoneout_h: 0.15,
    zoneout_c: 0.35,
    seed: 0x0123_4567_89ab_cdef,
};

/// Every option alone, and each with all others.
fn option_cases() -> Vec<LstmCase> {
    let off = Noise { seed: NOISE.seed, ..Noise::default() };
    let noises = [
        off,
        Noise { dropout: 0.3, ..off },
        Noise { dropout: 0.3, locked: true, ..off },
        Noise { recurrent_dropout: 0.4, ..off },
        Noise { weight_drop: 0.2, ..off },
        Noise { zoneout_h: 0.15, ..off },
        Noise { zoneout_c: 0.35, ..off },
        NOISE,
        Noise { locked: true, ..NOISE },
    ];
    let mut cases = Vec::new();
    for (index, noise) in noises.into_iter().enumerate() {
        for options in 0..16 {
            let (bidirectional, projected) = (options & 1 > 0, options & 2 > 0);
            let (ragged, layer_norm) = (options & 4 > 0, options & 8 > 0);
            // A short row that layer normalisation finds nearly constant has gradients beyond single precision. Of few hidden
            // sizes, for a driver that compiles slowly.
            let last = if layer_norm { [6, 6, 4, 18, 2] } else { [6, 17, 1, 5, 2] };
            let sizes = [[5, 19, 3, 9, 2], [4, 6, 2, 18, 3], last][(index + options) % 3];
            let plain = LstmCase::new(sizes, (index + options) % 4 != 3, 0);
            let proj_size = if projected { sizes[3] / 2 } else { 0 };
            let shape = LstmShape { bidirectional, proj_size, ragged, layer_norm, noise, ..plain.shape };
            // Unsorted, with the longest, a single step and equal ones among them.
            let lengths = (0..sizes[1]).map(|n| 1 + (n * 7 + 2) % sizes[0]).collect();
            let lengths = if ragged { lengths } else { Vec::new() };
            let from = if ragged { 0 } else { (index + options) % sizes[0] };
            let draw = Some(7 * index as u32);
            cases.push(LstmCase { shape, lengths, from, draw, ..plain });
        }
    }
    cases
}

#[test]
fn lstm_options() {
    let mut cases = option_cases();
    // In evaluation nothing is drawn.
    cases.extend(option_cases().into_iter().rev().take(16).map(|case| LstmCase { draw: None, ..case }));
    // Nobody asks for the gradients of what goes in.
    cases.extend(option_cases().into_iter().rev().take(16).map(|case| LstmCase { inputs: false, ..case }));
    // Equal lengths where they may differ, and less than the tape was made for.
    let last = cases[0].clone();
    let shape = LstmShape { ragged: true, ..last.shape };
    cases.push(LstmCase { shape, lengths: vec![5; 19], capacity: 23, ..last.clone() });
    // Layer normalisation over rows that its workgroups take in several turns.
    for (sizes, capacity) in [([3, 4, 2, 129, 1], 7), ([2, 17, 5, 64, 2], 17)] {
        let plain = LstmCase::new(sizes, true, 1);
        let shape = LstmShape { layer_norm: true, ..plain.shape };
        cases.push(LstmCase { shape, capacity, ..plain });
    }
    hold(&cases);
}

/// The same where a persistent kernel would be taken by itself.
#[test]
fn lstm_options_step_by_step() {
    hold_on(&option_cases(), &[STEPS, stacked(8, 2, 1)].map(common::recurring));
}

/// Without its masks a case gives other results, and another draw gives other masks; no rate leaves the plain results.
#[test]
fn masks_are_drawn() {
    let exact = Cpu::<f64>::poisoned();
    for case in option_cases() {
        let (once, other) = (case.run(&exact), LstmCase { draw: Some(1000), ..case.clone() }.run(&exact));
        let plain = LstmShape { noise: Noise::default(), ..case.shape };
        let without = LstmCase { shape: plain, ..case.clone() }.run(&exact);
        let random = case.shape.noise != Noise { seed: NOISE.seed, ..Noise::default() };
        assert_eq!(differences("draw", &other, &once, (1e-9, 0.0)).is_empty(), !random, "{}", case.name());
        assert_eq!(differences("noise", &without, &once, (1e-9, 0.0)).is_empty(), !random, "{}", case.name());
    }
}

/// Of h and of c as many elements keep their value as the rates say, within 4 standard deviations, independently of each
/// other, and in evaluation none does.
#[test]
fn zoneout_keeps_its_share() {
    let exact = Cpu::<f64>::poisoned();
    let noise = Noise { zoneout_h: 0.2, zoneout_c: 0.45, seed: 5, ..Noise::default() };
    let shape = LstmShape { steps: 40, batch: 14, input_size: 3, hidden_size: 20, noise, ..LstmShape::default() };
    let packing = Packing::even(shape.steps, shape.batch);
    let mut numbers = Numbers::new(1);
    let params = filled(&exact, &numbers.take(shape.tensors().last().unwrap().range().end));
    let x = filled(&exact, &numbers.take(shape.rows() * shape.input_size));
    let mut tape = LstmTape::new(&exact, &shape);
    let state = shape.batch * shape.hidden_size;
    for (draw, rates) in [(Some(3), [0.2, 0.45]), (None, [0.0, 0.0])] {
        let pass = Pass { shape: &shape, packing: &packing, draw, first_step: 0 };
        exact.lstm_forward(&pass, &params, (&x, 0), None, &mut tape);
        let cell = &tape.layers[0].cells[0];
        let kept = |values: &[f64]| -> Vec<bool> {
            (state..shape.steps * state + state).map(|place| values[place] == values[place - state]).collect()
        };
        let [h, c] = [kept(&cell.h_in), kept(&cell.c)];
        let within = |what: &str, count: usize, rate: f64| {
            let (all, count) = ((shape.steps * state) as f64, count as f64);
            let deviation = (all * rate * (1.0 - rate)).sqrt();
            assert!((count - all * rate).abs() <= 4.0 * deviation, "{what}: {count} of {all}, not {rate}");
        };
        within("h", h.iter().filter(|kept| **kept).count(), rates[0]);
        within("c", c.iter().filter(|kept| **kept).count(), rates[1]);
        within("both", h.iter().zip(&c).filter(|(h, c)| **h && **c).count(), rates[0] * rates[1]);
    }
}

/// Batches whose gradients the CPU sums in groups of sequences: a few tiles, more than there may be groups, long tiles with short ones,
/// of several chains, and of layers that are too large for it, alone and below another.
fn grouped_cases() -> Vec<LstmCase> {
    let mut cases: Vec<_> = option_cases().into_iter().rev().take(32).collect();
    for (index, case) in cases.iter_mut().enumerate() {
        // Half of them with dropped weights, and half of the others with the output in one buffer with h.
        let noise = &mut case.shape.noise;
        noise.weight_drop *= f64::from(u8::from(index >= 16));
        noise.recurrent_dropout *= f64::from(u8::from(index >= 8));
        let (input_size, hidden_size) = if case.shape.layer_norm { (4, 65) } else { (3, 5) };
        let shape = LstmShape { steps: 12, batch: 37, input_size, hidden_size, num_layers: 2, ..case.shape };
        let proj_size = if shape.proj_size > 0 { hidden_size / 2 } else { 0 };
        let lengths = if shape.ragged { (0..37).map(|n| 1 + (n * 7 + 2) % 12).collect() } else { Vec::new() };
        let from = if shape.ragged { 0 } else { 3 };
        *case = LstmCase {
            shape: LstmShape { proj_size, ..shape },
            lengths,
            from,
            capacity: [37, 70][index % 2],
            ..case.clone()
        };
    }
    for sizes in [[3, 530, 2, 3, 2], [2, 35, 190, 65, 1], [3, 40, 300, 50, 2], [40, 66, 1, 7, 2]] {
        cases.push(LstmCase::new(sizes, true, 1));
    }
    for batch in [61, 300] {
        let plain = LstmCase { from: 0, ..LstmCase::new([5, batch, 2, 6, 2], true, 1) };
        let lengths = (0..batch).map(|n| 1 + (n * 7 + 4) % 5).collect();
        cases.push(LstmCase { shape: LstmShape { ragged: true, ..plain.shape }, lengths, ..plain });
    }
    cases
}

#[test]
fn sums_in_groups() {
    hold(&grouped_cases());
}

/// However many threads share the work: more than there are groups, as many, and fewer.
#[test]
fn the_number_of_threads_changes_no_bit() {
    for case in grouped_cases() {
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| case.run(&Cpu::<f32>::poisoned()))
        };
        let one = on(1);
        for threads in [2, 3, 11] {
            assert_eq!(bits(&one), bits(&on(threads)), "{threads} threads, {}", case.name());
        }
    }
}
