// The door to writing, from the first click to a text of its own, on both engines.

import { byName, choose, expect, finished, taken, test, violations } from "./page.js";
import { ALONE, longestTask } from "./tasks.js";

// A rhyme that a small network learns in seconds.
const RHYME = "The cat sat on the mat, the rat sat on the hat, and that was that.\n".repeat(60);
const SMALL = "hidden_size=16&num_layers=1&batch_size=8&bptt=16&lr=0.02&epochs=4";

const card = (page, heading) => page.locator("section.card", { has: page.getByRole("heading", { name: heading, exact: true }) });
const samples = (page) => card(page, "What it writes").locator("li");
const written = (page) => page.locator("[data-written]");

async function openWith(open, page, text, query = SMALL, device = "cpu") {
  await open(`#text?device=${device}&${query}`);
  await expect(byName(page, "Learn")).toBeEnabled();
  if (!text) return;
  await choose(page, "own.txt", text);
  await expect(page.locator(".understood")).toContainText("own.txt");
}

async function write(page, { prompt, length = 60, ...settings } = {}) {
  if (prompt !== undefined) await page.getByLabel("Prompt").fill(prompt);
  for (const [name, value] of Object.entries({ length, ...settings })) await page.locator(`[name=write-${name}]`).fill(String(value));
  await byName(page, "Write").click();
  await expect(card(page, "Let it go on").locator(".write-state")).toHaveText(`Written: ${length} characters`);
  return written(page).textContent();
}

test("one click, and the samples improve", async ({ page, open }) => {
  await openWith(open, page, null, "");
  await expect(page.locator(".understood")).toHaveText("alice.txt: 7,103 characters of 57 kinds in 27 lines.");
  await byName(page, "Learn").click();
  await expect.poll(() => samples(page).count(), { intervals: [100] }).toBeGreaterThan(1);
  await expect(samples(page).last()).toContainText("before the first step");
  const [newest, first] = [samples(page).first(), samples(page).last()].map((sample) => sample.locator(".written").textContent());
  expect(await newest).not.toBe(await first);
  await expect(samples(page).first()).toContainText("bits per character");
});

for (const device of ["cpu", "gpu"]) {
  test(`learns a text and goes on with a prompt on the ${device}`, async ({ page, open }) => {
    await openWith(open, page, RHYME, SMALL, device);
    await expect(page.locator(".understood")).toHaveText(/^own\.txt: 4,020 characters of 1\d kinds in 60 lines\.$/);
    await byName(page, "Learn").click();
    await expect(samples(page)).not.toHaveCount(0);
    await finished(page);
    await expect(page.locator(".figures")).toContainText(device === "gpu" ? "GPU" : "CPU");
    await expect(card(page, "Let it go on")).toContainText(/It has learnt: best after epoch \d.*bits per character.*knowing only how often/);
    await expect(samples(page).first()).toContainText(/steps, epoch 4.*bits per character/);
    const text = await write(page, { prompt: "The cat ", seed: 7 });
    expect(await write(page, { seed: 7 })).toBe(text);
    expect(await write(page, { seed: 8 })).not.toBe(text);
    await expect(page.locator(".output .prompt")).toHaveText("The cat ");
  });
}

test("temperature, top-k and top-p are the engine's", async ({ page, open }) => {
  await openWith(open, page, RHYME);
  await byName(page, "Learn").click();
  await finished(page);
  const likeliest = await write(page, { prompt: "The ", temperature: 0, seed: 1 });
  expect(await write(page, { temperature: 0, seed: 2 })).toBe(likeliest);
  expect(await write(page, { temperature: 1, top_k: 1, seed: 3 })).toBe(likeliest);
  expect(await write(page, { temperature: 1, top_k: 0, top_p: 0.0001, seed: 4 })).toBe(likeliest);
  expect(await write(page, { temperature: 3, top_p: 1, seed: 4 })).not.toBe(likeliest);
  await byName(page, "Go on from there").click();
  await expect(page.locator(".output .prompt")).toHaveText(/^The .{60}$/s);
});

