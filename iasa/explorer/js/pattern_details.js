// What some patterns have of their own: clusters coloured in the picture, blocks that stay while the video grows, two
// factors, and a timetable of steps. Each stands below the maps while one of the two patterns is chosen.

import { PAGE, clamp, decode, range } from "./data.js";
import { say } from "./i18n.js";
import { aspect, f, grid, n, state } from "./state.js";
import { about, byId, element, fit, makeCanvas } from "./dom.js";
import { COLOURS, QUERY_LINE, ink, mapColour } from "./colours.js";
import { plate } from "./picture.js";

const packed = (PAGE.patterns && PAGE.patterns.details) || {};
const STAYS = packed.stays_for;
const OWN = {
  svg2: ["clusters", "Clusters of keys in the picture", "Keys of one colour are one cluster, as k-means finds them for the last frame. Bright are those that the cluster of the pointed patch keeps. Point at another patch, and its cluster keeps others."],
  sparse_forcing: ["stays", "Blocks that stay", "Each row is a frame, each column a block of keys, and rows are added while the video plays. Yellow columns are persistent: all of the frame sees them, and they are all that is left of frames that are no longer in the window. Blue are the rows' own choices in the window."],
  monarch: ["factors", "Two factors", "No pair is left out. On the left, how the rows of a tile look at all rows of keys; on the right, how its columns look at one another within a row. Their products are the map: means over the last frame."],
  pab: ["timetable", "Timetable of steps", "One row for each range, 20 steps of the teacher from left to right: filled steps are computed, the others use the output of the last filled one. The student has one step, and none to leave out."],
};

// The part of one layer and head: its numbers, and the lengths of their axes. Shares are their square roots.
function partOf(name, layers, heads) {
  if (!packed[name]) return null;
  const { shape, values } = packed[name];
  if (typeof values === "string") packed[name].values = decode(values, Uint8Array);
  const sides = shape.slice(2),
    size = sides.reduce((a, b) => a * b, 1),
    at = clamp(state.layer, 0, layers - 1) * heads + clamp(state.head, 0, heads - 1);
  return { numbers: packed[name].values.subarray(at * size, (at + 1) * size), sides };
}
export function makePatternDetails(panel) {
  panel.append(element("p", { class: "hint", id: "pattern-part" }));
  for (const [pattern, [name, title, text]] of Object.entries(OWN)) {
    const heading = element("h2", {}, `${pattern}: ${say(title)}`);
    const box = element("section", { id: `pattern-${name}`, hidden: true }, heading);
    panel.append(box);
    makeCanvas(`${name}-picture`, say(title), box);
    box.append(about(say(text)));
  }
}

// `chosen`: the two patterns' names.
export function drawPatternDetails(chosen) {
  const { layers, heads } = PAGE.patterns,
    room = clamp(byId("panels").clientWidth - 4, 160, 1100);
  const draw = { svg2: drawClusters, sparse_forcing: drawStays, monarch: drawFactors, pab: drawTimetable };
  let parts = false;
  for (const [pattern, [name]] of Object.entries(OWN)) {
    const shown = pattern === "pab" || chosen.includes(pattern);
    byId(`pattern-${name}`).hidden = !(shown && draw[pattern](byId(`${name}-picture`), room, layers, heads));
    parts ||= pattern !== "pab" && !byId(`pattern-${name}`).hidden;
  }
  byId("pattern-part").textContent = parts
    ? say("Below: layer {l}, head {h}", { l: Math.max(0, state.layer), h: Math.max(0, state.head) })
    : "";
}

// Cluster i in a colour of its own, by the golden angle: neighbours in number are far apart in hue.
const clusterColour = (i, alpha) => `hsl(${(i * 137.508) % 360} 85% ${45 + 18 * (i % 3)}% / ${alpha})`;

