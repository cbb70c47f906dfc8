//! Options that are one of several words.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An enum whose variants are read and written as words, with one reader for all of them: a page loads what each brings.
macro_rules! words {
    ($(#[$about:meta])* pub enum $name:ident { $($(#[$meta:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
        pub enum $name {
            $($(#[$meta])* #[cfg_attr(feature = "cli", value(name = $word))] $variant,)*
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str([$($word),*][*self as usize])
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Ok([$(Self::$variant),*][place(deserializer, &[$($word),*])?])
            }
        }
    };
}

/// Which of the words is read.
fn place<'de, D: Deserializer<'de>>(deserializer: D, words: &'static [&'static str]) -> Result<usize, D::Error> {
    let read = String::deserialize(deserializer)?;
    words.iter().position(|word| *word == read).ok_or_else(|| D::Error::unknown_variant(&read, words))
}

words! {
    /// Which engine a run computes on, as asked for.
    pub enum DeviceKind {
        /// A hardware GPU if there is one, else the CPU
        #[default]
        Auto = "auto",
        /// A WebGPU adapter, a software one if `--adapter` names it or there is no other
        Gpu = "gpu",
        /// The processor's cores
        Cpu = "cpu",
    }
}

words! {
    /// What products are made of.
    pub enum Precision {
        /// 32-bit numbers
        #[default]
        F32 = "f32",
        /// 16-bit numbers, summed up in 32 bits, on a GPU; everything else has 32 bits
        Mixed = "mixed",
    }
}

words! {
    /// What becomes of missing values: empty fields, `NaN`, `NA`, `null`, `-`.
    pub enum Missing {
        /// They are an error.
        #[default]
        Error = "error",
        /// On a line between the values before and after, by rows; the nearest value at the ends.
        Interpolate = "interpolate",
        /// The last value before.
        Forward = "forward",
        /// Their rows are left out.
        Drop = "drop",
    }
}

words! {
    /// Which loss.
    pub enum LossKind {
        /// Mean squared error
        #[default]
        Mse = "mse",
        /// Mean absolute error
        L1 = "l1",
        /// Squared near zero, absolute beyond `huber_delta`
        Huber = "huber",
        /// −ln of the probability of the right class
        CrossEntropy = "cross_entropy",
        /// Pinball loss of each of `quantiles`
        Quantile = "quantile",
        /// −ln of a normal distribution's density
        Gaussian = "gaussian",
        /// −ln of a Student t distribution's density, which forgives outliers
        StudentT = "student_t",
    }
}

impl LossKind {
    /// Whether a model trained with it forecasts quantiles beside its point.
    pub fn has_quantiles(self) -> bool {
        matches!(self, Self::Quantile | Self::Gaussian | Self::StudentT)
    }
}

words! {
    /// Which optimizer.
    pub enum OptimizerKind {
        /// Adam, weight decay added to the gradient
        #[default]
        Adam = "adam",
        /// Adam, weight decay taken from the weights
        Adamw = "adamw",
        /// Stochastic gradient descent, with `momentum` if that is set
        Sgd = "sgd",
    }
}

words! {
    /// Where the linear head reads the LSTM's output.
    pub enum Head {
        /// At the last time step: one forecast a window
        #[default]
        Last = "last",
        /// At every time step: each learns to forecast, the last one's forecast counts
        Every = "every",
    }
}

words! {
    /// How the weights start.
    pub enum InitScheme {
        /// As PyTorch does: all uniform in ±1/√H
        #[default]
        Default = "default",
        /// Uniform, scaled by inputs and outputs; biases 0
        Xavier = "xavier",
        /// Orthogonal recurrent weights, the others as xavier
        Orthogonal = "orthogonal",
    }
}

words! {
    /// How the learning rate changes from step to step.
    pub enum LrSchedule {
        /// Not at all, after a warm-up
        #[default]
        Constant = "constant",
        /// Times `lr_gamma` every `lr_step_epochs` epochs
        Step = "step",
        /// Down to `lr_min` over all epochs, on half a cosine
        Cosine = "cosine",
        /// Up from `lr`/25 to `lr` and down to nearly nothing, over all epochs
        OneCycle = "one-cycle",
        /// Times `lr_gamma` when the validation loss no longer falls
        Plateau = "plateau",
    }
}

words! {
    /// What a model learns.
    pub enum Task {
        /// To forecast the columns of a CSV file
        #[default]
        Forecast = "forecast",
        /// The next character of a text
        Text = "text",
        /// To add two marked numbers far apart
        Adding = "adding",
        /// To repeat ten symbols after a long pause
        Copying = "copying",
    }
}
