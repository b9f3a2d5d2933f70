// The attention matrix as pixels: which share of the pairs under each is kept, and why.

import { RULE } from "./data.js";
import { REASON } from "./visibility.js";
import { SIGNATURES, sharedPairs } from "./mask.js";
import { f, n } from "./state.js";
import { ink, palette, toRgb } from "./colours.js";

// The rule by which each key frame is visible to frame tq: Uint8Array [f] of chosen (by region) or why it is seen whole.
function rulesOf(shown, tq) {
  const rules = shown.whole.slice(tq * f, (tq + 1) * f);
  for (const tk of shown.past[tq]) rules[tk] = REASON.chosen;
  return rules;
}
const isWindow = (shown, tq, tk) => shown.table[tq].indexOf(tk) >= shown.options.top_k;

// Shares of the pairs under each pixel of a square of W pixels, [W * W]: `exact` are needed, `computed` are computed, and
// `reason` is the leading one. `zoom` as in the state.
export function matrixShares(shown, W, zoom) {
  const shares = { exact: new Float32Array(W * W), computed: new Float32Array(W * W), reason: new Uint8Array(W * W) };
  if (n * zoom.scale < 1.5) addFramePairs(shares, shown, W, zoom);
  else addTokenPairs(shares, shown, W, zoom);
  return shares;
}

// Frames smaller than a pixel: one value for a pair of frames.
function addFramePairs({ exact, computed, reason }, shown, W, zoom) {
  for (let tq = 0; tq < f; tq++) {
    const y = Math.floor((tq * n - zoom.y) * zoom.scale),
      rules = rulesOf(shown, tq);
    if (y < 0 || y >= W) continue;
    for (let tk = 0; tk < f; tk++) {
      const x = Math.floor((tk * n - zoom.x) * zoom.scale);
      if (!rules[tk] || x < 0 || x >= W) continue;
      const chosen = rules[tk] === REASON.chosen,
        at = y * W + x;
      exact[at] = computed[at] = chosen ? Math.max(0.15, sharedPairs(shown.counts, tq, tk) / (n * n)) : 1;
      reason[at] = chosen && isWindow(shown, tq, tk) ? REASON.window : rules[tk];
    }
  }
}

// The tokens under each of W pixels along one axis: their frame, how many they are, how many have which bits, how many lie
// in blocks of which bits, and how many show each region. null beyond the matrix.
function lanes(shown, from, W, scale) {
  const pooled = shown.options.mode === "pooled",
    R = RULE.regions.length,
    found = [];
  const usedOf = (histogram) => Array.from(histogram.keys()).filter((b) => b && histogram[b]);
  for (let p = 0; p < W; p++) {
    const a = Math.floor(from + p / scale + 1e-9);
    if (a < 0 || a >= f * n) {
      found.push(null);
      continue;
    }
    const t = Math.floor(a / n),
      b = Math.min((t + 1) * n, Math.max(a + 1, Math.floor(from + (p + 1) / scale + 1e-9)));
    const all = new Float32Array(SIGNATURES),
      block = pooled ? new Float32Array(SIGNATURES) : all,
      regions = new Float32Array(R);
    for (let at = a; at < b; at++) {
      const own = shown.bits[shown.order[at]];
      all[own] += 1;
      if (pooled) block[shown.pooled[shown.order[at]]] += 1;
      for (let r = 0; r < R; r++) regions[r] += (own >> r) & 1;
    }
    found.push({ t, many: b - a, all, block, regions, used: usedOf(all), usedBlock: usedOf(block) });
  }
  return found;
}

// Of each set of region bits, how many of a lane's tokens share a region with it.
function meeting(histogram, used) {
  const meet = new Float32Array(SIGNATURES);
  for (let b = 1; b < SIGNATURES; b++) for (const a of used) if (a & b) meet[b] += histogram[a];
  return meet;
}

function leadingRegion(q, k) {
  let best = -1,
    most = 0;
  for (let r = 0; r < q.regions.length; r++) {
    const pairs = q.regions[r] * k.regions[r];
    if (pairs > most) {
      most = pairs;
      best = r;
    }
  }
  return best;
}

function addTokenPairs({ exact, computed, reason }, shown, W, zoom) {
  const pooled = shown.options.mode === "pooled";
  const columns = lanes(shown, zoom.x, W, zoom.scale),
    rows = lanes(shown, zoom.y, W, zoom.scale),
    known = new Map();
  for (let y = 0; y < W; y++) {
    const q = rows[y];
    if (!q) continue;
    if (!known.has(q.t)) known.set(q.t, rulesOf(shown, q.t));
    const rules = known.get(q.t),
      meet = meeting(q.all, q.used),
      meetBlock = pooled ? meeting(q.block, q.usedBlock) : meet;
    for (let x = 0; x < W; x++) {
      const k = columns[x],
        at = y * W + x;
      if (!k || !rules[k.t]) continue;
      if (rules[k.t] !== REASON.chosen) {
        exact[at] = computed[at] = 1;
        reason[at] = rules[k.t];
        continue;
      }
      let pairs = 0,
        blocks = 0;
      for (const b of k.used) pairs += meet[b] * k.all[b];
      if (pooled) for (const b of k.usedBlock) blocks += meetBlock[b] * k.block[b];
      exact[at] = pairs / (q.many * k.many);
      computed[at] = pooled ? blocks / (q.many * k.many) : exact[at];
      if (!computed[at]) continue;
      if (isWindow(shown, q.t, k.t)) reason[at] = REASON.window;
      else if (!pairs) reason[at] = REASON.block;
      else reason[at] = shown.options.local ? REASON.chosen + leadingRegion(q, k) : REASON.whole;
    }
  }
}

// A canvas of W x W pixels, each in the colour [r, g, b] that `colourOf` gives.
export function paintPixels(canvas, W, colourOf) {
  canvas.width = canvas.height = W;
  const pen = canvas.getContext("2d"),
    image = pen.createImageData(W, W);
  const { data } = image;
  for (let p = 0; p < W * W; p++) {
    const colour = colourOf(p);
    data[4 * p] = colour[0];
    data[4 * p + 1] = colour[1];
    data[4 * p + 2] = colour[2];
    data[4 * p + 3] = 255;
  }
  pen.putImageData(image, 0, 0);
}
export const mix = (under, over, share) => [
  under[0] + share * (over[0] - under[0]),
  under[1] + share * (over[1] - under[1]),
  under[2] + share * (over[2] - under[2]),
];

// Paler where fewer of the pairs are needed, over grey where they are computed all the same.
export function paintShares(canvas, W, { exact, computed, reason }) {
  const colours = palette(),
    paper = toRgb(ink.paper),
    waste = toRgb(ink.waste);
  paintPixels(canvas, W, (p) => {
    if (!computed[p]) return paper;
    if (exact[p] === 1) return colours[reason[p]];
    const under = computed[p] > exact[p] ? mix(paper, waste, 0.6 * (computed[p] - exact[p])) : paper;
    return exact[p] > 0 ? mix(under, colours[reason[p]], 0.22 + 0.78 * Math.sqrt(exact[p])) : under;
  });
}
