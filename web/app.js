// The page's shell: a header, notices, and one door at a time, addressed by the part after "#": `#forecast?window=48&device=gpu`.
//
// A door is a module `doors/<id>.js` with
//
//   export const id, title, summary;
//   export function mount(root, context) -> { unmount(), goOn(begin)?, drop(file)? }
//
// `root` is an empty element inside <main> that holds nothing but the door; the door brings its own <h1>. `goOn` shows the run
// that `begin(how)` answers with (a kept one). `drop` gets a file that was dropped anywhere on the page.
//
// `context` is
//
//   engine()      promise of the Engine, which is started once, and again after a panic
//   notices       tell({kind, text, actions, id}), clear(id), say(text)                       (parts/notices.js)
//   device        "auto" | "gpu" | "cpu", from the address
//   link          URLSearchParams: the options of a run that are in the address
//   setLink(q)    puts such a query into the address, without opening a door anew
//   address(q)    this door's whole address with such a query
//   own(run)      `run` is now the page's run; the one before it has ended (there is one at a time)
//   run           the page's run, or null
//   leave()       ends it, after it was stored, and offers to go on with it
//   fail(e, id)   tells an error as a notice; after a panic restarts
//   restart(e)    after a panic: tells it, starts another engine and offers the kept run

import { Engine } from "./engine.js";
import { el, replace } from "./parts/dom.js";
import { onDrop } from "./parts/files.js";
import { offerKept } from "./parts/kept.js";
import { Notices, sentence } from "./parts/notices.js";

const doors = import.meta.glob("./doors/*.js");
const load = (id) => doors[`./doors/${id}.js`]();
const known = (id) => `./doors/${id}.js` in doors;
const FIRST = "forecast";

const main = document.querySelector("main");
const notices = new Notices();
document.querySelector("#notices").append(notices.element, notices.spoken);

let engine = null;
let door = null; // {id, mounted}

function parsed() {
  const [id, query = ""] = decodeURI(location.hash.slice(1)).split("?", 2);
  return { id: known(id) ? id : FIRST, query: new URLSearchParams(query) };
}

const context = {
  notices,
  leave: () => leave(),
  run: null,
  device: "auto",
  link: new URLSearchParams(),

  engine() {
    engine ??= Engine.start().catch((error) => {
      engine = null;
      notices.tell({
        kind: "error",
        id: "engine",
        text: `The engine could not start. ${sentence(error)}`,
        actions: [{ label: "Try again", act: () => location.reload() }],
      });
      throw error;
    });
    return engine;
  },

  own(run) {
    context.run = run;
    notices.clear("kept");
    notices.clear("failed");
  },

  address: (query) => `${location.href.split("#")[0]}#${door?.id ?? FIRST}${query ? `?${query}` : ""}`,

  setLink(query) {
    context.link = new URLSearchParams(query);
    const all = new URLSearchParams(query);
    if (context.device !== "auto") all.set("device", context.device);
    history.replaceState(null, "", context.address(all.toString()));
  },

  fail(error, id) {
    if (error.kind === "panic") context.restart(error);
    else notices.tell({ kind: "error", id, text: sentence(error) });
  },

  restart(error) {
    engine?.then((broken) => broken.close()).catch(() => {});
    engine = null;
    context.run = null;
    notices.tell({ kind: "error", id: "failed", text: `${sentence(error)} The engine was started anew.` });
    open(parsed().id, { again: true }).then(() => offerKept(context, goOn));
  },
};

// Ends the page's run; what it has learnt is stored before.
async function leave() {
  const { run } = context;
  context.run = null;
  if (!run || !["running", "paused"].includes(run.state)) return;
  // Every change stores a checkpoint, even one that changes nothing.
  await run.change({}).catch(() => {});
  await run.cancel().catch(() => {});
  await offerKept(context, goOn).catch(() => {});
}

async function open(id, { again = false, focus = true } = {}) {
  const { query } = parsed();
  const device = query.get("device");
  context.device = ["gpu", "cpu"].includes(device) ? device : "auto";
  query.delete("device");
  context.link = query;
  if (door?.id === id && !again) return door.mounted;
  door?.mounted?.unmount();
  if (door) await leave();
  door = { id, mounted: null };
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${id}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const module = await load(id);
  if (door.id !== id) return null;
  const root = el("div", { class: `door door-${id}` });
  replace(main, root);
  document.title = `${module.title} · bptt`;
  door.mounted = module.mount(root, context);
  if (focus) {
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  return door.mounted;
}

async function goOn(id) {
  if (door?.id !== id) {
    history.replaceState(null, "", `#${id}`);
    await open(id);
  }
  const running = await context.engine();
  door.mounted.goOn?.((how) => running.resumeKept(how));
}

// Offline, and without any request later: the other doors come while nothing else is to be done.
function loadRest() {
  const rest = () => Promise.allSettled([...Object.values(doors).map((load) => load()), import("./parts/chart-export.js")]);
  if ("requestIdleCallback" in window) requestIdleCallback(rest, { timeout: 3000 });
  else setTimeout(rest, 500);
  if (import.meta.env.PROD && "serviceWorker" in navigator) {
    navigator.serviceWorker.register(new URL("sw.js", document.baseURI)).catch(() => {});
  }
}

// A link with options opens its door anew; the bare one of the door that is open leaves it as it is.
addEventListener("hashchange", () => {
  const { id, query } = parsed();
  open(id, { again: door?.id === id && query.size > 0 });
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
onDrop(document.documentElement, (file) => door?.mounted?.drop?.(file));

context.engine().catch(() => {});
open(parsed().id, { focus: false }).then(loadRest);
offerKept(context, goOn).catch(() => {});
