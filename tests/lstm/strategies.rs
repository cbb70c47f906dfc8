//! Each way that a GPU may go through the layers and time steps, forced one by one.

use crate::cases::{Case, bits, differences, hold_on};
use crate::common::{STEPS, persistent, stacked, tiled};
use crate::options::NOISE;
use crate::{LstmCase, common};
use bptt::device::{Cpu, Gpu, Half, Kernel, Recurrence, Tuning};
use bptt::kernels::{LstmShape, Noise, Steps, Strategy, Tiles};

/// Tiles by hidden size and batch, steps beyond the largest hidden size.
#[test]
fn a_tuning_says_which_strategy() {
    let of =
        |gpu: &Gpu, hidden_size, batch| Strategy::of(gpu, &LstmShape { hidden_size, batch, ..LstmShape::default() });
    let [software, hardware] = [Tuning::SOFTWARE, Tuning::HARDWARE].map(common::tuned);
    let [lanes, memory] = [hardware.lanes().min(32), hardware.memory().min(49_152)];
    let tiles = |threads, sequences, blocks, steps| {
        let chunks = if steps == 256 { 2 } else { 1 };
        let inputs = if steps == 64 { 0 } else { 4 };
        let [lanes, memory] = if steps == 256 { [lanes, memory] } else { [0; 2] };
        Strategy::Persistent(Tiles { threads, sequences, blocks, memory, steps, chunks, inputs, lanes })
    };
    for (hidden, threads) in [(1, 8), (64, 8), (65, 16), (129, 24), (192, 24)] {
        assert_eq!(of(&software, hidden, 64), tiles(threads, 16, 0, 64), "{hidden} units");
    }
    assert_eq!(of(&software, 64, 5), tiles(8, 5, 0, 64));
    for (batch, sequences) in [(1, 1), (255, 1), (256, 2), (1024, 8), (4096, 8)] {
        assert_eq!(of(&hardware, 192, batch), tiles(256, sequences, 10, 256), "{batch} sequences");
    }
    assert_eq!(of(&software, 193, 64), Strategy::Steps(Steps::Plain));
    // A hundred workgroups or more, where there are tiles small enough.
    let large = [
        (193, 64, [16, 2, 1]),
        (256, 64, [16, 2, 1]),
        (512, 64, [16, 4, 1]),
        (1024, 128, [32, 4, 2]),
        (256, 1, [16, 2, 1]),
    ];
    for (hidden, batch, [units, groups, quads]) in large {
        let Strategy::Steps(Steps::Tiles(tiles)) = of(&hardware, hidden, batch) else {
            panic!("{hidden} units, {batch} sequences")
        };
        assert_eq!(
            [tiles.units, tiles.groups, tiles.quads],
            [units, groups, quads],
            "{hidden} units, {batch} sequences"
        );
    }
    // Where the weights in fours are more than any adapter binds.
    assert_eq!(of(&hardware, 32_768, 64), Strategy::Steps(Steps::Plain));
    assert_eq!(of(&common::recurring(STEPS), 1, 1), Strategy::Steps(Steps::Plain));
    assert_eq!(of(&common::recurring(persistent(40, 3, 1, 2)), 999, 1), tiles(40, 3, 1, 2));
    // As many neighbours as there are in a subgroup, which the software adapters have.
    let near = |wanted| {
        let gpu = common::recurring(Recurrence { lanes: wanted, ..persistent(40, 3, 1, 2) });
        let Strategy::Persistent(Tiles { lanes, .. }) = of(&gpu, 64, 1) else { panic!("one dispatch for each step") };
        assert_eq!(lanes, wanted.min(gpu.lanes()));
        lanes
    };
    assert!(near(4) == 4 || !software.is_software());
    near(64);
}

