// What a run computes on, to be chosen; it stands in the address.

import { ownField, select } from "../../parts/form.js";

const CHOICES = [
  ["auto", "automatic"],
  ["gpu", "GPU, by WebGPU"],
  ["cpu", "CPU"],
];

export function deviceField(context, changed = () => {}) {
  const control = select(CHOICES, context.device, (value) => {
    context.device = value;
    changed();
  });
  control.name = "device";
  return ownField("Compute on", control, "Automatic takes a real GPU if there is one.");
}
