import { el } from "../parts/dom.js";

export const id = "forecast";
export const title = "Forecast my file";
export const summary = "Drop a CSV: an LSTM learns from it in this tab and forecasts it, beside the naive forecasts.";

export function mount(root) {
  root.append(el("h1", {}, title), el("p", { class: "lead" }, summary));
  return { unmount() {} };
}
