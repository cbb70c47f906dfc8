//! Start values of the parameters.

use super::NetworkShape;
use crate::config::{Config, InitScheme};
use crate::device::threads::prelude::*;
use crate::kernels::Tensor;
use crate::rng::{Rng, Stream};

/// PyTorch's defaults: every parameter of the stack uniform in ±1/√H
/// ([`nn.LSTM`](https://pytorch.org/docs/stable/generated/torch.nn.LSTM.html)), weight and bias of the head likewise
/// ([`nn.Linear`](https://pytorch.org/docs/stable/generated/torch.nn.Linear.html), in ±1 / √ of its inputs, R · P).
/// The distribution is PyTorch's, the numbers are not: they come from this crate's own generator.
pub fn initial_parameters(shape: &NetworkShape, seed: u64) -> Vec<f32> {
    let mut parameters = default_parameters(shape, &mut Rng::new(seed, Stream::Init));
    start_norms(&shape.tensors(), &mut parameters);
    parameters
}

/// Layer normalisation starts as normalisation alone: gains 1, biases 0.
fn start_norms(tensors: &[Tensor], parameters: &mut [f32]) {
    for tensor in tensors.iter().filter(|tensor| tensor.name.starts_with("lstm.layer_norm")) {
        let bias = tensor.name.starts_with("lstm.layer_norm_c_bias_");
        parameters[tensor.range()].fill(if bias { 0.0 } else { 1.0 });
    }
}

fn default_parameters(shape: &NetworkShape, rng: &mut Rng) -> Vec<f32> {
    let (hidden, inputs) = (shape.lstm.hidden_size as f64, shape.lstm.output_size() as f64);
    let stack = shape.lstm.tensors().last().map_or(0, |tensor| tensor.range().end);
    let bound = |place: usize| 1.0 / if place < stack { hidden } else { inputs }.sqrt();
    (0..shape.parameters()).map(|place| uniform(rng, bound(place)) as f32).collect()
}

/// The start values that `config` asks for, from its seed.
///
/// ```text
/// default     initial_parameters
/// xavier      every weight uniform in ±√(6 / (rows + columns)), a gate's block by itself; biases 0
/// orthogonal  weight_hh, a gate's block by itself, and weight_hr: orthonormal rows or columns, whichever are fewer;
///             all others as xavier
/// ```
///
/// Then the biases of the stack, of each unit by itself, b being b_ih + b_hh:
///
/// ```text
/// forget_bias  b_f = forget_bias
/// chrono       b_f = ln u, u uniform in [1, T − 1]        b_i = −b_f        b_g = b_o = 0
/// ```
///
/// Xavier: Glorot & Bengio 2010. Orthogonal: Saxe, McClelland & Ganguli 2014. A large bias of the forget gate: Gers,
/// Schmidhuber & Cummins 2000 and Jozefowicz, Zaremba & Sutskever 2015. Chrono: Tallec & Ollivier 2018, for dependences
/// over up to T steps.
///
/// Layer normalisation starts with gains of 1 and biases of 0 whatever the scheme.
pub fn start_parameters(config: &Config, shape: &NetworkShape) -> Vec<f32> {
    let rng = &mut Rng::new(config.seed, Stream::Init);
    let tensors = shape.tensors();
    let mut parameters = match config.init_scheme {
        InitScheme::Default => default_parameters(shape, rng),
        scheme => weights(scheme, &tensors, shape.parameters(), rng),
    };
    start_norms(&tensors, &mut parameters);
    if config.forget_bias.is_some() || config.chrono.is_some() {
        for pair in biases(&tensors) {
            set_biases(config, pair, rng, &mut parameters);
        }
    }
    parameters
}

/// The weights by `scheme`, each tensor after the one before; all biases zero.
fn weights(scheme: InitScheme, tensors: &[Tensor], parameters: usize, rng: &mut Rng) -> Vec<f32> {
    let mut values = vec![0.0; parameters];
    for tensor in tensors {
        let [rows, columns] = tensor.dims[..] else { continue };
        let kind = tensor.name.trim_start_matches("lstm.");
        let recurrent = kind.starts_with("weight_hh_") || kind.starts_with("weight_hr_");
        let gates = if kind.starts_with("weight_ih_") || kind.starts_with("weight_hh_") { 4 } else { 1 };
        for block in values[tensor.range()].chunks_exact_mut(rows / gates * columns) {
            if recurrent && scheme == InitScheme::Orthogonal {
                orthogonal(rng, columns, block);
            } else {
                let bound = (6.0 / (rows / gates + columns) as f64).sqrt();
                block.iter_mut().for_each(|value| *value = uniform(rng, bound) as f32);
            }
        }
    }
    values
}

