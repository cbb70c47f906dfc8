// Elements without markup: text only ever becomes text nodes, so nothing from a file can turn into HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
    else if (name === "vars") for (const [key, set] of Object.entries(value)) element.style.setProperty(key, set);
    else if (name === "value" || name === "checked") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  add(element, children);
  return element;
}

function add(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== undefined && child !== null && child !== false && child !== "") element.append(child);
  }
}

// el("p", { class: "note", on: { click } }, "text", el("b"), …): `on` are listeners, `vars` CSS custom properties.
export const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);

export const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

export function replace(element, ...children) {
  element.replaceChildren();
  add(element, children);
  return element;
}

export const button = (label, act, attributes = {}) =>
  el("button", { type: "button", class: "button", ...attributes, on: { click: act } }, label);

// The value of a custom property.
export const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

let ids = 0;
export const uid = (prefix) => `${prefix}-${++ids}`;

// At most one call of `act` a frame, with the last arguments; a hidden tab draws when it is seen again.
export function perFrame(act) {
  let last = null;
  return (...args) => {
    const waiting = last !== null;
    last = args;
    if (waiting) return;
    requestAnimationFrame(() => {
      const newest = last;
      last = null;
      act(...newest);
    });
  };
}

// `act` once nothing more has been asked for `ms` milliseconds.
export function settled(ms, act) {
  let timer;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => act(...args), ms);
  };
}