test("it writes while it learns, and both can be stopped", async ({ page, open }) => {
  await openWith(open, page, RHYME, `${SMALL}&epochs=5000&patience=0`);
  await byName(page, "Learn").click();
  await expect(samples(page)).not.toHaveCount(0);
  await page.locator("[name=write-length]").fill("20000");
  await byName(page, "Write").click();
  await expect(written(page)).not.toBeEmpty();
  await byName(page, "Stop writing").dispatchEvent("click");
  await expect(card(page, "Let it go on").locator(".write-state")).toHaveText(/^Stopped: [\d,]+ characters$/);
  await expect(page.locator(".run").first()).toHaveAttribute("data-state", "running");
  await byName(page, "Pause").click();
  await expect(page.locator(".run").first()).toHaveAttribute("data-state", "paused");
  await write(page, { prompt: "The " });
});

test("what cannot be written is said at the prompt", async ({ page, open }) => {
  await openWith(open, page, RHYME, `${SMALL}&epochs=1`);
  await byName(page, "Learn").click();
  await finished(page);
  await page.getByLabel("Prompt").fill("ß");
  await byName(page, "Write").click();
  await expect(page.locator(".field-error:visible")).toContainText("'ß', which the model has never seen");
  await expect(page.getByLabel("Prompt")).toHaveAttribute("aria-invalid", "true");
});

test("a text that is pasted is learnt; what stands in it stays text", async ({ page, open }) => {
  const evil = '<img src=x onerror="globalThis.hacked=1"> <b>bold</b>\n';
  await openWith(open, page);
  await page.getByLabel("Paste a text").fill(evil.repeat(80));
  await expect(page.locator(".understood")).toContainText("pasted.txt: 4,320 characters");
  await expect(page.locator(".excerpt")).toContainText("<img src=x onerror=");
  await byName(page, "Learn").click();
  await finished(page);
  await write(page, { prompt: "<img", temperature: 0, length: 120 });
  await expect(page.locator(".output")).toContainText("<img");
  expect(await page.locator("main img, main b").count()).toBe(0);
  expect(await page.evaluate(() => globalThis.hacked)).toBeUndefined();
});

test("model, checkpoint and options go out and in", async ({ page, open }) => {
  await openWith(open, page, RHYME);
  await byName(page, "Learn").click();
  await finished(page);
  const before = await write(page, { prompt: "The ", seed: 3 });
  const [model, checkpoint, config] = [await taken(page, "model"), await taken(page, "checkpoint"), await taken(page, "config")];
  expect(config.bytes.toString()).toMatch(/hidden_size = 16/);

  await open("#text?device=cpu");
  await page.reload();
  await expect(byName(page, "Learn")).toBeEnabled();
  await choose(page, "mine.safetensors", model.bytes);
  await expect(card(page, "Let it go on")).toContainText("mine.safetensors is loaded");
  expect(await write(page, { prompt: "The ", seed: 3 })).toBe(before);

  await choose(page, "config.toml", config.bytes);
  await expect(page.locator("[name=hidden_size]")).toHaveValue("16");
  await choose(page, "own.txt", RHYME);
  await expect(page.locator(".understood")).toContainText("own.txt");
  await choose(page, "last.ckpt", checkpoint.bytes);
  await finished(page);
  await expect(page.locator(".figures")).toContainText("4 of 4");
});

test("options stand in the address, and a wrong one is explained", async ({ page, open }) => {
  await openWith(open, page, RHYME);
  await page.locator("[name=hidden_size]").fill("24");
  await page.locator("[name=hidden_size]").blur();
  await expect(page).toHaveURL(/#text\?.*hidden_size=24/);
  await page.locator("[name=bptt]").fill("100000");
  await page.locator("[name=bptt]").blur();
  await byName(page, "Learn").click();
  await expect(page.locator(".notice.error")).toBeVisible();
  await expect(byName(page, "Learn")).toBeEnabled();
});

test("no task of the page's own thread takes 50 ms while it learns and writes", { tag: ALONE }, async ({ page, open }) => {
  await openWith(open, page, null, "epochs=6");
  const longest = await longestTask(page, async () => {
    await byName(page, "Learn").click();
    await finished(page);
  });
  test.info().annotations.push({ type: "longest task", description: `${longest} ms of CPU time` });
  expect(longest).toBeLessThan(50);
});

for (const colorScheme of ["light", "dark"]) {
  test(`axe finds nothing, ${colorScheme}`, async ({ page, open }) => {
    await page.emulateMedia({ colorScheme });
    await openWith(open, page, RHYME, `${SMALL}&epochs=1`);
    await byName(page, "Learn").click();
    await finished(page);
    await write(page);
    await page.getByText("More options").click();
    expect(await violations(page)).toEqual([]);
  });
}
