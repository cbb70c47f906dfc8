// Colours of heat maps: even steps of lightness, told apart by colour-blind people, too.

// Dark blue over green to yellow, after Matplotlib's viridis (van der Walt & Smith 2015).
const RISING = ["#440154", "#482878", "#3e4a89", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6dcd59", "#b4de2c", "#fde725"];
// From blue over the ground to orange, for numbers with a sign; the ground is the scheme's.
const SIGNED = {
  light: ["#08457e", "#3787c0", "#a6cbe3", "#f4f4f2", "#f5c08b", "#dd7a1e", "#8c3b04"],
  dark: ["#9fd2f7", "#4a9bd4", "#1f4e73", "#22262b", "#7a4213", "#d9802b", "#ffd2a1"],
};
// What is no number.
const ODD = packed([214, 39, 140]);
const LEVELS = 256;

const parts = (hex) => [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16));

function table(anchors) {
  const colors = anchors.map(parts);
  return Uint32Array.from({ length: LEVELS }, (_, level) => {
    const at = (level / (LEVELS - 1)) * (colors.length - 1);
    const low = Math.min(Math.floor(at), colors.length - 2);
    return packed(colors[low].map((value, channel) => Math.round(value + (at - low) * (colors[low + 1][channel] - value))));
  });
}

// As four bytes of an image, on the little-endian machines that browsers run on.
function packed([r, g, b]) {
  return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
}

// As CSS has it.
export const cssOf = (color) => `rgb(${color & 255} ${(color >> 8) & 255} ${(color >> 16) & 255})`;

const tables = new Map();
const tableOf = (name, anchors) => tables.get(name) ?? tables.set(name, table(anchors)).get(name);

export const isDark = () => matchMedia("(prefers-color-scheme: dark)").matches;
export const rising = () => tableOf("rising", RISING);
export const signed = () => (isDark() ? tableOf("dark", SIGNED.dark) : tableOf("light", SIGNED.light));

// A canvas with one pixel a cell, coloured by `color(column, row)`.
export function image(width, height, color) {
  const canvas = new OffscreenCanvas(width, height);
  const pixels = new ImageData(width, height);
  const cells = new Uint32Array(pixels.data.buffer);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) cells[row * width + column] = color(column, row);
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

// The colour of a share from 0 to 1.
export function colorOf(colors, share) {
  if (!Number.isFinite(share)) return ODD;
  return colors[Math.round(Math.min(1, Math.max(0, share)) * (LEVELS - 1))];
}

// A logarithmic scale in whole decades that grows with what it has seen, but over no more than `most` of them.
export class Decades {
  low = Infinity;
  high = -Infinity;

  constructor(most = 9) {
    this.most = most;
  }

  // Takes values in; true if the scale is another from here on.
  see(values) {
    const [low, high] = [this.low, this.high];
    for (const value of values) {
      if (!(value > 0) || !Number.isFinite(value)) continue;
      const decade = Math.log10(value);
      this.high = Math.max(this.high, Math.ceil(decade - 1e-9));
      this.low = Math.min(this.low, Math.floor(decade + 1e-9));
    }
    if (this.high === -Infinity) return false;
    this.low = Math.max(Math.min(this.low, this.high - 2), this.high - this.most);
    return low !== this.low || high !== this.high;
  }

  share(value) {
    if (Number.isNaN(value) || value === Infinity) return NaN;
    return value <= 0 ? 0 : (Math.log10(value) - this.low) / (this.high - this.low);
  }
}
