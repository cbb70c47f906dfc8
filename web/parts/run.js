// The bar that runs a run: begin, pause, one step, stop, how far it is, and what can be changed on its way. Every door has one.
//
//   const bar = new RunBar(context, {
//     begin: (how) => engine.train(options, { ...how, heldOut: {…} }),   // throws to refuse; the error is told
//     onBegin: (run) => {…}, onEvent: (event, run) => {…}, onReport: (report, run) => {…}, onSmaller: (options) => {…},
//   });
//   bar.start()            as the button does        bar.start(begin)      with another beginning: a checkpoint, a kept run
//   bar.reset()            forgets the run that was shown
//   bar.element  bar.run  bar.disabled = true | false

import { button, el, perFrame, replace } from "./dom.js";
import { download } from "./files.js";
import * as format from "./format.js";
import { labelOf, optionOf, ownField, select } from "./form.js";
import { sentence } from "./notices.js";

const SHOWN = ["Epoch", "Step", "Training loss", "Validation loss", "Gradient norm", "Learning rate", "Device", "Time"];
const CHANGED = ["lr", "max_norm", "epochs"];
const STATES = {
  running: "Training",
  paused: "Paused",
  finishing: "Testing the best weights",
  finished: "Finished",
  failed: "Stopped by an error",
  cancelled: "Ended",
};

export class RunBar {
  run = null;
  #context;
  #act;
  #off = () => {};
  #busy = false;
  #now = {};
  #clock = { spent: 0, since: null, epochs: 0 };
  #hidden = "go";
  #paint = perFrame(() => this.#draw());

  constructor(context, act) {
    this.#context = context;
    this.#act = act;
    this.train = button(act.label ?? "Train", () => this.start(), { class: "button primary" });
    this.pause = button("Pause", () => this.#ask((run) => run.pause()));
    this.go = button("Go on", () => this.#ask((run) => this.#goOn(run)), { class: "button primary" });
    this.step = button("Step", () => this.#ask((run) => run.step(1)), { title: "One optimizer step" });
    this.stop = button("Stop", () => this.#ask((run) => this.#end(run)), {
      title: "End here, with the best weights so far",
    });
    this.state = el("span", { class: "run-state" }, "Ready");
    this.progress = el("progress", { max: 1, value: 0, "aria-label": "Progress of the training" });
    this.figures = new Map(SHOWN.map((name) => [name, el("dd", {}, "–")]));
    const figures = [...this.figures].map(([name, value]) => el("div", {}, el("dt", {}, name), value));
    this.details = el("dl", { class: "figures" }, figures);
    const bar = el("div", { class: "run-buttons" }, this.train, this.go, this.pause, this.step, this.stop, this.state);
    this.note = el("p", { class: "hint run-note", role: "status" });
    this.why = el("p", { class: "hint run-note" });
    this.element = el("div", { class: "run" }, bar, this.progress, this.why, this.note, this.details, this.#onItsWay());
    document.addEventListener("visibilitychange", this.#seen);
    this.#show();
  }

  // Learning rate, clipping and epochs of a run that goes, and what a hidden tab does.
  #onItsWay() {
    const field = (name) => {
      const step = optionOf(name).kind === "integer" ? 1 : "any";
      const change = () => this.#change(name);
      const input = el("input", { type: "number", min: 0, step, name: `live-${name}`, autocomplete: "off", on: { change } });
      return [name, input];
    };
    this.live = new Map(CHANGED.map(field));
    const choices = [
      ["go", "goes on"],
      ["pause", "pauses"],
    ];
    const hidden = select(choices, this.#hidden, (value) => (this.#hidden = value));
    const fields = [...this.live].map(([name, input]) => ownField(labelOf(name), input));
    const shown = el("div", { class: "fields compact" }, fields, ownField("A hidden tab", hidden));
    this.ways = el("details", { class: "more" }, el("summary", {}, "Change it while it runs"), shown);
    return this.ways;
  }

  get disabled() {
    return this.train.disabled;
  }

  set disabled(disabled) {
    this.train.disabled = disabled;
  }

  get active() {
    return !!this.run && ["running", "paused", "finishing"].includes(this.run.state);
  }

  async start(begin = this.#act.begin) {
    if (this.#busy) return null;
    this.#working(true, "Starting…");
    const { device } = this.#context;
    try {
      const run = await begin({ device, keep: true });
      // Whoever sees the button can press it.
      this.#busy = false;
      this.follow(run);
      return run;
    } catch (error) {
      this.#refused(error);
      return null;
    } finally {
      this.#working(false);
    }
  }

  // Shows a run from here on.
  follow(run) {
    this.#off();
    this.run = run;
    this.#context.own(run);
    const { started } = run;
    this.#now = { started, position: started.position, lr: started.config.lr, val: started.epochs.at(-1)?.val_loss };
    this.#clock = { spent: 0, since: null, epochs: started.epochs.length };
    this.note.textContent = "";
    this.#settings(started.config);
    this.#act.onBegin?.(run);
    this.#off = run.on((event) => this.#receive(event));
    this.#show();
  }

  // Nothing of a run is shown any more.
  reset() {
    this.#off();
    this.run = null;
    this.#now = {};
    this.note.textContent = "";
    this.#show();
  }

  unmount() {
    this.#off();
    document.removeEventListener("visibilitychange", this.#seen);
  }

  #configured(config) {
    this.#now.started = { ...this.#now.started, config };
    this.#settings(config);
  }

  #settings(config) {
    for (const [name, input] of this.live) input.value = config[name] ?? "";
  }

  #working(busy, words) {
    this.#busy = busy;
    this.element.toggleAttribute("aria-busy", busy);
    this.element.classList.toggle("busy", busy);
    if (busy) this.state.textContent = words;
    else this.#show();
  }

  async #ask(request) {
    if (!this.run || this.#busy) return;
    this.#busy = true;
    try {
      await request(this.run);
    } catch (error) {
      this.#refused(error);
    } finally {
      this.#busy = false;
      this.#show();
    }
  }

  #end(run) {
    this.#now.stopped = true;
    return run.stop();
  }

  // A run that has done all its epochs goes on with as many again.
  async #goOn(run) {
    const all = run.state === "finished" && !this.#now.stopped;
    this.#now.stopped = false;
    if (all) this.#configured(await run.change({ epochs: this.#now.started.config.epochs + this.#epochs }));
    await run.go();
  }

  get #epochs() {
    return Math.max(1, Number(this.live.get("epochs").value) || 1);
  }

