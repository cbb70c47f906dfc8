// The door to back-propagation through time itself: a made task, a network that has to remember, and the gradient's way back,
// while it learns.

import "./gradients/gradients.css";
import { tellCut } from "./gradients/cut.js";
import { startWeights } from "./gradients/gain.js";
import { Norms } from "./gradients/norms.js";
import { nameOf, Profile } from "./gradients/profile.js";
import { Sequences } from "./gradients/sequences.js";
import { PRESETS, Settings, Slider } from "./gradients/settings.js";
import { Waterfall } from "./gradients/waterfall.js";
import { ABOUT, FINDINGS, inWords, TASKS } from "./gradients/words.js";
import { deviceField } from "./shared/device.js";
import { linked } from "./shared/link.js";
import { LossCourse } from "./shared/loss.js";
import { inTurn } from "./shared/turns.js";
import { button, el, replace, settled } from "../parts/dom.js";
import { dropZone } from "../parts/files.js";
import { number } from "../parts/format.js";
import { sentence } from "../parts/notices.js";
import { RunBar } from "../parts/run.js";
import { Take } from "../parts/take.js";

export const id = "gradients";
export const title = "See gradients through time";
export const summary =
  "A network has to remember what it saw long ago. Whether it can learn that hangs on one thing: how much of the gradient arrives back there. Press Train and watch it.";

export function mount(root, context) {
  const door = new GradientsDoor(root, context);
  return { unmount: () => door.unmount(), goOn: (begin) => door.goOn(begin), drop: (file) => door.take(file) };
}

// How the model is looked at: over so many sequences, every so many steps.
const LOOKS = { windows: 16, every: 5 };

class GradientsDoor {
  #context;
  #maps = []; // a Waterfall for each direction of each layer
  #found = null; // the last Inspection
  #loaded = null; // the engine with the finished run's model in it
  #wide = matchMedia("(min-width: 1000px)");
  #again = settled(350, () => this.restart());
  #change = settled(120, () => this.#changeLive());
  #finding = "";

