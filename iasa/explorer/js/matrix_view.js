// The matrix tab: the whole mask, to zoom and to pan, with the query's row as a band above it.

import { clamp } from "./data.js";
import { say } from "./i18n.js";
import { REASON, chunkOf } from "./visibility.js";
import { rowReasons } from "./mask.js";
import { f, n, plan, state } from "./state.js";
import { about, byId, element, fit, makeCanvas } from "./dom.js";
import { ink, reasonColour } from "./colours.js";
import { FONT } from "./strip.js";
import { matrixShares, paintShares } from "./matrix.js";

const AXIS = 30,
  LENS = 26; // pixels left of and above the matrix for the frames' numbers; the band's height
const CLOSEST = 14; // pixels a token
let width = 0,
  stale = true;

export const fitScale = () => width / (f * n);
export const forgetMatrix = () => {
  stale = true;
};
const position = (patch) => plan.place[patch.t * n + patch.i]; // in the order of the matrix

export function makeMatrixView(panel) {
  const plot = element("div", { class: "plot", id: "matrix-plot" }),
    lens = element("div");
  const button = (text, title, onclick) =>
    element("button", { type: "button", title, "aria-label": title, onclick }, text);
  const toQuery = () => panTo((state.query.t - 2) * n, (state.query.t - 1) * n, Math.max(fitScale(), width / (3 * n)));
  const buttons = [
    button("+", say("Zoom in"), () => zoomBy(1.6)),
    button("−", say("Zoom out"), () => zoomBy(1 / 1.6)),
    button(say("Whole"), say("Show the whole matrix"), () => panTo(0, 0, fitScale())),
    button(say("Query"), say("Zoom to the query frame"), toQuery),
  ];
  panel.append(
    element(
      "div",
      { class: "matrix" },
      element("div", {}, lens, plot),
      element(
        "div",
        {},
        element("div", { class: "row" }, ...buttons),
        about(
          say(
            "The attention matrix: each row is a patch that looks, each column a patch it may see, and the numbers count frames. Every coloured pixel is computed, everything else is skipped. Paler means that fewer of the pairs under that pixel are needed; grey is computed only because a whole block is kept. The band on top is the query's row, enlarged.",
          ),
        ),
        element("p", { class: "hint" }, say("Point to read a pair, drag to pan, scroll with Ctrl (or pinch) to zoom.")),
      ),
    ),
  );
  makeCanvas("lens", "", lens);
  makeCanvas("matrix", "", plot);
  makeCanvas("matrix-marks", say("The attention matrix; rows are queries"), plot).tabIndex = 0;
}

export function drawMatrix() {
  const room = byId("panels").clientWidth,
    W = Math.floor(clamp(room > 700 ? room - 270 : room - AXIS - 2, 200, 620));
  if (W !== width) {
    const whole = !width || state.zoom.scale <= fitScale() * 1.0001;
    width = W;
    if (whole) state.zoom = { x: 0, y: 0, scale: fitScale() };
    stale = true;
  }
  const plot = byId("matrix-plot"),
    canvas = byId("matrix");
  plot.style.width = plot.style.height = `${W + AXIS}px`;
  if (stale) {
    paintShares(canvas, W, matrixShares(plan, W, state.zoom));
    stale = false;
  }
  Object.assign(canvas.style, { width: `${W}px`, height: `${W}px`, left: `${AXIS}px`, top: `${AXIS}px` });
  drawMatrixMarks();
}

// What lies over the matrix: frames, blocks, the query's row and the key's column.
export function drawMatrixMarks() {
  if (!width) return;
  const pen = fit(byId("matrix-marks"), width + AXIS, width + AXIS),
    { x, y, scale } = state.zoom;
  pen.clearRect(0, 0, width + AXIS, width + AXIS);
  pen.save();
  pen.translate(AXIS, AXIS);
  drawFrameLines(pen);
  drawBlockLines(pen);
  pen.strokeStyle = ink.soft;
  pen.strokeRect(0, 0, width, width);
  pen.beginPath();
  pen.rect(0, 0, width, width);
  pen.clip();
  const thick = Math.max(2, scale);
  pen.fillStyle = "rgb(255 60 110 / 75%)";
  pen.fillRect(0, (position(state.query) + 0.5 - y) * scale - thick / 2, width, thick);
  if (state.key) {
    pen.fillStyle = "rgb(255 180 40 / 70%)";
    pen.fillRect((position(state.key) + 0.5 - x) * scale - thick / 2, 0, thick, width);
  }
  pen.restore();
  drawLens();
}

