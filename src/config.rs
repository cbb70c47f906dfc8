//! Every option of a run, once: the command line's flags, the config file's keys and their help are [`Config`].

mod checks;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

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

/// Everything that decides what a training run computes. Names are PyTorch's where PyTorch has one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[serde(default, deny_unknown_fields, rename_all = "snake_case")]
pub struct Config {
    /// CSV file with a header line; without it the built-in monthly sunspot numbers
    #[cfg_attr(feature = "cli", arg(value_name = "FILE.csv", help_heading = "Data"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// Time column [default: found by its form]
    #[cfg_attr(feature = "cli", arg(long, value_name = "COLUMN", help_heading = "Data"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Input columns [default: every numeric column]
    #[cfg_attr(feature = "cli", arg(long, value_name = "COLUMN,…", value_delimiter = ',', help_heading = "Data"))]
    pub features: Vec<String>,
    /// Columns to forecast [default: the last one]
    #[cfg_attr(feature = "cli", arg(long, value_name = "COLUMN,…", value_delimiter = ',', help_heading = "Data"))]
    pub target: Vec<String>,
    /// Missing values: error, interpolate, forward or drop
    #[cfg_attr(
        feature = "cli",
        arg(long, value_enum, default_value_t, hide_possible_values = true, value_name = "HOW", help_heading = "Data")
    )]
    pub missing: Missing,
    /// Rows that a forecast looks back on
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = Self::default().window, help_heading = "Data"))]
    pub window: usize,
    /// Rows ahead that are forecast at once
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = Self::default().horizon, help_heading = "Data"))]
    pub horizon: usize,
    /// Share of the rows, the first ones, to train on
    #[cfg_attr(feature = "cli", arg(long, value_name = "SHARE", default_value_t = Self::default().train_share, help_heading = "Data"))]
    pub train_share: f64,
    /// Share of the rows after those to validate on; the rest is the test
    #[cfg_attr(feature = "cli", arg(long, value_name = "SHARE", default_value_t = Self::default().validation_share, help_heading = "Data"))]
    pub validation_share: f64,
    /// Rows in a season, for the seasonal-naive forecast and MASE [default: from the time column]
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", help_heading = "Data"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub season: Option<usize>,

    /// Units of each layer
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = Self::default().hidden_size, help_heading = "Model"))]
    pub hidden_size: usize,
    /// Layers
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = Self::default().num_layers, help_heading = "Model"))]
    pub num_layers: usize,
    /// Whether the LSTM layers have bias vectors
    #[cfg_attr(feature = "cli", arg(long, value_name = "true|false", action = clap::ArgAction::Set, hide_possible_values = true, default_value_t = Self::default().bias, help_heading = "Model"))]
    pub bias: bool,
    /// Where the linear head reads the output
    #[cfg_attr(
        feature = "cli",
        arg(
            long,
            value_enum,
            default_value_t,
            hide_possible_values = true,
            value_name = "last|every",
            help_heading = "Model"
        )
    )]
    pub head: Head,
    /// Start values of the weights
    #[cfg_attr(
        feature = "cli",
        arg(
            long,
            value_enum,
            default_value_t,
            hide_possible_values = true,
            value_name = "default|xavier|orthogonal",
            help_heading = "Model"
        )
    )]
    pub init_scheme: InitScheme,
    /// Start value of the forget gate's bias
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "VALUE", allow_negative_numbers = true, help_heading = "Model")
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forget_bias: Option<f64>,
    /// Start values of the gates' biases for dependences over up to this many rows
    #[cfg_attr(feature = "cli", arg(long, value_name = "T_MAX", help_heading = "Model"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chrono: Option<usize>,

    /// Loss to minimise
    #[cfg_attr(
        feature = "cli",
        arg(
            long,
            value_enum,
            default_value_t,
            hide_possible_values = true,
            value_name = "mse|l1|huber|quantile|gaussian|student_t",
            help_heading = "Training"
        )
    )]
    pub loss: LossKind,
    /// Where the Huber loss turns from squared to absolute, in scaled units
    #[cfg_attr(feature = "cli", arg(long, value_name = "DELTA", default_value_t = Self::default().huber_delta, help_heading = "Training"))]
    pub huber_delta: f64,
    /// Quantiles that the losses quantile, gaussian and student_t forecast
    #[cfg_attr(
        feature = "cli",
        arg(
            long,
            value_name = "Q,…",
            value_delimiter = ',',
            default_values_t = Self::default().quantiles,
            help_heading = "Training"
        )
    )]
    pub quantiles: Vec<f64>,
    /// Share of cross entropy's target that is spread over all classes
    #[cfg_attr(feature = "cli", arg(long, value_name = "SHARE", default_value_t = Self::default().label_smoothing, help_heading = "Training"))]
    pub label_smoothing: f64,
    /// Class that cross entropy leaves out
    #[cfg_attr(feature = "cli", arg(long, value_name = "CLASS", allow_negative_numbers = true, default_value_t = Self::default().ignore_index, help_heading = "Training"))]
    pub ignore_index: i64,
    /// Optimizer
    #[cfg_attr(
        feature = "cli",
        arg(
            long,
            value_enum,
            default_value_t,
            hide_possible_values = true,
            value_name = "adam|adamw|sgd",
            help_heading = "Training"
        )
    )]
    pub optimizer: OptimizerKind,
    /// Learning rate
    #[cfg_attr(feature = "cli", arg(long, value_name = "RATE", default_value_t = Self::default().lr, help_heading = "Training"))]
    pub lr: f64,
    /// How the learning rate changes
    #[cfg_attr(
        feature = "cli",
        arg(
            long,
            value_enum,
            default_value_t,
            hide_possible_values = true,
            value_name = "constant|step|cosine|one-cycle|plateau",
            help_heading = "Training"
        )
    )]
    pub lr_schedule: LrSchedule,
    /// Steps on which the rate of constant, step or cosine rises to its full size
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = Self::default().warmup_steps, help_heading = "Training"))]
    pub warmup_steps: usize,
    /// Epochs after which step lowers the rate
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = Self::default().lr_step_epochs, help_heading = "Training"))]
    pub lr_step_epochs: usize,
    /// Factor by which step and plateau lower the rate
    #[cfg_attr(feature = "cli", arg(long, value_name = "FACTOR", default_value_t = Self::default().lr_gamma, help_heading = "Training"))]
    pub lr_gamma: f64,
    /// Least rate of cosine and plateau
    #[cfg_attr(feature = "cli", arg(long, value_name = "RATE", default_value_t = Self::default().lr_min, help_heading = "Training"))]
    pub lr_min: f64,
    /// Epochs without gain that plateau allows before it lowers the rate
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = Self::default().lr_patience, help_heading = "Training"))]
    pub lr_patience: usize,
    /// Adam's decay of its first moment
    #[cfg_attr(feature = "cli", arg(long, value_name = "BETA", default_value_t = Self::default().beta1, help_heading = "Training"))]
    pub beta1: f64,
    /// Adam's decay of its second moment
    #[cfg_attr(feature = "cli", arg(long, value_name = "BETA", default_value_t = Self::default().beta2, help_heading = "Training"))]
    pub beta2: f64,
    /// Adam's term against division by zero
    #[cfg_attr(feature = "cli", arg(long, value_name = "EPS", default_value_t = Self::default().eps, help_heading = "Training"))]
    pub eps: f64,
    /// Adam with the largest second moment so far
    #[cfg_attr(feature = "cli", arg(long, help_heading = "Training"))]
    pub amsgrad: bool,
    /// Momentum of sgd
    #[cfg_attr(feature = "cli", arg(long, value_name = "MU", default_value_t = Self::default().momentum, help_heading = "Training"))]
    pub momentum: f64,
    /// Weight decay, as the optimizer defines it
    #[cfg_attr(feature = "cli", arg(long, value_name = "LAMBDA", default_value_t = Self::default().weight_decay, help_heading = "Training"))]
    pub weight_decay: f64,
    /// Clip the gradients' common norm to this; 0 switches it off
    #[cfg_attr(feature = "cli", arg(long, value_name = "NORM", default_value_t = Self::default().max_norm, help_heading = "Training"))]
    pub max_norm: f64,
    /// Clip each gradient to ± this instead
    #[cfg_attr(feature = "cli", arg(long, value_name = "VALUE", help_heading = "Training"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_value: Option<f64>,
    /// Windows in a batch
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = Self::default().batch_size, help_heading = "Training"))]
    pub batch_size: usize,
    /// Batches whose gradients are added up before each step
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = Self::default().accumulate, help_heading = "Training"))]
    pub accumulate: usize,
    /// Most epochs to train
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = Self::default().epochs, help_heading = "Training"))]
    pub epochs: usize,
    /// Stop after this many epochs without a better validation loss; 0, or no validation rows, never stops
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = Self::default().patience, help_heading = "Training"))]
    pub patience: usize,
    /// Least fall of the validation loss that makes an epoch better
    #[cfg_attr(feature = "cli", arg(long, value_name = "LOSS", default_value_t = Self::default().min_delta, help_heading = "Training"))]
    pub min_delta: f64,
    /// Validate and keep the weights' moving average, decaying by this at each step; 0 switches it off
    #[cfg_attr(feature = "cli", arg(long, value_name = "DECAY", default_value_t = Self::default().ema, help_heading = "Training"))]
    pub ema: f64,
    /// Steps between two reports within an epoch
    #[cfg_attr(feature = "cli", arg(long, value_name = "STEPS", default_value_t = Self::default().log_every, help_heading = "Training"))]
    pub log_every: usize,
    /// Seed of the start weights and of the order of the windows (also as a global flag)
    #[cfg_attr(feature = "cli", arg(skip = Self::default().seed))]
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: None,
            time: None,
            features: Vec::new(),
            target: Vec::new(),
            missing: Missing::default(),
            window: 132,
            horizon: 12,
            train_share: 0.70,
            validation_share: 0.15,
            season: None,
            hidden_size: 64,
            num_layers: 2,
            bias: true,
            head: Head::default(),
            init_scheme: InitScheme::default(),
            forget_bias: None,
            chrono: None,
            loss: LossKind::default(),
            huber_delta: 1.0,
            quantiles: vec![0.1, 0.5, 0.9],
            label_smoothing: 0.0,
            ignore_index: -100,
            optimizer: OptimizerKind::default(),
            lr: 1e-3,
            lr_schedule: LrSchedule::default(),
            warmup_steps: 0,
            lr_step_epochs: 30,
            lr_gamma: 0.1,
            lr_min: 0.0,
            lr_patience: 5,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            amsgrad: false,
            momentum: 0.0,
            weight_decay: 0.0,
            max_norm: 1.0,
            clip_value: None,
            batch_size: 64,
            accumulate: 1,
            epochs: 200,
            patience: 10,
            min_delta: 0.0,
            ema: 0.0,
            log_every: 50,
            seed: 2,
        }
    }
}

