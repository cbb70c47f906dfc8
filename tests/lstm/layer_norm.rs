//! Layer normalisation beside PyTorch, and what it keeps.

use crate::cases::{Results, differences, filled, fresh, hold_on, read};
use crate::{LstmCase, common};
use bptt::device::{Cpu, Need};
use bptt::kernels::{Kernels, LstmGradients, LstmShape, LstmState, LstmTape, Packing, Pass};

// What PyTorch 2 gives for the same LSTM written with its operations:
//
// ```python
// import torch
// torch.set_default_dtype(torch.float64)
// T, N, D, H = 3, 2, 2, 3
// wave = lambda n, first, scale: scale * torch.sin(torch.arange(first, first + n))
// def leaf(*dims, first, scale=1.0): return wave(torch.Size(dims).numel(), first, scale).reshape(dims).requires_grad_()
// p = [leaf(4*H, D, first=1), leaf(4*H, H, first=25), leaf(4*H, first=61), leaf(4*H, first=73),
//      leaf(4*H, first=85), leaf(H, first=97), leaf(H, first=100)]
// w_ih, w_hh, b_ih, b_hh, gain, g_c, s_c = p
// x, h, c = leaf(T, N, D, first=200), leaf(N, H, first=300), leaf(N, H, first=400)
// start = (h, c)
// norm = torch.nn.functional.layer_norm
// ys = []
// for t in range(T):
//     z = norm(x[t] @ w_ih.T + h @ w_hh.T, (4*H,), gain) + b_ih + b_hh
//     i, f, g, o = z.chunk(4, 1)
//     c = f.sigmoid() * c + i.sigmoid() * g.tanh()
//     h = o.sigmoid() * norm(c, (H,), g_c, s_c).tanh()
//     ys.append(h)
// y = torch.stack(ys)
// (y * wave(y.numel(), 500, 1.0).reshape(y.shape)).sum().backward()
// show = lambda name, v: print(name, [float(f"{e:.12g}") for e in v.flatten().tolist()])
// show("y", y); show("c", c)
// for name, v in zip("w_ih w_hh b_ih b_hh gain g_c s_c".split(), p): show(name, v.grad)
// show("x", x.grad); show("h0", start[0].grad); show("c0", start[1].grad)
// ```
/// Of either bias.
const D_BIAS: &[f64] = &[
    0.170425749,
    -0.803592513,
    -0.0246767757,
    0.583653002,
    0.290733537,
    -0.550785392,
    -0.064196697,
    0.287819195,
    -0.552664175,
    -0.00992538438,
    -0.0986053541,
    0.392673048,
];

const NORMED: &[(&str, &[f64])] = &[
    (
        "y",
        &[
            -0.488078409,
            0.67908756,
            -0.238461735,
            -0.464155813,
            0.505636693,
            -0.265821207,
            -0.440723788,
            0.706166467,
            -0.285978587,
            -0.602547524,
            0.110172184,
            0.127411285,
            -0.391312813,
            0.701399117,
            -0.151612566,
            -0.281598315,
            -0.107818815,
            0.532243569,
        ],
    ),
    ("final c", &[-0.781273123, -1.13500926, 0.0505796859, 0.0714396665, 0.184555662, -0.257512681]),
    (
        "d_weight_ih_l0",
        &[
            0.105692302,
            0.104950287,
            -0.448314716,
            -0.125949924,
            0.381644065,
            0.149687783,
            0.0927869506,
            0.0888000611,
            -0.158589844,
            -0.0241094143,
            -0.000397829507,
            -0.0549246066,
            -0.0112350845,
            -0.0286216297,
            0.221547807,
            0.082348279,
            -0.0952529115,
            0.0335910605,
            0.0488231798,
            0.113282084,
            -0.0608794039,
            -0.049298608,
            -0.075824515,
            -0.289755372,
        ],
    ),
    (
        "d_weight_hh_l0",
        &[
            0.109710314,
            -0.0233787496,
            0.00910556428,
            -0.263610772,
            0.287111707,
            -0.135239118,
            0.216872625,
            -0.058098302,
            0.0440747329,
            0.0826415339,
            -0.00400400002,
            0.00308617404,
            0.0298690478,
            0.106454207,
            -0.0706477868,
            -0.0175302337,
            -0.303133299,
            0.119563888,
            -0.0336800682,
            -0.049406301,
            0.0189150153,
            0.184243162,
            -0.0395242627,
            0.00825091471,
            0.0741093499,
            0.117715172,
            -0.0576751312,
            0.107827388,
            0.0363758056,
            -0.0223686914,
            0.00240606694,
            -0.147564581,
            0.0533141263,
            -0.492858413,
            0.077452604,
            0.029620311,
        ],
    ),
    ("d_bias_ih_l0", D_BIAS),
    ("d_bias_hh_l0", D_BIAS),
    (
        "d_layer_norm_l0",
        &[
            -0.248238659,
            0.167132258,
            1.07042833,
            -0.409565209,
            -0.27806199,
            -0.275378267,
            -0.0133185855,
            -0.309035611,
            1.01662801,
            -0.07116708,
            -0.144331739,
            -0.283237885,
        ],
    ),
    ("d_layer_norm_c_l0", &[-0.111616632, 1.9496427, -0.812678728]),
    ("d_layer_norm_c_bias_l0", &[-0.184966962, 0.859614063, -0.237490282]),
    (
        "d_x",
        &[
            -0.186465096,
            -0.0820440387,
            0.074960689,
            0.133761126,
            -0.208764888,
            -0.13376673,
            0.181377846,
            -0.600817013,
            -0.00665372995,
            0.00787830869,
            -0.19902533,
            -0.26815093,
        ],
    ),
    ("d_start h", &[0.124270933, -0.0422436886, -0.169919658, -0.164327753, 0.0516061566, 0.220093604]),
    ("d_start c", &[-1.35909325, 1.24936975, 0.194919426, 0.897904259, 1.20676222, -1.35560279]),
];

