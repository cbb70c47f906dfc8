// The page around the doors: privacy, offline, accessibility, looks.

import { byName, choose, expect, finished, sales, SMALL, test, violations } from "./page.js";

const DOORS = ["forecast", "text", "gradients"];

test("a run makes no request, and works with the network cut", async ({ page, open, context }) => {
  await open(`#forecast?device=cpu&${SMALL}`);
  // What the page loads when it has nothing else to do.
  const loaded = () => page.evaluate(() => performance.getEntriesByType("resource").map(({ name }) => name).join("\n"));
  for (const file of [/gradients-.*js/, /gradients-.*css/, /text-.*js/, /text-.*css/, /loss-.*js/, /chart-export-.*js/]) {
    await expect.poll(loaded).toMatch(file);
  }
  await page.waitForLoadState("networkidle");
  const requests = [];
  page.on("request", (request) => request.url().startsWith("blob:") || requests.push(request.url()));
  await context.setOffline(true);
  await choose(page, "sales.csv", sales());
  await expect(page.getByRole("heading", { name: "The data: sales.csv" })).toBeVisible();
  await byName(page, "Train").click();
  await finished(page);
  await page.locator("[data-take=config]").click();
  await page.getByRole("button", { name: /loss: save as SVG/ }).click();
  for (const door of [...DOORS, "forecast"]) {
    await page.locator(`nav a[href="#${door}"]`).click();
    await expect(page.locator("h1")).toBeVisible();
  }
  expect(requests).toEqual([]);
});

test.describe("after the first visit", () => {
  test.use({ serviceWorkers: "allow" });
  test("the page opens and trains offline", async ({ page, open, context, host }) => {
    await open(`#forecast?device=cpu&${SMALL}`);
    await page.evaluate(() => navigator.serviceWorker.ready);
    await context.setOffline(true);
    await page.goto("about:blank");
    await open(`#forecast?device=cpu&${SMALL}`);
    await byName(page, "Train").click();
    await finished(page);
    // A link into the folder's page itself, by its name.
    await page.goto(`${host.url}index.html`);
    await expect(page.locator("h1")).toBeVisible();
  });
});

test("nothing may be loaded from elsewhere, and no inline script runs", async ({ page, open }) => {
  await open("#forecast?device=cpu");
  const blocked = await page.evaluate(async () => {
    const violations = [];
    document.addEventListener("securitypolicyviolation", ({ effectiveDirective }) => violations.push(effectiveDirective));
    await fetch("https://example.com/").catch(() => {});
    const script = document.createElement("script");
    script.textContent = "globalThis.ran = true";
    document.head.append(script);
    await new Promise((resolve) => setTimeout(resolve, 100));
    return { violations: violations.sort(), ran: globalThis.ran };
  });
  expect(blocked).toEqual({ violations: ["connect-src", "script-src-elem"], ran: undefined });
  open.faults.length = 0;
});

test("doors have addresses, and the focus follows", async ({ page, open }) => {
  await open("#forecast?device=cpu");
  await page.locator('nav a[href="#forecast"]').focus();
  await page.keyboard.press("Enter");
  await expect(page.locator('nav a[aria-current="page"]')).toHaveText("Forecast my file");
  await open("#forecast?device=cpu&window=36");
  await expect(page.locator("[name=window]")).toHaveValue("36");
  await page.locator(".skip").focus();
  await page.keyboard.press("Enter");
  await expect(page.locator("main")).toBeFocused();
  await expect(page.locator("[name=window]")).toHaveValue("36");
});

test("everything can be reached and done by keyboard", async ({ page, open }) => {
  await open(`#forecast?device=cpu&${SMALL}`);
  await byName(page, "Train on the sunspots").focus();
  await page.keyboard.press("Enter");
  await finished(page);
  const names = new Set();
  await page.locator("main").focus();
  for (let at = 0; at < 60; at++) {
    await page.keyboard.press("Tab");
    names.add(
      await page.evaluate(
        () => document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent.trim(),
      ),
    );
  }
  for (const name of ["Train", "Train further", "config.toml", "model.safetensors", "Choose a CSV file"])
    expect([...names]).toContain(name);
});

const SCHEMES = ["light", "dark"];
for (const colorScheme of SCHEMES) {
  test.describe(colorScheme, () => {
    test.use({ colorScheme });
    test("axe finds nothing, before and after training", async ({ page, open }) => {
      await open(`#forecast?device=cpu&${SMALL}`);
      expect(await violations(page)).toEqual([]);
      await page.getByText("More options").click();
      await byName(page, "Train").click();
      await finished(page);
      await choose(page, "words.csv", "name\nAda\n");
      await expect(page.locator(".data .trouble")).toContainText("cannot be used");
      expect(await violations(page)).toEqual([]);
    });

    test("a button's text is there under the pointer, too", async ({ page, open }) => {
      await open("#forecast?device=cpu");
      const button = byName(page, "Train on the sunspots");
      const colours = () => button.evaluate((it) => [getComputedStyle(it).color, getComputedStyle(it).backgroundColor]);
      const before = await colours();
      await button.hover();
      expect(await colours()).toEqual(before);
    });

    for (const width of [360, 768, 1440, 1920]) {
      test(`nothing runs over at ${width} px`, async ({ page, open }, info) => {
        await page.setViewportSize({ width, height: 900 });
        await open(`#forecast?device=cpu&${SMALL}&epochs=6`);
        await page.screenshot({ path: info.outputPath(`first-${width}-${colorScheme}.png`) });
        await byName(page, "Train on the sunspots").click();
        await finished(page);
        await page.screenshot({ path: info.outputPath(`result-${width}-${colorScheme}.png`), fullPage: true });
        const over = await page.evaluate(() => {
          const beyond = ({ left, right }) => right > innerWidth + 1 || left < -1;
          const scrolls = (element) => element.closest(".table, .chart-box, .sr-only, .hidden-input, .skip");
          return [...document.querySelectorAll("body *")]
            .filter((element) => !scrolls(element) && beyond(element.getBoundingClientRect()))
            .map((element) => element.outerHTML.slice(0, 100));
        });
        expect(over).toEqual([]);
      });
    }
  });
}
