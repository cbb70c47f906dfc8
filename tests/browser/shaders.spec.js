// Every kernel through Tint, Chromium's WGSL compiler: naga, which the Rust tests use, lets through what Tint refuses
// (a barrier in non-uniform control flow, aliasing bindings).

import { readFileSync, readdirSync } from "node:fs";
import { expect, test } from "@playwright/test";

const SHADERS = new URL("../../shaders/", import.meta.url);
const read = (file) => readFileSync(new URL(file, SHADERS), "utf8");
const LANES = "lstm_persistent_lanes.wgsl"; // in the place of lstm_persistent_alone.wgsl
// As the library builds it: with the files that its comments name.
const kernel = (source, shared) => {
  const named = shared ?? [...source.matchAll(/\b\w+\.wgsl\b/g)].map(([name]) => name).filter((name) => name !== LANES);
  // naga does not read it yet.
  const enabled = named.includes(LANES) ? ["enable subgroups;"] : [];
  return [...enabled, source, ...[...new Set([...named, "common.wgsl"])].map(read)].join("\n");
};

// WebGPU exists in secure contexts alone, so the empty page has an https address, which is answered here.
const ORIGIN = "https://bptt.test/";

// A page in each worker.
test.describe.configure({ mode: "parallel" });

let page;

test.beforeAll(async ({ browser }) => {
  page = await browser.newPage();
  await page.route(`${ORIGIN}**`, (route) => route.fulfill({ contentType: "text/html", body: "<!doctype html>" }));
  await page.goto(ORIGIN);
  await page.evaluate(async () => {
    const adapter = await navigator.gpu?.requestAdapter();
    if (!adapter) throw new Error("this browser offers no WebGPU adapter");
    // No limits and no other features are asked for: the kernels keep to WebGPU's defaults, but for those of neighbouring lanes.
    const offered = ["subgroups"].filter((feature) => adapter.features.has(feature));
    globalThis.device = await adapter.requestDevice({ requiredFeatures: offered });
  });
});

test.afterAll(() => page?.close());

