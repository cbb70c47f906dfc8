//! Numbers at the ends of their range, and long ways.

use crate::cases::{Case, filled, hold_on, read};
use crate::common::{STEPS, compare};
use crate::{LstmCase, activated, common};
use bptt::device::{Cpu, Recurrence, Tuning};
use bptt::kernels::{Kernels, LstmGradients, LstmShape, LstmState, LstmTape, Noise, Packing, Pass};

/// One layer of one unit over one step with `x` as its input and weight 1 into every gate, the start state 0.5.
fn one_unit<D: Kernels>(device: &D, inputs: &[f64], layer_norm: bool) -> [Vec<f64>; 4] {
    let batch = inputs.len();
    let shape = LstmShape { steps: 2, batch, bias: false, layer_norm, ..LstmShape::default() };
    let packing = Packing::even(2, batch);
    let pass = Pass { shape: &shape, packing: &packing, draw: None, first_step: 0 };
    let weights = [&[1.0, -1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0], &[1.0; 6][..if layer_norm { 6 } else { 0 }]].concat();
    let params = filled(device, &weights);
    let x = filled(device, &[inputs, inputs].concat());
    let d_y = filled(device, &vec![1.0; 2 * batch]);
    let half = || filled(device, &vec![0.5; batch]);
    let mut tape = LstmTape::new(device, &shape);
    device.lstm_forward(&pass, &params, (&x, 0), Some(&LstmState { h: half(), c: half() }), &mut tape);
    let gates = read(device, &tape.layers[0].cells[0].gates, pass.packing.rows() * shape.gates());
    let gates = activated::<D>(&shape, (0, 0), &weights, gates);
    let h = read(device, &tape.layers[0].cells[0].h_in, 3 * batch);
    let mut d_params = filled(device, &vec![0.0; weights.len()]);
    let gradients =
        LstmGradients { d_y: &d_y, from: 0, d_final: None, d_params: &mut d_params, d_x: None, d_start: None };
    device.lstm_backward(&pass, &params, (&x, 0), &mut tape, gradients);
    let d_gates = read(device, &tape.layers[0].cells[0].gates, 8 * batch);
    [gates, h, d_gates, read(device, &d_params, weights.len())]
}

/// Activations are right over the whole range, saturate where they must, and the gradient there is 0 and not NaN.
#[test]
fn activations_saturate() {
    let mut inputs: Vec<f64> =
        [1e4, 3e38, 100.0, 88.8, 88.0, 87.0, 45.0, 44.0, 20.0, 9.0, 1.0, 0.625, 0.1, 1e-4, 1e-20, 1e-38]
            .into_iter()
            .flat_map(|x: f64| [f64::from(x as f32), f64::from(-x as f32)])
            .collect();
    inputs.push(0.0);
    let exact = one_unit(&Cpu::<f64>::poisoned(), &inputs, false);
    let close = |backend: &str, got: [Vec<f64>; 4]| {
        for (name, (got, want)) in ["gates", "h", "d_gates"].into_iter().zip(got.iter().zip(&exact)) {
            let got = compare(name, got, want, 1e-30, 1e-5).or_else(|_| compare(name, got, want, 3e-7, 0.0));
            got.unwrap_or_else(|problem| panic!("{backend}: {problem}"));
        }
        assert!(got.iter().flatten().all(|value| value.is_finite()), "{backend}: {got:?}");
    };
    close("Cpu<f32>", one_unit(&Cpu::<f32>::poisoned(), &inputs, false));
    close("Gpu", one_unit(&common::gpu(false), &inputs, false));
    assert_eq!(exact[0][..4], [1.0, 0.0, 1.0, 1.0], "the first input saturates all gates");
}

