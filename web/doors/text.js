// The door to writing: a text is read, a network learns its characters and shows what it writes meanwhile, then goes on with a
// prompt.

import "./text/text.css";
import { deviceField } from "./shared/device.js";
import { linked } from "./shared/link.js";
import { LossCourse } from "./shared/loss.js";
import { BASIC, firstWord, GROUPS, suggested, WITHOUT } from "./text/plan.js";
import { SAMPLE, SAMPLE_NAME } from "./text/sample.js";
import { Samples } from "./text/samples.js";
import { WritePanel } from "./text/writer.js";
import { button, el, replace, settled } from "../parts/dom.js";
import { dropZone } from "../parts/files.js";
import { OptionsForm } from "../parts/form.js";
import { bytes, count, counted, number } from "../parts/format.js";
import { sentence } from "../parts/notices.js";
import { RunBar } from "../parts/run.js";
import { Take } from "../parts/take.js";

export const id = "text";
export const title = "Write like this text";
export const summary =
  "A small network reads a text, one character after the other, and learns to write like it, in this tab. Press Learn and watch its nonsense turn into words.";

export function mount(root, context) {
  const door = new TextDoor(root, context);
  return { unmount: () => door.unmount(), goOn: (begin) => door.goOn(begin), drop: (file) => door.take(file) };
}

const BITS = 1 / Math.LN2;

class TextDoor {
  #context;
  #about = null; // of the text that is opened
  #loaded = false; // a model in the engine that is not the run's
  wide = matchMedia("(min-width: 1000px)");
  #touched = false; // whether options were chosen by hand

  constructor(root, context) {
    this.#context = context;
    this.bar = new RunBar(context, {
      label: "Learn",
      begin: (how) => this.#begin(how),
      onBegin: (run) => this.#began(run),
      onEvent: (event) => this.#happened(event),
      onReport: (report) => this.#finished(report),
      onSmaller: (options) => this.#choose(options),
    });
    this.bar.disabled = true;
    this.form = new OptionsForm({
      basic: BASIC,
      groups: GROUPS,
      without: WITHOUT,
      values: suggested(SAMPLE.length),
      onChange: () => this.#chosen(),
    });
    this.form.append(deviceField(context, () => this.#setLink()));
    this.course = new LossCourse({
      title: "Bits per character",
      y: "bits",
      unit: "bits per character",
      factor: BITS,
      guess: "knowing only how often each character comes",
    });
    this.samples = new Samples();
    this.writer = new WritePanel(context, (prompt, how) => this.#write(prompt, how));
    this.saves = new Take(context, {
      model: () => this.bar.run.model(),
      checkpoint: () => this.bar.run.checkpoint(),
      config: async () => (await context.engine()).toToml(this.options),
      link: async () => context.address(await this.#query()),
      name: () => this.#about?.name,
    });
    this.learnt = el("p", { role: "status" });
    this.#laidOut(root);
    this.opened = this.#open(new File([SAMPLE], SAMPLE_NAME), { first: true });
  }

  // Two columns where there is room; else one, in the order of use.
  #laidOut(root) {
    const card = (heading, ...parts) => el("section", { class: "card" }, el("h2", {}, heading), ...parts);
    const unnamed = (label, ...parts) => el("section", { class: "card", "aria-label": label }, ...parts);
    const run = unnamed("Training", this.bar.element);
    const text = card("The text", this.#source());
    const network = card("The network", this.form.element);
    const samples = card("What it writes", this.samples.element);
    const loss = unnamed("Loss", this.course.element, this.#aboutBits());
    const writer = card("Let it go on", this.learnt, this.writer.element);
    const saves = card("Take it with you", this.saves.element);
    const stack = (...cards) => el("div", { class: "stack" }, cards);
    const columns = el("div", { class: "columns" });
    const arrange = () => {
      if (this.wide.matches) replace(columns, stack(text, network), stack(run, samples, loss, writer, saves));
      else replace(columns, stack(run, text, samples, loss, writer, network, saves));
    };
    this.wide.addEventListener("change", arrange);
    this.unarrange = () => this.wide.removeEventListener("change", arrange);
    arrange();
    root.append(el("h1", {}, title), el("p", { class: "lead" }, summary), columns);
  }

  #aboutBits() {
    return el(
      "p",
      { class: "hint" },
      "A bit is one yes-or-no question: at 2 bits per character the network hesitates, on average, between four characters. When training still falls and validation rises, it learns the text by heart; the best weights by validation are kept.",
    );
  }

  #source() {
    this.understood = el("p", { class: "understood", role: "status" }, "Reading…");
    this.excerpt = el("p", { class: "excerpt", tabindex: 0, role: "region", "aria-label": "How the text begins" });
    const paste = settled(500, () => this.#pasted());
    this.pasted = el("textarea", { rows: 3, "aria-label": "Paste a text", placeholder: "… or paste a text here", on: { input: paste } });
    const zone = dropZone({
      label: "Choose a text",
      hint: "or drop one: any text file. A model, a checkpoint or a config.toml that was saved here is understood, too.",
      accept: ".txt,.md,.csv,.safetensors,.ckpt,.toml,text/*",
      onFile: (file) => this.take(file),
    });
    const sample = () => this.#open(new File([SAMPLE], SAMPLE_NAME));
    const again = button("Use Alice in Wonderland", sample, { class: "button small" });
    return el("div", { class: "stack" }, this.understood, this.excerpt, zone, this.pasted, el("div", {}, again));
  }

  get options() {
    return { ...this.form.values, task: "text" };
  }

  async #query() {
    return (await this.#context.engine()).toLink(this.options);
  }

  async #setLink() {
    const query = await this.#query().catch(() => null);
    if (query !== null) this.#context.setLink(query);
  }

  #chosen() {
    this.#touched = true;
    this.form.clearFaults();
    this.#setLink();
  }

  #choose(options) {
    this.form.set(options);
    this.#chosen();
  }

  // A file of any kind that this door knows.
  async take(file) {
    const { notices } = this.#context;
    try {
      if (/\.ckpt$/i.test(file.name)) await this.#resume(new Uint8Array(await file.arrayBuffer()));
      else if (/\.safetensors$/i.test(file.name)) await this.#load(file);
      else if (/\.toml$/i.test(file.name)) await this.#configure(file);
      else await this.#open(file);
    } catch (error) {
      notices.tell({ kind: "error", id: "file", text: sentence(error) });
    }
  }

  #pasted() {
    const text = this.pasted.value;
    if (text.trim()) this.#open(new File([text], "pasted.txt"));
  }

