// Everything that can be taken along comes back: options, link, checkpoint, model, and the run that the browser keeps.

import { beginPaused, byName, choose, expect, finished, scores, SMALL, taken, test } from "./page.js";

const OPTIONS = `device=cpu&${SMALL}`;
const loss = (page) => page.locator(".figures div", { hasText: "Validation loss" }).locator("dd").textContent();
const table = (page) => page.locator("section[aria-label='The result'] table").last().innerText();
const trained = async (page, open, options = OPTIONS) => {
  await open(`#forecast?${options}`);
  await byName(page, "Train").click();
  await finished(page);
};

test("config.toml and a link bring the options back", async ({ page, open, context }) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await open("#forecast?device=cpu&window=21&loss=quantile&quantiles=[0.2,0.5,0.8]&hidden_size=64");
  const { name, bytes } = await taken(page, "config");
  expect(name).toBe("config.toml");
  expect(bytes.toString()).toMatch(/^window = 21$/m);
  await page.locator("[data-take=link]").click();
  await expect(page.getByText("The link is copied.")).toBeVisible();
  const link = await page.evaluate(() => navigator.clipboard.readText());
  expect(link).toContain("window=21");

  const values = () =>
    page.evaluate(() =>
      Object.fromEntries(
        ["window", "hidden_size", "lr", "num_layers", "loss", "quantiles"].map((name) => [
          name,
          document.querySelector(`form [name=${name}]`).value,
        ]),
      ),
    );
  const before = await values();
  expect(before).toMatchObject({
    window: "21",
    hidden_size: "64",
    lr: "0.005",
    loss: "quantile",
    quantiles: "0.2, 0.5, 0.8",
  });
  await page.goto("about:blank");
  await page.goto(link);
  await expect.poll(() => values().catch(() => null)).toEqual(before);
  await page.goto("about:blank");
  await open("#forecast?device=cpu");
  await choose(page, "config.toml", bytes);
  await expect.poll(values).toEqual(before);
});

test("a checkpoint goes on elsewhere, to the same numbers", async ({ page, open }) => {
  await trained(page, open, OPTIONS.replace("epochs=3", "epochs=4"));
  const [expected, ahead] = [await scores(page), await table(page)];

  await page.goto("about:blank");
  await trained(page, open, OPTIONS.replace("epochs=3", "epochs=4"));
  await page.goto("about:blank");
  await open(`#forecast?${OPTIONS.replace("epochs=3", "epochs=4")}`);
  await beginPaused(page);
  const { bytes } = await taken(page, "checkpoint");
  await page.evaluate(() => indexedDB.deleteDatabase("bptt"));
  await page.goto("about:blank");
  await open("#forecast?device=cpu");
  await choose(page, "last.ckpt", bytes);
  await finished(page);
  expect(await scores(page)).toEqual(expected);
  expect(await table(page)).toBe(ahead);
});

test("a model forecasts the same when it is loaded", async ({ page, open }) => {
  await trained(page, open);
  const ahead = await table(page);
  const { name, bytes } = await taken(page, "model");
  expect(name).toBe("model.safetensors");
  expect(bytes.toString("latin1", 8, 4000)).toContain("lstm.weight_ih_l0");
  await page.goto("about:blank");
  await open("#forecast?device=cpu");
  await choose(page, "model.safetensors", bytes);
  await expect(page.locator(".verdict")).toContainText("loaded model");
  expect(await table(page)).toBe(ahead);
});

test("a kept run is offered after a reload and ends with the same numbers", async ({ page, open }) => {
  await trained(page, open);
  const expected = [await scores(page), await table(page), await loss(page)];
  await page.evaluate(() => indexedDB.deleteDatabase("bptt"));
  await page.goto("about:blank");
  await open(`#forecast?${OPTIONS}`);
  await beginPaused(page);
  await page.reload();
  await expect(page.getByText(/This browser keeps a run on the sunspots/)).toBeVisible();
  await byName(page, "Go on with it").click();
  await finished(page);
  expect([await scores(page), await table(page), await loss(page)]).toEqual(expected);
});

test("a kept run brings its file, and can be discarded", async ({ page, open }) => {
  const { sales } = await import("./page.js");
  await open("#forecast?device=cpu&epochs=5000&patience=0&hidden_size=4&window=7");
  await choose(page, "sales.csv", sales());
  await expect(page.getByRole("heading", { name: "The data: sales.csv" })).toBeVisible();
  await byName(page, "Train").click();
  await expect(page.locator(".run-state")).toHaveText("Training");
  await page.reload();
  await expect(page.getByText(/keeps a run on sales\.csv/)).toBeVisible();
  await byName(page, "Go on with it").click();
  await expect(page.getByRole("heading", { name: "The data: sales.csv" })).toBeVisible();
  await expect(page.locator(".run-state")).toHaveText("Training");
  await page.reload();
  await byName(page, "Discard it").click();
  await expect(page.getByText("The kept run is gone.")).toBeVisible();
  await page.reload();
  await expect(page.getByText(/to validate, /)).toBeVisible();
  await expect(page.getByText(/This browser keeps/)).toHaveCount(0);
});
