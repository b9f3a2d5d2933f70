// The local mask as iasa/masks/regions.py has it: which tokens of a frame show which region, read from the pose.

import { RULE, clamp, range } from "./data.js";

const JOINT = RULE.joints; // left_shoulder, right_shoulder, left_hip, right_hip
const ANGLES = range(0, RULE.directions).map((d) => (d * 2 * Math.PI) / RULE.directions);
const COS = Float64Array.from(ANGLES, Math.cos),
  SIN = Float64Array.from(ANGLES, Math.sin);

// The shoulders' distance in the first frame that shows both, and that frame: those before it know nothing of it.
function shoulderWidth(poses) {
  for (let t = 0; t < poses.frames; t++) {
    const a = t * RULE.points + JOINT.left_shoulder,
      b = t * RULE.points + JOINT.right_shoulder;
    if (poses.confidence[a] > 0 && poses.confidence[b] > 0) {
      const [right, down] = [0, 1].map((c) => poses.extent[c] * (poses.xy[2 * a + c] - poses.xy[2 * b + c])),
        width = Math.hypot(right, down);
      return { scale: Math.max(width, RULE.narrowest_shoulders), since: t };
    }
  }
  return { scale: RULE.usual_shoulders, since: 0 };
}

// One frame's coordinates (in units of the picture's shorter side) and confidences, in which a hip that is not seen stands square below its shoulder.
function withHips(poses, t, scale) {
  const xy = Float64Array.from(poses.xy.subarray(2 * t * RULE.points, 2 * (t + 1) * RULE.points));
  for (let i = 0; i < xy.length; i++) xy[i] *= poses.extent[i % 2];
  const confidence = Float64Array.from(poses.confidence.subarray(t * RULE.points, (t + 1) * RULE.points));
  let ax = xy[2 * JOINT.left_shoulder] - xy[2 * JOINT.right_shoulder],
    ay = xy[2 * JOINT.left_shoulder + 1] - xy[2 * JOINT.right_shoulder + 1];
  const length = Math.max(Math.hypot(ax, ay), 1e-6);
  ax /= length;
  ay /= length;
  const sign = ax < 0 ? -1 : 1; // down is (-ay, ax), turned so that it points down the picture
  const both = Math.min(confidence[JOINT.left_shoulder], confidence[JOINT.right_shoulder]);
  for (const [shoulder, hip] of [
    [JOINT.left_shoulder, JOINT.left_hip],
    [JOINT.right_shoulder, JOINT.right_hip],
  ]) {
    if (confidence[hip] > 0) continue;
    xy[2 * hip] = xy[2 * shoulder] - sign * ay * RULE.torso * scale;
    xy[2 * hip + 1] = xy[2 * shoulder + 1] + sign * ax * RULE.torso * scale;
    confidence[hip] = both;
  }
  return { xy, confidence };
}

const partsOf = (method) => (method === "body" ? RULE.body_parts : RULE.parts);

const countSeen = (part, pose) => part.points.reduce((n, i) => n + (pose.confidence[i] > 0 ? 1 : 0), 0);

// What the region labels of every frame share: the scale and, for mls, each part's shape in the first frame that
// shows it (with that frame's number).
export function regionReference(poses, method) {
  const { scale, since } = shoulderWidth(poses);
  const shapes = partsOf(method).map((part) => {
    if (method !== "mls") return null;
    for (let t = 0; t < poses.frames; t++) {
      const pose = withHips(poses, t, scale);
      if (countSeen(part, pose) >= part.fewest) return { ...pose, frame: t };
    }
    return null;
  });
  return { scale, since, shapes, method, extent: poses.extent };
}

// Rigid moving least squares (Schaefer et al. 2006, alpha = 1) with control points `source` that go to `target`: a
// function that writes where (x, y) goes into `place`.
function makeWarp(source, target, weight) {
  const total = Math.max(
    weight.reduce((sum, w) => sum + w, 0),
    1e-12,
  );
  const mean = (values) => values.reduce((sum, v, i) => sum + weight[i] * v, 0) / total;
  const sx = mean(source.x),
    sy = mean(source.y),
    tx = mean(target.x),
    ty = mean(target.y);
  const px = source.x.map((v) => v - sx),
    py = source.y.map((v) => v - sy); // centred, as iasa.masks.regions centres them
  const qx = target.x.map((v) => v - tx),
    qy = target.y.map((v) => v - ty);
  return (x, y, place) => {
    const vx = x - sx,
      vy = y - sy;
    let W = 0,
      mpx = 0,
      mpy = 0,
      mqx = 0,
      mqy = 0,
      re = 0,
      im = 0;
    for (let i = 0; i < px.length; i++) {
      const w = weight[i] / ((vx - px[i]) ** 2 + (vy - py[i]) ** 2 + RULE.softening) ** RULE.exponent;
      W += w;
      mpx += w * px[i];
      mpy += w * py[i];
      mqx += w * qx[i];
      mqy += w * qy[i];
      re += w * (px[i] * qx[i] + py[i] * qy[i]);
      im += w * (px[i] * qy[i] - py[i] * qx[i]);
    }
    W = Math.max(W, 1e-12);
    mpx /= W;
    mpy /= W;
    mqx /= W;
    mqy /= W;
    re = re / W - (mpx * mqx + mpy * mqy);
    im = im / W - (mpx * mqy - mpy * mqx);
    const length = Math.hypot(re, im),
      still = length < 1e-12; // one control point: no rotation
    const cos = still ? 1 : re / length,
      sin = still ? 0 : im / length;
    place[0] = cos * (vx - mpx) - sin * (vy - mpy) + mqx + tx;
    place[1] = sin * (vx - mpx) + cos * (vy - mpy) + mqy + ty;
  };
}

