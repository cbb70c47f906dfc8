// The engine of the page in a real browser: the same numbers as natively, runs that go on here and there, and what happens
// when something fails.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "@playwright/test";
import { bptt, farthest, test } from "./bare.js";

const OPTIONS = { window: 24, horizon: 6, hidden_size: 16, num_layers: 2, batch_size: 64, epochs: 1, lr: 0.01, seed: 5 };
const flags = (options) =>
  Object.entries({ ...OPTIONS, ...options }).flatMap(([name, value]) => [`--${name.replaceAll("_", "-")}`, String(value)]);

// One line of metrics.jsonl each.
const metrics = (run) =>
  readFileSync(join(run, "metrics.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
const steps = (lines) => lines.filter((line) => !("train_loss" in line));
const ends = (lines) => lines.filter((line) => "train_loss" in line);
const isEpoch = ({ type }) => type === "epoch";

for (const device of ["cpu", "gpu"]) {
  test(`20 steps on the ${device} have the losses of the command line`, async ({ bare, folder }) => {
    bptt(folder, "train", "--device", "cpu", ...flags({ log_every: 1 }), "--out", "run", "--quiet");
    const want = steps(metrics(join(folder, "run"))).slice(0, 20);
    expect(want.length).toBe(20);
    const { started, seen } = await bare.evaluate(
      async ([options, device]) => {
        const engine = await Engine.start();
        await engine.open(null);
        const run = await engine.train(options, { device });
        const seen = await watch(run, ({ losses }) => losses.length >= 20);
        await run.cancel();
        return { started: run.started, seen };
      },
      [OPTIONS, device],
    );
    expect(started.device).toBe(device);
    const got = seen.losses.slice(0, 20);
    const column = (place, name) => farthest(got.map((pair) => pair[place]), want.map((line) => line[name]));
    expect(column(0, "loss")).toBeLessThan(1e-4);
    expect(column(1, "grad_norm")).toBeLessThan(1e-4);
  });
}

test("a comparison can fail", () => {
  expect(farthest([1, 2.001], [1, 2])).toBeGreaterThan(1e-4);
  expect(farthest([1, NaN], [1, 2])).toBe(Infinity);
  expect(farthest([1], [1, 2])).toBe(Infinity);
});

// A file that is not built in.
const CSV = `month,a,b\n${Array.from({ length: 400 }, (_, row) => {
  const month = `${2000 + Math.floor(row / 12)}-${String((row % 12) + 1).padStart(2, "0")}`;
  return `${month},${Math.sin(row / 3).toFixed(4)},${(Math.cos(row / 5) + row / 200).toFixed(4)}`;
}).join("\n")}\n`;

test("a run goes on in the page where the command line stopped, and the other way round", async ({ bare, folder }) => {
  writeFileSync(join(folder, "x.csv"), CSV);
  const train = (...args) => bptt(folder, "train", "--device", "cpu", "--quiet", ...args);
  train("x.csv", ...flags({ epochs: 2 }), "--out", "whole");
  const want = ends(metrics(join(folder, "whole")));
  train("x.csv", ...flags(), "--out", "half");

  const native = [...readFileSync(join(folder, "half", "last.ckpt"))];
  const here = await bare.evaluate(
    async ([csv, native, options]) => {
      const engine = await Engine.start();
      await engine.open({ name: "x.csv", bytes: new TextEncoder().encode(csv) });
      const info = await engine.checkpointInfo(new Uint8Array(native));
      const run = await engine.resume(new Uint8Array(native), { device: "cpu", paused: true });
      await run.change({ epochs: 2 });
      await run.go();
      const seen = await watch(run);
      const begun = await engine.train(options, { device: "cpu" });
      await watch(begun);
      const checkpoint = await begun.checkpoint();
      const report = await begun.report;
      return { info, seen, checkpoint: [...checkpoint], model: [...report.model], report: { test: report.test, ahead: new TextDecoder().decode(report.ahead.csv) } };
    },
    [CSV, native, OPTIONS],
  );
  // The native run has 1 epoch behind it.
  expect(here.info.position.epoch).toBe(1);
  const second = here.seen.events.filter(isEpoch);
  expect(second.map(({ epoch }) => epoch)).toEqual([2]);
  for (const name of ["train_loss", "val_loss", "grad_norm"]) {
    expect(farthest([second[0][name]], [want[1][name]]), name).toBeLessThan(1e-4);
  }

  // And back: the page's checkpoint after one epoch goes on natively, from a folder that holds nothing else.
  mkdirSync(join(folder, "back"));
  writeFileSync(join(folder, "back", "last.ckpt"), Buffer.from(here.checkpoint));
  train("x.csv", "--resume", "back", "--epochs", "2");
  const [back] = ends(metrics(join(folder, "back")));
  expect(back.epoch).toBe(2);
  for (const name of ["train_loss", "val_loss"]) expect(farthest([back[name]], [want[1][name]]), name).toBeLessThan(1e-4);

  // The model that the page kept is the command line's, too.
  writeFileSync(join(folder, "model.safetensors"), Buffer.from(here.model));
  const scores = JSON.parse(
    bptt(folder, "evaluate", "model.safetensors", "x.csv", "--device", "cpu", "--json").trim().split("\n").pop(),
  );
  expect(farthest([here.report.test.rmse], [scores.test.rmse])).toBeLessThan(1e-5);
  const ahead = bptt(folder, "forecast", "model.safetensors", "x.csv", "--device", "cpu", "--quiet");
  const table = (csv) => csv.trim().split("\n").map((line) => line.split(","));
  const [mine, theirs] = [table(here.report.ahead), table(ahead)];
  expect(mine.map(([label]) => label)).toEqual(theirs.map(([label]) => label));
  const values = (rows) => rows.slice(1).map(([, value]) => Number(value));
  expect(farthest(values(mine), values(theirs))).toBeLessThan(1e-5);
});

test("a paused run takes single steps, changes, and goes on", async ({ bare }) => {
  const seen = await bare.evaluate(async (options) => {
    const engine = await Engine.start();
    const run = await engine.train({ ...options, epochs: 5000, patience: 0 }, { device: "cpu", paused: true });
    const states = [];
    const rates = {}; // by the last step of an event, of which a slow machine makes more
    let steps = 0;
    run.on((event) => {
      if (event.type === "state") states.push(event.state);
      if (event.type === "steps") rates[(steps = event.step)] = event.lr;
    });
    await run.step();
    const one = steps;
    await run.step(3);
    const four = steps;
    await run.change({ lr: 0.002 });
    await run.step();
    await run.go();
    await new Promise((resolve) => setTimeout(resolve, 300));
    await run.pause();
    const paused = steps;
    await new Promise((resolve) => setTimeout(resolve, 200));
    const still = steps === paused;
    const report = await run.stop();
    const refused = await run.change({ lr: -1 }).catch((error) => ({ kind: error.kind, message: error.message }));
    return { one, four, rates, states, still, epochs: report.epochs, steps: report.steps, paused, test: report.test, refused };
  }, OPTIONS);
  expect([seen.one, seen.four]).toEqual([1, 4]);
  expect([seen.rates[1], seen.rates[4], seen.rates[5]]).toEqual([0.01, 0.01, 0.002]);
  expect(seen.still).toBe(true);
  expect(seen.epochs).toBeLessThan(5000);
  expect(seen.steps).toBe(seen.paused);
  expect(seen.states.slice(-3)).toEqual(["paused", "finishing", "finished"]);
  expect(seen.test.rmse).toBeGreaterThan(0);
  expect(seen.refused.kind).toBe("option");
  expect(seen.refused.message).toContain("option `lr`: is -1: use a number above 0");
});

test("a finished run goes on with more epochs, and a signal ends one", async ({ bare }) => {
  const seen = await bare.evaluate(async (options) => {
    const engine = await Engine.start();
    const run = await engine.train(options, { device: "cpu" });
    const first = await run.report;
    await run.change({ epochs: 2 });
    await run.go();
    const second = await run.report;
    const stop = new AbortController();
    const other = await engine.train({ ...options, epochs: 1000, patience: 0 }, { device: "cpu", signal: stop.signal });
    setTimeout(() => stop.abort(), 100);
    const reason = await other.report.catch((error) => error.name);
    return { epochs: [first.epochs, second.epochs], reason, state: other.state };
  }, OPTIONS);
  expect(seen).toEqual({ epochs: [1, 2], reason: "AbortError", state: "cancelled" });
});

test("text is written while a run goes on, and gradients are shown", async ({ bare }) => {
  const seen = await bare.evaluate(async () => {
    const text = "the quick brown fox jumps over the lazy dog.\n".repeat(200);
    const engine = await Engine.start();
    await engine.open({ name: "fox.txt", bytes: new TextEncoder().encode(text) });
    const about = await engine.describe();
    const options = { hidden_size: 32, num_layers: 1, epochs: 3, batch_size: 8 };
    const run = await engine.train(options, { device: "cpu", samples: { prompt: "the ", length: 20 } });
    const pieces = [];
    const written = await run.write("the ", { length: 40, seed: 1, onText: (piece) => pieces.push(piece) });
    const { events } = await watch(run);
    const again = await engine.load((await run.report).model);
    const [a, b] = [await engine.write("the ", { length: 30, seed: 3 }), await engine.write("the ", { length: 30, seed: 3 })];
    await engine.open(null);
    const task = { task: "adding", window: 20, sequences: 400, hidden_size: 8, epochs: 1 };
    const adding = await engine.train(task, { device: "cpu", gradients: { windows: 4 } });
    const trace = await adding.trace({ index: 1 });
    const gradients = (await watch(adding)).events.filter(({ type }) => type === "gradients");
    return {
      about, written, pieces, samples: events.filter(({ type }) => type === "sample"), same: a === b, task: again.task,
      trace: { window: trace.window, inputs: trace.inputs.length, cells: trace.cells.map((cell) => [cell.hidden, cell.gates.length, cell.c.length, cell.gradient.length]) },
      gradients: gradients.map(({ cells, verdict }) => [cells[0].gradient.length, typeof verdict.because]),
    };
  });
  expect(seen.about).toMatchObject({ kind: "text", characters: 9000, lines: 200 });
  expect([seen.written.length, seen.pieces.join("")]).toEqual([40, seen.written]);
  expect(seen.samples.map(({ epoch, text }) => [epoch, text.length])).toEqual([[1, 20], [2, 20], [3, 20]]);
  expect([seen.same, seen.task]).toEqual([true, "text"]);
  // 20 numbers and 20 marks, and the row after them.
  expect(seen.trace).toEqual({ window: 20, inputs: 42, cells: [[8, 20 * 32, 20 * 8, 20]] });
  expect(seen.gradients).toEqual([[20, "string"]]);
});

test("config and link go round", async ({ bare }) => {
  const seen = await bare.evaluate(async () => {
    const engine = await Engine.start();
    const options = { task: "text", hidden_size: 32, target: ["a&b, c"], lr: 1e-3 };
    const whole = await engine.complete(options);
    const wrong = (promise) => promise.then(() => null, ({ kind, message, file, line }) => ({ kind, message, file, line }));
    return {
      whole,
      link: await engine.toLink(options),
      fromLink: await engine.fromLink(await engine.toLink(options)),
      fromToml: await engine.fromToml(await engine.toToml(options)),
      wrong: [await wrong(engine.fromToml("lr = 1\nwindow = 'a'", "my.toml")), await wrong(engine.complete({ hidden: 1 }))],
    };
  });
  expect(seen.link).toBe("hidden_size=32&lr=0.001&target=%5B%22a%26b%2C+c%22%5D&task=text");
  expect(seen.fromLink).toEqual(seen.whole);
  expect(seen.fromToml).toEqual(seen.whole);
  expect(seen.wrong[0]).toMatchObject({ kind: "file", file: "my.toml", line: 2 });
  expect(seen.wrong[1].message).toContain("unknown field `hidden`");
});

test("a run that the browser keeps goes on after a reload with the same numbers", async ({ bare, site }) => {
  const options = { ...OPTIONS, epochs: 3 };
  const whole = await bare.evaluate(async (options) => {
    const engine = await Engine.start();
    const run = await engine.train(options, { device: "cpu" });
    return (await watch(run)).events.filter(({ type }) => type === "epoch");
  }, options);
  await bare.evaluate(async (options) => {
    const engine = await Engine.start();
    await engine.forget();
    const run = await engine.train(options, { device: "cpu", keep: true, every: 0 });
    await watch(run, ({ losses }) => losses.length > 40);
  }, options);
  await bare.goto(site); // as if the tab had crashed: nothing is said to the worker
  await bare.waitForFunction(() => globalThis.Engine);
  const { kept, rest, gone } = await bare.evaluate(async () => {
    const engine = await Engine.start();
    const kept = await engine.kept();
    const run = await engine.resumeKept({ device: "cpu" });
    const rest = (await watch(run)).events.filter(({ type }) => type === "epoch");
    await engine.forget();
    return { kept, rest, gone: await engine.kept() };
  });
  expect(kept.position.steps).toBeGreaterThan(30);
  expect(rest.at(-1)).toEqual(whole.at(-1));
  expect(gone).toBe(null);
});

test("sigmoid and tanh of the CPU engine are within 4 units in the last place", async ({ bare }) => {
  // A model whose gates are those of 2ⁿ · x, and the gates of one window.
  const { inputs, gates, hidden } = await bare.evaluate(async () => {
    const rows = Array.from({ length: 1200 }, (_, row) => Math.sin(row * row).toFixed(6));
    const engine = await Engine.start();
    await engine.open({ name: "x.csv", bytes: new TextEncoder().encode(`x\n${rows.join("\n")}\n`) });
    const options = { window: 100, horizon: 1, hidden_size: 10, num_layers: 1, epochs: 1 };
    const { model } = await (await engine.train(options, { device: "cpu" })).report;
    const length = Number(new DataView(model.buffer, model.byteOffset).getBigUint64(0, true));
    const header = JSON.parse(new TextDecoder().decode(model.subarray(8, 8 + length)));
    for (const [name, { data_offsets }] of Object.entries(header).filter(([name]) => name.startsWith("lstm."))) {
      const place = model.subarray(8 + length + data_offsets[0], 8 + length + data_offsets[1]);
      const numbers = new Float32Array(place.length / 4);
      if (name === "lstm.weight_ih_l0") numbers.forEach((_, row) => (numbers[row] = 2 ** ((row % 10) - 5)));
      place.set(new Uint8Array(numbers.buffer));
    }
    await engine.load(model);
    const trace = await engine.trace();
    return { inputs: [...trace.inputs].slice(0, trace.window), gates: [...trace.cells[0].gates], hidden: trace.cells[0].hidden };
  });
  const bits = (value) => new Int32Array(new Float32Array([value]).buffer)[0];
  // Both numbers have one sign, so that their bits are as far apart as they are.
  const apart = (got, want) => Math.abs(bits(got) - bits(want));
  let [worst, widest] = [0, 0];
  for (const [t, x] of inputs.entries()) {
    for (let unit = 0; unit < hidden; unit++) {
      const z = 2 ** (unit - 5) * x;
      const sigmoid = 1 / (1 + Math.exp(-z));
      for (const [gate, want] of [sigmoid, sigmoid, Math.tanh(z), sigmoid].entries()) {
        worst = Math.max(worst, apart(gates[(t * 4 + gate) * hidden + unit], want));
      }
      widest = Math.max(widest, Math.abs(z));
    }
  }
  expect([inputs.length, gates.length]).toEqual([100, 4000]);
  expect(widest).toBeGreaterThan(20);
  expect(worst).toBeLessThanOrEqual(4);
});
