// The tab of patterns: two ways to choose what is attended to, side by side on the same queries and keys, and their
// difference.

import { PAGE, clamp, decode, range } from "./data.js";
import { percent, say } from "./i18n.js";
import { emit, f, state } from "./state.js";
import { about, byId, element, fit, makeCanvas } from "./dom.js";
import { COLOURS, QUERY_LINE, ink, mapColour, toRgb } from "./colours.js";
import { mix, paintPixels } from "./matrix.js";
import { drawPatternDetails, makePatternDetails } from "./pattern_details.js";

const patterns = PAGE.patterns && {
  ...PAGE.patterns,
  maps: Float32Array.from(decode(PAGE.patterns.maps, Uint8Array), (v) => (v / 255) ** 2),
  side: f * PAGE.patterns.tiles,
};
// What tells each from the others, in a sentence.
const IDEAS = {
  dense: "Everything that is not in the future.",
  input_aware: "Frames by the pose, and of them the same part of the body; chosen before anything is denoised.",
  sparse_forcing: "Columns that all rows share and that stay while the video grows, and each row's best of the last frames.",
  monarch: "No mask: two factors, one within the rows of a frame and one across them, whose product is the map.",
  svg2: "Clusters of like queries and keys, found anew at every step; each keeps the clusters with most attention.",
  oracle: "The tiles with most attention, found by computing all of it: a bound that no choice of tiles passes.",
  radial: "The farther in time, the fewer: half as many with every doubling, whatever is shown.",
  local_window: "The nearest frames, whatever is shown.",
  random_blocks: "Blocks drawn at random: what a choice has to beat.",
};

const measuredRun = patterns && patterns.mass[0][0] !== null; // else masks alone
const RUN =
  "One run of the student, and what two patterns would have attended to in it, tile by tile (dark to bright, square root): rows look, columns are seen, and the query frame's rows are outlined. The third picture is their difference. All are set to the same share of the pairs, as nearly as each can be; mass kept is how much of dense attention's weight the pattern's own covers.";
const MASKS =
  "Masks alone, without a run, tile by tile (dark to bright, square root): every patch is taken to spread its attention evenly over what the mask lets it see. Rows look, columns are seen, and the query frame's rows are outlined. The third picture is the difference. input_aware is this page's own plan.";

const pickers = {};
function picker(name, label, options) {
  const select = element(
    "select",
    { id: `pattern-${name}`, "aria-label": label },
    ...options.map(([value, text]) => element("option", { value }, text)),
  );
  select.addEventListener("change", () => {
    state[name] = typeof state[name] === "number" ? Number(select.value) : select.value;
    drawPatterns();
    emit("settings");
  });
  pickers[name] = select;
  return select;
}

export function makePatternsView(panel) {
  if (!patterns) {
    const command = element("kbd", {}, "python -m iasa mask --pose P.npz --attention --patterns --out explorer.html");
    panel.append(element("p", {}, say("This page holds no record of other patterns. To make one that does, run"), " ", command));
    return;
  }
  const names = patterns.names.map((name) => [name, name]),
    parts = (every, one, many) => [[-1, every], ...range(0, many).map((i) => [i, say(one, { i })])];
  panel.append(
    element(
      "div",
      { class: "row" },
      picker("patternA", say("Pattern A"), names),
      picker("patternB", say("Pattern B"), names),
      picker("layer", say("All layers"), parts(say("All layers"), "Layer {i}", patterns.layers)),
      picker("head", say("All heads"), parts(say("All heads"), "Head {i}", patterns.heads)),
    ),
    element("div", { class: "figures", id: "pattern-maps" }),
    element("table", { id: "pattern-numbers" }),
    about(say(measuredRun ? RUN : MASKS)),
    ...Object.entries(patterns.refused).map(([name, why]) => element("p", { class: "hint" }, `${name}: ${why}`)),
  );
  const titles = { "map-a": say("Pattern A"), "map-b": say("Pattern B"), "map-difference": say("Difference: blue A alone, vermilion B alone") };
  for (const [id, title] of Object.entries(titles)) {
    const box = element("div", {}, element("p", { class: "hint", id: `${id}-title` }, title));
    byId("pattern-maps").append(box);
    makeCanvas(id, title, box);
  }
  makePatternDetails(panel);
}

