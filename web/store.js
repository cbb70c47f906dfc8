// What the browser keeps, in IndexedDB: the run, as its data file and its last checkpoint, and how its GPUs compute fastest. A
// transaction is written whole or not at all, so that a tab that is killed in between leaves the checkpoint before.

const NAME = "bptt";
const STORE = "run";

const done = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

async function transact(mode, work) {
  const opening = indexedDB.open(NAME, 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
  const database = await done(opening);
  try {
    const transaction = database.transaction(STORE, mode, { durability: "strict" });
    const result = work(transaction.objectStore(STORE));
    await new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = transaction.onerror = () => reject(transaction.error);
    });
    return await result;
  } finally {
    database.close();
  }
}

export const read = (key) => transact("readonly", (store) => done(store.get(key)));

export const write = (entries) =>
  transact("readwrite", (store) => {
    for (const [key, value] of Object.entries(entries)) store.put(value, key);
  });

export const remove = (...keys) => transact("readwrite", (store) => keys.forEach((key) => store.delete(key)));