function drawClusters(canvas, room, layers, heads) {
  const keys = partOf("key_clusters", layers, heads),
    queries = partOf("query_clusters", layers, heads),
    meet = partOf("clusters_meet", layers, heads);
  if (!keys) return false;
  const side = grid.cols * Math.max(1, Math.floor(clamp(room / Math.min(f, 8) - 4, 48, 128) / grid.cols)),
    across = Math.max(1, Math.floor(room / (side + 4)));
  const high = Math.round(side / aspect),
    pen = fit(canvas, room, Math.ceil(f / across) * (high + 4)),
    cell = side / grid.cols,
    row = high / grid.rows,
    mine = queries.numbers[state.query.i];
  for (let t = 0; t < f; t++) {
    const x = (t % across) * (side + 4),
      y = Math.floor(t / across) * (high + 4);
    pen.drawImage(plate(t, side, high), x, y, side, high);
    for (let i = 0; i < n; i++) {
      const cluster = keys.numbers[t * n + i];
      pen.fillStyle = clusterColour(cluster, meet.numbers[mine * meet.sides[1] + cluster] ? 0.78 : 0.25);
      pen.fillRect(x + (i % grid.cols) * cell, y + Math.floor(i / grid.cols) * row, cell, row);
    }
    if (t < f - 1) continue;
    pen.strokeStyle = QUERY_LINE;
    pen.lineWidth = 2;
    pen.strokeRect(x + (state.query.i % grid.cols) * cell, y + Math.floor(state.query.i / grid.cols) * row, cell, row);
  }
  return true;
}

function drawStays(canvas, room, layers, heads) {
  const part = partOf("stays", layers, heads);
  if (!part) return false;
  const blocks = part.sides[1],
    cell = Math.max(2, Math.floor(Math.min(room, 760) / blocks)),
    high = Math.max(cell, 8);
  const pen = fit(canvas, blocks * cell, f * high);
  pen.fillStyle = ink.well;
  pen.fillRect(0, 0, blocks * cell, f * high);
  for (let t = 0; t <= state.query.t; t++) {
    for (let j = 0; j < blocks; j++) {
      const value = part.numbers[t * blocks + j];
      if (!value) continue;
      pen.globalAlpha = value === STAYS ? 1 : 0.3 + (0.7 * value) / (blocks / f);
      pen.fillStyle = value === STAYS ? "#f0c419" : COLOURS.own;
      pen.fillRect(j * cell, t * high, cell, high);
    }
  }
  pen.globalAlpha = 1;
  pen.strokeStyle = QUERY_LINE;
  pen.strokeRect(0.5, state.query.t * high + 0.5, blocks * cell - 1, high - 1);
  return true;
}

function heat(pen, part, [x, y], [w, h]) {
  const [rows, columns] = part.sides,
    most = Math.max(...part.numbers);
  part.numbers.forEach((byte, p) => {
    pen.fillStyle = `rgb(${mapColour(byte / most)})`;
    pen.fillRect(x + (p % columns) * w, y + Math.floor(p / columns) * h, w, h);
  });
  return rows * h;
}

function drawFactors(canvas, room, layers, heads) {
  const rows = partOf("rows", layers, heads),
    columns = partOf("columns", layers, heads);
  if (!rows) return false;
  const high = 8,
    right = columns.sides[1] * high,
    left = Math.max(120, Math.min(room - right - 16, rows.sides[1] * high));
  const pen = fit(canvas, left + 16 + right, high * Math.max(rows.sides[0], columns.sides[0]));
  heat(pen, rows, [0, 0], [left / rows.sides[1], high]);
  heat(pen, columns, [left + 16, 0], [high, high]);
  return true;
}

function drawTimetable(canvas, room) {
  const tables = PAGE.patterns.timetables || [];
  if (!tables.length) return false;
  const high = 18,
    label = 84,
    cell = Math.floor(Math.min(room - label, 480) / tables[0].length);
  const pen = fit(canvas, label + cell * tables[0].length, high * tables.length);
  pen.font = "12px system-ui";
  pen.textBaseline = "middle";
  for (const every of range(0, tables.length)) {
    pen.fillStyle = ink.text;
    pen.fillText(say("Range {i}", { i: every + 1 }), 0, (every + 0.5) * high);
    tables[every].forEach((computed, step) => {
      pen.fillStyle = computed ? COLOURS.own : ink.well;
      pen.fillRect(label + step * cell, every * high, cell - 2, high - 2);
    });
  }
  return true;
}
