// Which sequence is looked at, and in which layer; its picture and what it means in words.

import { GatesPicture } from "./gates.js";
import { nameOf } from "./profile.js";
import { means, tellMeans, tellSequence } from "./sequence.js";
import { button, el, replace, settled } from "../../parts/dom.js";
import { ownField } from "../../parts/form.js";
import { count } from "../../parts/format.js";

// Milliseconds between two looks at the sequence while training goes on.
const PAUSE = 500;

export class Sequences {
  index = 0;
  #place = 0;
  #last = -Infinity;
  #busy = false;
  #trace = null;

  // `trace(index)` answers with a Trace.
  constructor({ trace, fail }) {
    Object.assign(this, { trace, fail });
    this.gates = new GatesPicture();
    const chosen = settled(80, () => this.look());
    const go = (index) => {
      this.index = Math.max(0, Math.min((this.#trace?.windows ?? 1) - 1, Math.round(index) || 0));
      this.number.value = this.index;
      chosen();
    };
    this.number = el("input", { type: "number", min: 0, step: 1, value: 0, name: "sequence", on: { change: () => go(Number(this.number.value)) } });
    this.layer = el("select", { name: "layer", on: { change: () => this.#choose(Number(this.layer.value)) } });
    this.layers = ownField("Layer", this.layer);
    this.layers.hidden = true;
    this.of = el("p", { class: "hint" }, "of the sequences kept for the test");
    const turn = el(
      "div",
      { class: "row" },
      button("Previous sequence", () => go(this.index - 1), { class: "button small" }),
      button("Next sequence", () => go(this.index + 1), { class: "button small" }),
    );
    this.what = el("p", {});
    this.meaning = el("p", { "data-meaning": true });
    this.element = el(
      "div",
      { class: "stack tight" },
      el("div", { class: "row sequence-row" }, ownField("Sequence", this.number), this.layers, turn, this.of),
      this.what,
      this.gates.element,
      this.meaning,
    );
  }

  begin() {
    this.#last = -Infinity;
    this.#place = 0;
  }

  due() {
    return !this.#busy && performance.now() - this.#last > PAUSE;
  }

  // Looks at the sequence again, with the weights as they are now.
  async look() {
    if (this.#busy) return;
    this.#busy = true;
    try {
      const trace = await this.trace(this.index);
      if (trace) this.#show(trace);
    } catch (error) {
      this.fail(error);
    } finally {
      this.#busy = false;
      this.#last = performance.now();
    }
    // Another one was chosen meanwhile.
    if (this.#trace && this.shown !== this.index) this.look();
  }

  #show(trace) {
    this.shown = this.index;
    this.#trace = trace;
    this.number.max = trace.windows - 1;
    this.of.textContent = `of ${count(trace.windows)} that are kept for the test`;
    this.#offer(trace.cells);
    this.#draw();
  }

  #offer(cells) {
    if (this.#place >= cells.length) this.#place = 0;
    this.layers.hidden = cells.length < 2;
    if (this.layer.options.length === cells.length) return;
    replace(this.layer, cells.map((cell, at) => el("option", { value: at }, nameOf(cell, true))));
    this.layer.value = this.#place;
  }

  #choose(place) {
    this.#place = place;
    if (this.#trace) this.#draw();
  }

  #draw() {
    this.gates.set(this.#trace, this.#place);
    const { sequence } = this.gates;
    const cell = this.#trace.cells[this.#place];
    this.what.textContent = tellSequence(sequence);
    this.meaning.textContent = tellMeans(means(cell, sequence.marked), sequence.adding);
    this.gates.picture.describe(`${this.what.textContent} ${this.meaning.textContent}`);
  }

  cutAt(cut) {
    this.gates.cut = cut;
    this.gates.picture.paint();
  }

  destroy() {
    this.gates.destroy();
  }
}
