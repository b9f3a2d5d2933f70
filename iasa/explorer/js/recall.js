// How much of the attention that a trained network was seen to pay falls on pairs that a mask keeps.

import { PAGE, RULE, decode, range } from "./data.js";
import { ALL_REGIONS, SIGNATURES, wholeReason } from "./mask.js";

const unpack = (packed) => {
  const mass = Float32Array.from(decode(packed.mass, Uint16Array), (v) => v / 65535),
    S = packed.signatures.length;
  return {
    ...packed,
    mass,
    meets: Float32Array.from(decode(packed.meets, Uint8Array), (v, at) => (v / 255) * mass[Math.floor(at / S)]),
    parts: decode(packed.parts, Uint8Array),
    patches: decode(packed.patches, Uint8Array),
    bits: decode(PAGE.plan.region_bits, Uint8Array), // as the run had them
  };
};
// What was recorded in a run of the network; null where the page holds none.
export const attention = PAGE.attention ? unpack(PAGE.attention) : null;

// How much of the attention recorded between two frames a mask keeps, by what the patches had in common then.
// attention: bits [f * n] of the recorded run and its `signatures`, the sets of common regions. The mask may have other
// bits by now (pose, shapes, blocks): pairs of one signature then count evenly. For each past frame that a frame sees,
// under q * f + k: Float64Array of a share of 0..1 for each signature.
export function keptShares(plan, attention) {
  const { n } = plan,
    f = plan.grid.frames,
    now = plan.options.mode === "pooled" ? plan.pooled : plan.bits;
  const all = plan.options.local ? plan.options.regions : ALL_REGIONS;
  const joint = range(0, f).map((t) => {
    const counts = new Map();
    for (let at = t * n; at < (t + 1) * n; at++) {
      const key = attention.bits[at] * SIGNATURES + now[at];
      counts.set(key, (counts.get(key) || 0) + 1);
    }
    return [...counts].map(([key, many]) => [key >> RULE.regions.length, key & ALL_REGIONS, many]);
  });
  const shares = new Map();
  plan.past.forEach((seen, q) =>
    seen.forEach((k) => {
      const pairs = new Float64Array(SIGNATURES),
        kept = new Float64Array(SIGNATURES);
      for (const [oldQ, newQ, queries] of joint[q])
        for (const [oldK, newK, keys] of joint[k]) {
          pairs[oldQ & oldK] += queries * keys;
          if (newQ & newK) kept[oldQ & oldK] += queries * keys;
        }
      shares.set(
        q * f + k,
        Float64Array.from(attention.signatures, (s) => (pairs[s] ? kept[s] / pairs[s] : s & all ? 1 : 0)),
      );
    }),
  );
  return shares;
}

// The place of two frames q >= k among all of them: (0, 0), (1, 0), (1, 1), (2, 0), ...
export const pairPlace = (q, k) => (q * (q + 1)) / 2 + k;
// The same in the record of a layer's head.
export const massPlace = (attention, f, layer, head, q, k) =>
  (layer * attention.heads + head) * pairPlace(f, 0) + pairPlace(q, k);

// Attention from frame q to frame k that the mask keeps. mass: [layers * heads * pairs] of 0..1; meets: the same by
// signature, [layers * heads * pairs * signatures].
export function keptMass(plan, attention, shares, layer, head, q, k) {
  if (k > q) return 0; // nothing went to the future
  const f = plan.grid.frames,
    at = massPlace(attention, f, layer, head, q, k),
    S = attention.signatures.length;
  if (wholeReason(plan, q, k)) return attention.mass[at];
  const share = shares.get(q * f + k);
  let sum = 0;
  if (share) for (let s = 0; s < S; s++) sum += attention.meets[at * S + s] * share[s];
  return sum;
}

// The share of a layer's head's attention that the mask keeps, for one query frame or (t < 0) all but the first.
export function recall(plan, attention, shares, layer, head, t = -1) {
  const f = plan.grid.frames;
  let sum = 0,
    all = 0;
  for (const q of t < 0 ? range(1, f) : [t])
    for (let k = 0; k <= q; k++) {
      all += attention.mass[massPlace(attention, f, layer, head, q, k)];
      sum += keptMass(plan, attention, shares, layer, head, q, k);
    }
  return all ? Math.min(1, sum / all) : 1;
}

// Whether the recall is exact: the mask's regions are those of the recorded run, pair by pair.
export const isExact = (plan, attention) =>
  plan.options.mode === "exact" && (!plan.options.local || plan.allBits.every((b, at) => b === attention.bits[at]));