/// Each way to run the recurrence on a GPU, in tiles of every kind, over shapes that no tile divides.
#[test]
fn every_strategy() {
    let mut cases = Vec::new();
    let zoneout = Noise { zoneout_h: 0.15, zoneout_c: 0.35, seed: 5, ..Noise::default() };
    let noise = Noise { recurrent_dropout: 0.4, weight_drop: 0.2, ..zoneout };
    for (index, sizes) in [[3, 5, 2, 7, 2], [4, 9, 4, 18, 1]].into_iter().enumerate() {
        let plain = LstmCase::new(sizes, true, index);
        cases.push(plain.clone());
        for draw in [Some(3), None] {
            cases.push(LstmCase { shape: LstmShape { noise: zoneout, ..plain.shape }, draw, ..plain.clone() });
        }
        let shape = LstmShape { bidirectional: true, ragged: true, noise, ..plain.shape };
        let lengths = (0..sizes[1]).map(|n| 1 + (n * 7 + 2) % sizes[0]).collect();
        cases.push(LstmCase { shape, lengths, from: 0, draw: Some(3), ..plain.clone() });
        let shape = LstmShape { bidirectional: true, ..plain.shape };
        cases.push(LstmCase { shape, capacity: sizes[1] + 3, ..plain });
    }
    for (sizes, layer_norm, proj_size) in
        [([3, 5, 2, 22, 2], true, 0), ([4, 9, 1, 18, 1], false, 7), ([3, 7, 2, 41, 1], true, 13)]
    {
        let plain = LstmCase::new(sizes, true, 1);
        let shape = LstmShape { layer_norm, proj_size, ..plain.shape };
        cases.push(LstmCase { shape, ..plain.clone() });
        let shape = LstmShape { bidirectional: true, ragged: true, noise, ..shape };
        let lengths = (0..sizes[1]).map(|n| 1 + (n * 7 + 2) % sizes[0]).collect();
        cases.push(LstmCase { shape, lengths, from: 0, draw: Some(3), ..plain });
    }
    // Without room for what a step writes beside what it reads, in several parts.
    cases.push(LstmCase::new([3, 9, 2, 68, 1], true, 1));
    // More terms than tiles of many sequences hold at a time.
    cases.push(LstmCase::new([3, 7, 2, 41, 1], true, 1));
    let tiles = [[256, 1, 10, 256], [8, 3, 2, 1], [40, 2, 1, 2], [16, 8, 0, 3]];
    let persistent = tiles.map(|[threads, sequences, blocks, steps]| persistent(threads, sequences, blocks, steps));
    let tiled = [[4, 1, 1], [8, 2, 2], [16, 2, 1], [32, 4, 2], [8, 16, 2]]
        .map(|[units, groups, quads]| tiled(units, groups, quads));
    let near = [
        (2, [60, 8, 0, 2]),
        (2, [60, 1, 1, 3]),
        (4, [256, 1, 10, 256]),
        (4, [256, 8, 0, 2]),
        (32, [256, 1, 10, 2]),
        (32, [256, 3, 2, 3]),
    ];
    let near = near.map(|(lanes, [threads, sequences, blocks, steps])| Recurrence {
        lanes,
        ..common::persistent(threads, sequences, blocks, steps)
    });
    // What registers have no room for in workgroup memory: as much as that has room for, and all.
    let held = [(4_000, persistent[1]), (usize::MAX, persistent[2]), (2_000, near[0]), (usize::MAX, near[5])]
        .map(|(memory, recurrence)| Recurrence { memory, ..recurrence });
    let ways = [STEPS].into_iter().chain(tiled).chain(persistent).chain(near).chain(held);
    let gpus: Vec<_> = ways.map(common::recurring).collect();
    hold_on(&cases, &gpus);
}

/// Parts that are neighbours in a subgroup share the gates of a unit, two each, one each, or one for two of them.
#[test]
fn lanes_share_a_unit() {
    let noise = Noise { zoneout_h: 0.15, zoneout_c: 0.35, recurrent_dropout: 0.4, seed: 5, ..Noise::default() };
    let mut cases = Vec::new();
    for sizes in [[5, 6, 2, 30, 2], [3, 3, 1, 66, 1]] {
        let plain = LstmCase::new(sizes, true, 0);
        let lengths = (0..sizes[1]).map(|n| 1 + (n * 7 + 2) % sizes[0]).collect();
        let shape = LstmShape { bidirectional: true, ragged: true, noise, ..plain.shape };
        cases.push(LstmCase { shape, lengths, draw: Some(3), ..plain.clone() });
        // With its inputs multiplied along.
        cases.push(LstmCase { states: false, ..plain.clone() });
        cases.push(plain);
    }
    let gpus = [2, 4, 8, 16, 32].map(|lanes| common::recurring(Recurrence { lanes, ..persistent(256, 1, 10, 2) }));
    hold_on(&cases, &gpus);
}

