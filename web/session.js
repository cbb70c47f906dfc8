// What the worker does: it owns the wasm module, the data and the run, answers requests (engine.js lists them) and pulls the
// trainer in short slices, between which requests have their turn. One call into the module ends before the next begins.

import init, * as wasm from "./wasm/bptt.js";
import { keepTuned, openDevice, useDevice } from "./device.js";
import { Pull, breathe } from "./pull.js";
import * as store from "./store.js";

const fault = (kind, problem, remedy) => Object.assign(new Error(`${problem}: ${remedy}`), { kind, problem, remedy });

// An error as it goes through a message.
export const told = (error) => {
  const plain = { message: String(error?.message ?? error), kind: "panic" };
  return Object.assign(plain, error?.kind ? error : { problem: plain.message, remedy: "please report it, and reload the page" });
};

// The buffers of the typed arrays in a value, which need not be copied. What is still needed here is not handed over.
const buffers = (value, kept, found = new Set()) => {
  if (ArrayBuffer.isView(value)) {
    if (!kept.has(value.buffer)) found.add(value.buffer);
  } else if (value && typeof value === "object") Object.values(value).forEach((part) => buffers(part, kept, found));
  return found;
};

export class Session {
  #send;
  #turn = Promise.resolve();
  #givenUp = new Set();
  #panic = null;
  source = null;
  file = null; // {name, bytes} of the source
  model = null;
  pull = null;
  #spare = null; // {kind, device, name, notices}: a device that was asked for its limits, for the next run

  constructor(send) {
    this.#send = (message) => send(message, [...buffers(message, new Set([this.file?.bytes?.buffer]))]);
  }

  emit(run, event) {
    if (event.error) event = { ...event, error: told(event.error) };
    this.#send({ run, event });
  }

  async receive({ id, method, args }) {
    if (method === "giveUp") return void this.#givenUp.add(args[0]);
    const part = (part) => this.#send({ id, part });
    try {
      const handler = METHODS[method];
      if (!handler) throw fault("state", `there is no ${method}`, "use the engine and the worker of one version");
      this.#send({ id, value: await handler.call(this, args, { part, givenUp: () => this.#givenUp.has(id) }) });
    } catch (error) {
      this.#send({ id, error: told(this.#explained(error)) });
    } finally {
      this.#givenUp.delete(id);
    }
  }

  // Runs `work`, which may call into the module, after all before it have ended.
  exclusive(work) {
    const result = this.#turn.then(() => {
      if (this.#panic) throw this.#panic;
      return work();
    });
    this.#turn = result.catch(() => {});
    return result.catch((error) => {
      throw this.#explained(error);
    });
  }

  // After a panic the module throws whatever it throws; its own words say more.
  #explained(error) {
    return error?.kind ? error : (this.#panic ?? error);
  }

  async start(gpu) {
    const url = new URL("./wasm/bptt_bg.wasm", import.meta.url);
    await init({ module_or_path: url });
    wasm.onPanic((text) => {
      this.#panic ??= fault("panic", text, "this is a defect: please report it, and reload the page");
    });
    if (gpu) useDevice(gpu);
    return { version: wasm.version() };
  }

  open(name, bytes) {
    this.source?.free();
    this.source = new wasm.Source(name ?? undefined, bytes ?? undefined);
    this.file = name === null ? null : { name, bytes };
    return { name, size: bytes?.length ?? 0 };
  }

  data() {
    return (this.source ??= new wasm.Source());
  }

  // The run `id`, which is the last one begun, or the loaded model where there is no id.
  subject(id) {
    if (id === null && this.model) return this.model;
    if (id === null) throw fault("state", "no model is loaded", "load one, or train one");
    if (this.pull?.id !== id) throw fault("state", "this run has ended", "begin another");
    return this.pull;
  }

  async device(kind = "auto") {
    if (this.#spare?.kind !== kind) {
      const notices = [];
      const opened = await openDevice(kind, (notice) => notices.push(notice));
      this.#spare?.device.free();
      this.#spare = { kind, ...opened, notices };
    }
    return this.#spare;
  }

  // Measures the GPU and keeps what is fastest for the runs to come.
  async tune() {
    if (this.pull?.state === "running") throw fault("state", "a run is going on", "pause it, or wait for its end");
    const { device, name, notices } = await this.device("gpu");
    this.#spare = null;
    try {
      const measured = await device.tune();
      if (!measured) {
        const why = notices.map(({ message }) => ` (${message})`).join("");
        throw fault("device", `there is no GPU to measure${why}`, "compute on the CPU, which needs no tuning");
      }
      // Where a browser keeps nothing, what was found is not lost.
      const kept = await keepTuned(name, measured.tuned).then(
        () => true,
        () => false,
      );
      return { ...measured, kept };
    } finally {
      device.free();
    }
  }

  async begin(id, how, make) {
    if (this.pull) await this.pull.cancel();
    const device = async (kind) => {
      const { notices, ...opened } = await this.device(kind);
      this.#spare = null;
      notices.forEach((notice) => this.emit(id, { type: "notice", ...notice }));
      return opened;
    };
    const pull = new Pull(this, id, how, device);
    await pull.begin(make);
    this.pull = pull;
    return pull.describe();
  }

  close() {
    this.pull?.cancel();
  }
}

