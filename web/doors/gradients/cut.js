// What truncated back-propagation would lose: the gradient that was measured, beyond so many steps.

import { number, percent } from "../../parts/format.js";

const square = (values) => values.reduce((sum, value) => sum + value * value, 0);

// `norms` by distance from the end; back-propagation through `cut` steps sees the first `cut` of them.
export function tellCut({ task, norms, cut }) {
  const { length } = norms;
  if (cut >= length) return "Nothing is cut: back-propagation goes through the whole sequence.";
  const all = square(norms);
  const lost = all > 0 ? square(norms.slice(cut)) / all : 0;
  const share = lost > 0 && lost < 1e-4 ? number(lost, 2) : percent(lost);
  const gone = `A BPTT length of ${cut} would drop all beyond the dashed line, ${share} of the squared gradient. `;
  return gone + (task === "adding" ? tellAdding(length, cut) : tellCopying(length, cut));
}

// The first mark lies anywhere in the first half.
function tellAdding(length, cut) {
  const half = Math.floor(length / 2);
  const beyond = Math.min(half, Math.max(0, length - cut)) / half;
  if (beyond === 0) return "Both marked numbers are always nearer than that, so that nothing needed is lost.";
  return `In ${percent(beyond)} of the sequences the first marked number lies there: no training could teach the network to use it.`;
}

// What is asked for at the last step stood ten symbols after the beginning.
function tellCopying(length, cut) {
  const back = length - 10;
  if (cut > back) return "The symbol that is asked for last is nearer than that, so that it can still be learnt.";
  return `The symbol that is asked for at the last step stood ${back} steps back: no training could teach the network to hold it.`;
}
