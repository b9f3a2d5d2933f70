"""How a photograph's layers follow a pose: fixed weights of their points, and the turn, shift and stretch of each part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from iasa import keypoints as kp
from iasa.avatar.mesh import smoothstep
from iasa.avatar.photograph import ELBOWS, HANDS, SHOULDERS, WRISTS
from iasa.warp.matting import distance_to_bone

HIPS = (kp.LEFT_HIP, kp.RIGHT_HIP)
# Points of the face that neither lips, lids nor the jaw move: the head's own turn is measured on them.
CALM_FACE = (0, 1, 2, 14, 15, 16, 27, 28, 29, 30, 31, 33, 35, 36, 39, 42, 45)  # of the face's 68
HEAD = [*range(5), *range(kp.FACE.start, kp.FACE.stop)]
HAND_POINTS = [list(range(hand.start, hand.stop)) for hand in HANDS]
CHIN, BROW = kp.FACE.start + 8, (kp.FACE.start + 19, kp.FACE.start + 24)
TURN_RIDGE = 0.001  # of the head's turns out of the picture's plane
EDGE = 0.14  # of the picture's height, from its lower edge, over which the body neither rises nor sinks
NECK = 0.62  # heights of the face below the chin over which the head's movement fades into the trunk's
BESIDE = (1.25, 2.1)  # widths of half a face: hair within follows the head, what is beyond does not
NARROWER, FROM = 0.5, (-0.6, 0.1)  # that of these widths below the chin, where shoulders are; from where to where
SLEEVE = (0.13, 0.27)  # distances between the shoulders: what is nearer to the upper arm's bone follows it
FORESHORTENED = (0.12, 0.34)  # of that distance: a shorter bone points at the camera and shows no direction
STRETCH = (0.6, 1.7)  # of a bone
NARROWEST = (
    0.6  # of the distance between the shoulders and between the hips: a trunk that turns away becomes no narrower
)
JOIN = 0.5  # of the forearm, from the elbow, over which it takes over from the upper arm
HELD = (0.16, 0.05)  # distances between the shoulders from a hand's bones: what is nearer moves as the hand does
AFFINE_RIDGE = 0.1  # of a hand's movement as a whole
FINGER_WIDTH, RIDGE = 0.5, 0.25  # of what its fingers do besides: in widths of the palm, and how stiff


def fit_similarity(a: np.ndarray, b: np.ndarray, turn: float = 1.0, size: float = 1.0) -> np.ndarray:
    """Turn, scale and shift that bring points a [n, 2] closest to b, as a matrix [2, 3]; `turn` and `size` in 0..1 say how
    much of the turn and of the scale counts."""
    ma, mb = a.mean(0), b.mean(0)
    p, q = a - ma, b - mb
    norm = max(float((p * p).sum()), 1e-9)
    real, imaginary = float((p * q).sum()) / norm, float((p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum()) / norm
    scale, angle = np.hypot(real, imaginary) ** size, np.arctan2(imaginary, real) * turn
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[c, -s], [s, c]])
    return np.concatenate([linear, (mb - linear @ ma)[:, None]], 1)


def direction_shown(a: np.ndarray, b: np.ndarray, to_a: np.ndarray, to_b: np.ndarray, unit: float) -> float:
    """0 where a bone points at the camera, before or after: its direction in the picture is chance; else up to 1."""
    return float(smoothstep(*FORESHORTENED, np.array(min(np.linalg.norm(b - a), np.linalg.norm(to_b - to_a)) / unit)))


def carry_bone(a: np.ndarray, b: np.ndarray, to_a: np.ndarray, to_b: np.ndarray, unit: float) -> np.ndarray:
    """Turn and stretch of a bone a-b to its new place, [2, 3]; `unit` pixels between the shoulders. One that points at the
    camera only shifts."""
    u, v = b - a, to_b - to_a
    before, after = (float(np.linalg.norm(x)) for x in (u, v))
    shown = direction_shown(a, b, to_a, to_b, unit)
    angle = np.arctan2(u[0] * v[1] - u[1] * v[0], u @ v) * shown
    stretch = np.clip(after / max(before, 1e-6), *STRETCH) ** shown
    axis = u / max(before, 1e-6)
    along = np.outer(axis, axis)
    c, s = np.cos(angle), np.sin(angle)
    linear = np.array([[c, -s], [s, c]]) @ (np.eye(2) + (stretch - 1) * along)
    return np.concatenate([linear, (to_a - linear @ a)[:, None]], 1)


def keep_together(
    rest: np.ndarray, pose: np.ndarray, unseen: np.ndarray
) -> np.ndarray:  # [133, 2], [133, 2], bool [133]
    """A pose that tears nobody: what is unseen goes with what holds it, and the trunk is seen from the front.

    A face goes with the shoulders, a hand with its wrist, else its elbow; all else stays where the photograph has it. Arms
    of somebody seen from behind, whose left is the picture's left, hang from their shoulders as in the photograph.
    """
    pose = np.where(unseen[:, None], rest, pose)
    behind = (pose[SHOULDERS[0]] - pose[SHOULDERS[1]]) @ (rest[SHOULDERS[0]] - rest[SHOULDERS[1]]) < 0
    for left, right in (SHOULDERS, HIPS):
        span, now, middle = rest[left] - rest[right], pose[left] - pose[right], (pose[left] + pose[right]) / 2
        width = max(float(np.linalg.norm(span)), 1e-6)
        along = now @ span / width
        aside = now - along * span / width
        if along < NARROWEST * width:  # seen from the side or from behind
            along = NARROWEST * width
            aside *= min(1.0, along / max(float(np.linalg.norm(aside)), 1e-6))
            now = along * span / width + aside
            pose[left], pose[right] = middle + now / 2, middle - now / 2
    for shoulder, *arm in zip(SHOULDERS, ELBOWS, WRISTS, HAND_POINTS, strict=True) if behind else ():
        pose[np.hstack(arm)] = rest[np.hstack(arm)] + pose[shoulder] - rest[shoulder]
    holders = [(HEAD, SHOULDERS)] + [(hand, ends) for hand, *ends in zip(HAND_POINTS, WRISTS, ELBOWS, strict=True)]
    for part, ends in holders:
        held = [end for end in ends if not unseen[end]]
        if unseen[part].all() and held:
            held = held if part is HEAD else held[:1]
            pose[part] += (pose[held] - rest[held]).mean(0)
    return pose


def fit_turn(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The head's turn, scale and shift [2, 4] that bring points a [n, 3] of the photograph, with depths, closest to b [n, 2].

    A scaled rotation in three dimensions seen from afar (weak perspective), drawn towards a turn in the picture. Its size is
    that of the direction that shrinks least: squints, frowns and depths that are not quite right make a face look smaller.
    """
    ma, mb = a.mean(0), b.mean(0)
    p, q = a - ma, b - mb
    flat = fit_similarity(a[:, :2], b)[:, :2]
    gram = p.T @ p
    ridge = TURN_RIDGE * np.trace(gram) / 3 * np.diag([0.1, 0.1, 1.0])
    start = np.concatenate([flat, np.zeros((2, 1))], 1)
    linear = np.linalg.solve(gram + ridge, p.T @ q + ridge @ start.T).T  # [2, 3]
    u, sizes, vt = np.linalg.svd(linear, full_matrices=False)
    linear = sizes.max() * u @ vt
    return np.concatenate([linear, (mb - linear @ ma)[:, None]], 1)


