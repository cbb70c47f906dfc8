// A chart as a file of its own: its series drawn again as SVG, or its canvas with title and legend as PNG.

import { number } from "./format.js";
import { plain, plainLog } from "./chart.js";
import { svg } from "./dom.js";

const WIDTH = 960;
const LEGEND = 22;
const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";

const finite = (values) => values.filter((value) => value !== null && Number.isFinite(value));

function extent(lists, log) {
  let [least, most] = [Infinity, -Infinity];
  for (const list of lists) {
    for (const value of list) {
      if (value === null || !Number.isFinite(value) || (log && value <= 0)) continue;
      least = Math.min(least, value);
      most = Math.max(most, value);
    }
  }
  if (least > most) return log ? [0.1, 1] : [0, 1];
  if (log) return [least / 1.1, most * 1.1];
  const room = 0.05 * (most - least || 1);
  return [least - room, most + room];
}

// Stretches of a line between its gaps, or all of it in one where it goes over them.
function stretches(xs, ys, over) {
  const found = [[]];
  ys.forEach((y, at) => {
    if (y === null || y === undefined || !Number.isFinite(y)) {
      if (!over && found.at(-1).length > 0) found.push([]);
    } else found.at(-1).push([xs[at], y]);
  });
  return found.filter((stretch) => stretch.length > 0);
}

const round = (value) => Math.round(10 * value) / 10;
const path = (points) => points.map(([x, y], at) => `${at === 0 ? "M" : "L"}${round(x)} ${round(y)}`).join("");

export function toSvg(chart, css) {
  const { series, log, data } = chart;
  const [xs, ...ys] = data ?? [[], ...series.map(() => [])];
  const shown = series.map((one, at) => ({ ...one, ys: ys[at] ?? [], at })).filter(({ at }) => !chart.hidden.has(at));
  const height = Math.max(320, chart.height + 120);
  const box = { left: 70, right: WIDTH - 20, top: 76, bottom: height - 52 };
  const [x0, x1] = extent([xs], false).map((value, at) => (xs.length > 0 ? finite([...xs]).at(at === 0 ? 0 : -1) : value));
  const [y0, y1] = extent(shown.map((one) => one.ys), log);
  const part = log ? (y) => Math.log(y / y0) / Math.log(y1 / y0) : (y) => (y - y0) / (y1 - y0);
  const toX = (x) => box.left + ((x - x0) / (x1 - x0 || 1)) * (box.right - box.left);
  const toY = (y) => box.bottom - part(Math.max(y, log ? y0 : y)) * (box.bottom - box.top);
  const text = (words, x, y, more = {}) => svg("text", { x, y, fill: css("--muted"), "font-size": 13, ...more }, words);
  const line = (d, more) => svg("path", { d, fill: "none", ...more });
  const root = svg(
    "svg",
    { xmlns: "http://www.w3.org/2000/svg", viewBox: `0 0 ${WIDTH} ${height}`, width: WIDTH, height, role: "img", "font-family": FONT },
    svg("title", {}, chart.title),
    svg("rect", { width: "100%", height: "100%", fill: css("--card") }),
    text(chart.title, 20, 30, { "font-size": 17, "font-weight": 600, fill: css("--ink") }),
  );
  let at = 20;
  for (const { name, color, dash } of series.length > 1 ? shown : []) {
    root.append(line(`M${at} ${52}h24`, { stroke: css(color), "stroke-width": 3, "stroke-dasharray": dash && "4 3" }));
    root.append(text(name, at + 30, 56));
    at += 60 + 7.5 * name.length;
  }
  for (const tick of log ? plainLog(y0, y1) : plain(y0, y1, 5)) {
    root.append(line(`M${box.left} ${round(toY(tick))}H${box.right}`, { stroke: css("--line") }));
    root.append(text(number(tick, 3), box.left - 8, toY(tick) + 4, { "text-anchor": "end" }));
  }
  for (const tick of chart.ticks?.(x0, x1, WIDTH) ?? plain(x0, x1, 8)) {
    if (toX(tick) < box.left - 1 || toX(tick) > box.right + 1) continue;
    root.append(line(`M${round(toX(tick))} ${box.bottom}v5`, { stroke: css("--muted") }));
    root.append(text(chart.label?.(tick) ?? number(tick), toX(tick), box.bottom + 20, { "text-anchor": "middle" }));
  }
  root.append(text(chart.x, (box.left + box.right) / 2, height - 12, { "text-anchor": "middle" }));
  for (const { x, label } of chart.marks) {
    root.append(line(`M${round(toX(x))} ${box.top}V${box.bottom}`, { stroke: css("--muted"), "stroke-dasharray": "4 3" }));
    root.append(text(label, toX(x) + 4, box.top + 10, { "font-size": 12 }));
  }
  for (const { band, color } of shown) {
    if (!band) continue;
    const [upper, lower] = band.map((index) => stretches(xs, ys[index - 1], true).flat().map(([x, y]) => [toX(x), toY(y)]));
    if (upper.length > 0) root.append(svg("path", { d: `${path([...upper, ...lower.reverse()])}Z`, fill: css(color), opacity: 0.2 }));
  }
  for (const { ys, color, width = 1.5, dash, gaps } of shown) {
    const d = stretches(xs, [...ys], gaps).map((stretch) => path(stretch.map(([x, y]) => [toX(x), toY(y)]))).join("");
    root.append(line(d, { stroke: css(color), "stroke-width": width, "stroke-linejoin": "round", "stroke-dasharray": dash?.join(" ") }));
  }
  return new XMLSerializer().serializeToString(root);
}

export async function toPng(chart, plot, css) {
  const scale = devicePixelRatio || 1;
  const [width, height] = [plot.width, plot.height + 62 * scale];
  const canvas = new OffscreenCanvas(width, height);
  const ctx = canvas.getContext("2d");
  ctx.fillStyle = css("--card");
  ctx.fillRect(0, 0, width, height);
  ctx.fillStyle = css("--ink");
  ctx.font = `600 ${16 * scale}px ${FONT}`;
  ctx.fillText(chart.title, 12 * scale, 24 * scale);
  ctx.font = `${12 * scale}px ${FONT}`;
  let at = 12 * scale;
  chart.series.forEach(({ name, color }, index) => {
    if (chart.hidden.has(index) || chart.series.length < 2) return;
    ctx.fillStyle = css(color);
    ctx.fillRect(at, (24 + LEGEND - 5) * scale, 18 * scale, 3 * scale);
    ctx.fillStyle = css("--muted");
    ctx.fillText(name, at + 24 * scale, (24 + LEGEND) * scale);
    at += 40 * scale + ctx.measureText(name).width;
  });
  ctx.drawImage(plot, 0, 60 * scale);
  return canvas.convertToBlob({ type: "image/png" });
}
