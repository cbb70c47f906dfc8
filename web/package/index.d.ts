import type { Options } from "./options.js";
export { DEFAULTS, OPTIONS, type Option, type Options } from "./options.js";

/** An error says what, where, and what to do; `kind` tells which. */
export class BpttError extends Error {
  kind: "file" | "option" | "io" | "memory" | "device" | "lost" | "diverged" | "panic" | "state";
  problem: string;
  remedy: string;
  /** Of `file`. */
  file?: string;
  line?: number;
  column?: string;
  /** Of `option`. */
  option?: string;
  /** Of `memory`: what is needed, what there is, and options with which it fits. */
  bytes?: number;
  allowed?: number;
  smaller?: Partial<Options>;
  /** Of `diverged`. */
  step?: number;
  tensor?: string;
}

export type Data = File | { name: string; bytes: Uint8Array } | { name: string; text: string } | null;
export type State = "running" | "paused" | "finishing" | "finished" | "failed" | "cancelled";

export interface Sampling {
  temperature?: number;
  top_k?: number;
  top_p?: number;
  seed?: number;
}

/** How a run goes. */
export interface How {
  /** `auto`: a hardware GPU if there is one, else the CPU. */
  device?: "auto" | "gpu" | "cpu";
  /** A safetensors file to start from. */
  init?: Uint8Array;
  /** Begin paused. */
  paused?: boolean;
  /** Cancels the run. */
  signal?: AbortSignal;
  /** Milliseconds between two looks at what is asked; 40. */
  slice?: number;
  /** Keep the run in the browser's storage. */
  keep?: boolean;
  /** Seconds between two checkpoints; 5. */
  every?: number;
  /** Forecasts in epoch events. */
  heldOut?: { part?: "validation" | "test"; most?: number };
  /** Gradients events, every so many steps, or every epoch. */
  gradients?: { windows?: number; every?: number };
  /** Sample events. */
  samples?: { prompt?: string; length?: number; every?: number } & Sampling;
}

export interface Position {
  epoch: number;
  step: number;
  steps: number;
  best: [epoch: number, loss: number] | null;
  finished: boolean;
}

export interface Started {
  device: "gpu" | "cpu";
  adapter: string;
  parameters: number;
  bytes: number;
  steps_per_epoch: number;
  config: Options;
  task: "forecast" | "text" | "adding" | "copying";
  notes: string[];
  position: Position;
  epochs: Epoch[];
  naive_loss: { loss: number; name: string } | null;
}

export interface Epoch {
  epoch: number;
  step: number;
  train_loss: number;
  val_loss: number | null;
  grad_norm: number;
  lr: number;
  best: boolean;
}

export interface Quantile {
  level: number;
  values: Float64Array;
}

/** Numbers `[windows, horizon, targets]` in the data's units. */
export interface HeldOut {
  horizon: number;
  targets: string[];
  /** First row ahead of each window. */
  origins: Uint32Array;
  labels: string[];
  point: Float64Array;
  truth: Float64Array;
  repeat_last: Float64Array;
  seasonal: Float64Array | null;
  quantiles: Quantile[];
}

/** Numbers `[horizon, targets]` after the last row. */
export interface Ahead {
  time: string;
  labels: string[];
  targets: string[];
  horizon: number;
  point: Float64Array;
  quantiles: Quantile[];
  /** The bytes of `forecast.csv`. */
  csv: Uint8Array;
}

export interface Scores {
  rmse: number;
  mae: number;
  mase: number | null;
}

export interface Report {
  epochs: number;
  steps: number;
  best_epoch: number;
  train_loss: number | null;
  val_loss: number | null;
  test: Scores | null;
  baselines: { repeat_last: Scores; seasonal: Scores | null } | null;
  best_naive: { name: string; scores: Scores } | null;
  calibration: { pinball: number; coverage: number | null; nominal: number } | null;
  test_loss: number | null;
  naive_loss: { loss: number; name: string } | null;
  season: number | null;
  test_windows: number;
  test_forecasts?: HeldOut;
  ahead?: Ahead;
  /** The bytes of `model.safetensors`. */
  model: Uint8Array;
}

export interface Ends {
  shut: number;
  open: number;
}

export interface Inspection {
  windows: number;
  window: number;
  cells: {
    layer: number;
    reverse: boolean;
    /** Norm of ∂loss/∂h by distance from the window's end. */
    gradient: number[];
    last_step: number[];
    gates: { input: Ends; forget: Ends; output: Ends; candidate: number; forget_mean: number; memory: number | null };
  }[];
  verdict: { finding: string; because: string; advice: string[] };
}

export interface Trace {
  start: number;
  windows: number;
  window: number;
  features: string[];
  targets: string[];
  alphabet: string;
  inputs: Float32Array;
  answers: Float32Array;
  cells: {
    layer: number;
    reverse: boolean;
    hidden: number;
    /** `[T, 4H]` in the order i f g o. */
    gates: Float32Array;
    c: Float32Array;
    h: Float32Array;
    gradient: Float64Array;
  }[];
}

export type TrainingEvent =
  | { type: "state"; state: State }
  | {
      type: "notice";
      code: "no-webgpu" | "no-adapter" | "no-device" | "software" | "lost" | "storage";
      message: string;
    }
  | {
      type: "steps";
      epoch: number;
      step_in_epoch: number;
      steps_per_epoch: number;
      step: number;
      lr: number;
      /** Loss and gradient norm `[steps, 2]` of each step since the last such event. */
      losses: Float32Array;
    }
  | ({ type: "epoch"; held_out?: HeldOut | null } & Epoch)
  | ({ type: "gradients"; step: number } & Inspection)
  | { type: "sample"; epoch: number; step: number; text: string }
  | { type: "resumed"; started: Started }
  | { type: "checkpoint"; step: number; bytes: number }
  | { type: "report"; report: Report }
  | { type: "error"; error: BpttError };

