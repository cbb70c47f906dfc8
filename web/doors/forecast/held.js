// The forecasts of windows that the model did not learn from, beside the truth and the naive forecasts.

import { Chart } from "../../parts/chart.js";
import { el, replace } from "../../parts/dom.js";
import { counted, decimals, number } from "../../parts/format.js";
import { select } from "../../parts/form.js";

const NAIVE = [
  ["repeat_last", "repeat the last value"],
  ["seasonal", "repeat the last season"],
];

// One target's numbers [windows × horizon] of [windows, horizon, targets].
const column = (values, targets, index) =>
  Float64Array.from({ length: values.length / targets }, (_, at) => values[at * targets + index]);

export const rootMeanSquare = (forecast, truth) => {
  let sum = 0;
  for (let at = 0; at < truth.length; at++) sum += (forecast[at] - truth[at]) ** 2;
  return Math.sqrt(sum / truth.length);
};

// [xs, …] for a chart: the rows of all windows, with a gap between two windows in all curves.
function rowsOf({ origins, horizon }, curves) {
  const xs = [];
  const ys = curves.map(() => []);
  origins.forEach((origin, window) => {
    if (window > 0) {
      xs.push(origin - 0.5);
      ys.forEach((values) => values.push(null));
    }
    for (let step = 0; step < horizon; step++) {
      xs.push(origin + step);
      curves.forEach((curve, at) => ys[at].push(curve ? curve[window * horizon + step] : null));
    }
  });
  return [xs, ...ys];
}

export class Held {
  #held = null;
  #target = 0;
  #first = null; // error before training, of each target

  constructor() {
    this.choice = el("div", {});
    this.scores = el("ul", { class: "scores", "aria-label": "Errors so far" });
    this.place = el("div", {});
    this.element = el("div", { class: "held" }, this.choice, this.place, this.scores);
  }

  // A new run: a chart for what it forecasts.
  begin({ config }) {
    this.#held = null;
    this.#first = null;
    this.#target = 0;
    this.#interval = ["quantile", "gaussian", "student_t"].includes(config.loss) && config.quantiles.length > 1;
    this.chart?.destroy();
    const edge = { color: "--c-model", width: 0.5 };
    this.chart = new Chart({
      title: "Forecasts of rows it has not learnt from",
      name: "held-out",
      height: 300,
      series: [
        { name: "truth", color: "--c-truth", width: 1.5, gaps: true },
        { name: "this model", color: "--c-model", width: 2.5 },
        { name: NAIVE[0][1], color: "--c-naive", width: 1.5, dash: [5, 4] },
        { name: NAIVE[1][1], color: "--c-season", width: 1.5, dash: [2, 3], hidden: true },
        ...(this.#interval
          ? [
              { ...edge, name: "interval", band: [5, 6] },
              { ...edge, name: "its lower end", follows: 4 },
            ]
          : []),
      ],
    });
    replace(this.place, this.chart.element);
    replace(this.scores);
    replace(this.choice);
  }
  #interval = false;

  show(held, words = "Forecasts of rows it has not learnt from") {
    if (!held || !this.chart) return;
    this.#held = held;
    if (!this.#first) {
      this.#first = held.targets.map((_, index) => this.#error(held.point, index));
      this.#choose(held.targets);
    }
    this.chart.retitle(held.targets.length > 1 ? `${words}: ${held.targets[this.#target]}` : words);
    this.#draw();
  }

  #choose(targets) {
    if (targets.length < 2) return;
    const chosen = (name) => {
      this.#target = targets.indexOf(name);
      this.#draw();
    };
    const control = select(
      targets.map((name) => [name, name]),
      targets[0],
      chosen,
    );
    control.setAttribute("aria-label", "Column that is shown");
    replace(this.choice, control);
  }

  #error(values, index) {
    const { targets, truth } = this.#held;
    return rootMeanSquare(column(values, targets.length, index), column(truth, targets.length, index));
  }

  #draw() {
    const held = this.#held;
    const { targets, origins, labels, quantiles } = held;
    const of = (values) => values && column(values, targets.length, this.#target);
    const edges = this.#interval && quantiles.length > 1 ? [of(quantiles.at(-1).values), of(quantiles[0].values)] : [];
    const curves = [held.truth, held.point, held.repeat_last, held.seasonal].map(of);
    const label = new Map([...origins].map((origin, at) => [origin, labels[at]]));
    const ticks = (min, max, width) => {
      const seen = [...origins].filter((origin) => origin >= min && origin <= max);
      const every = Math.max(1, Math.ceil(seen.length / Math.max(1, Math.floor(width / 110))));
      return seen.filter((_, at) => at % every === 0);
    };
    this.chart.set(rowsOf(held, [...curves, ...edges]), { ticks, label: (row) => label.get(row) ?? String(row) });
    this.#score();
  }

  #score() {
    const held = this.#held;
    const errors = [["this model", this.#error(held.point, this.#target), "model"]];
    for (const [key, name] of NAIVE) if (held[key]) errors.push([name, this.#error(held[key], this.#target), key]);
    const first = this.#first[this.#target];
    const shown = decimals(
      errors.map(([, error]) => error),
      3,
    );
    const entry = ([name, error, key]) =>
      el("li", { "data-score": key, "data-value": error }, el("b", {}, shown(error)), ` ${name}`);
    replace(
      this.scores,
      el("li", { class: "what" }, "RMSE here"),
      errors.map(entry),
      el("li", { "data-score": "first", "data-value": first }, el("b", {}, shown(first)), " when it began"),
    );
    const [model, ...naive] = errors.map(([name, error]) => `${number(error, 3)} by ${name}`);
    this.chart.describe(
      `${counted(held.origins.length, "window")} of ${counted(held.horizon, "row")}, ${held.labels[0]} and later. ` +
        `Root mean square error ${model}, ${naive.join(", ")}; ${number(first, 3)} when training began.`,
    );
  }

  // How the errors of all targets stand: naive over model, squared.
  get ratio() {
    const held = this.#held;
    return held && (rootMeanSquare(held.repeat_last, held.truth) / rootMeanSquare(held.point, held.truth)) ** 2;
  }

  unmount() {
    this.chart?.destroy();
  }
}
