// Which tokens of a frame region-sparse inference computes at all, as iasa/masks/computed.py has it.

import { PAGE, RULE, decode } from "./data.js";
import { sinksOf } from "./visibility.js";

// By how much each token of the warped reference differs from the still one, in `RULE.computed.levels` of a grey level:
// Uint8Array [f * n], null where nobody measured it.
export const change = PAGE.change ? decode(PAGE.change, Uint8Array) : null;

// Tokens beside some, in their row or else in their column.
function beside(named, cols, inRow) {
  const step = inRow ? 1 : cols;
  return named.map((_, i) => {
    const before = inRow ? i % cols > 0 : i >= cols,
      after = inRow ? i % cols < cols - 1 : i + cols < named.length;
    return (before && named[i - step]) || (after && named[i + step]) ? 1 : 0;
  });
}

// Face, hands and what has moved; a token that is alone in its row or column takes its neighbours along.
export function nameMoving(bits, changed, { cols }) {
  const { always, moved, levels } = RULE.computed;
  let named = Uint8Array.from(bits, (b, i) => (b & always || changed[i] >= moved * levels ? 1 : 0));
  if (!named.some(Boolean)) {
    const most = Math.max(...changed); // a picture of nobody
    named = named.map((_, i) => (changed[i] === most ? 1 : 0));
  }
  for (const inRow of [true, false]) {
    const near = beside(named, cols, inRow),
      lonely = named.map((v, i) => (v && !near[i] ? 1 : 0)),
      taken = beside(lonely, cols, inRow);
    named = named.map((v, i) => v | taken[i]);
  }
  return named;
}

// Regions of a photograph that the network repairs, and a rim of one token.
export function nameRegions(bits, { cols }) {
  const inside = Uint8Array.from(bits, (b) => (b & RULE.computed.repaired ? 1 : 0)),
    wide = beside(inside, cols, true).map((v, i) => v | inside[i]);
  return beside(wide, cols, false).map((v, i) => v | wide[i]);
}

const namedLast = []; // of each frame what was named last, and by which bits

// Of one frame, as `named`; a frame whose regions are the same is not gone through again.
function nameFrame(t, bits, changed, grid) {
  const old = namedLast[t];
  if (old && old.changed === changed && old.bits.every((b, i) => b === bits[i])) return old;
  const named = changed
    ? nameMoving(bits, changed.subarray(t * bits.length, (t + 1) * bits.length), grid)
    : nameRegions(bits, grid);
  namedLast[t] = { bits: bits.slice(), changed, named, count: named.reduce((sum, v) => sum + v, 0) };
  return namedLast[t];
}

// Of a whole plan: which tokens, Uint8Array [f * n], and their share of all but the references', which are whole.
export function nameComputed(plan, changed = change) {
  const { n, grid, options } = plan,
    f = grid.frames,
    first = sinksOf(options, f),
    named = new Uint8Array(f * n).fill(1);
  let count = 0;
  for (let t = first; t < f; t++) {
    const own = nameFrame(t, plan.bits.subarray(t * n, (t + 1) * n), changed, grid);
    named.set(own.named, t * n);
    count += own.count;
  }
  return { named, share: f > first ? count / ((f - first) * n) : 1 };
}
