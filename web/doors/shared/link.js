// The options of `task` that stand in a link, completed and checked by the engine; {} where there is none.
export async function linked(engine, query, task) {
  const asked = new URLSearchParams(query);
  if (asked.size === 0) return {};
  if (task) asked.set("task", task);
  const options = await engine.fromLink(asked.toString());
  return Object.fromEntries([...asked.keys()].map((name) => [name, options[name]]));
}
