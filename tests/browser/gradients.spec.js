// The door to gradients through time: what is drawn is what the engine measured, and the sliders do what they say.

import { byName, choose, downloaded, expect, finished, taken, test, violations } from "./page.js";
import { ALONE, longestTask } from "./tasks.js";

const SMALL = "task=adding&sequences=600&epochs=2&window=20&hidden_size=16";

// What goes to the worker and what comes from it, in the page's `wire`.
const tap = (page) =>
  page.addInitScript(() => {
    globalThis.wire = { asked: [], gradients: [], answers: new Map() };
    const { postMessage } = Worker.prototype;
    Worker.prototype.postMessage = function (message, ...rest) {
      if (!this.tapped) {
        this.tapped = true;
        this.addEventListener("message", ({ data }) => {
          if (data.event?.type === "gradients") wire.gradients.push(data.event);
          if (data.value !== undefined) wire.answers.set(data.id, data.value);
        });
      }
      wire.asked.push({ id: message.id, method: message.method, args: message.args });
      return postMessage.call(this, message, ...rest);
    };
  });

// Every look at the model so far: {step, norms of the first layer}.
const looks = (page) =>
  page.evaluate(() => {
    const first = wire.asked.find(({ method }) => method === "inspect");
    const found = [{ step: 0, ...wire.answers.get(first.id) }, ...wire.gradients];
    return found.map(({ step, cells }) => ({ step, norms: cells[0].last_step }));
  });
const asked = (page, method) => page.evaluate((method) => wire.asked.filter((one) => one.method === method).map(({ args }) => args), method);

const map = (page) => page.getByRole("group", { name: /over training.*cell by cell/ }).first();
const reading = (page) => page.locator("figure", { has: map(page) }).locator("output.reading");
const slider = (page, name) => page.locator(`input[type=range][name=${name}]`);

async function trained(page, open, query = SMALL, device = "cpu") {
  await tap(page);
  await open(`#gradients?device=${device}&${query}`);
  await expect(byName(page, "Train")).toBeEnabled();
  await byName(page, "Train").click();
  await finished(page);
}

test("one click shows the gradient's way within 10 s", async ({ page, open }) => {
  await open("#gradients?device=cpu");
  await expect(byName(page, "Train")).toBeEnabled();
  await byName(page, "Train").click();
  const canvas = page.getByRole("img", { name: /over training/ });
  await expect(canvas).toHaveAttribute("aria-label", /(\d\d|[4-9]) looks at 30 time steps/);
  await expect(page.locator(".finding")).toHaveText(/^(Vanishes|Fades|Reaches)$/);
  await expect(page.locator("[data-meaning]")).toContainText("At the two marked steps the input gates are open");
});

for (const device of ["cpu", "gpu"]) {
  test(`the heat map shows what was measured on the ${device}`, async ({ page, open }) => {
    await tap(page);
    await open(`#gradients?device=${device}&${SMALL}`);
    await expect(byName(page, "Train")).toBeEnabled();
    await byName(page, "Train").click();
    // Before the first step, for which a software GPU has its shaders compiled.
    await expect(page.getByRole("img", { name: /looks? at 20 time steps/ })).toBeVisible();
    await finished(page);
    await expect(page.locator(".figures")).toContainText(device === "gpu" ? "GPU" : "CPU");
    const found = await looks(page);
    // How many depends on the machine.
    expect(found.length).toBeGreaterThan(1);
    expect(found.length).toBeLessThan(24);
    const { norms } = found.at(-1);
    expect(norms).toHaveLength(20);
    expect(Math.max(...norms) / Math.min(...norms)).toBeGreaterThan(5);
    // Cell by cell, by keys.
    const shown = (norm) => Number(norm.toPrecision(3));
    await map(page).focus();
    for (const back of [0, 1, 2]) {
      await page.keyboard.press(back === 0 ? "End" : "ArrowLeft");
      const words = await reading(page).textContent();
      expect(words).toContain(`Training step ${found.at(-1).step}, ${back === 0 ? "at the last time step" : `${back} steps back`}: `);
      const told = words.split(": ").at(-1).replace(/ · 10⁻(.)/, (_, power) => `e-${"⁰¹²³⁴⁵⁶⁷⁸⁹".indexOf(power)}`);
      expect(Number(told)).toBeCloseTo(shown(norms[back]), 6);
    }
    // And by colour: brighter where the gradient is larger.
    const light = await cells(page, found.length);
    found.forEach(({ norms }, row) => {
      for (let a = 0; a < norms.length; a++) {
        for (let b = 0; b < a; b++) if (norms[a] > 1.5 * norms[b]) expect(light[row][a], `row ${row}: ${a}, ${b}`).toBeGreaterThan(light[row][b]);
      }
    });
  });
}

