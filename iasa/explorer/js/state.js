// What the page shows now: the poses, the mask's options, the plan made of both, and where the reader points.

import { PAGE, RULE, decode, range } from "./data.js";
import { extentOf, poseDistance } from "./similarity.js";
import { frameBits, regionBits, regionReference } from "./regions.js";
import { chooseAlike } from "./visibility.js";
import { DEFAULTS, makePlan, measure, withTable } from "./mask.js";
import { nameComputed } from "./computed.js";
import { details } from "./origin.js";

export const grid = PAGE.plan.grid,
  f = grid.frames,
  n = grid.rows * grid.cols,
  aspect = grid.aspect || 1; // of the picture: its width over its height
export const hasPoses = Boolean(PAGE.xy); // else the plan of a file, whose frames and regions are given
const pointsOf = (text, numbers) =>
  text ? decode(text, Float32Array) : new Float32Array(numbers * f * RULE.points);
export const poses = {
  frames: f,
  xy: pointsOf(PAGE.xy, 2),
  confidence: pointsOf(PAGE.confidence, 1),
  extent: extentOf(grid),
};
const original = { xy: poses.xy.slice(), confidence: poses.confidence.slice() }; // before any dragging
export const start = { ...DEFAULTS, ...PAGE.plan.options };
export const state = {
  options: { ...start },
  query: { t: f - 1, i: 0 }, // the patch that looks
  key: null, // the second patch
  pinned: false, // the query stays where it is
  keyPinned: false,
  lit: "patch", // or "regions", "computed", "guess": what lights up on the film strip
  view: "matrix", // the open tab
  zoom: { x: 0, y: 0, scale: 1 }, // of the matrix: its first token across and down, pixels a token
  layer: -1, // of the learned attention; -1: all
  head: -1,
  second: "global", // mask B of the comparison
  patternA: "input_aware", // of the gallery
  patternB: "svg2",
  loaded: null, // the plan that was kept or read from a file for it
  handle: -1, // the chosen keypoint
  held: false, // whether a pointer drags it
  edited: new Set(), // frames whose pose was dragged
  theme: "", // "light" or "dark"; "": as the page around is, or the system is set
  around: "", // "light" or "dark": the page around, where it has said so
  slice: 0, // the animation frame that will relabel regions
};
export const timings = { load: 0, hover: [], rebuild: [] }; // milliseconds

// Who wants to know of what: "pose" of a frame that was dragged (none: of all), "options" that were set, the new "mask",
// and "settings" that the address keeps.
const listeners = { pose: [], options: [], mask: [], settings: [] };
export const on = (event, act) => listeners[event].push(act);
export const emit = (event, value) => listeners[event].forEach((act) => act(value));

const givenDistance = () =>
  PAGE.plan.distance ? Float64Array.from(decode(PAGE.plan.distance, Float32Array)) : new Float64Array(f * f);
export let bits =
  start.local || !hasPoses ? decode(PAGE.plan.region_bits, Uint8Array) : regionBits(poses, grid, start.method);
export let distance = hasPoses ? poseDistance(poses, start.align) : givenDistance();
export let plan = null,
  measured = null,
  computed = null; // which tokens region-sparse inference computes, and their share
const SLICE = 5; // milliseconds
const dirty = new Set(); // frames whose regions are not those of the dragged poses yet

function rebuild() {
  const before = performance.now();
  plan = makePlan(poses, grid, state.options, bits, distance);
  if (!hasPoses && chooseAlike(state.options, start)) withTable(plan, PAGE.plan.frame_table);
  measured = measure(plan, PAGE.model);
  computed = nameComputed(plan);
  timings.rebuild.push(performance.now() - before);
}

// Every way to a new mask but dragging: other options, or the poses as they were.
export function useOptions(options, again = false) {
  const old = state.options;
  state.options = options;
  if (!hasPoses) Object.assign(options, { method: start.method, align: start.align });
  if (again || options.method !== old.method) bits = regionBits(poses, grid, options.method);
  if (again || options.align !== old.align) distance = poseDistance(poses, options.align);
  rebuild();
  emit("options");
  emit("mask");
  emit("settings");
}
export const setOption = (name, value) => useOptions({ ...state.options, [name]: value });

export function undoDragging() {
  poses.xy.set(original.xy);
  poses.confidence.set(original.confidence);
  state.edited.clear();
  dirty.clear();
  emit("pose");
  useOptions(state.options, true);
}

// A pose was dragged: its row of S at once, its regions at once, other frames' regions (they hang on the reference
// pose) in slices, so that the page follows the hand.
export function poseChanged(t) {
  state.edited.add(t);
  emit("pose", t);
  distance = poseDistance(poses, state.options.align, distance, t);
  const reference = regionReference(poses, state.options.method);
  const seen = (s, joint) => poses.confidence[s * RULE.points + joint] > 0;
  const measuredOn = range(0, f).find((s) => seen(s, RULE.joints.left_shoulder) && seen(s, RULE.joints.right_shoulder));
  dirty.add(t);
  if (t === measuredOn || reference.shapes.some((shape) => shape && shape.frame === t))
    range(0, f).forEach((s) => dirty.add(s));
  if (!state.slice) state.slice = requestAnimationFrame(() => relabel(t));
}

function relabel(first) {
  state.slice = 0;
  const reference = regionReference(poses, state.options.method),
    until = performance.now() + SLICE;
  bits = bits.slice();
  for (const t of [first, ...dirty]) {
    if (!dirty.delete(t)) continue;
    bits.set(frameBits(poses, t, grid, reference), t * n);
    if (performance.now() > until) break;
  }
  rebuild();
  emit("mask");
  if (dirty.size) state.slice = requestAnimationFrame(() => relabel(first));
}

const OPENING = 20;
// A patch that has much to show: one of a hand, else of the face, in the last frame that has it and stands, with its past,
// in the part of the film strip that is seen at first.
export function firstQuery() {
  const marked = details ? details.bits.subarray(0, (OPENING + 1) * n).findLastIndex((mark) => mark > 0) : -1;
  if (marked >= 0) return { t: Math.floor(marked / n), i: marked % n };
  for (const name of ["hands", "arms", "face", "shoulders"]) {
    const bit = 1 << RULE.regions.indexOf(name);
    for (let t = Math.min(f - 1, OPENING); t > 0; t--) {
      const own = bits.subarray(t * n, (t + 1) * n),
        tokens = range(0, n);
      const alone = tokens.filter((i) => own[i] === bit),
        found = alone.length ? alone : tokens.filter((i) => own[i] & bit);
      if (found.length) return { t, i: found[found.length >> 1] };
    }
  }
  return { t: Math.min(f - 1, OPENING), i: n >> 1 };
}

// The patch of frame t at a place of its picture, 0..1 across and down.
export function patchAt(t, x, y) {
  if (x < 0 || y < 0 || x >= 1 || y >= 1) return null;
  return { t, i: Math.floor(y * grid.rows) * grid.cols + Math.floor(x * grid.cols) };
}
export const centreOf = (i) => [((i % grid.cols) + 0.5) / grid.cols, (Math.floor(i / grid.cols) + 0.5) / grid.rows];
