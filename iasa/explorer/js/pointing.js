// Which patch looks and which is looked at: pointing, choosing, playing.

import { RULE, clamp } from "./data.js";
import { say } from "./i18n.js";
import { centreOf, emit, f, grid, patchAt, poses, state, timings } from "./state.js";
import { byId } from "./dom.js";
import { drawStrip, scrollToFrame } from "./strip.js";
import { drawFrame } from "./frame.js";
import { showSentence } from "./sentence.js";
import { showTiles } from "./tiles.js";
import { drawMatrixMarks } from "./matrix_view.js";
import { drawView, followQuery } from "./views.js";
import { guess, isGuessing, markAround } from "./guess.js";
import { showGuess } from "./lab_view.js";

const REST = 90; // milliseconds without a move
const PLAY_STEP = 280; // milliseconds a frame
const FOLLOWED = 0.08; // of the picture: a patch this near to a keypoint follows it

function drawQuery() {
  drawFrame();
  drawStrip();
  showSentence();
}
export function drawAll() {
  showTiles();
  drawQuery();
  drawView();
}

// Another mask: frames at once, the open tab too, but while a keypoint is held when the hand rests.
let resting = 0;
export function drawMask() {
  clearTimeout(resting);
  if (!state.held) {
    drawAll();
    return;
  }
  showTiles();
  drawQuery();
  resting = setTimeout(drawView, REST);
}

// After pointing: only what depends on the query and the key. `moved`: the query's frame is another one.
function drawPointed(moved) {
  drawQuery();
  followQuery(moved);
}

// The pointer is over a patch, or over none.
export function point(patch) {
  const before = performance.now();
  if (!patch) {
    if (state.key && !state.keyPinned) {
      state.key = null;
      drawPointed(false);
    }
    return;
  }
  if (state.keyPinned) return;
  if (state.pinned) {
    state.key = patch;
    drawPointed(false);
  } else {
    const moved = state.query.t !== patch.t;
    state.query = patch;
    state.key = null;
    drawPointed(moved);
  }
  timings.hover.push(performance.now() - before);
}

// A click or a tap: first the query, then the second patch.
export function choose(patch) {
  if (!patch || isGuessing()) return;
  const again = state.keyPinned && state.key.t === patch.t && state.key.i === patch.i;
  if (!state.pinned) Object.assign(state, { query: patch, pinned: true, key: null });
  else if (again) state.keyPinned = false;
  else Object.assign(state, { key: patch, keyPinned: true });
  settle();
}

// A patch is marked, or no longer; a stroke ends with none.
export function markPatch(patch) {
  if (patch) markAround(patch);
  else guess.adds = null;
  drawStrip();
  showSentence();
  showGuess();
}

function settle() {
  drawPointed(true);
  showSentence(true);
  emit("settings");
}

export function release() {
  if (isGuessing()) return;
  Object.assign(state, { pinned: false, keyPinned: false, key: null });
  drawPointed(false);
  showSentence(true);
}

// The query goes to frame t and keeps its place in the picture.
export function lookFrom(t, aloud = true) {
  if (isGuessing()) return;
  state.query = { t: clamp(t, 0, f - 1), i: state.query.i };
  scrollToFrame(state.query.t);
  drawPointed(true);
  if (aloud) showSentence(true);
  emit("settings");
}

// By keys: the second patch where the query is held, else the query.
export function placePatch(patch) {
  if (state.pinned) Object.assign(state, { key: patch, keyPinned: true });
  else state.query = patch;
  scrollToFrame(patch.t);
  settle();
}

export function moveBy(dx, dy) {
  const { t, i } = state.pinned && state.key ? state.key : state.query;
  const x = clamp((i % grid.cols) + dx, 0, grid.cols - 1),
    y = clamp(Math.floor(i / grid.cols) + dy, 0, grid.rows - 1);
  placePatch({ t, i: y * grid.cols + x });
}

// A query and a key at once, as the matrix gives them; `keep`: they stay.
export function pointPair(pair, keep = false) {
  if (!pair || isGuessing() || (state.pinned && !keep)) return;
  const before = performance.now();
  state.query = pair.query;
  state.key = pair.key;
  if (keep) {
    state.pinned = state.keyPinned = true;
    drawFrame();
  }
  drawStrip();
  showSentence(keep);
  drawMatrixMarks();
  timings.hover.push(performance.now() - before);
}

function nearestKeypoint({ t, i }) {
  const [x, y] = centreOf(i);
  let nearest = -1,
    least = FOLLOWED;
  for (let p = 0; p < RULE.points; p++) {
    const at = t * RULE.points + p,
      far = Math.hypot(poses.xy[2 * at] - x, poses.xy[2 * at + 1] - y);
    if (poses.confidence[at] > 0 && far < least) {
      nearest = p;
      least = far;
    }
  }
  return nearest;
}

// The query moves on frame by frame, and follows the keypoint that it is near.
let timer = 0;
export function togglePlay() {
  if (isGuessing() && !timer) return;
  if (timer) {
    clearInterval(timer);
    timer = 0;
  } else {
    const followed = nearestKeypoint(state.query);
    Object.assign(state, { key: null, keyPinned: false });
    timer = setInterval(() => {
      const t = (state.query.t + 1) % f,
        at = t * RULE.points + followed,
        seen = followed >= 0 && poses.confidence[at] > 0;
      state.query = (seen && patchAt(t, poses.xy[2 * at], poses.xy[2 * at + 1])) || { t, i: state.query.i };
      scrollToFrame(t);
      drawPointed(true);
    }, PLAY_STEP);
  }
  byId("play").textContent = say(timer ? "Pause" : "Play");
  byId("play").setAttribute("aria-pressed", String(Boolean(timer)));
}
export const stopPlaying = () => {
  if (timer) togglePlay();
};
