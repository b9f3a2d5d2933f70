// Mouse and touch: on the film strip, the query frame, the matrix and the charts.

import { clamp } from "./data.js";
import { explain } from "./explain.js";
import { f, patchAt, plan, state } from "./state.js";
import { byId, shareOf } from "./dom.js";
import { drawStrip, stripAt } from "./strip.js";
import { drawFrame, handleAt, handlePlace, moveHandle } from "./frame.js";
import { showSentence } from "./sentence.js";
import { fitScale, matrixAt, panTo, zoomBy } from "./matrix_view.js";
import { timeAt } from "./time_view.js";
import { isGuessing } from "./guess.js";
import { choose, lookFrom, markPatch, point, pointPair, release, stopPlaying } from "./pointing.js";

const REACH = { mouse: 15, touch: 26, click: 10 }; // pixels within which a keypoint is meant
const reachOf = (event) => (event.pointerType === "touch" ? REACH.touch : REACH.mouse);

function onStrip() {
  const canvas = byId("strip");
  let painting = false;
  const paint = (event) => {
    const patch = stripAt(event);
    if (patch) markPatch(patch);
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (!isGuessing()) return;
    painting = true;
    canvas.setPointerCapture(event.pointerId);
    paint(event);
  });
  for (const kind of ["pointerup", "pointercancel"])
    canvas.addEventListener(kind, () => {
      if (painting) markPatch(null);
      painting = false;
    });
  canvas.addEventListener("pointermove", (event) => {
    if (painting) paint(event);
    else if (event.pointerType !== "touch") point(stripAt(event));
  });
  canvas.addEventListener("pointerleave", () => point(null));
  canvas.addEventListener("click", (event) => choose(stripAt(event)));
  canvas.addEventListener("dblclick", (event) => {
    const patch = stripAt(event);
    if (!patch) return;
    release();
    choose(patch);
  });
  byId("scroller").addEventListener("scroll", drawStrip, { passive: true });
}

function onFrame() {
  const frame = byId("frame");
  let held = null,
    dropped = false; // the keypoint in the hand and how far from it the pointer took hold; a drag ends in a click
  frame.addEventListener(
    "touchstart",
    (event) => {
      if (handleAt(event.touches[0], REACH.touch) >= 0) event.preventDefault();
    },
    { passive: false },
  );
  frame.addEventListener("pointerdown", (event) => {
    const number = handleAt(event, reachOf(event));
    if (number < 0) return;
    const [x, y] = shareOf(event, frame),
      [px, py] = handlePlace(number);
    held = { number, aside: [x - px, y - py], moved: false };
    Object.assign(state, { handle: number, held: true });
    frame.setPointerCapture(event.pointerId);
    stopPlaying();
    drawFrame();
  });
  frame.addEventListener("pointermove", (event) => {
    const [x, y] = shareOf(event, frame);
    if (held) {
      moveHandle(held.number, x - held.aside[0], y - held.aside[1]);
      held.moved = true;
      return;
    }
    frame.style.cursor = handleAt(event, REACH.mouse) >= 0 ? "grab" : "crosshair";
    if (event.pointerType !== "touch") point(patchAt(state.query.t, x, y));
  });
  const drop = (event) => {
    if (!held) return;
    dropped = held.moved;
    held = null;
    state.held = false;
    drawFrame();
    frame.releasePointerCapture(event.pointerId);
  };
  frame.addEventListener("pointerup", drop);
  frame.addEventListener("pointercancel", drop);
  frame.addEventListener("pointerleave", () => {
    if (!held) point(null);
  });
  frame.addEventListener("click", (event) => {
    if (!dropped && handleAt(event, REACH.click) < 0) choose(patchAt(state.query.t, ...shareOf(event, frame)));
    dropped = false;
  });
}

function onMatrix() {
  const marks = byId("matrix-marks"),
    fingers = new Map(); // pointer -> where it was last
  marks.addEventListener("pointerdown", (event) => {
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
    if (event.pointerType !== "touch") marks.setPointerCapture(event.pointerId);
  });
  marks.addEventListener("pointermove", (event) => {
    if (fingers.has(event.pointerId)) dragMatrix(event, fingers);
    else if (event.pointerType !== "touch") pointPair(matrixAt(event));
  });
  for (const kind of ["pointerup", "pointercancel", "pointerleave"])
    marks.addEventListener(kind, (event) => fingers.delete(event.pointerId));
  const zoomed = () => state.zoom.scale > fitScale() * 1.01;
  marks.addEventListener(
    "touchmove",
    (event) => {
      if (event.touches.length > 1 || zoomed()) event.preventDefault();
    },
    { passive: false },
  );
  marks.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && document.activeElement !== marks) return;
      event.preventDefault();
      const box = byId("matrix").getBoundingClientRect();
      zoomBy(Math.exp(-event.deltaY / 300), event.clientX - box.left, event.clientY - box.top);
    },
    { passive: false },
  );
  marks.addEventListener("click", (event) => pointPair(matrixAt(event), true));
}

// One finger or the mouse pans, two fingers zoom about the middle between them.
function dragMatrix(event, fingers) {
  const [x, y] = fingers.get(event.pointerId),
    now = [event.clientX, event.clientY],
    box = byId("matrix").getBoundingClientRect();
  const other = [...fingers].find(([id]) => id !== event.pointerId);
  if (other) {
    const [ox, oy] = other[1],
      before = Math.hypot(x - ox, y - oy),
      after = Math.hypot(now[0] - ox, now[1] - oy);
    zoomBy(after / Math.max(1, before), (now[0] + ox) / 2 - box.left, (now[1] + oy) / 2 - box.top);
  } else panTo(state.zoom.x - (now[0] - x) / state.zoom.scale, state.zoom.y - (now[1] - y) / state.zoom.scale);
  fingers.set(event.pointerId, now);
}

function onCharts() {
  const heat = byId("heat"),
    frameOf = (share) => clamp(Math.floor(share * f), 0, f - 1);
  heat.addEventListener("click", (event) => lookFrom(frameOf(shareOf(event, heat)[1])));
  heat.addEventListener("pointermove", (event) => {
    const [k, q] = shareOf(event, heat).map(frameOf);
    byId("sentence").textContent = explain(plan, q, state.query.i, k, state.query.i);
    byId("dot").style.background = "transparent";
  });
  heat.addEventListener("pointerleave", () => showSentence());
  byId("time").addEventListener("click", (event) => lookFrom(timeAt(event)));
}

export function onPointers() {
  onStrip();
  onFrame();
  onMatrix();
  onCharts();
}
