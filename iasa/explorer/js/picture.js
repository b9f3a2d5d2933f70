// One frame: its picture or its skeleton, and the patches that light up on it.

import { PAGE, RULE, clamp } from "./data.js";
import { REASON } from "./visibility.js";
import { lowestBit } from "./mask.js";
import { aspect, computed, grid, hasPoses, n, plan, poses, state } from "./state.js";
import { element } from "./dom.js";
import { COLOURS, palette, toRgb } from "./colours.js";

const PLATE = "#171c25",
  BONE = "#aab4c2",
  FACE_LINE = "#dfe5ec",
  FINGER_LINE = "#cfd8e2";
const SURE = 0.2; // confidence from which a keypoint is drawn
export const CLEAR = [0, 0, 0, 0];
export const VEIL = { seen: "rgb(8 12 18 / 30%)", unseen: "rgb(8 12 18 / 58%)" }; // over frames that are seen, and that are not
const ALPHA = { [REASON.own]: 120, [REASON.sink]: 105, [REASON.block]: 120 };

function drawSkeleton(pen, t, w, h) {
  const { body_bones, face_lines, finger_bones } = PAGE.drawing;
  const at = (i) => [poses.xy[2 * (t * RULE.points + i)] * w, poses.xy[2 * (t * RULE.points + i) + 1] * h],
    size = Math.min(w, h);
  const seen = (i) => poses.confidence[t * RULE.points + i] > SURE;
  const stroke = (bones, colour, width) => {
    pen.beginPath();
    for (const [a, b] of bones)
      if (seen(a) && seen(b)) {
        pen.moveTo(...at(a));
        pen.lineTo(...at(b));
      }
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.lineCap = "round";
    pen.stroke();
  };
  stroke(body_bones, BONE, Math.max(2, size / 70));
  stroke(face_lines, FACE_LINE, Math.max(1, size / 190));
  stroke(finger_bones, FINGER_LINE, Math.max(1.1, size / 140));
}

const images = []; // of each frame, where the page holds pictures
const plates = new Map(); // frame -> its picture as drawn last
const MOST_PLATES = 200;

export function loadImages(redraw) {
  let later = 0;
  (PAGE.thumbnails || []).forEach((source, t) => {
    const image = new Image();
    image.onload = () => {
      forgetPlate(t);
      clearTimeout(later);
      later = setTimeout(redraw, 30);
    };
    image.src = source;
    images[t] = image;
  });
}

// Frame t is to be drawn anew, without t every frame.
export const forgetPlate = (t) => (t === undefined ? plates.clear() : plates.delete(t));

// The sides of a picture that covers size * size pixels.
export const sidesOf = (size) => [size * Math.sqrt(aspect), size / Math.sqrt(aspect)].map(Math.round);

export function drawPlate(pen, t, w, h) {
  pen.fillStyle = PLATE;
  pen.fillRect(0, 0, w, h);
  const image = images[t];
  if (image && image.complete && image.naturalWidth) pen.drawImage(image, 0, 0, w, h);
  if (!image && !hasPoses) paintCells(pen, 0, 0, w, h, tint(t, 90));
  if (!hasPoses || (image && !state.edited.has(t))) return;
  if (image) {
    pen.fillStyle = "rgb(10 14 20 / 62%)";
    pen.fillRect(0, 0, w, h);
  } // the picture is not of this pose
  drawSkeleton(pen, t, w, h);
}

export function plate(t, w, h) {
  const ratio = window.devicePixelRatio || 1,
    known = plates.get(t);
  if (known && known.w === w && known.h === h && known.ratio === ratio) return known.canvas;
  const canvas = known ? known.canvas : document.createElement("canvas");
  canvas.width = Math.round(w * ratio);
  canvas.height = Math.round(h * ratio);
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  drawPlate(pen, t, w, h);
  plates.delete(t);
  plates.set(t, { canvas, w, h, ratio });
  if (plates.size > MOST_PLATES) plates.delete(plates.keys().next().value);
  return canvas;
}

let tokens = null; // a picture of one pixel a token
function tokenPicture() {
  if (tokens) return tokens;
  const canvas = element("canvas", { width: grid.cols, height: grid.rows });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  tokens = { canvas, pen, pixels: pen.createImageData(grid.cols, grid.rows) };
  return tokens;
}

// Tokens in the colours [r, g, b, a] that `colourOf` gives.
export function paintCells(pen, x, y, w, h, colourOf) {
  const { canvas, pen: tokenPen, pixels } = tokenPicture(),
    { data } = pixels;
  let any = false;
  for (let i = 0; i < n; i++) {
    const colour = colourOf(i);
    data[4 * i] = colour[0];
    data[4 * i + 1] = colour[1];
    data[4 * i + 2] = colour[2];
    data[4 * i + 3] = colour[3];
    any = any || colour[3] > 0;
  }
  if (!any) return;
  tokenPen.putImageData(pixels, 0, 0);
  pen.imageSmoothingEnabled = false;
  pen.drawImage(canvas, x, y, w, h);
  pen.imageSmoothingEnabled = true;
  if (Math.min(w / grid.cols, h / grid.rows) < 4) return;
  pen.beginPath();
  for (let c = 1; c < grid.cols; c++) {
    pen.moveTo(x + (c * w) / grid.cols, y);
    pen.lineTo(x + (c * w) / grid.cols, y + h);
  }
  for (let r = 1; r < grid.rows; r++) {
    pen.moveTo(x, y + (r * h) / grid.rows);
    pen.lineTo(x + w, y + (r * h) / grid.rows);
  }
  pen.strokeStyle = "rgb(8 12 18 / 30%)";
  pen.lineWidth = 0.6;
  pen.stroke();
}

// Colours of a row of the mask by reason, for `paintCells`.
export const rowColours = () => palette().map((rgb, reason) => (reason ? [...rgb, ALPHA[reason] || 215] : CLEAR));

// The colour of each token of a frame by its first region.
export function tint(t, alpha) {
  const colours = COLOURS.regions.map((hex) => [...toRgb(hex), alpha]),
    whole = [...toRgb(COLOURS.whole), alpha / 2];
  const shown = state.options.regions;
  return (i) => {
    const b = plan.allBits[t * n + i] & shown;
    if (b) return colours[lowestBit(b)];
    return state.options.local ? CLEAR : whole;
  };
}

// Tokens of a frame that region-sparse inference leaves out are darkened, those that it computes are tinted.
export function computedTint(t) {
  const lit = [...toRgb(COLOURS.own), 90],
    dark = [8, 12, 18, 190];
  return (i) => (computed.named[t * n + i] ? lit : dark);
}

// A frame around token i, never smaller than a finger's width of pixels and never beyond the picture.
export function outline(pen, x, y, w, h, i, colour) {
  const across = w / grid.cols,
    down = h / grid.rows,
    grow = Math.max(0, (7 - Math.min(across, down)) / 2),
    inset = 2;
  const width = across + 2 * grow,
    height = down + 2 * grow;
  const px = clamp(x + (i % grid.cols) * across - grow, x + inset, x + w - width - inset);
  const py = clamp(y + Math.floor(i / grid.cols) * down - grow, y + inset, y + h - height - inset);
  pen.lineWidth = 4;
  pen.strokeStyle = "#000";
  pen.strokeRect(px, py, width, height);
  pen.lineWidth = 2;
  pen.strokeStyle = colour;
  pen.strokeRect(px, py, width, height);
}
