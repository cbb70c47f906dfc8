// The door that forecasts a table: the built-in sunspots at one click, or a file of one's own.

import "./forecast/forecast.css";
import { Curves } from "../parts/curves.js";
import { button, el, settled } from "../parts/dom.js";
import { bytes, counted } from "../parts/format.js";
import { labelOf, OptionsForm, ownField, select } from "../parts/form.js";
import { sentence } from "../parts/notices.js";
import { RunBar } from "../parts/run.js";
import { Take } from "../parts/take.js";
import { DataCard } from "./forecast/data.js";
import { Held } from "./forecast/held.js";
import { asCommandLine, asPage, fitted, forEngine, fromQuery, PAGE, toQuery } from "./forecast/options.js";
import { ResultCard } from "./forecast/result.js";

export const id = "forecast";
export const title = "Forecast my file";
export const summary =
  "Give it a table of numbers over time: an LSTM learns from it in this tab, nothing is sent anywhere, and you see its forecast beside the naive ones.";

const BASIC = [
  "target",
  "features",
  "window",
  "horizon",
  "num_layers",
  "hidden_size",
  "lr",
  "batch_size",
  "max_norm",
  "epochs",
];
const WITHOUT = ["task", "sequences", "label_smoothing", "ignore_index", "log_every", "precision"];
const MOST_WINDOWS = 60;

const contents = async (file) => ({ name: file.name, bytes: new Uint8Array(await file.arrayBuffer()) });

export const mount = (root, context) => new ForecastDoor(root, context);

class ForecastDoor {
  #context;
  #file = null; // null: the sunspots
  #options = { ...PAGE };
  #chosen = new Set(); // names of options that a person, a link or a file set
  #about = null;
  #prepared = null;
  #looked = 0; // which look at the data is the newest
  #reading = null; // ends the reading of a file
  #report = null;
  #gone = false;