/// Both directions of a layer in one dispatch, and all layers of a stack: fewer and more layers than steps, whole batches and
/// parts, with what may be on beside that.
#[test]
fn layers_and_directions_go_together() {
    let noise = Noise { zoneout_h: 0.15, zoneout_c: 0.1, recurrent_dropout: 0.4, weight_drop: 0.2, seed: 5, ..NOISE };
    let mut cases = Vec::new();
    // Of few hidden sizes, so that a driver that compiles slowly has few kernels to compile.
    for (index, sizes) in [[6, 5, 2, 9, 2], [2, 9, 3, 24, 4], [1, 3, 1, 9, 3], [5, 17, 2, 24, 3], [37, 2, 1, 9, 3]]
        .into_iter()
        .enumerate()
    {
        let plain = LstmCase::new(sizes, index != 1, index.min(sizes[0] - 1));
        let drop = Noise { weight_drop: 0.2, seed: 7, ..Noise::default() };
        cases.push(LstmCase { shape: LstmShape { noise: drop, ..plain.shape }, draw: Some(2), ..plain.clone() });
        cases.push(LstmCase { states: false, inputs: false, ..plain.clone() });
        let kept = Noise { zoneout_h: 0.15, zoneout_c: 0.1, ..drop };
        let dropout = Noise { dropout: 0.3, locked: index == 1, ..kept };
        for noise in [kept, dropout].into_iter().flat_map(|noise| [noise, Noise { recurrent_dropout: 0.4, ..noise }]) {
            cases.push(LstmCase { shape: LstmShape { noise, ..plain.shape }, draw: Some(4), ..plain.clone() });
        }
        cases.push(LstmCase { capacity: sizes[1] + 3, ..plain.clone() });
        let shape = LstmShape { noise: Noise { recurrent_dropout: 0.4, seed: 3, ..Noise::default() }, ..plain.shape };
        for draw in [None, Some(1)] {
            cases.push(LstmCase { shape, draw, capacity: sizes[1] + 3, ..plain.clone() });
        }
        let both = LstmShape { bidirectional: true, ..plain.shape };
        cases.push(LstmCase { shape: both, ..plain.clone() });
        let lengths: Vec<_> = (0..sizes[1]).map(|n| 1 + (n * 7 + 2) % sizes[0]).collect();
        let shape = LstmShape { ragged: true, noise, ..both };
        let uneven = LstmCase { lengths, from: 0, draw: Some(3), ..plain.clone() };
        cases.push(LstmCase { shape, ..uneven.clone() });
        let recurrent = Noise { recurrent_dropout: 0.4, ..kept };
        for noise in [Noise::default(), recurrent, dropout, Noise { dropout: 0.3, ..recurrent }] {
            let shape = LstmShape { ragged: true, noise, ..plain.shape };
            cases.push(LstmCase { shape, capacity: sizes[1] + 3, ..uneven.clone() });
            cases.push(LstmCase { shape, states: false, inputs: false, ..uneven.clone() });
            cases.push(LstmCase { shape, draw: None, ..uneven.clone() });
        }
        // A batch of equal lengths where unequal ones may come.
        cases.push(LstmCase {
            shape: LstmShape { ragged: true, noise: dropout, ..plain.shape },
            draw: Some(2),
            ..plain.clone()
        });
        cases.push(plain);
    }
    let step_by_step = [stacked(4, 1, 1), stacked(8, 2, 2), stacked(16, 2, 1)];
    // Steps of all layers in chunks: as many as are asked for, and as few steps as one dispatch walks.
    let in_chunks = [persistent(256, 1, 10, 256), persistent(8, 3, 2, 2), persistent(16, 2, 4, 7)]
        .map(|recurrence| Recurrence { chunks: 3, ..recurrence });
    hold_on(&cases, &in_chunks.map(common::recurring));
    // As long as several chunks, they say nothing new of steps.
    cases.retain(|case| case.shape.steps < 16);
    hold_on(&cases, &step_by_step.map(common::recurring));
}

