// The sliders: what a run is made of, what can be changed while it goes, and some settings that show one thing each.

import { DEFAULTS } from "../../options.js";
import { el, uid } from "../../parts/dom.js";
import { OptionsForm, select } from "../../parts/form.js";
import { number } from "../../parts/format.js";

// Small enough that hundreds of steps go by in seconds.
const SMALL = {
  adding: { window: 30, hidden_size: 32, lr: 0.01, sequences: 3200, epochs: 20, patience: 0 },
  copying: { window: 30, hidden_size: 48, lr: 0.01, sequences: 3200, epochs: 30, patience: 0 },
};
// The copying task's ten symbols, their repetition, a pause and a sign.
const LEAST_COPYING = 22;

export const PRESETS = {
  plain: { task: "adding", window: 30, forget_bias: 1, gain: 1, max_norm: 1, lr: 0.01, num_layers: 1, hidden_size: 32 },
  vanish: { task: "adding", window: 40, forget_bias: -2, gain: 1, max_norm: 1, lr: 0.01, num_layers: 1, hidden_size: 32 },
  remember: { task: "adding", window: 40, forget_bias: 3, gain: 1, max_norm: 1, lr: 0.01, num_layers: 1, hidden_size: 32 },
  explode: { task: "adding", window: 40, forget_bias: 1, gain: 8, max_norm: 0, lr: 0.01, num_layers: 1, hidden_size: 32 },
  clip: { task: "adding", window: 40, forget_bias: 1, gain: 8, max_norm: 0.1, lr: 0.01, num_layers: 1, hidden_size: 32 },
};

const steps = (from, to, by) => Array.from({ length: Math.round((to - from) / by) + 1 }, (_, at) => from + at * by);
const WINDOWS = [10, 12, 14, 16, 18, 20, ...steps(22, 40, 2), ...steps(45, 100, 5), ...steps(110, 200, 10)];

const SLIDERS = [
  {
    name: "window",
    label: "Sequence length T",
    values: WINDOWS,
    hint: "The loss stands at the end, so back-propagation goes through all T steps: T is how far the gradient has to come.",
  },
  {
    name: "forget_bias",
    label: "Forget-gate bias",
    values: steps(-4, 6, 0.5),
    hint: "Start value. High: the gates begin open and keep the memory, and the gradient with it. Low: each step forgets most.",
  },
  {
    name: "gain",
    label: "Recurrent weights at the start, times",
    values: [0.1, 0.25, 0.5, 1, 1.5, 2, 3, 4, 5, 6, 8, 10],
    hint: "The gradient goes through these weights at every step: large ones make it grow. In this page only, not in config.toml.",
  },
  {
    name: "max_norm",
    label: "Clip the gradient's norm to",
    values: [0, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100],
    words: (value) => (value === 0 ? "off" : number(value)),
    live: true,
    hint: "A longer gradient is shortened to this before the step: no step is too large, but no gradient reaches farther.",
  },
  {
    name: "lr",
    label: "Learning rate",
    values: [0.0001, 0.0003, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.3, 1],
    live: true,
    hint: "The size of a step; it takes effect at once.",
  },
  { name: "num_layers", label: "Layers", values: [1, 2, 3], hint: "Each layer reads the one below; it has its own heat map." },
  { name: "hidden_size", label: "Hidden size", values: [8, 16, 24, 32, 48, 64, 96, 128], hint: "Units of each layer." },
];
const OWN = SLIDERS.map(({ name }) => name);

// A range over a list of values, with the value in words.
export class Slider {
  // `words(value, slider)` is the value as it is shown.
  constructor({ name, label, values, hint, words = (value) => number(value), onInput }) {
    Object.assign(this, { name, values, words });
    const id = uid(name);
    this.shown = el("output", { for: id });
    const help = el("p", { class: "hint", id: `${id}-help` }, hint);
    const input = () => {
      this.#tell();
      onInput(this);
    };
    this.input = el("input", { type: "range", id, name, min: 0, step: 1, "aria-describedby": help.id, on: { input } });
    const label_ = el("label", { for: id }, label);
    this.element = el("div", { class: "field slider" }, el("div", { class: "slider-head" }, label_, this.shown), this.input, help);
    this.offer(values);
  }

  offer(values) {
    this.values = values;
    this.input.max = values.length - 1;
    this.#tell();
  }

  get value() {
    return this.values[Number(this.input.value)];
  }

  // A value that is none of the list's is put into it.
  set value(value) {
    if (!this.values.includes(value)) this.offer([...this.values, value].sort((a, b) => a - b));
    this.input.value = this.values.indexOf(value);
    this.#tell();
  }

  #tell() {
    const words = this.words(this.value, this);
    this.shown.textContent = words;
    this.input.setAttribute("aria-valuetext", words);
  }
}

export class Settings {
  #sliders = new Map();

  // `onChange(name, live)` after each change by hand; `live` ones need no new run.
  constructor({ onChange }) {
    this.task = select([["adding", "Adding: the sum of two marked numbers"], ["copying", "Copying: ten symbols, repeated at the end"]], "adding", () => {
      this.#suit(this.task.value);
      onChange("task", false);
    });
    this.task.id = uid("task");
    this.task.name = "task";
    for (const slider of SLIDERS) {
      const onInput = ({ name }) => onChange(name, !!slider.live);
      this.#sliders.set(slider.name, new Slider({ ...slider, onInput }));
    }
    this.form = new OptionsForm({
      basic: [],
      groups: ["Data", "Model", "Regularisation", "Training"],
      without: [...OWN, ...["task", "time", "features", "target", "missing", "horizon", "season", "head", "loss", "bptt"]],
      values: DEFAULTS.adding,
      onChange: (_, name) => onChange(name, false),
    });
    this.set(PRESETS.plain);
    const task = el("div", { class: "field" }, el("label", { for: this.task.id }, "Task"), this.task);
    const sliders = [...this.#sliders.values()].map(({ element }) => element);
    this.element = el("div", { class: "settings" }, task, sliders, this.form.element);
  }

  slider(name) {
    return this.#sliders.get(name);
  }

  get values() {
    return Object.fromEntries([...this.#sliders].map(([name, slider]) => [name, slider.value]));
  }

  get gain() {
    return this.slider("gain").value;
  }

  // What the engine is given.
  get options() {
    const { gain: _, ...own } = this.values;
    const options = { ...this.form.values, ...own, task: this.task.value };
    // Chrono says itself what the gates begin with.
    if (options.chrono !== null && options.chrono !== undefined) options.forget_bias = null;
    return options;
  }

  // Any of `task`, the sliders' and the other options.
  set(values) {
    if (values.task && values.task !== this.current) this.#suit(values.task);
    for (const [name, value] of Object.entries(values)) {
      const slider = this.#sliders.get(name);
      if (slider && value !== null && value !== undefined) slider.value = value;
    }
    const others = Object.entries(values).filter(([name]) => !this.#sliders.has(name));
    this.form.set(Object.fromEntries(others));
  }

  // The defaults of another task.
  #suit(task) {
    this.current = task;
    this.task.value = task;
    const values = { ...DEFAULTS[task], ...SMALL[task] };
    const windows = task === "copying" ? WINDOWS.filter((steps) => steps >= LEAST_COPYING) : WINDOWS;
    this.slider("window").offer(windows);
    for (const name of ["window", "hidden_size", "lr", "forget_bias"]) this.slider(name).value = values[name];
    this.form.set(values);
  }
}
