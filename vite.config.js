import { defineConfig } from "vite";

export default defineConfig({
  // Links that hold wherever the folder is put.
  base: "./",
  build: {
    target: "es2022",
    // Nothing becomes part of a script's text that the page's Content-Security-Policy would have to allow.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  worker: { format: "es" },
});