/// `len` values of a sine from `first` on.
fn wave(first: usize, len: usize) -> Vec<f64> {
    (first..first + len).map(|place| (place as f64).sin()).collect()
}

fn layer_norm_as_pytorch<D: Kernels>(device: &D, tolerance: f64) {
    let (steps, batch, inputs, hidden) = (3, 2, 2, 3);
    let shape = LstmShape { layer_norm: true, ..LstmCase::new([steps, batch, inputs, hidden, 1], true, 0).shape };
    let packing = Packing::even(steps, batch);
    let pass = Pass { shape: &shape, packing: &packing, draw: None, first_step: 0 };
    let parameters = shape.tensors().last().unwrap().range().end;
    let (params, x) = (filled(device, &wave(1, parameters)), filled(device, &wave(200, steps * batch * inputs)));
    let start =
        LstmState { h: filled(device, &wave(300, batch * hidden)), c: filled(device, &wave(400, batch * hidden)) };
    let mut tape = LstmTape::new(device, &shape);
    device.lstm_forward(&pass, &params, (&x, 0), Some(&start), &mut tape);
    let (y, c) = (read(device, &tape.layers[0].cells[0].h_in, 24), read(device, &tape.layers[0].cells[0].c, 24));
    let mut got = vec![("y".to_owned(), y[6..].to_vec()), ("final c".into(), c[18..].to_vec())];
    let d_y = filled(device, &wave(500, 18));
    let (mut d_params, mut d_x) = (filled(device, &vec![0.0; parameters]), fresh(device, 12));
    let mut d_start = LstmState { h: fresh(device, 6), c: fresh(device, 6) };
    let gradients = LstmGradients {
        d_y: &d_y,
        from: 0,
        d_final: None,
        d_params: &mut d_params,
        d_x: Some((&mut d_x, 0)),
        d_start: Some(&mut d_start),
    };
    device.lstm_backward(&pass, &params, (&x, 0), &mut tape, gradients);
    let gradient = read(device, &d_params, parameters);
    got.extend(shape.tensors().iter().map(|tensor| (format!("d_{}", tensor.name), gradient[tensor.range()].to_vec())));
    got.push(("d_x".into(), read(device, &d_x, 12)));
    got.push(("d_start h".into(), read(device, &d_start.h, 6)));
    got.push(("d_start c".into(), read(device, &d_start.c, 6)));
    let want: Results = NORMED.iter().map(|(name, values)| ((*name).to_owned(), values.to_vec())).collect();
    assert_eq!(
        got.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        want.iter().map(|(name, _)| name).collect::<Vec<_>>()
    );
    let problems = differences(device.kind(), &got, &want, (tolerance, 0.0));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn layer_norm_is_that_of_pytorch() {
    layer_norm_as_pytorch(&Cpu::<f64>::poisoned(), 1e-8);
    layer_norm_as_pytorch(&Cpu::<f32>::poisoned(), 1e-5);
    layer_norm_as_pytorch(&common::gpu(false), 1e-5);
}

/// Layer normalisation over tapes that a processor's caches may not hold: what it asks for ahead is there.
#[test]
fn layer_norm_over_long_tapes() {
    let plain = LstmCase::new([80, 32, 3, 64, 1], true, 79);
    let shape = LstmShape { layer_norm: true, ..plain.shape };
    let lengths = (0..32).map(|n| 80 - n % 3 * 7).collect();
    let uneven = LstmShape { bidirectional: true, ragged: true, ..shape };
    let uneven = LstmCase { shape: uneven, lengths, from: 0, ..plain.clone() };
    // As long as can be: the more threads, the fewer sequences each.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    pool.install(|| hold_on(&[uneven, LstmCase { shape, ..plain }], &[]));
}

/// Layer normalisation keeps of each row three moments, and where the gates are kept too the row itself.
#[test]
fn layer_norm_keeps_little() {
    let shape = LstmShape { steps: 7, batch: 5, hidden_size: 64, layer_norm: true, ..LstmShape::default() };
    let kept = |needs: Vec<Need>| needs.iter().find(|need| need.name.contains("layer normalisation")).expect("it").len;
    let moments = 3 * 7 * 5;
    assert_eq!(kept(shape.needs(&common::gpu(false))), moments + 5 * 10 * 64);
    assert_eq!(kept(shape.needs(&Cpu::<f32>::new())), 7 * 5 * 4 * 64 + moments + 2 * 10 * 64);
}
