// Which frames see each other whole, and which a frame may choose by its pose, as iasa/masks/visibility.py has it.

import { RULE, range } from "./data.js";

// Reasons for which a query sees a key: `chosen` + r is a chosen past frame through region r, `block` a pair that only
// its block keeps, `whole` a chosen frame without the local mask.
export const REASON = {
  none: 0,
  own: 1,
  sink: 2,
  window: 3,
  chosen: 4,
  block: 4 + RULE.regions.length,
  whole: 5 + RULE.regions.length,
};
export const REASONS = REASON.whole + 1;

// Frames in front that are references, seen whole by all later ones.
export const sinksOf = (options, f) => (options.sink ? Math.min(options.references, f) : 0);

// First and end frame of a frame's chunk, whose frames see each other whole. The sinks are a chunk of their own.
export function chunkOf(t, f, options) {
  const first = sinksOf(options, f);
  if (t < first) return [0, first];
  const start = first + Math.floor((t - first) / options.chunk) * options.chunk;
  return [start, Math.min(start + options.chunk, f)];
}

const wholeAround = (options) => (options.whole_window ? options.window : 0);

// Why frame q sees all of frame k, whatever the two show: own (its chunk), sink or window, else none: Uint8Array [f * f].
export function wholeReasons(f, options) {
  const first = sinksOf(options, f),
    around = wholeAround(options),
    rules = new Uint8Array(f * f);
  for (let t = 0; t < f; t++) {
    const [start, end] = chunkOf(t, f, options),
      low = t < first ? 0 : Math.max(start - around, first),
      high = options.causal ? end : Math.min(end + around, f);
    if (t >= first) rules.fill(REASON.sink, t * f, t * f + first);
    rules.fill(REASON.window, t * f + low, t * f + high);
    rules.fill(REASON.own, t * f + start, t * f + end);
  }
  return rules;
}

// For each frame its candidates, nearest first; among equals (to within RULE.tie) the more recent frame comes first.
export function rankFrames(S, f, options) {
  const first = sinksOf(options, f),
    around = wholeAround(options),
    rank = S.map((distance) => Math.round(distance / RULE.tie));
  return range(0, f).map((t) => {
    const [start, end] = chunkOf(t, f, options);
    const past = range(Math.max(first, start - options.reach), Math.max(first, start - around)),
      future = options.causal ? [] : range(end + around, Math.min(f, end + options.reach));
    const frames = [...past, ...future.filter((s) => s >= first)].filter((s) => S[t * f + s] < Infinity);
    return frames.sort((a, b) => rank[t * f + a] - rank[t * f + b] || b - a);
  });
}

// The frame table: for each frame its K nearest candidates, then those of the window that are not among them.
export function frameTable(ranked, options) {
  const f = ranked.length,
    first = sinksOf(options, f);
  return ranked.map((frames, t) => {
    const row = range(0, options.top_k).map((i) => (i < frames.length ? frames[i] : -1)),
      [start, end] = chunkOf(t, f, options);
    for (let step = 0; step < (options.whole_window ? 0 : options.window); step++) {
      for (const s of options.causal ? [start - 1 - step] : [start - 1 - step, end + step]) {
        row.push(s >= first && s < f && !row.includes(s) ? s : -1);
      }
    }
    return row;
  });
}

// The same frames are chosen and seen whole under both options, whatever else differs.
const CHOICE = ["top_k", "window", "sink", "reach", "references", "chunk", "causal", "whole_window"];
export const chooseAlike = (a, b) => CHOICE.every((name) => a[name] === b[name]);

// Frames that each row of a frame table reaches through the region rule, ascending, without those it sees whole.
export function pastFrames(table, whole) {
  const f = table.length;
  return table.map((row, t) =>
    [...new Set(row)].filter((s) => s >= 0 && !whole[t * f + s]).sort((a, b) => a - b),
  );
}
