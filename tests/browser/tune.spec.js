// Tuning in a browser: measured when asked for, kept in its storage, and used by the runs that come after.

import { expect } from "@playwright/test";
import { test } from "./bare.js";

const OPTIONS = { window: 8, horizon: 1, hidden_size: 8, num_layers: 1, epochs: 1 };

test("a GPU is measured once, and later runs compute as was found", async ({ bare }) => {
  test.setTimeout(300_000);
  const seen = await bare.evaluate(async (options) => {
    const stored = (mode, work) =>
      new Promise((resolve, reject) => {
        const opening = indexedDB.open("bptt", 1);
        opening.onerror = () => reject(opening.error);
        opening.onsuccess = () => {
          const transaction = opening.result.transaction("run", mode);
          const request = work(transaction.objectStore("run"));
          transaction.oncomplete = () => {
            opening.result.close();
            resolve(request.result);
          };
        };
      });
    // How a run computes, as the metadata of its checkpoint says.
    const tunedOf = (checkpoint) => {
      const header = new DataView(checkpoint.buffer, checkpoint.byteOffset).getUint32(0, true);
      const text = new TextDecoder().decode(checkpoint.subarray(8, 8 + header));
      return JSON.parse(JSON.parse(text).__metadata__.bptt).tuned;
    };
    const engine = await Engine.start();
    await engine.open(null);
    const begin = (how) => engine.train(options, { device: "gpu", paused: true, ...how });
    const run = await begin({ keep: true });
    const before = tunedOf(await run.checkpoint());
    const whileKept = await stored("readonly", (store) => store.get("tuned"));
    const measured = await engine.tune();
    for (const table of [measured.products, measured.recurrences]) {
      table.hidden = [...table.hidden];
      table.rows = table.rows.map(({ candidate, seconds }) => ({ candidate, seconds: [...seconds] }));
    }
    const kept = await stored("readonly", (store) => store.get("tuned"));
    const after = tunedOf(await (await begin()).checkpoint());
    // A choice that nobody would measure, so that it is seen where it comes from.
    const [[name, tuned]] = Object.entries(kept);
    const odd = { ...tuned, tuning: { ...tuned.tuning, workgroups: 7 } };
    await stored("readwrite", (store) => store.put({ [name]: odd }, "tuned"));
    const own = tunedOf(await (await begin()).checkpoint());
    // A run goes on as it began.
    const resumed = tunedOf(await (await engine.resumeKept({ device: "gpu", paused: true })).checkpoint());
    await engine.forget();
    const left = await stored("readonly", (store) => store.getAllKeys());
    await stored("readwrite", (store) => store.put({ [name]: { adapter: odd.adapter, tuning: { tile: "new" } } }, "tuned"));
    const unknown = tunedOf(await (await begin()).checkpoint());
    const going = await begin({ paused: false });
    const refused = await engine.tune().catch(({ kind }) => kind);
    await going.cancel();
    engine.close();
    return { before, whileKept, measured, kept, after, own, resumed, left, unknown, refused };
  }, OPTIONS);
  const { tuned, products, recurrences, kept } = seen.measured;
  expect(kept).toBe(true);
  for (const { hidden, rows, chosen } of [products, recurrences]) {
    expect(rows.length).toBeGreaterThan(3);
    expect(rows[0].seconds.length).toBe(hidden.length);
    expect(rows.flatMap(({ seconds }) => seconds).every((time) => time > 0)).toBe(true);
    expect(rows[chosen].seconds.length).toBeGreaterThan(0);
  }
  expect(seen.whileKept).toBe(undefined);
  expect(Object.values(seen.kept)).toEqual([tuned]);
  expect(seen.after).toEqual(tuned);
  expect(seen.own.tuning).toEqual({ ...tuned.tuning, workgroups: 7 });
  expect(seen.resumed).toEqual(seen.before);
  expect(seen.left).toEqual(["tuned"]);
  expect(seen.unknown).toEqual(seen.before);
  expect(seen.refused).toBe("state");
});
