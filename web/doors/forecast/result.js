// What a run ends with: test errors in the data's units beside the naive ones, and the forecast beyond the data.

import { Chart } from "../../parts/chart.js";
import { button, el, replace } from "../../parts/dom.js";
import { download, stem } from "../../parts/files.js";
import { counted, decimals, number, percent } from "../../parts/format.js";

// Rows before the forecast that its chart shows, in horizons.
const BEFORE = 4;

// The honest sentence: whether the model is worth anything here, and if not, what to do.
export function verdict({ test, best_naive: naive, test_windows: windows }) {
  if (!test || !naive)
    return {
      kind: "none",
      text: "No window was left to test on, so nobody knows how good this forecast is: give a longer file, or a smaller train_share and validation_share.",
    };
  const share = 1 - test.rmse / naive.scores.rmse;
  const tested = `On ${counted(windows, "test window")} that it never saw, the model's error (RMSE) is ${number(test.rmse, 3)}`;
  if (share <= 0) {
    return {
      kind: "loses",
      text:
        `The model loses. ${tested}; ${naive.name} has ${number(naive.scores.rmse, 3)}. Use that instead, ` +
        "or try a longer window, more epochs, another learning rate or more data.",
    };
  }
  const little = share < 0.03 ? " That is hardly a difference." : "";
  return {
    kind: "wins",
    text: `${tested}: ${percent(share)} less than ${naive.name} (${number(naive.scores.rmse, 3)}).${little}`,
  };
}

export class ResultCard {
  constructor() {
    this.heading = el("h2", { tabindex: -1 }, "The result");
    this.sentence = el("p", { class: "verdict" });
    this.table = el("div", { class: "table" });
    this.ahead = el("div", { class: "stack" });
    this.element = el(
      "section",
      { class: "card", "aria-label": "The result", hidden: true },
      this.heading,
      this.sentence,
      this.table,
      this.ahead,
    );
  }

  hide() {
    this.element.hidden = true;
  }

  show(report, name) {
    const { kind, text } = verdict(report);
    this.sentence.textContent = text;
    this.sentence.className = `verdict ${kind}`;
    replace(this.table, report.test && this.#scores(report));
    this.element.hidden = false;
    this.#ahead(report.ahead, report.test_forecasts, name);
    return text;
  }

  // A forecast by a loaded model, which was not tested here.
  showAhead(ahead, name) {
    this.sentence.textContent =
      "The forecast of the loaded model, after the last row of these data. It was not tested on them.";
    this.sentence.className = "verdict none";
    replace(this.table);
    this.element.hidden = false;
    this.#ahead(ahead, null, name);
  }

  #scores({ test, baselines, season, calibration, test_windows: windows, best_epoch: best, epochs }) {
    const rows = [
      ["this model", test, "ours"],
      ["repeat the last value", baselines.repeat_last],
    ];
    if (baselines.seasonal) rows.push([`repeat the last ${counted(season, "row")}`, baselines.seasonal]);
    const columns = ["rmse", "mae", "mase"];
    const formats = columns.map((name) =>
      decimals(rows.map(([, scores]) => scores[name]).filter(Number.isFinite), name === "mase" ? 3 : 4),
    );
    const row = ([name, scores, kind]) =>
      el(
        "tr",
        { class: kind },
        el("th", { scope: "row" }, name),
        columns.map((column, at) => el("td", {}, formats[at](scores[column] ?? NaN))),
      );
    const head = ["", "RMSE", "MAE", "MASE"].map((name) => (name ? el("th", { scope: "col" }, name) : el("td", {})));
    const covered = calibration?.coverage;
    const interval = covered !== null && covered !== undefined;
    return [
      el(
        "table",
        {},
        el(
          "caption",
          {},
          `Errors over ${counted(windows, "test window")}, in the data's units; best epoch ${best ?? "–"} of ${epochs}`,
        ),
        el("thead", {}, el("tr", {}, head)),
        el("tbody", {}, rows.map(row)),
      ),
      interval &&
        el(
          "p",
          { class: "hint" },
          `${percent(covered)} of the test values lay in the interval; if it were right, ${percent(calibration.nominal)} would.`,
        ),
    ];
  }

