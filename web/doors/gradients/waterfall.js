// The norm of ∂loss/∂h_t over training: a row for each look at the model, the newest at the bottom, a column for each time step.

import { colorOf, Decades, image, rising } from "./color.js";
import { drawCursor, drawCut, drawLegend, drawTimeAxis, LEFT, Picture, RIGHT } from "./picture.js";
import { css } from "../../parts/dom.js";
import { count, number } from "../../parts/format.js";
import { plain } from "../../parts/ticks.js";

const TOP = 38;
const BOTTOM = 40;
const HEIGHT = 300;
// Rows that fill the height, one number after the other; beyond the last every other row goes.
const FULL = [24, 36, 54, 80, 120, 180];
const MOST = FULL.at(-1);

export const power = (exponent) => `10${[...String(exponent)].map((c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[c])).join("")}`;

export class Waterfall {
  rows = []; // {step, norms: by distance from the end}
  steps = 1;
  cut = Infinity;
  #stride = 0;
  #scale = new Decades();
  #cells = null; // a canvas with one pixel a cell
  #looked = null; // {row, back}

  constructor({ title, name }) {
    const height = HEIGHT;
    this.picture = new Picture({
      title,
      name,
      height,
      draw: (ctx, width, height) => this.#draw(ctx, width, height),
      point: (x, y) => this.#point(x, y),
      move: (key) => this.#move(key),
    });
    this.element = this.picture.element;
  }

  begin(steps) {
    Object.assign(this, { steps, rows: [] });
    this.#stride = 0;
    this.#scale = new Decades();
    this.#cells = null;
    this.#looked = null;
    this.picture.describe("Nothing yet.");
    this.picture.read("");
    this.picture.paint();
  }

  add(step, norms) {
    const last = this.rows.at(-1);
    if (last && step - last.step < this.#stride) return;
    if (last?.step === step) this.rows.pop();
    this.rows.push({ step, norms });
    const rescaled = this.#scale.see(norms);
    if (this.rows.length > MOST) this.#thin();
    else if (rescaled) this.#cells = null;
    else this.#color(this.rows.length - 1);
    this.#tell();
    this.picture.paint();
  }

  // Without the looks after `step`.
  rewind(step) {
    this.rows = this.rows.filter((row) => row.step <= step);
    this.#cells = null;
  }

  // The colours' lowest and highest decade, for whoever wants to check them.
  get domain() {
    return [this.#scale.low, this.#scale.high];
  }

  #thin() {
    this.rows = this.rows.filter((_, at) => at % 2 === 0);
    this.#stride = this.rows.at(-1).step - this.rows.at(-2).step;
    this.#cells = null;
    this.#looked = null;
  }

  #color(at) {
    if (!this.#cells) return;
    const { norms } = this.rows[at];
    const colors = rising();
    const row = image(this.steps, 1, (t) => colorOf(colors, this.#scale.share(norms[this.steps - 1 - t])));
    this.#cells.getContext("2d").drawImage(row, 0, at);
  }

  #colored() {
    if (!this.#cells) {
      this.#cells = new OffscreenCanvas(this.steps, MOST);
      this.rows.forEach((_, at) => this.#color(at));
    }
    return this.#cells;
  }

  #box(width, height) {
    return { left: LEFT, top: TOP, width: width - LEFT - RIGHT, height: height - TOP - BOTTOM };
  }

  get #full() {
    return FULL.find((full) => full >= this.rows.length);
  }

  #draw(ctx, width, height) {
    const box = this.#box(width, height);
    const full = this.#full;
    this.box = box;
    ctx.fillStyle = css("--sunken");
    ctx.fillRect(box.left, box.top, box.width, box.height);
    const row = box.height / full;
    const { length } = this.rows;
    if (length > 0) {
      ctx.drawImage(this.#colored(), 0, 0, this.steps, length, box.left, box.top, box.width, row * length);
    }
    const { steps, cut } = this;
    drawCut(ctx, { steps, cut, ...box, height: row * length });
    drawTimeAxis(ctx, { steps, left: box.left, width: box.width, y: box.top + box.height });
    this.#drawRows(ctx, box, row);
    this.#drawScale(ctx, width);
    if (this.#looked) {
      const { row: at, back } = this.#looked;
      const cell = box.width / steps;
      const place = { x: box.left + (steps - 1 - back) * cell, y: box.top + at * row };
      drawCursor(ctx, { ...place, width: cell, height: row, box });
    }
    ctx.strokeStyle = css("--edge");
    ctx.lineWidth = 1;
    ctx.strokeRect(box.left - 0.5, box.top - 0.5, box.width + 1, box.height + 1);
  }

  // Training steps along the left side.
  #drawRows(ctx, box, row) {
    const [first, last] = [this.rows[0], this.rows.at(-1)];
    ctx.fillStyle = css("--muted");
    ctx.textBaseline = "middle";
    ctx.textAlign = "left";
    ctx.fillText("step", 2, TOP - 12);
    if (!first) return;
    ctx.textAlign = "right";
    const y = (step) => box.top + (this.rows.findIndex((row) => row.step >= step) + 0.5) * row;
    let free = y(last.step) - 16;
    ctx.fillText(count(last.step), box.left - 7, y(last.step));
    for (const step of plain(first.step, last.step, Math.max(2, (row * this.rows.length) / 45)).reverse()) {
      if (y(step) > free) continue;
      ctx.fillText(count(step), box.left - 7, y(step));
      free = y(step) - 16;
    }
  }

