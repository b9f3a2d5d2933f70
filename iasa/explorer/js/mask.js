// The mask's rule as iasa/masks/plan.py has it: who sees whom and why, in order, in blocks, and how many pairs that makes.
//
// Token i of frame tq sees token j of frame tk if tq sees all of tk (its chunk, a sink), or if tk is in tq's frame table
// and their region bits have one in common. A mask of (f * n)^2 pairs is never built: the frame table and one byte of region bits a
// token rebuild any row.

import { RULE, range } from "./data.js";
import { poseDistance } from "./similarity.js";
import { REASON, REASONS, frameTable, pastFrames, rankFrames, wholeReasons } from "./visibility.js";

export const SIGNATURES = 1 << RULE.regions.length; // values that a token's region bits can take
export const ALL_REGIONS = SIGNATURES - 1;

// The package's options, then the explorer's own: bits of the regions that count, the order of the tokens, and so on.
export const DEFAULTS = { ...RULE.options, align: true, permute: true, regions: ALL_REGIONS };

// Order that makes each frame's region tokens contiguous, Int32Array [f * n]: by bits with the face counting most,
// background last. `place` is its inverse.
function permutation(bits, f, n) {
  const order = new Int32Array(f * n),
    place = new Int32Array(f * n);
  const rank = Array.from({ length: SIGNATURES }, (_, b) =>
    b === 0 ? SIGNATURES : RULE.regions.reduce((value, _, r) => (value << 1) | ((b >> r) & 1), 0),
  );
  for (let t = 0; t < f; t++) {
    const start = new Int32Array(SIGNATURES + 2);
    for (let i = 0; i < n; i++) start[rank[bits[t * n + i]] + 1] += 1;
    for (let r = 0; r <= SIGNATURES; r++) start[r + 1] += start[r];
    for (let i = 0; i < n; i++) {
      const at = t * n + start[rank[bits[t * n + i]]]++;
      order[at] = t * n + i;
      place[t * n + i] = at;
    }
  }
  return { order, place };
}

// Bits of the block that each token lies in, or-ed over the block: Uint8Array [f * n]. Blocks never cross frames.
function pooledBits(bits, order, f, n, block) {
  const pooled = new Uint8Array(f * n);
  for (let t = 0; t < f; t++) {
    for (let first = 0; first < n; first += block) {
      const last = Math.min(n, first + block);
      let all = 0;
      for (let p = t * n + first; p < t * n + last; p++) all |= bits[order[p]];
      for (let p = t * n + first; p < t * n + last; p++) pooled[order[p]] = all;
    }
  }
  return pooled;
}

function signatureCounts(bits, f, n) {
  const counts = new Float64Array(f * SIGNATURES);
  for (let t = 0; t < f; t++) for (let i = 0; i < n; i++) counts[t * SIGNATURES + bits[t * n + i]] += 1;
  return counts;
}

// Pairs of a query and a key frame that share a region.
export function sharedPairs(counts, tq, tk) {
  let pairs = 0;
  for (let a = 1; a < SIGNATURES; a++) {
    const queries = counts[tq * SIGNATURES + a];
    if (!queries) continue;
    let keys = 0;
    for (let b = 1; b < SIGNATURES; b++) if (a & b) keys += counts[tk * SIGNATURES + b];
    pairs += queries * keys;
  }
  return pairs;
}

// Everything about a mask. `bits` are those of all regions; `options.regions` switches some of them off.
export function makePlan(poses, grid, options, bits, S = null) {
  const f = poses.frames,
    n = grid.rows * grid.cols;
  S = S || poseDistance(poses, options.align);
  const ranked = rankFrames(S, f, options),
    table = frameTable(ranked, options);
  const used = options.local ? bits.map((b) => b & options.regions) : new Uint8Array(f * n).fill(ALL_REGIONS);
  const whole = wholeReasons(f, options),
    past = pastFrames(table, whole);
  const identity = () => {
    const all = Int32Array.from({ length: f * n }, (_, i) => i);
    return { order: all, place: all };
  };
  const { order, place } = options.permute ? permutation(used, f, n) : identity();
  const pooled = options.block > 1 ? pooledBits(used, order, f, n, options.block) : used;
  return {
    grid: { frames: f, rows: grid.rows, cols: grid.cols, aspect: grid.aspect },
    n,
    options: { ...options },
    distance: S,
    ranked,
    table,
    whole,
    past,
    bits: used,
    allBits: bits,
    order,
    place,
    pooled,
    counts: signatureCounts(used, f, n),
    pooledCounts: signatureCounts(pooled, f, n),
  };
}

// A plan with a frame table of its own instead of the one that its poses give.
export const withTable = (plan, table) => Object.assign(plan, { table, past: pastFrames(table, plan.whole) });

// Why frame tq sees all of frame tk, as a REASON; none where it does not.
export const wholeReason = (plan, tq, tk) => plan.whole[tq * plan.grid.frames + tk];

// Pairs kept: token by token, and in whole blocks; and in all.
function countPairs(plan) {
  const { n } = plan,
    f = plan.grid.frames;
  let token = n * n * plan.whole.reduce((frames, reason) => frames + (reason > 0), 0),
    block = token;
  for (let t = 0; t < f; t++) {
    for (const s of plan.past[t]) {
      token += sharedPairs(plan.counts, t, s);
      block += sharedPairs(plan.pooledCounts, t, s);
    }
  }
  return { token, block, all: (f * n) ** 2 };
}