/// Likewise where rows are normalised or projected.
#[test]
fn layers_and_directions_of_rows_go_together() {
    let kept = Noise { zoneout_h: 0.15, zoneout_c: 0.1, weight_drop: 0.2, seed: 7, ..Noise::default() };
    let dropout = Noise { dropout: 0.3, ..kept };
    let mut cases = Vec::new();
    // Of one hidden size, likewise.
    for (index, sizes) in [[5, 9, 3, 18, 4], [37, 3, 1, 18, 2]].into_iter().enumerate() {
        // The gradient of the last step's output alone, or of almost all.
        let plain = LstmCase::new(sizes, index == 0, if index == 0 { 1 } else { sizes[0] - 1 });
        let lengths: Vec<_> = (0..sizes[1]).map(|n| 1 + (n * 7 + 2) % sizes[0]).collect();
        for (layer_norm, proj_size) in [(true, 0), (false, 7), (true, 9)] {
            let shape = LstmShape { layer_norm, proj_size, ..plain.shape };
            cases.push(LstmCase { shape, capacity: sizes[1] + 3, ..plain.clone() });
            let shape = LstmShape { noise: if index == 0 { kept } else { dropout }, ..shape };
            cases.push(LstmCase { shape, states: index == 1, draw: Some(2), ..plain.clone() });
            let shape = LstmShape { bidirectional: true, ragged: true, ..shape };
            cases.push(LstmCase { shape, lengths: lengths.clone(), from: 0, draw: Some(3), ..plain.clone() });
        }
    }
    let in_chunks = Recurrence { chunks: 3, ..persistent(16, 2, 4, 20) };
    hold_on(&cases, &[in_chunks, stacked(8, 2, 1)].map(common::recurring));
}

/// Likewise with as many layers as one dispatch takes, and with more.
#[test]
fn many_layers_go_together() {
    let plain = LstmCase::new([20, 4, 2, 3, 19], true, 1);
    let shape = LstmShape { ragged: true, ..plain.shape };
    let uneven = LstmCase { shape, lengths: vec![12, 1, 20, 19], from: 0, ..plain.clone() };
    let most = LstmCase { shape: LstmShape { num_layers: 17, ..shape }, ..uneven.clone() };
    let projected = LstmCase { shape: LstmShape { proj_size: 2, ..shape }, ..uneven.clone() };
    hold_on(&[plain, uneven, most, projected], &[common::recurring(stacked(4, 1, 1))]);
}

/// A step that would take long goes in several dispatches, down to one for each workgroup, whether it is one of a dispatch for each
/// or of one for all.
#[test]
fn parts_of_a_step_are_the_whole() {
    let plain = LstmCase::new([3, 37, 2, 20, 3], true, 1);
    let noise = Noise { dropout: 0.3, zoneout_h: 0.1, recurrent_dropout: 0.4, seed: 5, ..Noise::default() };
    let lengths = (0..37).map(|n| 1 + n % 3).collect();
    let uneven = LstmCase { lengths, from: 0, draw: Some(1), ..plain.clone() };
    let uneven = [(false, 0), (true, 0), (false, 18), (true, 18)].into_iter().flat_map(|(layer_norm, proj_size)| {
        let shape = LstmShape { ragged: true, noise, layer_norm, proj_size, ..plain.shape };
        let both = LstmShape { bidirectional: true, num_layers: 2, ..shape };
        [shape, both].map(|shape| LstmCase { shape, ..uneven.clone() })
    });
    let cases: Vec<_> = uneven.chain([plain.clone()]).collect();
    // Of one step each: the sums that layer normalisation makes on the way depend on how many a dispatch walks.
    let by_itself = persistent(16, 8, 4, 1);
    let in_chunks = Recurrence { chunks: 2, inputs: 0, ..by_itself };
    for recurrence in [STEPS, tiled(8, 1, 1), stacked(8, 1, 1), by_itself, in_chunks] {
        let [whole, parts] =
            [0, 1].map(|operations| common::tuned(Tuning { operations, recurrence, ..Tuning::SOFTWARE }));
        for case in &cases {
            assert_eq!(bits(&case.run(&whole)), bits(&case.run(&parts)), "{recurrence:?} {:?}", case.shape);
        }
    }
}