// How far outside the hull of the points a place lies, a function of x and y: for two points the exact distance from the
// segment, for more the furthest of the half planes that touch the hull.
function makeHull({ x, y }, seen) {
  if (x.length === 2) {
    const bx = x[1] - x[0],
      by = y[1] - y[0],
      square = Math.max(bx * bx + by * by, 1e-12);
    return (px, py) => {
      const share = clamp(((px - x[0]) * bx + (py - y[0]) * by) / square, 0, 1);
      return Math.hypot(px - x[0] - share * bx, py - y[0] - share * by);
    };
  }
  const extent = new Float64Array(COS.length).fill(-Infinity);
  for (let i = 0; i < x.length; i++) {
    if (!(seen[i] > 0)) continue;
    for (let d = 0; d < COS.length; d++) extent[d] = Math.max(extent[d], COS[d] * x[i] + SIN[d] * y[i]);
  }
  return (px, py) => {
    let beyond = -Infinity;
    for (let d = 0; d < COS.length; d++) beyond = Math.max(beyond, COS[d] * px + SIN[d] * py - extent[d]);
    return beyond;
  };
}

// How far inside a part each token of a frame lies (negative: outside), Float64Array [n] in units of the shorter side; null where the
// part is absent. For mls the tokens are carried to the part's `shape` first.
function partMargin(part, shape, pose, grid, reference) {
  const moves = reference.method === "mls";
  if (moves && !shape) return null;
  const { rows, cols } = grid,
    target = moves ? shape : pose,
    [ex, ey] = reference.extent;
  const weight = part.points.map((i) => pose.confidence[i] * (moves ? shape.confidence[i] : 1));
  if (weight.filter((w) => w > 0).length < part.fewest) return null;
  const pointsOf = ({ xy }) => ({ x: part.points.map((i) => xy[2 * i]), y: part.points.map((i) => xy[2 * i + 1]) });
  const warp = moves ? makeWarp(pointsOf(pose), pointsOf(target), weight) : null;
  const beyond = makeHull(
    pointsOf(target),
    part.points.map((i) => target.confidence[i]),
  );
  const reach = part.radius * reference.scale + 0.5 * Math.max(ey / rows, ex / cols);
  const margin = new Float64Array(rows * cols),
    place = new Float64Array(2);
  for (let token = 0; token < margin.length; token++) {
    place[0] = (ex * ((token % cols) + 0.5)) / cols;
    place[1] = (ey * (Math.floor(token / cols) + 0.5)) / rows;
    if (warp) warp(place[0], place[1], place);
    margin[token] = reach - beyond(place[0], place[1]);
  }
  return margin;
}

// Region bits of one frame, Uint8Array [n]. `closest`, if given, takes each token's smallest |margin|.
export function frameBits(poses, t, grid, whole, closest = null) {
  const reference = t < whole.since ? { ...whole, scale: RULE.usual_shoulders } : whole,
    bits = new Uint8Array(grid.rows * grid.cols),
    pose = withHips(poses, t, reference.scale);
  partsOf(reference.method).forEach((part, number) => {
    const margin = partMargin(part, reference.shapes[number], pose, grid, reference);
    if (!margin) return;
    for (let token = 0; token < bits.length; token++) {
      if (margin[token] >= 0) bits[token] |= 1 << part.region;
      if (closest) closest[token] = Math.min(closest[token], Math.abs(margin[token]));
    }
  });
  return bits;
}

export function regionBits(poses, grid, method, closest = null) {
  const n = grid.rows * grid.cols,
    bits = new Uint8Array(poses.frames * n),
    reference = regionReference(poses, method);
  for (let t = 0; t < poses.frames; t++) {
    bits.set(frameBits(poses, t, grid, reference, closest && closest.subarray(t * n, (t + 1) * n)), t * n);
  }
  return bits;
}
