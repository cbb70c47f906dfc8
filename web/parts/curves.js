// Loss and gradient norm of a run as they come: two charts that every door can show.

import { Chart } from "./chart.js";
import { counted, number } from "./format.js";
import { Trail, merged } from "./trail.js";

export class Curves {
  #losses = new Trail();
  #norms = new Trail();
  #epochs = { xs: [], train: [], val: [] };
  #naive = null; // {loss, name}

  constructor({ unit = "loss" } = {}) {
    this.loss = new Chart({
      title: `Training and validation ${unit}`,
      name: "loss",
      x: "epoch",
      log: true,
      series: [
        { name: "each step", color: "--c-naive", width: 1, gaps: true },
        { name: "training", color: "--c-model", width: 2, gaps: true },
        { name: "validation", color: "--c-other", width: 2, gaps: true },
        { name: "naive forecast", color: "--c-season", width: 1.5, dash: [6, 4], gaps: true },
      ],
    });
    this.norm = new Chart({
      title: "Gradient norm, before clipping",
      name: "gradient-norm",
      x: "epoch",
      log: true,
      series: [{ name: "norm", color: "--c-model", width: 1.5, gaps: true }],
    });
  }

  begin({ epochs, naive_loss: naive }) {
    this.#losses = new Trail();
    this.#norms = new Trail();
    this.#epochs = {
      xs: epochs.map(({ epoch }) => epoch),
      train: epochs.map(({ train_loss }) => train_loss),
      val: epochs.map(({ val_loss }) => val_loss),
    };
    for (const { epoch, grad_norm } of epochs) this.#norms.add(epoch, grad_norm);
    this.naive = naive ?? null;
    this.#paint();
  }

  // What a naive forecast loses, in the loss's own unit.
  get naive() {
    return this.#naive;
  }
  set naive(naive) {
    this.#naive = naive;
  }

  receive(event) {
    if (event.type === "steps") this.#steps(event);
    if (event.type === "epoch") this.#epoch(event);
    if (event.type === "resumed") this.#back(event.started);
  }

  #steps({ epoch, step_in_epoch: last, steps_per_epoch: per, losses }) {
    const taken = losses.length / 2;
    for (let at = 0; at < taken; at++) {
      const x = epoch - 1 + (last - taken + at + 1) / per;
      this.#losses.add(x, losses[2 * at]);
      this.#norms.add(x, losses[2 * at + 1]);
    }
    this.#paint();
  }

  #epoch({ epoch, train_loss, val_loss }) {
    const { xs, train, val } = this.#epochs;
    xs.push(epoch);
    train.push(train_loss);
    val.push(val_loss ?? null);
    this.#paint();
    const best = Math.min(...val.filter((loss) => loss !== null));
    const validation = Number.isFinite(best) ? `, validation loss ${number(val_loss)}, at best ${number(best)}` : "";
    this.loss.describe(`After ${counted(epoch, "epoch")}: training loss ${number(train_loss)}${validation}.`);
  }

  // After a lost device what was not kept has not happened.
  #back({ position, steps_per_epoch: per }) {
    const at = position.epoch + position.step / per;
    this.#losses.cut(at);
    this.#norms.cut(at);
    const keep = this.#epochs.xs.filter((epoch) => epoch <= position.epoch).length;
    for (const values of Object.values(this.#epochs)) values.length = keep;
    this.#paint();
  }

  #paint() {
    const { xs, train, val } = this.#epochs;
    const naive = this.#naive
      ? [
          [0, Math.max(1, xs.at(-1) ?? 1, this.#losses.xs.at(-1) ?? 1)],
          [this.#naive.loss, this.#naive.loss],
        ]
      : [[], []];
    this.loss.set(merged([[this.#losses.xs, this.#losses.ys], [xs, train], [xs, val], naive]));
    this.norm.set([this.#norms.xs, this.#norms.ys]);
    const { xs: steps, ys } = this.#norms;
    if (steps.length > 0)
      this.norm.describe(`The gradient norm was ${number(ys.at(-1), 3)} at epoch ${number(steps.at(-1), 3)}.`);
  }

  unmount() {
    this.loss.destroy();
    this.norm.destroy();
  }
}