  async #open(file, { first = false } = {}) {
    const { notices } = this.#context;
    if (this.bar.active) {
      const act = () => this.bar.run.cancel().then(() => this.#open(file));
      return void notices.tell({
        kind: "warning",
        id: "file",
        text: "The run is still learning from the text before.",
        actions: [{ label: "End it and take this text", act }],
      });
    }
    notices.clear("file");
    this.understood.textContent = `Reading ${file.name}, ${bytes(file.size)}…`;
    try {
      const engine = await this.#context.engine();
      await engine.open({ name: file.name, bytes: new Uint8Array(await file.arrayBuffer()) });
      this.#understood(await engine.describe({ task: "text" }));
      if (!this.#touched) this.form.set(suggested(this.#about.characters));
      if (first) await this.#follow(engine);
      this.bar.disabled = false;
    } catch (error) {
      this.bar.disabled = true;
      this.understood.textContent = this.#about ? `Not read: ${file.name}.` : "No text yet.";
      if (error.kind === "panic") this.#context.restart(error);
      else notices.tell({ kind: "error", id: "file", text: sentence(error) });
    }
  }

  // The options of the address.
  async #follow(engine) {
    const options = await linked(engine, this.#context.link, "text");
    if (Object.keys(options).length === 0) return;
    this.#touched = true;
    this.form.set(options);
  }

  #understood(about) {
    this.#about = about;
    const { name, characters, alphabet, lines, begins } = about;
    const kinds = [...alphabet].length;
    const what = `${counted(characters, "character")} of ${counted(kinds, "kind")} in ${counted(lines, "line")}`;
    this.understood.textContent = `${name}: ${what}.`;
    this.excerpt.textContent = begins.length < characters ? `${begins}…` : begins;
    this.excerpt.scrollTop = 0;
    this.writer.offer(firstWord(begins));
  }

