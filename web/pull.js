// One run: pulls the trainer in slices, and does in between what was asked to be seen.

import { Run } from "./wasm/bptt.js";
import * as store from "./store.js";

// Losses of a device after which the CPU takes over.
const MOST_LOSSES = 3;

// Lets messages in before it goes on; a timer would wait 4 ms.
export const breathe = () =>
  new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });

const fault = (problem, remedy) =>
  Object.assign(new Error(`${problem}: ${remedy}`), { kind: "state", problem, remedy });

export class Pull {
  #session;
  #openDevice;
  #run = null;
  #adapter = ""; // the device's name, if the browser tells it
  #looping = null;
  #steps = Infinity; // until it pauses by itself
  #losses = 0;
  #kept = null; // the last checkpoint
  #best = null; // that after the best epoch so far, or where the run began
  #keptAt = 0;
  #keptSteps = -1;
  #seen = { gradients: 0, heldOut: -Infinity };
  state = "paused";

  constructor(session, id, how, openDevice) {
    this.id = id;
    this.#session = session;
    this.#openDevice = openDevice;
    this.how = { device: "auto", slice: 40, every: 5, ...how };
  }

  #emit(event) {
    this.#session.emit(this.id, event);
  }

  #become(state) {
    this.state = state;
    this.#emit({ type: "state", state });
  }

  #exclusive(work) {
    return this.#session.exclusive(work);
  }

  async begin(make) {
    await this.#exclusive(async () => {
      this.#run = make(await this.#open(this.how.device));
      await this.#keep();
      this.#best = this.#kept;
      if (this.how.keep) await this.#store({ file: this.#session.file });
    });
    this.#seen.gradients = this.#run.describe().position.steps;
    if (this.how.paused) this.#become("paused");
    else queueMicrotask(() => this.go());
  }

  describe() {
    const described = this.#run.describe();
    return { ...described, adapter: this.#adapter || described.adapter };
  }

  async #open(kind) {
    const { device, name } = await this.#openDevice(kind);
    this.#adapter = name;
    return device;
  }

  // What a run answers of itself; the run is there unless it has ended.
  #living() {
    if (!this.#run) throw fault("the run has ended", "go on with more epochs, or begin another");
    return this.#run;
  }
  writer = (seed) => this.#living().writer(seed);
  inspect = (windows) => this.#living().inspect(windows);
  trace = (index) => this.#living().trace(index);
  heldOut = (part, most) => this.#living().heldOut(part, most);
  modelBytes = () => (this.#run ? this.#run.model() : this.model);
  checkpoint = async () => (this.#run ? await this.#run.checkpoint() : this.#kept.slice());

  async pause() {
    this.#steps = 0;
    await this.#looping;
  }

  async go() {
    if (this.#looping && this.#steps > 0) return;
    await this.#looping;
    if (!this.#run) await this.#exclusive(() => this.#restart());
    this.#start(Infinity);
  }

  async step(count = 1) {
    await this.pause();
    if (!this.#run) throw fault("the run has ended", "go on with more epochs, or begin another");
    this.#start(count);
    await this.#looping;
  }

  change(change) {
    return this.#exclusive(async () => {
      if (!this.#run) await this.#restart();
      this.#run.change(change);
      await this.#keep();
      return this.#run.describe().config;
    });
  }

  async stop() {
    await this.pause();
    await this.#exclusive(() => this.#run && this.#finish());
  }

  async cancel() {
    if (["finished", "failed", "cancelled"].includes(this.state)) return;
    this.#steps = 0;
    await this.#looping;
    await this.#exclusive(() => {
      this.#run?.free();
      this.#run = null;
    });
    this.#become("cancelled");
  }

  #start(steps) {
    this.#steps = steps;
    this.#become("running");
    this.#looping = this.#loop().finally(() => (this.#looping = null));
  }

  async #loop() {
    while (this.#steps > 0) {
      const ended = await this.#exclusive(() => this.#slice()).catch((error) => this.#failed(error));
      if (ended) return;
      await breathe();
    }
    this.#become("paused");
  }

  // Some steps, and what is to be seen after them; true once the run has ended.
  async #slice() {
    const most = Math.min(this.#steps, 2 ** 32 - 1);
    const before = this.#run.steps();
    const events = await this.#run.advance(this.how.slice, most);
    this.#steps -= this.#run.steps() - before;
    for (const event of events) {
      if (event.type === "end") {
        await this.#finish();
        return true;
      }
      if (event.type === "epoch") await this.#show(event);
      this.#emit(event);
    }
    await this.#gradients(events.some(({ type }) => type === "epoch"));
    await this.#sample(events.find(({ type }) => type === "epoch"));
    const due = performance.now() - this.#keptAt > 1000 * this.how.every;
    if (due) await this.#keep();
    const best = events.some(({ type, best }) => type === "epoch" && best);
    if (best) this.#best = due ? this.#kept : await this.#run.checkpoint();
    return false;
  }

  // The forecast at an epoch's end. Epochs of a few milliseconds are not all worth one.
  async #show(epoch) {
    const { heldOut } = this.how;
    const now = performance.now();
    if (!heldOut || now - this.#seen.heldOut < 100) return;
    epoch.held_out = await this.#run.heldOut(heldOut.part ?? "validation", heldOut.most ?? 60);
    // No more than half of the time goes into it.
    this.#seen.heldOut = performance.now() + (performance.now() - now);
  }

  async #gradients(epochOver) {
    const { gradients } = this.how;
    if (!gradients) return;
    const step = this.#run.steps();
    const due = gradients.every ? step - this.#seen.gradients >= gradients.every : epochOver;
    if (!due) return;
    this.#seen.gradients = step;
    this.#emit({ type: "gradients", step, ...(await this.#run.inspect(gradients.windows ?? 16)) });
  }

  async #sample(epoch) {
    const { samples } = this.how;
    if (!samples || !epoch || epoch.epoch % (samples.every ?? 1) !== 0) return;
    const { prompt = "", length = 200, seed = 1, every: _, ...sampling } = samples;
    const writer = await this.#run.writer(seed);
    try {
      await writer.begin(prompt);
      this.#emit({ type: "sample", epoch: epoch.epoch, step: epoch.step, text: await writer.next(length, sampling) });
    } finally {
      writer.free();
    }
  }

  async #finish() {
    this.#become("finishing");
    await this.#keep();
    const run = this.#run;
    this.#run = null;
    const report = await run.finish(); // frees it
    this.model = report.model.slice();
    this.#emit({ type: "report", report });
    this.#become("finished");
  }

  async #keep() {
    this.#kept = await this.#run.checkpoint();
    this.#keptAt = performance.now();
    const step = this.#run.steps();
    if (step === this.#keptSteps) return;
    this.#keptSteps = step;
    await this.#store({});
    this.#emit({ type: "checkpoint", step, bytes: this.#kept.length });
  }

  async #store(more) {
    if (!this.how.keep) return;
    const run = { name: this.#session.file?.name ?? null, when: Date.now(), checkpoint: this.#kept };
    try {
      await store.write({ ...more, run });
    } catch (error) {
      this.how.keep = false;
      const message = `This browser can no longer keep the run (${error.message}); save its checkpoint yourself.`;
      this.#emit({ type: "notice", code: "storage", message });
    }
  }

  // The run again from the last good checkpoint, on `kind` of device.
  async #restart(kind = this.how.device) {
    this.#run?.free();
    this.#run = null;
    this.#run = Run.resume(await this.#open(kind), this.#session.data(), this.#kept);
    this.#keptSteps = this.#run.steps();
  }

  // What becomes of a slice that failed; true if the run has ended.
  async #failed(error) {
    const kept = error.kind === "panic" ? null : this.#kept;
    // A read that fails may be told before the loss that it fails of. Whatever a device refuses in the middle of a run, another
    // one may do, and in the end the CPU.
    if (["lost", "device"].includes(error.kind) && kept) {
      try {
        await this.#exclusive(() => this.#recover(error));
        return false;
      } catch (another) {
        error = another;
      }
    }
    if (error.kind !== "panic") {
      this.#run?.free();
      this.#run = null;
    }
    // Before a loss that is not finite weights grow without bound, and a checkpoint of the last seconds may hold such ones.
    if (error.kind === "diverged") {
      this.#kept = this.#best;
      await this.#store({});
    }
    this.#emit({ type: "error", error });
    this.#become("failed");
    return true;
  }

  async #recover(error) {
    this.#losses += 1;
    const kind = this.#losses > MOST_LOSSES ? "cpu" : this.how.device;
    const message = `${error.problem}. The run goes on from its last checkpoint.`;
    this.#emit({ type: "notice", code: "lost", message });
    await this.#restart(kind);
    this.#emit({ type: "resumed", started: this.describe() });
  }
}