def fit_affine(a: np.ndarray, b: np.ndarray, ridge: float) -> np.ndarray:
    """The affine map [2, 3] of points a [n, 2] onto b, drawn towards `fit_similarity` by `ridge` times the points' spread."""
    base = fit_similarity(a, b)
    p = a - a.mean(0)
    rest = b - apply(base, a)
    gram = p.T @ p
    extra = np.linalg.solve(gram + ridge * np.trace(gram) * np.eye(2), p.T @ (rest - rest.mean(0))).T
    linear = base[:, :2] + extra
    return np.concatenate([linear, (b.mean(0) - linear @ a.mean(0))[:, None]], 1)


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """[2, 3] on points [..., 2]."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def gaussian(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:  # [n, 2], [m, 2] -> [n, m]
    """Of the distances between points, `width` pixels."""
    return np.exp(-((a[:, None] - b[None]) ** 2).sum(-1) / (2 * width**2))


def spread(sources: np.ndarray, points: np.ndarray, width: float, ridge: float) -> np.ndarray:
    """[n, m]: movements of m sources [m, 2] -> of points [n, 2], the same at the sources and none far from them."""
    kernel = gaussian(sources, sources, width) + ridge * np.eye(len(sources))
    return gaussian(points, sources, width) @ np.linalg.inv(kernel)


@dataclass(frozen=True, eq=False)
class BodySkin:
    """Of the layer that holds head, trunk and upper arms; pixels."""

    rest: np.ndarray  # [133, 2]
    points: np.ndarray  # [v, 2]
    head: np.ndarray  # [v] share of the head's movement
    trunk: np.ndarray  # [v, 4] shares of shoulders and hips, (left, right) each
    arms: np.ndarray  # [v, 2] shares of the upper arms
    free: np.ndarray  # [v] 0 at the picture's lower edge, where the body goes on unseen and keeps its height; 1 above
    unit: float  # between the shoulders

    @classmethod
    def of(
        cls,
        rest: np.ndarray,
        seen: np.ndarray,
        points: np.ndarray,
        still: np.ndarray | None,
        size: int,
    ) -> BodySkin:
        """Of the pose [133, 2], [133] and points [v, 2] in a picture of `size`; `still` [v] 1 where something before the body
        keeps it from following the head."""
        left, right = rest[SHOULDERS[0]], rest[SHOULDERS[1]]
        unit = float(np.linalg.norm(left - right))
        head = _head_share(rest, points)
        if still is not None:
            head = head * (1 - still)
        arms = np.zeros((len(points), 2))
        for side in range(2):
            if seen[[SHOULDERS[side], ELBOWS[side]]].all():
                away, along = distance_to_bone(points, rest[SHOULDERS[side]], rest[ELBOWS[side]])
                arms[:, side] = smoothstep(SLEEVE[1], SLEEVE[0], away / unit) * smoothstep(0.05, 0.5, along)
        arms /= np.maximum(arms.sum(1, keepdims=True), 1)
        across = (left - right) / unit
        middle = (left + right) / 2
        share = np.clip(((points - middle) @ across) / unit + 0.5, -0.3, 1.3)  # 1 at the left shoulder
        hips = (
            rest[list(HIPS)].mean(0)
            if seen[list(HIPS)].all()
            else middle + 1.6 * unit * np.array([-across[1], across[0]])
        )
        down = (hips - middle) / max(1e-6, float(np.linalg.norm(hips - middle)))
        lower = np.clip(((points - middle) @ down) / max(1e-6, float(np.linalg.norm(hips - middle))), 0, 1.2)
        trunk = np.stack([share * (1 - lower), (1 - share) * (1 - lower), share * lower, (1 - share) * lower], 1)
        free = smoothstep(1.0, 1.0 - EDGE, points[:, 1] / size)
        return cls(rest, points, head, trunk, arms, free, unit)

    def place(self, pose: np.ndarray, head: np.ndarray) -> np.ndarray:
        """Points [v, 2] of a pose [133, 2], where the head alone would take them to `head` [v, 2]."""
        rest = self.rest
        moves = pose[[*SHOULDERS, *HIPS]] - rest[[*SHOULDERS, *HIPS]]
        moved = self.points + self.trunk @ moves
        for side in range(2):
            if self.arms[:, side].any():
                shoulder, elbow = SHOULDERS[side], ELBOWS[side]
                bone = carry_bone(rest[shoulder], rest[elbow], pose[shoulder], pose[elbow], self.unit)
                moved = moved + self.arms[:, side, None] * (apply(bone, self.points) - moved)
        moved = moved + self.head[:, None] * (head - moved)
        moved[:, 1] += (1 - self.free) * (self.points[:, 1] - moved[:, 1])
        return moved


def _head_share(rest: np.ndarray, points: np.ndarray) -> np.ndarray:
    chin, brow = rest[CHIN], rest[list(BROW)].mean(0)
    height = float(np.linalg.norm(chin - brow))
    down = (chin - brow) / height
    across = np.array([-down[1], down[0]])
    below = (points - chin) @ down / height
    beside = np.abs((points - (chin + brow) / 2) @ across) / (0.72 * height)
    width = np.interp(below, FROM, (1.0, NARROWER))
    return smoothstep(NECK, -0.05, below) * smoothstep(BESIDE[1], BESIDE[0], beside / width)


@dataclass(frozen=True, eq=False)
class ForearmSkin:
    """Of the layer of a forearm and its hand; pixels."""

    side: int
    rest: np.ndarray  # [133, 2]
    points: np.ndarray  # [v, 2]
    forearm: np.ndarray  # [v] against the upper arm
    along: np.ndarray  # [v] 0 at the elbow, 1 at the hand
    hand: np.ndarray  # [v] against both
    fingers: np.ndarray  # [v, 21] from the hand's points
    unit: float

    @classmethod
    def of(cls, side: int, rest: np.ndarray, points: np.ndarray) -> ForearmSkin:
        unit = float(np.linalg.norm(rest[SHOULDERS[0]] - rest[SHOULDERS[1]]))
        hand, elbow = rest[HANDS[side]], rest[ELBOWS[side]]
        length = max(float(np.linalg.norm(hand[0] - elbow)), 0.3 * unit)
        to_elbow = np.linalg.norm(points - elbow, axis=-1)
        to_hand = np.min([distance_to_bone(points, hand[a], hand[b])[0] for a, b in _HAND_BONES], 0)
        palm = max(float(np.linalg.norm(hand[5] - hand[17])), float(np.linalg.norm(hand[0] - hand[9])), 0.12 * unit)
        return cls(
            side, rest, points,
            forearm=smoothstep(0.0, JOIN * length, to_elbow),
            along=smoothstep(0.1, 0.9, to_elbow / (to_elbow + to_hand + 1e-6)),
            hand=smoothstep(*HELD, to_hand / unit),
            fingers=spread(hand, points, FINGER_WIDTH * palm, RIDGE),
            unit=unit,
        )  # fmt: skip

    def place(self, pose: np.ndarray) -> np.ndarray:
        """Points [v, 2] of a pose [133, 2]."""
        rest, where = self.rest, HANDS[self.side]
        shoulder, elbow = SHOULDERS[self.side], ELBOWS[self.side]
        hand, new = rest[where], pose[where]
        upper = apply(carry_bone(rest[shoulder], rest[elbow], pose[shoulder], pose[elbow], self.unit), self.points)
        bone = (rest[elbow], hand[0], pose[elbow], new[0])
        shown = direction_shown(*bone, self.unit)
        shift = pose[elbow] - rest[elbow] + self.along[:, None] * (new[0] - hand[0] - pose[elbow] + rest[elbow])
        fore = shown * apply(carry_bone(*bone, self.unit), self.points) + (1 - shown) * (self.points + shift)
        palm = fit_affine(hand, new, AFFINE_RIDGE)
        held = apply(palm, self.points) + self.fingers @ (new - apply(palm, hand))
        moved = upper + self.forearm[:, None] * (fore - upper)
        return moved + self.hand[:, None] * (held - moved)


_HAND_BONES = tuple(
    (a, b)
    for a, b in (
        *((0, f) for f in (1, 5, 9, 13, 17)),
        *((f + k, f + k + 1) for f in (1, 5, 9, 13, 17) for k in range(3)),
    )
)