  async #change(name) {
    const input = this.live.get(name);
    const value = Number(input.value);
    if (!this.run || input.value === "" || Number.isNaN(value)) return;
    try {
      this.#configured(await this.run.change({ [name]: value }));
      input.removeAttribute("aria-invalid");
      this.#context.notices.clear("change");
      this.#context.notices.say(`${labelOf(name)} is now ${format.number(value)}.`);
      this.#paint();
    } catch (error) {
      input.setAttribute("aria-invalid", "true");
      this.#context.notices.tell({ kind: "error", id: "change", text: sentence(error) });
    }
  }

  #seen = () => {
    const { run } = this;
    if (!run || this.#hidden !== "pause") return;
    if (document.hidden && run.state === "running") {
      this.asleep = true;
      run.pause().catch(() => {});
    } else if (!document.hidden && this.asleep) {
      this.asleep = false;
      run.go().catch(() => {});
    }
  };

  #receive(event) {
    const { run } = this;
    if (event.type === "state") this.#became(event.state);
    if (event.type === "steps") {
      const { losses } = event;
      Object.assign(this.#now, { position: event, lr: event.lr, loss: losses.at(-2), norm: losses.at(-1) });
    }
    if (event.type === "epoch") {
      this.#clock.epochs += 1;
      Object.assign(this.#now, { epoch: event.epoch, loss: event.train_loss, val: event.val_loss });
    }
    if (event.type === "resumed") Object.assign(this.#now, { started: event.started, position: event.started.position });
    if (event.type === "notice") this.#told(event);
    if (event.type === "error") this.#failed(event.error);
    this.#act.onEvent?.(event, run);
    if (event.type === "report") {
      this.#now.early = !this.#now.stopped && event.report.epochs < this.#now.started.config.epochs;
      this.#act.onReport?.(event.report, run);
    }
    this.#paint();
  }

  #became(state) {
    const now = performance.now();
    if (state === "running") this.#clock.since ??= now;
    else if (this.#clock.since !== null) {
      this.#clock.spent += now - this.#clock.since;
      this.#clock.since = null;
    }
    this.#context.notices.say(STATES[state]);
    this.#show();
  }

  #told({ code, message }) {
    // Where it computes is said at the run itself; it needs nobody to do anything.
    if (["no-webgpu", "no-adapter", "no-device", "software"].includes(code)) return void (this.note.textContent = message);
    const save = {
      label: "Save last.ckpt",
      act: () => this.#ask(async (run) => download("last.ckpt", await run.checkpoint())),
    };
    const actions = code === "storage" ? [save] : [];
    this.#context.notices.tell({ kind: "warning", id: `run-${code}`, text: message, actions });
  }

  // The run stopped. What it needs to go on is kept.
  #failed(error) {
    const { notices } = this.#context;
    if (error.kind === "diverged") {
      const lower = this.#now.started.config.lr / 10;
      const again = async (run) => {
        this.#configured(await run.change({ lr: lower }));
        await run.go();
      };
      const label = `Go on with a learning rate of ${format.number(lower)}`;
      notices.tell({
        kind: "error",
        id: "failed",
        text: sentence(error),
        actions: [{ label, act: () => this.#ask(again) }],
      });
    } else if (error.kind === "panic") this.#context.restart(error);
    else {
      const actions = [{ label: "Go on from the last good state", act: () => this.#ask((run) => run.go()) }];
      notices.tell({ kind: "error", id: "failed", text: sentence(error), actions });
    }
  }

  // It did not begin.
  #refused(error) {
    const { notices } = this.#context;
    if (error.kind === "panic") return void this.#context.restart(error);
    const { smaller } = error;
    const words =
      smaller &&
      Object.entries(smaller)
        .map(([name, value]) => `${labelOf(name).toLowerCase()} ${value}`)
        .join(", ");
    const actions =
      smaller && this.#act.onSmaller ? [{ label: `Use ${words}`, act: () => this.#act.onSmaller(smaller) }] : [];
    notices.tell({ kind: "error", id: "failed", text: sentence(error), actions });
  }

  #show() {
    const state = this.run?.state;
    const over = !state || ["finished", "failed", "cancelled"].includes(state);
    this.train.hidden = !over;
    // After an early stop going on would stop again.
    this.go.hidden = !(state === "paused" || state === "failed" || (state === "finished" && !this.#now.early));
    this.go.textContent = state === "finished" && !this.#now.stopped ? "Train further" : "Go on";
    this.go.classList.toggle("primary", state !== "finished");
    this.pause.hidden = state !== "running";
    this.step.hidden = state !== "paused";
    this.stop.hidden = !(state === "running" || state === "paused");
    this.ways.hidden = !state;
    this.details.hidden = !state;
    this.progress.hidden = !state;
    if (!this.#busy) this.state.textContent = state ? STATES[state] : "Ready";
    const { patience } = this.#now.started?.config ?? {};
    const early = state === "finished" && this.#now.early;
    this.why.textContent = early
      ? `It stopped early: ${format.counted(patience, "epoch")} without a better validation loss.`
      : "";
    this.#refocus();
    this.element.dataset.state = state ?? "ready";
    this.#paint();
  }

  // A button that goes away hands the focus on.
  #refocus() {
    const { activeElement: focused } = document;
    if (!this.element.contains(focused) || !focused.hidden) return;
    [this.pause, this.go, this.train].find((button) => !button.hidden)?.focus();
  }

  #draw() {
    const { started, position, loss, norm, lr, val } = this.#now;
    if (!started) return;
    const { epochs } = started.config;
    const within = position.step_in_epoch ?? position.step;
    const per = started.steps_per_epoch;
    const epoch = Math.min(epochs, position.epoch + (position.step_in_epoch === undefined ? 1 : 0));
    const done = this.run.state === "finished" ? 1 : (epoch - 1 + within / per) / epochs;
    this.progress.value = Math.min(1, Math.max(0, done));
    const figures = {
      Epoch: `${format.count(epoch)} of ${format.count(epochs)}`,
      Step: `${format.count(within)} of ${format.count(per)}`,
      "Training loss": format.number(loss),
      "Validation loss": format.number(val),
      "Gradient norm": format.number(norm, 3),
      "Learning rate": format.number(lr, 3),
      Device: `${started.device === "gpu" ? "GPU" : "CPU"}${started.adapter ? `, ${started.adapter}` : ""}`,
      Time: this.#time(done),
    };
    for (const [name, words] of Object.entries(figures)) {
      const shown = this.figures.get(name);
      if (shown.textContent !== words) replace(shown, words);
    }
  }

  // Early stopping may end it sooner than it looks.
  #time(done) {
    const { spent, since, epochs } = this.#clock;
    const seconds = (spent + (since === null ? 0 : performance.now() - since)) / 1000;
    const before = this.#now.started.epochs.length / this.#now.started.config.epochs;
    const share = done - before;
    const took = format.duration(Math.max(0.001, seconds));
    if (this.run.state !== "running" || share < 0.002 || epochs === 0) return took;
    return `${took}, at most ${format.duration(((1 - done) / share) * seconds)} left`;
  }
}
