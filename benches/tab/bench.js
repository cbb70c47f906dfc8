// The time of one training step in a browser tab, beside TensorFlow.js' in the same browser.
//
//   node web/build.js wasm && npm --prefix benches/tab ci
//   node benches/tab/bench.js [--shape S1,S2] [--steps N] [--limit SECONDS] [--json]
//
// A shape is inputs I, hidden H, layers L, batch B and time T, such as I=1,H=64,L=2,B=64,T=10, or a name; --shape can be
// repeated. A step is the forward pass of a stack of LSTM layers and of a linear head on the last time step, MSE, backward and
// Adam, without clipping. Every side has a tab of its own, all of them in one Chromium ($CHROMIUM, or /usr/bin/chromium), and
// only one of them works at a time. Their steps come in turns: some of each side, then again, so that what else the machine
// does meets all alike.
//
//   ms_*            milliseconds a step, of turns of `steps` in all; with a step of more than 10 s a single one was timed
//   first_step_ms   from loaded scripts to the end of the first step: the backend or worker, the device, the model, kernels.
//                   The first tab that asks for a GPU pays for starting it
//   gflops          of the matrix products alone, as `bptt bench` counts them, over ms_median
//   adapter         what computed it. The page is cross-origin isolated, so TensorFlow.js' wasm backend may use threads
//   error           in place of times, if a side fails or takes longer than the limit (180 s) for its start or for a turn
//
// --json prints a line for each side and shape; otherwise there is a table, with ratios of ms_median below it.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { build, preview } from "vite";
import { launchOptions } from "../../tests/browser/chromium.js";

const PRESETS = {
  S1: "I=1,H=64,L=2,B=64,T=10",
  S2: "I=8,H=128,L=2,B=64,T=96",
};
const SIDES = [
  ["bptt", "cpu"],
  ["bptt", "gpu"],
  ["TensorFlow.js", "webgpu"],
  ["TensorFlow.js", "webgl"],
  ["TensorFlow.js", "wasm"],
  ["TensorFlow.js", "cpu"],
];
const MOST_TURNS = 5;
const SLOW = 10_000; // ms a step

const fail = (message) => {
  console.error(message);
  process.exit(2);
};

function parsed() {
  const options = {
    shape: { type: "string", multiple: true, default: ["S1,S2"] },
    steps: { type: "string", default: "20" },
    limit: { type: "string", default: "180" },
    json: { type: "boolean", default: false },
  };
  try {
    return parseArgs({ options }).values;
  } catch (error) {
    return fail(error.message);
  }
}

function options() {
  const positive = (name, text) => {
    const value = Number(text);
    return Number.isInteger(value) && value > 0 ? value : fail(`--${name}: ${text} is not a whole number above 0`);
  };
  const { shape, steps, limit, json } = parsed();
  // The sizes of one shape have commas between them, and so have names.
  const shapes = shape.flatMap((text) => (text.includes("=") ? [text] : text.split(","))).map(shapeOf);
  return { shapes, steps: positive("steps", steps), limit: positive("limit", limit), json };
}

function shapeOf(text) {
  const pairs = (PRESETS[text] ?? text).split(",").map((part) => part.split("="));
  const shape = Object.fromEntries(pairs.map(([letter, size]) => [letter, Number(size)]));
  const good = pairs.length === 5 && [..."IHLBT"].every((letter) => Number.isInteger(shape[letter]) && shape[letter] > 0);
  return good ? shape : fail(`--shape: ${text} is neither one of ${Object.keys(PRESETS).join(", ")} nor like ${PRESETS.S1}`);
}

const textOf = (shape) => [..."IHLBT"].map((letter) => `${letter}=${shape[letter]}`).join(",");

// 2 for a multiply-add; backward counts twice the forward, less the gradient of the input.
function operations({ I, H, L, B, T }) {
  const gates = 2 * B * T * 4 * H;
  return 3 * gates * (I + H + (L - 1) * 2 * H) - gates * I + 6 * B * H;
}

// The page in a temporary folder, served with the headers without which a page has no shared memory, and so no wasm threads.
async function site() {
  const folder = mkdtempSync(join(tmpdir(), "bptt-tab-"));
  const config = {
    root: fileURLToPath(new URL(".", import.meta.url)),
    configFile: false,
    logLevel: "error",
    base: "./",
    // Threads of TensorFlow.js' wasm backend run the text of one of its functions, in which no name may have become another.
    build: { outDir: folder, emptyOutDir: true, target: "es2022", minify: false, assetsInlineLimit: 0 },
    worker: { format: "es" },
    preview: {
      host: "localhost",
      port: 0,
      headers: { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" },
    },
  };
  await build(config);
  const server = await preview(config);
  const close = async () => {
    await server.close();
    rmSync(folder, { recursive: true });
  };
  return { url: server.resolvedUrls.local[0], close };
}

async function within(seconds, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`took longer than ${seconds} s`)), 1000 * seconds);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// One side of the comparison, in a tab of its own.
class Side {
  #page;
  #limit;
  #times = [];
  slow = false;
  steps = 0;

