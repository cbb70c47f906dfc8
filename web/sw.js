// The page without a network: its files, listed by the build, are kept at the first visit and answered from there. Another
// build is another VERSION, which takes over once no tab shows the one before.

const VERSION = "__VERSION__";
const FILES = ["__FILES__"];
const PREFIX = `bptt ${registration.scope} `;

addEventListener("install", (event) => {
  const keep = async () =>
    (await caches.open(PREFIX + VERSION)).addAll(FILES.map((file) => new Request(file, { cache: "no-cache" })));
  event.waitUntil(keep());
});

addEventListener("activate", (event) => {
  const tidy = async () => {
    const old = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== PREFIX + VERSION);
    await Promise.all(old.map((name) => caches.delete(name)));
    await clients.claim();
  };
  event.waitUntil(tidy());
});

addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || !request.url.startsWith(registration.scope)) return;
  const answer = async () => {
    const cache = await caches.open(PREFIX + VERSION);
    const kept = await cache.match(request.mode === "navigate" ? registration.scope : request, { ignoreSearch: true });
    return kept ?? fetch(request);
  };
  event.respondWith(answer());
});
