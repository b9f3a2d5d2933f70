// Where the points of a pose go when one of them is dragged: arms and fingers bend, but their bones keep their length.

import { PAGE, RULE, clamp } from "./data.js";
import { poses } from "./state.js";

const ARMS = PAGE.drawing.arms; // of each side: shoulder, elbow, wrist, and the points of the hand
const ROUNDS = 12; // of reaching back and forth along a finger

export const placeOf = (t, point) => [
  poses.xy[2 * (t * RULE.points + point)],
  poses.xy[2 * (t * RULE.points + point) + 1],
];
// The same in units of the picture's shorter side, in which lengths are measured.
const metric = (t, point) => placeOf(t, point).map((v, c) => v * poses.extent[c]);
const isSeen = (t, point) => poses.confidence[t * RULE.points + point] > 0;
const lengthOf = (a, b) => Math.hypot(b[0] - a[0], b[1] - a[1]);

// The place at `length` from a in the direction of b.
function towards(a, b, length) {
  const far = Math.max(lengthOf(a, b), 1e-9);
  return [a[0] + ((b[0] - a[0]) * length) / far, a[1] + ((b[1] - a[1]) * length) / far];
}

// Elbow and wrist of an arm that reaches for a place, no further than it can: the elbow stays on its side.
function bend(s, e, w, target) {
  const upper = lengthOf(s, e),
    lower = lengthOf(e, w),
    reached = Math.max(clamp(lengthOf(s, target), Math.abs(upper - lower), upper + lower), 1e-6),
    wrist = towards(s, target, reached);
  const along = (upper ** 2 - lower ** 2 + reached ** 2) / (2 * reached),
    aside = Math.sqrt(Math.max(0, upper ** 2 - along ** 2)),
    side = (w[0] - s[0]) * (e[1] - s[1]) - (w[1] - s[1]) * (e[0] - s[0]) < 0 ? -1 : 1,
    [ux, uy] = [(wrist[0] - s[0]) / reached, (wrist[1] - s[1]) / reached];
  return [[s[0] + along * ux - side * aside * uy, s[1] + along * uy + side * aside * ux], wrist];
}

// A chain whose first place stays and whose last one goes for a target (FABRIK, Aristidou and Lasenby 2011).
export function reachAlong(places, target) {
  const lengths = places.slice(1).map((place, i) => lengthOf(places[i], place)),
    chain = places.map((place) => [...place]),
    last = chain.length - 1;
  for (let round = 0; round < ROUNDS; round++) {
    chain[last] = [...target];
    for (let i = last - 1; i >= 0; i--) chain[i] = towards(chain[i + 1], chain[i], lengths[i]);
    chain[0] = [...places[0]];
    for (let i = 1; i <= last; i++) chain[i] = towards(chain[i - 1], chain[i], lengths[i - 1]);
  }
  return chain;
}

// [point, dx, dy] of every point that moves when a handle of frame t is pulled to (x, y) of the picture.
export function shiftsOf(handle, t, x, y) {
  const target = [x * poses.extent[0], y * poses.extent[1]],
    at = (point) => metric(t, point);
  const moved = (points, from, to) =>
    points.map((point) => [point, (to[0] - from[0]) / poses.extent[0], (to[1] - from[1]) / poses.extent[1]]);
  if (handle.chain) {
    const points = handle.chain.filter((point) => isSeen(t, point)),
      places = points.map(at),
      goes = places.length > 1 ? reachAlong(places, target) : [target];
    return points.flatMap((point, i) => moved([point], places[i], goes[i]));
  }
  const arm = ARMS.find(({ shoulder, elbow, wrist }) => [shoulder, elbow, wrist].includes(handle.point));
  if (!arm) return moved(handle.followers, at(handle.point), target);
  const { shoulder, elbow, wrist } = arm,
    hand = [wrist, ...arm.hand],
    other = ARMS.find((one) => one !== arm).shoulder;
  // The joint that its bone turns about, and what is carried along.
  const turned = (about, points) => {
    const from = at(handle.point);
    return moved(points, from, isSeen(t, about) ? towards(at(about), target, lengthOf(at(about), from)) : target);
  };
  if (handle.point === shoulder) return turned(other, [shoulder, elbow, ...hand]);
  if (handle.point === elbow) return turned(shoulder, [elbow, ...hand]);
  if (!isSeen(t, shoulder) || !isSeen(t, elbow)) return turned(elbow, hand);
  const [e, w] = bend(at(shoulder), at(elbow), at(wrist), target);
  return [...moved([elbow], at(elbow), e), ...moved(hand, at(wrist), w)];
}
