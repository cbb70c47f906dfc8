// How long the page's own thread is at work without a break, in CPU time: a machine that is busy elsewhere stops a thread for
// longer than its own work takes.

import { expect } from "./page.js";

// Of tests that measure it: `npm test` runs them after all others, one by one.
export const ALONE = "@alone";

// Milliseconds of the longest task on any page's main thread while `work` goes on.
export async function longestTask(page, work) {
  const browser = page.context().browser();
  await browser.startTracing(page, { categories: ["toplevel", "devtools.timeline"] });
  await work();
  const { traceEvents } = JSON.parse((await browser.stopTracing()).toString());
  const thread = ({ pid, tid }) => `${pid} ${tid}`;
  const pages = traceEvents.filter(({ name, args }) => name === "thread_name" && args.name === "CrRendererMain").map(thread);
  const tasks = traceEvents.filter((event) => /RunTask/.test(event.name) && event.tdur && pages.includes(thread(event)));
  expect(tasks.length).toBeGreaterThan(100);
  return Math.max(...tasks.map(({ tdur }) => tdur)) / 1000;
}
