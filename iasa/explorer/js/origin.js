// Who showed first what a patch shows, among the frames that it may attend to: by exact masks of details where the clip has
// them, else by where a network looked, else by regions alone.

import { PAGE, decode, range } from "./data.js";
import { sinksOf } from "./visibility.js";
import { rowReasons } from "./mask.js";
import { attention, pairPlace } from "./recall.js";

const ENOUGH = 0.5; // of the strongest earlier frame's attention
export const details = PAGE.details
  ? { names: PAGE.details.names, bits: decode(PAGE.details.bits, Uint8Array) } // [f * n], a bit for each detail
  : null;

// A patch's attention to each frame so far, Float64Array [t + 1]: the mean over layers and heads.
export function attentionOf({ patches }, n, t, i) {
  return Float64Array.from(range(0, t + 1), (k) => (patches[pairPlace(t, k) * n + i] / 255) ** 2);
}

// kind: "detail" | "attention" | "region" | "plain" (no marked detail) | "none"; first: the earliest earlier frame that shows it and may be seen, -1 if
// there is none; shown: all earlier frames that show it, whether they may be seen or not; lit: Uint8Array [n], the patches of
// `first` that show it; shares: of its attention, for each frame so far; detail: its number.
export function originOf(plan, t, i, recorded = attention, marks = details) {
  const { n } = plan,
    row = rowReasons(plan, t, i),
    none = { kind: "none", first: -1, shown: [], lit: new Uint8Array(n), shares: null, detail: -1 };
  if (t < sinksOf(plan.options, plan.grid.frames)) return none;
  const litOf = (k, shows) => Uint8Array.from(range(0, n), (j) => (row[k * n + j] && shows(k * n + j) ? 1 : 0)),
    anyOf = (k, good) => {
      for (let at = k * n; at < (k + 1) * n; at++) if (good(at)) return true;
      return false;
    },
    seenWith = (shows) => range(0, t).filter((k) => anyOf(k, (at) => row[at] && shows(at))),
    found = (kind, first, shows, more = {}) =>
      Object.assign(none, { kind, first, lit: first < 0 ? none.lit : litOf(first, shows) }, more);
  const shares = recorded && attentionOf(recorded, n, t, i),
    mark = marks ? marks.bits[t * n + i] : 0;
  if (mark) {
    const detail = 31 - Math.clz32(mark & -mark),
      shows = (at) => (marks.bits[at] >> detail) & 1,
      shown = range(0, t).filter((k) => anyOf(k, shows));
    return found("detail", seenWith(shows)[0] ?? -1, shows, { shown, shares, detail });
  }
  const all = () => true,
    seen = seenWith(all);
  if (recorded) {
    const most = Math.max(0, ...seen.map((k) => shares[k])),
      shown = seen.filter((k) => shares[k] > 0 && shares[k] >= ENOUGH * most);
    return found("attention", shown[0] ?? -1, all, { shown, shares });
  }
  if (marks) return found("plain", -1, all);
  const mine = plan.allBits[t * n + i],
    shared = (at) => (mine ? mine & plan.allBits[at] : plan.allBits[at] === 0),
    shown = seenWith(shared);
  return found("region", shown[0] ?? -1, shared, { shown });
}