/// A number in ±`bound`.
fn uniform(rng: &mut Rng, bound: f64) -> f64 {
    (2.0 * rng.uniform() - 1.0) * bound
}

/// Fills `block` `[rows, columns]` with a random matrix whose rows or columns, whichever are fewer, are orthonormal: normal
/// vectors, made so by the modified Gram–Schmidt method. With double precision once is enough: how much a vector of n
/// normal numbers loses to n − 1 others is of the order of √n.
fn orthogonal(rng: &mut Rng, columns: usize, block: &mut [f32]) {
    let rows = block.len() / columns;
    let (count, len) = (rows.min(columns), rows.max(columns));
    let mut vectors: Vec<f64> = (0..count * len).map(|_| rng.normal()).collect();
    for index in 0..count {
        let (vector, later) = vectors[index * len..].split_at_mut(len);
        let norm = dot(vector, vector).sqrt();
        vector.iter_mut().for_each(|value| *value /= norm);
        let vector = &*vector;
        later.par_chunks_mut(len).with_min_len(MIN_ELEMENTS.div_ceil(len)).for_each(|other| {
            let share = dot(vector, other);
            other.iter_mut().zip(vector).for_each(|(other, value)| *other -= share * value);
        });
    }
    for (place, value) in block.iter_mut().enumerate() {
        let (row, column) = (place / columns, place % columns);
        *value = if rows < columns { vectors[row * len + column] } else { vectors[column * len + row] } as f32;
    }
}

/// Elements that are worth a thread.
const MIN_ELEMENTS: usize = 16_384;

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// b_ih and b_hh of every layer and direction.
fn biases(tensors: &[Tensor]) -> impl Iterator<Item = [&Tensor; 2]> {
    tensors.iter().filter(|tensor| tensor.name.starts_with("lstm.bias_ih_")).map(|ih| {
        let name = ih.name.replace("bias_ih_", "bias_hh_");
        let hh = tensors.iter().find(|tensor| tensor.name == name).expect("the biases come in pairs");
        [ih, hh]
    })
}

