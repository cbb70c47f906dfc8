// Files in and out: read here, never sent anywhere.

import { button, el, uid } from "./dom.js";

// A zone to drop files on, with a button that picks them. `onFile` has one File at a time.
export function dropZone({ label, hint, accept, onFile }) {
  const input = el("input", {
    type: "file",
    id: uid("file"),
    class: "hidden-input",
    accept,
    tabindex: -1,
    "aria-label": label,
    on: {
      change: () => {
        const [file] = input.files;
        input.value = "";
        if (file) onFile(file);
      },
    },
  });
  const zone = el(
    "div",
    { class: "drop" },
    button(label, () => input.click(), { class: "button quiet" }),
    hint && el("p", { class: "hint" }, hint),
    input,
  );
  return zone;
}

const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");

// Files dropped anywhere on `area`, which has the class "over" while one hovers; answers with a function that ends it.
export function onDrop(area, onFile) {
  let depth = 0;
  const over = (change) => {
    depth = change === 0 ? 0 : Math.max(0, depth + change);
    area.classList.toggle("over", depth > 0);
  };
  const listeners = {
    dragenter: (event) => hasFiles(event) && (event.preventDefault(), over(1)),
    dragover: (event) => hasFiles(event) && event.preventDefault(),
    dragleave: (event) => hasFiles(event) && over(-1),
    drop: (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      over(0);
      const [file] = event.dataTransfer.files;
      if (file) onFile(file);
    },
  };
  const entries = Object.entries(listeners);
  for (const [name, listener] of entries) area.addEventListener(name, listener);
  return () => entries.forEach(([name, listener]) => area.removeEventListener(name, listener));
}

export function download(name, content, type = "application/octet-stream") {
  const blob = content instanceof Blob ? content : new Blob([content], { type });
  const url = URL.createObjectURL(blob);
  el("a", { href: url, download: name }).click();
  // Not before the browser has begun to read it.
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

// A file's name without its ending, for the names of what is made of it.
export const stem = (name) => name.replace(/\.[^.]*$/, "") || name;
