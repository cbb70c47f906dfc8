// Points of a curve that grows without end, never more than `most`: when they are, neighbours become one.

export class Trail {
  #most;
  #together = 1; // values in a point
  #part = [];
  xs = [];
  ys = [];

  constructor(most = 600) {
    this.#most = most;
  }

  // A value; of those in one point the mean counts. What is not finite is a gap.
  add(x, y) {
    this.#part.push(y);
    if (this.#part.length < this.#together) return;
    this.xs.push(x);
    this.ys.push(mean(this.#part));
    this.#part = [];
    if (this.xs.length > this.#most) this.#halve();
  }

  #halve() {
    const half = (values, join) => values.flatMap((value, at) => (at % 2 === 1 ? [join(values[at - 1], value)] : []));
    this.xs = half(this.xs, (_, later) => later);
    this.ys = half(this.ys, (a, b) => mean([a, b]));
    this.#together *= 2;
  }

  // Without what comes after `x`.
  cut(x) {
    while (this.xs.length > 0 && this.xs.at(-1) > x) {
      this.xs.pop();
      this.ys.pop();
    }
    this.#part = [];
  }
}

function mean(values) {
  const finite = values.filter((value) => Number.isFinite(value));
  return finite.length > 0 ? finite.reduce((sum, value) => sum + value, 0) / finite.length : null;
}

// Several curves over one x axis: [xs, ys of the first, …], null where a curve has no point.
export function merged(curves) {
  const xs = [...new Set(curves.flatMap(([xs]) => xs))].sort((a, b) => a - b);
  const place = new Map(xs.map((x, at) => [x, at]));
  const spread = ([own, ys]) => {
    const values = new Array(xs.length).fill(null);
    own.forEach((x, at) => (values[place.get(x)] = ys[at]));
    return values;
  };
  return [xs, ...curves.map(spread)];
}