/// Weight drop takes the recurrent matrices out of the sums over all rows, which leaves them fewer tiles and so more parts; in
/// evaluation they are back.
#[test]
fn sums_in_parts() {
    let noise = Noise { weight_drop: 0.2, seed: 5, ..Noise::default() };
    let mut cases = Vec::new();
    for options in 0..8 {
        let (layer_norm, bias, draw) = (options & 1 > 0, options & 2 > 0, (options & 4 > 0).then_some(1));
        let plain = LstmCase::new([33, 16, 3, 20, 2], bias, 0);
        cases.push(LstmCase { shape: LstmShape { layer_norm, noise, ..plain.shape }, draw, ..plain });
    }
    let few = [Tuning::SOFTWARE, Tuning::HARDWARE].map(|tuning| common::tuned(Tuning { workgroups: 8, ..tuning }));
    hold_on(&cases, &few);
}

/// A dispatch for each step whose product is of 16-bit numbers, where the adapter has matrices of them; hidden sizes that they do
/// not fit take 32 bits. The gradients that go in are near 1, where no scale is needed.
#[test]
fn steps_of_16_bits() {
    let mut cases = Vec::new();
    let noise = Noise { zoneout_h: 0.15, zoneout_c: 0.1, recurrent_dropout: 0.4, seed: 5, ..Noise::default() };
    for (index, sizes) in [[3, 4, 2, 16, 2], [5, 9, 3, 48, 1], [2, 70, 5, 32, 2], [3, 3, 2, 176, 1], [4, 5, 3, 12, 1]]
        .into_iter()
        .enumerate()
    {
        let plain = LstmCase::new(sizes, true, 1);
        let weight_drop = if index == 1 { 0.2 } else { 0.0 };
        let shape =
            LstmShape { bidirectional: true, ragged: true, noise: Noise { weight_drop, ..noise }, ..plain.shape };
        let lengths = (0..sizes[1]).map(|n| 1 + (n * 7 + 2) % sizes[0]).collect();
        let other = match index % 2 {
            0 => LstmShape { layer_norm: true, ..plain.shape },
            _ => LstmShape { proj_size: 16, ..plain.shape },
        };
        let masked = LstmShape { noise: Noise { dropout: 0.4, recurrent_dropout: 0.0, ..noise }, ..other };
        cases.push(LstmCase { shape: masked, draw: Some(3), ..plain.clone() });
        cases.push(LstmCase { shape: other, ..plain.clone() });
        let uneven = LstmCase { lengths, from: 0, draw: Some(3), ..plain.clone() };
        if index == 0 {
            // A stack with a projection, dropout's multipliers of several layers in one buffer.
            let stack = LstmShape { proj_size: 16, hidden_size: 32, num_layers: 3, ..masked };
            let stack = LstmShape { layer_norm: false, ..stack };
            cases.push(LstmCase { shape: stack, draw: Some(3), ..plain.clone() });
            cases.push(LstmCase { shape: LstmShape { ragged: true, ..stack }, ..uneven.clone() });
        }
        cases.push(LstmCase { shape: LstmShape { bidirectional: false, ..shape }, ..uneven.clone() });
        cases.push(LstmCase { shape, ..uneven });
        for (dropout, recurrent_dropout) in [(0.0, 0.0), (0.4, 0.0), (0.0, 0.4), (0.4, 0.4)] {
            let noise = Noise { recurrent_dropout, weight_drop, dropout, locked: index == 0, ..noise };
            cases.push(LstmCase { shape: LstmShape { noise, ..plain.shape }, draw: Some(3), ..plain.clone() });
        }
        cases.push(plain);
    }
    let gpus: Vec<_> =
        [tiled, stacked].into_iter().flat_map(|of| common::halves_recurring(false, of(8, 2, 1))).collect();
    let exact = Cpu::<f64>::poisoned();
    for case in cases {
        let want = case.run(&exact);
        for gpu in &gpus {
            let problems =
                differences(&format!("{:?} {}", gpu.half(), case.name()), &case.run(gpu), &want, (4e-3, 0.0));
            assert!(problems.is_empty(), "{}", problems.join("\n"));
            let steps = matches!(Strategy::of(gpu, &case.shape), Strategy::Steps(Steps::Matrices(_)));
            let fits =
                matches!(gpu.half(), Some(Half::Matrices { side, .. }) if case.shape.hidden_size.is_multiple_of(side));
            assert_eq!(steps, fits, "{:?}", case.shape);
        }
    }
}

