// One sequence as it goes through a layer: input and marks above, then its gradient, the gates i, f, g, o and the memory c, all
// over the same time steps, one unit a row.

import { colorOf, cssOf, Decades, image, rising, signed } from "./color.js";
import { drawCursor, drawCut, drawLegend, drawTimeAxis, LEFT, Picture, RIGHT } from "./picture.js";
import { sequenceOf } from "./sequence.js";
import { css } from "../../parts/dom.js";
import { number } from "../../parts/format.js";

const HEAD = 34;
const INPUT = 46;
const STRIP = 16;
const GAP = 9;
const BOTTOM = 42;
const PANELS = [
  { sign: "i", word: "let in", name: "input gate", kind: 0 },
  { sign: "f", word: "keep", name: "forget gate", kind: 1 },
  { sign: "g", word: "new", name: "candidate", kind: 2, signed: true },
  { sign: "o", word: "show", name: "output gate", kind: 3 },
  { sign: "c", word: "memory", name: "memory", signed: true },
];

export class GatesPicture {
  cut = Infinity;
  #trace = null;
  #cell = null;
  #looked = null; // {t, y}
  #images = [];

  constructor() {
    this.picture = new Picture({
      title: "One sequence, gate by gate",
      name: "gates",
      height: 420,
      draw: (ctx, width) => this.#draw(ctx, width),
      point: (x, y) => this.#point(x, y),
      move: (key) => this.#move(key),
    });
    this.element = this.picture.element;
    this.#scheme.addEventListener("change", this.#recolor);
  }

  #scheme = matchMedia("(prefers-color-scheme: dark)");
  #recolor = () => {
    if (this.#trace) this.#color();
  };

  set(trace, place) {
    this.#trace = trace;
    this.#cell = trace.cells[place];
    this.sequence = sequenceOf(trace);
    const { hidden } = this.#cell;
    this.panel = Math.min(84, Math.max(44, 2 * hidden));
    this.picture.height = HEAD + INPUT + STRIP + PANELS.length * (this.panel + GAP) + 2 * GAP + BOTTOM;
    this.order = unitsByMemory(this.#cell);
    this.#color();
    this.#tellLooked();
    this.picture.paint();
  }

  destroy() {
    this.#scheme.removeEventListener("change", this.#recolor);
    this.picture.destroy();
  }

  // Of unit `unit` at step `t` what panel `at` shows.
  #value(at, t, unit) {
    const { gates, c, hidden } = this.#cell;
    const { kind } = PANELS[at];
    return kind === undefined ? c[t * hidden + unit] : gates[(t * 4 + kind) * hidden + unit];
  }

