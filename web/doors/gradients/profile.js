// How much of the gradient arrives how far back, now: a line a layer, and the same numbers in a table.

import { inTurn } from "../shared/turns.js";
import { Chart } from "../../parts/chart.js";
import { el, replace } from "../../parts/dom.js";
import { number } from "../../parts/format.js";

const COLORS = ["--c-model", "--c-other", "--c-season", "--c-truth"];
// Below this a log axis says nothing any more.
const LEAST = 1e-30;

export const nameOf = ({ layer, reverse }, many) => (many ? `layer ${layer}${reverse ? ", backwards" : ""}` : "the layer");

export class Profile {
  chart = null;
  #curves = []; // [{name, norms}]
  #before = null; // the run before, to compare with
  #cut = Infinity;
  #show = inTurn(() => this.#paint());

  constructor() {
    this.body = el("tbody");
    this.head = el("tr");
    const caption = el("caption", {}, "Norm of ∂loss/∂h by steps back from the end");
    const table = el("table", {}, caption, el("thead", {}, this.head), this.body);
    const scroll = { class: "table", tabindex: 0, role: "region", "aria-label": "The gradient in numbers" };
    this.table = el("details", { class: "more" }, el("summary", {}, "In numbers"), el("div", scroll, table));
    this.table.addEventListener("toggle", () => this.#tabulate());
    this.place = el("div");
    this.element = el("div", {}, this.place, this.table);
    this.#make(["the layer"]);
  }

  // A new run: its curves stand beside the last ones of the run before, if the sequences are as long.
  begin() {
    const top = this.#curves.at(-1);
    if (top) this.#before = top.norms;
    this.#curves = [];
  }

  set(curves, cut) {
    const names = curves.map(({ name }) => name);
    if (names.join() !== this.names.join()) this.#make(names);
    this.#curves = curves;
    this.#cut = cut;
    this.#show();
  }

  #paint() {
    const [curves, cut] = [this.#curves, this.#cut];
    if (curves.length === 0 || this.dead) return;
    const { length } = curves[0].norms;
    const shown = (norms) => Array.from({ length }, (_, at) => (norms?.[length - 1 - at] > LEAST ? norms[length - 1 - at] : null));
    const xs = Array.from({ length }, (_, at) => at - length + 1);
    const marks = cut < length ? [{ x: 0.5 - cut, label: `cut after ${cut}` }] : [];
    this.chart.set([xs, ...curves.map(({ norms }) => shown(norms)), shown(this.#before)], { marks });
    if (this.table.open) this.#tabulate();
    const told = curves.map(({ name, norms }) => `${name}: ${number(norms[0], 3)} at the last step, ${number(norms.at(-1), 3)} at the first`);
    this.chart.describe(`${told.join("; ")}.`);
  }

  #make(names) {
    this.names = names;
    this.chart?.destroy();
    const lines = names.map((name, at) => ({ name, color: COLORS[at % COLORS.length], width: 2, dash: at > 3 ? [2, 2] : undefined }));
    this.chart = new Chart({
      title: "How much of the gradient arrives",
      name: "gradient-by-distance",
      x: "steps back from the end of the sequence",
      log: true,
      height: 230,
      series: [...lines, { name: "the run before", color: "--c-naive", dash: [5, 4] }],
      label: (x) => number(Math.abs(x)),
    });
    replace(this.place, this.chart.element);
  }

  // At most a dozen distances.
  #tabulate() {
    if (!this.table.open || this.#curves.length === 0) return;
    const { length } = this.#curves[0].norms;
    const every = Math.max(1, Math.ceil((length - 1) / 11));
    const places = Array.from({ length }, (_, at) => at).filter((at) => at % every === 0 || at === length - 1);
    replace(this.head, el("th", { scope: "col" }, "Steps back"), this.#curves.map(({ name }) => el("th", { scope: "col" }, name)));
    const row = (at) => el("tr", {}, el("th", { scope: "row" }, at), this.#curves.map(({ norms }) => el("td", {}, number(norms[at], 3))));
    replace(this.body, places.map(row));
  }

  destroy() {
    this.dead = true;
    this.chart.destroy();
  }
}