  #drawScale(ctx, width) {
    // Before anything is measured it shows what will come.
    const [low, high] = this.#scale.high === -Infinity ? [-4, 0] : [this.#scale.low, this.#scale.high];
    const across = Math.min(260, width - LEFT - RIGHT - 70);
    const every = Math.ceil((high - low) / (across / 44));
    const ticks = [];
    for (let decade = high; decade >= low; decade -= every) ticks.push([(decade - low) / (high - low), power(decade)]);
    drawLegend(ctx, { colors: rising(), right: width - RIGHT, top: 3, width: across, ticks });
    ctx.textAlign = "right";
    ctx.textBaseline = "top";
    ctx.fillStyle = css("--muted");
    ctx.fillText("‖∂loss/∂h‖", width - RIGHT - across - 8, 2);
  }

  #point(x, y) {
    if (!this.box || this.rows.length === 0) return;
    const { left, top, width, height } = this.box;
    const row = Math.floor(((y - top) / height) * this.#full);
    const step = Math.floor(((x - left) / width) * this.steps);
    this.#look(row, this.steps - 1 - step);
  }

  #look(row, back) {
    const within = (value, most) => Math.min(most, Math.max(0, value));
    this.#looked = { row: within(row, this.rows.length - 1), back: within(back, this.steps - 1) };
    const { step, norms } = this.rows[this.#looked.row];
    const where = this.#looked.back === 0 ? "at the last time step" : `${this.#looked.back} steps back`;
    this.picture.read(`Training step ${count(step)}, ${where}: ${number(norms[this.#looked.back], 3)}`);
  }

  #move(key) {
    const { row, back } = this.#looked ?? { row: this.rows.length - 1, back: 0 };
    const to = {
      ArrowUp: [row - 1, back],
      ArrowDown: [row + 1, back],
      ArrowLeft: [row, back + 1],
      ArrowRight: [row, back - 1],
      Home: [row, this.steps - 1],
      End: [row, 0],
      PageUp: [row - 10, back],
      PageDown: [row + 10, back],
    }[key];
    if (!to || this.rows.length === 0) return false;
    // The first arrow shows where one is.
    this.#look(...(this.#looked || !key.startsWith("Arrow") ? to : [row, back]));
    return true;
  }

  #tell() {
    const { step, norms } = this.rows.at(-1);
    const [near, far] = [norms[0], norms.at(-1)];
    const first = this.rows[0];
    const before = first.norms.at(-1) / first.norms[0];
    this.picture.describe(
      `${this.rows.length} looks at ${this.steps} time steps. At training step ${count(step)} the norm is ${number(near, 3)} at the last time step and ${number(far, 3)} at the first, a share of ${number(far / near, 3)}; at training step ${count(first.step)} the share was ${number(before, 3)}.`,
    );
  }
}