export interface Change {
  lr?: number;
  max_norm?: number;
  clip_value?: number;
  epochs?: number;
}

interface Asked {
  pause(): Promise<void>;
  go(): Promise<void>;
  /** Takes some steps of a paused run. */
  step(count?: number): Promise<void>;
  change(change: Change): Promise<Options>;
  /** Ends the run with its best weights so far. */
  stop(): Promise<Report>;
  /** The bytes of `last.ckpt`, with which the command line goes on, too. */
  checkpoint(): Promise<Uint8Array>;
  /** The bytes of `model.safetensors`. */
  model(): Promise<Uint8Array>;
  heldOut(what?: { part?: "validation" | "test"; most?: number }): Promise<HeldOut | null>;
  inspect(what?: { windows?: number }): Promise<Inspection>;
  trace(what?: { index?: number }): Promise<Trace>;
  write(prompt: string, how?: Writing): Promise<string>;
}

export interface Writing extends Sampling {
  length?: number;
  onText?: (piece: string) => void;
  signal?: AbortSignal;
}

/** A training run: pull its events, or leave it alone. */
export interface Trainer extends Asked, AsyncIterable<TrainingEvent> {}
export class Trainer {
  static start(data: Data, options?: Options, how?: How & { here?: boolean }): Promise<Trainer>;
  readonly started: Started;
  readonly run: Run;
  /** Rejects if the run fails or is cancelled. */
  readonly report: Promise<Report>;
  /** Ends the run and its worker. */
  close(): void;
}

/** Times of the candidates in seconds. */
export interface Times {
  /** Hidden units of the sizes measured. */
  hidden: Uint32Array;
  /** A candidate that was far behind at one size has no times at the larger ones. */
  rows: { candidate: string; seconds: Float64Array }[];
  /** The row that was chosen. */
  chosen: number;
}

/** What was measured, and the choice. */
export interface Measured {
  tuned: { adapter: string; tuning: Record<string, unknown> };
  products: Times;
  recurrences: Times;
  /** Two layers; null where their time steps are not taken in tiles. */
  stacks: Times | null;
  /** Whether the browser keeps the choice for later runs; its storage may be full or forbidden. */
  kept: boolean;
}

/**
 * Measures how the GPU computes fastest, which takes up to a minute, and keeps it in the browser's storage. Trainers that start
 * after this compute so on that GPU; nothing is measured unless asked for. Rejects where there is no GPU.
 */
export function tune(how?: { here?: boolean }): Promise<Measured>;

/** Trainers that start after this compute on a device that is open already, in the thread that calls. */
export function initExisting(adapter: GPUAdapter, device: GPUDevice): void;

export interface Run extends Asked, AsyncIterable<TrainingEvent> {
  readonly started: Started;
  readonly state: State;
  readonly report: Promise<Report>;
  on(listener: (event: TrainingEvent) => void): () => void;
  cancel(): Promise<void>;
}

/** The worker itself, for pages that do more than one run: see the head of `engine.js`. */
export class Engine {
  static start(how?: { here?: boolean; gpu?: { adapter: GPUAdapter; device: GPUDevice } | null }): Promise<Engine>;
  readonly version: string;
  complete(options?: Options): Promise<Options>;
  toToml(options?: Options): Promise<string>;
  fromToml(text: string, name?: string): Promise<Options>;
  toLink(options?: Options): Promise<string>;
  fromLink(query: string): Promise<Options>;
  open(file: File | { name: string; bytes: Uint8Array } | null): Promise<{ name: string | null; size: number }>;
  describe(
    options?: Options,
    how?: { progress?: (share: number) => void; signal?: AbortSignal },
  ): Promise<Record<string, unknown>>;
  prepare(options?: Options): Promise<Record<string, unknown>>;
  preview(
    options: Options,
    column: string,
    most?: number,
  ): Promise<{ rows: Uint32Array; values: Float64Array; labels: string[] }>;
  need(
    options?: Options,
    how?: { device?: How["device"] },
  ): Promise<{
    bytes: number;
    largest: { name: string; bytes: number; lower: string };
    fits: boolean;
    problem: string | null;
    smaller: Partial<Options> | null;
  }>;
  /** As the function of that name; while no run is going on. */
  tune(): Promise<Measured>;
  train(options?: Options, how?: How): Promise<Run>;
  resume(checkpoint: Uint8Array, how?: How): Promise<Run>;
  checkpointInfo(bytes: Uint8Array): Promise<{ config: Options; position: Position; epochs: Epoch[] }>;
  kept(): Promise<null | {
    name: string | null;
    when: number;
    config: Options;
    position: Position;
    epochs: Epoch[];
  }>;
  resumeKept(how?: How): Promise<Run>;
  forget(): Promise<void>;
  load(bytes: Uint8Array, name?: string): Promise<Record<string, unknown>>;
  forecast(what?: { horizon?: number }): Promise<Ahead>;
  inspect(what?: { windows?: number }): Promise<Inspection>;
  trace(what?: { index?: number }): Promise<Trace>;
  write(prompt: string, how?: Writing): Promise<string>;
  close(): void;
}
