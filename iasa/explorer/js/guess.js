// Guess first: the reader marks the patches that the query will see, then the page shows them and scores the guess.

import { count, percent, say } from "./i18n.js";
import { rowReasons, wholeReason } from "./mask.js";
import { emit, f, grid, n, plan, state } from "./state.js";

const BRUSH = 1; // patches to each side of the pointed one
export const GUESS = { right: [0, 158, 115, 215], missed: [240, 228, 66, 215], wrong: [213, 94, 0, 215], mark: [255, 209, 102, 190] };
export const guess = { marks: new Uint8Array(f * n), shown: false, adds: null };
export const isGuessing = () => state.lit === "guess" && !guess.shown;

// A query is to be guessed: the one that is shown, held until the guess is over.
export function startGuess() {
  guess.marks.fill(0);
  Object.assign(guess, { shown: false, adds: null });
  Object.assign(state, { lit: "guess", pinned: true, key: null, keyPinned: false });
}

// What a frame gives away: those that are seen whole are shown at once, nobody has to guess them.
export const isGiven = (t) => wholeReason(plan, state.query.t, t) > 0;

// Marks the patches around one; the first of a stroke says whether it adds or takes away.
export function markAround({ t, i }) {
  if (isGiven(t)) return;
  guess.adds ??= !guess.marks[t * n + i];
  const [x, y] = [i % grid.cols, Math.floor(i / grid.cols)];
  for (let row = Math.max(0, y - BRUSH); row <= Math.min(grid.rows - 1, y + BRUSH); row++)
    for (let col = Math.max(0, x - BRUSH); col <= Math.min(grid.cols - 1, x + BRUSH); col++)
      guess.marks[t * n + row * grid.cols + col] = guess.adds ? 1 : 0;
}

// Patches that are marked and seen, seen alone and marked alone, and the score, their overlap of 0..1. `needed` [f * n] are
// those to be guessed.
export function scoreGuess(marks, needed) {
  let right = 0,
    missed = 0,
    wrong = 0;
  for (let at = 0; at < marks.length; at++) {
    if (marks[at] && needed[at]) right += 1;
    else if (needed[at]) missed += 1;
    else if (marks[at]) wrong += 1;
  }
  const all = right + missed + wrong;
  return { right, missed, wrong, score: all ? right / all : 1 };
}

// Of each patch whether it has to be guessed: it is seen, and its frame is not given.
export function neededPatches() {
  const row = rowReasons(plan, state.query.t, state.query.i);
  for (let t = 0; t < f; t++) if (isGiven(t)) row.fill(0, t * n, (t + 1) * n);
  return row;
}

export function sayGuess() {
  if (!guess.shown) {
    const marked = count(guess.marks.reduce((sum, mark) => sum + mark, 0));
    return say("Guess: which patches of other frames does the marked patch of frame {t} see? {marked} marked.", {
      t: state.query.t,
      marked,
    });
  }
  const { right, missed, wrong, score } = scoreGuess(guess.marks, neededPatches());
  const given = { right: count(right), missed: count(missed), wrong: count(wrong), score: percent(score) };
  return say("Score {score}: {right} right (green), {missed} missed (yellow), {wrong} wrong (red). 100 % is every patch and no other.", given);
}

export function revealGuess() {
  guess.shown = true;
}
export function endGuess() {
  Object.assign(state, { lit: "patch", pinned: false });
  emit("settings");
}

// Colours of frame t's patches while guessing and after.
export function guessColours(t, row) {
  const clear = [0, 0, 0, 0];
  return (j) => {
    const at = t * n + j,
      marked = guess.marks[at];
    if (!guess.shown) return marked ? GUESS.mark : clear;
    if (row[at]) return marked ? GUESS.right : GUESS.missed;
    return marked ? GUESS.wrong : clear;
  };
}
