// When things go wrong: a sentence says what and what to do, and nothing is lost.

import { byName, choose, expect, finished, inWorker, sales, scores, SMALL, taken, test } from "./page.js";
import { ALONE, longestTask } from "./tasks.js";

const figures = (page) => page.locator(".figures");
const notices = (page) => page.locator(".notices");

test("without WebGPU the CPU computes, and the page says so", async ({ page, open }) => {
  await inWorker(page, () => Object.defineProperty(navigator, "gpu", { value: undefined }));
  await open(`#forecast?${SMALL}`);
  await byName(page, "Train").click();
  await finished(page);
  await expect(page.locator(".run-note[role=status]")).toContainText("no WebGPU");
  await expect(figures(page)).toContainText("CPU");
});

test("an adapter that is not there at first is asked for again", async ({ page, open }) => {
  await inWorker(page, () => {
    const ask = GPU.prototype.requestAdapter;
    let refused = 0;
    GPU.prototype.requestAdapter = function (...how) {
      return refused++ < 2 ? Promise.resolve(null) : ask.apply(this, how);
    };
  });
  await open(`#forecast?device=gpu&${SMALL}&train_share=0.2`);
  await byName(page, "Train").click();
  await expect(figures(page)).toContainText("GPU");
  await expect(page.locator(".run-note[role=status]")).toHaveText("");
});

// Devices of the worker that are lost when the page says so.
const losing = () => {
  const ask = GPUAdapter.prototype.requestDevice;
  const devices = [];
  GPUAdapter.prototype.requestDevice = async function (...how) {
    const device = await ask.apply(this, how);
    devices.push(device);
    return device;
  };
  new BroadcastChannel("lose").onmessage = () => devices.splice(0).forEach((device) => device.destroy());
};

test("a device that is lost in the middle costs nothing but a moment", async ({ page, open }) => {
  test.slow();
  await inWorker(page, losing);
  const options = `${SMALL}&train_share=0.2&epochs=30`;
  await open(`#forecast?device=gpu&${options}`);
  await byName(page, "Train").click();
  await expect(figures(page)).toContainText(/Epoch([2-9]|[12]\d) of 30/);
  await page.evaluate(() => new BroadcastChannel("lose").postMessage("now"));
  await expect(notices(page).getByText("goes on from its last checkpoint").first()).toBeVisible();
  await finished(page);
  const lost = await scores(page);
  await page.goto("about:blank");
  await open(`#forecast?device=gpu&${options}`);
  await byName(page, "Train").click();
  await finished(page);
  expect(await scores(page)).toEqual(lost);
});

test("a run that does not fit is told of before it begins, with what fits", async ({ page, open }) => {
  await open("#forecast?device=gpu&hidden_size=256&batch_size=60000&window=96");
  const need = page.locator(".settings .trouble");
  await expect(need).toContainText("more than there is here");
  await byName(page, "Train").click();
  await expect(notices(page).getByRole("alert")).toBeVisible();
  await need.getByRole("button").click();
  await expect(page.getByText(/^Needs .* of memory\.$/)).toBeVisible();
  expect(Number(await page.locator("[name=batch_size]").inputValue())).toBeLessThan(60_000);
});

test("a file that is no CSV is refused with a reason, and what was there stays", async ({ page, open }) => {
  await open(`#forecast?device=cpu&${SMALL}`);
  await choose(page, "photo.csv", Buffer.from([0x89, 0x50, 0x4e, 0x47, 0, 1, 2, 3, 255, 254]));
  await expect(page.locator(".data .trouble")).toContainText("photo.csv cannot be used.");
  await expect(page.getByRole("heading", { name: /sunspots/ })).toBeVisible();
  await choose(page, "words.csv", "name,town\nAda,London\nAlan,Wilmslow\n");
  await expect(page.locator(".data .trouble")).toContainText("words.csv cannot be used.");
  await byName(page, "Train").click();
  await finished(page);
});

