// What each colour stands for, on a light and on a dark page.

import { PAGE, clamp, range } from "./data.js";
import { REASON, REASONS } from "./visibility.js";
import { state } from "./state.js";

export const COLOURS = PAGE.drawing.colours; // regions, own, window, whole
export const MARK = "#ffffff",
  KEY_MARK = "#ffd166",
  QUERY_LINE = "#ff3c6e"; // the query's patch, the second patch, the query's row
const MAP = [
  [0, 32, 77],
  [64, 77, 107],
  [124, 123, 120],
  [188, 175, 111],
  [255, 234, 70],
]; // cividis, near to far

export let ink = {}; // the style sheet's colours
export function readTheme() {
  const wanted = state.theme || state.around || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  document.documentElement.dataset.theme = wanted;
  const css = getComputedStyle(document.documentElement);
  const names = {
    text: "ink",
    soft: "soft",
    line: "line",
    well: "well",
    paper: "paper",
    sink: "sink",
    waste: "waste",
    card: "card",
  };
  ink = Object.fromEntries(
    Object.entries(names).map(([name, property]) => [name, css.getPropertyValue(`--${property}`).trim()]),
  );
}

export const toRgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

export function reasonColour(reason) {
  if (reason === REASON.own) return COLOURS.own;
  if (reason === REASON.sink) return ink.sink;
  if (reason === REASON.window) return COLOURS.window;
  if (reason === REASON.whole) return COLOURS.whole;
  if (reason === REASON.block) return ink.waste;
  return COLOURS.regions[reason - REASON.chosen] || "transparent";
}
// [r, g, b] of every reason; none is black.
export const palette = () => range(0, REASONS).map((reason) => (reason ? toRgb(reasonColour(reason)) : [0, 0, 0]));

// A share of 0..1 on the colour map: [r, g, b].
export const mapColour = (share) => {
  const at = clamp(share, 0, 1) * (MAP.length - 1),
    i = Math.min(MAP.length - 2, Math.floor(at));
  return MAP[i].map((v, c) => Math.round(v + (at - i) * (MAP[i + 1][c] - v)));
};
export const mapGradient = () => `linear-gradient(90deg, ${MAP.map((c) => `rgb(${c})`).join(",")})`;
