// A prompt and how it goes on: streamed, with all that decides the choice of the next character.

import { button, el, replace } from "../../parts/dom.js";
import { ownField } from "../../parts/form.js";
import { counted } from "../../parts/format.js";
import { sentence } from "../../parts/notices.js";

// Characters at once: while it writes, the network does not learn.
const MOST = 20_000;

const SETTINGS = [
  ["length", "Length", 400, { min: 1, max: MOST, step: 1 }, "Characters to write."],
  ["temperature", "Temperature", 0.8, { min: 0, step: 0.1 }, "Below 1 it dares less, above 1 more; 0 always takes the likeliest."],
  ["top_k", "Top-k", 0, { min: 0, step: 1 }, "Choose among this many of the likeliest; 0 for all."],
  ["top_p", "Top-p", 1, { min: 0, max: 1, step: 0.05 }, "Choose among the likeliest that together have this probability."],
  ["seed", "Seed", 1, { min: 0, max: 2 ** 32 - 1, step: 1 }, "Equal seeds write the same by the same model; empty: a new one each time."],
];
// What an LSTM still knows of a text is not long.
const LOOKED_BACK = 1000;

export class WritePanel {
  #context;
  #write;
  #stop = null;
  #fields = new Map();

  // `write(prompt, how)` as Run.write.
  constructor(context, write) {
    this.#context = context;
    this.#write = write;
    this.prompt = el("textarea", { rows: 2, name: "prompt", spellcheck: "false", maxlength: 20000 });
    this.fault = el("p", { class: "field-error", hidden: true });
    const settings = SETTINGS.map(([name, label, value, limits, hint]) => {
      const input = el("input", { type: "number", name: `write-${name}`, autocomplete: "off", value, ...limits });
      this.#fields.set(name, input);
      return ownField(label, input, hint);
    });
    this.begin = button("Write", () => this.write(), { class: "button primary" });
    this.further = button("Go on from there", () => this.write({ further: true }), { hidden: true });
    this.stop = button("Stop writing", () => this.#stop?.abort(), { hidden: true });
    this.state = el("span", { class: "write-state hint", role: "status" });
    this.read = el("span", { class: "prompt" });
    this.text = el("span", { "data-written": true });
    const about = { tabindex: 0, role: "region", "aria-label": "What the model wrote", hidden: true };
    this.output = el("p", { class: "written output", ...about }, this.read, this.text);
    const field = ownField("Prompt", this.prompt, "The text that it goes on with. Empty begins a new line.");
    this.element = el(
      "div",
      { class: "stack" },
      el("div", {}, field, this.fault),
      el("div", { class: "fields compact" }, settings),
      el("div", { class: "row" }, this.begin, this.further, this.stop, this.state),
      this.output,
    );
    this.enable(false);
  }

  enable(enabled) {
    this.begin.disabled = !enabled;
    this.further.disabled = !enabled;
    if (!this.#stop) this.state.textContent = enabled ? "" : "There is no model yet: train one, or load one.";
  }

  // A prompt that suits the text, unless somebody has written another.
  offer(prompt) {
    if ([this.offered ?? "", ""].includes(this.prompt.value)) this.prompt.value = prompt;
    this.offered = prompt;
  }

  get settings() {
    const set = [...this.#fields].map(([name, input]) => [name, input.value.trim() === "" ? undefined : Number(input.value)]);
    const settings = Object.fromEntries(set.filter(([, value]) => value !== undefined));
    return { ...settings, length: Math.min(MOST, settings.length ?? MOST) };
  }

  async write({ further = false } = {}) {
    if (this.#stop) return;
    const before = further ? this.read.textContent + this.text.textContent : this.prompt.value;
    this.#fail(null);
    this.#begun(before);
    const { signal } = this.#stop;
    try {
      const onText = (piece) => this.text.append(piece);
      await this.#write([...before].slice(-LOOKED_BACK).join(""), { ...this.settings, onText, signal });
      this.#ended("Written");
    } catch (error) {
      this.#ended(signal.aborted ? "Stopped" : "");
      if (!signal.aborted) this.#fail(error);
    }
  }

  #begun(before) {
    this.#stop = new AbortController();
    replace(this.read, before);
    this.text.replaceChildren();
    this.output.hidden = false;
    this.state.textContent = "Writing…";
    this.#buttons(true);
  }

  #ended(word) {
    this.#stop = null;
    this.state.textContent = word ? `${word}: ${counted([...this.text.textContent].length, "character")}` : "";
    if (word) this.#context.notices.say(this.state.textContent);
    this.#buttons(false);
  }

  #buttons(writing) {
    this.begin.hidden = writing;
    this.stop.hidden = !writing;
    this.further.hidden = writing || this.text.textContent === "";
    this.output.setAttribute("aria-busy", String(writing));
  }

  // At the field that it is about, and in words below the prompt.
  #fail(error) {
    for (const input of [this.prompt, ...this.#fields.values()]) input.removeAttribute("aria-invalid");
    this.fault.hidden = !error;
    this.fault.textContent = error ? sentence(error) : "";
    if (!error) return;
    const field = error.option === "prompt" ? this.prompt : this.#fields.get(error.option);
    field?.setAttribute("aria-invalid", "true");
    this.#context.notices.say(this.fault.textContent);
    if (this.text.textContent === "") this.output.hidden = true;
  }

  cancel() {
    this.#stop?.abort();
  }
}
