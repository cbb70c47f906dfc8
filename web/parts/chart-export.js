// A chart as a file of its own: its series drawn again as SVG, or its canvas with title and legend as PNG.

import { svg } from "./dom.js";
import { number } from "./format.js";
import { plain, plainLog } from "./ticks.js";

const WIDTH = 960;
const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
const IN_A_ROW = 7.5; // about the width of a letter

const usable = (value, log) => value !== null && value !== undefined && Number.isFinite(value) && (!log || value > 0);

function extent(lists, log) {
  let [least, most] = [Infinity, -Infinity];
  for (const value of lists.flatMap((list) => [...list]).filter((value) => usable(value, log))) {
    least = Math.min(least, value);
    most = Math.max(most, value);
  }
  if (least > most) return log ? [0.1, 1] : [0, 1];
  if (log) return [least / 1.1, most * 1.1];
  const room = 0.05 * (most - least || 1);
  return [least - room, most + room];
}

// Stretches of a line between its gaps, or all of it in one where it goes over them.
function stretches(xs, ys, over, log) {
  const found = [[]];
  for (let at = 0; at < xs.length; at++) {
    if (usable(ys[at], log)) found.at(-1).push([xs[at], ys[at]]);
    else if (!over && found.at(-1).length > 0) found.push([]);
  }
  return found.filter((stretch) => stretch.length > 0);
}

const round = (value) => Math.round(10 * value) / 10;

class Drawing {
  constructor(chart, css) {
    const [xs, ...ys] = chart.data ?? [[], ...chart.series.map(() => [])];
    Object.assign(this, { chart, css, xs, ys });
    this.shown = chart.series.map((series, at) => ({ ...series, ys: ys[at], at })).filter(({ at }) => !chart.hidden.has(at));
    this.height = Math.max(320, chart.height + 120);
    this.box = { left: 70, right: WIDTH - 30, top: 76, bottom: this.height - 52 };
    this.x = xs.length > 0 ? [xs[0], xs[xs.length - 1]] : [0, 1];
    this.y = extent(
      this.shown.map(({ ys }) => ys),
      chart.log,
    );
  }

  toX(x) {
    const { box } = this;
    return round(box.left + ((x - this.x[0]) / (this.x[1] - this.x[0] || 1)) * (box.right - box.left));
  }

  toY(y) {
    const { box } = this;
    const [least, most] = this.y;
    const part = this.chart.log ? Math.log(y / least) / Math.log(most / least) : (y - least) / (most - least);
    return round(box.bottom - part * (box.bottom - box.top));
  }

  text(words, x, y, more = {}) {
    return svg("text", { x, y, fill: this.css("--muted"), "font-size": 13, ...more }, words);
  }

  line(d, color, more = {}) {
    return svg("path", { d, fill: "none", stroke: this.css(color), ...more });
  }

  path = (points) => points.map(([x, y], at) => `${at === 0 ? "M" : "L"}${this.toX(x)} ${this.toY(y)}`).join("");

  legend() {
    if (this.chart.series.length < 2) return [];
    let at = 20;
    const named = this.shown.filter(({ follows }) => follows === undefined);
    return named.flatMap(({ name, color, dash }) => {
      const mark = this.line(`M${at} 52h24`, color, { "stroke-width": 3, "stroke-dasharray": dash && "4 3" });
      const words = this.text(name, at + 30, 56);
      at += 60 + IN_A_ROW * name.length;
      return [mark, words];
    });
  }

  rows() {
    const { box, chart } = this;
    const ticks = chart.log ? plainLog(...this.y) : plain(...this.y, 5);
    return ticks.flatMap((tick) => [
      this.line(`M${box.left} ${this.toY(tick)}H${box.right}`, "--line"),
      this.text(number(tick, 3), box.left - 8, this.toY(tick) + 4, { "text-anchor": "end" }),
    ]);
  }

  columns() {
    const { box, chart } = this;
    const ticks = chart.ticks?.(...this.x, WIDTH) ?? plain(...this.x, 8);
    const inside = ticks.filter((tick) => tick >= this.x[0] && tick <= this.x[1]);
    const middle = { "text-anchor": "middle" };
    const at = (tick) => [
      this.line(`M${this.toX(tick)} ${box.bottom}v5`, "--muted"),
      this.text(chart.label?.(tick) ?? number(tick), this.toX(tick), box.bottom + 20, middle),
    ];
    return [...inside.flatMap(at), this.text(chart.x, (box.left + box.right) / 2, this.height - 12, middle)];
  }

  marks() {
    const { box } = this;
    return this.chart.marks.flatMap(({ x, label }) => [
      this.line(`M${this.toX(x)} ${box.top}V${box.bottom}`, "--muted", { "stroke-dasharray": "4 3" }),
      this.text(label, this.toX(x) + 4, box.top + 10, { "font-size": 12 }),
    ]);
  }

  bands() {
    const edge = (index) => stretches(this.xs, this.ys[index - 1], true, false).flat();
    return this.shown.flatMap(({ band, color }) => {
      if (!band) return [];
      const outline = [...edge(band[0]), ...edge(band[1]).reverse()];
      return outline.length > 0 ? [svg("path", { d: `${this.path(outline)}Z`, fill: this.css(color), opacity: 0.2 })] : [];
    });
  }

  lines() {
    return this.shown.map(({ ys, color, width = 1.5, dash, gaps }) => {
      const d = stretches(this.xs, ys, gaps, this.chart.log).map(this.path).join("");
      return this.line(d, color, { "stroke-width": width, "stroke-linejoin": "round", "stroke-dasharray": dash?.join(" ") });
    });
  }

  document() {
    const { chart, css, height } = this;
    const size = { viewBox: `0 0 ${WIDTH} ${height}`, width: WIDTH, height };
    return svg(
      "svg",
      { xmlns: "http://www.w3.org/2000/svg", ...size, role: "img", "font-family": FONT },
      svg("title", {}, chart.title),
      svg("rect", { width: "100%", height: "100%", fill: css("--card") }),
      this.text(chart.title, 20, 30, { "font-size": 17, "font-weight": 600, fill: css("--ink") }),
      [this.legend(), this.rows(), this.columns(), this.marks(), this.bands(), this.lines()],
    );
  }
}

export const toSvg = (chart, css) => new XMLSerializer().serializeToString(new Drawing(chart, css).document());

export async function toPng(chart, plot, css) {
  const scale = devicePixelRatio || 1;
  const canvas = new OffscreenCanvas(plot.width, plot.height + 62 * scale);
  const ctx = canvas.getContext("2d");
  ctx.fillStyle = css("--card");
  ctx.fillRect(0, 0, canvas.width, canvas.height);
  ctx.fillStyle = css("--ink");
  ctx.font = `600 ${16 * scale}px ${FONT}`;
  ctx.fillText(chart.title, 12 * scale, 24 * scale);
  ctx.font = `${12 * scale}px ${FONT}`;
  let at = 12 * scale;
  chart.series.forEach(({ name, color, follows }, index) => {
    if (chart.hidden.has(index) || follows !== undefined || chart.series.length < 2) return;
    ctx.fillStyle = css(color);
    ctx.fillRect(at, 41 * scale, 18 * scale, 3 * scale);
    ctx.fillStyle = css("--muted");
    ctx.fillText(name, at + 24 * scale, 46 * scale);
    at += 40 * scale + ctx.measureText(name).width;
  });
  ctx.drawImage(plot, 0, 60 * scale);
  return canvas.convertToBlob({ type: "image/png" });
}
