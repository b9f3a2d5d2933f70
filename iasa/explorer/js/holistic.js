// What mediapipe's Holistic finds in a camera's picture as a pose of the 133 points, fitted to the clip's speaker.

import { RULE, range } from "./data.js";

const FEWEST = 0.5; // visibility from which a body point counts

// x, y in units of the picture's shorter side and confidence of each point, [133] of [x, y, c]; `found` is the result of
// `detectForVideo`, of pictures of width x height.
export function readHolistic(found, width, height) {
  const parts = [found.faceLandmarks, found.poseLandmarks, found.leftHandLandmarks, found.rightHandLandmarks].map((some) => some && some[0]),
    side = Math.min(width, height);
  return RULE.holistic.map(([part, index]) => {
    const point = parts[part] && parts[part][index];
    if (!point) return [0, 0, 0];
    const sure = part === 1 ? (point.visibility ?? 1) : 1;
    return [(point.x * width) / side, (point.y * height) / side, sure >= FEWEST ? sure : 0];
  });
}

// The points moved and scaled so that their shoulders have the middle and the distance of two given places; null where a
// shoulder is not seen.
export function fitToShoulders(points, left, right) {
  const { left_shoulder, right_shoulder } = RULE.joints,
    [a, b] = [points[left_shoulder], points[right_shoulder]];
  if (!(a[2] > 0 && b[2] > 0)) return null;
  const wide = Math.hypot(a[0] - b[0], a[1] - b[1]),
    scale = Math.hypot(left[0] - right[0], left[1] - right[1]) / Math.max(wide, 1e-6),
    shift = range(0, 2).map((c) => (left[c] + right[c]) / 2 - (scale * (a[c] + b[c])) / 2);
  return points.map(([x, y, sure]) => [scale * x + shift[0], scale * y + shift[1], sure]);
}
