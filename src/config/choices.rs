//! Options that are one of several words.

use serde::{Deserialize, Serialize};

/// Which engine a run computes on, as asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// A hardware GPU if there is one, else the CPU
    #[default]
    Auto,
    /// A WebGPU adapter, a software one if `--adapter` names it or there is no other
    Gpu,
    /// The processor's cores
    Cpu,
}

/// What products are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit numbers
    #[default]
    F32,
    /// 16-bit numbers, summed up in 32 bits, on a GPU; everything else has 32 bits
    Mixed,
}

/// What becomes of missing values: empty fields, `NaN`, `NA`, `null`, `-`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Missing {
    /// They are an error.
    #[default]
    Error,
    /// On a line between the values before and after, by rows; the nearest value at the ends.
    Interpolate,
    /// The last value before.
    Forward,
    /// Their rows are left out.
    Drop,
}

/// Which loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum), value(rename_all = "snake_case"))]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// Mean squared error
    #[default]
    Mse,
    /// Mean absolute error
    L1,
    /// Squared near zero, absolute beyond `huber_delta`
    Huber,
    /// −ln of the probability of the right class
    CrossEntropy,
    /// Pinball loss of each of `quantiles`
    Quantile,
    /// −ln of a normal distribution's density
    Gaussian,
    /// −ln of a Student t distribution's density, which forgives outliers
    StudentT,
}

impl LossKind {
    /// Whether a model trained with it forecasts quantiles beside its point.
    pub fn has_quantiles(self) -> bool {
        matches!(self, Self::Quantile | Self::Gaussian | Self::StudentT)
    }
}

/// Which optimizer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Adam, weight decay added to the gradient
    #[default]
    Adam,
    /// Adam, weight decay taken from the weights
    Adamw,
    /// Stochastic gradient descent, with `momentum` if that is set
    Sgd,
}

/// Where the linear head reads the LSTM's output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Head {
    /// At the last time step: one forecast a window
    #[default]
    Last,
    /// At every time step: each learns to forecast, the last one's forecast counts
    Every,
}

/// How the weights start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum InitScheme {
    /// As PyTorch does: all uniform in ±1/√H
    #[default]
    Default,
    /// Uniform, scaled by inputs and outputs; biases 0
    Xavier,
    /// Orthogonal recurrent weights, the others as xavier
    Orthogonal,
}

/// How the learning rate changes from step to step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum LrSchedule {
    /// Not at all, after a warm-up
    #[default]
    Constant,
    /// Times `lr_gamma` every `lr_step_epochs` epochs
    Step,
    /// Down to `lr_min` over all epochs, on half a cosine
    Cosine,
    /// Up from `lr`/25 to `lr` and down to nearly nothing, over all epochs
    OneCycle,
    /// Times `lr_gamma` when the validation loss no longer falls
    Plateau,
}

/// What a model learns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// To forecast the columns of a CSV file
    #[default]
    Forecast,
    /// The next character of a text
    Text,
    /// To add two marked numbers far apart
    Adding,
    /// To repeat ten symbols after a long pause
    Copying,
}
