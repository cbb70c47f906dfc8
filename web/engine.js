// The page's side of training: an `Engine` is a worker with the wasm module in it, a `Run` is a training run in that worker.
// Everything is a promise or an event; nothing here computes, so the page's own thread is never blocked.
//
//   const engine = await Engine.start();
//   await engine.open(file);                                  // a File, {name, bytes}, or null for the built-in sunspots
//   const about = await engine.describe({ window: 48 });      // what was understood of it
//   const run = await engine.train({ window: 48 }, { device: "auto" });
//   for await (const event of run) show(event);               // until it has ended
//   const report = await run.report;
//
// Options are those of the command line's config.toml, typed in `options.d.ts` with their help texts in `options.js`.
// Whatever is left out has the default of its task. Objects have the keys of config.toml and metrics.jsonl.
//
// ENGINE
//   Engine.start({here, gpu})        -> Engine. `here`: in this thread instead of a worker; `gpu: {adapter, device}`: an opened
//                                       WebGPU device to compute on (with `here` only: devices cannot go to a worker)
//   engine.version                      the crate's version
//   engine.complete(options)         -> all options, checked
//   engine.toToml(options)           -> text          engine.fromToml(text, name) -> options
//   engine.toLink(options)           -> "window=48&…" engine.fromLink(query)      -> options
//   engine.open(file)                -> {name, size}; the data that the calls below are about
//   engine.describe(options, {progress, signal})  -> Table | Text | Made (below); `progress(share)` while a long file is read
//   engine.prepare(options)          -> {rows, features, targets, season, notes, classes, split, windows}: what a run makes of it
//   engine.preview(options, column, most) -> {rows: Uint32Array, values: Float64Array, labels: [first, middle, last]}
//   engine.need(options, {device})   -> {bytes, largest: {name, bytes, lower}, fits, problem, smaller}: memory before it is asked
//                                       for; `smaller` = options with which it fits ({batch_size} or {window}), else null
//   engine.tune()                    -> Measured: how the GPU computes fastest, which takes up to a minute, without a run going on.
//                                       This browser keeps it, and runs on that GPU compute so from then on
//   engine.train(options, how)       -> Run
//   engine.resume(checkpoint, how)   -> Run that goes on after the checkpoint's last step (a last.ckpt's bytes)
//   engine.checkpointInfo(bytes)     -> {config, position, epochs}
//   engine.kept()                    -> null | {name, when, config, position, epochs}: the run that this browser keeps
//   engine.resumeKept(how)           -> Run; its file is opened, too
//   engine.forget()                     drops it
//   engine.load(bytes, name)         -> {config, built_in, features, targets, alphabet, task, parameters}: a model.safetensors,
//                                       which from here on the calls below are about
//   engine.forecast({horizon})       -> Ahead, by the loaded model after the last row of the opened data
//   engine.inspect({windows})        -> Inspection    engine.trace({index}) -> Trace
//   engine.write(prompt, {length, temperature, top_k, top_p, seed, onText, signal}) -> text, in pieces to `onText`
//   engine.close()                      ends the worker
//
// HOW a run goes: {device: "auto" | "gpu" | "cpu", init: bytes of a safetensors file to start from, paused: begin paused,
//   signal: AbortSignal that cancels it, slice: milliseconds between two looks at what is asked (40), keep: keep it in the
//   browser's storage (false), every: seconds between two checkpoints (5),
//   heldOut: {part: "validation" | "test", most: windows} adds `held_out` to epoch events,
//   gradients: {windows, every: steps} adds gradients events (every epoch without `every`),
//   samples: {prompt, length, temperature, top_k, top_p, seed, every: epochs} adds sample events}
//
// RUN
//   run.started                         {device, adapter, parameters, bytes, steps_per_epoch, config, task, notes, position,
//                                        epochs, naive_loss}
//   for await (const event of run)      every event from now on (the first reader: from the start), until the run has ended
//   run.on(listener)                 -> a function that ends it; the same events
//   run.state                           "running" | "paused" | "finishing" | "finished" | "failed" | "cancelled"
//   run.pause()  run.go()  run.step(n)  after a slice at most; `step` takes n steps of a paused run
//   run.change({lr, max_norm, clip_value, epochs}) -> config; a finished run with more epochs, or a failed one, goes on by go()
//   run.stop()                       -> Report, by the best weights so far
//   run.cancel()                        ends it without a report
//   run.report                          promise of the Report; rejects if the run fails or is cancelled
//   run.checkpoint()  run.model()    -> bytes of last.ckpt, of model.safetensors (the best so far)
//   run.heldOut({part, most})        -> HeldOut | null
//   run.inspect({windows})           -> Inspection    run.trace({index}) -> Trace
//   run.write(prompt, …)                as engine.write, by the model as it is now; training goes on in between
//
// EVENTS of a run
//   {type: "state", state}
//   {type: "notice", code, message}     code: "no-webgpu", "no-adapter", "no-device", "software" (the CPU is taken), "lost" (a
//                                       device was lost; it goes on on a new one), "storage" (it can no longer be kept)
//   {type: "steps", epoch, step_in_epoch, steps_per_epoch, step, lr, losses: Float32Array [steps, 2]}
//                                       loss and gradient norm of each step since the last such event
//   {type: "epoch", epoch, step, train_loss, val_loss, grad_norm, lr, best, held_out}
//   {type: "gradients", step, windows, window, cells, verdict}      an Inspection
//   {type: "sample", epoch, step, text}
//   {type: "resumed", started}          after a loss of the device: what came after started.position.steps is void
//   {type: "checkpoint", step, bytes}   a number of bytes; it was kept in memory and, if asked for, in storage
//   {type: "report", report}
//   {type: "error", error}              a BpttError; the last good state is kept
//
// TYPES
//   Table      {kind: "table", name, rows, columns, time: null | {name, step, season, first, last}, features, targets, notes}
//   Text       {kind: "text", name, characters, alphabet, lines, begins}
//   Made       {kind: "task", task, sequences, window}
//   HeldOut    {horizon, targets, origins: Uint32Array, labels, point, truth, repeat_last, seasonal: Float64Array | null,
//               quantiles: [{level, values}]}; numbers [windows, horizon, targets] in the data's units, origins = first row ahead
//   Ahead      {time, labels, targets, horizon, point, quantiles, csv: Uint8Array}; numbers [horizon, targets]
//   Report     {epochs, steps, best_epoch, train_loss, val_loss, test: Scores, baselines: {repeat_last, seasonal}: Scores,
//               best_naive: {name, scores}, calibration, test_loss, naive_loss: {loss, name}, season, test_windows,
//               test_forecasts: HeldOut, ahead: Ahead, model: Uint8Array}; what a task has not is null or undefined
//   Scores     {rmse, mae, mase}
//   Inspection {windows, window, cells: [{layer, reverse, gradient, last_step: number[] by distance from the window's end,
//               gates}], verdict: {finding, because, advice}}
//   Trace      {start, windows, window, features, targets, alphabet, inputs, answers: Float32Array, cells: [{layer, reverse,
//               hidden, gates: Float32Array [T, 4H] as i f g o, c: [T, H], h, gradient: Float64Array [T]}]}
//   Measured   {tuned: {adapter, tuning}: the choice, products: Times, recurrences: Times, stacks: Times or
//               null, kept: whether the browser keeps it}
//   Times      {hidden: Uint32Array, rows: [{candidate, seconds: Float64Array by hidden size, fewer where it was far behind}],
//               chosen: number of the row}
//
// ERRORS are `BpttError`s: `message` is a sentence, `kind` is "file" (with file, line, column), "option" (option), "io", "memory"
//   (bytes, allowed, smaller), "device", "lost", "diverged" (step, tensor), "panic" (a defect: start a new engine), "state" (not
//   now); `problem` and `remedy` are its parts. A cancelled call rejects with the signal's reason.
//
// WIRE (worker.js, session.js): requests {id, method, args}; answers {id, value} or {id, error}; events {run, event}, and
//   {id, part} for progress and text.

