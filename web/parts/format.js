// Numbers for people: sensible digits, units, English grouping.

const formats = new Map();
const format = (value, options) => {
  const key = JSON.stringify(options);
  if (!formats.has(key)) formats.set(key, new Intl.NumberFormat("en", options));
  return formats.get(key).format(value).replace("-", "−");
};

export const count = (value) => format(value, { maximumFractionDigits: 0 });

export const counted = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;

// `digits` significant ones, but never fewer than the whole part has; very small and very large ones by powers of ten.
export function number(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e9)) return power(value, Math.min(digits, 3));
  const whole = size < 1 ? 0 : Math.floor(Math.log10(size)) + 1;
  if (whole >= digits) return count(value);
  return format(value, { maximumSignificantDigits: digits });
}

const SUPERSCRIPT = "⁰¹²³⁴⁵⁶⁷⁸⁹";
function power(value, digits) {
  const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
  const raised = [...exponent.replace("+", "")].map((c) => (c === "-" ? "⁻" : SUPERSCRIPT[Number(c)])).join("");
  const factor = mantissa.replace(/\.?0+$/, "").replace("-", "−");
  if (factor === "1" || factor === "−1") return `${factor.replace("1", "")}10${raised}`;
  return `${factor} · 10${raised}`;
}

// The same number of digits after the point in a column of a table.
export function decimals(values, digits = 4) {
  const largest = Math.max(...values.filter(Number.isFinite).map(Math.abs), 1e-12);
  const places = Math.min(8, Math.max(0, digits - 1 - Math.floor(Math.log10(largest))));
  return (value) =>
    Number.isFinite(value) ? format(value, { minimumFractionDigits: places, maximumFractionDigits: places }) : "–";
}

export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  for (; value >= 1000 && at < units.length - 1; at++) value /= 1000;
  return `${number(value, at === 0 ? 4 : 2)} ${units[at]}`;
}

export function duration(seconds) {
  if (seconds < 0.95) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
  if (seconds < 9.95) return `${number(seconds, 2)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export const percent = (share, digits = 2) => `${number(100 * share, digits)} %`;

export function ago(when, now = Date.now()) {
  const seconds = Math.max(0, (now - when) / 1000);
  if (seconds < 60) return "a moment ago";
  if (seconds < 3600) return `${counted(Math.round(seconds / 60), "minute")} ago`;
  if (seconds < 86_400) return `${counted(Math.round(seconds / 3600), "hour")} ago`;
  return `${counted(Math.round(seconds / 86_400), "day")} ago`;
}