  async #begin(how) {
    const wrong = this.form.fault;
    if (wrong) {
      wrong.input.focus();
      throw Object.assign(new Error(), { problem: "An option cannot be read", remedy: "correct what is marked" });
    }
    try {
      return await (await this.#context.engine()).train(this.options, how);
    } catch (error) {
      if (error.kind === "option") this.form.fail(error.option, sentence(error));
      throw error;
    }
  }

  #began(run) {
    this.#loaded = false;
    this.learnt.textContent = "";
    this.course.begin(run.started);
    this.writer.enable(true);
    this.saves.enable(["model", "checkpoint", "config", "link"]);
    this.samples.begin(run, firstWord(this.#about?.begins ?? ""));
  }

  #happened(event) {
    this.course.receive(event);
    if (event.type === "state" && event.state === "cancelled") this.writer.enable(false);
    if (event.type !== "steps" && event.type !== "epoch") return;
    const { step, validation, train } = { ...this.course.last };
    if (this.samples.due()) this.samples.write({ step: event.step, epoch: event.epoch, bits: train ?? validation ?? step });
  }

  // From here on the best weights write.
  async #finished(report) {
    const engine = await this.#context.engine();
    await engine.load(report.model);
    this.#loaded = true;
    const loss = [
      `best after epoch ${count(report.best_epoch)}`,
      report.val_loss !== null && `${number(report.val_loss * BITS, 3)} bits per character in validation`,
      report.test_loss !== null && report.test_loss !== undefined && `${number(report.test_loss * BITS, 3)} in the test`,
      report.naive_loss && `${number(report.naive_loss.loss * BITS, 3)} by ${report.naive_loss.name}`,
    ];
    this.learnt.textContent = `It has learnt: ${loss.filter(Boolean).join(", ")}.`;
    const bits = report.val_loss === null ? null : report.val_loss * BITS;
    await this.samples.end({ step: report.steps, epoch: report.epochs, bits, best: report.best_epoch }, engine);
  }

  #write(prompt, how) {
    const { run } = this.bar;
    const itself = run && !this.#loaded && ["running", "paused", "finishing"].includes(run.state);
    if (itself) return run.write(prompt, how);
    return this.#context.engine().then((engine) => engine.write(prompt, how));
  }

  async #load(file) {
    const engine = await this.#context.engine();
    const about = await engine.load(new Uint8Array(await file.arrayBuffer()), file.name);
    if (about.task !== "text") {
      const problem = `${file.name} is a model of numbers and writes no text`;
      throw Object.assign(new Error(), { problem, remedy: "load one that was trained on a text" });
    }
    this.#loaded = true;
    this.writer.enable(true);
    const kinds = counted([...about.alphabet].length, "kind");
    const text = `${file.name} is loaded: ${count(about.parameters)} weights, ${kinds} of characters. It writes below.`;
    this.learnt.textContent = text;
    this.writer.prompt.focus();
  }

  async #configure(file) {
    const engine = await this.#context.engine();
    const options = await engine.fromToml(await file.text(), file.name);
    if (options.task !== "text" && !/\.txt$/i.test(options.data ?? "")) {
      const remedy = "open it in the door that it is of";
      throw Object.assign(new Error(), { problem: `${file.name} has the options of another task`, remedy });
    }
    this.#choose(options);
    this.#context.notices.tell({ id: "file", text: `The options are those of ${file.name}.` });
  }

  #resume(checkpoint) {
    return this.goOn(async (how) => (await this.#context.engine()).resume(checkpoint, how));
  }

  // Shows the run that `begin` answers with; its text is the one that is opened.
  async goOn(begin) {
    await this.opened;
    const run = await this.bar.start(begin);
    if (!run) return;
    this.#touched = true;
    this.form.set(run.started.config);
    const engine = await this.#context.engine();
    this.#understood(await engine.describe({ task: "text" }));
    this.bar.disabled = false;
  }

  unmount() {
    this.unarrange();
    this.writer.cancel();
    this.bar.unmount();
    this.course.destroy();
  }
}
