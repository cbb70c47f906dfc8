// What a model in training writes, time after time from the same beginning and by the same dice: only what it has learnt differs.

import { el } from "../../parts/dom.js";
import { count, counted, number } from "../../parts/format.js";

const KEPT = 7;
// Milliseconds between two samples.
const PAUSE = 1500;
const HOW = { length: 180, temperature: 0.8, seed: 1 };

export class Samples {
  #list = el("ol", { class: "samples", reversed: true });
  #kept = []; // oldest first
  #busy = null; // the promise of the sample that is being written
  #last = -Infinity;
  #run = null;

  constructor() {
    this.empty = el("p", { class: "hint" }, "As soon as training begins, the model writes here every few seconds.");
    this.element = el("div", { class: "samples-box" }, this.empty, this.#list);
  }

  begin(run, prompt) {
    this.#run = run;
    this.prompt = prompt;
    this.#last = -Infinity;
    this.#kept = [];
    this.#show();
    return this.write({ step: run.started.position.steps, epoch: run.started.position.epoch });
  }

  due() {
    return !this.#busy && performance.now() - this.#last > PAUSE;
  }

  // `at`: {step, epoch, bits} of the moment.
  write(at) {
    if (this.#run && !this.#busy) this.#busy = this.#sample(at, this.#run).finally(() => (this.#busy = null));
    return this.#busy;
  }

  // By the model that is left of the run: `engine` has it loaded.
  async end(at, engine) {
    await this.#busy;
    await this.#sample(at, engine);
  }

  async #sample(at, writer) {
    const run = this.#run;
    try {
      const text = await writer.write(this.prompt, HOW);
      if (run === this.#run) this.#add({ ...at, text });
    } catch {
      // A run that has just ended writes no more; others tell of real faults.
    } finally {
      this.#last = performance.now();
    }
  }

  #add(sample) {
    this.#kept.push(sample);
    if (this.#kept.length > KEPT) this.#kept.splice(this.#least(), 1);
    this.#show();
  }

  // The one whose neighbours are nearest, so that the history reaches from the first to the newest.
  #least() {
    const gap = (at) => Math.log((this.#kept[at + 1].step + 5) / (this.#kept[at - 1].step + 5));
    const inner = this.#kept.slice(1, -1).map((_, at) => at + 1);
    return inner.reduce((best, at) => (gap(at) < gap(best) ? at : best), 1);
  }

  #show() {
    this.empty.hidden = this.#kept.length > 0;
    const entry = ({ step, epoch, best, bits, text }) => {
      const of = best === undefined || best === epoch ? "" : `, by the weights after epoch ${count(best)}`;
      const when = step === 0 ? "before the first step" : `${counted(step, "step")}, epoch ${epoch}`;
      const loss = bits === undefined || bits === null ? "" : `, ${number(bits, 3)} bits per character`;
      const begin = el("span", { class: "prompt" }, this.prompt);
      return el("li", {}, el("p", { class: "hint" }, when + of + loss), el("p", { class: "written" }, begin, text));
    };
    this.#list.replaceChildren(...[...this.#kept].reverse().map(entry));
  }
}
