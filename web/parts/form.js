// A form of a run's options, made from the list that the command line's config has: label, help, type, choices, default.

import { OPTIONS } from "../options.js";
import { el, replace, uid } from "./dom.js";

// Where a name does not say it.
const LABELS = {
  num_layers: "Layers",
  hidden_size: "Hidden size",
  lr: "Learning rate",
  max_norm: "Clip norm to",
  clip_value: "Clip values to",
  batch_size: "Batch",
  bptt: "BPTT length",
  bptt_jitter: "Jitter of the BPTT length",
  init_scheme: "Start weights",
  forget_bias: "Forget-gate bias",
  chrono: "Chrono start up to",
  proj_size: "Projection",
  lr_schedule: "Schedule",
  lr_step_epochs: "Epochs between steps",
  lr_gamma: "Factor of a step",
  lr_min: "Least rate",
  lr_patience: "Patience of plateau",
  zoneout_h: "Zoneout of h",
  zoneout_c: "Zoneout of c",
  ema: "Average of weights",
  eps: "Epsilon",
  beta1: "Beta 1",
  beta2: "Beta 2",
  amsgrad: "AMSGrad",
  checkpoint_every: "Recompute beyond",
  log_every: "Steps between reports",
  features: "Input columns",
  target: "To forecast",
  time: "Time column",
  missing: "Missing values",
  patience: "Patience",
  min_delta: "Least gain",
  season: "Season",
};

const words = (name) => name[0].toUpperCase() + name.slice(1).replaceAll("_", " ");
export const labelOf = (name) => LABELS[name] ?? words(name);
export const optionOf = (name) => OPTIONS.find((option) => option.name === name);

// Help texts name other options as one types them for the command line; here they have labels.
const helpOf = ({ help }) =>
  help.replace(/--([a-z-]+)/g, (_, flag) => labelOf(flag.replaceAll("-", "_"))).replace(/ \[default: (.*)\]$/, "; else $1");

const same = (a, b) => JSON.stringify(a ?? null) === JSON.stringify(b ?? null);

class Field {
  constructor(option, change) {
    this.option = option;
    this.name = option.name;
    this.id = uid(option.name);
    this.error = el("p", { class: "field-error", id: `${this.id}-error`, hidden: true });
    const words = helpOf(option);
    const help = el("p", { class: "hint", id: `${this.id}-help` }, words === labelOf(this.name) ? "" : words);
    this.attributes = {
      id: this.id,
      name: this.name,
      "aria-describedby": `${this.id}-help ${this.id}-error`,
      on: { change: () => change(this) },
    };
    this.input = this.control();
    const label = el("label", { for: this.id }, labelOf(this.name));
    this.element = el(
      "div",
      { class: `field field-${option.kind}`, "data-option": this.name },
      label,
      this.input,
      help,
      this.error,
    );
  }

  control() {
    const { attributes } = this;
    const { kind, choices, optional, value } = this.option;
    if (kind === "flag") return el("input", { type: "checkbox", ...attributes });
    if (kind === "choice") {
      const empty = optional && el("option", { value: "" }, "automatic");
      const offered = choices.filter(({ name }) => !value.includes("|") || value.split("|").includes(name));
      const shown = offered.map(({ name, help }) => el("option", { value: name, title: help }, name));
      return el("select", attributes, empty, shown);
    }
    if (kind === "integer" || kind === "number") {
      const placeholder = optional ? "automatic" : undefined;
      const step = kind === "integer" ? 1 : "any";
      return el("input", { type: "number", step, placeholder, autocomplete: "off", ...attributes });
    }
    return el("input", { type: "text", placeholder: "automatic", autocomplete: "off", spellcheck: "false", ...attributes });
  }

  // Columns to choose from, once a file is known.
  columns(names) {
    const value = this.value;
    const several = this.option.kind === "texts" && names.length > 1;
    const automatic = !several && el("option", { value: "" }, "automatic");
    const size = several ? Math.min(5, names.length) : undefined;
    const options = names.map((name) => el("option", { value: name }, name));
    const select = el("select", { ...this.attributes, multiple: several, size }, automatic, options);
    this.input.replaceWith(select);
    this.input = select;
    this.value = value;
  }

  get value() {
    const { input } = this;
    const { kind } = this.option;
    if (kind === "flag") return input.checked;
    if (input.multiple) return [...input.selectedOptions].map(({ value }) => value);
    const text = input.value.trim();
    if (kind === "texts") return text === "" ? [] : input.tagName === "SELECT" ? [text] : text.split(/\s*,\s*/);
    if (kind === "numbers") return text === "" ? [] : text.split(/\s*[,;]\s*/).map(Number);
    if (text === "") return null;
    return kind === "integer" || kind === "number" ? Number(text) : text;
  }

