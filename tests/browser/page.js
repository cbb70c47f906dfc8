// What the tests of the page share: the built page below a sub-path, opened in a fresh context, with every error noticed.

import { readFileSync } from "node:fs";
import AxeBuilder from "@axe-core/playwright";
import { test as base, expect } from "@playwright/test";
import { serve } from "./serve.js";

export { expect };

// Small enough to be trained while one waits.
export const SMALL = "window=12&horizon=3&hidden_size=8&num_layers=1&lr=0.01&epochs=3&batch_size=128";

export const test = base.extend({
  serviceWorkers: "block",
  host: [
    async ({}, use) => {
      const host = await serve("dist");
      await use(host);
      await host.close();
    },
    { scope: "worker" },
  ],
  // Opens the page; what it throws or complains of fails the test at its end, unless `faults` is emptied.
  open: async ({ page, host }, use) => {
    const faults = [];
    page.on("pageerror", (error) => faults.push(error.stack));
    page.on("console", (message) => message.type() === "error" && faults.push(message.text()));
    const open = async (hash = "") => {
      await page.goto(`${host.url}${hash}`);
      // Not before the engine has looked at the data.
      if (/^(#forecast|$)/.test(hash)) await expect(page.getByText(/to validate, /)).toBeVisible();
      return page;
    };
    open.faults = faults;
    await use(open);
    expect(faults).toEqual([]);
  },
});

export const byName = (page, name) => page.getByRole("button", { name, exact: true });

// Begins a run and pauses it as soon as there is something to press, however short it is.
export async function beginPaused(page) {
  await page.evaluate(() => {
    const find = (label) => [...document.querySelectorAll(".run-buttons button")].find(({ textContent }) => textContent === label);
    const pause = find("Pause");
    new MutationObserver((_, observer) => pause.hidden || (observer.disconnect(), pause.click())).observe(pause, { attributes: true });
    find("Train").click();
  });
  await expect(page.locator(".run-state")).toHaveText("Paused");
}

// Until the run's end.
export const finished = (page) => expect(page.locator(".run-state")).toHaveText("Finished");

export async function choose(page, name, content) {
  const buffer = typeof content === "string" ? Buffer.from(content) : content;
  await page.locator("input[type=file]").setInputFiles({ name, mimeType: "text/plain", buffer });
}

// The bytes of what a click downloads, and its name.
export async function downloaded(page, click) {
  const [download] = await Promise.all([page.waitForEvent("download"), click()]);
  return { name: download.suggestedFilename(), bytes: readFileSync(await download.path()) };
}

export const taken = (page, what) => downloaded(page, () => page.locator(`[data-take=${what}]`).click());

// The page with `prelude` run in its worker before anything else there.
export async function inWorker(page, prelude) {
  await page.route(/worker-[^/]*\.js$/, async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: `(${prelude})();\n${await response.text()}` });
  });
}

// A table of `rows` days with a weekly rhythm in `revenue`.
export function sales(rows = 400, head = "day,visitors,revenue") {
  const lines = Array.from({ length: rows }, (_, row) => {
    const day = new Date(Date.UTC(2023, 0, 1 + row)).toISOString().slice(0, 10);
    const wave = Math.sin((2 * Math.PI * row) / 7);
    return `${day},${(100 + 20 * wave).toFixed(1)},${(1000 + 300 * wave + (row % 5)).toFixed(2)}`;
  });
  return [head, ...lines, ""].join("\n");
}

// The figures of the result, by the names of rows and columns.
export const scores = (page) =>
  page
    .locator("section[aria-label='The result'] table")
    .first()
    .evaluate((table) => {
      const names = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
      const row = ({ cells }) => [
        cells[0].textContent,
        Object.fromEntries([...cells].slice(1).map((cell, at) => [names[at + 1], cell.textContent])),
      ];
      return Object.fromEntries([...table.tBodies[0].rows].map(row));
    });

// What axe finds wrong with the page as it is.
export async function violations(page) {
  const { violations } = await new AxeBuilder({ page }).analyze();
  const place = ({ html, failureSummary }) => `${html} ${failureSummary}`;
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(place).join(" | ")}`);
}