impl Config {
    /// Fails on values that cannot be used.
    ///
    /// # Errors
    /// Names the option, says why, and what is allowed.
    pub fn validate(&self) -> Result<()> {
        let sizes = [
            ("window", self.window),
            ("horizon", self.horizon),
            ("hidden_size", self.hidden_size),
            ("num_layers", self.num_layers),
            ("batch_size", self.batch_size),
            ("accumulate", self.accumulate),
            ("log_every", self.log_every),
        ];
        // Above these no machine has the memory, and the sizes computed from them would overflow.
        for (option, value) in sizes {
            let most = match option {
                "num_layers" => 1_000,
                "log_every" => usize::MAX,
                _ => 1_000_000,
            };
            if !(1..=most).contains(&value) {
                return Err(Error::option(
                    option,
                    format!("is {value}"),
                    format!("use a whole number from 1 to {most}"),
                ));
            }
        }
        let mut positive = vec![("lr", self.lr), ("eps", self.eps), ("huber_delta", self.huber_delta)];
        positive.extend(self.clip_value.map(|value| ("clip_value", value)));
        for (option, value) in positive {
            // Far from where single precision ends, also after Adam's corrections.
            if !(value > 0.0 && value <= 1e30) {
                return Err(Error::option(option, format!("is {value}"), "use a number above 0, up to 1e30"));
            }
        }
        for (option, value) in [("weight_decay", self.weight_decay), ("max_norm", self.max_norm)] {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(Error::option(option, format!("is {value}"), "use 0 or a number above it"));
            }
        }
        for (option, value) in [("beta1", self.beta1), ("beta2", self.beta2), ("momentum", self.momentum)] {
            if !(0.0..1.0).contains(&value) {
                return Err(Error::option(
                    option,
                    format!("is {value}"),
                    "use a number from 0 up to, not including, 1",
                ));
            }
        }
        if self.season == Some(0) {
            return Err(Error::option("season", "is 0", "use the number of rows in a season, 12 for monthly rows"));
        }
        self.validate_init()?;
        self.validate_loss()?;
        self.validate_schedule()?;
        self.validate_selection()
    }

    /// Place in `quantiles` of the one that stands for the point forecast: the nearest to ½, the lower of two.
    pub fn median(&self) -> usize {
        let far = |place: &usize| (self.quantiles[*place] - 0.5).abs();
        (0..self.quantiles.len()).min_by(|a, b| far(a).total_cmp(&far(b))).unwrap_or(0)
    }

    /// The config file's text.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a config is a flat table")
    }
}
