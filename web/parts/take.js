// What one can take along: the model, the run to go on with, the forecast, the options as a file and as a link.

import { button, el } from "./dom.js";
import { download, stem } from "./files.js";

const WHAT = {
  model: ["model.safetensors", "The best weights, which PyTorch and the command line load"],
  checkpoint: ["last.ckpt", "The whole run, to go on with here or on the command line"],
  forecast: ["forecast.csv", "The rows ahead, after the last one of the file"],
  config: ["config.toml", "The options, as the command line has them"],
  link: ["Copy a link", "To this page with these options; the data stay with you"],
};

// Buttons for what `have` has: {model, checkpoint, forecast: () => bytes, config: () => text, link: () => address,
// name: () => the data's name}; a promise will do.
export class Take {
  #context;
  #have;

  constructor(context, have) {
    this.#context = context;
    this.#have = have;
    this.buttons = new Map(Object.keys(WHAT).flatMap((key) => (have[key] ? [[key, this.#button(key)]] : [])));
    const entries = [...this.buttons].map(([key, take]) => el("li", {}, take, el("p", { class: "hint" }, WHAT[key][1])));
    this.element = el("ul", { class: "take" }, entries);
  }

  // Which of them there is something to take of.
  enable(keys) {
    for (const [key, take] of this.buttons) take.disabled = !keys.includes(key);
  }

  #button(key) {
    const [label] = WHAT[key];
    return button(label, () => this.#take(key), {
      class: "button quiet",
      "data-take": key,
      disabled: !["config", "link"].includes(key),
    });
  }

  async #take(key) {
    try {
      const value = await this.#have[key]();
      if (key === "link") await this.#copy(value);
      else download(key === "model" || key === "checkpoint" || key === "config" ? WHAT[key][0] : this.#named(key), value);
    } catch (error) {
      this.#context.fail(error, "take");
    }
  }

  #named = (key) => `${stem(this.#have.name?.() ?? "data")}-${WHAT[key][0]}`;

  async #copy(address) {
    const { notices } = this.#context;
    try {
      await navigator.clipboard.writeText(address);
      notices.tell({ id: "link", text: "The link is copied." });
    } catch {
      notices.tell({ id: "link", text: `The browser does not let the page copy; this is the link: ${address}` });
    }
  }
}
