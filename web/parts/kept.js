// The offer to go on with the run that this browser keeps.

import { ago, counted } from "./format.js";
import { sentence } from "./notices.js";

// The door that a run belongs to, by its options.
export function doorOf({ task, data }) {
  const kind = task ?? (/\.txt$/i.test(data ?? "") ? "text" : "forecast");
  return kind === "adding" || kind === "copying" ? "gradients" : kind;
}

const NAMES = { adding: "the adding task", copying: "the copying task" };

// Tells of the kept run, if there is one; `goOn(door)` is asked to go on with it.
export async function offerKept(context, goOn) {
  const engine = await context.engine();
  const kept = await engine.kept();
  if (!kept) return;
  const { config, when, name, epochs, position } = kept;
  const what = name ?? NAMES[config.task] ?? "the sunspots";
  const far = epochs.length > 0 ? counted(epochs.length, "epoch") : counted(position.steps, "step");
  const discard = async () => {
    await engine.forget().catch((error) => context.notices.tell({ kind: "error", text: sentence(error) }));
    context.notices.tell({ id: "kept", text: "The kept run is gone." });
  };
  context.notices.tell({
    id: "kept",
    text: `This browser keeps a run on ${what}: ${far}, saved ${ago(when)}.`,
    actions: [
      { label: "Go on with it", act: () => goOn(doorOf(config)) },
      { label: "Discard it", act: discard },
    ],
  });
}
