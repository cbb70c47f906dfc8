// The door that forecasts a file, from the first click to the downloads, on both engines.

import { beginPaused, byName, choose, downloaded, expect, finished, sales, scores, SMALL, taken, test } from "./page.js";
import { ALONE, longestTask } from "./tasks.js";

const value = async (page, key) => Number(await page.locator(`[data-score=${key}]`).getAttribute("data-value"));

for (const device of ["cpu", "gpu"]) {
  test(`one click shows a better forecast within its first epochs, on the ${device}`, async ({ page, open }) => {
    await open(`#forecast?device=${device}`);
    await byName(page, "Train on the sunspots").click();
    const begun = Date.now();
    const shown = async () => (await value(page, "model")) / (await value(page, "first"));
    await expect.poll(shown, { intervals: [100] }).toBeLessThan(0.85);
    console.log(`first improvement on the ${device}: ${Date.now() - begun} ms after the click`);
  });

  test(`trains, tests and forecasts on the ${device}`, async ({ page, open }) => {
    await open(`#forecast?device=${device}&${SMALL}&train_share=0.2&validation_share=0.05&window=6`);
    await byName(page, "Train").click();
    await finished(page);
    await expect(page.locator(".figures")).toContainText(device === "gpu" ? "GPU" : "CPU");
    await expect(page.locator(".verdict")).toContainText("test windows");
    const found = await scores(page);
    expect(Object.keys(found)).toEqual(
      ["this model", "repeat the last value", "repeat the last 12 rows"].slice(0, Object.keys(found).length),
    );
    expect(Number(found["this model"].RMSE)).toBeLessThan(80);
    const { name, bytes } = await taken(page, "forecast");
    expect(name).toBe("sunspots-forecast.csv");
    expect(bytes.toString().trim().split("\n")).toHaveLength(1 + 3);
    expect(bytes.toString()).toMatch(/^month,.*\n1984-01,/);
    await expect(page.locator("canvas")).toHaveCount(5);
  });
}

test("no task of the page's own thread is longer than 50 ms while it trains", { tag: ALONE }, async ({ page, open }) => {
  await page.addInitScript(() => {
    globalThis.tasks = [];
    new PerformanceObserver((list) => tasks.push(...list.getEntries().map(({ duration }) => duration))).observe({
      type: "longtask",
    });
  });
  await open("#forecast?device=cpu&epochs=8");
  await page.evaluate(() => (tasks.length = 0));
  const computing = await longestTask(page, async () => {
    await byName(page, "Train on the sunspots").click();
    await finished(page);
  });
  const observed = await page.evaluate(() => Math.max(0, ...tasks));
  test.info().annotations.push({
    type: "longest task",
    description: `${observed} ms observed, ${computing.toFixed(1)} ms of computing`,
  });
  console.log(`longest task: ${observed} ms observed, ${computing.toFixed(1)} ms of computing`);
  expect(Math.min(observed, computing)).toBeLessThan(50);
});

test("a run is paused, stepped, changed and stopped", async ({ page, open }) => {
  await open("#forecast?device=cpu&window=12&hidden_size=8&epochs=5000&patience=0");
  await beginPaused(page);
  const step = page.locator(".figures div", { hasText: "Step" }).locator("dd");
  const before = Number((await step.textContent()).split(" ")[0]);
  const per = Number((await step.textContent()).split(" ")[2]);
  await byName(page, "Step").click();
  await expect(step).toContainText(`${(before % per) + 1} of`);
  await page.getByText("Change it while it runs").click();
  await page.locator("[name=live-lr]").fill("0.0007");
  await page.locator("[name=live-lr]").blur();
  await byName(page, "Go on").click();
  await expect(page.locator(".figures")).toContainText("0.0007");
  await byName(page, "Stop").click();
  await finished(page);
  await expect(page.locator(".verdict")).toContainText("test windows");
});

