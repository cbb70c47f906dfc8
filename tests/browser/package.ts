// What a TypeScript program says to the package; what is marked must not pass.

import { Trainer, Engine, BpttError, OPTIONS, DEFAULTS, initExisting, tune, type Options, type TrainingEvent } from "bptt";

const options: Options = { window: 36, horizon: 6, hidden_size: 16, epochs: 5, loss: "mse" };
// @ts-expect-error: no such option
const wrong: Options = { hidden: 16 };
// @ts-expect-error: no such loss
const odd: Options = { loss: "huber2" };
export async function all(stop: AbortController, adapter: GPUAdapter, device: GPUDevice) {
  initExisting(adapter, device);
  const trainer = await Trainer.start({ name: "a.csv", text: "x\n1\n" }, options, { device: "auto", signal: stop.signal });
  for await (const event of trainer) {
    if (event.type === "epoch") console.log(event.train_loss.toFixed(3), event.val_loss, event.held_out?.point.length);
    if (event.type === "steps") console.log(event.losses.length / 2);
    // @ts-expect-error: only an epoch has it
    console.log(event.val_loss);
  }
  await trainer.step(2);
  // @ts-expect-error: a number of steps
  await trainer.step("2");
  const report = await trainer.report;
  console.log(report.test?.rmse, report.ahead?.point, wrong, odd, OPTIONS.length, DEFAULTS);
  const { recurrences } = await tune();
  console.log(recurrences.rows[recurrences.chosen].seconds.map((time, size) => time / recurrences.hidden[size]));
  const engine = await Engine.start();
  const need = await engine.need(options, { device: "cpu" });
  const run = await engine.train(need.smaller ?? options);
  run.on((event: TrainingEvent) => event.type);
  try { await run.report; } catch (error) { if (error instanceof BpttError && error.kind === "diverged") console.log(error.step); }
}
