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

  const listed = (words) => (words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words[words.length - 1]}`);
  const namesOf = (bits) => REGIONS.filter((_, r) => (bits >> r) & 1);
  const shownPart = (bits) => (bits ? `the ${listed(namesOf(bits))}` : "background");
  const ordinal = (i) => {
    const teen = i % 100 > 10 && i % 100 < 14;
    return i + (teen ? "th" : ["th", "st", "nd", "rd"][i % 10] || "th");
  };
  const figure = (x) => (x === Infinity ? "∞" : x.toFixed(x < 0.1 ? 3 : 2));

  // A sentence that says why a patch does or does not see another one.
  function explain(plan, tq, i, tk, j) {
    const { n, options, distance } = plan, f = plan.grid.frames;
    const reason = reasonOf(plan, tq, i, tk, j), mine = plan.bits[tq * n + i], other = plan.bits[tk * n + j];
    if (reason === REASON.own) return `Visible: a frame sees all of itself (frame ${tq}).`;
    if (reason === REASON.sink) return "Visible: frame 0 is the sink, the reference that every frame sees whole.";
    if (options.causal && tk > tq) return `Hidden: frame ${tk} lies in the future of frame ${tq}; attention is causal.`;
    const S = distance[tq * f + tk], rank = plan.ranked[tq].indexOf(tk), limit = plan.ranked[tq][options.top_k - 1];
    const among = options.causal ? "past frames" : "frames";
    const kept = options.top_k === 1 ? `the most similar of the ${among}` : `among the ${options.top_k} most similar ${among}`;
    if (plan.past[tq].includes(tk)) {
      const chosen = plan.table[tq].indexOf(tk) < options.top_k;
      const why = chosen
        ? `frame ${tk} is the ${rank ? ordinal(rank + 1) + " " : ""}most similar of frame ${tq}'s ${among} (distance ${figure(S)})`
        : `frame ${tk} lies in the window next to frame ${tq}`;
      if (!options.local) return `Visible: ${why}, and without the local mask it is seen whole.`;
      if (mine & other) return `Visible: ${why}, and both patches show ${shownPart(mine & other)}.`;
      const apart = !mine || !other
        ? `${!mine && !other ? "both patches are" : `the ${!mine ? "query" : "key"} patch is`} background, which sees its own frame only`
        : `the patches share no region: ${shownPart(mine)} here, ${shownPart(other)} there`;
      if (reason === REASON.block) return `Computed but not needed: ${apart}; yet their ${options.block} × ${options.block} block holds a pair that is.`;
      return `Hidden: ${why}, but ${apart}.`;
    }
    if (S === Infinity) return `Hidden: frames ${tq} and ${tk} share fewer than two seen keypoints, so their distance is infinite.`;
    if (rank < 0) return `Hidden: frame ${tk} is ${Math.abs(tq - tk)} frames away; only ${options.reach} are searched.`;
    if (!options.top_k) return `Hidden: K is 0, so no frame is chosen by its pose (distance ${figure(S)}).`;
    const more = distance[tq * f + limit], sign = figure(S) === figure(more) ? "≥" : ">";
    return `Hidden: frame ${tk} is not ${kept} of frame ${tq}: distance ${figure(S)} ${sign} ${figure(more)}.`;
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

  // The share of each (layer, head)'s attention that the mask keeps, for one query frame or (t < 0) their mean.
  // attention: mass and shared, [layers * heads * f * f] of 0..1: all of it, and what meets in a common region.
  function recall(plan, attention, layer, head, t = -1) {
    const f = plan.grid.frames, start = (layer * attention.heads + head) * f * f;
    const rows = t < 0 ? range(1, f) : [t];
    let sum = 0, all = 0;
    for (const q of rows) {
      for (let k = 0; k < f; k++) {
        const at = start + q * f + k;
        all += attention.mass[at];
        if (q === k || (k === 0 && hasSink(plan, q))) sum += attention.mass[at];
        else if (plan.past[q].includes(k)) sum += attention.shared[at];
      }
    }
    return all ? sum / all : 1;
  }

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
    try { data = JSON.parse(text); } catch { throw new Error("The file is not JSON."); }
    if (!data || data.kind !== "iasa attention plan" || data.version !== 1) throw new Error("The file is not an attention plan.");
    const g = data.grid || {}, f = grid.frames, n = grid.rows * grid.cols;
    if (g.frames !== f || g.rows !== grid.rows || g.cols !== grid.cols) {
      throw new Error(`Its grid is ${g.frames} × ${g.rows} × ${g.cols}; ${f} × ${grid.rows} × ${grid.cols} is shown here.`);
    }
    const bits = decode(String(data.region_bits), Uint8Array);
    const table = data.frame_table, options = { ...DEFAULTS, permute, ...data.options, ...data.explorer };
    const good = bits.length === f * n && bits.every((b) => b < SIGNATURES) && Array.isArray(table) && table.length === f
      && table.every((row) => Array.isArray(row) && row.every((s) => Number.isInteger(s) && s >= -1 && s < f)) && options.block >= 1;
    if (!good) throw new Error("The plan's frame table or region bits are damaged.");
    const distance = data.distance ? Float64Array.from(decode(String(data.distance), Float32Array)) : new Float64Array(f * f);
    const plan = makePlan({ frames: f }, grid, options, bits, distance);
    plan.table = table;
    plan.past = table.map((row) => [...new Set(row)].filter((s) => s >= 0 && !(options.sink && s === 0)).sort((a, b) => a - b));
    return plan;
  }

  return {
    POINTS, REGIONS, SIGNATURES, BLOCKS, DEFAULTS, REASON, REASONS, UPPER_BODY, PARTS, LEFT_HAND, RIGHT_HAND, FACE,
    poseDistance, rankFrames, frameTable, regionReference, frameBits, regionBits, permutation, pooledBits, makePlan,
    countPairs, measure, reasonOf, rowReasons, explain, keysByReason, comparePlans, recall, hasSink, lowestBit, figure,
    writeSettings, readSettings, decode, encode, toJson, fromJson, namesOf, ordinal,
  };
})();

if (typeof module !== "undefined") module.exports = IasaMask;