/// As many dispatches as a strategy should take, and so that one.
#[test]
fn a_strategy_takes_its_dispatches() {
    let [step_by_step, persistent] = [STEPS, persistent(8, 2, 1, 4)].map(common::recurring);
    let count = |gpu: &Gpu, steps, layer_norm, proj_size, noise| {
        let plain = LstmCase { states: false, inputs: false, ..LstmCase::new([steps, 3, 2, 5, 2], true, 0) };
        let shape = LstmShape { layer_norm, proj_size, noise, ..plain.shape };
        let before = gpu.counts().dispatches;
        LstmCase { shape, draw: Some(1), ..plain }.run(gpu);
        gpu.counts().dispatches - before
    };
    let with = |gpu: &Gpu, steps, layer_norm, proj_size| {
        let noise = Noise { zoneout_c: if layer_norm { 0.1 } else { 0.0 }, ..Noise::default() };
        count(gpu, steps, layer_norm, proj_size, noise)
    };
    let dispatches = |gpu, steps| with(gpu, steps, false, 0);
    let both = |gpu: &Gpu, steps, layer_norm, proj_size| {
        let plain = LstmCase { states: false, inputs: false, ..LstmCase::new([steps, 3, 2, 5, 1], true, 0) };
        let shape = LstmShape { bidirectional: true, layer_norm, proj_size, ..plain.shape };
        let before = gpu.counts().dispatches;
        LstmCase { shape, ..plain }.run(gpu);
        gpu.counts().dispatches - before
    };
    // Two passes over two layers, forward and back.
    let tiled = common::recurring(tiled(4, 1, 1));
    for steps in [&step_by_step, &tiled] {
        assert_eq!(dispatches(steps, 9) - dispatches(steps, 5), 2 * 2 * 2 * 4);
    }
    // Of both layers together, each a step after the other: T + L − 1 in the place of T · L.
    let stacked = common::recurring(stacked(4, 1, 1));
    assert_eq!(dispatches(&stacked, 9) - dispatches(&stacked, 5), 2 * 2 * 4);
    let between = Noise { dropout: 0.3, zoneout_h: 0.1, zoneout_c: 0.2, ..Noise::default() };
    for noise in [between, Noise { recurrent_dropout: 0.4, ..between }] {
        let [many, few] = [9, 5].map(|steps| count(&stacked, steps, false, 0, noise));
        assert_eq!(many - few, 2 * 2 * 4);
    }
    // Two a step where rows are normalised or projected, and forwards one more with both.
    for (layer_norm, proj_size, each) in [(true, 0, 2 + 2), (false, 3, 2 + 2), (true, 3, 3 + 2)] {
        for (gpu, cells) in [(&stacked, 1), (&tiled, 2)] {
            let [many, few] = [9, 5].map(|steps| count(gpu, steps, layer_norm, proj_size, between));
            assert_eq!(many - few, 2 * cells * each * 4, "{layer_norm} {proj_size}");
        }
    }
    // Likewise both directions.
    for (layer_norm, proj_size, each) in [(false, 0, 1 + 1), (true, 0, 2 + 2), (false, 3, 2 + 2), (true, 3, 3 + 2)] {
        let [many, few] = [9, 5].map(|steps| both(&tiled, steps, layer_norm, proj_size));
        assert_eq!(many - few, 2 * each * 4, "{layer_norm} {proj_size}");
    }
    // Sequences of unequal length likewise, seventeen layers at a time.
    let uneven = |gpu: &Gpu, steps, layers| {
        let plain = LstmCase { states: false, inputs: false, ..LstmCase::new([steps, 3, 2, 5, layers], true, 0) };
        let before = gpu.counts().dispatches;
        LstmCase { shape: LstmShape { ragged: true, ..plain.shape }, lengths: vec![2, steps, 1], ..plain }.run(gpu);
        gpu.counts().dispatches - before
    };
    for layers in [2, 4] {
        assert_eq!(uneven(&stacked, 9, layers) - uneven(&stacked, 5, layers), 2 * 2 * 4, "{layers} layers");
        assert_eq!(uneven(&tiled, 9, layers) - uneven(&tiled, 5, layers), 2 * 2 * layers as u64 * 4, "{layers} layers");
    }
    assert_eq!(uneven(&stacked, 24, 18) - uneven(&stacked, 20, 18), 2 * 2 * 2 * 4);
    // The weights of the upper layer's input are packed, too; the way back has no product between the layers.
    assert_eq!(dispatches(&tiled, 9) - dispatches(&stacked, 9), 2 * (2 * (2 * 9 - 10) - 1 + 1));
    assert_eq!(dispatches(&persistent, 8), dispatches(&persistent, 5));
    // Back in two chunks of at least 16 steps: one more for all layers together, and one more product between two layers.
    let in_chunks = common::recurring(Recurrence { chunks: 2, ..common::persistent(8, 2, 1, 256) });
    assert_eq!(dispatches(&in_chunks, 40) - dispatches(&in_chunks, 16), 2 * (1 + 1));
    // Likewise where rows are normalised or projected.
    for (layer_norm, proj_size) in [(true, 0), (false, 3), (true, 3)] {
        let [many, few] = [40, 16].map(|steps| with(&in_chunks, steps, layer_norm, proj_size));
        assert_eq!(many - few, 2 * (1 + 1), "{layer_norm} {proj_size}");
    }
    // And once more dropout between them.
    let noise = Noise { dropout: 0.3, zoneout_h: 0.1, ..Noise::default() };
    let [many, few] = [40, 16].map(|steps| count(&in_chunks, steps, false, 0, noise));
    assert_eq!(many - few, 2 * (1 + 1 + 1));
    assert_eq!(dispatches(&persistent, 9) - dispatches(&persistent, 8), 2 * 2 * 2);
    // A narrow input is multiplied where the steps are walked.
    let [apart, along] =
        [0, 4].map(|inputs| common::recurring(Recurrence { inputs, ..common::persistent(8, 2, 1, 256) }));
    assert_eq!(dispatches(&apart, 9) - dispatches(&along, 9), 2);
    for (layer_norm, proj_size) in [(true, 0), (false, 3), (true, 3)] {
        assert_eq!(with(&persistent, 8, layer_norm, proj_size), with(&persistent, 5, layer_norm, proj_size));
        let [many, few] = [9, 8].map(|steps| both(&persistent, steps, layer_norm, proj_size));
        assert_eq!(many - few, 2 * 2, "{layer_norm} {proj_size}");
    }
}

