// A device for a run: a GPU if there is one to be had, else the CPU, with a notice that says so.

import { Device } from "./wasm/bptt.js";
import * as store from "./store.js";

// Some browsers have no adapter right after they start, or after a loss; a moment later they have.
const WAITS = [0, 150, 500, 1000]; // ms

let given = null;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// What the browser tells of an adapter, in words; some tell nothing.
const nameOf = ({ info = {} }) => [info.vendor, info.architecture, info.description].filter(Boolean).join(" ");

// How the adapters of this browser compute fastest, by their names, as far as that was measured.
const keptTuned = async () => (await store.read("tuned")) ?? {};

export const keepTuned = async (name, tuned) => store.write({ tuned: { ...(await keptTuned()), [name]: tuned } });

// From here on every GPU is the one that was opened elsewhere. wgpu has no way to be given a device: it asks
// `navigator.gpu`, which here answers with this one; nobody else in this thread is answered so, since it is undone at once.
export function useDevice({ adapter, device }) {
  given = { adapter, device };
}

async function openGpu(name) {
  const { [name]: own } = await keptTuned().catch(() => ({}));
  const tuned = JSON.stringify(own);
  if (!given) return Device.open("gpu", tuned);
  const { adapter, device } = given;
  const gpu = navigator.gpu;
  Object.defineProperty(gpu, "requestAdapter", { value: async () => adapter, configurable: true });
  Object.defineProperty(adapter, "requestDevice", { value: async () => device, configurable: true });
  try {
    return await Device.open("gpu", tuned);
  } finally {
    delete gpu.requestAdapter;
    delete adapter.requestDevice;
  }
}

async function requestAdapter() {
  for (const ms of WAITS) {
    await sleep(ms);
    const adapter = await navigator.gpu.requestAdapter().catch(() => null);
    if (adapter) return adapter;
  }
  return null;
}

// {device, name}: what `kind` ("auto", "gpu" or "cpu") asks for, or the CPU after a notice; the name is "" if nobody tells it.
export async function openDevice(kind, notify) {
  const cpu = async (code, message) => {
    if (code) notify({ code, message });
    return { device: await Device.open("cpu"), name: "" };
  };
  if (kind === "cpu") return cpu();
  const opened = async (name) => ({ device: await openGpu(name), name });
  if (given) return opened(nameOf(given.adapter));
  if (!navigator.gpu) {
    return cpu("no-webgpu", "This browser offers no WebGPU here (it needs https or localhost); the CPU computes instead.");
  }
  const adapter = await requestAdapter();
  if (!adapter) return cpu("no-adapter", "WebGPU found no adapter; the CPU computes instead.");
  const software = adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter;
  if (software && kind === "auto") {
    return cpu("software", "The only GPU here is a program on the CPU, which is slower than computing on the CPU directly.");
  }
  try {
    return await opened(nameOf(adapter));
  } catch (error) {
    return cpu("no-device", `The GPU cannot be used (${error.message}); the CPU computes instead.`);
  }
}