  constructor(root, context) {
    this.#context = context;
    this.data = new DataCard({
      onFile: (file) => this.drop(file),
      onSunspots: () => this.#open(null),
      onColumn: () => this.#preview(),
      onRemedy: (options) => this.#remedy(options),
    });
    this.bar = new RunBar(context, {
      begin: (how) => this.#train(how),
      onBegin: (run) => this.#began(run),
      onEvent: (event, run) => this.#receive(event, run),
      onReport: (report) => this.#ended(report),
      onSmaller: (smaller) => this.#set(smaller),
    });
    this.held = new Held();
    this.curves = new Curves();
    this.result = new ResultCard();
    this.take = new Take(context, {
      model: () => this.bar.run.model(),
      checkpoint: () => this.bar.run.checkpoint(),
      forecast: () => this.#report.ahead.csv,
      config: async () => (await context.engine()).toToml(forEngine(this.#options)),
      link: async () => context.address(await this.#query()),
      name: () => this.#file?.name ?? "sunspots",
    });
    this.#build(root);
    this.#arrive();
  }

  #build(root) {
    const go = button("Train on the sunspots", () => this.#sunspots(), { class: "button primary large" });
    this.need = el("p", { class: "hint", role: "status" });
    this.size = el("p", { class: "hint" });
    this.form = new OptionsForm({
      basic: BASIC,
      groups: ["Data", "Model", "Regularisation", "Training"],
      without: WITHOUT,
      values: this.#options,
      onChange: (values, name) => this.#changed(values, name),
    });
    const devices = [
      ["auto", "automatic"],
      ["gpu", "GPU (WebGPU)"],
      ["cpu", "CPU"],
    ];
    const device = select(devices, this.#context.device, (value) => {
      this.#context.device = value;
      this.#link();
      this.#look();
    });
    this.form.append(ownField("Compute on", device, "Automatic takes a hardware GPU, else the CPU"));
    const wide = matchMedia("(min-width: 1000px)").matches;
    const settings = el(
      "details",
      { class: "card settings", open: wide },
      el("summary", {}, el("h2", {}, "Settings")),
      this.size,
      this.form.element,
      this.need,
    );
    this.live = el(
      "div",
      { class: "stack", hidden: true },
      this.held.element,
      el("div", { class: "halves" }, this.curves.loss.element, this.curves.norm.element),
    );
    this.wait = el(
      "p",
      { class: "wait" },
      "Press Train: the forecast of rows that the model does not learn from appears here, and gets better while you watch.",
    );
    this.training = el(
      "section",
      { class: "card training", "aria-label": "Training" },
      el("h2", {}, "Training"),
      this.bar.element,
      this.wait,
      this.live,
    );
    const taking = el(
      "section",
      { class: "card", "aria-label": "Take it with you" },
      el("h2", {}, "Take it with you"),
      this.take.element,
    );
    const intro = el(
      "header",
      { class: "intro" },
      el("h1", {}, title),
      el("p", { class: "lead" }, summary),
      el("div", { class: "row" }, go, el("span", { class: "hint" }, "One click, or bring a CSV of your own below.")),
    );
    root.append(
      intro,
      el(
        "div",
        { class: "stack" },
        this.data.element,
        el("div", { class: "columns" }, settings, el("div", { class: "stack" }, this.training, this.result.element, taking)),
      ),
    );
  }

  async #arrive() {
    try {
      this.engine = await this.#context.engine();
      this.#options = { ...this.#options, ...(await this.#named()) };
      this.form.set(this.#options);
    } catch (error) {
      this.#context.fail(error, "options");
    }
    if (this.engine && !this.#gone && !this.bar.run) await this.#open(null, { fit: false });
  }

  // The options of the address.
  async #named() {
    const named = await fromQuery(this.engine, this.#context.link);
    for (const name of Object.keys(named)) this.#chosen.add(name);
    return named;
  }

  // A file of any kind that belongs here.
  async drop(file) {
    const kinds = [
      [/\.toml$/i, () => this.#config(file)],
      [/\.ckpt$/i, () => this.#checkpoint(file)],
      [/\.safetensors$/i, () => this.#model(file)],
    ];
    const [, act] = kinds.find(([ending]) => ending.test(file.name)) ?? [null, () => this.#open(file)];
    try {
      await act();
    } catch (error) {
      this.#context.fail(error, "file");
    }
  }

  async #config(file) {
    const options = await this.engine.fromToml(await file.text(), file.name);
    for (const name of Object.keys(options)) this.#chosen.add(name);
    this.#set({ ...PAGE, ...options, task: "forecast" });
    this.#context.notices.tell({ id: "file", text: `The options of ${file.name} are taken.` });
  }

  async #checkpoint(file) {
    const checkpoint = new Uint8Array(await file.arrayBuffer());
    await this.goOn((how) => this.engine.resume(checkpoint, { ...how, keep: true }));
  }

  async #model(file) {
    const model = await this.engine.load(new Uint8Array(await file.arrayBuffer()), file.name);
    this.#set({ ...PAGE, ...model.config, task: "forecast" });
    const ahead = await this.engine.forecast();
    this.#report = { ahead };
    this.result.showAhead(ahead, this.#file?.name ?? "sunspots");
    this.take.enable(["forecast", "config", "link"]);
    this.result.heading.focus();
  }

  // Data to work on: a file, or null for the sunspots. What cannot be read leaves everything as it was.
  async #open(file, { fit = true, options = this.#options } = {}) {
    await this.#context.leave();
    this.#reading?.abort();
    const reading = new AbortController();
    this.#reading = reading;
    const before = this.#file;
    const name = file?.name ?? "sunspots";
    this.data.fail(null);
    if (file) this.data.read(name, 0);
    try {
      await this.engine.open(file && (await contents(file)));
      const progress = (share) => this.data.read(name, share);
      const columns = file === before ? {} : { target: [], features: [], time: null };
      const about = await this.engine.describe(forEngine({ ...options, ...columns }), { progress, signal: reading.signal });
      this.#file = file;
      if (file !== before) this.#clear();
      this.#adopt(about, { ...options, ...columns }, fit);
      await this.#look();
    } catch (error) {
      if (reading.signal.aborted) return;
      this.refused = file;
      this.data.fail(error, file?.name);
      if (file) await this.engine.open(before && (await contents(before))).catch(() => {});
    } finally {
      if (this.#reading === reading) this.data.read(name, null);
    }
  }

  // A run on other data is no longer shown.
  #clear() {
    this.bar.reset();
    this.#report = null;
    this.live.hidden = true;
    this.wait.hidden = false;
    this.take.enable(["config", "link"]);
  }

  // Another file has other columns; what a person chose stays if it can.
  #adopt(about, options, fit) {
    this.result.hide();
    this.#about = about;
    this.form.columns(about.columns);
    const suggested = fit && this.#file ? fitted(about) : fit ? { window: PAGE.window, horizon: PAGE.horizon } : {};
    for (const name of this.#chosen) delete suggested[name];
    this.#options = { ...options, ...suggested };
    this.form.set(this.#options);
  }

  // The file that could not be used, with other options.
  async #remedy(options) {
    Object.keys(options).forEach((name) => this.#chosen.add(name));
    await this.#open(this.refused, { options: { ...this.#options, ...options } });
  }

  #changed(values, name) {
    this.#options = values;
    if (name) this.#chosen.add(name);
    this.#link();
    this.#soon();
  }

  #set(options) {
    this.#options = { ...this.#options, ...options };
    this.form.set(this.#options);
    this.#changed(this.#options);
  }

  #query = () => toQuery(this.engine, this.#options);
  #link = settled(300, () => this.#query().then(this.#context.setLink, () => {}));
  #soon = settled(200, () => this.#look());

  // What a run would make of data and options, and the memory that it needs.
  async #look() {
    const look = ++this.#looked;
    const newest = () => look === this.#looked && !this.#gone;
    const options = forEngine(this.#options);
    this.#sized();
    try {
      const prepared = await this.engine.prepare(options);
      if (!newest()) return;
      this.#prepared = prepared;
      this.form.clearFaults();
      this.data.fail(null);
      this.data.show(this.#about, prepared, options, !this.#file);
      await this.#preview();
      if (newest() && !this.bar.active) await this.#needed(options);
    } catch (error) {
      if (newest()) this.#misfit(error, options);
    }
  }

  #misfit(error, options) {
    if (error.kind === "panic") return void this.#context.restart(error);
    this.#prepared = null;
    if (this.#about) this.data.show(this.#about, null, options, !this.#file);
    const place = error.option?.replaceAll("-", "_");
    if (!place || !this.form.fail(place, sentence(error))) this.data.fail(error);
    this.#preview().catch(() => {});
  }

  async #preview() {
    const column = this.data.shownColumn;
    if (!column) return;
    const preview = await this.engine.preview(forEngine(this.#options), column, 1600);
    if (!this.#gone) this.data.preview(preview, this.#prepared, column);
  }

  async #needed(options) {
    const need = await this.engine.need(options, { device: this.#context.device });
    if (this.#gone) return;
    this.need.classList.toggle("trouble", !need.fits);
    if (need.fits) {
      this.need.textContent = `Needs ${bytes(need.bytes)} of memory.`;
      return;
    }
    const words = (smaller) =>
      Object.entries(smaller)
        .map(([name, value]) => `${labelOf(name).toLowerCase()} ${value}`)
        .join(", ");
    const offer =
      need.smaller && button(`Use ${words(need.smaller)}`, () => this.#set(need.smaller), { class: "button small" });
    this.need.replaceChildren(
      el("span", {}, `This needs ${bytes(need.bytes)} of memory, more than there is here. `),
      offer ?? "Choose a smaller batch, window or hidden size.",
    );
  }

  // Whose sizes these are.
  #sized() {
    const names = Object.keys(asPage());
    const is = (sizes) =>
      names.every((name) => name === "window" || name === "horizon" || this.#options[name] === sizes[name]);
    const other = is(asCommandLine()) ? ["this page's", asPage()] : ["the command line's", asCommandLine()];
    const words = is(asPage()) ? "Small, so that a tab learns in seconds. " : "";
    this.size.replaceChildren(
      words,
      button(`Take ${other[0]} defaults`, () => this.#set(other[1]), { class: "link" }),
    );
  }

  async #sunspots() {
    if (this.#file) await this.#open(null);
    await this.bar.start();
  }

  async #train(how) {
    this.engine = await this.#context.engine();
    if (this.form.fault) {
      this.form.focus(this.form.fault.name);
      throw Object.assign(new Error(), { problem: "an option cannot be used", remedy: "see the marked field" });
    }
    return this.engine.train(forEngine(this.#options), { ...how, heldOut: { part: "validation", most: MOST_WINDOWS } });
  }

  // A run from somewhere else: a checkpoint's, or the one that was kept.
  async goOn(begin) {
    this.engine = await this.#context.engine();
    const run = await this.bar.start((how) => begin({ ...how, heldOut: { part: "validation", most: MOST_WINDOWS } }));
    if (!run) return;
    const { config } = run.started;
    this.#options = { ...PAGE, ...config, task: "forecast" };
    Object.keys(config).forEach((name) => this.#chosen.add(name));
    this.#about = await this.engine.describe(forEngine(this.#options));
    // The engine holds its bytes.
    this.#file = config.data ? (this.#file ?? { name: this.#about.name }) : null;
    this.form.columns(this.#about.columns);
    this.form.set(this.#options);
    await this.#look();
  }

  #began(run) {
    this.#report = null;
    this.result.hide();
    this.wait.hidden = true;
    this.live.hidden = false;
    this.held.begin(run.started);
    this.curves.begin(run.started);
    this.take.enable(["model", "checkpoint", "config", "link"]);
    this.training.scrollIntoView({
      block: "nearest",
      behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth",
    });
    this.#watch(run);
  }

  // Forecasts before the first epoch and within long ones; at most a quarter of the time goes into them.
  async #watch(run) {
    this.seen = -Infinity;
    const rest = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
    let cost = 0;
    while (!this.#gone && this.bar.run === run && this.bar.active) {
      if (run.state !== "finishing" && performance.now() - this.seen > 1000 + 3 * cost && !document.hidden) {
        const begun = performance.now();
        const held = await run.heldOut({ part: "validation", most: MOST_WINDOWS }).catch(() => null);
        cost = performance.now() - begun;
        if (held && this.bar.run === run && this.bar.active) this.#show(held);
      }
      await rest(150);
    }
  }

  #show(held) {
    this.seen = performance.now();
    this.held.show(held);
  }

  #receive(event, run) {
    this.curves.receive(event);
    if (event.type !== "epoch" || !event.held_out) return;
    this.#show(event.held_out);
    // A naive forecast's loss in the loss's unit, by how the errors of the same windows stand.
    const squared = run.started.config.loss === "mse";
    if (!this.curves.naive && squared && event.val_loss && this.held.ratio) {
      this.curves.naive = { loss: event.val_loss * this.held.ratio, name: "repeat the last value" };
    }
  }

  #ended(report) {
    this.#report = report;
    if (report.test_forecasts) this.held.show(report.test_forecasts, "Forecasts of the test rows, by the best weights");
    const text = this.result.show(report, this.#file?.name ?? "sunspots");
    this.take.enable(["model", "checkpoint", ...(report.ahead ? ["forecast"] : []), "config", "link"]);
    this.#context.notices.say(text);
  }

  unmount() {
    this.#gone = true;
    this.#reading?.abort();
    for (const part of [this.bar, this.data, this.held, this.curves, this.result]) part.unmount();
  }
}
