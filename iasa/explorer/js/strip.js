// The film strip: all frames, with what the chosen patch sees of each.

import { clamp } from "./data.js";
import { figure, ordinal, say } from "./i18n.js";
import { REASON, chunkOf, sinksOf } from "./visibility.js";
import { rowReasons, wholeReason } from "./mask.js";
import { centreOf, distance, f, n, patchAt, plan, state } from "./state.js";
import { byId, fit } from "./dom.js";
import { COLOURS, KEY_MARK, MARK, ink } from "./colours.js";
import { guessColours, isGiven, isGuessing } from "./guess.js";
import { VEIL, computedTint, outline, paintCells, plate, rowColours, sidesOf, tint } from "./picture.js";

const GAP = 9,
  LABEL = 20,
  EDGE = 4; // pixels between frames, under one, and around all
const BADGE = "#c2185b"; // around frames that are chosen by pose
export const FONT = "system-ui, sans-serif";

export let strip = { w: 100, h: 100, across: 1, width: 0, height: 0, total: 0, gap: GAP };

// The largest frames that show the whole clip beside the query frame; a long clip scrolls.
export function layoutStrip() {
  const width = byId("scroller").clientWidth || 320,
    narrow = width < 500;
  const most = narrow ? 420 : Math.max(430, byId("frame").closest(".card").clientHeight - 96);
  const perRow = (size) => Math.max(1, Math.floor((width - 2 * EDGE + GAP) / (sidesOf(size)[0] + GAP)));
  const heightOf = (size) => Math.ceil(f / perRow(size)) * (sidesOf(size)[1] + LABEL + GAP) + 6;
  const [smallest, largest] = narrow ? [78, 176] : [104, 300];
  let size = largest;
  while (size > smallest && (sidesOf(size)[0] + 2 * EDGE > width || heightOf(size) > most)) size -= 2;
  const [w, h] = sidesOf(size),
    across = perRow(size),
    total = heightOf(size),
    height = Math.min(total, most);
  const gap = across > 1 ? clamp((width - 2 * EDGE - across * w) / (across - 1), GAP, 36) : GAP; // spread over the width
  strip = { w, h, across, width, height, total, gap };
  byId("scroller").style.height = `${height}px`;
  byId("spacer").style.height = `${total}px`;
}

const stripPlace = (t) => [
  EDGE + (t % strip.across) * (strip.w + strip.gap),
  EDGE + Math.floor(t / strip.across) * (strip.h + LABEL + GAP),
];

// What a frame is to the query's frame, in a word, and that word's colour.
export function badge(t, tq) {
  if (t === tq) return [say("Query"), COLOURS.own];
  const whole = wholeReason(plan, tq, t);
  if (whole === REASON.own) return [say("Chunk"), COLOURS.own];
  if (whole === REASON.window) return [say("Window"), COLOURS.window];
  if (whole) return [sinksOf(plan.options, f) > 1 ? say("Reference {i}", { i: t + 1 }) : say("Sink"), ink.sink];
  if (!plan.past[tq].includes(t)) return null;
  const place = plan.table[tq].indexOf(t);
  if (place >= state.options.top_k) return [say("Window"), COLOURS.window];
  return [`${ordinal(place + 1)} · ${figure(distance[tq * f + t])}`, BADGE];
}

function drawStripFrame(pen, t, x, y, row, colours) {
  const { t: tq, i } = state.query,
    { w, h } = strip,
    mark = isGuessing() && !isGiven(t) ? null : badge(t, tq);
  pen.drawImage(plate(t, w, h), x, y, w, h);
  if (state.lit === "regions") paintCells(pen, x, y, w, h, tint(t, 165));
  else if (state.lit === "computed") paintCells(pen, x, y, w, h, computedTint(t));
  else if (state.lit === "guess" && !isGiven(t)) {
    pen.fillStyle = VEIL.seen;
    pen.fillRect(x, y, w, h);
    paintCells(pen, x, y, w, h, guessColours(t, row));
  } else {
    pen.fillStyle = mark ? VEIL.seen : VEIL.unseen;
    pen.fillRect(x, y, w, h);
    paintCells(pen, x, y, w, h, (j) => colours[row[t * n + j]]);
  }
  if (mark) {
    pen.lineWidth = 3;
    pen.strokeStyle = mark[1];
    if (mark[1] === COLOURS.window) pen.setLineDash([6, 4]);
    pen.strokeRect(x - 1.5, y - 1.5, w + 3, h + 3);
    pen.setLineDash([]);
  }
  if (t === tq) outline(pen, x, y, w, h, i, MARK);
  if (state.key && state.key.t === t) outline(pen, x, y, w, h, state.key.i, KEY_MARK);
  pen.textBaseline = "top";
  pen.font = `600 12px ${FONT}`;
  pen.textAlign = "left";
  pen.fillStyle = mark ? ink.text : ink.soft;
  pen.fillText(String(t), x, y + h + 5);
  if (plan.options.chunk > 1 && chunkOf(t, f, plan.options)[0] === t) drawBorder(pen, x, y);
  if (!mark) return;
  const taken = pen.measureText(String(t)).width + 6;
  pen.font = `600 11px ${FONT}`;
  pen.textAlign = "right";
  pen.fillStyle = ink.soft;
  pen.fillText(mark[0], x + w, y + h + 5, w - taken);
}

// Where a chunk begins.
function drawBorder(pen, x, y) {
  const left = x - Math.min(strip.gap / 2, EDGE) - 0.5;
  pen.fillStyle = ink.text;
  pen.fillRect(left, y - 3, 1.5, strip.h + LABEL);
}

export function drawStrip() {
  const pen = fit(byId("strip"), strip.width, strip.height),
    scroll = byId("scroller").scrollTop;
  const row = rowReasons(plan, state.query.t, state.query.i),
    colours = rowColours();
  pen.clearRect(0, 0, strip.width, strip.height);
  pen.save();
  pen.translate(0, -scroll);
  for (let t = 0; t < f; t++) {
    const [x, y] = stripPlace(t);
    if (y + strip.h + LABEL >= scroll && y <= scroll + strip.height) drawStripFrame(pen, t, x, y, row, colours);
  }
  pen.restore();
}

export function stripAt(event) {
  const box = byId("strip").getBoundingClientRect();
  const x = event.clientX - box.left,
    y = event.clientY - box.top + byId("scroller").scrollTop;
  const across = Math.floor((x - EDGE) / (strip.w + strip.gap)),
    down = Math.floor((y - EDGE) / (strip.h + LABEL + GAP));
  const t = down * strip.across + across;
  if (across < 0 || across >= strip.across || down < 0 || t >= f) return null;
  const [px, py] = stripPlace(t);
  return patchAt(t, (x - px) / strip.w, (y - py) / strip.h);
}

export function scrollToFrame(t) {
  const box = byId("scroller"),
    [, y] = stripPlace(t);
  if (y < box.scrollTop || y + strip.h + LABEL > box.scrollTop + strip.height)
    box.scrollTop = Math.max(0, y - strip.height / 2);
}

// Where a patch stands on the screen, for whoever drives the page from outside.
export function whereIs(t, i) {
  byId("scroller").scrollIntoView({ block: "center" });
  scrollToFrame(t);
  const box = byId("strip").getBoundingClientRect(),
    [x, y] = stripPlace(t),
    [across, down] = centreOf(i);
  return [box.left + x + across * strip.w, box.top + y - byId("scroller").scrollTop + down * strip.h];
}