// One line across and one down for each token that starts a frame or a block.
function lineAt(pen, token) {
  const px = (token - state.zoom.x) * state.zoom.scale,
    py = (token - state.zoom.y) * state.zoom.scale;
  if (px >= 0 && px <= width) {
    pen.moveTo(px, 0);
    pen.lineTo(px, width);
  }
  if (py >= 0 && py <= width) {
    pen.moveTo(0, py);
    pen.lineTo(width, py);
  }
}

function drawFrameLines(pen) {
  const { x, y, scale } = state.zoom,
    size = n * scale,
    every = Math.max(1, Math.ceil(22 / size));
  pen.font = `11px ${FONT}`;
  pen.fillStyle = ink.soft;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.beginPath();
  for (let t = 0; t <= f; t++) {
    if (size > 7) lineAt(pen, t * n);
    if (t === f || t % every) continue;
    const px = (t * n - x) * scale,
      py = (t * n - y) * scale;
    const middle = (start) => clamp((start + Math.min(width, start + size)) / 2, 0, width);
    if (px + size > 4 && px < width - 4) pen.fillText(String(t), middle(px), -9);
    if (py + size > 4 && py < width - 4) pen.fillText(String(t), -13, middle(py));
  }
  pen.strokeStyle = ink.line;
  pen.lineWidth = 1;
  pen.stroke();
  if (plan.options.chunk === 1) return;
  pen.beginPath();
  for (let t = 0; t < f; t = Math.max(t + 1, chunkOf(t, f, plan.options)[1])) lineAt(pen, t * n);
  pen.strokeStyle = ink.text;
  pen.stroke();
}

function drawBlockLines(pen) {
  const { block, mode } = state.options;
  if (block === 1 || block * state.zoom.scale <= (mode === "pooled" ? 5 : 14)) return;
  pen.beginPath();
  for (let t = 0; t < f; t++) for (let b = block; b < n; b += block) lineAt(pen, t * n + b);
  pen.strokeStyle = "rgb(128 140 155 / 35%)";
  pen.lineWidth = 0.7;
  pen.stroke();
}

// The query's row of the matrix, thick enough to read.
function drawLens() {
  const pen = fit(byId("lens"), width + AXIS, LENS),
    { x, scale } = state.zoom;
  const row = rowReasons(plan, state.query.t, state.query.i);
  pen.clearRect(0, 0, width + AXIS, LENS);
  pen.fillStyle = ink.well;
  pen.fillRect(AXIS, 0, width, LENS);
  for (let p = 0; p < width; p++) {
    const a = Math.floor(x + p / scale),
      b = Math.max(a + 1, Math.floor(x + (p + 1) / scale));
    let best = 0,
      seen = 0;
    for (let at = a; at < b && at < f * n; at++) {
      const reason = row[plan.order[at]];
      if (!reason) continue;
      seen += 1;
      if (!best || best === REASON.block) best = reason;
    }
    if (!best) continue;
    pen.globalAlpha = 0.35 + 0.65 * (seen / (b - a));
    pen.fillStyle = reasonColour(best);
    pen.fillRect(AXIS + p, 0, 1, LENS);
  }
  pen.globalAlpha = 1;
  pen.fillStyle = ink.soft;
  pen.font = `11px ${FONT}`;
  pen.textBaseline = "middle";
  pen.textAlign = "right";
  pen.fillText(say("Row"), AXIS - 4, LENS / 2, AXIS - 5);
  if (!state.key) return;
  pen.fillStyle = "#ffb428";
  pen.fillRect(AXIS + (position(state.key) + 0.5 - x) * scale - 1, 0, 2, LENS);
}

export function zoomBy(factor, cx = width / 2, cy = width / 2) {
  const { x, y, scale } = state.zoom,
    next = clamp(scale * factor, fitScale(), Math.max(fitScale(), CLOSEST));
  panTo(x + cx / scale - cx / next, y + cy / scale - cy / next, next);
}

export function panTo(x, y, scale = state.zoom.scale) {
  const most = Math.max(0, f * n - width / scale);
  state.zoom = { x: clamp(x, 0, most), y: clamp(y, 0, most), scale };
  stale = true;
  drawMatrix();
}

// The query and the key patch under the pointer.
export function matrixAt(event) {
  const box = byId("matrix").getBoundingClientRect(),
    { x, y, scale } = state.zoom;
  const k = Math.floor(x + (event.clientX - box.left) / scale),
    q = Math.floor(y + (event.clientY - box.top) / scale);
  if (k < 0 || q < 0 || k >= f * n || q >= f * n) return null;
  const patch = (at) => ({ t: Math.floor(plan.order[at] / n), i: plan.order[at] % n });
  return { query: patch(q), key: patch(k) };
}
