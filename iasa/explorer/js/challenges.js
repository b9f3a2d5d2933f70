// The lab's challenges in figures: what is asked, how far a mask is, and the best that the controls can do.

import { RULE, clamp, range } from "./data.js";
import { sinksOf } from "./visibility.js";
import { SIGNATURES, makePlan, sharedPairs } from "./mask.js";
import { keptMass, keptShares, pairPlace } from "./recall.js";

export const GOAL = 0.6; // of the oracle's mass
export const BACK = 8; // frames
const HANDS = 1 << RULE.regions.indexOf("hands");
const MOST = { top_k: 16, window: 6 }; // of the controls

// A record with one layer and one head, the mean of all.
export function meanRecord(record) {
  const parts = record.layers * record.heads,
    mean = (values) => {
      const size = values.length / parts;
      return Float32Array.from({ length: size }, (_, i) => {
        let sum = 0;
        for (let part = 0; part < parts; part++) sum += values[part * size + i];
        return sum / parts;
      });
    };
  return { ...record, layers: 1, heads: 1, mass: mean(record.mass), meets: mean(record.meets) };
}

// Attention to chosen past frames that a mask keeps, summed over all query frames; `mean` of `meanRecord`.
export function pastMass(plan, mean) {
  const shares = keptShares(plan, mean);
  return plan.past.reduce((all, seen, q) => seen.reduce((sum, k) => sum + keptMass(plan, mean, shares, 0, 0, q, k), all), 0);
}

// Pairs of tokens that a mask keeps of past frames, counted in blocks or exactly by the tokens' `counts`.
export const pastPairs = (plan, counts) =>
  plan.past.reduce((all, seen, q) => seen.reduce((sum, k) => sum + sharedPairs(counts, q, k), all), 0);

// Pairs of two frames by the regions that their tokens have in common: Float64Array [SIGNATURES].
function pairsByCommon(counts, q, k) {
  const found = new Float64Array(SIGNATURES);
  for (let a = 0; a < SIGNATURES; a++) {
    const queries = counts[q * SIGNATURES + a];
    if (queries) for (let b = 0; b < SIGNATURES; b++) found[a & b] += queries * counts[k * SIGNATURES + b];
  }
  return found;
}

// The most attention to past frames that as many pairs as `plan` keeps of them could catch, if frames and common regions
// were chosen with the attention itself in sight.
export function oracleMass(plan, mean) {
  const classes = [];
  for (let q = 0; q < plan.grid.frames; q++)
    for (let k = 0; k < q; k++) {
      if (plan.whole[q * plan.grid.frames + k]) continue;
      const pairs = pairsByCommon(plan.counts, q, k);
      mean.signatures.forEach((common, s) => {
        const mass = mean.meets[pairPlace(q, k) * mean.signatures.length + s];
        if (pairs[common] && mass) classes.push([mass, pairs[common]]);
      });
    }
  classes.sort(([massA, pairsA], [massB, pairsB]) => massB / pairsB - massA / pairsA);
  let left = pastPairs(plan, plan.counts),
    caught = 0;
  for (const [mass, pairs] of classes) {
    if (left <= 0) break;
    caught += mass * Math.min(1, left / pairs);
    left -= pairs;
  }
  return caught;
}

// The fewest pairs in blocks with at least `wanted` mass, over K, window and regions; yields after each set of regions and
// returns { top_k, window, regions, blocks, mass }, or null where nothing reaches it.
export function* searchFewest(poses, grid, options, bits, distance, mean, wanted, most = MOST) {
  let best = null;
  for (let regions = 1; regions < SIGNATURES; regions++) {
    const plan = makePlan(poses, grid, { ...options, regions, top_k: 0, window: 0, local: true }, bits, distance);
    for (const found of sumsOf(plan, mean, regions, most))
      if (found.mass >= wanted && (!best || found.blocks < best.blocks)) best = { ...found, regions };
    yield regions;
  }
  return best;
}

// Mass and pairs in blocks of every K and window, for one set of regions. `plan` has neither.
function* sumsOf(plan, mean, regions, most) {
  const f = plan.grid.frames,
    S = mean.signatures.length,
    first = sinksOf(plan.options, f);
  const costs = plan.ranked.map((ranked, q) => {
    const seen = new Map();
    const add = (k) => {
      let mass = 0;
      if (k < q) mean.signatures.forEach((common, s) => (mass += common & regions ? mean.meets[pairPlace(q, k) * S + s] : 0));
      seen.set(k, { mass, blocks: sharedPairs(plan.pooledCounts, q, k), rank: ranked.indexOf(k) });
    };
    ranked.slice(0, most.top_k).forEach(add);
    for (let k = Math.max(first, q - most.window); k < q; k++) if (!seen.has(k)) add(k);
    return seen;
  });
  for (let top_k = 0; top_k <= most.top_k; top_k++)
    for (let window = 0; window <= most.window; window++) {
      let mass = 0,
        blocks = 0;
      costs.forEach((seen, q) =>
        seen.forEach((cost, k) => {
          if (!(cost.rank >= 0 && cost.rank < top_k) && !(k < q && q - k <= window)) return;
          mass += cost.mass;
          blocks += cost.blocks;
        }),
      );
      yield { top_k, window, mass, blocks };
    }
}

const showsHands = (plan, t) =>
  plan.allBits.subarray(t * plan.n, (t + 1) * plan.n).some((bits) => bits & HANDS);

// The frame whose hands shall see those eight frames back: the latest up to `latest` that shows hands, as the other does, and
// does not see it yet; null where there is none.
export function handsTask(plan, latest) {
  const first = sinksOf(plan.options, plan.grid.frames);
  const good = (t) => showsHands(plan, t) && showsHands(plan, t - BACK) && !plan.past[t].includes(t - BACK);
  const t = range(first + BACK, latest + 1).reverse().find(good);
  if (t === undefined) return null;
  const pairs = plan.ranked.reduce((sum, ranked, q) => {
    const k = q === t ? t - BACK : (ranked[0] ?? -1);
    return k < 0 ? sum : sum + handPairs(plan, q, k);
  }, 0);
  return { t, s: t - BACK, pairs }; // pairs: with K = 1, hands alone, and frame t posed as frame s
}
const handsOf = (plan, t) =>
  plan.allBits.subarray(t * plan.n, (t + 1) * plan.n).reduce((sum, bits) => sum + (bits & HANDS ? 1 : 0), 0);
const handPairs = (plan, q, k) => handsOf(plan, q) * handsOf(plan, k);

// Whether hands of frame t see hands of frame s.
export const handsMeet = (plan, { t, s }) =>
  plan.past[t].includes(s) &&
  showsHands(plan, t) &&
  showsHands(plan, s) &&
  (!plan.options.local || Boolean(plan.options.regions & HANDS));

// 1..100 of who has reached the goal: how near to the fewest possible.
export const scoreOf = (best, yours) => (yours > 0 ? clamp(Math.round((100 * best) / yours), 1, 100) : 100);