// Multiply-adds count as two operations. `model` has width, layers, mlp_ratio; the rest of a block is its
// projections (4 width^2 a token) and its two-layer network (2 mlp_ratio width^2).
export function measure(plan, model) {
  const pairs = countPairs(plan),
    tokens = plan.n * plan.grid.frames;
  const computed = plan.options.mode === "pooled" ? pairs.block : pairs.token;
  const attention = (count) => 4 * count * model.width * model.layers;
  const rest = 2 * tokens * model.layers * (4 + 2 * model.mlp_ratio) * model.width ** 2;
  return {
    tokenDensity: pairs.token / pairs.all,
    blockDensity: pairs.block / pairs.all,
    wasted: pairs.block - pairs.token,
    wastedShare: (pairs.block - pairs.token) / pairs.block,
    tokenPairs: pairs.token,
    blockPairs: pairs.block,
    allPairs: pairs.all,
    tokens,
    flops: attention(computed),
    denseFlops: attention(pairs.all),
    restFlops: rest,
    speedup: pairs.all / computed,
    wholeSpeedup: (attention(pairs.all) + rest) / (attention(computed) + rest),
  };
}

export const lowestBit = (bits) => 31 - Math.clz32(bits & -bits);

// The reason for a past key that shares those regions with its query.
function pastReason(plan, tq, tk, shared) {
  if (plan.table[tq].indexOf(tk) >= plan.options.top_k) return REASON.window;
  return plan.options.local ? REASON.chosen + lowestBit(shared) : REASON.whole;
}

// Why token i of frame tq sees token j of frame tk, as a REASON (+ the region of a chosen frame).
export function reasonOf(plan, tq, i, tk, j) {
  const { n, options } = plan;
  const whole = wholeReason(plan, tq, tk);
  if (whole) return whole;
  if (!plan.past[tq].includes(tk)) return REASON.none;
  const shared = plan.bits[tq * n + i] & plan.bits[tk * n + j];
  if (shared) return pastReason(plan, tq, tk, shared);
  if (options.mode === "pooled" && plan.pooled[tq * n + i] & plan.pooled[tk * n + j]) return REASON.block;
  return REASON.none;
}

// Reasons of a whole row of the mask: Uint8Array [f * n], sequence order.
export function rowReasons(plan, tq, i) {
  const { n, options } = plan,
    row = new Uint8Array(plan.grid.frames * n);
  for (let tk = 0; tk < plan.grid.frames; tk++) row.fill(wholeReason(plan, tq, tk), tk * n, (tk + 1) * n);
  const mine = plan.bits[tq * n + i],
    block = options.mode === "pooled" ? plan.pooled[tq * n + i] : 0;
  for (const tk of plan.past[tq]) {
    for (let at = tk * n; at < (tk + 1) * n; at++) {
      const shared = mine & plan.bits[at];
      if (shared) row[at] = pastReason(plan, tq, tk, shared);
      else if (block & plan.pooled[at]) row[at] = REASON.block;
    }
  }
  return row;
}

// Mean keys that a query of frame t sees, by reason: Float64Array [REASONS].
export function keysByReason(plan, t) {
  const { n } = plan,
    found = new Float64Array(REASONS);
  for (let s = 0; s < plan.grid.frames; s++) found[wholeReason(plan, t, s)] += n;
  found[REASON.none] = 0;
  for (const s of plan.past[t]) {
    let exact = 0;
    for (let a = 1; a < SIGNATURES; a++) {
      const queries = plan.counts[t * SIGNATURES + a];
      if (!queries) continue;
      for (let b = 1; b < SIGNATURES; b++) {
        if (!(a & b)) continue;
        const pairs = queries * plan.counts[s * SIGNATURES + b];
        found[pastReason(plan, t, s, a & b)] += pairs / n;
        exact += pairs;
      }
    }
    if (plan.options.mode === "pooled") found[REASON.block] += (sharedPairs(plan.pooledCounts, t, s) - exact) / n;
  }
  return found;
}

// Pairs of two plans over the same grid, as they are computed: in both, in the first alone, in the second alone.
export function comparePlans(a, b) {
  const { n } = a,
    f = a.grid.frames;
  const bitsOf = (plan) => (plan.options.mode === "pooled" ? plan.pooled : plan.bits);
  const computed = (plan) => {
    const { token, block } = countPairs(plan);
    return plan.options.mode === "pooled" ? block : token;
  };
  const combined = range(0, f).map((t) => {
    const counts = new Map();
    for (let at = t * n; at < (t + 1) * n; at++) {
      const key = bitsOf(a)[at] * SIGNATURES + bitsOf(b)[at];
      counts.set(key, (counts.get(key) || 0) + 1);
    }
    return [...counts];
  });
  const rule = (plan, tq, tk) => (wholeReason(plan, tq, tk) ? 2 : plan.past[tq].includes(tk) ? 1 : 0);
  let both = 0;
  for (let tq = 0; tq < f; tq++) {
    for (let tk = 0; tk < f; tk++) {
      const ruleA = rule(a, tq, tk),
        ruleB = rule(b, tq, tk);
      if (!ruleA || !ruleB) continue;
      if (ruleA === 2 && ruleB === 2) {
        both += n * n;
        continue;
      }
      for (const [x, queries] of combined[tq]) {
        for (const [y, keys] of combined[tk]) {
          const shared = x & y;
          if ((ruleA === 2 || shared >> RULE.regions.length) && (ruleB === 2 || shared & ALL_REGIONS))
            both += queries * keys;
        }
      }
    }
  }
  return { both, onlyA: computed(a) - both, onlyB: computed(b) - both };
}
