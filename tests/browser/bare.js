// The bare page, built as the page is and served from a sub-path; and the command line to compare with.

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test as base } from "@playwright/test";
import { build } from "vite";
import { serve } from "./serve.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const temporary = () => mkdtempSync(join(tmpdir(), "bptt-"));

export const test = base.extend({
  site: [
    async ({}, use) => {
      const folder = temporary();
      await build({
        root: join(root, "tests", "browser", "bare"),
        configFile: join(root, "vite.config.js"),
        logLevel: "warn",
        build: { outDir: folder, emptyOutDir: true },
      });
      const { url, close } = await serve(folder);
      await use(url);
      await close();
      rmSync(folder, { recursive: true });
    },
    { scope: "worker" },
  ],
  // A page on which `Engine` and `watch` are there.
  bare: async ({ page, site }, use) => {
    page.on("pageerror", (error) => console.error(error));
    await page.goto(site);
    await page.waitForFunction(() => globalThis.Engine);
    await use(page);
  },
  // A folder for the command line's files.
  folder: async ({}, use) => {
    const folder = temporary();
    await use(folder);
    rmSync(folder, { recursive: true });
  },
});

// The command line, built as the Rust tests build it.
export function bptt(folder, ...args) {
  const manifest = join(root, "Cargo.toml");
  const program = ["run", "--quiet", `--manifest-path=${manifest}`, "--bin=bptt", "--"];
  return execFileSync("cargo", [...program, ...args], { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

// The largest of |got − want| / |want|.
export const farthest = (got, want) =>
  Math.max(...want.map((value, i) => (Number.isFinite(got[i]) ? Math.abs(got[i] - value) / Math.abs(value) : Infinity)));
