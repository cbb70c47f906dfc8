// The pictures' explanations, in plain words, and the engine's advice in this page's.

import { labelOf } from "../../parts/form.js";

export const FINDINGS = {
  vanishes: ["Vanishes", "Less than a thousandth of the gradient reaches the sequence's beginning: what stood there cannot be learnt."],
  fades: ["Fades", "Less than a hundredth of the gradient is left somewhere on the way: the beginning is learnt slowly, if at all."],
  reaches: ["Reaches", "The gradient reaches the sequence's beginning: the network can learn what stood there."],
  explodes: ["Explodes", "The gradient grows on its way back: a single step can throw the weights anywhere."],
  nothing: ["No gradient", "The loss does not depend on the hidden states."],
  none: ["Not measured yet", "Train, and the gradient is measured every few steps, from the real backward pass."],
};

// The engine names options as one types them for the command line, and speaks of rows and windows as files have them.
export const inWords = (text) =>
  text
    .replace(/--([a-z-]+)/g, (_, flag) => {
      const name = flag.replaceAll("-", "_");
      return `“${name === "window" ? "Sequence length T" : labelOf(name)}”`;
    })
    .replace(/\brow(s?)\b/g, "step$1")
    .replace(/\bwindow(s?)\b/g, "sequence$1");

export const TASKS = {
  adding:
    "The network sees random numbers, one a step. Two are marked, one in each half, and at the end it has to say their sum. To learn what to do with the first, the gradient of the loss must come all the way back to it.",
  copying:
    "The network sees ten symbols, then a pause, then a sign, and has to repeat the ten. To learn to hold on to them, the gradient must come back through the pause.",
};

export const ABOUT = {
  profile:
    "The loss is at the right, and its gradient travels to the left, step by step through the same weights. Each step multiplies it: by less than one, and it vanishes; by more, and it explodes. A straight fall on this logarithmic axis is just that, the same factor at every step.",
  waterfall:
    "Each row is one look at the network in training, newest at the bottom; bright is a large gradient. A network that begins to learn what happened long ago turns bright at the left, before its loss falls.",
  gates:
    "An LSTM carries its memory c through gates. f says how much of it stays: where f is near 1 the memory, and the gradient, go through unharmed. i lets new things in, o shows them. Units are sorted by how much they keep. Framed columns are the steps that matter: a trained network uses its gates just there.",
  norms:
    "This is the length of the gradient of all weights together. Where it leaps, a step would be too long; clipping shortens it and keeps its direction. It tames what explodes and does nothing for what vanishes.",
  loss: "As long as the loss lies on the dashed line, the network has learnt no more than the constant answer. It falls below only once the gradient reaches back to what the answer depends on.",
};