/// Weights in workgroup memory take part in the sums in the same order as those that are read again.
#[test]
fn where_weights_are_changes_no_bit() {
    let [read, held] =
        [0, usize::MAX].map(|memory| common::recurring(Recurrence { memory, ..persistent(40, 2, 1, 2) }));
    let plain = LstmCase::new([3, 5, 2, 22, 2], true, 1);
    for (layer_norm, proj_size) in [(false, 0), (true, 0), (true, 13)] {
        let case = LstmCase { shape: LstmShape { layer_norm, proj_size, ..plain.shape }, ..plain.clone() };
        let kernels = |gpu| Strategy::of(gpu, &case.shape).kernels(&case.shape).into_iter();
        let holds = |kernel: &Kernel| kernel.name.contains(" HOLDS=1");
        assert!(!kernels(&read).any(holds) && kernels(&held).all(holds), "{}", case.name());
        assert_eq!(bits(&case.run(&read)), bits(&case.run(&held)), "{}", case.name());
    }
}

/// The driver's bounds checks change no bit, and neither does running again.
#[test]
fn checks_change_no_bit() {
    let (trusted, checked) = (common::gpu(false), common::gpu(true));
    let steps = Tuning { recurrence: STEPS, ..Tuning::HARDWARE };
    let (by_steps, by_steps_checked) = (common::tuned(steps), common::tuned_and_checked(steps));
    for sizes in [[5, 17, 3, 16, 2], [3, 4, 1, 33, 1], [9, 33, 2, 16, 3]] {
        let case = LstmCase::new(sizes, true, 1);
        let once = case.run(&trusted);
        assert_eq!(bits(&once), bits(&case.run(&checked)), "{}", case.name());
        assert_eq!(bits(&once), bits(&case.run(&trusted)), "{} again", case.name());
        let case = LstmCase { shape: LstmShape { layer_norm: true, ..case.shape }, ..case };
        assert_eq!(bits(&case.run(&trusted)), bits(&case.run(&checked)), "{}", case.name());
        assert_eq!(bits(&case.run(&by_steps)), bits(&case.run(&by_steps_checked)), "{} by steps", case.name());
        let noise = Noise { zoneout_h: 0.3, ..Noise::default() };
        let case = LstmCase { shape: LstmShape { proj_size: 3, noise, ..case.shape }, draw: Some(1), ..case };
        assert_eq!(bits(&case.run(&trusted)), bits(&case.run(&checked)), "{}", case.name());
    }
}

