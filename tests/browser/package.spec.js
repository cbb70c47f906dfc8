// The npm package as it is published: the example of its README runs from the unpacked files, in a page and in a worker.

import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "@playwright/test";
import { serve } from "./serve.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const [, example] = readFileSync(join(root, "web", "package", "README.md"), "utf8").match(/```js\n([^]*?)```/);

let folder, site;

test.beforeAll(async () => {
  test.setTimeout(600_000);
  execFileSync("node", ["web/build.js", "package"], { cwd: root, stdio: "ignore" });
  const target = process.env.CARGO_TARGET_DIR ?? join(root, "target");
  const [tarball] = execFileSync("ls", [target], { encoding: "utf8" }).match(/^bptt-.*\.tgz$/m);
  folder = mkdtempSync(join(tmpdir(), "bptt-"));
  execFileSync("tar", ["-xzf", join(target, tarball), "-C", folder]);
  const unpacked = join(folder, "package");
  writeFileSync(join(unpacked, "example.js"), example.replace('"bptt"', '"./index.js"'));
  writeFileSync(join(unpacked, "page.html"), '<!doctype html><script type="module" src="./example.js"></script>');
  writeFileSync(
    join(unpacked, "worker.html"),
    '<!doctype html><script type="module">new Worker("./example.js", { type: "module" })</script>',
  );
  writeFileSync(join(unpacked, "empty.html"), "<!doctype html>");
  site = await serve(unpacked, "/");
});

test.afterAll(async () => {
  await site?.close();
  if (folder) rmSync(folder, { recursive: true });
});

test("the example is short", () => {
  expect(example.trim().split("\n").length).toBeLessThanOrEqual(15);
});

test("the types hold", () => {
  const program = join(folder, "program.ts");
  copyFileSync(join(root, "tests", "browser", "package.ts"), program);
  mkdirSync(join(folder, "node_modules"), { recursive: true });
  symlinkSync(join(folder, "package"), join(folder, "node_modules", "bptt"));
  const options = ["--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom"];
  const { stdout, status } = spawnSync(join(root, "node_modules", ".bin", "tsc"), [...options, program], { encoding: "utf8" });
  expect([stdout, status]).toEqual(["", 0]);
});

for (const where of ["page", "worker"]) {
  test(`the example runs in a ${where}`, async ({ page }) => {
    const lines = [];
    page.on("console", (message) => lines.push(message.text()));
    page.on("pageerror", (error) => lines.push(`error: ${error.message}`));
    await page.goto(`${site.url}${where}.html`);
    await expect.poll(() => lines.length).toBeGreaterThanOrEqual(7);
    const said = lines.filter((line) => !line.includes("404"));
    expect(said.slice(0, 5)).toEqual([1, 2, 3, 4, 5].map((epoch) => expect.stringMatching(`^epoch ${epoch}: [0-9.]+, validation [0-9.]+$`)));
    expect(said[5]).toMatch(/^RMSE [0-9.]+; repeating the last value has [0-9.]+$/);
    expect(said[6]).toMatch(/^the next 6 rows:( -?[0-9.]+){6}$/);
  });
}

test("an opened device is computed on, and options come with their texts", async ({ page }) => {
  await page.goto(`${site.url}empty.html`);
  const seen = await page.evaluate(async () => {
    const { Trainer, OPTIONS, initExisting } = await import("./index.js");
    const adapter = await navigator.gpu.requestAdapter();
    const device = await adapter.requestDevice();
    initExisting(adapter, device);
    const options = { window: 12, horizon: 3, hidden_size: 8, num_layers: 1, epochs: 1 };
    const trainer = await Trainer.start(null, options, { device: "gpu", paused: true });
    await trainer.step(2);
    const { steps } = await trainer.stop();
    trainer.close();
    return { device: trainer.started.device, steps, help: OPTIONS.find(({ name }) => name === "window").help };
  });
  expect(seen).toEqual({ device: "gpu", steps: 2, help: "Rows that a forecast looks back on" });
});