  #ahead(ahead, held, name) {
    this.chart?.destroy();
    this.chart = null;
    if (!ahead) return void replace(this.ahead);
    const save = button("Download forecast.csv", () => download(`${stem(name)}-forecast.csv`, ahead.csv, "text/csv"), {
      class: "button",
    });
    this.chart = aheadChart(ahead, held);
    const title = `The next ${counted(ahead.horizon, "row")}`;
    replace(
      this.ahead,
      el("div", { class: "row spread" }, el("h3", {}, title), save),
      this.chart.element,
      aheadTable(ahead),
    );
  }

  unmount() {
    this.chart?.destroy();
  }
}

const of = (values, targets, index) =>
  Array.from({ length: values.length / targets }, (_, at) => values[at * targets + index]);

// The first target: what was observed last, then what is forecast.
function aheadChart(ahead, held) {
  const { targets, horizon, labels, quantiles } = ahead;
  const width = targets.length;
  const rows = held ? of(held.truth, width, 0).slice(-BEFORE * horizon) : [];
  const begin = held ? held.origins.at(-1) + held.horizon : 0;
  const xs = [...rows.map((_, at) => begin - rows.length + at), ...labels.map((_, at) => begin + at)];
  const none = (count) => new Array(count).fill(null);
  const after = (values) => [...none(rows.length), ...of(values, width, 0)];
  const truth = [...rows, ...none(horizon)];
  const point = after(ahead.point);
  // The forecast's line begins at the last value.
  if (rows.length > 0) point[rows.length - 1] = rows.at(-1);
  const interval = quantiles.length > 1;
  const edge = { color: "--c-ahead", width: 0.5 };
  const chart = new Chart({
    title: targets[0],
    name: "forecast",
    height: 240,
    series: [
      { name: "observed", color: "--c-truth", width: 1.5 },
      { name: "forecast", color: "--c-ahead", width: 2.5, points: horizon <= 40 },
      ...(interval
        ? [
            { ...edge, name: "interval", band: [3, 4] },
            { ...edge, name: "its lower end", follows: 2 },
          ]
        : []),
    ],
  });
  const names = new Map(labels.map((label, at) => [begin + at, label]));
  held?.origins.forEach((origin, at) => names.set(origin, held.labels[at]));
  const ticks = (min, max, wide) => {
    const seen = [...names.keys()].filter(
      (row) => row >= min && row <= max && (row < begin || (row - begin) % Math.max(1, horizon - 1) === 0),
    );
    const few = Math.max(2, Math.floor(wide / 110));
    const every = Math.max(1, Math.ceil(seen.length / few));
    return seen.sort((a, b) => a - b).filter((_, at) => (seen.length - 1 - at) % every === 0);
  };
  const edges = interval ? [after(quantiles.at(-1).values), after(quantiles[0].values)] : [];
  chart.set([xs, truth, point, ...edges], { ticks, label: (row) => names.get(row) ?? "" });
  const [first, last] = [point[rows.length], point.at(-1)];
  chart.describe(
    `The forecast of ${targets[0]} goes from ${number(first)} at ${labels[0]} to ${number(last)} at ${labels.at(-1)}.`,
  );
  return chart;
}

function aheadTable({ time, labels, targets, point, quantiles }) {
  const width = targets.length;
  const several = quantiles.length > 1;
  const columns = targets.flatMap((name, index) => [
    { name, values: of(point, width, index) },
    // The median is the forecast itself.
    ...(several
      ? quantiles
          .filter(({ level }) => level !== 0.5)
          .map(({ level, values }) => ({ name: `${name}, ${percent(level)}`, values: of(values, width, index) }))
      : []),
  ]);
  const formats = columns.map(({ values }) => decimals(values));
  const head = [time || "row", ...columns.map(({ name }) => name)].map((name) => el("th", { scope: "col" }, name));
  const row = (label, at) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, label),
      columns.map(({ values }, index) => el("td", {}, formats[index](values[at]))),
    );
  const table = el(
    "table",
    {},
    el("caption", {}, "The forecast in numbers"),
    el("thead", {}, el("tr", {}, head)),
    el("tbody", {}, labels.map(row)),
  );
  return el("div", { class: "table tall", tabindex: 0, role: "region", "aria-label": "The forecast in numbers" }, table);
}
