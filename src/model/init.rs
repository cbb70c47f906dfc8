//! Start values of the parameters.

use super::NetworkShape;
use crate::rng::{Rng, Stream};

/// PyTorch's defaults: every parameter of the stack uniform in ±1/√H
/// ([`nn.LSTM`](https://pytorch.org/docs/stable/generated/torch.nn.LSTM.html)), weight and bias of the head likewise
/// ([`nn.Linear`](https://pytorch.org/docs/stable/generated/torch.nn.Linear.html), whose inputs are the H units).
/// The distribution is PyTorch's, the numbers are not: they come from this crate's own generator.
pub fn initial_parameters(shape: &NetworkShape, seed: u64) -> Vec<f32> {
    let bound = 1.0 / (shape.lstm.hidden_size as f64).sqrt();
    let mut rng = Rng::new(seed, Stream::Init);
    (0..shape.parameters()).map(|_| ((2.0 * rng.uniform() - 1.0) * bound) as f32).collect()
}
