// Made from src/config.rs by tests/options.rs, which says how to make it again. Do not edit.

/** The options of a run: what is left out has the default of its task. */
export interface Options {
  /** CSV file with a header line, or a text file; without it the built-in monthly sunspot numbers */
  data?: string;
  /** What to learn [default: forecast; text for a file that ends in .txt] */
  task?: "forecast" | "text" | "adding" | "copying";
  /** Sequences that the tasks adding and copying make */
  sequences?: number;
  /** Time column [default: found by its form] */
  time?: string;
  /** Input columns [default: every numeric column] */
  features?: string[];
  /** Columns to forecast [default: the last one] */
  target?: string[];
  /** Missing values: error, interpolate, forward or drop */
  missing?: "error" | "interpolate" | "forward" | "drop";
  /** Rows that a forecast looks back on */
  window?: number;
  /** Rows ahead that are forecast at once */
  horizon?: number;
  /** Share of the rows, the first ones, to train on */
  train_share?: number;
  /** Share of the rows after those to validate on; the rest is the test */
  validation_share?: number;
  /** Rows in a season, for the seasonal-naive forecast and MASE [default: from the time column] */
  season?: number;
  /** Units of each layer */
  hidden_size?: number;
  /** Layers */
  num_layers?: number;
  /** Whether the LSTM layers have bias vectors */
  bias?: boolean;
  /** Whether each layer also reads its input from the last step to the first */
  bidirectional?: boolean;
  /** Width that each layer's output is projected to; 0 for none */
  proj_size?: number;
  /** Normalise the gates and c over a layer's units at every step */
  layer_norm?: boolean;
  /** Where the linear head reads the output */
  head?: "last" | "every";
  /** Start values of the weights */
  init_scheme?: "default" | "xavier" | "orthogonal";
  /** Start value of the forget gate's bias */
  forget_bias?: number;
  /** Start values of the gates' biases for dependences over up to this many rows */
  chrono?: number;
  /** Elements of what one layer hands to the next that are dropped, in training */
  dropout?: number;
  /** Whether dropout keeps one mask for all time steps of a sequence */
  locked_dropout?: boolean;
  /** Elements of h that are dropped on their way into the gates, the same at every time step */
  recurrent_dropout?: number;
  /** Elements of the recurrent weights that are dropped, in each batch */
  weight_drop?: number;
  /** Elements of h that keep their value from the step before */
  zoneout_h?: number;
  /** Elements of c that keep their value from the step before */
  zoneout_c?: number;
  /** Loss to minimise */
  loss?: "mse" | "l1" | "huber" | "cross_entropy" | "quantile" | "gaussian" | "student_t";
  /** Where the Huber loss turns from squared to absolute, in scaled units */
  huber_delta?: number;
  /** Quantiles that the losses quantile, gaussian and student_t forecast */
  quantiles?: number[];
  /** Share of cross entropy's target that is spread over all classes */
  label_smoothing?: number;
  /** Class that cross entropy leaves out */
  ignore_index?: number;
  /** Optimizer */
  optimizer?: "adam" | "adamw" | "sgd";
  /** Learning rate */
  lr?: number;
  /** How the learning rate changes */
  lr_schedule?: "constant" | "step" | "cosine" | "one-cycle" | "plateau";
  /** Steps on which the rate of constant, step or cosine rises to its full size */
  warmup_steps?: number;
  /** Epochs after which step lowers the rate */
  lr_step_epochs?: number;
  /** Factor by which step and plateau lower the rate */
  lr_gamma?: number;
  /** Least rate of cosine and plateau */
  lr_min?: number;
  /** Epochs without gain that plateau allows before it lowers the rate */
  lr_patience?: number;
  /** Adam's decay of its first moment */
  beta1?: number;
  /** Adam's decay of its second moment */
  beta2?: number;
  /** Adam's term against division by zero */
  eps?: number;
  /** Adam with the largest second moment so far */
  amsgrad?: boolean;
  /** Momentum of sgd */
  momentum?: number;
  /** Weight decay, as the optimizer defines it */
  weight_decay?: number;
  /** Clip the gradients' common norm to this; 0 switches it off */
  max_norm?: number;
  /** Clip each gradient to ± this instead */
  clip_value?: number;
  /** Windows in a batch */
  batch_size?: number;
  /** Batches whose gradients are added up before each step */
  accumulate?: number;
  /** Train on every row in order, this many time steps at once, the state carried on [default: shuffled windows] */
  bptt?: number;
  /** Let the number of time steps vary around --bptt, and the learning rate with it */
  bptt_jitter?: boolean;
  /** Keep this many time steps for the backward pass and compute the others again; 0 keeps all */
  checkpoint_every?: number;
  /** Most epochs to train */
  epochs?: number;
  /** Stop after this many epochs without a better validation loss; 0, or no validation rows, never stops */
  patience?: number;
  /** Least fall of the validation loss that makes an epoch better */
  min_delta?: number;
  /** Validate and keep the weights' moving average, decaying by this at each step; 0 switches it off */
  ema?: number;
  /** What products are made of: 32-bit numbers, or on a GPU 16-bit numbers that are summed up in 32 bits */
  precision?: "f32" | "mixed";
  /** Steps between two reports within an epoch */
  log_every?: number;
  /** Seed of the start weights and of the order of the windows */
  seed?: number;
}

/** What a form shows for an option. */
export interface Option {
  name: keyof Options;
  group: string;
  help: string;
  kind: "integer" | "number" | "numbers" | "flag" | "choice" | "text" | "texts" | "file";
  /** Whether it may be left out without a default in its place. */
  optional: boolean;
  default: number | number[] | boolean | string | string[] | null;
  /** What stands for its value, such as `N` or `RATE`. */
  value: string;
  choices: { name: string; help: string }[];
}

export const OPTIONS: Option[];
export const DEFAULTS: Record<"forecast" | "text" | "adding" | "copying", Options>;
