// Start weights whose recurrent part is larger or smaller: a run's own, each W_hh times a factor.

const RECURRENT = /weight_hh/;

// The bytes of a model.safetensors with its recurrent weights times `gain`: a header's length in 8 bytes, the header in JSON
// with each tensor's place, then the numbers.
export function scaled(bytes, gain) {
  const copy = bytes.slice();
  const view = new DataView(copy.buffer);
  const length = Number(view.getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(copy.subarray(8, 8 + length)));
  for (const [name, tensor] of Object.entries(header)) {
    if (!RECURRENT.test(name)) continue;
    const [begin, end] = tensor.data_offsets.map((offset) => 8 + length + offset);
    for (let at = begin; at < end; at += 4) view.setFloat32(at, gain * view.getFloat32(at, true), true);
  }
  return copy;
}

// Start weights of a run with `options`, so scaled; undefined where nothing is to be scaled.
export async function startWeights(engine, options, gain) {
  if (gain === 1) return undefined;
  const run = await engine.train(options, { device: "cpu", paused: true });
  try {
    return scaled(await run.model(), gain);
  } finally {
    await run.cancel();
  }
}
