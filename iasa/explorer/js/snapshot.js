// The page as a picture: frames, matrix and figures on one sheet.

import { rowReasons } from "./mask.js";
import { aspect, f, n, plan, state } from "./state.js";
import { byId, element, save } from "./dom.js";
import { MARK, ink } from "./colours.js";
import { VEIL, drawPlate, outline, paintCells, rowColours } from "./picture.js";
import { FONT, badge } from "./strip.js";
import { tileTexts } from "./tiles.js";
import { matrixShares, paintShares } from "./matrix.js";

const SHEET = { width: 1600, margin: 40, gap: 12, caption: 36, top: 125, matrix: 620, rows: 6, tile: 90 }; // pixels

function write(pen, text, x, y, font, colour, most) {
  pen.font = `${font} ${FONT}`;
  pen.fillStyle = colour;
  pen.fillText(text, x, y, most);
}

export function savePicture() {
  const { width, margin, gap, caption, top, rows } = SHEET,
    room = width - 2 * margin;
  const across = Math.floor((room + gap) / (200 + gap)),
    cell = (room - gap * (across - 1)) / across,
    high = cell / aspect;
  const down = Math.min(Math.ceil(f / across), rows),
    below = top + down * (high + caption) + 8;
  const sheet = element("canvas", { width, height: Math.round(below + SHEET.matrix + 60) }),
    pen = sheet.getContext("2d");
  pen.fillStyle = ink.card;
  pen.fillRect(0, 0, width, sheet.height);
  write(pen, document.title, margin, 58, "700 34px", ink.text, room);
  write(pen, byId("sentence").textContent, margin, 98, "22px", ink.soft, room);
  drawFrames(
    pen,
    Math.min(f, down * across),
    (t) => [margin + (t % across) * (cell + gap), top + Math.floor(t / across) * (high + caption)],
    [cell, high],
  );
  const matrix = document.createElement("canvas");
  paintShares(matrix, SHEET.matrix, matrixShares(plan, SHEET.matrix, { x: 0, y: 0, scale: SHEET.matrix / (f * n) }));
  pen.imageSmoothingEnabled = false;
  pen.drawImage(matrix, margin, below);
  pen.strokeStyle = ink.line;
  pen.lineWidth = 1;
  pen.strokeRect(margin, below, SHEET.matrix, SHEET.matrix);
  drawTiles(pen, margin + SHEET.matrix + 50, below);
  sheet.toBlob((blob) => save(blob, "iasa-mask.png"), "image/png");
}

function drawFrames(pen, frames, placeOf, [w, h]) {
  const { t: tq, i } = state.query,
    row = rowReasons(plan, tq, i),
    colours = rowColours();
  for (let t = 0; t < frames; t++) {
    const [x, y] = placeOf(t);
    pen.save();
    pen.translate(x, y);
    drawPlate(pen, t, w, h);
    pen.restore();
    pen.fillStyle = badge(t, tq) ? VEIL.seen : VEIL.unseen;
    pen.fillRect(x, y, w, h);
    paintCells(pen, x, y, w, h, (j) => colours[row[t * n + j]]);
    if (t === tq) outline(pen, x, y, w, h, i, MARK);
    write(pen, String(t), x, y + h + 23, "600 18px", ink.text);
  }
}

function drawTiles(pen, x, top) {
  const room = SHEET.width - SHEET.margin - x;
  tileTexts().forEach(([name, big, note], number) => {
    const y = top + number * SHEET.tile;
    write(pen, name, x, y + 28, "20px", ink.soft, room);
    write(pen, big, x, y + 66, "700 34px", ink.text, room);
    write(pen, note, x, y + 90, "17px", ink.soft, room);
  });
}
