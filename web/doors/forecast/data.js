// The card about the data: which file, what was understood of it, what it looks like.

import { Chart } from "../../parts/chart.js";
import { button, el, replace } from "../../parts/dom.js";
import { dropZone } from "../../parts/files.js";
import { count, counted, percent } from "../../parts/format.js";
import { select } from "../../parts/form.js";
import { sentence } from "../../parts/notices.js";

// Points of a preview: two for each pixel of a wide screen are enough.
const MOST = 1600;
const COLUMNS_SHOWN = 8;

export class DataCard {
  #chosen = null;

  constructor({ onFile, onSunspots, onColumn, onRemedy }) {
    this.onColumn = onColumn;
    this.onRemedy = onRemedy;
    this.chart = new Chart({
      title: "Your series",
      name: "series",
      height: 250,
      series: [{ name: "value", color: "--c-truth", width: 1.2 }],
    });
    this.facts = el("dl", { class: "facts" });
    this.notes = el("ul", { class: "notes" });
    this.column = el("div", { class: "preview-column" });
    this.reading = el("div", { class: "reading", hidden: true });
    this.trouble = el("div", { class: "trouble", role: "alert" });
    const label = "Choose a CSV file";
    const hint =
      "or drop it anywhere. Comma, semicolon or tab; a time column if there is one. Also last.ckpt, model.safetensors, config.toml.";
    const zone = dropZone({ label, hint, accept: ".csv,.tsv,.txt,.ckpt,.safetensors,.toml", onFile });
    this.sunspots = button("Back to the sunspots", onSunspots, { class: "button small", hidden: true });
    this.heading = el("h2", {}, "The data");
    this.element = el(
      "section",
      { class: "card data", "aria-label": "The data" },
      el("div", { class: "row spread" }, this.heading, this.sunspots),
      this.trouble,
      this.reading,
      el(
        "div",
        { class: "data-body" },
        el("div", {}, this.column, this.chart.element),
        el("div", { class: "stack tight" }, this.facts, this.notes, zone),
      ),
    );
  }

  // How far a long file is read.
  read(name, share) {
    this.reading.hidden = share === null;
    if (share === null) return;
    if (!this.reading.firstChild) {
      replace(this.reading, el("p", {}), el("progress", { max: 1, "aria-label": "Progress of reading the file" }));
    }
    const [words, bar] = this.reading.children;
    words.textContent = `Reading ${name}: ${percent(share)}`;
    bar.value = share;
  }

  // `about` is what was understood, `prepared` what a run makes of it (or null).
  show(about, prepared, options, sunspots) {
    this.sunspots.hidden = sunspots;
    this.heading.textContent = sunspots ? "The data: monthly sunspots since 1749" : `The data: ${about.name}`;
    const { time } = about;
    const targets = (prepared ?? about).targets;
    const facts = {
      Rows: count(about.rows),
      Columns: shortened(about.columns),
      "To forecast": shortened(targets),
      "Time column": time ? `${time.name}, ${time.first} to ${time.last}` : "none was found; rows are taken as they follow",
      Rhythm: time && `${time.step}${time.season ? `, a season has ${counted(time.season, "row")}` : ""}`,
      Windows: prepared && this.#windows(prepared, options),
    };
    const shown = Object.entries(facts).filter(([, value]) => value);
    replace(
      this.facts,
      shown.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
    );
    const notes = prepared?.notes ?? about.notes;
    replace(
      this.notes,
      notes.map((note) => el("li", {}, note)),
    );
    this.notes.hidden = notes.length === 0;
    this.#choose(about, targets[0] ?? about.columns.at(-1));
  }

  #windows({ windows }, { window, horizon }) {
    const parts = `${count(windows.train)} to train on, ${count(windows.validation)} to validate, ${count(windows.test)} to test`;
    return `${parts}; each ${counted(window, "row")} and the ${count(horizon)} after them`;
  }

  #choose(about, target) {
    if (!about.columns.includes(this.#chosen) || this.about !== about) this.#chosen = target;
    this.about = about;
    const choices = about.columns.map((name) => [name, name]);
    const chosen = (name) => {
      this.#chosen = name;
      this.onColumn();
    };
    const control = select(choices, this.#chosen, chosen);
    control.setAttribute("aria-label", "Column that is shown");
    replace(this.column, about.columns.length > 1 && control);
  }

  get shownColumn() {
    return this.#chosen;
  }

  preview({ rows, values, labels }, prepared, column) {
    const last = this.about.rows - 1;
    const places = new Map([0, Math.floor(last / 2), last].map((row, at) => [row, labels[at]]));
    const marks = prepared
      ? [
          { x: prepared.split.validation[0], label: "validation" },
          { x: prepared.split.test[0], label: "test" },
        ]
      : [];
    this.chart.retitle(column);
    this.chart.set([[...rows], [...values]], {
      marks,
      ticks: () => [...places.keys()],
      label: (row) => places.get(row) ?? count(row),
    });
    const words = `${counted(last + 1, "row")} of ${column} from ${labels[0]} to ${labels[2]}, between ${least(values)} and ${most(values)}.`;
    this.chart.describe(words);
  }

  // What is wrong with a file, with a way out where there is one.
  fail(error, name) {
    if (!error) return void replace(this.trouble);
    const fill = { label: "Fill missing values from their neighbours", options: { missing: "interpolate" } };
    const remedies = /the value is missing/.test(error.message) ? [fill] : [];
    const file = name ? `${name} cannot be used.` : "";
    replace(
      this.trouble,
      el("p", {}, `${file} ${sentence(error)}`.trim()),
      remedies.map(({ label, options }) => button(label, () => this.onRemedy(options), { class: "button small" })),
    );
  }

  unmount() {
    this.chart.destroy();
  }
}

const least = (values) => count(values.reduce((a, b) => Math.min(a, b), Infinity));
const most = (values) => count(values.reduce((a, b) => Math.max(a, b), -Infinity));

function shortened(names) {
  if (names.length <= COLUMNS_SHOWN) return names.join(", ");
  return `${names.slice(0, COLUMNS_SHOWN).join(", ")} and ${names.length - COLUMNS_SHOWN} more`;
}