  set value(value) {
    const { input } = this;
    if (this.option.kind === "flag") input.checked = !!value;
    else if (input.multiple) for (const option of input.options) option.selected = value?.includes(option.value) ?? false;
    else if (Array.isArray(value)) input.value = value.join(", ");
    else input.value = value ?? "";
  }

  // What the browser has against what was typed, or that there has to be something.
  get fault() {
    const { input, option } = this;
    if (input.validity?.badInput) return "This is not a number.";
    if (option.kind === "integer" && input.validity?.stepMismatch) return "This has to be a whole number.";
    const needed = !option.optional && ["integer", "number"].includes(option.kind);
    if (needed && this.value === null) return "This has to be a number.";
    if (option.kind === "numbers" && this.value.some(Number.isNaN))
      return "These have to be numbers with commas between them.";
    return "";
  }

  fail(message) {
    this.error.textContent = message;
    this.error.hidden = !message;
    if (message) this.input.setAttribute("aria-invalid", "true");
    else this.input.removeAttribute("aria-invalid");
  }
}

// Fields for `names`, the first ones shown and those of `groups` ("Data", "Model", …; all options of a group that are left)
// folded away below. `values` are all options to start with; `onChange(values, name)` after each change that is valid.
export class OptionsForm {
  #fields = new Map();
  #start;
  #onChange;

  constructor({ basic, groups = [], without = [], values, onChange = () => {} }) {
    this.#start = values;
    this.#onChange = onChange;
    const more = groups.map((group) => this.#group(group, [...basic, ...without]));
    const shown = basic.map((name) => this.#field(optionOf(name)));
    this.more = el("details", { class: "more" }, el("summary", {}, "More options"), more);
    const submit = (event) => event.preventDefault();
    this.element = el("form", { class: "options", novalidate: true, on: { submit } }, el("div", { class: "fields" }, shown));
    if (groups.length > 0) this.element.append(this.more);
    this.set(values);
  }

  #group(group, taken) {
    const left = OPTIONS.filter(
      (option) => option.group === group && !taken.includes(option.name) && option.kind !== "file",
    );
    const fields = left.map((option) => this.#field(option));
    return el("fieldset", {}, el("legend", {}, group), el("div", { class: "fields" }, fields));
  }

  #field(option) {
    const field = new Field(option, (changed) => this.#changed(changed));
    this.#fields.set(option.name, field);
    return field.element;
  }

  #changed(field) {
    field.fail(field.fault);
    if (!this.fault) this.#onChange(this.values, field.name);
  }

  // All options: those of the fields over those the form began with.
  get values() {
    const values = { ...this.#start };
    for (const [name, field] of this.#fields) values[name] = field.value;
    return values;
  }

  set(values) {
    this.#start = { ...this.#start, ...values };
    for (const [name, field] of this.#fields) {
      if (!(name in values)) continue;
      if (!same(field.value, values[name])) field.value = values[name];
      field.fail("");
    }
  }

  // The first field that holds what cannot be, if any.
  get fault() {
    return [...this.#fields.values()].find((field) => field.fault) ?? null;
  }

  columns(names) {
    for (const name of ["time", "features", "target"]) this.#fields.get(name)?.columns(names);
    for (const name of ["features", "target"]) this.#fields.get(name)?.element.toggleAttribute("hidden", names.length < 2);
  }

  // A message at the field of an option; true if there is such a field.
  fail(name, message) {
    const field = this.#fields.get(name);
    field?.fail(message);
    if (field && this.more.contains(field.element)) this.more.open = true;
    return !!field;
  }

  clearFaults() {
    for (const field of this.#fields.values()) field.fail(field.fault);
  }

  focus(name) {
    this.#fields.get(name)?.input.focus();
  }

  set disabled(disabled) {
    for (const field of this.#fields.values()) field.input.disabled = disabled;
  }

  input(name) {
    return this.#fields.get(name)?.input;
  }

  // Puts something of a door's own among the first fields.
  append(...elements) {
    this.element.querySelector(".fields").append(...elements);
  }
}

// A field that is no option of a run: a label, a control and a hint, alike in looks.
export function ownField(label, control, hint) {
  const id = control.id || uid("field");
  control.id = id;
  const help = hint && el("p", { class: "hint", id: `${id}-help` }, hint);
  if (help) control.setAttribute("aria-describedby", help.id);
  return el("div", { class: "field" }, el("label", { for: id }, label), control, help);
}

export const select = (choices, value, change) => {
  const options = choices.map(([name, label]) => el("option", { value: name }, label));
  const control = el("select", { on: { change: () => change(control.value) } });
  replace(control, options);
  control.value = value;
  return control;
};