  constructor(tool, device, shape) {
    Object.assign(this, { tool, device, shape });
  }

  // Calls `work`; if it fails, that is what there is to say of this side.
  async #attempt(work) {
    if (this.error) return;
    try {
      await work();
    } catch (error) {
      this.error = error.message.split("\n")[0].replace(/^page\.evaluate: (Error: )?/, "");
      await this.close();
    }
  }

  start(browser, url, { limit, warmUp, most }) {
    this.#limit = limit;
    return this.#attempt(async () => {
      this.#page = await browser.newPage();
      await this.#page.goto(url);
      await this.#page.waitForFunction(() => globalThis.side);
      const args = [this.tool, this.device, this.shape, most];
      this.about = await within(limit, this.#page.evaluate((args) => globalThis.side.start(...args), args));
      const second = await this.#turn(1);
      this.slow = second > SLOW;
      if (this.slow) this.#count(second, 1);
      else await this.#turn(warmUp);
    });
  }

  turn(steps) {
    return this.#attempt(async () => this.#count(await this.#turn(steps), steps));
  }

  #turn(steps) {
    return within(this.#limit, this.#page.evaluate((steps) => globalThis.side.turn(steps), steps));
  }

  #count(ms, steps) {
    this.#times.push(ms);
    this.steps += steps;
  }

  // A tab that is busy may not close by itself.
  async close() {
    await within(10, this.#page.close()).catch(() => {});
  }

  // Whether it is to be compared with what computes on the CPU. WebGL is often a program on the CPU, and says so in its name.
  get onCpu() {
    if (this.device === "webgl") return /swiftshader|llvmpipe|basic render/i.test(this.about.adapter);
    return ["cpu", "wasm"].includes(this.device);
  }

  get median() {
    const sorted = this.#times.toSorted((a, b) => a - b);
    const middle = sorted.length / 2;
    return (sorted[Math.ceil(middle) - 1] + sorted[Math.floor(middle)]) / 2;
  }

  line(browser) {
    const round = (value, digits) => Number(value.toFixed(digits));
    const { version, adapter, parameters, first_step_ms } = this.about ?? {};
    const line = { tool: this.tool, version, browser, device: this.device, adapter, shape: textOf(this.shape), mode: "fp32" };
    if (this.error) return { ...line, error: this.error };
    return {
      ...line,
      parameters,
      ms_median: round(this.median, 3),
      ms_min: round(Math.min(...this.#times), 3),
      ms_max: round(Math.max(...this.#times), 3),
      steps: this.steps,
      first_step_ms: round(first_step_ms, 1),
      gflops: round(operations(this.shape) / this.median / 1e6, 2),
    };
  }
}

// All sides at one shape, in turns.
async function measure(browser, url, shape, { steps, limit }) {
  const turns = Math.min(MOST_TURNS, steps);
  const lengths = Array.from({ length: turns }, (_, turn) => Math.floor((steps + turn) / turns));
  const warmUp = Math.max(...lengths);
  const sides = SIDES.map(([tool, device]) => new Side(tool, device, shape));
  for (const side of sides) await side.start(browser, url, { limit, warmUp, most: 2 + warmUp + steps });
  for (const length of lengths) {
    for (const side of sides) if (!side.slow) await side.turn(length);
  }
  for (const side of sides) await side.close();
  return sides;
}

function printTable(sides, browser) {
  const row = (...cells) => console.log(cells.map((cell, i) => (i < 2 ? cell.padEnd(14) : cell.padStart(11))).join(" "));
  console.log(textOf(sides[0].shape));
  row("tool", "device", "ms median", "ms min", "first ms", "steps", "  adapter");
  for (const side of sides) {
    const { tool, device, adapter, error, ...line } = side.line(browser);
    if (error) row(tool, device, `  ${error}`);
    else row(tool, device, ...[line.ms_median, line.ms_min, line.first_step_ms, line.steps].map(String), `  ${adapter}`);
  }
  const good = sides.filter(({ error }) => !error);
  for (const onCpu of [true, false]) {
    const ours = good.find((side) => side.tool === "bptt" && side.onCpu === onCpu);
    const theirs = good.filter((side) => side.tool !== "bptt" && side.onCpu === onCpu).sort((a, b) => a.median - b.median);
    if (!ours || theirs.length === 0) continue;
    const ratio = (ours.median / theirs[0].median).toFixed(3);
    console.log(`bptt ${ours.device} takes ${ratio} of the time of TensorFlow.js ${theirs[0].device}`);
  }
  console.log();
}

const { shapes, json, ...how } = options();
const { url, close } = await site();
const browser = await chromium.launch(launchOptions);
const name = `Chromium ${browser.version()}`;
try {
  for (const shape of shapes) {
    const sides = await measure(browser, url, shape, how);
    if (json) for (const side of sides) console.log(JSON.stringify(side.line(name)));
    else printTable(sides, name);
  }
} finally {
  await browser.close();
  await close();
}
