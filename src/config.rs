//! Every option of a run, once: the command line's flags, the config file's keys and their help are [`Config`].

mod checks;
mod choices;
mod text;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
pub use choices::{DeviceKind, Head, InitScheme, LossKind, LrSchedule, Missing, OptimizerKind, Precision, Task};

/// How far `bptt_jitter` may go beyond `bptt`: three of its standard deviations.
pub const BPTT_JITTER: usize = 15;

/// Everything that decides what a training run computes. Names are PyTorch's where PyTorch has one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[serde(default, deny_unknown_fields, rename_all = "snake_case", remote = "Self")]
pub struct Config {
    /// CSV file with a header line, or a text file; without it the built-in monthly sunspot numbers
    #[cfg_attr(feature = "cli", arg(value_name = "FILE", help_heading = "Data"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// What to learn [default: forecast; text for a file that ends in .txt]
    #[cfg_attr(
        feature = "cli",
        arg(
            long,
            value_enum,
            hide_possible_values = true,
            value_name = "forecast|text|adding|copying",
            help_heading = "Data"
        )
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<Task>,
    /// Sequences that the tasks adding and copying make
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = Self::default().sequences, help_heading = "Data"))]
    pub sequences: usize,
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
    /// Whether each layer also reads its input from the last step to the first
    #[cfg_attr(feature = "cli", arg(long, help_heading = "Model"))]
    pub bidirectional: bool,
    /// Width that each layer's output is projected to; 0 for none
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = Self::default().proj_size, help_heading = "Model"))]
    pub proj_size: usize,
    /// Normalise the gates and c over a layer's units at every step
    #[cfg_attr(feature = "cli", arg(long, help_heading = "Model"))]
    pub layer_norm: bool,
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

    /// Elements of what one layer hands to the next that are dropped, in training
    #[cfg_attr(feature = "cli", arg(long, value_name = "RATE", default_value_t = Self::default().dropout, help_heading = "Regularisation"))]
    pub dropout: f64,
    /// Whether dropout keeps one mask for all time steps of a sequence
    #[cfg_attr(feature = "cli", arg(long, help_heading = "Regularisation"))]
    pub locked_dropout: bool,
    /// Elements of h that are dropped on their way into the gates, the same at every time step
    #[cfg_attr(feature = "cli", arg(long, value_name = "RATE", default_value_t = Self::default().recurrent_dropout, help_heading = "Regularisation"))]
    pub recurrent_dropout: f64,
    /// Elements of the recurrent weights that are dropped, in each batch
    #[cfg_attr(feature = "cli", arg(long, value_name = "RATE", default_value_t = Self::default().weight_drop, help_heading = "Regularisation"))]
    pub weight_drop: f64,
    /// Elements of h that keep their value from the step before
    #[cfg_attr(feature = "cli", arg(long, value_name = "RATE", default_value_t = Self::default().zoneout_h, help_heading = "Regularisation"))]
    pub zoneout_h: f64,
    /// Elements of c that keep their value from the step before
    #[cfg_attr(feature = "cli", arg(long, value_name = "RATE", default_value_t = Self::default().zoneout_c, help_heading = "Regularisation"))]
    pub zoneout_c: f64,

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
    /// Train on every row in order, this many time steps at once, the state carried on [default: shuffled windows]
    #[cfg_attr(feature = "cli", arg(long, value_name = "STEPS", help_heading = "Training"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bptt: Option<usize>,
    /// Let the number of time steps vary around --bptt, and the learning rate with it
    #[cfg_attr(feature = "cli", arg(long, help_heading = "Training"))]
    pub bptt_jitter: bool,
    /// Keep this many time steps for the backward pass and compute the others again; 0 keeps all
    #[cfg_attr(feature = "cli", arg(long, value_name = "STEPS", default_value_t = Self::default().checkpoint_every, help_heading = "Training"))]
    pub checkpoint_every: usize,
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
    /// What products are made of: 32-bit numbers, or on a GPU 16-bit numbers that are summed up in 32 bits
    #[cfg_attr(
        feature = "cli",
        arg(
            long,
            value_enum,
            default_value_t,
            hide_possible_values = true,
            value_name = "f32|mixed",
            help_heading = "Training"
        )
    )]
    pub precision: Precision,
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
            task: None,
            sequences: 10_000,
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
            bidirectional: false,
            proj_size: 0,
            layer_norm: false,
            head: Head::default(),
            init_scheme: InitScheme::default(),
            forget_bias: None,
            chrono: None,
            dropout: 0.0,
            locked_dropout: false,
            recurrent_dropout: 0.0,
            weight_drop: 0.0,
            zoneout_h: 0.0,
            zoneout_c: 0.0,
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
            bptt: None,
            bptt_jitter: false,
            checkpoint_every: 0,
            epochs: 200,
            patience: 10,
            min_delta: 0.0,
            ema: 0.0,
            precision: Precision::default(),
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
            ("sequences", self.sequences),
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
        self.validate_task()?;
        self.validate_model()?;
        self.validate_init()?;
        self.validate_loss()?;
        self.validate_schedule()?;
        self.validate_selection()
    }

    /// The defaults for `task`; a text and a series that are read in order (`streams`) are learnt at every step.
    pub fn defaults(task: Task, streams: bool) -> Self {
        let head = if streams { Head::Every } else { Head::Last };
        let base = Self { task: (task != Task::Forecast).then_some(task), head, ..Self::default() };
        match task {
            Task::Forecast => base,
            Task::Text => Self {
                window: 128,
                horizon: 1,
                hidden_size: 128,
                head: Head::Every,
                loss: LossKind::CrossEntropy,
                lr: 3e-3,
                batch_size: 32,
                bptt: Some(64),
                train_share: 0.9,
                validation_share: 0.05,
                epochs: 20,
                patience: 3,
                ..base
            },
            Task::Adding => Self {
                window: 100,
                horizon: 1,
                num_layers: 1,
                init_scheme: InitScheme::Orthogonal,
                forget_bias: Some(1.0),
                lr: 5e-3,
                batch_size: 32,
                epochs: 20,
                ..base
            },
            Task::Copying => Self {
                window: 40,
                horizon: 1,
                hidden_size: 128,
                num_layers: 1,
                head: Head::Every,
                loss: LossKind::CrossEntropy,
                init_scheme: InitScheme::Orthogonal,
                forget_bias: Some(1.0),
                lr: 3e-3,
                batch_size: 32,
                epochs: 20,
                ..base
            },
        }
    }

    /// The task: what `task` says, or what the data file's name says.
    pub fn task(&self) -> Task {
        self.task.unwrap_or_else(|| Self::task_of(self.data.as_deref()))
    }

    /// The task for a file when nobody says it.
    pub fn task_of(file: Option<&Path>) -> Task {
        let text = file.and_then(Path::extension).is_some_and(|ending| ending.eq_ignore_ascii_case("txt"));
        if text { Task::Text } else { Task::Forecast }
    }

    /// The most time steps that go through the network at once.
    pub fn steps(&self) -> usize {
        let part = self.bptt.map(|bptt| if self.bptt_jitter { bptt + BPTT_JITTER } else { bptt });
        match (part, self.task()) {
            // The windows of the forecasts at the end go through as a whole.
            (Some(part), Task::Forecast) => part.max(self.window),
            (Some(part), _) => part,
            (None, _) => self.window,
        }
    }

    /// Place in `quantiles` of the one that stands for the point forecast: the nearest to ½, the lower of two.
    pub fn median(&self) -> usize {
        let far = |place: &usize| (self.quantiles[*place] - 0.5).abs();
        (0..self.quantiles.len()).min_by(|a, b| far(a).total_cmp(&far(b))).unwrap_or(0)
    }
}
