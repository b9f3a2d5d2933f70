// Where the points of a pose go when one of them is dragged: an arm bends, but its bones keep their length.

import { PAGE, RULE, clamp } from "./data.js";
import { poses } from "./state.js";

const ARMS = PAGE.drawing.arms; // of each side: shoulder, elbow, wrist, and the points of the hand

export const placeOf = (t, point) => [
  poses.xy[2 * (t * RULE.points + point)],
  poses.xy[2 * (t * RULE.points + point) + 1],
];
const shifted = (points, dx, dy) => points.map((point) => [point, dx, dy]);

// [point, dx, dy] of every point that moves when a handle of frame t is pulled to (x, y).
export function shiftsOf(handle, t, x, y) {
  const [hx, hy] = placeOf(t, handle.point),
    arm = ARMS.find(({ shoulder, elbow, wrist }) => [shoulder, elbow, wrist].includes(handle.point));
  const seen = (point) => poses.confidence[t * RULE.points + point] > 0;
  if (!arm || ![arm.shoulder, arm.elbow, arm.wrist].every(seen)) return shifted(handle.followers, x - hx, y - hy);
  const hand = [arm.wrist, ...arm.hand];
  if (handle.point === arm.shoulder) return shifted([arm.shoulder, arm.elbow, ...hand], x - hx, y - hy);
  const [sx, sy] = placeOf(t, arm.shoulder),
    [ex, ey] = placeOf(t, arm.elbow),
    [wx, wy] = placeOf(t, arm.wrist);
  const upper = Math.hypot(ex - sx, ey - sy),
    lower = Math.hypot(wx - ex, wy - ey),
    far = Math.max(Math.hypot(x - sx, y - sy), 1e-6);
  const ux = (x - sx) / far,
    uy = (y - sy) / far; // from the shoulder to where the pull goes
  if (handle.point === arm.elbow) return shifted([arm.elbow, ...hand], sx + upper * ux - ex, sy + upper * uy - ey);
  // The wrist goes as far as the arm reaches, and the elbow stays on its side of the line from the shoulder to the wrist.
  const reached = Math.max(clamp(far, Math.abs(upper - lower), upper + lower), 1e-6);
  const along = (upper ** 2 - lower ** 2 + reached ** 2) / (2 * reached),
    aside = Math.sqrt(Math.max(0, upper ** 2 - along ** 2));
  const side = (wx - sx) * (ey - sy) - (wy - sy) * (ex - sx) < 0 ? -1 : 1;
  return [
    [arm.elbow, sx + along * ux - side * aside * uy - ex, sy + along * uy + side * aside * ux - ey],
    ...shifted(hand, sx + reached * ux - wx, sy + reached * uy - wy),
  ];
}