// Means over the chosen layers and heads.
function chosenParts() {
  const of = (chosen, many) => (chosen < 0 ? range(0, many) : [chosen]);
  return of(state.layer, patterns.layers).flatMap((l) =>
    of(state.head, patterns.heads).map((h) => l * patterns.heads + h),
  );
}
const means = new Map(); // by pattern and parts, those that were drawn
function mapOf(name, parts) {
  const key = `${name} ${parts}`;
  if (means.has(key)) return means.get(key);
  const size = patterns.side ** 2,
    first = patterns.names.indexOf(name) * patterns.layers * patterns.heads;
  const mean = new Float32Array(size);
  for (const part of parts) for (let i = 0; i < size; i++) mean[i] += patterns.maps[(first + part) * size + i] / parts.length;
  means.set(key, mean);
  return mean;
}

// The query is another patch: the maps show its frame alone.
export function followPatterns() {
  if (!patterns) return;
  if (state.query.t !== drawn) drawPatterns();
  else drawPatternDetails([state.patternA, state.patternB]);
}

let drawn = -1; // the query's frame in the maps
export function drawPatterns() {
  if (!patterns) return;
  drawn = state.query.t;
  for (const name of ["patternA", "patternB"])
    if (!patterns.names.includes(state[name])) state[name] = patterns.names[Math.min(name === "patternA" ? 1 : 2, patterns.names.length - 1)];
  for (const [name, select] of Object.entries(pickers)) select.value = state[name];
  const parts = chosenParts(),
    a = mapOf(state.patternA, parts),
    b = mapOf(state.patternB, parts);
  const room = byId("panels").clientWidth,
    W = Math.floor(clamp(room > 640 ? (room - 52) / 3 : room - 4, 160, 330));
  const most = Math.sqrt(Math.max(0.01, ...a.slice(patterns.side), ...b.slice(patterns.side)));
  const heat = (map) => (p) => (map[p] > 0 ? mapColour(Math.sqrt(map[p]) / most) : toRgb(ink.well));
  paintMap("map-a", W, heat(a));
  paintMap("map-b", W, heat(b));
  const [paper, blue, vermilion] = [ink.well, COLOURS.own, COLOURS.window].map(toRgb);
  paintMap("map-difference", W, (p) => {
    const gap = Math.sqrt(a[p]) - Math.sqrt(b[p]);
    return mix(paper, gap > 0 ? blue : vermilion, Math.min(1, Math.abs(gap) / most));
  });
  showPatternNumbers(parts);
  drawPatternDetails([state.patternA, state.patternB]);
}

// A square picture of W pixels of all tiles, the query frame's rows outlined.
function paintMap(id, W, colourOf) {
  const pen = fit(byId(id), W, W),
    image = document.createElement("canvas"),
    rows = W / f;
  paintPixels(image, patterns.side, colourOf);
  pen.imageSmoothingEnabled = false;
  pen.drawImage(image, 0, 0, W, W);
  pen.lineWidth = 2;
  pen.strokeStyle = QUERY_LINE;
  pen.strokeRect(1, state.query.t * rows, W - 2, rows);
}

function showPatternNumbers(parts) {
  const line = (name, valueOf) =>
    element("tr", {}, ...[name, ...[state.patternA, state.patternB].map(valueOf)].map((text) => element("td", {}, text)));
  const at = (name) => patterns.names.indexOf(name);
  const mass = (name) => parts.reduce((sum, part) => sum + patterns.mass[at(name)][part], 0) / parts.length;
  const unknown = say("not measured: no run");
  byId("pattern-numbers").replaceChildren(
    element("tr", {}, ...["", state.patternA, state.patternB].map((text) => element("th", {}, text))),
    line(say("Idea"), (name) => (IDEAS[name] ? say(IDEAS[name]) : "")),
    line(say("Share of the pairs"), (name) => percent(patterns.density[at(name)])),
    line(say("Attention mass kept"), (name) => (measuredRun ? percent(mass(name)) : unknown)),
    line(say("Planning of the whole clip"), (name) =>
      measuredRun ? `${Math.round(1000 * patterns.planning[at(name)])} ms` : unknown,
    ),
  );
}
