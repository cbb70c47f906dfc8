import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join, resolve, sep } from "node:path";
import { defineConfig } from "vite";

// The service worker, which has to know every file of the build.
function serviceWorker() {
  let folder;
  const write = () => {
    const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    const files = entries
      .map((entry) => join(entry.parentPath, entry.name))
      .filter((file) => file !== join(folder, "sw.js"))
      .sort();
    const hash = createHash("sha256");
    for (const file of files) hash.update(file).update(readFileSync(file));
    const names = files.map((file) => `./${file.slice(folder.length + 1).replaceAll(sep, "/")}`);
    const source = readFileSync(new URL("web/sw.js", import.meta.url), "utf8")
      .replace("__VERSION__", hash.digest("hex").slice(0, 16))
      .replace('["__FILES__"]', JSON.stringify(["./", ...names]));
    writeFileSync(join(folder, "sw.js"), source);
  };
  return {
    name: "service-worker",
    apply: "build",
    configResolved: ({ root, build }) => (folder = resolve(root, build.outDir)),
    closeBundle: write,
  };
}

// While the page is worked on, Vite puts styles into its text, so that they change without a reload.
const inlineStyles = () => ({
  name: "inline-styles",
  apply: "serve",
  transformIndexHtml: (html) => html.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'"),
});

export default defineConfig({
  // Links that hold wherever the folder is put.
  base: "./",
  plugins: [serviceWorker(), inlineStyles()],
  build: {
    target: "es2022",
    // Nothing becomes part of a script's text that the page's Content-Security-Policy would have to allow.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  worker: { format: "es" },
});
