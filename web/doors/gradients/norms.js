// The norm of all gradients of each step, and where it is clipped.

import { inTurn } from "../shared/turns.js";
import { Chart } from "../../parts/chart.js";
import { el } from "../../parts/dom.js";
import { number, percent } from "../../parts/format.js";

const MOST = 800;
// Steps that the share of clipped ones is told of.
const RECENT = 100;

export class Norms {
  #xs = [];
  #ys = [];
  #recent = [];
  #show = inTurn(() => this.#paint());
  clip = 0;

  constructor() {
    this.chart = new Chart({
      title: "Norm of all gradients of a step",
      name: "gradient-norm",
      x: "step",
      log: true,
      height: 190,
      series: [
        { name: "before clipping", color: "--c-model", gaps: true },
        { name: "clipped to", color: "--c-season", dash: [6, 4] },
      ],
    });
    this.told = el("p", { class: "hint", "data-clipped": true });
    this.element = el("div", {}, this.chart.element, this.told);
  }

  begin(clip) {
    Object.assign(this, { clip });
    this.#xs = [];
    this.#ys = [];
    this.#recent = [];
    this.#show();
  }

  add({ step, losses }) {
    const count = losses.length / 2;
    for (let at = 0; at < count; at++) {
      const norm = losses[2 * at + 1];
      this.#xs.push(step - count + 1 + at);
      this.#ys.push(norm > 0 && Number.isFinite(norm) ? norm : null);
      this.#recent.push(norm);
    }
    this.#recent.splice(0, this.#recent.length - RECENT);
    if (this.#xs.length > MOST) this.#thin();
    this.#show();
  }

  clipTo(clip) {
    this.clip = clip;
    this.#show();
  }

  // Of two neighbours the larger: what matters are the peaks.
  #thin() {
    const larger = this.#ys.flatMap((y, at) => (at % 2 === 1 ? [Math.max(y ?? 0, this.#ys[at - 1] ?? 0) || null] : []));
    this.#xs = this.#xs.filter((_, at) => at % 2 === 1);
    this.#ys = larger;
  }

  get words() {
    if (this.#recent.length === 0) return "";
    const largest = number(Math.max(...this.#recent), 3);
    if (!(this.clip > 0)) return `Nothing is clipped; the largest norm of the last ${this.#recent.length} steps is ${largest}.`;
    const share = this.#recent.filter((norm) => norm > this.clip).length / this.#recent.length;
    return `${percent(share)} of the last ${this.#recent.length} steps were clipped to ${number(this.clip, 3)}; the largest norm among them was ${largest}.`;
  }

  #paint() {
    this.chart.set([this.#xs, this.#ys, this.#xs.map(() => (this.clip > 0 ? this.clip : null))]);
    this.told.textContent = this.words;
    this.chart.describe(this.words);
  }

  destroy() {
    this.chart.destroy();
  }
}
