// What happens when something fails. The engine runs in the page's own thread here, so that a test can put itself between it and
// the browser.

import { expect } from "@playwright/test";
import { test } from "./bare.js";

const OPTIONS = { window: 12, horizon: 3, hidden_size: 8, num_layers: 1, batch_size: 64, epochs: 2, lr: 0.01 };

// Trains in this thread; answers with what the run said.
const train = (page, options, how) =>
  page.evaluate(
    async ([options, how]) => {
      const engine = await Engine.start({ here: true });
      const run = await engine.train(options, how);
      const { events } = await watch(run);
      const codes = events.filter(({ type }) => type === "notice").map(({ code, message }) => [code, message]);
      return { device: run.started.device, codes, state: run.state, epochs: events.filter(({ type }) => type === "epoch") };
    },
    [options, how],
  );

test("without WebGPU the CPU computes, and says so", async ({ bare }) => {
  await bare.evaluate(() => Object.defineProperty(navigator, "gpu", { value: undefined }));
  const seen = await train(bare, OPTIONS, { device: "gpu" });
  expect(seen.device).toBe("cpu");
  expect(seen.codes).toEqual([["no-webgpu", expect.stringContaining("the CPU computes instead")]]);
  expect(seen.epochs.length).toBe(2);
});

test("an adapter that comes late is waited for, one that never comes is not", async ({ bare }) => {
  await bare.evaluate(() => {
    const ask = GPU.prototype.requestAdapter;
    globalThis.refusals = 2;
    GPU.prototype.requestAdapter = function (...args) {
      return globalThis.refusals-- > 0 ? Promise.resolve(null) : ask.apply(this, args);
    };
  });
  const late = await train(bare, { ...OPTIONS, epochs: 1 }, { device: "gpu" });
  expect([late.device, late.codes]).toEqual(["gpu", []]);
  await bare.evaluate(() => (globalThis.refusals = Infinity));
  const never = await train(bare, { ...OPTIONS, epochs: 1 }, { device: "gpu" });
  expect([never.device, never.codes[0][0]]).toEqual(["cpu", "no-adapter"]);
});

test("software is no GPU unless it is asked for", async ({ bare }) => {
  const seen = await train(bare, { ...OPTIONS, epochs: 1 }, { device: "auto" });
  expect([seen.device, seen.codes[0][0]]).toEqual(["cpu", "software"]);
});

// Loses the device after a few steps.
const lose = (page, afterwards) =>
  page.evaluate(
    async ([options, afterwards]) => {
      const ask = GPUAdapter.prototype.requestDevice;
      GPUAdapter.prototype.requestDevice = async function (...args) {
        return (globalThis.device = await ask.apply(this, args));
      };
      const engine = await Engine.start({ here: true });
      await engine.open(null);
      const whole = await watch(await engine.train(options, { device: "gpu" }));
      const run = await engine.train(options, { device: "gpu", every: 0 });
      let lost = false;
      run.on((event) => {
        if (lost || event.type !== "steps" || event.step < 35) return;
        lost = true;
        if (afterwards === "nothing") GPU.prototype.requestAdapter = async () => null;
        globalThis.device.destroy();
      });
      const seen = await watch(run);
      const epochs = ({ events }) => events.filter(({ type }) => type === "epoch");
      const resumed = seen.events.find(({ type }) => type === "resumed");
      return {
        whole: epochs(whole), epochs: epochs(seen), state: run.state, resumed: resumed?.started,
        codes: seen.events.filter(({ type }) => type === "notice").map(({ code }) => code),
        errors: seen.events.filter(({ type }) => type === "error"),
      };
    },
    [OPTIONS, afterwards],
  );

test("a lost device is replaced, and the run is one that never lost it", async ({ bare }) => {
  const seen = await lose(bare, "another");
  expect(seen.errors).toEqual([]);
  expect(seen.codes).toEqual(["lost"]);
  expect(seen.resumed).toMatchObject({ device: "gpu" });
  expect(seen.resumed.position.steps).toBeGreaterThan(0);
  expect(seen.epochs).toEqual(seen.whole);
});

test("where there is no other, the CPU goes on", async ({ bare }) => {
  const seen = await lose(bare, "nothing");
  expect(seen.codes).toEqual(["lost", "no-adapter"]);
  expect(seen.resumed.device).toBe("cpu");
  expect(seen.state).toBe("finished");
  expect(Math.abs(seen.epochs[1].val_loss / seen.whole[1].val_loss - 1)).toBeLessThan(1e-3);
});

test("a run that does not fit is refused before anything is allocated, with what would fit", async ({ bare }) => {
  const seen = await bare.evaluate(async () => {
    const engine = await Engine.start({ here: true });
    const options = { window: 1000, hidden_size: 512, num_layers: 2, batch_size: 1024 };
    const need = await engine.need(options, { device: "cpu" });
    const error = await engine.train(options, { device: "cpu" }).catch((error) => ({ ...error, message: error.message }));
    const fits = await engine.need({ ...options, ...need.smaller }, { device: "cpu" });
    return { need, error, fits };
  });
  expect(seen.need.fits).toBe(false);
  expect(seen.need.bytes).toBeGreaterThan(2 ** 32);
  expect(seen.need.largest.lower).toContain("`batch_size`");
  expect(seen.error).toMatchObject({ kind: "memory", bytes: seen.need.bytes, smaller: seen.need.smaller });
  expect(seen.error.message).toMatch(/this run needs .* GiB, but .*lower `batch_size`/);
  expect(seen.fits.fits).toBe(true);
});