// Text by a writer, a few characters at a time, so that requests and training go on in between.
const PIECE = 16;

async function write(session, [id, prompt, how], { part, givenUp }) {
  const { length = 500, seed = Math.floor(Math.random() * 2 ** 32), ...sampling } = how;
  const writer = await session.exclusive(() => session.subject(id).writer(seed));
  let text = "";
  try {
    await session.exclusive(() => writer.begin(prompt));
    for (let rest = length; rest > 0 && !givenUp(); rest -= PIECE) {
      const piece = await session.exclusive(() => writer.next(Math.min(PIECE, rest), sampling));
      text += piece;
      part(piece);
      await breathe();
    }
  } finally {
    writer.free();
  }
  return text;
}

// Of the model alone: what a run answers itself goes through `subject`.
const ofModel = (name, ...rest) =>
  function ([id]) {
    return this.exclusive(() => this.subject(id)[name](...rest));
  };

const METHODS = {
  start([gpu]) {
    return this.start(gpu);
  },
  complete: ([options]) => wasm.complete(options),
  toToml: ([options]) => wasm.toToml(options),
  fromToml: ([name, text]) => wasm.fromToml(name, text),
  toPairs: ([options]) => wasm.toPairs(options),
  fromPairs: ([pairs]) => wasm.fromPairs(pairs),
  checkpointInfo: ([bytes]) => wasm.checkpointInfo(bytes),
  open([name, bytes]) {
    return this.exclusive(() => this.open(name, bytes));
  },
  describe([options], { part }) {
    return this.exclusive(() => this.data().describe(options, part));
  },
  prepare([options]) {
    return this.exclusive(() => this.data().prepare(options));
  },
  preview([options, column, most]) {
    return this.exclusive(() => this.data().preview(options, column, most));
  },
  need([options, kind]) {
    return this.exclusive(async () => (await this.device(kind)).device.need(this.data(), options));
  },
  tune() {
    return this.exclusive(() => this.tune());
  },
  train([id, options, { init, ...how }]) {
    return this.begin(id, how, (device) => wasm.Run.create(device, this.data(), options, init));
  },
  resume([id, bytes, how]) {
    return this.begin(id, how, (device) => wasm.Run.resume(device, this.data(), bytes));
  },
  async kept() {
    const kept = await store.read("run").catch(() => null);
    if (!kept) return null;
    const { name, when } = kept;
    return { name, when, ...wasm.checkpointInfo(kept.checkpoint) };
  },
  async resumeKept([id, how]) {
    const [kept, file] = [await store.read("run"), await store.read("file")];
    if (!kept) throw fault("state", "no run is kept", "begin a new one");
    await this.exclusive(() => this.open(file?.name ?? null, file?.bytes ?? null));
    return METHODS.resume.call(this, [id, kept.checkpoint, how]);
  },
  forget: () => store.remove("run", "file"),
  load([name, bytes]) {
    return this.exclusive(() => {
      const model = wasm.Trained.read(name, bytes);
      this.model?.trained.free();
      this.model = new Loaded(model, () => this.data());
      return model.describe();
    });
  },
  forecast([horizon]) {
    return this.exclusive(() => this.subject(null).forecast(horizon));
  },
  inspect([id, windows]) {
    return ofModel("inspect", windows).call(this, [id]);
  },
  trace([id, index]) {
    return ofModel("trace", index).call(this, [id]);
  },
  write(args, context) {
    return write(this, args, context);
  },
  checkpoint: ofModel("checkpoint"),
  model: ofModel("modelBytes"),
  heldOut([id, part, most]) {
    return ofModel("heldOut", part, most).call(this, [id]);
  },
  pause([id]) {
    return this.subject(id).pause();
  },
  go([id]) {
    return this.subject(id).go();
  },
  step([id, count]) {
    return this.subject(id).step(count);
  },
  change([id, change]) {
    return this.subject(id).change(change);
  },
  stop([id]) {
    return this.subject(id).stop();
  },
  cancel([id]) {
    return this.subject(id).cancel();
  },
};

// A loaded model, which works on the opened data.
class Loaded {
  constructor(trained, data) {
    this.trained = trained;
    this.data = data;
  }
  forecast = (horizon) => this.trained.forecast(this.data(), horizon);
  inspect = (windows) => this.trained.inspect(this.data(), windows);
  trace = (index) => this.trained.trace(this.data(), index);
  writer = (seed) => this.trained.writer(seed);
}
