// The course of a run's loss as a chart: each step, each epoch's training and validation loss, and what a constant guess has.
//
//   const course = new LossCourse({ title: "Bits per character", y: "bits", factor: 1 / Math.LN2, unit: "bits", guess: "…" });
//   course.begin(run.started);  course.receive(event);  course.element

import { inTurn } from "./turns.js";
import { Chart } from "../../parts/chart.js";
import { number } from "../../parts/format.js";

// More points than a screen is wide are no help.
const MOST = 1500;

export class LossCourse {
  #rows = []; // [x, step, train, validation], null where there is none
  #last = {};
  #show = inTurn(() => this.#paint());

  constructor({ title, y, unit = "", factor = 1, log = false, byEpoch = true, guess, height = 230 }) {
    Object.assign(this, { unit, factor, byEpoch, per: 1, naive: null });
    const series = [
      { name: "each step", color: "--c-naive", width: 1, gaps: true },
      { name: "training, per epoch", color: "--c-model", width: 2, gaps: true, points: true },
      { name: "validation, per epoch", color: "--c-other", width: 2, gaps: true, points: true },
      { name: guess, color: "--c-season", dash: [6, 4], gaps: true },
    ];
    this.chart = new Chart({ title, x: byEpoch ? "epoch" : "step", y, series, log, height });
    this.element = this.chart.element;
  }

  begin(started) {
    this.per = this.byEpoch ? started.steps_per_epoch : 1;
    this.naive = started.naive_loss ? started.naive_loss.loss * this.factor : null;
    this.#rows = [];
    this.#last = {};
    for (const { epoch, train_loss, val_loss } of started.epochs) {
      this.#epoch((epoch * started.steps_per_epoch) / this.per, train_loss, val_loss);
    }
    this.#show();
  }

  receive(event) {
    if (event.type === "steps") this.#steps(event);
    else if (event.type === "epoch") this.#epoch(event.step / this.per, event.train_loss, event.val_loss);
    else if (event.type === "resumed") this.#rewind(event.started.position.steps / this.per);
    else return;
    this.#show();
  }

  // The last numbers, in the chart's unit: {step, train, validation}.
  get last() {
    return this.#last;
  }

  destroy() {
    this.chart.destroy();
  }

  #steps({ step, losses }) {
    const count = losses.length / 2;
    for (let at = 0; at < count; at++) {
      const loss = losses[2 * at] * this.factor;
      this.#rows.push([(step - count + 1 + at) / this.per, Number.isFinite(loss) ? loss : null, null, null]);
      this.#last.step = loss;
    }
    if (this.#rows.length > MOST) this.#thin();
  }

  #epoch(x, train, validation) {
    const scaled = (loss) => (loss === null || loss === undefined ? null : loss * this.factor);
    Object.assign(this.#last, { train: scaled(train), validation: scaled(validation) });
    this.#rows.push([x, null, this.#last.train, this.#last.validation]);
  }

  // Two neighbouring steps become one, their mean.
  #thin() {
    const rows = [];
    for (const row of this.#rows) {
      const before = rows.at(-1);
      const both = before && row[1] !== null && before[1] !== null && !before.merged;
      if (both) Object.assign(before, { 0: row[0], 1: (before[1] + row[1]) / 2, merged: true });
      else rows.push(row);
    }
    rows.forEach((row) => delete row.merged);
    this.#rows = rows;
  }

  #rewind(x) {
    this.#rows = this.#rows.filter((row) => row[0] <= x);
  }

  #paint() {
    const column = (at) => this.#rows.map((row) => row[at]);
    this.chart.set([column(0), column(1), column(2), column(3), this.#rows.map(() => this.naive)]);
    const { train, validation, step } = this.#last;
    const told = [
      [`training ${number(train ?? step, 3)}`, train ?? step],
      [`validation ${number(validation, 3)}`, validation],
      [`constant guess ${number(this.naive, 3)}`, this.naive],
    ];
    const words = told.filter(([, value]) => value !== null && value !== undefined).map(([words]) => words);
    this.chart.describe(words.length > 0 ? `Now, in ${this.unit || "units of the loss"}: ${words.join(", ")}.` : "");
  }
}
