// Everything by keyboard: on the film strip, the query frame and the matrix.

import { clamp } from "./data.js";
import { say } from "./i18n.js";
import { f, state } from "./state.js";
import { byId, element, tell } from "./dom.js";
import { HANDLES, drawFrame, handlePlace, moveHandle } from "./frame.js";
import { fitScale, panTo, zoomBy } from "./matrix_view.js";
import { isGuessing } from "./guess.js";
import { choose, markPatch, moveBy, placePatch, release, togglePlay } from "./pointing.js";

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const JUMPS = { PageUp: -1, ",": -1, PageDown: 1, ".": 1 };
const [STEP, BIG_STEP, PAN] = [0.01, 0.05, 40]; // of the picture for a keypoint, with Shift; pixels of the matrix

function chooseHandle(step) {
  state.handle =
    (state.handle < 0 ? (step > 0 ? 0 : HANDLES.length - 1) : state.handle + step + HANDLES.length) % HANDLES.length;
  byId("announce").textContent = say("Keypoint: {name}. The arrow keys move it.", {
    name: say(HANDLES[state.handle].name),
  });
  drawFrame();
}

// Keys of the query frame alone; whether this was one.
function onFrameKey(event) {
  const arrow = ARROWS[event.key],
    far = event.shiftKey ? BIG_STEP : STEP;
  if (event.key === "[") chooseHandle(-1);
  else if (event.key === "]") chooseHandle(1);
  else if (arrow && state.handle >= 0) {
    const [x, y] = handlePlace(state.handle);
    moveHandle(state.handle, x + arrow[0] * far, y + arrow[1] * far);
  } else return false;
  return true;
}

function onMatrixKey(event) {
  const arrow = ARROWS[event.key],
    { x, y, scale } = state.zoom;
  if (arrow) panTo(x + (arrow[0] * PAN) / scale, y + (arrow[1] * PAN) / scale);
  else if (event.key === "+" || event.key === "=") zoomBy(1.6);
  else if (event.key === "-") zoomBy(1 / 1.6);
  else if (event.key === "0") panTo(0, 0, fitScale());
  else return false;
  return true;
}

function onAnyKey(event) {
  const { t, i } = state.pinned && state.key ? state.key : state.query,
    { key } = event;
  if (key in ARROWS) moveBy(...ARROWS[key]);
  else if (key in JUMPS) placePatch({ t: clamp(t + JUMPS[key], 0, f - 1), i });
  else if (key === "Home" || key === "End") placePatch({ t: key === "Home" ? 0 : f - 1, i });
  else if (key === "Enter" || key === " ") {
    if (isGuessing()) {
      markPatch({ t, i });
      markPatch(null);
    } else if (state.pinned) release();
    else choose(state.query);
  } else if (key === "Escape") {
    state.handle = -1;
    release();
  } else if (key === "p") togglePlay();
  else return false;
  return true;
}

export function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const own = { frame: onFrameKey, "matrix-marks": onMatrixKey }[event.currentTarget.id];
  if ((own && own(event)) || onAnyKey(event)) event.preventDefault();
}

export function showKeys() {
  const line = (key, text) =>
    element("tr", {}, element("td", {}, element("kbd", {}, key)), element("td", { class: "left" }, text));
  tell(
    say("Everything works without a mouse. Press Tab to reach the film strip, the query frame or the matrix, then:"),
    element(
      "table",
      {},
      line(say("Arrow keys"), say("Move the patch (in the matrix: pan)")),
      line(say("Page Up, Page Down"), say("Go to the previous or the next frame")),
      line(say("Enter"), say("Hold the query; the arrow keys then choose the second patch")),
      line("Esc", say("Release the query")),
      line("p", say("Play or pause")),
      line("[ ]", say("In the query frame: choose a keypoint; the arrow keys move it, with Shift further")),
      line("+ − 0", say("In the matrix: zoom in, zoom out, show all of it")),
    ),
  );
}