// What Tint and the pipeline have against a kernel; an empty list if nothing.
const complaints = (code) =>
  page.evaluate(async (code) => {
    const { device } = globalThis;
    device.pushErrorScope("validation");
    const module = device.createShaderModule({ code });
    const { messages } = await module.getCompilationInfo();
    for (const [, entryPoint] of code.matchAll(/@compute[^{]*?\bfn (\w+)/g)) {
      device.createComputePipeline({ layout: "auto", compute: { module, entryPoint } });
    }
    const error = await device.popErrorScope();
    const errors = messages.filter(({ type }) => type === "error");
    return [
      ...errors.map(({ lineNum, linePos, message }) => `${lineNum}:${linePos} ${message}`),
      ...(error ? [error.message] : []),
    ];
  }, code);

// What enables 16-bit numbers is not for browsers, and the products' files are tried below with what they multiply.
const enables = (file) => /^enable /m.test(kernel(read(file)));
const files = readdirSync(SHADERS)
  .filter((file) => file.endsWith(".wgsl") && read(file).includes("@compute"))
  .filter((file) => !file.startsWith("product_") && !enables(file))
  .sort();

for (const file of ["product.wgsl", "weight_gradients.wgsl"]) {
  for (const tiles of [["product_direct.wgsl"], ["product_loads.wgsl", "product_tiles.wgsl", "product_single.wgsl"]]) {
    test(`${file} with ${tiles.join(" and ")}`, async () => {
      const code = kernel(read(file), tiles);
      expect(code).toContain("@compute");
      expect(await complaints(code)).toEqual([]);
    });
  }
}

for (const file of files) {
  test(file, async () => {
    expect(await complaints(kernel(read(file)))).toEqual([]);
  });
}

// As `unroll.rs` does: other constants, and the lines between `repeat X in COUNT` and `end` for each X.
const numbered = (line, index, value) =>
  line.replace(/\w+/g, (name) =>
    name === index ? `${value}u` : name.replace(new RegExp(`(?<=_)${index}(?=_|$)`, "g"), value),
  );
const writtenOut = (lines, constants) => {
  const written = [];
  for (let at = 0; at < lines.length; at++) {
    const [, index, count] = lines[at].match(/\/\/ repeat (\w+) in (\w+)/) ?? [];
    if (!index) {
      written.push(lines[at]);
      continue;
    }
    const begin = at + 1;
    for (let open = 1; open > 0; ) {
      at += 1;
      open += lines[at].includes("// repeat ") - (lines[at].trim() === "// end");
    }
    for (let value = 0; value < constants[count]; value++) {
      const body = lines.slice(begin, at).map((line) => numbered(line, index, value));
      written.push(...writtenOut(body, constants));
    }
  }
  return written;
};
const unrolled = (file, constants, shared) => {
  const set = (text, [name, value]) => text.replace(new RegExp(`const ${name} = .*`), `const ${name} = ${value}u;`);
  const lines = Object.entries(constants).reduce(set, kernel(read(file), shared)).split("\n");
  return writtenOut(lines, constants).join("\n");
};

// Sizes of a hardware and of a software adapter, weights in registers and not, in one part and in several.
const persistent = (file, given, shared) => [
  `lstm_persistent_${file}.wgsl`,
  { ...given, HOLDS: +(given.HELD > 0) },
  ["shared", "held", ...shared].map((name) => `lstm_persistent_${name}.wgsl`).concat("lstm_gates.wgsl", "lstm_zone.wgsl"),
];
const plain = (way, constants) => {
  const { FAR, PARTS } = constants;
  return persistent(way, constants, ["pairs", !FAR && PARTS > 1 ? "lanes" : "alone"]);
};
const forward = (HIDDEN, SEQUENCES, ITEM_THREADS, ITEMS, PARTS, BLOCKS, RESIDENT, INPUTS, ZONEOUT, FAR, SIDES, HELD = 0) =>
  plain("forward", { HIDDEN, SEQUENCES, ITEM_THREADS, ITEMS, PARTS, BLOCKS, RESIDENT, INPUTS, ZONEOUT, FAR, SIDES, HELD });
const backward = (HIDDEN, SEQUENCES, ITEM_THREADS, ITEMS, PARTS, BLOCKS, RESIDENT, ZONEOUT, FAR, SIDES, HELD = 0) =>
  plain("backward", { HIDDEN, SEQUENCES, ITEM_THREADS, ITEMS, PARTS, BLOCKS, RESIDENT, ZONEOUT, FAR, SIDES, HELD });
const tiled = (file, constants) => [`lstm_tiled_${file}.wgsl`, constants];
const full = (file, constants) => persistent(`full_${file}`, { HELD: 0, ...constants }, ["full_shared"]);
for (const [file, constants, shared] of [
  forward(64, 1, 64, 1, 4, 4, 4, 0, 0, 1, 1),
  forward(64, 1, 64, 1, 4, 4, 4, 1, 1, 1, 1),
  forward(129, 2, 132, 1, 1, 33, 10, 4, 0, 0, 2),
  forward(65, 8, 9, 8, 1, 17, 0, 0, 1, 0, 2),
  forward(64, 1, 64, 1, 4, 4, 4, 1, 0, 0, 2),
  forward(66, 1, 68, 1, 2, 9, 9, 0, 1, 0, 2),
  forward(32, 1, 32, 1, 8, 1, 1, 0, 0, 0, 2),
  forward(65, 3, 68, 1, 2, 9, 9, 0, 1, 0, 2),
  // Of the 16 KiB that every page has.
  forward(33, 2, 36, 1, 4, 3, 1, 0, 1, 1, 1, 1),
  backward(64, 1, 16, 1, 16, 4, 4, 0, 1, 1),
  backward(64, 1, 16, 1, 16, 4, 4, 1, 1, 1),
  backward(129, 2, 33, 1, 7, 19, 10, 0, 1, 1),
  backward(65, 8, 8, 3, 1, 68, 0, 1, 0, 1),
  backward(64, 1, 16, 1, 16, 4, 4, 0, 0, 2),
  backward(65, 3, 17, 1, 8, 9, 9, 1, 0, 2),
  backward(65, 2, 17, 1, 4, 17, 2, 0, 0, 2, 2),
  tiled("forward", { UNITS: 32, GROUPS: 4, QUADS: 2, PARTS: 2, PAIRS: 2, TERMS: 128, AHEAD: 16, FILLS: 4, PARTED: 0 }),
  tiled("forward", { UNITS: 16, GROUPS: 2, QUADS: 1, PARTS: 8, PAIRS: 1, TERMS: 256, AHEAD: 16, FILLS: 2, PARTED: 1 }),
  tiled("backward", { COLUMNS: 8, GROUPS: 4, QUADS: 2, PARTS: 8, PAIRS: 2, TERMS: 128, AHEAD: 16, FILLS: 4, TURNS: 1 }),
  tiled("backward", { COLUMNS: 4, GROUPS: 2, QUADS: 1, PARTS: 32, PAIRS: 1, TERMS: 512, AHEAD: 16, FILLS: 4, TURNS: 2 }),
  // As `full.rs` cuts them: layer normalisation, a projection, both, in slices and in one.
  full("forward", {
    HIDDEN: 64, WIDTH: 64, ZONEOUT: 0, NORM: 1, PROJECTED: 0, SEQUENCES: 1, UNIT_THREADS: 64, UNITS: 1, PARTS: 4, QUADS: 4,
    RESIDENT: 4, FOUR_THREADS: 1, FOURS: 1, FOUR_PARTS: 1, FOUR_QUADS: 1,
  }),
  full("forward", {
    HIDDEN: 65, WIDTH: 22, ZONEOUT: 1, NORM: 0, PROJECTED: 1, SEQUENCES: 8, UNIT_THREADS: 16, UNITS: 5, PARTS: 1, QUADS: 6,
    RESIDENT: 0, FOUR_THREADS: 6, FOURS: 1, FOUR_PARTS: 2, FOUR_QUADS: 9,
  }),
  full("forward", {
    HIDDEN: 128, WIDTH: 64, ZONEOUT: 1, NORM: 1, PROJECTED: 1, SEQUENCES: 2, UNIT_THREADS: 128, UNITS: 1, PARTS: 2, QUADS: 8,
    RESIDENT: 8, FOUR_THREADS: 16, FOURS: 1, FOUR_PARTS: 16, FOUR_QUADS: 2,
  }),
  full("forward", {
    HIDDEN: 33, WIDTH: 33, ZONEOUT: 0, NORM: 1, PROJECTED: 0, SEQUENCES: 1, UNIT_THREADS: 36, UNITS: 1, PARTS: 2, QUADS: 5,
    RESIDENT: 3, HELD: 2, FOUR_THREADS: 1, FOURS: 1, FOUR_PARTS: 1, FOUR_QUADS: 1,
  }),
  full("backward", {
    HIDDEN: 33, WIDTH: 33, ZONEOUT: 0, NORM: 1, PROJECTED: 0, SEQUENCES: 1, FOUR_THREADS: 9, FOURS: 1, PARTS: 4, UNITS: 9,
    RESIDENT: 2, HELD: 3, UP_THREADS: 1, UP_FOURS: 1, UP_PARTS: 1, UP_QUADS: 1,
  }),
  full("backward", {
    HIDDEN: 64, WIDTH: 64, ZONEOUT: 0, NORM: 1, PROJECTED: 0, SEQUENCES: 1, FOUR_THREADS: 16, FOURS: 1, PARTS: 16, UNITS: 4,
    RESIDENT: 4, UP_THREADS: 1, UP_FOURS: 1, UP_PARTS: 1, UP_QUADS: 1,
  }),
  full("backward", {
    HIDDEN: 65, WIDTH: 22, ZONEOUT: 1, NORM: 0, PROJECTED: 1, SEQUENCES: 8, FOUR_THREADS: 6, FOURS: 1, PARTS: 2, UNITS: 34,
    RESIDENT: 0, UP_THREADS: 12, UP_FOURS: 2, UP_PARTS: 1, UP_QUADS: 6,
  }),
  full("backward", {
    HIDDEN: 128, WIDTH: 64, ZONEOUT: 1, NORM: 1, PROJECTED: 1, SEQUENCES: 1, FOUR_THREADS: 16, FOURS: 1, PARTS: 16, UNITS: 8,
    RESIDENT: 8, UP_THREADS: 32, UP_FOURS: 1, UP_PARTS: 8, UP_QUADS: 2,
  }),
]) {
  test(`${file} with ${JSON.stringify(constants)}`, async () => {
    const code = unrolled(file, constants, shared);
    expect(code).not.toMatch(/\/\/ repeat|\w_[RQMSPKF]\b/);
    for (const [name, value] of Object.entries(constants)) expect(code).toContain(`const ${name} = ${value}u;`);
    expect(await complaints(code)).toEqual([]);
  });
}

test("there are kernels to compile", () => {
  expect(files.length).toBeGreaterThan(20);
  expect(files).toContain("loss.wgsl");
});

test("a barrier in non-uniform control flow is refused", async () => {
  const source = `
    @compute @workgroup_size(64)
    fn main(@builtin(local_invocation_index) local: u32) {
        if local < 32u {
            workgroupBarrier();
        }
    }`;
  expect((await complaints(kernel(source))).join("\n")).toContain("workgroupBarrier");
});

test("a kernel beyond the default limits is refused", async () => {
  const source = `
    var<workgroup> sums: array<f32, 8192>;
    @compute @workgroup_size(64)
    fn main(@builtin(local_invocation_index) local: u32) {
        sums[local] = 0.0;
    }`;
  expect(await complaints(kernel(source))).not.toEqual([]);
});
