// A picture on a canvas that can be read: by eye with its axes, by pointer and arrow keys cell by cell, by ear through words, and
// saved as a PNG.
//
//   const picture = new Picture({ title, name, height, draw(ctx, width, height), read(x, y) -> {words, x, y} | null,
//                                 move(key) -> true if it took the key });
//   picture.paint()  picture.describe(words)  picture.element  picture.destroy()

import { cssOf } from "./color.js";
import { inTurn } from "../shared/turns.js";
import { button, css, el, uid } from "../../parts/dom.js";
import { download } from "../../parts/files.js";

export const FONT = "12px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
// Room for the axes, the same in all pictures, so that one time step stands below the other.
export const LEFT = 62;
export const RIGHT = 14;

const HEAD = 40;

export class Picture {
  #canvas = el("canvas", { role: "img" });
  #reading = el("output", { class: "reading" });
  #scheme = matchMedia("(prefers-color-scheme: dark)");
  #dead = false;

  constructor({ title, name, height, draw, point, move }) {
    Object.assign(this, { title, name, height, draw });
    this.paint = inTurn(() => this.#paint());
    const save = button("PNG", () => this.save(), { class: "button tiny", "aria-label": `${title}: save as PNG` });
    const head = el("figcaption", { class: "chart-head" }, el("span", { class: "chart-title" }, title), el("div", { class: "chart-menu" }, save));
    const help = el("span", { class: "sr-only", id: uid("keys") }, "Arrow keys go from cell to cell; Home and End to the first and the last step.");
    this.#canvas.setAttribute("aria-label", title);
    const keydown = (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey || !move(event.key)) return;
      event.preventDefault();
      this.paint();
    };
    const pointermove = ({ offsetX, offsetY }) => {
      point(offsetX, offsetY);
      this.paint();
    };
    const on = { keydown, pointermove, pointerdown: pointermove };
    const about = { class: "picture", tabindex: 0, role: "group", "aria-label": `${title}, cell by cell`, "aria-describedby": help.id, on };
    this.box = el("div", about, this.#canvas);
    this.element = el("figure", { class: "chart" }, head, this.box, this.#reading, help);
    this.#size = new ResizeObserver(this.paint);
    this.#size.observe(this.box);
    this.#scheme.addEventListener("change", this.paint);
  }

  #size;

  // What the canvas shows, in words.
  describe(words) {
    this.#canvas.setAttribute("aria-label", `${this.title}. ${words}`);
  }

  // What stands in the cell that is looked at.
  read(words) {
    if (this.#reading.textContent !== words) this.#reading.textContent = words;
  }

  destroy() {
    this.#dead = true;
    this.#size.disconnect();
    this.#scheme.removeEventListener("change", this.paint);
  }

  #paint() {
    const width = this.box.clientWidth;
    if (this.#dead || width === 0) return;
    this.#fit(this.#canvas, width, this.height);
    this.draw(this.#begun(this.#canvas), width, this.height);
  }

  #fit(canvas, width, height) {
    const scale = devicePixelRatio || 1;
    const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
    if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
    if (canvas.style) canvas.style.setProperty("height", `${height}px`);
  }

  #begun(canvas) {
    const scale = devicePixelRatio || 1;
    const ctx = canvas.getContext("2d");
    ctx.setTransform(scale, 0, 0, scale, 0, 0);
    ctx.clearRect(0, 0, canvas.width, canvas.height);
    ctx.font = FONT;
    ctx.imageSmoothingEnabled = false;
    return ctx;
  }

  async save() {
    const width = Math.max(600, this.box.clientWidth);
    const canvas = new OffscreenCanvas(1, 1);
    this.#fit(canvas, width, this.height + HEAD);
    const ctx = this.#begun(canvas);
    ctx.fillStyle = css("--card");
    ctx.fillRect(0, 0, width, this.height + HEAD);
    ctx.fillStyle = css("--ink");
    ctx.font = `600 16px${FONT.slice(4)}`;
    ctx.fillText(this.title, 12, 26);
    ctx.font = FONT;
    ctx.translate(0, HEAD);
    this.draw(ctx, width, this.height);
    download(`${this.name}.png`, await canvas.convertToBlob({ type: "image/png" }), "image/png");
  }
}

// The steps of a sequence along the bottom, counted back from its end, where the loss is.
export function drawTimeAxis(ctx, { steps, left, width, y, label = true }) {
  ctx.fillStyle = css("--muted");
  ctx.strokeStyle = css("--muted");
  ctx.lineWidth = 1;
  const cell = width / steps;
  const every = [1, 2, 5, 10, 20, 50, 100].find((every) => every * cell > 34) ?? 200;
  ctx.textAlign = "center";
  ctx.textBaseline = "top";
  for (let back = 0; back < steps; back += every) {
    const x = left + (steps - back - 0.5) * cell;
    ctx.beginPath();
    ctx.moveTo(x, y);
    ctx.lineTo(x, y + 4);
    ctx.stroke();
    ctx.fillText(back, x, y + 6);
  }
  if (label) ctx.fillText("steps back from the end of the sequence", left + width / 2, y + 22);
}

// What lies beyond the truncation, dimmed, and a line where it is.
export function drawCut(ctx, { steps, cut, left, width, top, height }) {
  if (!(cut < steps)) return;
  const x = left + ((steps - cut) / steps) * width;
  ctx.fillStyle = css("--card");
  ctx.globalAlpha = 0.72;
  ctx.fillRect(left, top, x - left, height);
  ctx.globalAlpha = 1;
  ctx.strokeStyle = css("--ink");
  ctx.setLineDash([4, 3]);
  ctx.beginPath();
  ctx.moveTo(x, top);
  ctx.lineTo(x, top + height);
  ctx.stroke();
  ctx.setLineDash([]);
}

// A strip of colours with numbers at it, `width` wide, its right end at `right`.
export function drawLegend(ctx, { colors, right, top, width, ticks }) {
  const left = right - width;
  for (let at = 0; at < width; at++) {
    ctx.fillStyle = cssOf(colors[Math.round((at / (width - 1)) * (colors.length - 1))]);
    ctx.fillRect(left + at, top, 1.5, 9);
  }
  ctx.strokeStyle = css("--edge");
  ctx.lineWidth = 1;
  ctx.strokeRect(left - 0.5, top - 0.5, width + 1.5, 10);
  ctx.fillStyle = css("--muted");
  ctx.textBaseline = "top";
  ctx.font = FONT.replace("12px", "11px");
  for (const [share, words] of ticks) {
    ctx.textAlign = share < 0.1 ? "left" : share > 0.9 ? "right" : "center";
    ctx.fillText(words, left + share * width, top + 12);
  }
  ctx.font = FONT;
}

// A cross over the cell that is looked at.
export function drawCursor(ctx, { x, y, width, height, box }) {
  ctx.strokeStyle = css("--ink");
  ctx.lineWidth = 1;
  ctx.globalAlpha = 0.55;
  ctx.strokeRect(x, box.top, width, box.height);
  ctx.globalAlpha = 1;
  ctx.lineWidth = 2;
  ctx.strokeRect(x - 1, y - 1, width + 2, Math.max(3, height) + 2);
}