test("a loss that is not finite ends the run, and a lower rate goes on from the good weights", async ({ bare }) => {
  const seen = await bare.evaluate(async (options) => {
    const engine = await Engine.start({ here: true });
    const run = await engine.train({ ...options, optimizer: "sgd", max_norm: 0, lr: 1e30 }, { device: "cpu" });
    const { events } = await watch(run);
    const state = run.state;
    await run.change({ lr: 0.01 });
    await run.go();
    const report = await run.report;
    return { error: events.find(({ type }) => type === "error").error, state, report: [report.epochs, report.test.rmse] };
  }, OPTIONS);
  expect(seen.error.kind).toBe("diverged");
  expect(seen.error.step).toBeGreaterThan(0);
  expect(seen.state).toBe("failed");
  expect(seen.report).toEqual([2, expect.any(Number)]);
});

test("weights that grew before the loss was no number are not what is gone on from", async ({ bare }) => {
  const seen = await bare.evaluate(async (options) => {
    const engine = await Engine.start({ here: true });
    // One step a slice, each of them kept.
    const how = { device: "cpu", slice: 0, every: 0 };
    const run = await engine.train({ ...options, optimizer: "sgd", max_norm: 0, epochs: 3, patience: 0 }, how);
    const losses = [];
    run.on((event) => event.type === "epoch" && losses.push(event.val_loss));
    await run.report;
    await run.change({ lr: 100, epochs: 1000 });
    await run.go();
    const error = await run.report.catch(({ kind, step }) => ({ kind, step }));
    const { position } = await engine.checkpointInfo(await run.checkpoint());
    const before = losses.length;
    await run.change({ lr: 0.01, epochs: position.epoch + 1 });
    await run.go();
    await run.report;
    return { error, position, losses: [losses[0], ...losses.slice(before)] };
  }, OPTIONS);
  expect(seen.error.kind).toBe("diverged");
  expect(seen.position.steps).toBeLessThan(seen.error.step);
  expect(seen.losses.length).toBe(2);
  expect(seen.losses[1]).toBeLessThan(seen.losses[0]);
});

test("a file that is no table says where and what to do", async ({ bare }) => {
  const seen = await bare.evaluate(async () => {
    const engine = await Engine.start({ here: true });
    const tell = async (name, text) => {
      await engine.open({ name, bytes: new TextEncoder().encode(text) });
      return engine.describe().then(() => null, (error) => ({ ...error, message: error.message }));
    };
    return [
      await tell("a.csv", "x,y\n1,2\n3,4,5\n"),
      await tell("<img onerror=alert(1)>.csv", "x\n1\n\0\n"),
      await tell("b.txt", ""),
    ];
  });
  expect(seen[0]).toMatchObject({ kind: "file", file: "a.csv", line: 3 });
  expect(seen[0].message).toBe(
    "a.csv, line 3: 3 fields, but the header has 2: give every column one value; put quotes around a field that holds `,`",
  );
  expect(seen[1]).toMatchObject({ kind: "file", file: "<img onerror=alert(1)>.csv" });
  expect(seen[2].message).toBe("b.txt: the file is empty: give a text file");
});

test("a million rows are read with progress", async ({ bare }) => {
  const seen = await bare.evaluate(async () => {
    const lines = Array.from({ length: 1_000_000 }, (_, row) => `${row},${(row % 1000) / 8}`);
    const bytes = new TextEncoder().encode(`time,y\n${lines.join("\n")}\n`);
    const engine = await Engine.start();
    const shares = [];
    await engine.open({ name: "long.csv", bytes });
    const about = await engine.describe({}, { progress: (share) => shares.push(share) });
    const { rows, values } = await engine.preview({}, "y", 200);
    return { about, shares, preview: [rows.length, Math.min(...values), Math.max(...values)] };
  });
  expect(seen.about).toMatchObject({ rows: 1_000_000, columns: ["y"], time: { name: "time" } });
  expect(seen.shares.length).toBeGreaterThan(50);
  expect(seen.shares).toEqual([...seen.shares].sort((a, b) => a - b));
  expect(seen.preview).toEqual([200, 0, 124.875]);
});

test("storage that is full ends the keeping, not the run", async ({ bare }) => {
  await bare.evaluate(() => {
    IDBObjectStore.prototype.put = () => {
      throw new DOMException("the quota has been exceeded", "QuotaExceededError");
    };
  });
  const seen = await train(bare, OPTIONS, { device: "cpu", keep: true });
  expect(seen.codes).toEqual([["storage", expect.stringContaining("save its checkpoint yourself")]]);
  expect(seen.state).toBe("finished");
});

test("a device that is open already is computed on", async ({ bare }) => {
  const seen = await bare.evaluate(async (options) => {
    const adapter = await navigator.gpu.requestAdapter();
    const device = await adapter.requestDevice();
    let [asked, submitted] = [0, 0];
    for (const prototype of [GPU.prototype, GPUAdapter.prototype]) {
      const name = prototype === GPU.prototype ? "requestAdapter" : "requestDevice";
      const ask = prototype[name];
      prototype[name] = function (...args) {
        asked += 1;
        return ask.apply(this, args);
      };
    }
    const submit = device.queue.submit;
    device.queue.submit = function (...args) {
      submitted += 1;
      return submit.apply(this, args);
    };
    const engine = await Engine.start({ here: true, gpu: { adapter, device } });
    const run = await engine.train({ ...options, epochs: 1 }, { device: "gpu" });
    await run.report;
    const refused = await Engine.start({ gpu: { adapter, device } }).catch(({ kind }) => kind);
    return { asked, submitted: submitted > 20, device: run.started.device, own: Object.keys(adapter), refused };
  }, OPTIONS);
  expect(seen).toEqual({ asked: 0, submitted: true, device: "gpu", own: [], refused: "option" });
});