/// A NaN in an input comes out as NaN where it belongs, and nowhere else.
fn keeps_nan<D: Kernels>(device: &D) {
    let inputs = [0.5, f64::NAN, -0.5, 0.25];
    for layer_norm in [false, true] {
        let [gates, h, d_gates, d_params] = one_unit(device, &inputs, layer_norm);
        for (index, value) in gates.iter().enumerate() {
            assert_eq!(value.is_nan(), index / 4 % 4 == 1, "gate {index} is {value}");
        }
        for (index, value) in h.iter().enumerate() {
            assert_eq!(value.is_nan(), index >= 4 && index % 4 == 1, "h {index} is {value}");
        }
        for (index, value) in d_gates.iter().enumerate() {
            assert_eq!(value.is_nan(), index / 4 % 4 == 1, "d_gates {index} is {value}");
        }
        assert!(d_params.iter().all(|value| value.is_nan()), "every weight saw the NaN: {d_params:?}");
    }
}

#[test]
fn nan_stays_nan() {
    keeps_nan(&Cpu::<f64>::poisoned());
    keeps_nan(&Cpu::<f32>::poisoned());
    keeps_nan(&common::gpu(false));
    keeps_nan(&common::gpu(true));
}

/// So long a way that a driver which ends loops after so many turns would notice it, were it walked in one dispatch.
#[test]
fn long_ways() {
    let cases = |steps, hidden_size, from| {
        [(false, 8), (true, 2)].map(|(layer_norm, batch)| {
            // Of a loss far from the start too little would arrive there through layer normalisation; of one 200 steps away
            // nothing does at all, since what is below 2⁻⁹⁰ ends at zero.
            let case = LstmCase::new([steps, batch, 1, hidden_size, 1], true, if layer_norm { 0 } else { from });
            let noise = Noise { zoneout_h: if layer_norm { 0.1 } else { 0.0 }, ..Noise::default() };
            LstmCase { shape: LstmShape { layer_norm, noise, ..case.shape }, draw: Some(1), ..case }
        })
    };
    let gpu = common::gpu(false);
    let few = Recurrence { persistent_to: usize::MAX, ..Tuning::SOFTWARE.recurrence };
    // The most pairs of an invocation, each with random words.
    let many = LstmCase::new([64, 16, 1, 64, 1], true, 0);
    let noise = Noise { zoneout_h: 0.1, zoneout_c: 0.2, ..Noise::default() };
    let many = LstmCase { shape: LstmShape { noise, ..many.shape }, draw: Some(1), ..many };
    let normed = LstmCase { shape: LstmShape { layer_norm: true, ..many.shape }, ..many.clone() };
    hold_on(&[cases(260, 192, 60).to_vec(), vec![many, normed]].concat(), &[gpu]);
    // The largest hidden size that tuning may choose tiles for.
    hold_on(&cases(130, 256, 60), &[common::recurring(few)]);
}

/// A gradient that vanishes ends at zero: on the way there numbers below the smallest normal one would take some processors a
/// hundred times as long.
#[test]
fn vanishing_gradients_end_at_zero() {
    let gpus = [common::gpu(false), common::recurring(STEPS)];
    for (layer_norm, proj_size) in [(false, 0), (false, 5), (true, 0)] {
        let case = LstmCase::new([600, 3, 2, 9, 2], true, 599);
        let case = LstmCase { shape: LstmShape { layer_norm, proj_size, ..case.shape }, ..case };
        for results in [case.run(&Cpu::<f32>::poisoned())].into_iter().chain(gpus.iter().map(|gpu| case.run(gpu))) {
            for (name, values) in results.iter().filter(|(name, _)| name.starts_with("d_")) {
                let between = values.iter().filter(|x| **x != 0.0 && x.abs() < f64::from(f32::MIN_POSITIVE)).count();
                assert_eq!(between, 0, "{name} of {}", case.name());
                assert!(values.iter().all(|x| x.is_finite()), "{name} of {}", case.name());
                // Of the last steps there is a gradient, of the first there is none.
                if name.starts_with("d_gates") {
                    assert!(
                        values.contains(&0.0) && values.iter().any(|x| x.abs() > 1e-6),
                        "{name} of {}",
                        case.name()
                    );
                }
            }
        }
    }
}
