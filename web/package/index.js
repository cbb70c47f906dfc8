// The package's face: a trainer is a file and options, its events an async iterator.

export { BpttError, Engine } from "./engine.js";
export { DEFAULTS, OPTIONS } from "./options.js";

import { Engine } from "./engine.js";

let existing = null;

// From here on trainers compute on this device, in the thread that calls: a device cannot go to a worker.
export function initExisting(adapter, device) {
  existing = { adapter, device };
}

// Measures how the GPU computes fastest, keeps that in this browser for the trainers to come, and tells what it has found.
export async function tune({ here = existing !== null } = {}) {
  const engine = await Engine.start({ here, gpu: existing });
  try {
    return await engine.tune();
  } finally {
    engine.close();
  }
}

// One training run, and afterwards its model.
export class Trainer {
  #engine;

  // `data`: a File, a Blob with a name, {name, bytes} or {name, text}; null for the built-in sunspots or for a task that makes
  // its own. `how` is a run's, and {here: true} does without a worker of its own.
  static async start(data, options = {}, { here = existing !== null, ...how } = {}) {
    how.signal?.throwIfAborted();
    const engine = await Engine.start({ here, gpu: existing });
    try {
      const file = data?.text !== undefined && typeof data.text === "string" ? encoded(data) : data;
      await engine.open(file ?? null);
      return new Trainer(engine, await engine.train(options, how));
    } catch (error) {
      engine.close();
      throw error;
    }
  }

  constructor(engine, run) {
    this.#engine = engine;
    this.run = run;
    this.started = run.started;
  }

  [Symbol.asyncIterator]() {
    return this.run[Symbol.asyncIterator]();
  }

  get report() {
    return this.run.report;
  }
  pause = () => this.run.pause();
  go = () => this.run.go();
  step = (count) => this.run.step(count);
  change = (change) => this.run.change(change);
  stop = () => this.run.stop();
  checkpoint = () => this.run.checkpoint();
  model = () => this.run.model();
  heldOut = (what) => this.run.heldOut(what);
  inspect = (what) => this.run.inspect(what);
  trace = (what) => this.run.trace(what);
  write = (prompt, how) => this.run.write(prompt, how);

  // Ends the run and its worker.
  close() {
    this.#engine.close();
  }
}

const encoded = ({ name, text }) => ({ name, bytes: new TextEncoder().encode(text) });
