// Line charts by uPlot: colours from CSS, a legend of buttons, words for screen readers, and export as SVG and PNG.
//
//   const chart = new Chart({ title: "Loss", x: "epoch", y: "loss", log: true, series: [{ name: "training", color: "--c-model" }] });
//   parent.append(chart.element);
//   chart.set([xs, ys]);                     // arrays of equal length; null where there is no value
//   chart.describe("After 12 epochs the loss is 0.14.");
//
// A series: {name, color: a custom property, width, dash, points, hidden, gaps: true to draw over gaps, band: [upper, lower] to
// fill between two other series (numbers, from 1), follows: the series (from 0) that it is shown and hidden with}. `marks` are
// vertical lines, [{x, label}]; `ticks` and `label` say where the x axis has which words.

import { button, css, el, perFrame, replace } from "./dom.js";
import { download } from "./files.js";
import { number } from "./format.js";
import { plain, plainLog } from "./ticks.js";

let loading = null;
const load = () => (loading ??= import("uplot").then((module) => module.default));

const FONT = "12px system-ui, sans-serif";

// The scheme can change while charts are shown.
const charts = new Set();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach((chart) => chart.redraw()));

export class Chart {
  #plot = null;
  #resize = null;
  #box = el("div", { class: "chart-box" });
  #legend = el("ul", { class: "legend" });
  #words = el("p", { class: "sr-only" });
  #paint = perFrame(() => this.#draw());
  data = null;

