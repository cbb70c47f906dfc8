// What runs in a tab: one side of the comparison. bench.js opens a tab for each and calls
//
//   side.start(tool, device, shape, most)  -> {version, adapter, parameters, first_step_ms}; at most `most` steps will be taken
//   side.turn(steps)                       -> milliseconds a step, of so many in a row
//
// `tool` is "bptt", in its worker as in production, or "TensorFlow.js", in the page's thread as its documentation has it.

import * as tf from "@tensorflow/tfjs-core";
import { layers, sequential } from "@tensorflow/tfjs-layers";
import "@tensorflow/tfjs-backend-cpu";
import "@tensorflow/tfjs-backend-webgl";
import "@tensorflow/tfjs-backend-webgpu";
import { getThreadsCount, setWasmPaths } from "@tensorflow/tfjs-backend-wasm";
import plainWasm from "@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm.wasm?url";
import simdWasm from "@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm?url";
import threadedWasm from "@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-threaded-simd.wasm?url";
import { Engine } from "../../web/engine.js";

// `biases`: bias vectors of a layer, which PyTorch's LSTM has twice and Keras' once.
const parametersOf = ({ I, H, L }, biases) => {
  const layer = (inputs) => 4 * H * (inputs + H + biases);
  return layer(I) + (L - 1) * layer(H) + H + 1;
};

function expect(what, got, want) {
  if (got !== want) throw new Error(`${what}: ${got} instead of ${want}`);
}

// Waves, one a column. By the default shares 0.7 of the rows are to train on, an epoch of more than `steps` steps, and 0.15
// each to validate and to test on, more than a window.
function madeTable({ I, B, T }, steps) {
  const columns = Array.from({ length: I }, (_, column) => column);
  const rows = Array.from({ length: 2 * B * steps + 20 * (T + 1) }, (_, row) =>
    columns.map((column) => Math.sin(row / (3 + column)).toFixed(4)),
  );
  return new TextEncoder().encode([columns.map((column) => `x${column}`), ...rows].map((row) => row.join(",")).join("\n"));
}

async function startBptt(device, shape, most) {
  const { H, L, B, T } = shape;
  const bytes = madeTable(shape, most);
  // TensorFlow.js' layers clip no norm that is common to all gradients, so nothing is clipped here either.
  const options = { window: T, horizon: 1, hidden_size: H, num_layers: L, batch_size: B, loss: "mse", max_norm: 0 };

  const begun = performance.now();
  const engine = await Engine.start();
  await engine.open({ name: "made.csv", bytes });
  // No checkpoint falls into a turn. On the CPU a turn is one slice; a GPU's slices double until they are as long as a turn.
  const run = await engine.train(options, { device, paused: true, slice: 1e9, every: Infinity });
  let taken = 0;
  const notices = [];
  run.on((event) => {
    if (event.type === "steps") taken = event.step;
    if (event.type === "notice") notices.push(event.message);
  });
  const { adapter, parameters, config, device: got, steps_per_epoch } = run.started;
  if (got !== device) throw new Error(notices.join(" "));
  for (const [name, value] of Object.entries(options)) expect(name, config[name], value);
  // The number of inputs is told by these alone.
  expect("parameters", parameters, parametersOf(shape, 2));
  if (steps_per_epoch <= most) throw new Error(`an epoch has ${steps_per_epoch} steps, too few`);

  const turn = async (steps) => {
    const before = taken;
    await run.step(steps);
    if (run.state === "failed") await run.report;
    if (notices.length > 0) throw new Error(notices.join(" "));
    expect("steps", taken - before, steps);
  };
  await turn(1);
  return { turn, version: engine.version, adapter, parameters, first_step_ms: performance.now() - begun };
}

// What a backend computes on, in words.
function adapterName(backend) {
  if (backend === "webgpu") {
    const { vendor, architecture } = tf.backend().adapterInfo;
    return [vendor, architecture].filter(Boolean).join(" ");
  }
  if (backend === "webgl") {
    const { gl } = tf.backend().gpgpu;
    return gl.getParameter(gl.getExtension("WEBGL_debug_renderer_info").UNMASKED_RENDERER_WEBGL);
  }
  if (backend === "cpu") return "JavaScript";
  const has = (feature) => tf.env().getBool(`WASM_HAS_${feature}_SUPPORT`);
  if (!has("SIMD")) return "WebAssembly";
  if (!has("MULTITHREAD")) return "WebAssembly, SIMD, no threads";
  // As many as the backend chooses; its setThreadsCount lowers the number but does not raise it.
  return `WebAssembly, SIMD, threads: ${getThreadsCount()}`;
}

async function startTensorFlow(backend, shape) {
  const { I, H, L, B, T } = shape;
  tf.enableProdMode();
  setWasmPaths({
    "tfjs-backend-wasm.wasm": plainWasm,
    "tfjs-backend-wasm-simd.wasm": simdWasm,
    "tfjs-backend-wasm-threaded-simd.wasm": threadedWasm,
  });

  const begun = performance.now();
  if (!(await tf.setBackend(backend))) throw new Error("the backend does not start");
  const [x, y] = [tf.randomNormal([B, T, I]), tf.randomNormal([B, 1])];
  const model = sequential();
  for (let layer = 0; layer < L; layer++) {
    model.add(
      layers.lstm({
        units: H,
        inputShape: layer === 0 ? [T, I] : undefined,
        returnSequences: layer < L - 1,
        // The gates of the paper and of every other library; the default here is a piecewise linear one.
        recurrentActivation: "sigmoid",
        // The default, orthogonal, takes longer to make than a step to run, and is no part of one.
        recurrentInitializer: "glorotUniform",
      }),
    );
  }
  model.add(layers.dense({ units: 1 }));
  model.compile({ optimizer: tf.train.adam(1e-3), loss: "meanSquaredError" });
  const parameters = model.countParams();
  expect("parameters", parameters, parametersOf(shape, 1));

  // It answers with the loss, so each step waits for its end.
  const turn = async (steps) => {
    for (let step = 0; step < steps; step++) {
      const loss = await model.trainOnBatch(x, y);
      if (!Number.isFinite(loss)) throw new Error(`the loss is ${loss}`);
    }
  };
  await turn(1);
  const first_step_ms = performance.now() - begun;
  return { turn, version: tf.version_core, adapter: adapterName(backend), parameters, first_step_ms };
}

const STARTS = { bptt: startBptt, "TensorFlow.js": startTensorFlow };
let take;

globalThis.side = {
  async start(tool, device, shape, most) {
    const { turn, ...about } = await STARTS[tool](device, shape, most);
    take = turn;
    return about;
  },
  async turn(steps) {
    const begun = performance.now();
    await take(steps);
    return (performance.now() - begun) / steps;
  },
};
