// Which options a forecast begins with in a tab, and how they stand in the address.

import { DEFAULTS, OPTIONS } from "../../options.js";

// Smaller than the command line's, so that a forecast takes shape within seconds without a fast GPU.
const IN_A_TAB = { window: 48, horizon: 12, hidden_size: 32, num_layers: 1, lr: 0.005, epochs: 60 };

const every = Object.fromEntries(OPTIONS.map(({ name }) => [name, null]));
const COMMAND_LINE = { ...every, ...DEFAULTS.forecast, task: "forecast" };
export const PAGE = { ...COMMAND_LINE, ...IN_A_TAB };
export const asCommandLine = () => Object.fromEntries(Object.keys(IN_A_TAB).map((name) => [name, COMMAND_LINE[name]]));
export const asPage = () => ({ ...IN_A_TAB });

// Without what a file or the door says itself.
export const forEngine = ({ data: _, ...options }) => ({ ...options, task: "forecast" });

// Window and horizon by the rhythm of the rows and by how many there are; other options stay.
export function fitted({ rows, time }) {
  const season = time?.season ?? 12;
  const horizon = season === 7 ? 14 : Math.min(24, Math.max(season, 7));
  const window = Math.min(96, Math.max(24, 4 * season));
  return {
    horizon: Math.max(1, Math.min(horizon, Math.floor(rows / 30))),
    window: Math.max(2, Math.min(window, Math.floor(rows / 8))),
  };
}

// A link's query: what the command line would not take by itself, and where this page begins with something else.
export async function toQuery(engine, options) {
  const query = new URLSearchParams(await engine.toLink(forEngine(options)));
  for (const name of Object.keys(IN_A_TAB)) query.set(name, options[name]);
  query.delete("task");
  return query.toString();
}

// The options that a query names.
export async function fromQuery(engine, query) {
  const names = [...query.keys()];
  if (names.length === 0) return {};
  const all = await engine.fromLink(query.toString());
  return Object.fromEntries(names.map((name) => [name, all[name] ?? null]));
}
