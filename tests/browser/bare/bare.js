// A page with the engine and nothing else.

import { BpttError, Engine } from "../../../web/engine.js";

Object.assign(globalThis, { BpttError, Engine });

// Steps of a run as [loss, norm] each, and the other events in order.
globalThis.watch = async (run, until = () => false) => {
  const seen = { losses: [], events: [] };
  for await (const event of run) {
    if (event.type === "steps") {
      for (let i = 0; i < event.losses.length; i += 2) seen.losses.push([event.losses[i], event.losses[i + 1]]);
    } else {
      seen.events.push(event.error ? { ...event, error: { ...event.error } } : event);
    }
    if (until(seen)) break;
  }
  return seen;
};
