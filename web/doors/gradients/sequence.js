// What a chosen sequence of the adding or the copying task is made of, and what its marks do to the gates, in words.

import { counted, number } from "../../parts/format.js";

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);

// The sequence of a Trace: {steps, adding, numbers, marked: places, letters, answers: letters, answer}.
export function sequenceOf(trace) {
  const { window: steps, inputs, answers, alphabet } = trace;
  const places = Array.from({ length: steps }, (_, t) => t);
  // An answer stands one row after the step that it is the answer at.
  if (!alphabet) {
    const numbers = places.map((t) => inputs[2 * t]);
    const marked = places.filter((t) => inputs[2 * t + 1] > 0.5);
    return { steps, adding: true, numbers, marked, answer: answers[steps] };
  }
  const letters = [...alphabet];
  const letter = (id) => letters[Math.round(id)] ?? "?";
  const sign = places.find((t) => letter(inputs[t]) === ">");
  const symbols = places.filter((t) => ![".", ">"].includes(letter(inputs[t])));
  return {
    steps,
    adding: false,
    ids: places.map((t) => inputs[t]),
    wanted: places.map((t) => answers[t + 1]),
    letter,
    sign,
    marked: symbols,
  };
}

// Means of what one direction of a layer does at the marked steps and elsewhere.
export function means(cell, marked) {
  const { hidden, gates, c } = cell;
  const steps = c.length / hidden;
  const at = new Set(marked);
  const of = (value) => {
    const all = Array.from({ length: steps }, (_, t) => value(t));
    return { marked: mean(all.filter((_, t) => at.has(t))), other: mean(all.filter((_, t) => !at.has(t))) };
  };
  const units = Array.from({ length: hidden }, (_, unit) => unit);
  const gate = (kind) => (t) => mean(units.map((unit) => gates[(t * 4 + kind) * hidden + unit]));
  const changed = (t) => mean(units.map((unit) => Math.abs(c[t * hidden + unit] - (t === 0 ? 0 : c[(t - 1) * hidden + unit]))));
  return { input: of(gate(0)), forget: of(gate(1)), change: of(changed) };
}

export function tellSequence(sequence) {
  const { adding, steps, marked } = sequence;
  if (!adding) {
    const word = marked.map((t) => sequence.letter(sequence.ids[t])).join(" ");
    return `The ten symbols ${word} have to be repeated after ${steps - 20 > 0 ? counted(steps - 20, "step") : "no step"} of pause and sign.`;
  }
  const terms = marked.map((t) => `${number(sequence.numbers[t], 3)} (${counted(steps - 1 - t, "step")} back)`).join(" + ");
  return `Its answer: ${terms} = ${number(sequence.answer, 3)}. All other numbers are there to distract.`;
}

export function tellMeans(found, adding) {
  const { input, forget, change } = found;
  const [here, else_] = adding ? ["At the two marked steps", "elsewhere"] : ["At the ten symbols", "after them"];
  const times = change.marked / change.other;
  const memory =
    times > 1.5
      ? `the memory changes ${number(times, 2)} times as much as ${else_}: the network has learnt what counts`
      : times < 0.67
        ? `the memory changes less than ${else_}`
        : `the memory changes about as much as ${else_}: to the network they are steps like any other so far`;
  return `${here} the input gates are open ${number(input.marked, 2)} on average (${else_} ${number(input.other, 2)}), the forget gates keep ${number(forget.marked, 2)} (${number(forget.other, 2)}), and ${memory}.`;
}