  #color() {
    const { hidden, c, gradient } = this.#cell;
    const { steps } = this.sequence;
    this.largest = c.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-6);
    const [plain, both] = [rising(), signed()];
    this.#images = PANELS.map((panel, at) => {
      const range = panel.kind === undefined ? this.largest : 1;
      const share = (value) => (panel.signed ? (value / range + 1) / 2 : value);
      return image(steps, hidden, (t, row) => colorOf(panel.signed ? both : plain, share(this.#value(at, t, this.order[row]))));
    });
    const scale = new Decades();
    scale.see(gradient);
    this.scale = scale;
    this.strip = image(steps, 1, (t) => colorOf(plain, scale.share(gradient[steps - 1 - t])));
  }

  get #tops() {
    const from = HEAD + INPUT + GAP + STRIP + GAP;
    return PANELS.map((_, at) => from + at * (this.panel + GAP));
  }

  #draw(ctx, width) {
    if (!this.#trace) return this.#drawNothing(ctx, width);
    const { steps, marked } = this.sequence;
    const box = { left: LEFT, width: width - LEFT - RIGHT };
    this.box = box;
    const cell = box.width / steps;
    const x = (t) => box.left + t * cell;
    this.#drawInput(ctx, x, cell);
    const below = HEAD + INPUT + GAP;
    ctx.drawImage(this.strip, box.left, below, box.width, STRIP);
    this.#label(ctx, "∂loss/∂h", "", below + STRIP / 2);
    this.#tops.forEach((top, at) => {
      ctx.drawImage(this.#images[at], box.left, top, box.width, this.panel);
      this.#label(ctx, PANELS[at].sign, PANELS[at].word, top + this.panel / 2);
    });
    const bottom = this.#tops.at(-1) + this.panel;
    drawCut(ctx, { steps, cut: this.cut, ...box, top: below, height: bottom - below });
    const inner = marked.filter((t, at) => this.sequence.adding || at === marked.length - 1);
    for (const t of inner) this.#outline(ctx, x(t), cell, below, bottom);
    if (!this.sequence.adding) this.#outline(ctx, x(this.sequence.sign), cell, below, bottom);
    drawTimeAxis(ctx, { steps, left: box.left, width: box.width, y: bottom });
    this.#legends(ctx, width);
    this.#cursor(ctx, x, cell, below, bottom);
  }

  #drawNothing(ctx, width) {
    ctx.fillStyle = css("--muted");
    ctx.textAlign = "center";
    ctx.fillText("A sequence is shown as soon as training begins.", width / 2, 60);
  }

  #label(ctx, sign, word, y) {
    ctx.textAlign = "right";
    ctx.textBaseline = "middle";
    ctx.fillStyle = css("--ink");
    ctx.fillText(sign, LEFT - 8, word ? y - 8 : y);
    ctx.fillStyle = css("--muted");
    if (word) ctx.fillText(word, LEFT - 8, y + 8);
  }

  #drawInput(ctx, x, cell) {
    const top = HEAD;
    if (this.sequence.adding) this.#drawNumbers(ctx, x, cell, top);
    else this.#drawSymbols(ctx, x, cell, top);
  }

  // Numbers as bars, the marked ones in another colour and with a mark.
  #drawNumbers(ctx, x, cell, top) {
    const { numbers, marked } = this.sequence;
    this.#label(ctx, "number", "", top + INPUT / 2);
    const tall = INPUT - 10;
    numbers.forEach((value, t) => {
      const chosen = marked.includes(t);
      ctx.fillStyle = css(chosen ? "--c-other" : "--c-naive");
      ctx.globalAlpha = chosen ? 1 : 0.55;
      const height = Math.max(1, value * tall);
      ctx.fillRect(x(t) + 0.1 * cell, top + INPUT - height, Math.max(1, 0.8 * cell), height);
      ctx.globalAlpha = 1;
      if (chosen) triangle(ctx, x(t) + cell / 2, top + INPUT - height - 3);
    });
  }

  #drawSymbols(ctx, x, cell, top) {
    const { ids, wanted, letter } = this.sequence;
    const row = INPUT / 2 - 2;
    const draw = (id, t, y) => {
      const sign = letter(id);
      const blank = sign === ".";
      if (!blank && sign !== ">") {
        ctx.fillStyle = cssOf(colorOf(rising(), 0.15 + id / 9));
        ctx.fillRect(x(t), y, cell, row);
      }
      if (cell < 9 && sign !== ">") return;
      ctx.fillStyle = blank || sign === ">" ? css("--ink") : id < 4 ? "#ffffff" : "#000000";
      ctx.textAlign = "center";
      ctx.textBaseline = "middle";
      ctx.fillText(blank ? "·" : sign, x(t) + cell / 2, y + row / 2 + 1);
    };
    this.#label(ctx, "input", "", top + row / 2);
    this.#label(ctx, "answer", "", top + row * 1.5 + 4);
    ids.forEach((id, t) => draw(id, t, top));
    wanted.forEach((id, t) => draw(id, t, top + row + 4));
  }

  #outline(ctx, x, cell, top, bottom) {
    ctx.strokeStyle = css("--c-other");
    ctx.lineWidth = 1.5;
    ctx.strokeRect(x - 0.75, top - 4, cell + 1.5, bottom - top + 4);
  }

  #legends(ctx, width) {
    const across = Math.min(110, (width - LEFT - RIGHT - 20) / 2);
    drawLegend(ctx, { colors: rising(), right: LEFT + across, top: 1, width: across, ticks: [[0, "0 shut"], [1, "open 1"]] });
    const most = number(this.largest, 2);
    const range = [[0, "−1"], [1, width > 480 ? `1 (c: ± ${most})` : "1"]];
    drawLegend(ctx, { colors: signed(), right: width - RIGHT, top: 1, width: across, ticks: range });
  }

  #cursor(ctx, x, cell, top, bottom) {
    if (!this.#looked) return;
    const { t, y } = this.#looked;
    drawCursor(ctx, { x: x(t), y, width: cell, height: this.#row, box: { top, height: bottom - top } });
  }

  get #row() {
    return this.panel / this.#cell.hidden;
  }

  #point(x, y) {
    if (!this.#trace || !this.box) return;
    const { steps } = this.sequence;
    const t = Math.floor(((x - this.box.left) / this.box.width) * steps);
    this.#look(t, y);
  }

  #look(t, y) {
    const tops = this.#tops;
    const bottom = tops.at(-1) + this.panel - this.#row;
    const within = (value, low, high) => Math.min(high, Math.max(low, value));
    let at = Math.max(0, tops.findLastIndex((top) => y >= top - GAP / 2));
    const row = within(Math.floor((within(y, tops[0], bottom) - tops[at]) / this.#row + 1e-6), 0, this.#cell.hidden - 1);
    this.#looked = { t: within(t, 0, this.sequence.steps - 1), at, row, y: tops[at] + row * this.#row };
    this.#tellLooked();
  }

  #tellLooked() {
    if (!this.#looked) return;
    const { steps, adding, numbers, marked, ids, letter } = this.sequence;
    const { at } = this.#looked;
    const t = Math.min(this.#looked.t, steps - 1);
    const unit = this.order[Math.min(this.#looked.row, this.order.length - 1)];
    const { name } = PANELS[at];
    const input = adding ? `number ${number(numbers[t], 3)}${marked.includes(t) ? ", marked" : ""}` : `symbol ${letter(ids[t])}`;
    const gradient = number(this.#cell.gradient[steps - 1 - t], 3);
    const value = number(this.#value(at, t, unit), 3);
    this.picture.read(`${steps - 1 - t} steps back: ${input}; ${name} of unit ${unit}: ${value}; ‖∂loss/∂h‖ ${gradient}`);
  }

  #move(key) {
    if (!this.#trace) return false;
    const { steps } = this.sequence;
    const start = { t: steps - 1, y: this.#tops[0], at: 0, row: 0 };
    const { t, at, row } = this.#looked ?? start;
    const tops = this.#tops;
    const down = row + 1 < this.#cell.hidden ? tops[at] + (row + 1.5) * this.#row : (tops[at + 1] ?? tops[at]) + 0.5 * this.#row;
    const up = row > 0 ? tops[at] + (row - 0.5) * this.#row : at > 0 ? tops[at - 1] + this.panel - 0.5 * this.#row : tops[0];
    const here = tops[at] + (row + 0.5) * this.#row;
    const to = {
      ArrowLeft: [t - 1, here],
      ArrowRight: [t + 1, here],
      ArrowUp: [t, up],
      ArrowDown: [t, down],
      Home: [0, here],
      End: [steps - 1, here],
      PageUp: [t, tops[Math.max(0, at - 1)] + 0.5 * this.#row],
      PageDown: [t, tops[Math.min(tops.length - 1, at + 1)] + 0.5 * this.#row],
    }[key];
    if (!to) return false;
    // The first arrow shows where one is.
    this.#look(...(this.#looked || !key.startsWith("Arrow") ? to : [t, here]));
    return true;
  }
}

// Units that keep longest first: their forget gates are the most open.
function unitsByMemory({ gates, hidden }) {
  const steps = gates.length / (4 * hidden);
  const kept = Array.from({ length: hidden }, (_, unit) => {
    let sum = 0;
    for (let t = 0; t < steps; t++) sum += gates[(t * 4 + 1) * hidden + unit];
    return sum;
  });
  return kept.map((_, unit) => unit).sort((a, b) => kept[b] - kept[a]);
}

function triangle(ctx, x, y) {
  ctx.beginPath();
  ctx.moveTo(x, y);
  ctx.lineTo(x - 5, y - 7);
  ctx.lineTo(x + 5, y - 7);
  ctx.fill();
}