  constructor({ title, x = "", y = "", series, log = false, height = 220, marks = [], ticks, label, name = title }) {
    Object.assign(this, { title, x, y, series, log, height, marks, ticks, label, name });
    this.hidden = new Set(series.flatMap(({ hidden }, at) => (hidden ? [at] : [])));
    const menu = el(
      "div",
      { class: "chart-menu" },
      button("SVG", () => this.saveSvg(), { class: "button tiny", "aria-label": `${title}: save as SVG` }),
      button("PNG", () => this.savePng(), { class: "button tiny", "aria-label": `${title}: save as PNG` }),
    );
    const head = el("figcaption", { class: "chart-head" }, el("span", { class: "chart-title" }, title), menu);
    this.#box.style.setProperty("height", `${height}px`);
    this.#box.setAttribute("aria-hidden", "true");
    this.element = el("figure", { class: "chart" }, head, this.#legend, this.#box, this.#words);
    this.#fillLegend();
    charts.add(this);
    load().then((uPlot) => this.#make(uPlot));
  }

  // New data, drawn with the next frame.
  set(data, { marks = this.marks, ticks = this.ticks, label = this.label } = {}) {
    Object.assign(this, { data, marks, ticks, label });
    this.#paint();
  }

  describe(words) {
    this.#words.textContent = words;
  }

  retitle(title) {
    this.title = title;
    this.element.querySelector(".chart-title").textContent = title;
  }

  redraw() {
    this.#plot?.redraw(false);
  }

  destroy() {
    charts.delete(this);
    this.#resize?.disconnect();
    this.#plot?.destroy();
    this.#plot = null;
  }

  #draw() {
    if (!this.#plot || !this.data) return;
    this.#plot.setData(this.data);
  }

  #make(uPlot) {
    if (!charts.has(this)) return;
    this.uPlot = uPlot;
    const width = Math.max(200, this.#box.clientWidth);
    this.#plot = new uPlot(this.#options(width), this.data ?? [[], ...this.series.map(() => [])], this.#box);
    this.#resize = new ResizeObserver(
      perFrame(() => {
        const width = this.#box.clientWidth;
        if (width > 0 && width !== this.#plot?.width) this.#plot?.setSize({ width, height: this.height });
      }),
    );
    this.#resize.observe(this.#box);
  }

  #options(width) {
    const axis = { stroke: () => css("--muted"), font: FONT, labelFont: FONT, labelSize: 18, labelGap: 0 };
    const lines = { stroke: () => css("--line"), width: 1 };
    const [x, y] = [
      {
        ...axis,
        grid: { show: false },
        ticks: { ...lines, size: 5 },
        label: this.x || undefined,
        size: 30,
        gap: 4,
        space: 90,
      },
      {
        ...axis,
        grid: lines,
        ticks: { show: false },
        size: (plot, values) => this.#roomFor(plot, values),
        gap: 6,
        space: 36,
      },
    ];
    x.splits = (plot, at, min, max, ...rest) => this.ticks?.(min, max, plot.width) ?? plain(min, max, plot.width / 110);
    x.values = (_, splits) => splits.map((split) => this.label?.(split) ?? number(split));
    if (this.log) {
      y.splits = (plot, at, min, max) => plainLog(min, max, plot.height / 40);
      y.filter = (_, splits) => splits;
    }
    y.values = (_, splits) => splits.map((split) => (split === null ? null : number(split, 3)));
    return {
      width,
      height: this.height,
      scales: { x: { time: false }, y: this.log ? { distr: 3, range: this.#logRange } : {} },
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
      padding: [8, 28, 0, 0],
      axes: [x, y],
      series: [{}, ...this.series.map((series, at) => this.#series(series, at))],
      bands: this.series.flatMap(({ band, color }) => (band ? [{ series: band, fill: () => `${css(color)}33` }] : [])),
      hooks: { draw: [(plot) => this.#drawMarks(plot)], setCursor: [(plot) => this.#read(plot.cursor.idx)] },
    };
  }

  #logRange = (_, min, max) => {
    if (!(min > 0) || !(max > 0)) return [0.1, 1];
    // A little room on both sides, instead of whole powers of ten.
    const room = Math.max(1.1, (max / min) ** 0.06);
    return [min / room, max * room];
  };

  #roomFor(plot, values) {
    const longest = Math.max(0, ...(values ?? []).map((value) => String(value ?? "").length));
    return Math.max(34, 7 * longest + 12);
  }

  #series({ name, color, width = 1.5, dash, points = false, gaps = false }, at) {
    return {
      label: name,
      show: !this.hidden.has(at),
      stroke: () => css(color),
      width,
      dash,
      spanGaps: gaps,
      points: { show: points, size: 5, fill: () => css(color) },
    };
  }

  #drawMarks(plot) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.fillStyle = css("--muted");
    ctx.strokeStyle = css("--muted");
    ctx.textAlign = "left";
    ctx.textBaseline = "alphabetic";
    ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
    let free = -Infinity; // where the last label ends
    let row = 0;
    for (const { x, label } of this.marks) {
      const at = plot.valToPos(x, "x", true);
      if (at < bbox.left - 1 || at > bbox.left + bbox.width) continue;
      ctx.beginPath();
      ctx.moveTo(at, bbox.top);
      ctx.lineTo(at, bbox.top + bbox.height);
      ctx.stroke();
      row = at < free ? row + 1 : 0;
      const left = at + 4 * devicePixelRatio;
      ctx.fillText(label, left, bbox.top + (10 + 13 * row) * devicePixelRatio);
      free = left + ctx.measureText(label).width;
    }
    ctx.restore();
  }

  #fillLegend() {
    const entry = ({ name, color, dash, band }, at) => {
      const swatch = el("span", {
        class: `swatch${dash ? " dashed" : ""}${band ? " band" : ""}`,
        vars: { "--swatch": `var(${color})` },
      });
      const pressed = String(!this.hidden.has(at));
      const toggle = button([swatch, name, el("span", { class: "value", "aria-hidden": "true" })], () => this.toggle(at), {
        class: "legend-entry",
      });
      toggle.setAttribute("aria-pressed", pressed);
      return el("li", {}, toggle);
    };
    replace(this.#legend, this.series.map(entry));
    this.series.forEach(({ follows }, at) => (this.#legend.children[at].hidden = follows !== undefined));
    this.#legend.hidden = this.series.length < 2;
  }

  toggle(at, shown = this.hidden.has(at)) {
    if (shown) this.hidden.delete(at);
    else this.hidden.add(at);
    this.#legend.children[at].firstChild.setAttribute("aria-pressed", String(shown));
    this.#plot?.setSeries(at + 1, { show: shown });
    this.series.forEach(({ follows }, other) => follows === at && this.toggle(other, shown));
  }

  // The values under the cursor, in the legend.
  #read(index) {
    [...this.#legend.children].forEach((entry, at) => {
      const value = index === null || index === undefined ? null : this.data?.[at + 1]?.[index];
      entry.querySelector(".value").textContent = value === null || value === undefined ? "" : number(value);
    });
  }

  async saveSvg() {
    const { toSvg } = await import("./chart-export.js");
    download(`${this.name}.svg`, toSvg(this, css), "image/svg+xml");
  }

  async savePng() {
    const { toPng } = await import("./chart-export.js");
    if (this.#plot) download(`${this.name}.png`, await toPng(this, this.#plot.ctx.canvas, css), "image/png");
  }
}
