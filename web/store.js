// The run that the browser keeps: its data file and its last checkpoint, in IndexedDB. A transaction is written whole or not at
// all, so that a tab that is killed in between leaves the checkpoint before.

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

export const clear = () => transact("readwrite", (store) => void store.clear());