test("a hidden tab pauses where that was chosen, and goes on when it is seen", async ({ page, open }) => {
  await open("#forecast?device=cpu&window=12&hidden_size=8&epochs=500&patience=0");
  await byName(page, "Train").click();
  const hide = (hidden) =>
    page.evaluate((hidden) => {
      Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }, hidden);
  const state = page.locator(".run-state");
  await hide(true);
  await page.waitForTimeout(300);
  await expect(state).toHaveText("Training");
  await hide(false);
  await page.getByText("Change it while it runs").click();
  await page.getByLabel("A hidden tab").selectOption("pause");
  await hide(true);
  await expect(state).toHaveText("Paused");
  await hide(false);
  await expect(state).toHaveText("Training");
});

test("an early stop is told, and a finished run can be trained further", async ({ page, open }) => {
  await open("#forecast?device=cpu&window=12&hidden_size=8&epochs=40&patience=1&lr=0.05");
  await byName(page, "Train").click();
  await finished(page);
  await expect(page.getByText("It stopped early: 1 epoch without a better validation loss.")).toBeVisible();
  await expect(byName(page, "Train further")).toBeHidden();
  await page.locator("[name=epochs]").fill("2");
  await page
    .locator("[name=patience]")
    .evaluate((input) => ((input.value = "50"), input.dispatchEvent(new Event("change"))));
  await byName(page, "Train").click();
  await finished(page);
  await byName(page, "Train further").click();
  await expect(page.locator(".figures")).toContainText("4 of 4");
  await finished(page);
});

test("a file of one's own is understood, trained on and forecast", async ({ page, open }) => {
  await open("#forecast?device=cpu&epochs=2&hidden_size=8");
  await choose(page, "sales.csv", sales());
  const facts = page.locator(".facts");
  await expect(facts).toContainText("400");
  await expect(facts).toContainText("visitors, revenue");
  await expect(facts).toContainText("day, 2023-01-01 to 2024-02-04");
  await expect(facts).toContainText("daily");
  // By the rhythm of the rows, unless somebody says otherwise.
  await expect(page.locator("[name=horizon]")).toHaveValue("13");
  await page.locator("[name=target]").selectOption(["visitors"]);
  await expect(facts).toContainText("To forecastvisitors");
  await byName(page, "Train").click();
  await finished(page);
  const { name, bytes } = await taken(page, "forecast");
  expect(name).toBe("sales-forecast.csv");
  expect(bytes.toString()).toMatch(/^day,visitors\n2024-02-05,/);
});

test("a file dropped anywhere on the page is taken", async ({ page, open }) => {
  await open("#forecast?device=cpu");
  await page.evaluate((text) => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([text], "dropped.csv"));
    for (const type of ["dragenter", "dragover", "drop"]) {
      document.querySelector("main").dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
    }
  }, sales());
  await expect(page.getByRole("heading", { name: "The data: dropped.csv" })).toBeVisible();
});

test("what a file says never becomes markup", async ({ page, open }) => {
  const evil = '<img src=x onerror="globalThis.hacked=1">';
  await open("#forecast?device=cpu&epochs=1&hidden_size=4");
  await choose(page, `${evil}.csv`.replaceAll("/", ""), sales(300, `day,"${evil.replaceAll('"', '""')}",<b>bold</b>`));
  await expect(page.locator(".facts")).toContainText("<img src=x onerror=");
  await byName(page, "Train").click();
  await finished(page);
  await expect(page.locator("section[aria-label='The result']")).toContainText("<b>bold</b>");
  expect(await page.locator("img, main b:text-is('bold')").count()).toBe(0);
  expect(await page.evaluate(() => globalThis.hacked)).toBeUndefined();
});

test("charts are saved as SVG and as PNG", async ({ page, open }) => {
  await open(`#forecast?device=cpu&${SMALL}`);
  await byName(page, "Train").click();
  await finished(page);
  const drawn = await downloaded(page, () => page.getByRole("button", { name: /loss: save as SVG/ }).click());
  expect(drawn.name).toBe("loss.svg");
  expect(drawn.bytes.toString()).toMatch(/^<svg [^]*Training and validation loss[^]*<path d="M[^]*validation/);
  const painted = await downloaded(page, () => page.getByRole("button", { name: /Forecasts of .*: save as PNG/ }).click());
  expect(painted.bytes.subarray(1, 4).toString()).toBe("PNG");
  expect(painted.bytes.length).toBeGreaterThan(10_000);
});