/// Sets the forget gate's, or with chrono all biases of one layer; b_ih carries them, what belongs to b_hh is zero.
fn set_biases(config: &Config, [ih, hh]: [&Tensor; 2], rng: &mut Rng, parameters: &mut [f32]) {
    let units = ih.len() / 4;
    let gate = |tensor: &Tensor, gate: usize| tensor.offset + gate * units..tensor.offset + (gate + 1) * units;
    const INPUT: usize = 0;
    const FORGET: usize = 1;
    if let Some(value) = config.forget_bias {
        parameters[gate(ih, FORGET)].fill(value as f32);
        parameters[gate(hh, FORGET)].fill(0.0);
    }
    if let Some(most) = config.chrono {
        parameters[ih.range()].fill(0.0);
        parameters[hh.range()].fill(0.0);
        for unit in 0..units {
            let forget = (1.0 + rng.uniform() * (most as f64 - 2.0)).ln() as f32;
            parameters[gate(ih, FORGET).start + unit] = forget;
            parameters[gate(ih, INPUT).start + unit] = -forget;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Head;
    use crate::kernels::LstmShape;

    fn shape(hidden_size: usize) -> NetworkShape {
        let lstm = LstmShape { input_size: 30, hidden_size, num_layers: 2, ..LstmShape::default() };
        NetworkShape { lstm, output_size: 7, parts: 1, head: Head::Last, classes: false, checkpoint_every: 0 }
    }

    /// Each tensor's name and values.
    fn started(config: &Config, shape: &NetworkShape) -> Vec<(String, Vec<f32>)> {
        let values = start_parameters(config, shape);
        assert_eq!(values.len(), shape.parameters());
        shape.tensors().into_iter().map(|tensor| (tensor.name.clone(), values[tensor.range()].to_vec())).collect()
    }

    /// Mean and variance of `values` are those of numbers uniform in ±`bound`, which is nowhere exceeded.
    #[track_caller]
    fn assert_uniform(name: &str, values: &[f32], bound: f64) {
        let count = values.len() as f64;
        let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
        let variance = values.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>() / count;
        let largest = values.iter().fold(0.0f64, |most, &value| most.max(f64::from(value).abs()));
        // Four standard errors; those of the variance are bound² · √(4/45 / count).
        assert!(mean.abs() < 4.0 * bound / (3.0 * count).sqrt(), "{name}: mean {mean}");
        let apart = (variance - bound * bound / 3.0).abs();
        assert!(apart < 4.0 * bound * bound * (4.0 / 45.0 / count).sqrt(), "{name}: variance {variance}");
        assert!(largest <= bound && largest > bound * (1.0 - 20.0 / count), "{name}: {largest} of {bound}");
    }

    /// The inner products of the fewer of rows and columns are those of the unit matrix.
    #[track_caller]
    fn assert_orthonormal(name: &str, block: &[f32], columns: usize) {
        let rows = block.len() / columns;
        let by_row = rows <= columns;
        let value = |vector: usize, place: usize| {
            f64::from(if by_row { block[vector * columns + place] } else { block[place * columns + vector] })
        };
        let (count, len) = (rows.min(columns), rows.max(columns));
        for (a, b) in (0..count).flat_map(|a| (0..=a).map(move |b| (a, b))) {
            let product: f64 = (0..len).map(|place| value(a, place) * value(b, place)).sum();
            let want = if a == b { 1.0 } else { 0.0 };
            assert!((product - want).abs() < 1e-6, "{name} [{rows}, {columns}]: {a} · {b} = {product}");
        }
    }

    #[test]
    fn the_default_is_uniform_and_the_same_as_ever() {
        let shape = shape(64);
        let config = Config::default();
        let values = start_parameters(&config, &shape);
        assert_eq!(values, initial_parameters(&shape, config.seed));
        assert_uniform("all", &values, 0.125);
        let mut rng = Rng::new(config.seed, Stream::Init);
        assert!(values[..10].iter().all(|&value| value == ((2.0 * rng.uniform() - 1.0) * 0.125) as f32));
    }

    #[test]
    fn xavier_is_uniform_within_its_bounds() {
        let config = Config { init_scheme: InitScheme::Xavier, ..Config::default() };
        for (name, values) in started(&config, &shape(64)) {
            let inputs = if name == "lstm.weight_ih_l0" { 30.0 } else { 64.0 };
            match name.as_str() {
                "fc.weight" => assert_uniform(&name, &values, (6.0f64 / (7.0 + 64.0)).sqrt()),
                _ if name.contains("bias") => assert!(values.iter().all(|&value| value == 0.0), "{name}"),
                _ => {
                    for gate in values.chunks(values.len() / 4) {
                        assert_uniform(&name, gate, (6.0f64 / (64.0 + inputs)).sqrt());
                    }
                }
            }
        }
    }

    #[test]
    fn orthogonal_blocks_are_orthogonal() {
        let config = Config { init_scheme: InitScheme::Orthogonal, ..Config::default() };
        for hidden in [1, 2, 33, 130] {
            for (name, values) in started(&config, &shape(hidden)) {
                if name.contains("weight_hh") {
                    for gate in values.chunks(hidden * hidden) {
                        assert_orthonormal(&name, gate, hidden);
                    }
                    let gates: Vec<_> = values.chunks(hidden * hidden).collect();
                    assert!(hidden == 1 || gates.windows(2).all(|pair| pair[0] != pair[1]), "two gates are equal");
                } else if name.contains("bias") {
                    assert!(values.iter().all(|&value| value == 0.0), "{name}");
                }
            }
        }
        let halved = std::panic::catch_unwind(|| assert_orthonormal("halved", &[0.5, 0.0, 0.0, 1.0], 2));
        assert!(halved.is_err(), "the check itself");
    }

    /// A projected stack: [4H, P] by gates, [P, H] as a whole.
    #[test]
    fn blocks_that_are_not_square_are_semi_orthogonal() {
        let tensor = |name: &str, dims: [usize; 2], offset| Tensor { name: name.into(), dims: dims.to_vec(), offset };
        let tensors =
            [tensor("lstm.weight_hh_l0_reverse", [48, 5], 0), tensor("lstm.weight_hr_l0_reverse", [5, 12], 240)];
        let values = weights(InitScheme::Orthogonal, &tensors, 300, &mut Rng::new(1, Stream::Init));
        for gate in values[..240].chunks(60) {
            assert_orthonormal("weight_hh", gate, 5);
        }
        assert_orthonormal("weight_hr", &values[240..], 12);
    }

    /// A random orthogonal matrix has no preferred direction: its elements have mean 0 and variance 1/n.
    #[test]
    fn orthogonal_blocks_have_no_direction() {
        let mut rng = Rng::new(3, Stream::Init);
        let (mut sum, mut diagonal) = (0.0, 0.0);
        for _ in 0..400 {
            let mut block = [0.0; 64];
            orthogonal(&mut rng, 8, &mut block);
            sum += block.iter().map(|&value| f64::from(value)).sum::<f64>();
            diagonal += (0..8).map(|index| f64::from(block[9 * index])).sum::<f64>();
        }
        // Sums of 400 · 64 and of 400 · 8 numbers of variance 1/8.
        assert!(sum.abs() < 4.0 * (400.0f64 * 8.0).sqrt() && diagonal.abs() < 4.0 * 20.0, "{sum} {diagonal}");
    }

    #[test]
    fn the_forget_bias_is_set_and_nothing_else() {
        let (plain, shape) = (Config::default(), shape(20));
        for init_scheme in [InitScheme::Default, InitScheme::Orthogonal] {
            let plain = Config { init_scheme, ..plain.clone() };
            let before = started(&plain, &shape);
            let after = started(&Config { forget_bias: Some(1.5), ..plain }, &shape);
            for ((name, before), (_, after)) in before.iter().zip(&after) {
                for (place, (before, after)) in before.iter().zip(after).enumerate() {
                    let want = match (name.contains("bias_"), place / 20) {
                        (true, 1) => 1.5 * f32::from(u8::from(name.contains("bias_ih"))),
                        _ => *before,
                    };
                    assert_eq!(*after, want, "{name}[{place}]");
                }
            }
        }
    }

    /// Whatever the scheme, and without a number of the generator going elsewhere.
    #[test]
    fn layer_normalisation_starts_at_one_and_zero() {
        let plain = shape(20);
        let normed = NetworkShape { lstm: LstmShape { layer_norm: true, bidirectional: true, ..plain.lstm }, ..plain };
        for init_scheme in [InitScheme::Default, InitScheme::Xavier, InitScheme::Orthogonal] {
            let config = Config { init_scheme, forget_bias: Some(1.0), ..Config::default() };
            let (before, after) = (started(&config, &plain), started(&config, &normed));
            assert_eq!(before[..4], after[..4], "the first layer's own tensors");
            let norms: Vec<_> = after.iter().filter(|(name, _)| name.contains("layer_norm")).collect();
            assert_eq!(norms.len(), 12);
            for (name, values) in norms {
                let start = if name.contains("_c_bias_") { 0.0 } else { 1.0 };
                assert!(values.iter().all(|&value| value == start), "{name}");
            }
        }
    }

    #[test]
    fn chrono_spreads_the_time_scales() {
        let config = Config { chrono: Some(100), ..Config::default() };
        for (name, values) in started(&config, &shape(500)) {
            let gates: Vec<_> = values.chunks(500).collect();
            if name.contains("bias_hh") {
                assert!(values.iter().all(|&value| value == 0.0), "{name}");
            } else if name.contains("bias_ih") {
                assert!(gates[0].iter().zip(gates[1]).all(|(i, f)| *i == -f), "{name}");
                assert!(gates[2..].concat().iter().all(|&value| value == 0.0), "{name}");
                let scales: Vec<f32> = gates[1].iter().map(|f| f.exp() - 50.0).collect();
                assert_uniform(&name, &scales, 49.0 + 1e-4);
            }
        }
        let none = Config { chrono: None, ..config.clone() };
        let weights = |config: &Config| started(config, &shape(5)).swap_remove(0);
        assert_eq!(weights(&config), weights(&none), "the weights are those without chrono");
    }
}
