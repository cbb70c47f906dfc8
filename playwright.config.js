import { defineConfig } from "@playwright/test";
import { launchOptions } from "./tests/browser/chromium.js";

export default defineConfig({
  testDir: "tests/browser",
  // One Chromium at a time: its software WebGPU takes every core.
  workers: 1,
  // Software rendering on a machine that is busy elsewhere takes its time; what comes at all passes.
  timeout: 120_000,
  expect: { timeout: 30_000 },
  retries: process.env.CI ? 1 : 0,
  reporter: "list",
  forbidOnly: !!process.env.CI,
  use: {
    browserName: "chromium",
    launchOptions,
  },
});
