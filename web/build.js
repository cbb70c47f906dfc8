// Builds the wasm module and the page.
//
//   node web/build.js wasm     Rust → wasm → its JavaScript side → smaller wasm, in web/wasm/
//   node web/build.js page     that, then the page in dist/, with a check of what a visitor loads
//   node web/build.js package  that, then the npm package, as a .tgz in target/
//
// cargo and rustc stand for the toolchain; everything else comes from Cargo.lock and package-lock.json.

import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const root = fileURLToPath(new URL("..", import.meta.url));
const target = "wasm32-unknown-unknown";
const wasm = join(root, "web", "wasm");

// What a visitor may load, compressed.
const MOST_PAGE = 600_000;
const MOST_WASM = 400_000;

function run(program, ...args) {
  const { status, error } = spawnSync(program, args, { cwd: root, stdio: "inherit" });
  if (status !== 0) throw new Error(`${program} ${args[0]} failed: ${error?.message ?? `exit status ${status}`}`);
}

function metadata() {
  const { stdout } = spawnSync("cargo", ["metadata", "--format-version=1", "--no-deps"], { cwd: root });
  return JSON.parse(stdout);
}

function buildWasm() {
  // As a library for Rust, too, it would not be optimised as a whole. And no path of this machine is anybody's business.
  const registry = join(process.env.CARGO_HOME ?? join(homedir(), ".cargo"), "registry", "src");
  const flags = `target.${target}.rustflags=["--remap-path-prefix=${registry}=.", "--remap-path-prefix=${root}=."]`;
  const only = ["--lib", "--crate-type=cdylib", "--no-default-features", "--features=web"];
  run("cargo", "--config", flags, "rustc", ...only, "--profile=web", `--target=${target}`);
  const built = join(metadata().target_directory, target, "web", "bptt.wasm");
  const made = join(metadata().target_directory, "bindgen");
  const optimized = join(wasm, "bptt_bg.wasm");
  const age = (file) => statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const tools = ["Cargo.lock", "package-lock.json", "web/build.js"].map((file) => join(root, file));
  if (age(optimized) > Math.max(...[built, ...tools].map(age))) return;
  run("cargo", "run", "--quiet", "--package=bindgen", "--profile=tool", "--", built, made);
  mkdirSync(wasm, { recursive: true });
  for (const file of ["bptt.js", "bptt.d.ts"]) copyFileSync(join(made, file), join(wasm, file));
  // What rustc and wasm-bindgen use, all of it older than the SIMD instructions. From -O2 on the module is hardly smaller, and
  // the matrix product takes half as long again.
  const features = ["simd", "bulk-memory", "sign-ext", "mutable-globals", "nontrapping-float-to-int", "reference-types"];
  const enabled = [...features, "multivalue"].map((feature) => `--enable-${feature}`);
  const optimizer = join(root, "node_modules", ".bin", "wasm-opt");
  // Nothing lies below the first KiB, where the stack would end: so offsets can be part of the instructions that load.
  const offsets = ["--low-memory-unused", "--optimize-added-constants-propagate"];
  // Of -O2's passes those that make it smaller and leave the product's loops as they are.
  const whole = ["--dae-optimizing", "--rse", "--gufa"];
  const locals = ["--pick-load-signs", "--coalesce-locals", "--reorder-locals", "--optimize-instructions", "--simplify-locals"];
  const branches = ["--vacuum", "--merge-blocks", "--remove-unused-brs"];
  const alike = ["--code-folding", "--duplicate-function-elimination"];
  // By name, like functions lie side by side, where brotli finds them.
  const order = ["--reorder-functions-by-name", "--converge", "--strip-producers", "--strip-target-features"];
  const smaller = [...whole, "-O1", "--precompute-propagate", ...locals, ...branches, ...alike, ...order];
  run(optimizer, ...smaller, ...offsets, ...enabled, join(made, "bptt_bg.wasm"), "-o", optimized);
}

const compressed = (bytes) => ({
  bytes: bytes.length,
  gzip: gzipSync(bytes, { level: 9 }).length,
  brotli: brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } }).length,
});

function* filesIn(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* filesIn(path);
    else if (statSync(path).size > 0) yield path;
  }
}

function checkSize(folder) {
  const line = (name, { bytes, gzip, brotli }) =>
    console.log(name.padEnd(48), ...[bytes, gzip, brotli].map((size) => size.toLocaleString("en").padStart(11)));
  console.log("what a visitor loads".padEnd(48), ...["bytes", "gzip", "brotli"].map((head) => head.padStart(11)));
  const sums = { all: 0, wasm: 0 };
  for (const path of filesIn(folder)) {
    const size = compressed(readFileSync(path));
    line(path.slice(folder.length + 1), size);
    sums.all += size.brotli;
    if (extname(path) === ".wasm") sums.wasm += size.brotli;
  }
  console.log(`together ${sums.all.toLocaleString("en")} bytes in brotli, of which wasm ${sums.wasm.toLocaleString("en")}`);
  if (sums.all > MOST_PAGE || sums.wasm > MOST_WASM) {
    throw new Error(`too much: at most ${MOST_PAGE} bytes in all and ${MOST_WASM} of wasm`);
  }
}

async function buildPage() {
  const { build } = await import("vite");
  const folder = join(root, "dist");
  rmSync(folder, { recursive: true, force: true });
  await build({ root });
  checkSize(folder);
}

// The page's scripts as they are, with the package's own face.
function buildPackage() {
  const folder = join(metadata().target_directory, "package");
  rmSync(folder, { recursive: true, force: true });
  const scripts = ["device", "engine", "options", "pull", "session", "store", "worker"].map((name) => `${name}.js`);
  for (const file of [...scripts, "options.d.ts", "wasm/bptt.js", "wasm/bptt.d.ts", "wasm/bptt_bg.wasm"]) {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    copyFileSync(join(root, "web", file), join(folder, file));
  }
  for (const file of readdirSync(join(root, "web", "package"))) {
    copyFileSync(join(root, "web", "package", file), join(folder, file));
  }
  for (const file of ["LICENSE-APACHE", "LICENSE-MIT"]) copyFileSync(join(root, file), join(folder, file));
  const { version } = metadata().packages.find(({ name }) => name === "bptt");
  run("npm", "--prefix", folder, "pkg", "set", `version=${version}`);
  run("npm", "pack", folder, "--pack-destination", metadata().target_directory);
}

const [what] = process.argv.slice(2);
if (!["wasm", "page", "package"].includes(what)) throw new Error("say what: wasm, page or package");
buildWasm();
if (what === "page") await buildPage();
if (what === "package") buildPackage();