  constructor(root, context) {
    this.#context = context;
    this.settings = new Settings({ onChange: (name, live) => this.#set(name, live) });
    this.bar = new RunBar(context, {
      label: "Train",
      begin: (how) => this.#begin(how),
      onBegin: (run) => this.#began(run),
      onEvent: (event) => this.#happened(event),
      onReport: (report) => this.#finished(report),
      onSmaller: (options) => this.settings.set(options),
    });
    // The bar can change these, too.
    for (const name of ["lr", "max_norm"]) {
      const input = this.bar.live.get(name);
      input.addEventListener("change", () => input.value !== "" && this.#follow(name, Number(input.value)));
    }
    this.course = new LossCourse({ title: "Loss", unit: "", log: true, byEpoch: false, guess: "the constant answer", height: 230 });
    this.norms = new Norms();
    this.profile = new Profile();
    this.cut = new Slider({
      name: "cut",
      label: "If back-propagation were cut after (BPTT length)",
      values: [1],
      words: (steps, { values }) => (steps >= values.length ? "not cut" : `${steps} steps`),
      hint: "These tasks have their loss at the end and no option to truncate; this shows what truncating would drop of the gradient that was measured.",
      onInput: () => this.#cutMoved(),
    });
    this.sequences = new Sequences({
      trace: (index) => this.#trace(index),
      fail: (error) => this.#failed(error),
    });
    this.saves = new Take(context, {
      model: () => this.bar.run.model(),
      checkpoint: () => this.bar.run.checkpoint(),
      config: async () => (await context.engine()).toToml(this.settings.options),
      link: async () => context.address(await this.#query()),
      name: () => this.settings.task.value,
    });
    this.#layOut(root);
    this.#offerCut();
    this.ready = this.#prepare();
  }

  async #prepare() {
    this.bar.disabled = true;
    try {
      const { link } = this.#context;
      const engine = await this.#context.engine();
      const asked = new URLSearchParams(link);
      const gain = Number(asked.get("gain"));
      asked.delete("gain");
      if (asked.size > 0 && !asked.has("task")) asked.set("task", this.settings.task.value);
      await engine.open(null);
      this.settings.set(await linked(engine, asked));
      if (gain > 0) this.settings.set({ gain });
      this.#shown();
      this.bar.disabled = false;
    } catch (error) {
      this.#failed(error);
    }
  }

  #layOut(root) {
    const card = (label, ...parts) => el("section", { class: "card", "aria-label": label }, parts);
    const about = (key, ...presets) => el("div", { class: "explained" }, el("p", {}, ABOUT[key]), presets.length > 0 && this.#buttons(...presets));
    this.told = el("p", { class: "hint" });
    this.cutTold = el("p", { "data-cut": true });
    const [none, later] = FINDINGS.none;
    this.verdict = el("div", { class: "judged" }, el("p", { class: "finding" }, none), el("p", {}, later));
    this.spoken = el("p", { class: "sr-only", role: "status" });
    this.maps = el("div", { class: "maps" });
    this.settings.element.append(deviceField(this.#context, () => this.#shown()));
    const load = dropZone({
      label: "Load a run or its options",
      hint: "a last.ckpt to go on with, or a config.toml",
      accept: ".ckpt,.toml",
      onFile: (file) => this.take(file),
    });
    const run = card("Training", this.bar.element, this.#buttons("plain", "vanish", "remember", "explode", "clip"));
    const settings = el("section", { class: "card" }, el("h2", {}, "What is tried"), this.told, this.settings.element);
    const loss = el("div", {}, this.course.element, about("loss", "remember"));
    const norm = el("div", {}, this.norms.element, about("norms", "explode", "clip"));
    const pictures = [
      el("section", { class: "card" }, el("h2", {}, "Does the gradient arrive?"), this.verdict, this.spoken),
      card("The gradient over training", this.maps, about("waterfall", "plain", "vanish")),
      card("The gradient by distance", this.profile.element, this.cut.element, this.cutTold, about("profile", "vanish", "remember")),
      card("Gates", this.sequences.element, about("gates", "remember", "vanish")),
      card("Loss and norm", el("div", { class: "halves" }, loss, norm)),
      el("section", { class: "card" }, el("h2", {}, "Take it with you"), this.saves.element, load),
    ];
    const columns = el("div", { class: "columns" });
    const stack = (...cards) => el("div", { class: "stack" }, cards);
    this.arrange = () => {
      const last = pictures.at(-1);
      if (this.#wide.matches) replace(columns, stack(settings), stack(run, pictures));
      else replace(columns, stack(run, pictures.slice(0, -1), settings, last));
    };
    this.#wide.addEventListener("change", this.arrange);
    this.arrange();
    root.append(el("h1", {}, title), el("p", { class: "lead" }, summary), columns);
    this.#layMaps([{ layer: 0, reverse: false }]);
  }

  #buttons(...names) {
    const labels = {
      plain: "Start plainly",
      vanish: "Make it vanish",
      remember: "Let it remember",
      explode: "Make it explode",
      clip: "Tame it by clipping",
    };
    const made = names.map((name) => button(labels[name], () => this.preset(name), { class: "button small", "data-preset": name }));
    return el("div", { class: "presets" }, made);
  }

  // Settings that show one thing, tried at once.
  async preset(name) {
    this.settings.set(PRESETS[name]);
    this.#shown();
    await this.restart({ always: true });
  }

  // After a setting was changed by hand.
  #set(name, live) {
    this.settings.form.clearFaults();
    this.#shown();
    if (live && this.bar.active) this.#change();
    else if (this.bar.active) this.#again();
  }

  #follow(name, value) {
    this.settings.set({ [name]: value });
    if (name === "max_norm") this.norms.clipTo(value);
    this.#setLink();
  }

  async #changeLive() {
    const { lr, max_norm } = this.settings.options;
    if (!this.bar.active) return;
    try {
      await this.bar.run.change({ lr, max_norm });
      this.bar.live.get("lr").value = lr;
      this.bar.live.get("max_norm").value = max_norm;
      this.norms.clipTo(max_norm);
    } catch (error) {
      this.#failed(error);
    }
  }

  // Begins anew with the settings as they are; a run that was paused stays so.
  async restart({ always = false } = {}) {
    if (this.bar.disabled || (!this.bar.active && !always)) return;
    if (this.beginning) {
      this.pending = true;
      return;
    }
    this.paused = !always && this.bar.run?.state === "paused";
    this.beginning = this.bar.start();
    await this.beginning;
    this.beginning = null;
    if (!this.pending) return;
    this.pending = false;
    await this.restart({ always: true });
  }

  // What the settings say, beside them and in the address.
  #shown() {
    this.told.textContent = TASKS[this.settings.task.value];
    this.#offerCut();
    this.#setLink();
  }

  async #query() {
    const query = await (await this.#context.engine()).toLink(this.settings.options);
    const { gain } = this.settings;
    return gain === 1 ? query : `${query}&gain=${gain}`;
  }

  #setLink = settled(200, async () => {
    const query = await this.#query().catch(() => null);
    if (query !== null && !this.gone) this.#context.setLink(query);
  });