// The lightness of the first map's cells, [row][steps back], where its rows fill the least height.
async function cells(page, rows) {
  // Pictures take turns.
  await page.waitForTimeout(300);
  return map(page).locator("canvas").evaluate((canvas, { rows, steps }) => {
    const ctx = canvas.getContext("2d");
    const scale = canvas.width / canvas.clientWidth;
    const [left, top, width, height] = [62, 38, canvas.clientWidth - 76, canvas.clientHeight - 78];
    const light = (row, back) => {
      const x = left + ((steps - back - 0.5) / steps) * width;
      const y = top + ((row + 0.5) / 24) * height;
      const [r, g, b] = ctx.getImageData(Math.round(x * scale), Math.round(y * scale), 1, 1).data;
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    return Array.from({ length: rows }, (_, row) => Array.from({ length: steps }, (_, back) => light(row, back)));
  }, { rows, steps: 20 });
}

test("presets make the gradient vanish, reach and explode", async ({ page, open }) => {
  await open("#gradients?device=cpu&epochs=40");
  await expect(byName(page, "Train")).toBeEnabled();
  const press = (name) => page.locator(`[data-preset=${name}]`).first().click();
  const finding = page.locator(".finding");
  await press("vanish");
  await expect(finding).toHaveText("Vanishes");
  await expect(slider(page, "forget_bias")).toHaveAttribute("aria-valuetext", "−2");
  await expect(page.locator(".judged")).toContainText("the gradient VANISHES on its way back: 39 steps back");
  await press("remember");
  await expect(finding).toHaveText("Reaches");
  await press("explode");
  await expect(finding).toHaveText("Explodes");
  await expect(page.locator("[data-clipped]")).toContainText("Nothing is clipped; the largest norm");
  await press("clip");
  await expect(page.locator("[data-clipped]")).toContainText(/^(100|9\d) % of the last \d+ steps were clipped to 0.1/);
  await expect(page).toHaveURL(/gain=8/);
});

test("a slider changes the run: what can at once, what cannot by a new one", async ({ page, open }) => {
  await tap(page);
  await open(`#gradients?device=cpu&${SMALL}&epochs=10000`);
  await expect(byName(page, "Train")).toBeEnabled();
  await byName(page, "Train").click();
  await expect(byName(page, "Pause")).toBeVisible();
  await slider(page, "lr").press("ArrowRight");
  await expect.poll(() => asked(page, "change").then((all) => all.at(-1)?.[1])).toEqual({ lr: 0.02, max_norm: 1 });
  await expect(page.locator(".figures")).toContainText("0.02");
  expect(await asked(page, "train")).toHaveLength(1);
  await slider(page, "forget_bias").press("ArrowLeft");
  await expect.poll(() => asked(page, "train").then((all) => all.at(-1)[1].forget_bias)).toBe(0.5);
  await slider(page, "window").press("ArrowRight");
  await expect.poll(() => asked(page, "train").then((all) => all.at(-1)[1].window)).toBe(22);
  await expect(page.getByRole("img", { name: /looks at 22 time steps/ })).toBeVisible();
  await expect(page).toHaveURL(/forget_bias=0.5.*window=22/);
  await byName(page, "Pause").click();
  await expect(byName(page, "Go on")).toBeVisible();
});

test("pause and step go on one step at a time, and are measured", async ({ page, open }) => {
  await open(`#gradients?device=cpu&${SMALL}&epochs=1000`);
  await expect(byName(page, "Train")).toBeEnabled();
  await byName(page, "Train").click();
  await byName(page, "Pause").click();
  await map(page).focus();
  const step = async () => {
    await page.keyboard.press("PageDown");
    for (let down = 0; down < 20; down++) await page.keyboard.press("PageDown");
    return Number((await reading(page).textContent()).match(/step ([\d,]+)/)[1].replace(",", ""));
  };
  const before = await step();
  await byName(page, "Step").click();
  await byName(page, "Step").click();
  await map(page).focus();
  await expect.poll(step).toBe(before + 2);
});

test("the truncation shows what it would drop", async ({ page, open }) => {
  await trained(page, open);
  const told = page.locator("[data-cut]");
  await expect(told).toHaveText("Nothing is cut: back-propagation goes through the whole sequence.");
  await slider(page, "cut").press("Home");
  await slider(page, "cut").press("ArrowRight");
  const { norms } = (await looks(page)).at(-1);
  const square = (values) => values.reduce((sum, value) => sum + value ** 2, 0);
  const lost = (100 * square(norms.slice(2))) / square(norms);
  const share = Number((await told.textContent()).match(/line, ([\d.]+)/)[1]);
  expect(share).toBeCloseTo(Number(lost.toPrecision(2)), 6);
  await expect(told).toContainText("A BPTT length of 2 would drop");
  await expect(told).toContainText("In 100 % of the sequences the first marked number lies there");
});

test("sequences are chosen, looked at gate by gate, and saved", async ({ page, open }) => {
  await trained(page, open);
  const what = page.getByText(/^Its answer: /);
  const first = await what.textContent();
  const terms = first.match(/: ([\d.]+) \((\d+) steps back\) \+ ([\d.]+) \((\d+) steps? back\) = (\d+(?:\.\d+)?)/).slice(1).map(Number);
  expect(terms[0] + terms[2]).toBeCloseTo(terms[4], 2);
  expect(terms[1]).toBeGreaterThan(9);
  expect(terms[3]).toBeLessThan(10);
  await byName(page, "Next sequence").click();
  await expect(what).not.toHaveText(first);
  await expect(page.locator("[name=sequence]")).toHaveValue("1");
  const gates = page.getByRole("group", { name: /gate by gate/ });
  await gates.focus();
  await page.keyboard.press("Home");
  await page.keyboard.press("PageDown");
  await expect(page.locator("figure", { has: gates }).locator("output")).toHaveText(/^19 steps back: number [\d.]+.*; (input|forget) gate of unit \d+: [\d.]+; ‖∂loss\/∂h‖/);
  const { name, bytes } = await downloaded(page, () => page.getByRole("button", { name: /over training: save as PNG/ }).click());
  expect(name).toBe("gradient-over-training-0.png");
  expect(bytes.subarray(1, 4).toString()).toBe("PNG");
  expect(bytes.length).toBeGreaterThan(5000);
});

test("the copying task in two layers has a map for each", async ({ page, open }) => {
  await trained(page, open, "task=copying&sequences=300&epochs=1&window=24&hidden_size=16&num_layers=2");
  await expect(page.getByRole("img", { name: /over training, layer/ })).toHaveCount(2);
  await expect(page.getByText(/^The ten symbols [A-H]( [A-H]){9} have to be repeated/)).toBeVisible();
  await page.locator("[name=layer]").selectOption("1");
  await expect(page.locator("[data-meaning]")).toContainText("At the ten symbols the input gates are open");
  await page.getByText("In numbers").click();
  const head = page.locator("table").first().locator("thead th");
  await expect(head).toHaveText(["Steps back", "layer 0", "layer 1"]);
});

test("checkpoint and options go out and in", async ({ page, open }) => {
  await trained(page, open);
  const [checkpoint, config] = [await taken(page, "checkpoint"), await taken(page, "config")];
  expect(config.bytes.toString()).toMatch(/task = "adding"/);
  await open("#gradients?device=cpu");
  await page.reload();
  await expect(byName(page, "Train")).toBeEnabled();
  await choose(page, "config.toml", config.bytes);
  await expect(slider(page, "window")).toHaveAttribute("aria-valuetext", "20");
  await choose(page, "last.ckpt", checkpoint.bytes);
  await finished(page);
  await expect(page.locator(".figures")).toContainText("2 of 2");
  await choose(page, "notes.txt", "nothing");
  await expect(page.locator(".notice.error")).toContainText("notes.txt is neither a checkpoint nor options");
});

test("no task of the page's own thread takes 50 ms while it trains and draws", { tag: ALONE }, async ({ page, open }) => {
  await open("#gradients?device=cpu&epochs=5");
  await expect(byName(page, "Train")).toBeEnabled();
  const longest = await longestTask(page, async () => {
    await byName(page, "Train").click();
    await finished(page);
  });
  test.info().annotations.push({ type: "longest task", description: `${longest} ms of CPU time` });
  expect(longest).toBeLessThan(50);
});

for (const colorScheme of ["light", "dark"]) {
  test(`axe finds nothing, ${colorScheme}`, async ({ page, open }) => {
    await page.emulateMedia({ colorScheme });
    await trained(page, open);
    await page.getByText("More options").click();
    await page.getByText("In numbers").click();
    expect(await violations(page)).toEqual([]);
  });
}
