// Sentences about what happened and what to do, where everybody finds them: seen above the page, read out by screen readers.

import { button, el } from "./dom.js";

export class Notices {
  #shown = new Map();
  element = el("div", { class: "notices" });
  // For what is only heard: the state of a run, a door that was opened.
  spoken = el("p", { class: "sr-only", role: "status" });

  // Shows `text`; one of the same `id` takes the place of the one before. `actions`: [{label, act}]; an action ends the notice.
  tell({ kind = "info", text, actions = [], id = text }) {
    this.clear(id);
    const act = (action) => () => {
      this.clear(id);
      action?.();
    };
    const notice = el(
      "div",
      { class: `notice ${kind}`, role: kind === "error" ? "alert" : "status", "data-notice": id },
      el("p", {}, text),
      actions.map(({ label, act: action }) => button(label, act(action), { class: "button small" })),
      button("×", act(), { class: "button dismiss", "aria-label": "Dismiss this message" }),
    );
    this.#shown.set(id, notice);
    this.element.append(notice);
    return () => this.clear(id);
  }

  clear(id) {
    this.#shown.get(id)?.remove();
    this.#shown.delete(id);
  }

  say(text) {
    this.spoken.textContent = text;
  }
}

// An error of the engine as a sentence: what is wrong, then what to do.
export function sentence(error) {
  const { problem, remedy, message = String(error) } = error ?? {};
  if (!problem) return ended(message);
  return `${ended(capital(problem))} ${remedy ? ended(capital(remedy)) : ""}`.trim();
}

const capital = (text) => text.replace(/^\p{Ll}(?!\w*[._])/u, (letter) => letter.toUpperCase());
const ended = (text) => (/[.!?]$/.test(text) ? text : `${text}.`);