test("missing values are told with their place, and filled when asked", async ({ page, open }) => {
  await open("#forecast?device=cpu");
  await choose(
    page,
    "holes.csv",
    sales()
      .replace("2023-01-05,119.5,", "2023-01-05,,")
      .replace(/2023-01-09,[^,]*,/, "2023-01-09,,"),
  );
  await expect(page.locator(".data .trouble")).toContainText(/line \d+|holes\.csv:\d+/);
  await page.getByRole("button", { name: /Fill missing values/ }).click();
  await expect(page.getByRole("heading", { name: "The data: holes.csv" })).toBeVisible();
  await expect(page.locator(".notes")).toContainText("missing value");
});

test("a million rows are read with progress, and the page stays awake", { tag: ALONE }, async ({ page, open }) => {
  test.slow();
  await open("#forecast?device=cpu");
  await page.evaluate(() => {
    globalThis.shares = [];
    const read = () => {
      const bar = document.querySelector(".reading progress");
      if (bar && !bar.closest("[hidden]")) shares.push(bar.value);
    };
    new MutationObserver(read).observe(document.querySelector(".reading"), {
      subtree: true,
      attributes: true,
      childList: true,
    });
    const lines = ["time,value"];
    for (let row = 0; row < 1_000_000; row++)
      lines.push(`${1_600_000_000 + 60 * row},${(Math.sin(row / 50) * 10).toFixed(3)}`);
    globalThis.transfer = new DataTransfer();
    transfer.items.add(new File([lines.join("\n")], "long.csv"));
  });
  const longest = await longestTask(page, async () => {
    await page.evaluate(() => {
      const input = document.querySelector("input[type=file]");
      input.files = transfer.files;
      input.dispatchEvent(new Event("change"));
    });
    await expect(page.getByRole("heading", { name: "The data: long.csv" })).toBeVisible();
    await expect(page.locator(".facts")).toContainText("1,000,000");
  });
  expect(longest).toBeLessThan(50);
  expect((await page.evaluate(() => shares.filter((share) => share > 0 && share < 1))).length).toBeGreaterThan(3);
});

test("a loss that is no number stops the run, names the step, and loses nothing", async ({ page, open }) => {
  await open(`#forecast?device=cpu&${SMALL}&optimizer=sgd&lr=1e25&max_norm=0`);
  await byName(page, "Train").click();
  const alert = notices(page).getByRole("alert");
  await expect(alert).toContainText(/Step \d+/);
  await expect(page.locator(".run-state")).toHaveText("Stopped by an error");
  await expect(page.getByRole("button", { name: /^Go on with a learning rate of/ })).toBeVisible();
  const { bytes } = await taken(page, "checkpoint");
  expect(bytes.length).toBeGreaterThan(1000);
  await page.locator("[name=lr]").fill("0.01");
  await byName(page, "Train").click();
  await finished(page);
  await expect(alert).toHaveCount(0);
});

test("a full storage is told of, and the run goes on", async ({ page, open }) => {
  await inWorker(page, () => {
    IDBObjectStore.prototype.put = () => {
      throw new DOMException("the quota is exceeded", "QuotaExceededError");
    };
  });
  await open(`#forecast?device=cpu&${SMALL}`);
  await byName(page, "Train").click();
  await expect(notices(page)).toContainText("can no longer keep the run");
  await expect(byName(page, "Save last.ckpt")).toBeVisible();
  await finished(page);
});

test("an option that cannot be is told at its field", async ({ page, open }) => {
  await open("#forecast?device=cpu");
  await page.locator("[name=window]").fill("100000");
  await page.locator("[name=window]").blur();
  await expect(page.locator(".settings")).toContainText(/window/i);
  await expect(page.locator(".field-error:visible, .data .trouble p")).not.toHaveCount(0);
  await byName(page, "Train").click();
  await expect(notices(page).getByRole("alert")).toBeVisible();
});

test("a defect in the engine starts another one", async ({ page, open }) => {
  await inWorker(page, () => {
    addEventListener("message", (event) => {
      if (event.data.method !== "toPairs") return;
      event.stopImmediatePropagation();
      postMessage({ id: event.data.id, error: { kind: "panic", message: "a test" } });
    });
  });
  await open("#forecast?device=cpu");
  await page.locator("[data-take=link]").click();
  await expect(notices(page)).toContainText("The engine was started anew");
  await byName(page, "Train on the sunspots").click();
  await expect(page.locator(".run-state")).toHaveText("Training");
});