  async #begin(how) {
    const engine = await this.#context.engine();
    const { options, gain } = this.settings;
    try {
      await engine.open(null);
      const init = await startWeights(engine, options, gain);
      return await this.#looked(await engine.train(options, { ...how, init, paused: true, gradients: LOOKS }));
    } catch (error) {
      if (error.kind === "option") this.settings.form.fail(error.option, sentence(error));
      throw error;
    }
  }

  // The run before its first step is looked at, too.
  async #looked(run) {
    this.first = await run.inspect(LOOKS);
    return run;
  }

  #began(run) {
    const { config, position } = run.started;
    this.#loaded = null;
    this.step = position.steps;
    this.course.begin(run.started);
    this.norms.begin(config.max_norm);
    this.profile.begin();
    this.sequences.begin();
    this.#layMaps(this.first.cells);
    for (const map of this.#maps) map.begin(this.first.window);
    this.#offerCut();
    this.saves.enable(["model", "checkpoint", "config", "link"]);
    this.#see({ step: position.steps, ...this.first });
    const { paused } = this;
    this.paused = false;
    // After the bar has begun to listen.
    queueMicrotask(() => !paused && run.go().catch((error) => this.#failed(error)));
  }

  #happened(event) {
    this.course.receive(event);
    if (event.type === "steps") {
      this.step = event.step;
      this.norms.add(event);
    }
    if (event.type === "gradients") this.#see(event);
    if (event.type === "resumed") for (const map of this.#maps) map.rewind(event.started.position.steps);
    if (event.type === "state" && event.state === "paused") this.#look();
  }

  // A paused run is shown as it is, however few steps it took.
  async #look() {
    const { run } = this.bar;
    const found = await run.inspect(LOOKS).catch(() => null);
    if (found && run === this.bar.run) this.#see({ step: this.step, ...found });
  }

  // What was found: into all pictures.
  #see(found) {
    this.#found = found;
    const { step, cells } = found;
    cells.forEach((cell, at) => this.#maps[at]?.add(step, cell.last_step));
    const curves = cells.map((cell) => ({ name: nameOf(cell, cells.length > 1), norms: cell.last_step }));
    this.profile.set(curves, this.cut.value);
    this.#judge();
    if (this.sequences.due()) this.sequences.look();
  }

  #judge = inTurn(() => {
    const { finding, because, advice } = this.#found.verdict;
    const [word, meaning] = FINDINGS[finding] ?? [finding, ""];
    const then = finding === "reaches" ? "To go further" : "What may help";
    this.verdict.dataset.finding = finding;
    replace(
      this.verdict,
      el("p", { class: "finding" }, word),
      el("p", {}, meaning),
      el("p", { class: "hint" }, `Measured: ${inWords(because)}.`),
      advice.length > 0 && el("ul", { class: "hint" }, advice.map((one) => el("li", {}, `${then}: ${inWords(one)}.`))),
    );
    this.#tellCut();
    if (finding === this.#finding) return;
    this.#finding = finding;
    this.spoken.textContent = `The gradient: ${word}. ${meaning}`;
  });

  #layMaps(cells) {
    const names = cells.map((cell) => nameOf(cell, cells.length > 1));
    if (names.join() === this.#maps.map(({ label }) => label).join()) return;
    for (const map of this.#maps) map.picture.destroy();
    this.#maps = names.map((label, at) => {
      const of = cells.length > 1 ? `, ${label}` : "";
      const map = new Waterfall({ title: `The gradient at each time step, over training${of}`, name: `gradient-over-training-${at}` });
      map.label = label;
      map.cut = this.cut.value;
      return map;
    });
    replace(this.maps, this.#maps.map(({ element }) => element));
  }

  // The truncation can be anywhere up to the length of the sequences.
  #offerCut() {
    const length = this.bar.active && this.first ? this.first.window : this.settings.options.window;
    if (length === this.cut.values.length) return;
    this.cut.offer(Array.from({ length }, (_, at) => at + 1));
    this.cut.value = length;
    this.#cutMoved();
  }

  #cutMoved() {
    const cut = this.cut.value >= this.cut.values.length ? Infinity : this.cut.value;
    for (const map of this.#maps) {
      map.cut = cut;
      map.picture.paint();
    }
    this.sequences.cutAt(cut);
    if (this.#found && this.#found.window === this.cut.values.length) this.#see(this.#found);
    this.#tellCut();
  }

  #tellCut() {
    const norms = this.#found?.cells.at(-1).last_step;
    const fits = norms?.length === this.cut.values.length;
    this.cutTold.textContent = fits ? tellCut({ task: this.settings.task.value, norms, cut: this.cut.value }) : "";
  }

  // One sequence, by the run or by what it has learnt.
  #trace(index) {
    const { run } = this.bar;
    if (run && ["running", "paused", "finishing"].includes(run.state)) return run.trace({ index });
    return this.#loaded?.trace({ index }) ?? null;
  }

  async #finished(report) {
    const engine = await this.#context.engine();
    await engine.load(report.model);
    this.#loaded = engine;
    const best = report.val_loss ?? report.train_loss;
    const naive = report.naive_loss;
    const compared = naive ? `; ${naive.name} has ${number(naive.loss)}` : "";
    this.#context.notices.say(`Finished with a loss of ${number(best)}${compared}.`);
    this.sequences.look();
  }

  #failed(error) {
    if (this.gone || error.kind === "state") return;
    if (error.kind === "panic") this.#context.restart(error);
    else this.#context.notices.tell({ kind: "error", id: "gradients", text: sentence(error) });
  }

  async take(file) {
    try {
      if (/\.ckpt$/i.test(file.name)) {
        const bytes = new Uint8Array(await file.arrayBuffer());
        await this.goOn(async (how) => (await this.#context.engine()).resume(bytes, how));
      } else if (/\.toml$/i.test(file.name)) {
        const engine = await this.#context.engine();
        this.#adopt(await engine.fromToml(await file.text(), file.name), file.name);
      } else throw told(`${file.name} is neither a checkpoint nor options`, "drop a last.ckpt or a config.toml of the adding or the copying task");
    } catch (error) {
      this.#failed(error);
    }
  }

  #adopt(options, name) {
    if (!(options.task in TASKS)) throw told(`${name} is of another task`, "open it in the door that it is of");
    this.settings.set({ ...options, gain: 1 });
    this.#shown();
  }

  async goOn(begin) {
    await this.ready;
    const run = await this.bar.start(async (how) => {
      const run = await begin({ ...how, paused: true, gradients: LOOKS });
      this.#adopt(run.started.config, "This run");
      return this.#looked(run);
    });
    if (run) this.bar.disabled = false;
  }

  unmount() {
    this.gone = true;
    this.#wide.removeEventListener("change", this.arrange);
    this.bar.unmount();
    for (const part of [this.course, this.norms, this.profile, this.sequences]) part.destroy();
    for (const map of this.#maps) map.picture.destroy();
  }
}

const told = (problem, remedy) => Object.assign(new Error(`${problem}: ${remedy}`), { problem, remedy });
