// The query frame: its regions, and the keypoints to drag.

import { PAGE, RULE } from "./data.js";
import { say } from "./i18n.js";
import { sinksOf } from "./visibility.js";
import { aspect, f, poseChanged, poses, state } from "./state.js";
import { byId, fit } from "./dom.js";
import { KEY_MARK, MARK } from "./colours.js";
import { computedTint, drawPlate, outline, paintCells, tint } from "./picture.js";
import { placeOf, shiftsOf } from "./limbs.js";

export const HANDLES = PAGE.drawing.handles; // point, name, the points that go along, and whether it is a joint or a fingertip

const handlePoint = (number) => state.query.t * RULE.points + HANDLES[number].point;

export function drawFrame() {
  const canvas = byId("frame");
  Object.assign(canvas.style, { aspectRatio: aspect, maxWidth: aspect < 1 ? `${Math.round(100 * aspect)}%` : "" });
  const w = canvas.clientWidth || 360,
    h = w / aspect,
    pen = fit(canvas, w, h),
    { t, i } = state.query;
  canvas.style.width = canvas.style.height = "";
  drawPlate(pen, t, w, h);
  paintCells(pen, 0, 0, w, h, state.lit === "computed" ? computedTint(t) : tint(t, 96));
  HANDLES.forEach((_, number) => {
    const at = handlePoint(number);
    if (!(poses.confidence[at] > 0)) return;
    pen.beginPath();
    pen.arc(poses.xy[2 * at] * w, poses.xy[2 * at + 1] * h, HANDLES[number].joint ? 6 : 3.2, 0, 7);
    pen.fillStyle = state.handle === number ? KEY_MARK : MARK;
    pen.fill();
    pen.lineWidth = 2;
    pen.strokeStyle = "#10151d";
    pen.stroke();
  });
  outline(pen, 0, 0, w, h, i, MARK);
  if (state.key && state.key.t === t) outline(pen, 0, 0, w, h, state.key.i, KEY_MARK);
  const sinks = sinksOf(state.options, f),
    title = t >= sinks ? "Frame {t} of {last}" : sinks > 1 ? "Frame {t} of {last}, a reference" : "Frame {t} of {last}, the sink";
  byId("frame-title").textContent = say(title, { t, last: f - 1 });
  byId("scrub").value = t;
  byId("reset-pose").hidden = !state.edited.size;
}

// The keypoint within `reach` pixels of the pointer, -1 if none is.
export function handleAt(event, reach) {
  const box = byId("frame").getBoundingClientRect();
  let best = -1,
    least = reach;
  HANDLES.forEach((_, number) => {
    const at = handlePoint(number);
    if (!(poses.confidence[at] > 0)) return;
    const x = box.left + poses.xy[2 * at] * box.width,
      y = box.top + poses.xy[2 * at + 1] * box.height;
    const far = Math.hypot(event.clientX - x, event.clientY - y);
    if (far < (HANDLES[number].joint ? least : least * 0.6)) {
      best = number;
      least = far;
    }
  });
  return best;
}

// Where a keypoint of the query frame is, 0..1 across and down.
export const handlePlace = (number) => placeOf(state.query.t, HANDLES[number].point);

// Pulls a keypoint to a place of the picture.
export function moveHandle(number, x, y) {
  const t = state.query.t;
  for (const [point, dx, dy] of shiftsOf(HANDLES[number], t, x, y)) {
    poses.xy[2 * (t * RULE.points + point)] += dx;
    poses.xy[2 * (t * RULE.points + point) + 1] += dy;
  }
  poseChanged(t);
}
