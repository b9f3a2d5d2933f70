// The mask explorer: the input-aware mask recomputed in the browser, and the page that shows it.
//
// Part 1 is arithmetic alone and mirrors iasa/masks (similarity, regions, plan); tests/test_explorer_math.py runs it in
// node beside the Python code. Part 2 draws. A mask of (f * n)^2 pairs is never built: the frame table and one byte of
// region bits a token rebuild any row. No library, no build step, no request to anywhere.
"use strict";

// ---------------------------------------------------------------------------------------------------------------
// Part 1: arithmetic
// ---------------------------------------------------------------------------------------------------------------
const IasaMask = (() => {
  const POINTS = 133;
  const REGIONS = ["face", "hands", "arms", "body", "shoulders"];
  const SIGNATURES = 32; // values that a token's region bits can take
  const BLOCKS = [1, 16, 32, 64, 128];
  const DEFAULTS = {
    top_k: 4, window: 1, sink: true, local: true, method: "mls", block: 64, mode: "exact", reach: 125,
    causal: true, align: true, permute: true, regions: SIGNATURES - 1,
  };
  // Reasons for which a query sees a key: `chosen` + r is a chosen past frame through region r, `whole` a chosen frame
  // without the local mask, `block` a pair that only its block keeps.
  const REASON = { none: 0, own: 1, sink: 2, window: 3, chosen: 4, block: 9, whole: 10 };
  const REASONS = 11;

  const range = (start, stop) => Array.from({ length: stop - start }, (_, i) => start + i);
  const [NOSE, LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_ELBOW, RIGHT_ELBOW, LEFT_WRIST, RIGHT_WRIST] = [0, 5, 6, 7, 8, 9, 10];
  const [LEFT_HIP, RIGHT_HIP, FACE, LEFT_HAND, RIGHT_HAND] = [11, 12, 23, 91, 112];
  const TIPS = [4, 8, 12, 16, 20];
  // The points of S(tq, tk): head, arms, fingertips (iasa.keypoints.UPPER_BODY).
  const UPPER_BODY = [NOSE, 3, 4, ...range(5, 11), ...TIPS.map((t) => LEFT_HAND + t), ...TIPS.map((t) => RIGHT_HAND + t)];
  const PARTS = [
    { region: 0, points: [...range(FACE, FACE + 27), 0, 1, 2], radius: 0.1, fewest: 2 },
    { region: 1, points: range(LEFT_HAND, LEFT_HAND + 21), radius: 0.05, fewest: 5 },
    { region: 1, points: range(RIGHT_HAND, RIGHT_HAND + 21), radius: 0.05, fewest: 5 },
    { region: 2, points: [LEFT_SHOULDER, LEFT_ELBOW], radius: 0.14, fewest: 2 },
    { region: 2, points: [LEFT_ELBOW, LEFT_WRIST], radius: 0.11, fewest: 2 },
    { region: 2, points: [RIGHT_SHOULDER, RIGHT_ELBOW], radius: 0.14, fewest: 2 },
    { region: 2, points: [RIGHT_ELBOW, RIGHT_WRIST], radius: 0.11, fewest: 2 },
    { region: 3, points: [LEFT_SHOULDER, RIGHT_SHOULDER, RIGHT_HIP, LEFT_HIP], radius: 0.08, fewest: 4 },
    { region: 4, points: [LEFT_SHOULDER, RIGHT_SHOULDER], radius: 0.13, fewest: 2 },
  ];
  const [TORSO, USUAL_SHOULDERS, DIRECTIONS, CLOSE] = [1.3, 0.4, 32, 1e-6];
  const COS = Float64Array.from({ length: DIRECTIONS }, (_, i) => Math.cos((i * 2 * Math.PI) / DIRECTIONS));
  const SIN = Float64Array.from({ length: DIRECTIONS }, (_, i) => Math.sin((i * 2 * Math.PI) / DIRECTIONS));

  // S of every two frames, Float64Array [f * f]. The best rotation of centred points, written as complex numbers, is
  // c / |c| with c = sum w z_q conj(z_k); the squared residual is var_q + var_k - 2 |c|. `align` off leaves the poses
  // where they stand. Given an `old` S, only the row and column of frame `changed` are computed anew.
  function poseDistance(poses, align = true, old = null, changed = -1) {
    const { xy, confidence, frames: f } = poses;
    const P = UPPER_BODY.length;
    const x = new Float64Array(f * P), y = new Float64Array(f * P), w = new Float64Array(f * P);
    for (let t = 0; t < f; t++) {
      let sum = 0, mx = 0, my = 0;
      for (let i = 0; i < P; i++) {
        const at = t * POINTS + UPPER_BODY[i], c = confidence[at];
        w[t * P + i] = c;
        if (c > 0) { x[t * P + i] = xy[2 * at]; y[t * P + i] = xy[2 * at + 1]; }
        sum += c; mx += c * x[t * P + i]; my += c * y[t * P + i];
      }
      if (!align) continue;
      const scale = 1 / Math.max(sum, Number.MIN_VALUE);
      for (let i = 0; i < P; i++) { x[t * P + i] -= mx * scale; y[t * P + i] -= my * scale; }
    }
    const S = old ? old.slice() : new Float64Array(f * f);
    for (let q = 0; q < f; q++) {
      for (let k = 0; k <= q; k++) {
        if (old && q !== changed && k !== changed) continue;
        const value = align ? fitted(x, y, w, q * P, k * P, P) : asTheyStand(x, y, w, q * P, k * P, P);
        S[q * f + k] = S[k * f + q] = q === k && value < Infinity ? 0 : value;
      }
    }
    return S;
  }

  function fitted(x, y, w, q, k, P) {
    let total = 0, common = 0, qx = 0, qy = 0, kx = 0, ky = 0, qq = 0, kk = 0, re = 0, im = 0;
    for (let i = 0; i < P; i++) {
      const weight = w[q + i] * w[k + i];
      if (!(weight > 0)) continue;
      const ax = x[q + i], ay = y[q + i], bx = x[k + i], by = y[k + i];
      common += 1; total += weight;
      qx += weight * ax; qy += weight * ay; kx += weight * bx; ky += weight * by;
      qq += weight * (ax * ax + ay * ay); kk += weight * (bx * bx + by * by);
      re += weight * (ax * bx + ay * by); im += weight * (ay * bx - ax * by);
    }
    if (common < 2) return Infinity;
    const s = 1 / total;
    qx *= s; qy *= s; kx *= s; ky *= s;
    const varQ = qq * s - (qx * qx + qy * qy), varK = kk * s - (kx * kx + ky * ky);
    const c = Math.hypot(re * s - (qx * kx + qy * ky), im * s - (qy * kx - qx * ky));
    const residual = varQ + varK - 2 * c;
    // Within rounding of the sums it is a tie at zero: equal poses must be exactly equally near.
    return residual > 64 * Number.EPSILON * (varQ + varK) ? Math.sqrt(P * residual) : 0;
  }

  function asTheyStand(x, y, w, q, k, P) {
    let total = 0, common = 0, sum = 0;
    for (let i = 0; i < P; i++) {
      const weight = w[q + i] * w[k + i];
      if (!(weight > 0)) continue;
      common += 1; total += weight;
      sum += weight * ((x[q + i] - x[k + i]) ** 2 + (y[q + i] - y[k + i]) ** 2);
    }
    return common < 2 ? Infinity : Math.sqrt((P * sum) / total);
  }

  // For each frame its candidates, nearest first; among equals the more recent frame comes first.
  function rankFrames(S, f, options) {
    const first = options.sink ? 1 : 0;
    return range(0, f).map((t) => {
      const last = options.causal ? t - 1 : f - 1;
      const frames = range(first, last + 1).filter(
        (s) => s !== t && S[t * f + s] < Infinity && Math.abs(s - t) <= options.reach);
      return frames.sort((a, b) => S[t * f + a] - S[t * f + b] || b - a);
    });
  }

  // The frame table: for each frame its K nearest candidates, then those of the window that are not among them.
  function frameTable(ranked, options) {
    const f = ranked.length, first = options.sink ? 1 : 0;
    return ranked.map((frames, t) => {
      const row = range(0, options.top_k).map((i) => (i < frames.length ? frames[i] : -1));
      for (let back = 1; back <= options.window; back++) {
        for (const s of options.causal ? [t - back] : [t - back, t + back]) {
          row.push(s >= first && s < f && !row.includes(s) ? s : -1);
        }
      }
      return row;
    });
  }

  function shoulderWidth(poses) {
    for (let t = 0; t < poses.frames; t++) {
      const a = t * POINTS + LEFT_SHOULDER, b = t * POINTS + RIGHT_SHOULDER;
      if (poses.confidence[a] > 0 && poses.confidence[b] > 0) {
        return Math.max(Math.hypot(poses.xy[2 * a] - poses.xy[2 * b], poses.xy[2 * a + 1] - poses.xy[2 * b + 1]), 0.05);
      }
    }
    return USUAL_SHOULDERS;
  }

  // One frame's coordinates and confidences, in which a hip that is not seen stands square below its shoulder.
  function withHips(poses, t, scale) {
    const xy = Float64Array.from(poses.xy.subarray(2 * t * POINTS, 2 * (t + 1) * POINTS));
    const confidence = Float64Array.from(poses.confidence.subarray(t * POINTS, (t + 1) * POINTS));
    let ax = xy[2 * LEFT_SHOULDER] - xy[2 * RIGHT_SHOULDER], ay = xy[2 * LEFT_SHOULDER + 1] - xy[2 * RIGHT_SHOULDER + 1];
    const length = Math.max(Math.hypot(ax, ay), 1e-6);
    ax /= length; ay /= length;
    const sign = ax < 0 ? -1 : 1; // down is (-ay, ax), turned so that it points down the picture
    const both = Math.min(confidence[LEFT_SHOULDER], confidence[RIGHT_SHOULDER]);
    for (const [shoulder, hip] of [[LEFT_SHOULDER, LEFT_HIP], [RIGHT_SHOULDER, RIGHT_HIP]]) {
      if (confidence[hip] > 0) continue;
      xy[2 * hip] = xy[2 * shoulder] - sign * ay * TORSO * scale;
      xy[2 * hip + 1] = xy[2 * shoulder + 1] + sign * ax * TORSO * scale;
      confidence[hip] = both;
    }
    return { xy, confidence };
  }

  const countSeen = (part, pose) => part.points.reduce((n, i) => n + (pose.confidence[i] > 0 ? 1 : 0), 0);

  // What the region labels of every frame share: the scale and, for mls, each part's shape in the first frame that
  // shows it (with that frame's number).
  function regionReference(poses, method) {
    const scale = shoulderWidth(poses);
    const shapes = PARTS.map((part) => {
      if (method !== "mls") return null;
      for (let t = 0; t < poses.frames; t++) {
        const pose = withHips(poses, t, scale);
        if (countSeen(part, pose) >= part.fewest) return { ...pose, frame: t };
      }
      return null;
    });
    return { scale, shapes, method };
  }

  // How far inside a part each token of a frame lies (negative: outside), Float64Array [n] in image units; null where
  // the part is absent. Rigid moving least squares (Schaefer et al. 2006, alpha = 1) carries tokens to the shape.
  function partMargin(part, shape, pose, grid, reference) {
    const { rows, cols } = grid, n = rows * cols;
    const reach = part.radius * reference.scale + 0.5 * Math.max(1 / rows, 1 / cols);
    const moves = reference.method === "mls";
    if (moves && !shape) return null;
    const target = moves ? shape : pose, index = part.points, P = index.length;
    const weight = index.map((i) => pose.confidence[i] * (moves ? shape.confidence[i] : 1));
    if (weight.reduce((c, w) => c + (w > 0 ? 1 : 0), 0) < part.fewest) return null;
    let total = 0, sx = 0, sy = 0, tx = 0, ty = 0;
    for (let i = 0; i < P; i++) {
      total += weight[i];
      sx += weight[i] * pose.xy[2 * index[i]]; sy += weight[i] * pose.xy[2 * index[i] + 1];
      tx += weight[i] * target.xy[2 * index[i]]; ty += weight[i] * target.xy[2 * index[i] + 1];
    }
    total = Math.max(total, 1e-12);
    sx /= total; sy /= total; tx /= total; ty /= total;
    const px = index.map((i) => pose.xy[2 * i] - sx), py = index.map((i) => pose.xy[2 * i + 1] - sy);
    const qx = index.map((i) => target.xy[2 * i] - tx), qy = index.map((i) => target.xy[2 * i + 1] - ty);
    const extent = new Float64Array(DIRECTIONS).fill(-Infinity);
    for (const i of index) {
      if (!(target.confidence[i] > 0)) continue;
      for (let d = 0; d < DIRECTIONS; d++) {
        extent[d] = Math.max(extent[d], COS[d] * target.xy[2 * i] + SIN[d] * target.xy[2 * i + 1]);
      }
    }
    const [ax, ay] = [target.xy[2 * index[0]], target.xy[2 * index[0] + 1]];
    const [bx, by] = [target.xy[2 * index[P - 1]] - ax, target.xy[2 * index[P - 1] + 1] - ay];
    const margin = new Float64Array(n);
    for (let token = 0; token < n; token++) {
      let x = ((token % cols) + 0.5) / cols, y = (Math.floor(token / cols) + 0.5) / rows;
      if (moves) {
        const vx = x - sx, vy = y - sy;
        let W = 0, mpx = 0, mpy = 0, mqx = 0, mqy = 0, re = 0, im = 0;
        for (let i = 0; i < P; i++) {
          const w = weight[i] / Math.max((vx - px[i]) ** 2 + (vy - py[i]) ** 2, CLOSE);
          W += w; mpx += w * px[i]; mpy += w * py[i]; mqx += w * qx[i]; mqy += w * qy[i];
          re += w * (px[i] * qx[i] + py[i] * qy[i]); im += w * (px[i] * qy[i] - py[i] * qx[i]);
        }
        W = Math.max(W, 1e-12);
        mpx /= W; mpy /= W; mqx /= W; mqy /= W;
        re = re / W - (mpx * mqx + mpy * mqy); im = im / W - (mpx * mqy - mpy * mqx);
        const length = Math.hypot(re, im), still = length < 1e-12; // one control point: no rotation
        const cos = still ? 1 : re / length, sin = still ? 0 : im / length;
        x = cos * (vx - mpx) - sin * (vy - mpy) + mqx + tx;
        y = sin * (vx - mpx) + cos * (vy - mpy) + mqy + ty;
      }
      let beyond = -Infinity;
      if (P === 2) { // a segment: the exact distance
        const share = Math.min(1, Math.max(0, ((x - ax) * bx + (y - ay) * by) / Math.max(bx * bx + by * by, 1e-12)));
        beyond = Math.hypot(x - ax - share * bx, y - ay - share * by);
      } else { // half planes that touch the hull
        for (let d = 0; d < DIRECTIONS; d++) beyond = Math.max(beyond, COS[d] * x + SIN[d] * y - extent[d]);
      }
      margin[token] = reach - beyond;
    }
    return margin;
  }

  // Region bits of one frame, Uint8Array [n]. `closest`, if given, takes each token's smallest |margin|.
  function frameBits(poses, t, grid, reference, closest = null) {
    const bits = new Uint8Array(grid.rows * grid.cols), pose = withHips(poses, t, reference.scale);
    PARTS.forEach((part, number) => {
      const margin = partMargin(part, reference.shapes[number], pose, grid, reference);
      if (!margin) return;
      for (let token = 0; token < bits.length; token++) {
        if (margin[token] >= 0) bits[token] |= 1 << part.region;
        if (closest) closest[token] = Math.min(closest[token], Math.abs(margin[token]));
      }
    });
    return bits;
  }

  function regionBits(poses, grid, method, closest = null) {
    const n = grid.rows * grid.cols, bits = new Uint8Array(poses.frames * n), reference = regionReference(poses, method);
    for (let t = 0; t < poses.frames; t++) {
      bits.set(frameBits(poses, t, grid, reference, closest && closest.subarray(t * n, (t + 1) * n)), t * n);
    }
    return bits;
  }

  // Order that makes each frame's region tokens contiguous, Int32Array [f * n]: by bits with the face counting most,
  // background last. `place` is its inverse.
  function permutation(bits, f, n) {
    const order = new Int32Array(f * n), place = new Int32Array(f * n);
    const rank = Array.from({ length: SIGNATURES }, (_, b) =>
      b === 0 ? SIGNATURES : [0, 1, 2, 3, 4].reduce((value, r) => value | (((b >> r) & 1) << (4 - r)), 0));
    for (let t = 0; t < f; t++) {
      const start = new Int32Array(SIGNATURES + 2);
      for (let i = 0; i < n; i++) start[rank[bits[t * n + i]] + 1] += 1;
      for (let r = 0; r <= SIGNATURES; r++) start[r + 1] += start[r];
      for (let i = 0; i < n; i++) {
        const at = t * n + start[rank[bits[t * n + i]]]++;
        order[at] = t * n + i; place[t * n + i] = at;
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
  function sharedPairs(counts, tq, tk) {
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

  // Everything about a mask. `bits` are those of all five regions; `options.regions` switches some of them off.
  function makePlan(poses, grid, options, bits, S = null) {
    const f = poses.frames, n = grid.rows * grid.cols;
    S = S || poseDistance(poses, options.align);
    const ranked = rankFrames(S, f, options), table = frameTable(ranked, options);
    const used = options.local ? bits.map((b) => b & options.regions) : new Uint8Array(f * n).fill(SIGNATURES - 1);
    const past = table.map((row) => [...new Set(row)].filter((s) => s >= 0 && !(options.sink && s === 0)).sort((a, b) => a - b));
    const identity = () => { const all = Int32Array.from({ length: f * n }, (_, i) => i); return { order: all, place: all }; };
    const { order, place } = options.permute ? permutation(used, f, n) : identity();
    const pooled = options.block > 1 ? pooledBits(used, order, f, n, options.block) : used;
    return {
      grid: { frames: f, rows: grid.rows, cols: grid.cols }, n, options: { ...options }, distance: S, ranked, table, past,
      bits: used, allBits: bits, order, place, pooled,
      counts: signatureCounts(used, f, n), pooledCounts: signatureCounts(pooled, f, n),
    };
  }

  const hasSink = (plan, t) => plan.options.sink && t !== 0 && (!plan.options.causal || t > 0);

  // Pairs kept: token by token, and in whole blocks; and in all.
  function countPairs(plan) {
    const { n } = plan, f = plan.grid.frames;
    let token = 0, block = 0;
    for (let t = 0; t < f; t++) {
      const whole = n * n * (hasSink(plan, t) ? 2 : 1);
      token += whole; block += whole;
      for (const s of plan.past[t]) {
        token += sharedPairs(plan.counts, t, s);
        block += sharedPairs(plan.pooledCounts, t, s);
      }
    }
    return { token, block, all: (f * n) ** 2 };
  }

  // Multiply-adds count as two operations. `model` has width, layers, mlp_ratio; the rest of a block is its
  // projections (4 width^2 a token) and its two-layer network (2 mlp_ratio width^2).
  function measure(plan, model) {
    const pairs = countPairs(plan), tokens = plan.n * plan.grid.frames;
    const computed = plan.options.mode === "pooled" ? pairs.block : pairs.token;
    const attention = (count) => 4 * count * model.width * model.layers;
    const rest = 2 * tokens * model.layers * (4 + 2 * model.mlp_ratio) * model.width ** 2;
    return {
      tokenDensity: pairs.token / pairs.all, blockDensity: pairs.block / pairs.all,
      wasted: pairs.block - pairs.token, wastedShare: (pairs.block - pairs.token) / pairs.block,
      tokenPairs: pairs.token, blockPairs: pairs.block, allPairs: pairs.all, tokens,
      flops: attention(computed), denseFlops: attention(pairs.all), restFlops: rest,
      speedup: pairs.all / computed,
      wholeSpeedup: (attention(pairs.all) + rest) / (attention(computed) + rest),
    };
  }

  // Texts: English in this file; `setWords` gives the page another language's, {name} stands for a value.
  let words = null;
  const setWords = (given) => { words = given; };
  const say = (text, values = {}) => ((words && words[text]) || text).replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
  const decimal = (x, digits) => (words ? x.toFixed(digits).replace(".", ",") : x.toFixed(digits));
  const count = (x) => Math.round(x).toLocaleString(words ? "de" : "en");

  const lowestBit = (bits) => 31 - Math.clz32(bits & -bits);

  // The reason for a past key that shares those regions with its query.
  function pastReason(plan, tq, tk, shared) {
    if (plan.table[tq].indexOf(tk) >= plan.options.top_k) return REASON.window;
    return plan.options.local ? REASON.chosen + lowestBit(shared) : REASON.whole;
  }

  // Why token i of frame tq sees token j of frame tk, as a REASON (+ the region of a chosen frame).
  function reasonOf(plan, tq, i, tk, j) {
    const { n, options } = plan;
    if (tq === tk) return REASON.own;
    if (tk === 0 && hasSink(plan, tq)) return REASON.sink;
    if (!plan.past[tq].includes(tk)) return REASON.none;
    const shared = plan.bits[tq * n + i] & plan.bits[tk * n + j];
    if (shared) return pastReason(plan, tq, tk, shared);
    if (options.mode === "pooled" && plan.pooled[tq * n + i] & plan.pooled[tk * n + j]) return REASON.block;
    return REASON.none;
  }

  // Reasons of a whole row of the mask: Uint8Array [f * n], sequence order.
  function rowReasons(plan, tq, i) {
    const { n, options } = plan, row = new Uint8Array(plan.grid.frames * n);
    row.fill(REASON.own, tq * n, (tq + 1) * n);
    if (hasSink(plan, tq)) row.fill(REASON.sink, 0, n);
    const mine = plan.bits[tq * n + i], block = options.mode === "pooled" ? plan.pooled[tq * n + i] : 0;
    for (const tk of plan.past[tq]) {
      for (let at = tk * n; at < (tk + 1) * n; at++) {
        const shared = mine & plan.bits[at];
        if (shared) row[at] = pastReason(plan, tq, tk, shared);
        else if (block & plan.pooled[at]) row[at] = REASON.block;
      }
    }
    return row;
  }

  const listed = (items) => (items.length < 2 ? items.join("") : `${items.slice(0, -1).join(", ")} ${say("and")} ${items[items.length - 1]}`);
  const namesOf = (bits) => REGIONS.filter((_, r) => (bits >> r) & 1).map((name) => say(name));
  const shownPart = (bits) => (bits ? say("the {parts}", { parts: listed(namesOf(bits)) }) : say("background"));
  const ordinal = (i) => {
    if (words) return `${i}.`;
    const teen = i % 100 > 10 && i % 100 < 14;
    return i + (teen ? "th" : ["th", "st", "nd", "rd"][i % 10] || "th");
  };
  const figure = (x) => (x === Infinity ? "∞" : decimal(x, x < 0.1 ? 3 : 2));

  // A sentence that says why a patch does or does not see another one.
  function explain(plan, tq, i, tk, j) {
    const { n, options, distance } = plan, f = plan.grid.frames;
    const reason = reasonOf(plan, tq, i, tk, j), mine = plan.bits[tq * n + i], other = plan.bits[tk * n + j];
    if (reason === REASON.own) return say("Visible: a frame sees all of itself (frame {tq}).", { tq });
    if (reason === REASON.sink) return say("Visible: frame 0 is the sink, the reference that every frame sees whole.");
    if (options.causal && tk > tq) return say("Hidden: frame {tk} lies in the future of frame {tq}; attention is causal.", { tk, tq });
    const S = figure(distance[tq * f + tk]), rank = plan.ranked[tq].indexOf(tk), limit = plan.ranked[tq][options.top_k - 1];
    const among = options.causal ? say("past frames") : say("frames");
    if (plan.past[tq].includes(tk)) {
      const chosen = plan.table[tq].indexOf(tk) < options.top_k, given = { tk, tq, among, S, rank: ordinal(rank + 1) };
      const why = !chosen ? say("frame {tk} lies in the window next to frame {tq}", given)
        : rank ? say("frame {tk} is the {rank} most similar of frame {tq}'s {among} (distance {S})", given)
          : say("frame {tk} is the most similar of frame {tq}'s {among} (distance {S})", given);
      if (!options.local) return say("Visible: {why}, and without the local mask it is seen whole.", { why });
      if (mine & other) return say("Visible: {why}, and both patches show {what}.", { why, what: shownPart(mine & other) });
      const apart = !mine && !other ? say("both patches are background, which sees its own frame only")
        : !mine ? say("the query patch is background, which sees its own frame only")
          : !other ? say("the key patch is background, which sees its own frame only")
            : say("the patches share no region: {here} here, {there} there", { here: shownPart(mine), there: shownPart(other) });
      if (reason === REASON.block) return say("Computed but not needed: {apart}; yet their {b} × {b} block holds a pair that is.", { apart, b: options.block });
      return say("Hidden: {why}, but {apart}.", { why, apart });
    }
    if (distance[tq * f + tk] === Infinity) return say("Hidden: frames {tq} and {tk} share fewer than two seen keypoints, so their distance is infinite.", { tq, tk });
    if (rank < 0) return say("Hidden: frame {tk} is {far} frames away; only {reach} are searched.", { tk, far: Math.abs(tq - tk), reach: options.reach });
    if (!options.top_k) return say("Hidden: K is 0, so no frame is chosen by its pose (distance {S}).", { S });
    const most = figure(distance[tq * f + limit]), given = { tk, tq, among, S, most, K: options.top_k, sign: S === most ? "≥" : ">" };
    return options.top_k === 1
      ? say("Hidden: frame {tk} is not the most similar of the {among} of frame {tq}: distance {S} {sign} {most}.", given)
      : say("Hidden: frame {tk} is not among the {K} most similar {among} of frame {tq}: distance {S} {sign} {most}.", given);
  }

  // Mean keys that a query of frame t sees, by reason: Float64Array [REASONS].
  function keysByReason(plan, t) {
    const { n } = plan, found = new Float64Array(REASONS);
    found[REASON.own] = n;
    if (hasSink(plan, t)) found[REASON.sink] = n;
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
  function comparePlans(a, b) {
    const { n } = a, f = a.grid.frames;
    const bitsOf = (plan) => (plan.options.mode === "pooled" ? plan.pooled : plan.bits);
    const computed = (plan) => { const { token, block } = countPairs(plan); return plan.options.mode === "pooled" ? block : token; };
    const combined = range(0, f).map((t) => {
      const counts = new Map();
      for (let at = t * n; at < (t + 1) * n; at++) {
        const key = bitsOf(a)[at] * SIGNATURES + bitsOf(b)[at];
        counts.set(key, (counts.get(key) || 0) + 1);
      }
      return [...counts];
    });
    const rule = (plan, tq, tk) => (tq === tk || (tk === 0 && hasSink(plan, tq)) ? 2 : plan.past[tq].includes(tk) ? 1 : 0);
    let both = 0;
    for (let tq = 0; tq < f; tq++) {
      for (let tk = 0; tk < f; tk++) {
        const ruleA = rule(a, tq, tk), ruleB = rule(b, tq, tk);
        if (!ruleA || !ruleB) continue;
        if (ruleA === 2 && ruleB === 2) { both += n * n; continue; }
        for (const [x, queries] of combined[tq]) {
          for (const [y, keys] of combined[tk]) {
            const shared = x & y;
            if ((ruleA === 2 || shared >> 5) && (ruleB === 2 || shared & 31)) both += queries * keys;
          }
        }
      }
    }
    return { both, onlyA: computed(a) - both, onlyB: computed(b) - both };
  }

  // How much of the attention recorded between two frames a mask keeps, by what the patches had in common then.
  // attention: bits [f * n] of the recorded run and its `signatures`, the sets of common regions. The mask may have other
  // bits by now (pose, shapes, blocks): pairs of one signature then count evenly. For each past frame that a frame sees,
  // under q * f + k: Float64Array of a share of 0..1 for each signature.
  function keptShares(plan, attention) {
    const { n } = plan, f = plan.grid.frames, now = plan.options.mode === "pooled" ? plan.pooled : plan.bits;
    const all = plan.options.local ? plan.options.regions : SIGNATURES - 1;
    const joint = range(0, f).map((t) => {
      const counts = new Map();
      for (let at = t * n; at < (t + 1) * n; at++) {
        const key = attention.bits[at] * SIGNATURES + now[at];
        counts.set(key, (counts.get(key) || 0) + 1);
      }
      return [...counts].map(([key, many]) => [key >> 5, key & 31, many]);
    });
    const shares = new Map();
    plan.past.forEach((seen, q) => seen.forEach((k) => {
      const pairs = new Float64Array(SIGNATURES), kept = new Float64Array(SIGNATURES);
      for (const [oldQ, newQ, queries] of joint[q]) for (const [oldK, newK, keys] of joint[k]) {
        pairs[oldQ & oldK] += queries * keys;
        if (newQ & newK) kept[oldQ & oldK] += queries * keys;
      }
      shares.set(q * f + k, Float64Array.from(attention.signatures, (s) => (pairs[s] ? kept[s] / pairs[s] : s & all ? 1 : 0)));
    }));
    return shares;
  }

  // Attention from frame q to frame k that the mask keeps. mass: [layers * heads * f * f] of 0..1; meets: the same by
  // signature, [layers * heads * f * f * signatures].
  function keptMass(plan, attention, shares, layer, head, q, k) {
    const f = plan.grid.frames, at = ((layer * attention.heads + head) * f + q) * f + k, S = attention.signatures.length;
    if (q === k || (k === 0 && hasSink(plan, q))) return attention.mass[at];
    const share = shares.get(q * f + k);
    let sum = 0;
    if (share) for (let s = 0; s < S; s++) sum += attention.meets[at * S + s] * share[s];
    return sum;
  }

  // The share of a layer's head's attention that the mask keeps, for one query frame or (t < 0) all but the first.
  function recall(plan, attention, shares, layer, head, t = -1) {
    const f = plan.grid.frames;
    let sum = 0, all = 0;
    for (const q of t < 0 ? range(1, f) : [t]) for (let k = 0; k < f; k++) {
      all += attention.mass[((layer * attention.heads + head) * f + q) * f + k];
      sum += keptMass(plan, attention, shares, layer, head, q, k);
    }
    return all ? Math.min(1, sum / all) : 1;
  }

  // Whether the recall is exact: the mask's regions are those of the recorded run, pair by pair.
  const isExact = (plan, attention) => plan.options.mode === "exact" && (!plan.options.local || plan.allBits.every((b, at) => b === attention.bits[at]));

  const FLAGS = { sink: "s", local: "l", causal: "c", align: "a", permute: "p" };

  // Settings as a short text for the URL, and back; values out of range are left out.
  function writeSettings(options) {
    const words = [`k=${options.top_k}`, `w=${options.window}`, `b=${options.block}`, `r=${options.regions}`,
      `m=${options.method}`, `x=${options.mode}`];
    for (const [name, letter] of Object.entries(FLAGS)) words.push(`${letter}=${options[name] ? 1 : 0}`);
    return words.join("&");
  }

  function readSettings(text, start) {
    const given = new URLSearchParams(text), options = { ...start };
    const number = (key, most) => { const v = Number(given.get(key)); return given.get(key) && Number.isInteger(v) && v >= 0 && v <= most ? v : null; };
    const take = (name, value) => { if (value !== null) options[name] = value; };
    take("top_k", number("k", 64)); take("window", number("w", 16)); take("regions", number("r", 31));
    if (BLOCKS.includes(number("b", 128))) take("block", number("b", 128));
    if (["mls", "hull"].includes(given.get("m"))) take("method", given.get("m"));
    if (["exact", "pooled"].includes(given.get("x"))) take("mode", given.get("x"));
    for (const [name, letter] of Object.entries(FLAGS)) { const v = number(letter, 1); if (v !== null) options[name] = v === 1; }
    return options;
  }

  // Bytes <-> base64.
  function decode(text, Kind) {
    const raw = atob(text), bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    return new Kind(bytes.buffer);
  }
  function encode(array) {
    const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
    let raw = "";
    for (let i = 0; i < bytes.length; i += 4096) raw += String.fromCharCode(...bytes.subarray(i, i + 4096));
    return btoa(raw);
  }

  // The plan as iasa.masks.AttentionPlan.from_json reads it (a causal one; the last entry is the explorer's own).
  function toJson(plan) {
    const o = plan.options;
    return JSON.stringify({
      kind: "iasa attention plan", version: 1, grid: plan.grid,
      options: { top_k: o.top_k, window: o.window, sink: o.sink, local: o.local, method: o.method, block: o.block, mode: o.mode, reach: o.reach },
      regions: REGIONS, frame_table: plan.table, region_bits: encode(plan.bits),
      distance: encode(Float32Array.from(plan.distance)),
      explorer: { causal: o.causal, align: o.align, permute: o.permute, regions: o.regions },
    });
  }

  // A plan of a JSON file, for comparing. Throws an Error in plain words.
  function fromJson(text, grid, permute) {
    let data;
    try { data = JSON.parse(text); } catch { throw new Error(say("The file is not JSON.")); }
    if (!data || data.kind !== "iasa attention plan" || data.version !== 1) throw new Error(say("The file is not an attention plan."));
    const g = data.grid || {}, f = grid.frames, n = grid.rows * grid.cols;
    if (g.frames !== f || g.rows !== grid.rows || g.cols !== grid.cols) {
      throw new Error(say("Its grid is {its}; {ours} is shown here.", { its: `${g.frames} × ${g.rows} × ${g.cols}`, ours: `${f} × ${grid.rows} × ${grid.cols}` }));
    }
    const bits = decode(String(data.region_bits), Uint8Array);
    const table = data.frame_table, options = { ...DEFAULTS, permute, ...data.options, ...data.explorer };
    const good = bits.length === f * n && bits.every((b) => b < SIGNATURES) && Array.isArray(table) && table.length === f
      && table.every((row) => Array.isArray(row) && row.every((s) => Number.isInteger(s) && s >= -1 && s < f)) && options.block >= 1;
    if (!good) throw new Error(say("The plan's frame table or region bits are damaged."));
    const distance = data.distance ? Float64Array.from(decode(String(data.distance), Float32Array)) : new Float64Array(f * f);
    const plan = makePlan({ frames: f }, grid, options, bits, distance);
    plan.table = table;
    plan.past = table.map((row) => [...new Set(row)].filter((s) => s >= 0 && !(options.sink && s === 0)).sort((a, b) => a - b));
    return plan;
  }

  return {
    POINTS, REGIONS, SIGNATURES, BLOCKS, DEFAULTS, REASON, REASONS, UPPER_BODY, PARTS, LEFT_HAND, RIGHT_HAND, FACE,
    poseDistance, rankFrames, frameTable, regionReference, frameBits, regionBits, permutation, pooledBits, makePlan,
    countPairs, measure, reasonOf, rowReasons, explain, keysByReason, comparePlans, keptShares, keptMass, recall, isExact, hasSink, lowestBit, figure,
    writeSettings, readSettings, decode, encode, toJson, fromJson, namesOf, listed, ordinal, setWords, say, decimal, count,
  };
})();

// ---------------------------------------------------------------------------------------------------------------
// Part 2: the page
// ---------------------------------------------------------------------------------------------------------------
function mountExplorer(data) {
  const M = IasaMask, { REASON, REGIONS, POINTS, say, decimal, count } = M;
  const started = performance.now();
  const asked = new URLSearchParams(location.hash.slice(1)).get("lang");
  const german = String(asked || data.language || navigator.language).toLowerCase().startsWith("de");
  M.setWords(german ? data.words : null);
  const byId = (id) => document.getElementById(id);
  const clamp = (x, low, high) => Math.min(high, Math.max(low, x));

  // Okabe and Ito's palette, which colour-blind readers tell apart.
  const REGION_COLOURS = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#cc79a7"];
  const OWN = "#0072b2", WINDOW = "#d55e00", WHOLE = "#882255", MARK = "#ffffff";
  const MAP = [[0, 32, 77], [64, 77, 107], [124, 123, 120], [188, 175, 111], [255, 234, 70]]; // cividis, near to far
  const PLATE = "#171c25", BONE = "#aab4c2";

  const grid = data.plan.grid, f = grid.frames, n = grid.rows * grid.cols;
  const poses = { frames: f, xy: M.decode(data.xy, Float32Array), confidence: M.decode(data.confidence, Float32Array) };
  const original = { xy: poses.xy.slice() };
  const start = { ...M.DEFAULTS, ...data.plan.options };
  const state = {
    options: { ...start }, query: { t: f - 1, i: 0 }, key: null, pinned: false, keyPinned: false, playing: null, view: "matrix",
    lit: "patch", handle: -1, dragging: null, theme: "", second: "global", loaded: null, layer: -1, head: -1,
    zoom: { x: 0, y: 0, scale: 1 }, hover: null, edited: new Set(),
  };
  const timings = { load: 0, hover: [], rebuild: [] };

  // ---- the mask, and what follows a change of pose or option ----
  let bits = start.local ? M.decode(data.plan.region_bits, Uint8Array) : M.regionBits(poses, grid, start.method);
  let distance = M.poseDistance(poses, start.align), plan = null, measured = null, dirty = new Set();

  function rebuild() {
    const before = performance.now();
    plan = M.makePlan(poses, grid, state.options, bits, distance);
    measured = M.measure(plan, data.model);
    matrixImage = null;
    timings.rebuild.push(performance.now() - before);
  }

  function setOption(name, value) {
    const old = state.options;
    state.options = { ...old, [name]: value };
    if (name === "method") bits = M.regionBits(poses, grid, value);
    if (name === "align") distance = M.poseDistance(poses, value);
    rebuild(); showControls(); drawAll(); remember();
  }

  // A pose was dragged: its row of S at once, its regions at once, other frames' regions (they hang on the reference
  // pose) in slices, so that the page follows the hand.
  function poseChanged(t) {
    state.edited.add(t);
    bases.delete(t);
    distance = M.poseDistance(poses, state.options.align, distance, t);
    const reference = M.regionReference(poses, state.options.method);
    const widthFrom = Array.from({ length: f }, (_, s) => s).find((s) => poses.confidence[s * POINTS + 5] > 0 && poses.confidence[s * POINTS + 6] > 0);
    dirty.add(t);
    if (t === widthFrom || reference.shapes.some((shape) => shape && shape.frame === t)) for (let s = 0; s < f; s++) dirty.add(s);
    if (!state.slice) state.slice = requestAnimationFrame(() => relabel(t));
  }

  function relabel(first) {
    state.slice = 0;
    const reference = M.regionReference(poses, state.options.method), until = performance.now() + 10;
    bits = bits.slice();
    for (const t of [first, ...dirty]) {
      if (!dirty.delete(t)) continue;
      bits.set(M.frameBits(poses, t, grid, reference), t * n);
      if (performance.now() > until) break;
    }
    rebuild(); drawAll();
    if (dirty.size) state.slice = requestAnimationFrame(() => relabel(first));
  }

  // ---- colours ----
  let ink = {};
  function readTheme() {
    const wanted = state.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    document.documentElement.dataset.theme = wanted;
    const css = getComputedStyle(document.documentElement), get = (name) => css.getPropertyValue(name).trim();
    ink = { text: get("--ink"), soft: get("--soft"), line: get("--line"), well: get("--well"), paper: get("--paper"),
      sink: get("--sink"), waste: get("--waste"), accent: get("--accent"), card: get("--card") };
    matrixImage = null;
  }
  const toRgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  function reasonColour(reason) {
    if (reason === REASON.own) return OWN;
    if (reason === REASON.sink) return ink.sink;
    if (reason === REASON.window) return WINDOW;
    if (reason === REASON.whole) return WHOLE;
    if (reason === REASON.block) return ink.waste;
    return REGION_COLOURS[reason - REASON.chosen] || "transparent";
  }
  const palette = () => Array.from({ length: M.REASONS }, (_, r) => (r ? toRgb(reasonColour(r)) : [0, 0, 0]));
  const mapColour = (share) => {
    const at = clamp(share, 0, 1) * (MAP.length - 1), i = Math.min(MAP.length - 2, Math.floor(at));
    return MAP[i].map((v, c) => Math.round(v + (at - i) * (MAP[i + 1][c] - v)));
  };

  // ---- canvases ----
  function fit(canvas, width, height) {
    const ratio = window.devicePixelRatio || 1, w = Math.round(width * ratio), h = Math.round(height * ratio);
    if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
    canvas.style.width = `${width}px`; canvas.style.height = `${height}px`;
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    return pen;
  }
  function makeCanvas(id, label, parent) {
    const canvas = document.createElement("canvas");
    canvas.id = id;
    if (label) { canvas.setAttribute("role", "img"); canvas.setAttribute("aria-label", label); } else canvas.setAttribute("aria-hidden", "true");
    parent.append(canvas);
    return canvas;
  }
  const small = document.createElement("canvas");
  small.width = grid.cols; small.height = grid.rows;
  const smallPen = small.getContext("2d", { willReadFrequently: true });
  const cells = smallPen.createImageData(grid.cols, grid.rows);

  // ---- a frame: its picture or its skeleton, then what lights up on it ----
  const FACE_LINES = [[0, 17], [17, 22], [22, 27], [27, 31], [31, 36], [36, 42, 1], [42, 48, 1], [48, 60, 1], [60, 68, 1]];
  const BODY_BONES = [[5, 6], [5, 7], [7, 9], [6, 8], [8, 10], [5, 11], [6, 12], [11, 12], [0, 1], [0, 2], [1, 3], [2, 4]];
  const FINGERS = [1, 5, 9, 13, 17].flatMap((a) => [[0, a], [a, a + 1], [a + 1, a + 2], [a + 2, a + 3]]);

  function drawSkeleton(pen, t, size) {
    const at = (i) => [poses.xy[2 * (t * POINTS + i)] * size, poses.xy[2 * (t * POINTS + i) + 1] * size];
    const seen = (i) => poses.confidence[t * POINTS + i] > 0.2;
    const stroke = (bones, colour, width) => {
      pen.beginPath();
      for (const [a, b] of bones) if (seen(a) && seen(b)) { pen.moveTo(...at(a)); pen.lineTo(...at(b)); }
      pen.strokeStyle = colour; pen.lineWidth = width; pen.lineCap = "round"; pen.stroke();
    };
    stroke(BODY_BONES, BONE, Math.max(2, size / 70));
    const face = FACE_LINES.flatMap(([a, b, closed]) => {
      const ring = Array.from({ length: b - a }, (_, i) => M.FACE + a + i);
      return ring.map((p, i) => [p, ring[(i + 1) % ring.length]]).slice(0, closed ? ring.length : -1);
    });
    stroke(face, "#dfe5ec", Math.max(1, size / 190));
    for (const hand of [M.LEFT_HAND, M.RIGHT_HAND]) stroke(FINGERS.map(([a, b]) => [hand + a, hand + b]), "#cfd8e2", Math.max(1.1, size / 140));
  }

  const images = [], bases = new Map();
  function drawBase(pen, t, size) {
    pen.fillStyle = PLATE;
    pen.fillRect(0, 0, size, size);
    const image = images[t];
    if (image && image.complete && image.naturalWidth) pen.drawImage(image, 0, 0, size, size);
    if (image && !state.edited.has(t)) return;
    if (image) { pen.fillStyle = "rgb(10 14 20 / 62%)"; pen.fillRect(0, 0, size, size); }
    drawSkeleton(pen, t, size);
  }
  function base(t, size) {
    const ratio = window.devicePixelRatio || 1, known = bases.get(t);
    if (known && known.size === size && known.ratio === ratio) return known.canvas;
    const canvas = known ? known.canvas : document.createElement("canvas");
    canvas.width = canvas.height = Math.round(size * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    drawBase(pen, t, size);
    bases.delete(t);
    bases.set(t, { canvas, size, ratio });
    if (bases.size > 200) bases.delete(bases.keys().next().value);
    return canvas;
  }

  function paintCells(pen, x, y, size, colourOf) {
    let any = false;
    for (let i = 0; i < n; i++) {
      const [r, g, b, a] = colourOf(i);
      cells.data[4 * i] = r; cells.data[4 * i + 1] = g; cells.data[4 * i + 2] = b; cells.data[4 * i + 3] = a;
      any = any || a > 0;
    }
    if (!any) return;
    smallPen.putImageData(cells, 0, 0);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(small, x, y, size, size);
    pen.imageSmoothingEnabled = true;
    if (size / Math.max(grid.rows, grid.cols) < 4) return;
    pen.beginPath();
    for (let c = 1; c < grid.cols; c++) { pen.moveTo(x + (c * size) / grid.cols, y); pen.lineTo(x + (c * size) / grid.cols, y + size); }
    for (let r = 1; r < grid.rows; r++) { pen.moveTo(x, y + (r * size) / grid.rows); pen.lineTo(x + size, y + (r * size) / grid.rows); }
    pen.strokeStyle = "rgb(8 12 18 / 30%)"; pen.lineWidth = 0.6; pen.stroke();
  }
  const CLEAR = [0, 0, 0, 0];
  function tint(t, alpha) {
    const colours = REGION_COLOURS.map((hex) => [...toRgb(hex), alpha]), whole = [...toRgb(WHOLE), alpha / 2];
    const shown = state.options.regions;
    return (i) => {
      const b = plan.allBits[t * n + i] & shown;
      return b ? colours[M.lowestBit(b)] : state.options.local ? CLEAR : whole;
    };
  }
  function outline(pen, x, y, size, i, colour) {
    const w = size / grid.cols, h = size / grid.rows, px = x + (i % grid.cols) * w, py = y + Math.floor(i / grid.cols) * h;
    const grow = Math.max(0, (7 - Math.min(w, h)) / 2);
    pen.lineWidth = 4; pen.strokeStyle = "#000"; pen.strokeRect(px - grow, py - grow, w + 2 * grow, h + 2 * grow);
    pen.lineWidth = 2; pen.strokeStyle = colour; pen.strokeRect(px - grow, py - grow, w + 2 * grow, h + 2 * grow);
  }

  // ---- the film strip ----
  const GAP = 9, LABEL = 20, SEEN = "rgb(8 12 18 / 30%)", UNSEEN = "rgb(8 12 18 / 58%)";
  const ALPHA = { [REASON.own]: 120, [REASON.sink]: 105, [REASON.block]: 120 };
  let strip = { size: 100, across: 1, width: 0, height: 0 };
  function layoutStrip() {
    const width = byId("scroller").clientWidth || 320, narrow = width < 500;
    const most = narrow ? 420 : Math.max(430, byId("frame").closest(".card").clientHeight - 66);
    let size = narrow ? 78 : 104;
    for (let s = narrow ? 176 : 300; s >= size; s -= 2) {
      const across = Math.floor((width - 8 + GAP) / (s + GAP)), down = Math.ceil(f / Math.max(1, across));
      if (across > 0 && down * (s + LABEL + GAP) + 6 <= most) { size = s; break; }
    }
    const across = Math.max(1, Math.floor((width - 8 + GAP) / (size + GAP))), down = Math.ceil(f / across);
    const total = down * (size + LABEL + GAP) + 6, height = Math.min(total, most);
    const gap = across > 1 ? clamp((width - 8 - across * size) / (across - 1), GAP, 24) : GAP; // spread over the width
    strip = { size, across, width, height, total, gap };
    byId("scroller").style.height = `${height}px`;
    byId("spacer").style.height = `${total}px`;
  }
  const stripPlace = (t) => [4 + (t % strip.across) * (strip.size + strip.gap), 4 + Math.floor(t / strip.across) * (strip.size + LABEL + GAP)];

  function badge(t, tq) {
    if (t === tq) return [say("looks"), OWN];
    if (t === 0 && M.hasSink(plan, tq)) return [say("sink"), ink.sink];
    if (!plan.past[tq].includes(t)) return null;
    const place = plan.table[tq].indexOf(t);
    const far = M.figure(distance[tq * f + t]);
    return place < state.options.top_k ? [`${M.ordinal(place + 1)} · ${far}`, "#c2185b"] : [say("window"), WINDOW];
  }

  function drawStrip() {
    const pen = fit(byId("strip"), strip.width, strip.height), { t: tq, i } = state.query;
    const scroll = byId("scroller").scrollTop, row = M.rowReasons(plan, tq, i);
    const colours = palette().map((rgb, r) => (r ? [...rgb, ALPHA[r] || 215] : CLEAR));
    pen.clearRect(0, 0, strip.width, strip.height);
    pen.save();
    pen.translate(0, -scroll);
    for (let t = 0; t < f; t++) {
      const [x, y] = stripPlace(t), S = strip.size;
      if (y + S + LABEL < scroll || y > scroll + strip.height) continue;
      pen.drawImage(base(t, S), x, y, S, S);
      const mark = badge(t, tq);
      if (state.lit === "regions") paintCells(pen, x, y, S, tint(t, 165));
      else {
        pen.fillStyle = mark ? SEEN : UNSEEN;
        pen.fillRect(x, y, S, S);
        paintCells(pen, x, y, S, (j) => colours[row[t * n + j]]);
      }
      if (mark) {
        pen.lineWidth = 3; pen.strokeStyle = mark[1];
        if (mark[1] === WINDOW) pen.setLineDash([6, 4]);
        pen.strokeRect(x - 1.5, y - 1.5, S + 3, S + 3);
        pen.setLineDash([]);
      }
      if (t === tq) outline(pen, x, y, S, i, MARK);
      if (state.key && state.key.t === t) outline(pen, x, y, S, state.key.i, "#ffd166");
      pen.font = "600 12px system-ui, sans-serif"; pen.textBaseline = "top";
      pen.textAlign = "left"; pen.fillStyle = mark ? ink.text : ink.soft; pen.fillText(String(t), x, y + S + 5);
      if (mark) {
        pen.font = "600 11px system-ui, sans-serif"; pen.textAlign = "right"; pen.fillStyle = ink.soft;
        pen.fillText(mark[0], x + S, y + S + 5);
      }
    }
    pen.restore();
  }
  function stripAt(event) {
    const box = byId("strip").getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top + byId("scroller").scrollTop;
    const across = Math.floor((x - 4) / (strip.size + strip.gap)), down = Math.floor((y - 4) / (strip.size + LABEL + GAP));
    const t = down * strip.across + across, [px, py] = stripPlace(t);
    if (across < 0 || across >= strip.across || down < 0 || t >= f) return null;
    return patchAt(t, (x - px) / strip.size, (y - py) / strip.size);
  }
  function patchAt(t, x, y) {
    if (x < 0 || y < 0 || x >= 1 || y >= 1) return null;
    return { t, i: Math.floor(y * grid.rows) * grid.cols + Math.floor(x * grid.cols) };
  }

  // ---- the frame that looks: its regions and the keypoints to drag ----
  const HANDLES = [0, 5, 6, 7, 8, 9, 10, ...[4, 8, 12, 16, 20].flatMap((tip) => [M.LEFT_HAND + tip, M.RIGHT_HAND + tip])];
  const HANDLE_NAMES = { 0: "head", 5: "left shoulder", 6: "right shoulder", 7: "left elbow", 8: "right elbow", 9: "left hand", 10: "right hand" };
  const FINGER_NAMES = { 4: "thumb", 8: "forefinger", 12: "middle finger", 16: "ring finger", 20: "little finger" };
  const handleName = (p) => (HANDLE_NAMES[p] ? say(HANDLE_NAMES[p]) : p >= M.RIGHT_HAND
    ? say("right {finger}", { finger: say(FINGER_NAMES[p - M.RIGHT_HAND]) }) : say("left {finger}", { finger: say(FINGER_NAMES[p - M.LEFT_HAND]) }));
  // What goes along: the head takes the face, a wrist its hand.
  function followers(p) {
    const run = (a, b) => Array.from({ length: b - a }, (_, i) => a + i);
    if (p === 0) return [0, 1, 2, 3, 4, ...run(M.FACE, M.FACE + 68)];
    if (p === 9) return [9, ...run(M.LEFT_HAND, M.LEFT_HAND + 21)];
    if (p === 10) return [10, ...run(M.RIGHT_HAND, M.RIGHT_HAND + 21)];
    return [p];
  }
  function drawFrame() {
    const canvas = byId("frame"), size = canvas.clientWidth || 360, pen = fit(canvas, size, size), t = state.query.t;
    canvas.style.width = canvas.style.height = "";
    drawBase(pen, t, size);
    paintCells(pen, 0, 0, size, tint(t, 96));
    for (const p of HANDLES) {
      const at = t * POINTS + p;
      if (!(poses.confidence[at] > 0)) continue;
      const x = poses.xy[2 * at] * size, y = poses.xy[2 * at + 1] * size, big = p < 23;
      pen.beginPath(); pen.arc(x, y, big ? 6 : 3.2, 0, 7);
      pen.fillStyle = HANDLES[state.handle] === p ? "#ffd166" : "#ffffff"; pen.fill();
      pen.lineWidth = 2; pen.strokeStyle = "#10151d"; pen.stroke();
    }
    outline(pen, 0, 0, size, state.query.i, MARK);
    if (state.key && state.key.t === t) outline(pen, 0, 0, size, state.key.i, "#ffd166");
    byId("frame-title").textContent = t === 0 && state.options.sink ? say("Frame {t} of {last}, the sink", { t, last: f - 1 }) : say("Frame {t} of {last}", { t, last: f - 1 });
    byId("scrub").value = t;
    byId("reset-pose").hidden = !state.edited.size;
  }
  function handleAt(event, reach) {
    const box = byId("frame").getBoundingClientRect(), t = state.query.t;
    let best = -1, least = reach;
    HANDLES.forEach((p, number) => {
      const at = t * POINTS + p;
      if (!(poses.confidence[at] > 0)) return;
      const far = Math.hypot(event.clientX - box.left - poses.xy[2 * at] * box.width, event.clientY - box.top - poses.xy[2 * at + 1] * box.height);
      if (far < (p < 23 ? least : least * 0.6)) { best = number; least = far; }
    });
    return best;
  }
  function moveHandle(number, dx, dy) {
    const t = state.query.t;
    for (const p of followers(HANDLES[number])) {
      poses.xy[2 * (t * POINTS + p)] += dx; poses.xy[2 * (t * POINTS + p) + 1] += dy;
    }
    poseChanged(t);
    drawFrame();
  }

  // ---- the sentence ----
  function showSentence(aloud = false) {
    const { query, key } = state, mine = plan.bits[query.t * n + query.i];
    let text, colour;
    if (key) {
      text = M.explain(plan, query.t, query.i, key.t, key.i);
      colour = reasonColour(M.reasonOf(plan, query.t, query.i, key.t, key.i));
    } else {
      const row = M.rowReasons(plan, query.t, query.i);
      let keys = 0;
      for (const r of row) keys += r > 0;
      const parts = !state.options.local ? say("a patch") : mine ? say("a patch of the {parts}", { parts: M.listed(M.namesOf(mine)) }) : say("a background patch");
      const many = plan.past[query.t].length, where = [say("its own frame")];
      if (M.hasSink(plan, query.t)) where.push(say("the sink"));
      if (mine && many) where.push(state.options.causal ? (many === 1 ? say("1 past frame") : say("{many} past frames", { many })) : many === 1 ? say("1 other frame") : say("{many} other frames", { many }));
      text = say("Frame {t}, {parts}: sees {keys} of {all} patches, in {where}.", { t: query.t, parts, keys: count(keys), all: count(f * n), where: M.listed(where) });
      if (state.pinned) text += ` ${say("Now point at a second patch.")}`;
      colour = mine && state.options.local ? REGION_COLOURS[M.lowestBit(mine)] : "transparent";
    }
    byId("sentence").textContent = text;
    byId("dot").style.background = colour;
    byId("release").hidden = !state.pinned;
    if (aloud) byId("announce").textContent = text;
  }

  // ---- figures ----
  const percent = (share) => `${decimal(100 * share, share < 0.0995 ? 2 : 1)} %`;
  const times = (x) => `${decimal(x, x < 9.95 ? 2 : 1)}×`;
  const flops = (x) => (x >= 1e12 ? `${decimal(x / 1e12, 2)} T` : x >= 1e9 ? `${decimal(x / 1e9, 2)} G` : `${decimal(x / 1e6, 1)} M`);
  function nearestBench() {
    const kept = state.options.mode === "pooled" ? measured.blockDensity : measured.tokenDensity;
    const far = (row) => Math.abs(Math.log(row.tokens / measured.tokens)) + Math.abs(Math.log(row.density / kept));
    return (data.bench || []).slice().sort((a, b) => far(a) - far(b))[0];
  }
  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key === "class") made.className = value; else if (key in made && key !== "list") made[key] = value; else made.setAttribute(key, value);
    }
    made.append(...children);
    return made;
  }
  function showTiles() {
    const bench = nearestBench(), pooled = state.options.mode === "pooled";
    const tiles = [
      [say("Token density"), percent(measured.tokenDensity), say("{some} of {all} pairs", { some: count(measured.tokenPairs), all: count(measured.allPairs) }), measured.tokenDensity],
      [say("Block density"), percent(measured.blockDensity), say(state.options.permute ? "in {b} × {b} blocks, reordered" : "in {b} × {b} blocks, picture order", { b: state.options.block }), measured.blockDensity],
      [say("Computed, not needed"), percent(measured.wastedShare), say("{some} pairs of the kept blocks", { some: count(measured.wasted) }), measured.wastedShare],
      [say("Attention"), `${flops(measured.flops)}FLOP`, say("dense {dense}FLOP; {layers} layers, width {width}", { dense: flops(measured.denseFlops), layers: data.model.layers, width: data.model.width })],
      [say("Predicted speed-up"), times(measured.speedup), say(pooled ? "of attention by blocks; whole network {whole}" : "of attention by pairs; whole network {whole}", { whole: times(measured.wholeSpeedup) })],
      bench
        ? [say("Measured speed-up"), times(bench.speedup), say("nearest: {tokens} tokens at {density}, {how}", { tokens: count(bench.tokens), density: percent(bench.density), how: `${bench.method}; ${bench.device}, ${bench.date}` })]
        : [say("Measured speed-up"), say("not measured"), say("no benchmark is bundled with this page")],
    ];
    byId("tiles").replaceChildren(...tiles.map(([name, big, note, share], number) => element("div", { class: "card tile" },
      element("dt", {}, name), element("dd", { class: "big", id: `figure-${number}`, style: big.length > 9 ? "font-size:19px;line-height:30px" : "" }, big),
      ...(share === undefined ? [] : [element("dd", { class: "meter", "aria-hidden": "true" }, element("i", { style: `width:${Math.max(0.5, 100 * share)}%` }))]),
      element("dd", { class: "note" }, note))));
  }

  // ---- controls ----
  function pick(kind, name, label, checked, type, act, style = "") {
    const input = element("input", { type, name, checked });
    input.addEventListener("change", () => act(input.checked));
    return element("label", { class: `pick ${kind === "switch" ? "switch" : ""}` }, input, element("span", { class: kind === "seg" ? "seg" : "chip", style }, label));
  }
  const refresh = [];
  function makeControls() {
    const box = byId("controls"), o = () => state.options;
    const group = (title, ...children) => box.append(element("fieldset", {}, element("legend", {}, title), ...children));
    const slider = (title, name, most) => {
      const input = element("input", { type: "range", min: 0, max: most, id: `option-${name}`, "aria-label": title }), out = element("output");
      input.addEventListener("input", () => setOption(name, Number(input.value)));
      refresh.push(() => { input.value = o()[name]; out.textContent = o()[name]; });
      group(title, element("div", { class: "slider" }, input, out));
    };
    const segments = (title, name, choices, label = (v) => v) => {
      const picks = choices.map((value) => pick("seg", `option-${name}`, label(value), false, "radio", () => setOption(name, value)));
      refresh.push(() => picks.forEach((p, at) => { p.firstChild.checked = o()[name] === choices[at]; }));
      group(title, element("div", { class: "row" }, ...picks));
    };
    const toggle = (name, label) => {
      const made = pick("switch", `option-${name}`, label, false, "checkbox", (on) => setOption(name, on));
      refresh.push(() => { made.firstChild.checked = o()[name]; });
      return made;
    };
    box.append(element("div", { class: "head" }, element("h2", {}, say("The mask")), element("button", { type: "button", id: "reset", onclick: () => {
      state.options = { ...start };
      bits = M.regionBits(poses, grid, start.method); distance = M.poseDistance(poses, start.align);
      rebuild(); showControls(); drawAll(); remember();
    } }, say("Reset"))));
    slider(say("K: most similar past frames"), "top_k", Math.max(1, Math.min(16, f - 1)));
    slider(say("Window: frames just before"), "window", Math.min(6, Math.max(1, f - 1)));
    const chips = REGIONS.map((name, r) => {
      const made = pick("chip", `region-${name}`, say(name), false, "checkbox", () => setOption("regions", o().regions ^ (1 << r)), `--swatch:${REGION_COLOURS[r]}`);
      refresh.push(() => { made.firstChild.checked = Boolean((o().regions >> r) & 1); made.firstChild.disabled = !o().local; });
      return made;
    });
    group(say("Regions that may meet across frames"), element("div", { class: "row" }, ...chips));
    group(say("Rules"), element("div", { class: "row" }, toggle("local", say("regions count")), toggle("sink", say("sink frame")), toggle("causal", say("causal")), toggle("align", say("rigid alignment"))));
    segments(say("Region shapes"), "method", ["mls", "hull"], (v) => (v === "mls" ? say("moving least squares") : say("hull of each frame")));
    segments(say("Block of the attention matrix"), "block", M.BLOCKS);
    group(say("Order of the tokens"), element("div", { class: "row" }, toggle("permute", say("sorted by region"))));
    segments(say("What is computed"), "mode", ["exact", "pooled"], (v) => (v === "exact" ? say("exact pairs") : say("whole blocks")));
  }
  function showControls() { refresh.forEach((act) => act()); showKey(); }
  function showKey() {
    const o = state.options, items = [[say("own frame"), OWN]];
    if (o.sink) items.push([say("sink"), ink.sink]);
    if (o.window) items.push([say("window"), WINDOW]);
    if (o.local) REGIONS.forEach((name, r) => { if ((o.regions >> r) & 1) items.push([say(name), REGION_COLOURS[r]]); });
    else items.push([say("chosen frame, whole"), WHOLE]);
    if (o.mode === "pooled") items.push([say("only its block"), ink.waste]);
    byId("key").replaceChildren(...items.map(([name, colour]) => element("li", {}, element("i", { style: `background:${colour}` }), name)));
  }

  // ---- the matrix ----
  // Shares of allowed pairs under each pixel of a square of `W` pixels: exact, computed, and the leading reason.
  function matrixShares(shown, W, zoom) {
    const exact = new Float32Array(W * W), computed = new Float32Array(W * W), reason = new Uint8Array(W * W);
    const pooled = shown.options.mode === "pooled", total = f * n;
    const rule = (tq, tk) => (tq === tk ? REASON.own : tk === 0 && M.hasSink(shown, tq) ? REASON.sink : shown.past[tq].includes(tk) ? REASON.chosen : 0);
    const rulesOf = new Map();
    const rules = (tq) => { if (!rulesOf.has(tq)) rulesOf.set(tq, Uint8Array.from({ length: f }, (_, tk) => rule(tq, tk))); return rulesOf.get(tq); };
    if (n * zoom.scale < 1.5) { // frames smaller than a pixel: one value a pair of frames
      const N2 = n * n;
      for (let tq = 0; tq < f; tq++) {
        const y = Math.floor((tq * n - zoom.y) * zoom.scale);
        if (y < 0 || y >= W) continue;
        for (const tk of [tq, ...(M.hasSink(shown, tq) ? [0] : []), ...shown.past[tq]]) {
          const x = Math.floor((tk * n - zoom.x) * zoom.scale), r = rules(tq)[tk];
          if (x < 0 || x >= W) continue;
          exact[y * W + x] = computed[y * W + x] = r === REASON.chosen ? Math.max(0.15, pairShare(shown, tq, tk) / N2) : 1;
          reason[y * W + x] = r === REASON.chosen && shown.table[tq].indexOf(tk) >= shown.options.top_k ? REASON.window : r;
        }
      }
      return { exact, computed, reason };
    }
    const lanes = (from) => { // token range, frame and histograms of every pixel along one axis
      const found = [];
      for (let p = 0; p < W; p++) {
        const a = Math.floor(from + p / zoom.scale + 1e-9);
        if (a < 0 || a >= total) { found.push(null); continue; }
        const t = Math.floor(a / n), b = Math.min((t + 1) * n, Math.max(a + 1, Math.floor(from + (p + 1) / zoom.scale + 1e-9)));
        const all = new Float32Array(32), block = pooled ? new Float32Array(32) : all, regions = new Float32Array(5);
        for (let at = a; at < b; at++) {
          const bitsHere = shown.bits[shown.order[at]];
          all[bitsHere] += 1;
          if (pooled) block[shown.pooled[shown.order[at]]] += 1;
          for (let r = 0; r < 5; r++) regions[r] += (bitsHere >> r) & 1;
        }
        found.push({ t, count: b - a, all, block, regions, used: Array.from(all.keys()).filter((k) => k && all[k]), usedBlock: Array.from(block.keys()).filter((k) => k && block[k]) });
      }
      return found;
    };
    const columns = lanes(zoom.x), rows = lanes(zoom.y), meetE = new Float32Array(32), meetB = new Float32Array(32);
    for (let y = 0; y < W; y++) {
      const q = rows[y];
      if (!q) continue;
      meetE.fill(0); meetB.fill(0);
      for (let b = 1; b < 32; b++) {
        for (const a of q.used) if (a & b) meetE[b] += q.all[a];
        if (pooled) for (const a of q.usedBlock) if (a & b) meetB[b] += q.block[a];
      }
      const visible = rules(q.t);
      for (let x = 0; x < W; x++) {
        const k = columns[x];
        if (!k || !visible[k.t]) continue;
        const at = y * W + x;
        if (visible[k.t] !== REASON.chosen) { exact[at] = computed[at] = 1; reason[at] = visible[k.t]; continue; }
        let pairs = 0, blocks = 0, best = -1, most = 0;
        for (const b of k.used) pairs += meetE[b] * k.all[b];
        if (pooled) for (const b of k.usedBlock) blocks += meetB[b] * k.block[b];
        exact[at] = pairs / (q.count * k.count);
        computed[at] = pooled ? blocks / (q.count * k.count) : exact[at];
        if (!computed[at]) continue;
        for (let r = 0; r < 5; r++) { const v = q.regions[r] * k.regions[r]; if (v > most) { most = v; best = r; } }
        if (shown.table[q.t].indexOf(k.t) >= shown.options.top_k) reason[at] = REASON.window;
        else reason[at] = !pairs ? REASON.block : shown.options.local ? REASON.chosen + best : REASON.whole;
      }
    }
    return { exact, computed, reason };
  }
  function pairShare(shown, tq, tk) {
    let pairs = 0;
    for (let a = 1; a < 32; a++) for (let b = 1; b < 32; b++) if (a & b) pairs += shown.counts[tq * 32 + a] * shown.counts[tk * 32 + b];
    return pairs;
  }
  function paintShares(canvas, W, shares) {
    canvas.width = canvas.height = W;
    const pen = canvas.getContext("2d"), image = pen.createImageData(W, W), colours = palette();
    const paper = toRgb(ink.paper), waste = toRgb(ink.waste);
    for (let p = 0; p < W * W; p++) {
      const shown = shares.exact[p] > 0 ? 0.22 + 0.78 * Math.sqrt(shares.exact[p]) : 0;
      const extra = shares.computed[p] > shares.exact[p] ? 0.6 * (shares.computed[p] - shares.exact[p]) : 0;
      const colour = colours[shares.reason[p]];
      for (let c = 0; c < 3; c++) {
        const under = paper[c] + extra * (waste[c] - paper[c]);
        image.data[4 * p + c] = under + shown * (colour[c] - under);
      }
      image.data[4 * p + 3] = 255;
    }
    pen.putImageData(image, 0, 0);
  }

  let matrixImage = null, matrixWidth = 0;
  const EDGE = 30; // pixels left of and above the matrix, for the frames' numbers
  const fitScale = () => matrixWidth / (f * n);
  function drawMatrix() {
    const room = byId("panels").clientWidth;
    const W = Math.floor(clamp(room > 700 ? room - 270 : room - EDGE - 2, 200, 620));
    if (W !== matrixWidth) { const whole = !matrixWidth || state.zoom.scale <= fitScale() * 1.0001; matrixWidth = W; if (whole) state.zoom = { x: 0, y: 0, scale: fitScale() }; matrixImage = null; }
    const plot = byId("matrix-plot"), canvas = byId("matrix");
    plot.style.width = `${W + EDGE}px`; plot.style.height = `${W + EDGE}px`;
    if (!matrixImage) { paintShares(canvas, W, matrixShares(plan, W, state.zoom)); matrixImage = true; }
    Object.assign(canvas.style, { width: `${W}px`, height: `${W}px`, left: `${EDGE}px`, top: `${EDGE}px` });
    drawMatrixMarks();
  }
  const position = (patch) => plan.place[patch.t * n + patch.i];
  function drawMatrixMarks() {
    if (!matrixWidth) return;
    const W = matrixWidth, pen = fit(byId("matrix-marks"), W + EDGE, W + EDGE), { x, y, scale } = state.zoom;
    pen.clearRect(0, 0, W + EDGE, W + EDGE);
    pen.font = "11px system-ui, sans-serif"; pen.fillStyle = ink.soft;
    const frameSize = n * scale, every = Math.max(1, Math.ceil(22 / frameSize));
    pen.save();
    pen.translate(EDGE, EDGE);
    pen.beginPath();
    for (let t = 0; t <= f; t++) {
      const px = (t * n - x) * scale, py = (t * n - y) * scale;
      if (frameSize > 7 && px >= 0 && px <= W) { pen.moveTo(px, 0); pen.lineTo(px, W); }
      if (frameSize > 7 && py >= 0 && py <= W) { pen.moveTo(0, py); pen.lineTo(W, py); }
      if (t === f || t % every) continue;
      const mx = clamp((px + Math.min(W, px + frameSize)) / 2, 0, W), my = clamp((py + Math.min(W, py + frameSize)) / 2, 0, W);
      pen.textAlign = "center"; pen.textBaseline = "middle";
      if (px + frameSize > 4 && px < W - 4) pen.fillText(String(t), mx, -9);
      if (py + frameSize > 4 && py < W - 4) pen.fillText(String(t), -13, my);
    }
    pen.strokeStyle = ink.line; pen.lineWidth = 1; pen.stroke();
    const step = state.options.block * scale;
    if (step > (state.options.mode === "pooled" ? 5 : 14) && state.options.block > 1) {
      pen.beginPath();
      for (let t = 0; t < f; t++) for (let b = state.options.block; b < n; b += state.options.block) {
        const px = (t * n + b - x) * scale, py = (t * n + b - y) * scale;
        if (px > 0 && px < W) { pen.moveTo(px, 0); pen.lineTo(px, W); }
        if (py > 0 && py < W) { pen.moveTo(0, py); pen.lineTo(W, py); }
      }
      pen.strokeStyle = "rgb(128 140 155 / 35%)"; pen.lineWidth = 0.7; pen.stroke();
    }
    pen.strokeStyle = ink.soft; pen.strokeRect(0, 0, W, W);
    pen.beginPath(); pen.rect(0, 0, W, W); pen.clip();
    const line = (patch, colour, down) => {
      const at = (position(patch) + 0.5 - (down ? y : x)) * scale, thick = Math.max(2, scale);
      pen.fillStyle = colour;
      if (down) pen.fillRect(0, at - thick / 2, W, thick); else pen.fillRect(at - thick / 2, 0, thick, W);
    };
    line(state.query, "rgb(255 60 110 / 75%)", true);
    if (state.key) line(state.key, "rgb(255 180 40 / 70%)", false);
    pen.restore();
    drawLens();
  }
  // The query's row of the matrix, thick enough to read.
  function drawLens() {
    const W = matrixWidth, H = 26, canvas = byId("lens"), pen = fit(canvas, W + EDGE, H), row = M.rowReasons(plan, state.query.t, state.query.i);
    pen.clearRect(0, 0, W + EDGE, H);
    pen.fillStyle = ink.well; pen.fillRect(EDGE, 0, W, H);
    for (let p = 0; p < W; p++) {
      const a = Math.floor(state.zoom.x + p / state.zoom.scale), b = Math.max(a + 1, Math.floor(state.zoom.x + (p + 1) / state.zoom.scale));
      let best = 0, count = 0;
      for (let at = a; at < b && at < f * n; at++) { const r = row[plan.order[at]]; if (r) { count += 1; if (!best || best === REASON.block) best = r; } }
      if (!best) continue;
      pen.globalAlpha = 0.35 + 0.65 * (count / (b - a));
      pen.fillStyle = reasonColour(best); pen.fillRect(EDGE + p, 0, 1, H);
    }
    pen.globalAlpha = 1;
    pen.fillStyle = ink.soft; pen.font = "11px system-ui, sans-serif"; pen.textBaseline = "middle"; pen.textAlign = "right"; pen.fillText(say("row"), EDGE - 4, H / 2, EDGE - 5);
    if (state.key) {
      pen.fillStyle = "#ffb428"; pen.fillRect(EDGE + (position(state.key) + 0.5 - state.zoom.x) * state.zoom.scale - 1, 0, 2, H);
    }
  }
  function zoomBy(factor, cx = matrixWidth / 2, cy = matrixWidth / 2) {
    const { x, y, scale } = state.zoom, next = clamp(scale * factor, fitScale(), Math.max(fitScale(), 14));
    panTo(x + cx / scale - cx / next, y + cy / scale - cy / next, next);
  }
  function panTo(x, y, scale = state.zoom.scale) {
    const most = Math.max(0, f * n - matrixWidth / scale);
    state.zoom = { x: clamp(x, 0, most), y: clamp(y, 0, most), scale };
    matrixImage = null;
    drawMatrix();
  }
  function matrixAt(event) {
    const box = byId("matrix").getBoundingClientRect();
    const k = Math.floor(state.zoom.x + (event.clientX - box.left) / state.zoom.scale), q = Math.floor(state.zoom.y + (event.clientY - box.top) / state.zoom.scale);
    if (k < 0 || q < 0 || k >= f * n || q >= f * n) return null;
    const patch = (at) => ({ t: Math.floor(plan.order[at] / n), i: plan.order[at] % n });
    return { query: patch(q), key: patch(k) };
  }

  // ---- heat maps of frame pairs ----
  function drawPairs(canvas, W, valueOf, chosen, most, marked) {
    const pen = fit(canvas, W, W), size = W / f, image = document.createElement("canvas");
    image.width = image.height = f;
    const imagePen = image.getContext("2d"), pixels = imagePen.createImageData(f, f), well = toRgb(ink.well);
    for (let q = 0; q < f; q++) for (let k = 0; k < f; k++) {
      const value = valueOf(q, k), colour = value === null ? well : mapColour(value / most);
      for (let c = 0; c < 3; c++) pixels.data[4 * (q * f + k) + c] = colour[c];
      pixels.data[4 * (q * f + k) + 3] = 255;
    }
    imagePen.putImageData(pixels, 0, 0);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(image, 0, 0, W, W);
    if (size >= 5) {
      for (let q = 0; q < f; q++) for (const k of chosen(q)) {
        pen.lineWidth = 3; pen.strokeStyle = "#000"; pen.strokeRect(k * size + 2, q * size + 2, size - 4, size - 4);
        pen.lineWidth = 1.4; pen.strokeStyle = "#fff"; pen.strokeRect(k * size + 2, q * size + 2, size - 4, size - 4);
      }
    }
    if (marked) { pen.lineWidth = 2; pen.strokeStyle = "#ff3c6e"; pen.strokeRect(1, marked.t * size, W - 2, size); }
  }
  const pairWidth = () => Math.floor(clamp(byId("panels").clientWidth - 4, 200, 440));
  function drawSimilarity() {
    let most = 0;
    for (let q = 0; q < f; q++) for (let k = 0; k < q; k++) if (distance[q * f + k] < Infinity) most = Math.max(most, distance[q * f + k]);
    const hidden = (q, k) => (state.options.causal ? k >= q : k === q) || distance[q * f + k] === Infinity;
    drawPairs(byId("heat"), pairWidth(), (q, k) => (hidden(q, k) ? null : distance[q * f + k]), (q) => plan.past[q].filter((s) => plan.table[q].indexOf(s) < state.options.top_k), most || 1, state.query);
    const { t } = state.query, list = plan.ranked[t].slice(0, 8).map((s, rank) => element("tr", {},
      element("td", {}, say("frame {t}", { t: s })), element("td", {}, M.figure(distance[t * f + s])), element("td", {}, rank < state.options.top_k ? say("kept") : plan.past[t].includes(s) ? say("window") : "–")));
    byId("ranks").replaceChildren(element("caption", { class: "hint" }, say("Nearest poses of frame {t}", { t })), element("tr", {}, element("th", {}, say("candidate")), element("th", {}, "S"), element("th", {}, "")), ...list);
    byId("heat-scale").style.background = `linear-gradient(90deg, ${MAP.map((c) => `rgb(${c})`).join(",")})`;
    byId("heat-most").textContent = M.figure(most);
  }

  // ---- density over time ----
  function drawTime() {
    const canvas = byId("time"), W = Math.floor(byId("panels").clientWidth - 2), H = 300, pen = fit(canvas, W, H);
    const left = 46, bottom = 26, top = 10, width = W - left - 6, height = H - bottom - top;
    const bars = Array.from({ length: f }, (_, t) => M.keysByReason(plan, t));
    const most = Math.max(...bars.map((b) => b.reduce((x, y) => x + y, 0))) * 1.06;
    pen.clearRect(0, 0, W, H);
    pen.font = "11px system-ui, sans-serif"; pen.textBaseline = "middle"; pen.textAlign = "right";
    for (let g = 0; g <= 4; g++) {
      const y = top + height - (g / 4) * height;
      pen.strokeStyle = ink.line; pen.lineWidth = 1; pen.beginPath(); pen.moveTo(left, y); pen.lineTo(W - 6, y); pen.stroke();
      pen.fillStyle = ink.soft; pen.fillText(count((most * g) / 4), left - 7, y);
    }
    const step = width / f, every = Math.max(1, Math.ceil(24 / step));
    const order = [REASON.own, REASON.sink, REASON.window, 4, 5, 6, 7, 8, REASON.whole, REASON.block];
    bars.forEach((bar, t) => {
      let y = top + height;
      for (const r of order) {
        if (!bar[r]) continue;
        const h = (bar[r] / most) * height;
        pen.fillStyle = reasonColour(r);
        pen.fillRect(left + t * step + Math.min(2, step * 0.1), y - h, Math.max(1, step - Math.min(4, step * 0.2)), h);
        y -= h;
      }
      if (t === state.query.t) { pen.strokeStyle = "#ff3c6e"; pen.lineWidth = 2; pen.strokeRect(left + t * step, top, step, height); }
      if (t % every === 0) { pen.textAlign = "center"; pen.fillStyle = ink.soft; pen.fillText(String(t), left + (t + 0.5) * step, H - 11); }
    });
    const mine = bars[state.query.t].reduce((x, y) => x + y, 0);
    byId("time-note").textContent = say("Keys that an average patch of each frame meets. Frame {t}: {mine} of {all}, {share}.", { t: state.query.t, mine: count(mine), all: count(f * n), share: percent(mine / (f * n)) });
  }

  // ---- learned attention ----
  const attention = data.attention && {
    ...data.attention,
    mass: Float32Array.from(M.decode(data.attention.mass, Uint16Array), (v) => v / 65535),
    meets: Float32Array.from(M.decode(data.attention.meets, Uint16Array), (v) => v / 65535),
    bits: M.decode(data.plan.region_bits, Uint8Array), // as the run had them
    parts: M.decode(data.attention.parts, Uint8Array),
  };
  const heads = () => {
    const found = [];
    for (let l = 0; l < attention.layers; l++) for (let h = 0; h < attention.heads; h++) if ((state.layer < 0 || l === state.layer) && (state.head < 0 || h === state.head)) found.push([l, h]);
    return found;
  };
  function drawAttention() {
    if (!attention) return;
    const some = heads(), F2 = f * f, { t } = state.query;
    const mean = (valueOf) => some.reduce((sum, [l, h]) => sum + valueOf(l, h), 0) / some.length;
    const massOf = (q, k) => mean((l, h) => attention.mass[(l * attention.heads + h) * F2 + q * f + k]), shares = M.keptShares(plan, attention);
    const keptOf = (q, k) => mean((l, h) => M.keptMass(plan, attention, shares, l, h, q, k)), exact = M.isExact(plan, attention);
    const keptAll = mean((l, h) => M.recall(plan, attention, shares, l, h)), keptHere = mean((l, h) => M.recall(plan, attention, shares, l, h, t));
    byId("recall").textContent = (exact ? "" : "≈ ") + percent(keptAll);
    const whose = state.layer < 0 && state.head < 0 ? say("over all layers and heads")
      : `${state.layer < 0 ? say("all layers") : say("layer {i}", { i: state.layer })}, ${state.head < 0 ? say("all heads") : say("head {i}", { i: state.head })}`;
    byId("recall-note").textContent = say("of the attention ({whose}) falls on pairs that the mask keeps, while {share} of the pairs are kept. Frame {t}: {here}.",
      { whose, share: percent(measured.tokenDensity), t, here: percent(keptHere) })
      + (exact ? "" : ` ${say("Estimated: pose, shapes or blocks are not those of the recorded run; pairs that had the same regions in common then count evenly.")}`);
    let most = 0.01;
    for (let q = Math.min(3, f - 1); q < f; q++) for (let k = 0; k <= q; k++) most = Math.max(most, massOf(q, k));
    drawPairs(byId("mass"), pairWidth(), (q, k) => (k > q ? null : Math.sqrt(massOf(q, k))), (q) => [...plan.past[q], ...(M.hasSink(plan, q) ? [0] : [])], Math.sqrt(most), state.query);
    const board = byId("board");
    board.replaceChildren(element("caption", { class: "hint" }, say("Share that the mask keeps, by layer and head (click one)")), element("tr", {}, element("th", {}, say("layer")), ...Array.from({ length: attention.heads }, (_, h) => element("th", {}, say("head {i}", { i: h })))),
      ...Array.from({ length: attention.layers }, (_, l) => element("tr", {}, element("th", {}, String(l)), ...Array.from({ length: attention.heads }, (_, h) => {
        const share = M.recall(plan, attention, shares, l, h), rgb = mapColour(share), dark = rgb[0] + rgb[1] + rgb[2] < 400;
        const on = state.layer === l && state.head === h;
        return element("td", { style: "padding:2px" }, element("button", { type: "button", "aria-pressed": String(on), onclick: () => { state.layer = on ? -1 : l; state.head = on ? -1 : h; showPicks(); drawAttention(); },
          style: `width:100%;min-height:28px;padding:0;justify-content:center;border-radius:6px;background:rgb(${rgb});color:${dark ? "#fff" : "#111"};border:2px solid ${on ? "#ff3c6e" : "transparent"}` }, `${Math.round(100 * share)}`));
      }))));
    drawMassBars(t, massOf, keptOf, some);
  }
  function drawMassBars(t, massOf, keptOf, some) {
    const W = Math.floor(byId("panels").clientWidth - 2), H = 210, pen = fit(byId("mass-bars"), W, H), left = 46, bottom = 26, top = 8;
    const width = W - left - 6, height = H - bottom - top, step = width / f, F2 = f * f;
    const most = Math.max(0.02, ...Array.from({ length: f }, (_, k) => massOf(t, k)));
    pen.clearRect(0, 0, W, H);
    pen.font = "11px system-ui, sans-serif"; pen.textBaseline = "middle";
    for (let g = 0; g <= 2; g++) {
      const y = top + height - (g / 2) * height;
      pen.strokeStyle = ink.line; pen.beginPath(); pen.moveTo(left, y); pen.lineTo(W - 6, y); pen.stroke();
      pen.fillStyle = ink.soft; pen.textAlign = "right"; pen.fillText(percent((most * g) / 2), left - 6, y);
    }
    const every = Math.max(1, Math.ceil(24 / step));
    for (let k = 0; k < f; k++) {
      const total = massOf(t, k), kept = keptOf(t, k);
      const x = left + k * step + Math.min(2, step * 0.1), w = Math.max(1, step - Math.min(4, step * 0.2));
      let y = top + height;
      for (let part = 0; part < 6; part++) {
        const share = some.reduce((sum, [l, h]) => sum + attention.parts[((l * attention.heads + h) * F2 + t * f + k) * 6 + part], 0) / some.length / 255;
        const h = (share * total * height) / most;
        pen.fillStyle = part < 5 ? REGION_COLOURS[part] : ink.sink; pen.fillRect(x, y - h, w, h);
        y -= h;
      }
      const lost = ((total - kept) / most) * height, high = top + height - (total / most) * height;
      if (lost > 0.5) {
        pen.save(); pen.beginPath(); pen.rect(x, high, w, lost); pen.clip();
        pen.fillStyle = ink.card; pen.globalAlpha = 0.72; pen.fillRect(x, high, w, lost); pen.globalAlpha = 1;
        pen.strokeStyle = ink.text; pen.lineWidth = 1; pen.beginPath();
        for (let d = -height; d < w + height; d += 5) { pen.moveTo(x + d, high + lost); pen.lineTo(x + d + lost, high); }
        pen.stroke(); pen.restore();
      }
      if (k % every === 0) { pen.textAlign = "center"; pen.fillStyle = ink.soft; pen.fillText(String(k), left + (k + 0.5) * step, H - 11); }
    }
  }
  let showPicks = () => {};

  // ---- two plans side by side ----
  const SECOND = {
    global: ["Chosen frames whole (no regions)", (o) => ({ ...o, local: false })],
    window: ["Window alone, as many frames", (o) => ({ ...o, top_k: 0, window: o.top_k + o.window })],
    align: ["The other choice of alignment", (o) => ({ ...o, align: !o.align })],
    shapes: ["The other region shapes", (o) => ({ ...o, method: o.method === "mls" ? "hull" : "mls" })],
    blocks: ["Whole blocks in picture order", (o) => ({ ...o, mode: "pooled", permute: false })],
  };
  function secondPlan() {
    if (state.second === "kept" || state.second === "file") return state.loaded;
    const options = SECOND[state.second][1](state.options);
    const S = options.align === state.options.align ? distance : M.poseDistance(poses, options.align);
    return M.makePlan(poses, grid, options, options.method === state.options.method ? bits : M.regionBits(poses, grid, options.method), S);
  }
  function drawCompare() {
    const b = secondPlan();
    if (!b) return;
    const room = byId("panels").clientWidth, W = Math.floor(clamp(room > 640 ? (room - 52) / 3 : room - 4, 160, 330));
    const zoom = { x: 0, y: 0, scale: W / (f * n) }, first = matrixShares(plan, W, zoom), other = matrixShares(b, W, zoom);
    paintShares(byId("first"), W, first); paintShares(byId("second"), W, other);
    const canvas = byId("difference");
    canvas.width = canvas.height = W;
    const pen = canvas.getContext("2d"), image = pen.createImageData(W, W), paper = toRgb(ink.paper), grey = toRgb(ink.waste), A = toRgb(OWN), B = toRgb(WINDOW);
    for (let p = 0; p < W * W; p++) {
      const x = first.computed[p], y = other.computed[p], both = Math.min(x, y), gap = Math.abs(x - y), colour = x > y ? A : B;
      for (let c = 0; c < 3; c++) {
        const under = paper[c] + (both > 0 ? 0.15 + 0.4 * both : 0) * (grey[c] - paper[c]);
        image.data[4 * p + c] = under + (gap > 0 ? Math.min(1, 0.25 + gap) : 0) * (colour[c] - under);
      }
      image.data[4 * p + 3] = 255;
    }
    pen.putImageData(image, 0, 0);
    for (const id of ["first", "second", "difference"]) {
      byId(id).parentElement.style.width = `${W}px`;
      Object.assign(byId(id).style, { width: `${W}px`, height: `${W}px`, border: `1px solid ${ink.line}` });
    }
    const right = M.measure(b, data.model), pairs = M.comparePlans(plan, b), all = measured.allPairs;
    const line = (name, x, y) => element("tr", {}, element("td", {}, name), element("td", {}, x), element("td", {}, y));
    byId("numbers").replaceChildren(
      element("tr", {}, element("th", {}, ""), element("th", {}, say("A: this mask")), element("th", {}, "B")),
      line(say("token density"), percent(measured.tokenDensity), percent(right.tokenDensity)), line(say("block density"), percent(measured.blockDensity), percent(right.blockDensity)),
      line(say("attention"), `${flops(measured.flops)}FLOP`, `${flops(right.flops)}FLOP`), line(say("predicted speed-up"), times(measured.speedup), times(right.speedup)),
      line(say("computed by both"), percent(pairs.both / all), percent(pairs.both / all)), line(say("computed by it alone"), percent(pairs.onlyA / all), percent(pairs.onlyB / all)));
  }

  // ---- tabs ----
  const VIEWS = { matrix: ["Matrix", drawMatrix], similarity: ["Similarity", drawSimilarity], time: ["Density over time", drawTime], attention: ["Learned attention", drawAttention], compare: ["Compare", drawCompare] };
  function makeViews() {
    for (const [name, [title]] of Object.entries(VIEWS)) {
      const tab = element("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": `panel-${name}`, onclick: () => show(name) }, say(title));
      byId("tabs").append(tab);
      byId("panels").append(element("div", { role: "tabpanel", id: `panel-${name}`, "aria-labelledby": `tab-${name}` }));
    }
    byId("tabs").addEventListener("keydown", (event) => {
      const names = Object.keys(VIEWS), step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      show(names[(names.indexOf(state.view) + step + names.length) % names.length]);
      byId(`tab-${state.view}`).focus();
    });
    const panel = (name) => byId(`panel-${name}`);
    const plot = element("div", { class: "plot", id: "matrix-plot" }), lens = element("div");
    const zoomers = [["+", say("Zoom in"), () => zoomBy(1.6)], ["−", say("Zoom out"), () => zoomBy(1 / 1.6)], [say("Whole"), say("Show the whole matrix"), () => panTo(0, 0, fitScale())],
      [say("Query"), say("Zoom to the query's frame"), () => { const s = Math.max(fitScale(), matrixWidth / (3 * n)); panTo((state.query.t - 2) * n, (state.query.t - 1) * n, s); }]];
    panel("matrix").append(element("div", { class: "matrix" }, element("div", {}, lens, plot), element("div", {},
      element("div", { class: "row" }, ...zoomers.map(([text, title, onclick]) => element("button", { type: "button", title, "aria-label": title, onclick }, text))),
      element("p", { class: "hint" }, say("Rows are patches that look, columns the patches they see; numbers are frames. Point to read a pair, drag to pan, scroll with Ctrl (or pinch) to zoom. The band on top is the query's row, enlarged.")),
      element("p", { class: "hint" }, say("Paler colour: fewer of the pairs under that pixel. Grey: computed only because a block is kept whole.")))));
    makeCanvas("lens", "", lens);
    makeCanvas("matrix", "", plot);
    makeCanvas("matrix-marks", say("The attention matrix, rows are queries"), plot).tabIndex = 0;

    panel("similarity").append(element("div", { class: "figures" }, element("div", {}, element("div", { id: "heat-box" }), element("div", { class: "row hint" }, say("near"), element("span", { id: "heat-scale", style: "flex:0 1 160px;height:10px;border-radius:5px" }), element("span", { id: "heat-most" }), say("far"))),
      element("div", {}, element("p", { class: "hint" }, say("S of two frames: what is left between their keypoints after the best rotation and shift. Outlined: the K nearest past frames. Click a row to look from that frame.")), element("table", { id: "ranks" }))));
    makeCanvas("heat", say("Pose distance of every two frames"), byId("heat-box"));

    makeCanvas("time", say("Keys per patch over time, stacked by reason"), panel("time"));
    panel("time").append(element("p", { class: "hint", id: "time-note" }));

    if (attention) {
      const chooser = (title, name, many) => {
        const select = element("select", { "aria-label": say(title) });
        select.append(element("option", { value: -1 }, say(`all ${title}s`)), ...Array.from({ length: many }, (_, i) => element("option", { value: i }, say(`${title} {i}`, { i }))));
        select.addEventListener("change", () => { state[name] = Number(select.value); drawAttention(); });
        return select;
      };
      const layer = chooser("layer", "layer", attention.layers), head = chooser("head", "head", attention.heads);
      showPicks = () => { layer.value = state.layer; head.value = state.head; };
      panel("attention").append(
        element("div", { class: "row", style: "margin-bottom:8px" }, layer, head, element("span", { class: "hint" }, attention.source)),
        element("p", { style: "margin:0 0 10px" }, element("strong", { id: "recall", style: "font-size:26px;letter-spacing:-.03em" }), " ", element("span", { id: "recall-note" })),
        element("div", { class: "figures" }, element("div", { id: "mass-box" }, element("p", { class: "hint" }, say("Attention from each frame (row) to each frame (column), dark to bright (square root). Outlined: frames that the mask shows."))), element("div", {}, element("table", { id: "board" }))),
        element("p", { class: "hint" }, say("From the frame that looks to each frame, by the region of the key patch; hatched: what the mask throws away.")));
      makeCanvas("mass", say("Learned attention of every two frames"), byId("mass-box"));
      makeCanvas("mass-bars", say("Learned attention of the frame that looks, by frame and region"), panel("attention"));
    } else {
      panel("attention").append(element("p", {}, say("This page holds no record of learned attention. It is written with one by "), element("kbd", {}, "python -m iasa mask --pose P.npz --attention --out explorer.html"), say(", or by the demo's Explore tab on a clip that was made there.")));
    }

    const select = element("select", { id: "second-kind", "aria-label": say("Mask B") }, ...Object.entries(SECOND).map(([name, [title]]) => element("option", { value: name }, say(title))));
    const setSecond = (name, title) => { if (![...select.options].some((o) => o.value === name)) select.append(element("option", { value: name }, title)); select.value = state.second = name; drawCompare(); };
    select.addEventListener("change", () => { state.second = select.value; drawCompare(); });
    const file = element("input", { type: "file", accept: ".json,application/json", class: "hidden", id: "second-file", "aria-label": say("Plan B from a JSON file") });
    file.addEventListener("change", async () => {
      try {
        if (!file.files.length) return;
        if (file.files[0].size > 3e7) throw new Error(say("The file is larger than 30 MB."));
        state.loaded = M.fromJson(await file.files[0].text(), grid, state.options.permute);
        setSecond("file", file.files[0].name.slice(0, 40));
      } catch (error) { tell(error.message); }
      file.value = "";
    });
    panel("compare").append(
      element("div", { class: "row", style: "margin-bottom:10px" }, say("B is"), select,
        element("button", { type: "button", id: "keep", onclick: () => { state.loaded = plan; setSecond("kept", say("The mask as it was kept")); } }, say("Keep this mask as B")),
        element("button", { type: "button", onclick: () => file.click() }, say("Plan from JSON")), file),
      element("div", { class: "figures", id: "trio" }), element("table", { id: "numbers", style: "max-width:620px;margin-top:12px" }));
    for (const [id, title] of [["first", say("A: this mask")], ["second", "B"], ["difference", say("Difference: blue A alone, vermilion B alone, grey both")]]) {
      const box = element("div", { style: "flex:0 1 auto" }, element("p", { class: "hint", style: "margin:0 0 4px" }, title));
      byId("trio").append(box);
      makeCanvas(id, title, box);
    }
  }
  function show(name) {
    state.view = name;
    for (const other of Object.keys(VIEWS)) {
      byId(`panel-${other}`).hidden = other !== name;
      byId(`tab-${other}`).setAttribute("aria-selected", String(other === name));
      byId(`tab-${other}`).tabIndex = other === name ? 0 : -1;
    }
    VIEWS[name][1]();
    remember();
  }

  // ---- drawing in turn ----
  function drawAll() { showTiles(); drawFrame(); drawStrip(); showSentence(); VIEWS[state.view][1](); }
  // After pointing: only what depends on the query and the key.
  function drawPointed(moved) {
    drawStrip(); showSentence();
    if (moved || state.key) drawFrame();
    if (state.view === "matrix") drawMatrixMarks(); else if (moved) VIEWS[state.view][1]();
  }
  function point(patch) {
    const before = performance.now();
    if (!patch) { if (state.key && !state.keyPinned) { state.key = null; drawPointed(false); } return; }
    if (state.pinned) { if (state.keyPinned) return; state.key = patch; drawPointed(false); } else {
      const moved = state.query.t !== patch.t;
      state.query = patch; state.key = null;
      drawPointed(moved || state.view !== "matrix");
      if (!moved) drawFrame();
    }
    timings.hover.push(performance.now() - before);
  }
  function choose(patch) { // a click or a tap: first the query, then the second patch
    if (!patch) return;
    if (!state.pinned) { state.query = patch; state.pinned = true; state.key = null; } else if (state.keyPinned && state.key.t === patch.t && state.key.i === patch.i) state.keyPinned = false;
    else { state.key = patch; state.keyPinned = true; }
    drawPointed(true); showSentence(true); remember();
  }
  function release() { state.pinned = state.keyPinned = false; state.key = null; drawPointed(false); showSentence(true); }
  function lookFrom(t, aloud = true) {
    state.query = { t: clamp(t, 0, f - 1), i: state.query.i };
    scrollTo(state.query.t); drawPointed(true);
    if (aloud) showSentence(true);
    remember();
  }
  function scrollTo(t) {
    const box = byId("scroller"), [, y] = stripPlace(t);
    if (y < box.scrollTop || y + strip.size + LABEL > box.scrollTop + strip.height) box.scrollTop = Math.max(0, y - strip.height / 2);
  }

  // ---- play: the frame moves on, the patch follows the nearest keypoint ----
  function togglePlay() {
    if (state.playing) { clearInterval(state.playing.timer); state.playing = null; } else {
      const t = state.query.t, x = ((state.query.i % grid.cols) + 0.5) / grid.cols, y = (Math.floor(state.query.i / grid.cols) + 0.5) / grid.rows;
      let nearest = -1, least = 0.08;
      for (let p = 0; p < POINTS; p++) {
        const at = t * POINTS + p, far = Math.hypot(poses.xy[2 * at] - x, poses.xy[2 * at + 1] - y);
        if (poses.confidence[at] > 0 && far < least) { nearest = p; least = far; }
      }
      state.key = null; state.keyPinned = false;
      const move = () => {
        const next = (state.query.t + 1) % f, at = next * POINTS + nearest;
        const patch = nearest >= 0 && poses.confidence[at] > 0 ? patchAt(next, poses.xy[2 * at], poses.xy[2 * at + 1]) : null;
        state.query = { t: next, i: patch ? patch.i : state.query.i };
        scrollTo(next); drawPointed(true);
      };
      state.playing = { timer: setInterval(move, 280) };
    }
    byId("play").textContent = state.playing ? say("Pause") : say("Play");
    byId("play").setAttribute("aria-pressed", String(Boolean(state.playing)));
  }

  // ---- keys ----
  function moveBy(dx, dy) {
    const patch = state.pinned ? state.key || state.query : state.query;
    const x = clamp((patch.i % grid.cols) + dx, 0, grid.cols - 1), y = clamp(Math.floor(patch.i / grid.cols) + dy, 0, grid.rows - 1);
    placePatch({ t: patch.t, i: y * grid.cols + x });
  }
  function placePatch(patch) {
    if (state.pinned) { state.key = patch; state.keyPinned = true; } else state.query = patch;
    scrollTo(patch.t); drawPointed(true); showSentence(true); remember();
  }
  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const patch = state.pinned && state.key ? state.key : state.query, jump = { PageUp: -1, ",": -1, PageDown: 1, ".": 1 }[event.key];
    if (event.currentTarget.id === "frame" && (event.key === "[" || event.key === "]")) {
      state.handle = (state.handle + (event.key === "]" ? 1 : HANDLES.length - 1) + HANDLES.length) % HANDLES.length;
      byId("announce").textContent = say("Keypoint: {name}. Arrows move it.", { name: handleName(HANDLES[state.handle]) });
      drawFrame();
    } else if (event.currentTarget.id === "frame" && steps && state.handle >= 0) {
      const far = event.shiftKey ? 0.05 : 0.01;
      moveHandle(state.handle, steps[0] * far, steps[1] * far);
    } else if (event.currentTarget.id === "matrix-marks" && steps) panTo(state.zoom.x + (steps[0] * 40) / state.zoom.scale, state.zoom.y + (steps[1] * 40) / state.zoom.scale);
    else if (event.currentTarget.id === "matrix-marks" && "+=-0".includes(event.key)) { if (event.key === "0") panTo(0, 0, fitScale()); else zoomBy(event.key === "-" ? 1 / 1.6 : 1.6); }
    else if (steps) moveBy(...steps);
    else if (jump) placePatch({ t: clamp(patch.t + jump, 0, f - 1), i: patch.i });
    else if (event.key === "Home" || event.key === "End") placePatch({ t: event.key === "Home" ? 0 : f - 1, i: patch.i });
    else if (event.key === "Enter" || event.key === " ") { if (state.pinned) release(); else choose(state.query); }
    else if (event.key === "Escape") { state.handle = -1; release(); }
    else if (event.key === "p") togglePlay();
    else return;
    event.preventDefault();
  }

  // ---- what is kept in the address, and what goes out ----
  function settings() {
    const words = [M.writeSettings(state.options), `q=${state.query.t}.${state.query.i}`, `v=${state.view}`];
    if (state.pinned && state.key) words.push(`o=${state.key.t}.${state.key.i}`);
    if (state.theme) words.push(`theme=${state.theme}`);
    if (asked) words.push(`lang=${german ? "de" : "en"}`);
    return words.join("&");
  }
  function restore(text) {
    const given = new URLSearchParams(text);
    const patch = (word) => {
      const [t, i] = String(given.get(word) || "").split(".").map(Number);
      return Number.isInteger(t) && Number.isInteger(i) && t >= 0 && t < f && i >= 0 && i < n ? { t, i } : null;
    };
    const before = state.options;
    state.options = M.readSettings(text, state.options);
    if (state.options.method !== before.method) bits = M.regionBits(poses, grid, state.options.method);
    if (state.options.align !== before.align) distance = M.poseDistance(poses, state.options.align);
    if (patch("q")) { state.query = patch("q"); state.pinned = Boolean(patch("o")); state.key = patch("o"); state.keyPinned = state.pinned; }
    if (Object.hasOwn(VIEWS, given.get("v") || "")) state.view = given.get("v");
    if (["dark", "light"].includes(given.get("theme"))) state.theme = given.get("theme");
  }
  let later = 0, host = null;
  function remember() {
    clearTimeout(later);
    later = setTimeout(() => {
      const text = settings();
      if (window.parent !== window) window.parent.postMessage({ iasa: "settings", text }, "*");
      else try { history.replaceState(null, "", `#${text}`); } catch { /* an address that cannot be changed keeps its old settings */ }
    }, 250);
  }
  const address = () => `${(host || location.href).split("#")[0]}${host ? "#iasa?" : "#"}${settings()}`;
  function save(blob, name) {
    const link = element("a", { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 5000);
  }
  function tell(text, area = null) {
    const box = byId("dialog");
    box.replaceChildren(element("p", { style: "margin-top:0" }, text), ...(area ? [area] : []), element("button", { type: "button", onclick: () => box.close() }, say("Close")));
    box.showModal();
    if (area && area.select) area.select();
  }
  async function copyLink() {
    const text = address(), button = byId("link");
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = say("Copied");
      setTimeout(() => { button.textContent = say("Copy link"); }, 1500);
    } catch { tell(say("Copy this address; it holds all settings:"), element("textarea", { readOnly: true, value: text })); }
  }
  function savePicture() {
    const W = 1600, margin = 40, scale = 2, size = strip.size * scale, total = strip.total * scale;
    const matrix = document.createElement("canvas"), M_W = 620;
    paintShares(matrix, M_W, matrixShares(plan, M_W, { x: 0, y: 0, scale: M_W / (f * n) }));
    const picture = document.createElement("canvas"), across = Math.max(1, Math.floor((W - 2 * margin + 12) / (200 + 12))), down = Math.ceil(f / across);
    const cell = (W - 2 * margin - 12 * (across - 1)) / across, shown = Math.min(down, 6), stripHeight = shown * (cell + 36);
    picture.width = W; picture.height = Math.round(150 + stripHeight + M_W + 70);
    const pen = picture.getContext("2d"), row = M.rowReasons(plan, state.query.t, state.query.i);
    pen.fillStyle = ink.card; pen.fillRect(0, 0, W, picture.height);
    pen.fillStyle = ink.text; pen.font = "700 34px system-ui, sans-serif"; pen.fillText(document.title, margin, 58);
    pen.font = "22px system-ui, sans-serif"; pen.fillStyle = ink.soft; pen.fillText(byId("sentence").textContent, margin, 98, W - 2 * margin);
    const colours = palette().map((rgb, r) => (r ? [...rgb, ALPHA[r] || 215] : CLEAR));
    for (let t = 0; t < Math.min(f, shown * across); t++) {
      const x = margin + (t % across) * (cell + 12), y = 125 + Math.floor(t / across) * (cell + 36);
      pen.save(); pen.translate(x, y); drawBase(pen, t, cell); pen.restore();
      pen.fillStyle = badge(t, state.query.t) ? SEEN : UNSEEN; pen.fillRect(x, y, cell, cell);
      paintCells(pen, x, y, cell, (j) => colours[row[t * n + j]]);
      if (t === state.query.t) outline(pen, x, y, cell, state.query.i, MARK);
      pen.fillStyle = ink.text; pen.font = "600 18px system-ui, sans-serif"; pen.fillText(String(t), x, y + cell + 23);
    }
    const top = 125 + stripHeight + 8;
    pen.imageSmoothingEnabled = false; pen.drawImage(matrix, margin, top); pen.strokeStyle = ink.line; pen.strokeRect(margin, top, M_W, M_W);
    pen.font = "24px system-ui, sans-serif";
    [...byId("tiles").children].forEach((tile, i) => {
      const [name, big, ...rest] = [...tile.children].map((c) => c.textContent).filter(Boolean);
      pen.fillStyle = ink.soft; pen.font = "20px system-ui, sans-serif"; pen.fillText(name, margin + M_W + 50, top + 28 + i * 102);
      pen.fillStyle = ink.text; pen.font = "700 34px system-ui, sans-serif"; pen.fillText(big, margin + M_W + 50, top + 66 + i * 102);
      pen.fillStyle = ink.soft; pen.font = "17px system-ui, sans-serif"; pen.fillText(rest.join(" "), margin + M_W + 50, top + 90 + i * 102, W - M_W - 2 * margin - 50);
    });
    picture.toBlob((blob) => save(blob, "iasa-mask.png"), "image/png");
  }

  // ---- pointer and touch ----
  function onPointers() {
    const stripCanvas = byId("strip"), frame = byId("frame"), marks = byId("matrix-marks");
    stripCanvas.addEventListener("pointermove", (event) => { if (event.pointerType !== "touch") point(stripAt(event)); });
    stripCanvas.addEventListener("pointerleave", () => point(null));
    stripCanvas.addEventListener("click", (event) => choose(stripAt(event)));
    stripCanvas.addEventListener("dblclick", (event) => { const patch = stripAt(event); if (patch) { release(); state.query = patch; choose(patch); } });
    byId("scroller").addEventListener("scroll", drawStrip, { passive: true });
    for (const canvas of [stripCanvas, frame, marks]) canvas.addEventListener("keydown", onKey);

    const place = (event) => { const box = frame.getBoundingClientRect(); return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]; };
    frame.addEventListener("touchstart", (event) => { if (handleAt(event.touches[0], 26) >= 0) event.preventDefault(); }, { passive: false });
    frame.addEventListener("pointerdown", (event) => {
      const number = handleAt(event, event.pointerType === "touch" ? 26 : 15);
      if (number < 0) return;
      state.dragging = { number, at: place(event) }; state.handle = number;
      frame.setPointerCapture(event.pointerId);
      if (state.playing) togglePlay();
      drawFrame();
    });
    frame.addEventListener("pointermove", (event) => {
      if (state.dragging) {
        const [x, y] = place(event), [px, py] = state.dragging.at;
        state.dragging.at = [x, y]; state.dragging.moved = true;
        moveHandle(state.dragging.number, x - px, y - py);
        return;
      }
      frame.style.cursor = handleAt(event, 15) >= 0 ? "grab" : "crosshair";
      if (event.pointerType !== "touch") point(patchAt(state.query.t, ...place(event)));
    });
    const drop = (event) => { if (state.dragging) { state.dropped = state.dragging.moved; state.dragging = null; drawFrame(); frame.releasePointerCapture?.(event.pointerId); } };
    frame.addEventListener("pointerup", drop);
    frame.addEventListener("pointercancel", drop);
    frame.addEventListener("pointerleave", () => { if (!state.dragging) point(null); });
    frame.addEventListener("click", (event) => { if (state.dropped) { state.dropped = false; return; } if (handleAt(event, 10) < 0) choose(patchAt(state.query.t, ...place(event))); });

    const fingers = new Map();
    marks.addEventListener("pointerdown", (event) => { fingers.set(event.pointerId, [event.clientX, event.clientY]); if (event.pointerType !== "touch") marks.setPointerCapture(event.pointerId); });
    marks.addEventListener("pointermove", (event) => {
      const held = fingers.get(event.pointerId);
      if (!held) { if (event.pointerType !== "touch") pointPair(matrixAt(event)); return; }
      const box = byId("matrix").getBoundingClientRect(), now = [event.clientX, event.clientY], others = [...fingers].filter(([id]) => id !== event.pointerId);
      if (others.length) {
        const [ox, oy] = others[0][1], before = Math.hypot(held[0] - ox, held[1] - oy), after = Math.hypot(now[0] - ox, now[1] - oy);
        zoomBy(after / Math.max(1, before), (now[0] + ox) / 2 - box.left, (now[1] + oy) / 2 - box.top);
      } else panTo(state.zoom.x - (now[0] - held[0]) / state.zoom.scale, state.zoom.y - (now[1] - held[1]) / state.zoom.scale);
      fingers.set(event.pointerId, now);
    });
    for (const kind of ["pointerup", "pointercancel", "pointerleave"]) marks.addEventListener(kind, (event) => fingers.delete(event.pointerId));
    marks.addEventListener("touchmove", (event) => { if (event.touches.length > 1 || state.zoom.scale > fitScale() * 1.01) event.preventDefault(); }, { passive: false });
    marks.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && document.activeElement !== marks) return;
      event.preventDefault();
      const box = byId("matrix").getBoundingClientRect();
      zoomBy(Math.exp(-event.deltaY / 300), event.clientX - box.left, event.clientY - box.top);
    }, { passive: false });
    marks.addEventListener("click", (event) => pointPair(matrixAt(event), true));
    byId("heat").addEventListener("click", (event) => { const box = byId("heat").getBoundingClientRect(); lookFrom(Math.floor(((event.clientY - box.top) / box.height) * f)); });
    byId("heat").addEventListener("pointermove", (event) => {
      const box = byId("heat").getBoundingClientRect(), q = clamp(Math.floor(((event.clientY - box.top) / box.height) * f), 0, f - 1), k = clamp(Math.floor(((event.clientX - box.left) / box.width) * f), 0, f - 1);
      byId("sentence").textContent = M.explain(plan, q, state.query.i, k, state.query.i);
      byId("dot").style.background = "transparent";
    });
    byId("time").addEventListener("click", (event) => { const box = byId("time").getBoundingClientRect(); lookFrom(Math.floor(((event.clientX - box.left - 46) / (box.width - 52)) * f)); });
  }
  function pointPair(pair, keep = false) {
    if (!pair || (state.pinned && !keep)) return;
    const before = performance.now();
    state.query = pair.query; state.key = pair.key;
    if (keep) { state.pinned = state.keyPinned = true; drawFrame(); showSentence(true); }
    drawStrip(); showSentence(); drawMatrixMarks();
    timings.hover.push(performance.now() - before);
  }

  // ---- start ----
  // The template's own texts, where the page has another language.
  function translateTemplate() {
    document.documentElement.lang = german ? "de" : "en";
    for (const part of byId("explorer").querySelectorAll("*")) {
      if (!part.childElementCount && part.textContent.trim()) part.textContent = say(part.textContent.trim());
      for (const name of ["aria-label", "title"]) if (part.hasAttribute(name)) part.setAttribute(name, say(part.getAttribute(name)));
    }
  }

  function begin() {
    if (german) translateTemplate();
    restore(location.hash.slice(1));
    readTheme();
    if (!location.hash) state.query = firstQuery();
    byId("scrub").max = f - 1;
    byId("strip-hint").textContent = say("{f} frames of {rows} × {cols} patches", { f, rows: grid.rows, cols: grid.cols });
    byId("foot").textContent = data.note || "";
    byId("shows").append(...[["patch", say("what the patch sees")], ["regions", say("regions")]].map(([value, label]) => pick("seg", "lit", label, state.lit === value, "radio", () => { state.lit = value; drawStrip(); })));
    makeControls(); makeViews(); rebuild(); showControls(); layoutStrip(); show(state.view); drawAll(); onPointers();
    byId("play").onclick = togglePlay;
    byId("scrub").oninput = (event) => lookFrom(Number(event.target.value), false);
    byId("scrub").onchange = () => showSentence(true);
    byId("release").onclick = release;
    byId("png").onclick = savePicture;
    byId("json").onclick = () => save(new Blob([M.toJson(plan)], { type: "application/json" }), "iasa-plan.json");
    byId("link").onclick = copyLink;
    byId("theme").onclick = () => { state.theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark"; readTheme(); showKey(); drawAll(); remember(); };
    byId("reset-pose").onclick = () => {
      poses.xy.set(original.xy); state.edited.clear(); bases.clear();
      distance = M.poseDistance(poses, state.options.align); bits = M.regionBits(poses, grid, state.options.method);
      rebuild(); drawAll();
    };
    const word = (key, text) => element("tr", {}, element("td", {}, element("kbd", {}, key)), element("td", { style: "text-align:left" }, text));
    byId("help").onclick = () => tell(say("Everything works without a mouse. Go to the film strip, the frame or the matrix with Tab, then:"), element("table", {},
      word(say("arrows"), say("move the patch (in the matrix: pan)")), word(say("Page Up, Page Down"), say("the frame before, the frame after")), word(say("Enter"), say("hold the query; then the arrows choose the second patch")),
      word("Esc", say("let go")), word("p", say("play, pause")), word("[ ]", say("in the frame: choose a keypoint; arrows move it, with Shift further")), word("+ − 0", say("in the matrix: zoom in, out, whole"))));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readTheme(); drawAll(); });
    let width = innerWidth;
    new ResizeObserver(() => { if (width === innerWidth && strip.width === byId("scroller").clientWidth) return; width = innerWidth; layoutStrip(); drawAll(); }).observe(byId("explorer"));
    if (window.parent !== window) {
      const tell = () => window.parent.postMessage({ iasa: "size", height: byId("explorer").offsetHeight + 4 }, "*");
      new ResizeObserver(tell).observe(byId("explorer"));
    }
    window.addEventListener("message", (event) => {
      if (event.source !== window.parent || !event.data || event.data.iasa !== "host") return;
      host = String(event.data.href || "");
      const text = String(event.data.text || "");
      if (text) { restore(text); readTheme(); rebuild(); showControls(); show(state.view); drawAll(); }
    });
    if (window.parent !== window) window.parent.postMessage({ iasa: "hello" }, "*");
    (data.thumbnails || []).forEach((source, t) => {
      const image = new Image();
      image.onload = () => { bases.delete(t); clearTimeout(state.redraw); state.redraw = setTimeout(() => { drawFrame(); drawStrip(); }, 30); };
      image.src = source;
      images[t] = image;
    });
    timings.load = performance.now() - started;
  }
  // A patch that has much to show: one of a hand, else of the face, in the last frame that has it.
  function firstQuery() {
    for (const region of [1, 2, 0, 4]) for (let t = f - 1; t > 0; t--) {
      const found = [], alone = [];
      for (let i = 0; i < n; i++) {
        if ((bits[t * n + i] >> region) & 1) found.push(i);
        if (bits[t * n + i] === 1 << region) alone.push(i);
      }
      const best = alone.length ? alone : found;
      if (best.length) return { t, i: best[best.length >> 1] };
    }
    return { t: f - 1, i: n >> 1 };
  }

  begin();
  // Where a patch stands on the screen, for whoever drives the page from outside.
  const whereIs = (t, i) => {
    byId("scroller").scrollIntoView({ block: "center" });
    scrollTo(t);
    const box = byId("strip").getBoundingClientRect(), [x, y] = stripPlace(t), share = [((i % grid.cols) + 0.5) / grid.cols, (Math.floor(i / grid.cols) + 0.5) / grid.rows];
    return [box.left + x + share[0] * strip.size, box.top + y - byId("scroller").scrollTop + share[1] * strip.size];
  };
  return { state, timings, plan: () => plan, measured: () => measured, poses, settings, whereIs };
}

if (typeof module !== "undefined") module.exports = IasaMask;
else window.iasaExplorer = mountExplorer(JSON.parse(document.getElementById("data").textContent));
