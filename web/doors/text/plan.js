// Options that suit a text of a given length, and those that a link asks for.

import { DEFAULTS } from "../../options.js";

// A text of a few pages is learnt by a small network in small batches within seconds; a book by the command line's defaults.
const SHORT = 60_000;
const FOR_SHORT = { hidden_size: 96, num_layers: 1, batch_size: 8, bptt: 48, lr: 0.01, epochs: 60, patience: 12 };

export const BASIC = ["hidden_size", "num_layers", "bptt", "batch_size", "lr", "max_norm", "epochs"];
export const GROUPS = ["Model", "Regularisation", "Training", "Data"];
// What a text has no use for.
export const WITHOUT = [
  ...["task", "sequences", "time", "features", "target", "missing", "window", "horizon", "season", "bidirectional", "head"],
  ...["loss", "huber_delta", "quantiles", "ignore_index", "log_every", "precision"],
];

export function suggested(characters) {
  return { ...DEFAULTS.text, ...(characters < SHORT ? FOR_SHORT : {}) };
}

// The word that the text begins with, for samples that begin alike.
export const firstWord = (begins) => begins.match(/^\p{L}{1,12}(?=\s)/u)?.[0].concat(" ") ?? "";