export class BpttError extends Error {
  constructor({ message, ...rest }) {
    super(message);
    Object.assign(this, rest, { name: "BpttError" });
  }
}

const wrong = (kind, problem, remedy) => new BpttError({ kind, problem, remedy, message: `${problem}: ${remedy}` });

export class Engine {
  #port;
  #calls = new Map();
  #runs = new Map();
  #next = 1;
  #gone = null;

  constructor(port) {
    this.#port = port;
    port.onmessage = ({ data }) => this.#receive(data);
    port.onerror = (event) => {
      event.preventDefault?.();
      this.#end(wrong("panic", `the worker failed: ${event.message || "it could not be loaded"}`, "reload the page"));
    };
  }

  static async start({ here = false, gpu = null } = {}) {
    if (gpu && !here) throw wrong("option", "an opened device cannot go to a worker", "start with {here: true}, too");
    const port = here
      ? await localPort()
      : new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "bptt" });
    const engine = new Engine(port);
    try {
      engine.version = (await engine.call("start", [gpu])).version;
    } catch (error) {
      engine.close();
      throw error;
    }
    return engine;
  }

  complete = (options = {}) => this.call("complete", [options]);
  toToml = (options = {}) => this.call("toToml", [options]);
  fromToml = (text, name = "config.toml") => this.call("fromToml", [name, text]);
  toLink = async (options = {}) => new URLSearchParams(await this.call("toPairs", [options])).toString();
  fromLink = (query) => this.call("fromPairs", [[...new URLSearchParams(query)]]);

  async open(file) {
    if (!file) return this.call("open", [null, null]);
    // A browser's File may have a method of that name.
    const bytes = file instanceof Blob ? new Uint8Array(await file.arrayBuffer()) : file.bytes;
    return this.call("open", [file.name, bytes]);
  }
  describe = (options = {}, { progress, signal } = {}) => this.call("describe", [options], { part: progress, signal });
  prepare = (options = {}) => this.call("prepare", [options]);
  preview = (options, column, most = 2000) => this.call("preview", [options, column, most]);
  need = (options = {}, { device = "auto" } = {}) => this.call("need", [options, device]);

  tune = () => this.call("tune", []);

  train = (options = {}, how = {}) => this.#run("train", [options], how);
  resume = (checkpoint, how = {}) => this.#run("resume", [checkpoint], how);
  resumeKept = (how = {}) => this.#run("resumeKept", [], { ...how, keep: true });
  checkpointInfo = (bytes) => this.call("checkpointInfo", [bytes]);
  kept = () => this.call("kept", []);
  forget = () => this.call("forget", []);

  load = (bytes, name = "model.safetensors") => this.call("load", [name, bytes]);
  forecast = ({ horizon } = {}) => this.call("forecast", [horizon]);
  inspect = ({ windows = 64 } = {}) => this.call("inspect", [null, windows]);
  trace = ({ index = 0 } = {}) => this.call("trace", [null, index]);
  write = (prompt, how) => this.writeBy(null, prompt, how);

  writeBy(run, prompt, { onText, signal, ...how } = {}) {
    return this.call("write", [run, prompt, how], { part: onText, signal });
  }

  async #run(method, args, { signal, ...how }) {
    signal?.throwIfAborted();
    const id = this.#next++;
    const run = new Run(this, id);
    this.#runs.set(id, run);
    try {
      run.started = await this.call(method, [id, ...args, how]);
    } catch (error) {
      this.#runs.delete(id);
      throw error;
    }
    run.follow(signal);
    return run;
  }

  // One request. `part` is called with what comes before its answer; `signal` gives up on it.
  call(method, args, { part, signal } = {}) {
    if (this.#gone) return Promise.reject(this.#gone);
    if (signal?.aborted) return Promise.reject(signal.reason);
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      const abort = () => {
        this.#post({ method: "giveUp", args: [id] });
        this.#calls.delete(id);
        reject(signal.reason);
      };
      signal?.addEventListener("abort", abort, { once: true });
      const ended = (settle) => (value) => {
        signal?.removeEventListener("abort", abort);
        settle(value);
      };
      this.#calls.set(id, { resolve: ended(resolve), reject: ended(reject), part });
      this.#post({ id, method, args });
    });
  }

  #post(message) {
    this.#port.postMessage(message);
  }

  #receive({ id, run, part, value, error, event }) {
    if (event) {
      if (event.error) event = { ...event, error: new BpttError(event.error) };
      this.#runs.get(run)?.receive(event);
      return;
    }
    const call = this.#calls.get(id);
    if (!call) return;
    if (part !== undefined) {
      call.part?.(part);
      return;
    }
    this.#calls.delete(id);
    if (error?.kind === "panic") this.#end(new BpttError(error));
    if (error) call.reject(new BpttError(error));
    else call.resolve(value);
  }

  close() {
    this.#end(wrong("state", "the engine is closed", "start another"));
  }

  #end(reason) {
    this.#gone ??= reason;
    this.#port.terminate?.();
    for (const call of this.#calls.values()) call.reject(reason);
    this.#calls.clear();
    for (const run of this.#runs.values()) run.end(reason);
  }
}

