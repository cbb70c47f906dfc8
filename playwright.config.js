import { defineConfig } from "@playwright/test";
import { launchOptions } from "./tests/browser/chromium.js";

export default defineConfig({
  testDir: "tests/browser",
  // A page waits for its worker, that for the GPU process: one Chromium leaves half of two cores idle.
  workers: 2,
  // Software rendering on a machine that is busy elsewhere takes its time; what comes at all passes.
  timeout: 180_000,
  expect: { timeout: 60_000 },
  retries: process.env.CI ? 1 : 0,
  reporter: "list",
  forbidOnly: !!process.env.CI,
  use: {
    browserName: "chromium",
    launchOptions,
  },
});
