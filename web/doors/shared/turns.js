// Pictures take turns: one is painted a frame, so that no frame takes long however many there are.

const waiting = new Set();
let asked = false;

function ask() {
  if (asked || waiting.size === 0) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    const [next] = waiting;
    waiting.delete(next);
    try {
      next?.();
    } finally {
      ask();
    }
  });
}

// A function that asks for `act` when its turn comes, once however often it was asked for; `act` shows what is the newest then.
export const inTurn = (act) => () => {
  waiting.add(act);
  ask();
};