const OVER = ["finished", "failed", "cancelled"];

export class Run {
  #engine;
  #id;
  #listeners = new Set();
  #early = []; // events before anybody listens
  state = "paused";

  constructor(engine, id) {
    this.#engine = engine;
    this.#id = id;
    this.#expect();
  }

  // A run that goes on after its end has another report.
  #expect() {
    this.report = new Promise((resolve, reject) => Object.assign(this, { resolved: resolve, rejected: reject }));
    // Nobody need wait for it.
    this.report.catch(() => {});
  }

  pause = () => this.#call("pause");
  step = (count = 1) => this.#call("step", count);
  go = () => {
    if (OVER.includes(this.state)) this.#expect();
    return this.#call("go");
  };
  change = (change) => this.#call("change", change);
  stop = () => this.#call("stop").then(() => this.report);
  cancel = () => this.#call("cancel");
  checkpoint = () => this.#call("checkpoint");
  model = () => this.#call("model");
  heldOut = ({ part = "validation", most = 60 } = {}) => this.#call("heldOut", part, most);
  inspect = ({ windows = 64 } = {}) => this.#call("inspect", windows);
  trace = ({ index = 0 } = {}) => this.#call("trace", index);
  write = (prompt, how) => this.#engine.writeBy(this.#id, prompt, how);

  #call(method, ...args) {
    return this.#engine.call(method, [this.#id, ...args]);
  }

  reason = () => wrong("state", "the run was cancelled", "begin another");

  follow(signal) {
    if (!signal) return;
    const cancel = () => this.cancel().catch(() => {});
    this.reason = () => (signal.aborted ? signal.reason : wrong("state", "the run was cancelled", "begin another"));
    if (signal.aborted) cancel();
    signal.addEventListener("abort", cancel, { once: true });
  }

  on(listener) {
    this.#listeners.add(listener);
    const early = this.#early ?? [];
    this.#early = null;
    early.forEach(listener);
    return () => this.#listeners.delete(listener);
  }

  receive(event) {
    if (event.type === "state") this.state = event.state;
    if (event.type === "report") this.resolved(event.report);
    if (event.type === "error") this.rejected(event.error);
    if (event.state === "cancelled") this.rejected(this.reason());
    this.#early?.push(event);
    for (const listener of [...this.#listeners]) listener(event);
  }

  end(reason) {
    if (OVER.includes(this.state)) return;
    this.receive({ type: "error", error: reason });
    this.receive({ type: "state", state: "failed" });
  }

  async *[Symbol.asyncIterator]() {
    const events = [];
    let wake;
    const off = this.on((event) => {
      events.push(event);
      wake?.();
    });
    try {
      while (events.length > 0 || !OVER.includes(this.state)) {
        if (events.length === 0) await new Promise((resolve) => (wake = resolve));
        while (events.length > 0) yield events.shift();
      }
    } finally {
      off();
    }
  }
}

// The session in this thread, behind the same two functions as a worker.
async function localPort() {
  const { Session } = await import("./session.js");
  const port = {};
  const session = new Session((message) => port.onmessage?.({ data: message }));
  port.postMessage = (message) => session.receive(message);
  port.terminate = () => session.close();
  return port;
}