/// Nor do cells that go together read or write what a driver would have to keep them from.
#[test]
fn checks_change_no_bit_of_cells_together() {
    let plain = LstmCase { capacity: 5, ..LstmCase::new([37, 3, 2, 9, 3], true, 36) };
    let both = LstmShape { bidirectional: true, ragged: true, num_layers: 2, ..plain.shape };
    let lengths = vec![30, 7, 37];
    let masks = Noise { dropout: 0.3, recurrent_dropout: 0.4, zoneout_h: 0.1, seed: 5, ..Noise::default() };
    let masked = LstmCase { shape: LstmShape { noise: masks, ..plain.shape }, draw: Some(1), ..plain.clone() };
    let uneven = LstmCase { lengths, from: 0, ..plain.clone() };
    let shape = LstmShape { ragged: true, ..masked.shape };
    let stack = LstmCase { shape, draw: Some(1), ..uneven.clone() };
    let of_rows = LstmShape { layer_norm: true, proj_size: 4, ..shape };
    let rows = LstmCase { shape: of_rows, ..stack.clone() };
    // With zoneout, so that it takes the kernels of the one before.
    let noise = Noise { zoneout_h: 0.1, seed: 5, ..Noise::default() };
    let of_rows = LstmShape { layer_norm: true, proj_size: 4, noise, ..both };
    let rows_both_ways = LstmCase { shape: of_rows, draw: Some(1), ..uneven.clone() };
    let projected = LstmCase { shape: LstmShape { proj_size: 5, ..masked.shape }, ..masked.clone() };
    let mut cases = vec![LstmCase { shape: both, ..uneven }, stack, rows, rows_both_ways, projected, masked];
    for (layer_norm, proj_size) in [(true, 0), (false, 5), (true, 4)] {
        let noise = Noise { dropout: 0.3, zoneout_h: 0.1, seed: 5, ..Noise::default() };
        let shape = LstmShape { layer_norm, proj_size, noise, num_layers: 2, ..plain.shape };
        cases.push(LstmCase { shape, draw: Some(1), ..plain.clone() });
    }
    cases.push(plain);
    let in_chunks = Recurrence { chunks: 2, ..persistent(16, 2, 4, 256) };
    for recurrence in
        [stacked(8, 2, 1), in_chunks, Recurrence { lanes: 4, memory: usize::MAX, ..persistent(64, 2, 1, 256) }]
    {
        let tuning = Tuning { recurrence, ..Tuning::HARDWARE };
        let [trusted, checked] = [common::tuned(tuning), common::tuned_and_checked(tuning)];
        for case in &cases {
            assert_eq!(bits(&case.run(&trusted)), bits(&case.run(&checked)), "{recurrence:?} {:?}", case.shape);
        }
    }
}

/// Those kernels, too, read and write nothing that a driver would have to keep them from.
#[test]
fn checks_change_no_bit_of_16() {
    let [trusted, checked] = [false, true].map(|checked| common::halves_recurring(checked, stacked(8, 2, 1)));
    let plain = LstmCase::new([3, 9, 5, 48, 2], true, 0);
    let shape = LstmShape { proj_size: 32, bidirectional: true, ..plain.shape };
    let normed = LstmShape { layer_norm: true, ..plain.shape };
    let uneven = LstmCase { lengths: vec![3, 1, 2, 2, 3, 1, 1, 3, 2], ..plain.clone() };
    let stack = LstmCase { shape: LstmShape { ragged: true, ..plain.shape }, ..uneven };
    let masks = Noise { dropout: 0.3, seed: 5, ..Noise::default() };
    let projected = LstmShape { proj_size: 32, noise: masks, ..stack.shape };
    let projected = LstmCase { shape: projected, draw: Some(1), ..stack.clone() };
    for case in
        [projected, LstmCase { shape, ..plain.clone() }, LstmCase { shape: normed, ..plain.clone() }, stack, plain]
    {
        for (trusted, checked) in trusted.iter().zip(&checked) {
            assert_eq!(bits(&case.run(trusted)), bits(&case.run(checked)), "{:?} {:?}", trusted.half(), case.shape);
        }
    }
}
