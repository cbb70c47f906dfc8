// Round numbers along an axis.

// About `most` round numbers from `min` to `max`.
export function plain(min, max, most = 6) {
  if (!(max > min)) return [min];
  const rough = (max - min) / Math.max(1, Math.floor(most));
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough);
  const ticks = [];
  for (let at = Math.ceil(min / step); at * step <= max + step * 1e-9; at++) ticks.push(Number((at * step).toPrecision(12)));
  return ticks;
}

// At most about `most` round numbers for a logarithmic axis.
export function plainLog(min, max, most = 6) {
  const per = most / Math.log10(max / min); // decade
  const factors =
    per > 10 ? [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9] : per > 5 ? [1, 1.5, 2, 3, 5, 7] : per > 2.5 ? [1, 2, 5] : [1];
  const every = Math.max(1, Math.ceil(1 / per)); // decades
  const ticks = [];
  for (let power = every * Math.floor(Math.log10(min) / every); power <= Math.ceil(Math.log10(max)); power += every) {
    for (const factor of factors) {
      const tick = Number((factor * 10 ** power).toPrecision(6));
      if (tick >= min && tick <= max) ticks.push(tick);
    }
  }
  return ticks;
}
