// The global mask as iasa/masks/similarity.py has it: S(tq, tk) of every two poses.

import { RULE } from "./data.js";

// The picture's width and height in units of its shorter side, in which all distances are measured.
export const extentOf = ({ aspect = 1 }) => [Math.max(aspect, 1), Math.max(1 / aspect, 1)];

// S of every two frames, Float64Array [f * f]. The best rotation of centred points, written as complex numbers, is
// c / |c| with c = sum w z_q conj(z_k); the squared residual is var_q + var_k - 2 |c|. `align` off leaves the poses
// where they stand. `poses` has the picture's `extent`. Given an `old` S, only the row and column of frame `changed` are computed anew.
export function poseDistance(poses, align = true, old = null, changed = -1) {
  const { xy, confidence, frames: f, extent } = poses,
    P = RULE.upper_body.length;
  const x = new Float64Array(f * P),
    y = new Float64Array(f * P),
    w = new Float64Array(f * P);
  for (let t = 0; t < f; t++) {
    let sum = 0,
      mx = 0,
      my = 0;
    for (let i = 0; i < P; i++) {
      const at = t * RULE.points + RULE.upper_body[i],
        c = confidence[at];
      w[t * P + i] = c;
      if (c > 0) {
        x[t * P + i] = extent[0] * xy[2 * at];
        y[t * P + i] = extent[1] * xy[2 * at + 1];
      }
      sum += c;
      mx += c * x[t * P + i];
      my += c * y[t * P + i];
    }
    if (!align) continue;
    const scale = 1 / Math.max(sum, Number.MIN_VALUE);
    for (let i = 0; i < P; i++) {
      x[t * P + i] -= mx * scale;
      y[t * P + i] -= my * scale;
    }
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
  let total = 0,
    common = 0,
    qx = 0,
    qy = 0,
    kx = 0,
    ky = 0,
    qq = 0,
    kk = 0,
    re = 0,
    im = 0;
  for (let i = 0; i < P; i++) {
    const weight = w[q + i] * w[k + i];
    if (!(weight > 0)) continue;
    const ax = x[q + i],
      ay = y[q + i],
      bx = x[k + i],
      by = y[k + i];
    common += 1;
    total += weight;
    qx += weight * ax;
    qy += weight * ay;
    kx += weight * bx;
    ky += weight * by;
    qq += weight * (ax * ax + ay * ay);
    kk += weight * (bx * bx + by * by);
    re += weight * (ax * bx + ay * by);
    im += weight * (ay * bx - ax * by);
  }
  if (common < 2) return Infinity;
  const s = 1 / total;
  qx *= s;
  qy *= s;
  kx *= s;
  ky *= s;
  const varQ = qq * s - (qx * qx + qy * qy),
    varK = kk * s - (kx * kx + ky * ky);
  const c = Math.hypot(re * s - (qx * kx + qy * ky), im * s - (qy * kx - qx * ky));
  const residual = varQ + varK - 2 * c;
  // Within rounding of the sums it is a tie at zero: equal poses must be exactly equally near.
  return residual > 64 * Number.EPSILON * (varQ + varK) ? Math.sqrt(P * residual) : 0;
}

function asTheyStand(x, y, w, q, k, P) {
  let total = 0,
    common = 0,
    sum = 0;
  for (let i = 0; i < P; i++) {
    const weight = w[q + i] * w[k + i];
    if (!(weight > 0)) continue;
    common += 1;
    total += weight;
    sum += weight * ((x[q + i] - x[k + i]) ** 2 + (y[q + i] - y[k + i]) ** 2);
  }
  return common < 2 ? Infinity : Math.sqrt((P * sum) / total);
}
