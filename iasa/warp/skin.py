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
LEFT_SIDE, RIGHT_SIDE = (
    [SHOULDERS[side], ELBOWS[side], WRISTS[side], HIPS[side], *HAND_POINTS[side]] for side in range(2)
)
CHIN, BROW = kp.FACE.start + 8, (kp.FACE.start + 19, kp.FACE.start + 24)
TURN_RIDGE = 0.001  # of the head's turns out of the picture's plane
EDGE = 0.14  # of the picture's height, from its lower edge, over which the body neither rises nor sinks
NECK = 0.62  # heights of the face below the chin over which the head's movement fades into the trunk's
BESIDE = (1.25, 2.1)  # widths of half a face: hair within follows the head, what is beyond does not
NARROWER, FROM = 0.5, (-0.6, 0.1)  # that of these widths below the chin, where shoulders are; from where to where
WIDER, HAIR = 2.0, -0.9  # and so far above the chin wider: there is nothing but hair
SLEEVE = (0.13, 0.27)  # distances between the shoulders: what is nearer to the upper arm's bone follows it
FORESHORTENED = (0.12, 0.34)  # of that distance: a shorter bone points at the camera and shows no direction
STRETCH = (0.6, 1.7)  # of a bone
NARROWEST = (
    0.6  # of the distance between the shoulders and between the hips: a trunk that turns away becomes no narrower
)
JOIN = 0.5  # of the forearm, from the elbow, over which it takes over from the upper arm
HELD = (0.16, 0.05)  # distances between the shoulders from a hand's bones: what is nearer moves as the hand does
BEYOND_WRIST = (
    -0.05,
    0.08,
)  # of these, by which the hand's bones are nearer than the forearm's: so does that, however far
OVERLAP = 0.3  # of the way over the wrist, by which a forearm goes on under a hand that is turned over
PALM = [0, 1, 5, 9, 13, 17]  # of a hand's points: what does not bend
HAND_SIZE = (0.85, 1.4)  # of the photograph's: a hand seen from its edge or closed to a fist shrinks no more
MIRROR = np.array([-1.0, 1.0])
BENT = (
    0.4,
    0.15,
)  # of a hand's size: fingers that move by more than this from it are folded, which no picture of open ones shows
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

    A face goes with the shoulders, a hand with its forearm, else with the elbow; all else stays where the photograph has
    it. Of somebody seen from behind, whose left is the picture's left, each side of the picture shows the other side's arm.
    """
    pose = np.where(unseen[:, None], rest, pose)
    if (pose[SHOULDERS[0]] - pose[SHOULDERS[1]]) @ (rest[SHOULDERS[0]] - rest[SHOULDERS[1]]) < 0:
        pose[[*LEFT_SIDE, *RIGHT_SIDE]] = pose[[*RIGHT_SIDE, *LEFT_SIDE]]
        unseen = unseen.copy()
        unseen[[*LEFT_SIDE, *RIGHT_SIDE]] = unseen[[*RIGHT_SIDE, *LEFT_SIDE]]
        lost = [point for point in (*LEFT_SIDE, *RIGHT_SIDE) if unseen[point]]
        pose[lost] = rest[lost]
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
    shoulders = [end for end in SHOULDERS if not unseen[end]]
    if unseen[HEAD].all() and shoulders:
        pose[HEAD] += (pose[shoulders] - rest[shoulders]).mean(0)
    unit = float(np.linalg.norm(rest[SHOULDERS[0]] - rest[SHOULDERS[1]]))
    for hand, elbow, wrist in zip(HAND_POINTS, ELBOWS, WRISTS, strict=True):
        held = [end for end in (wrist, elbow) if not unseen[end]]
        if unseen[hand].all() and held:
            pose[hand] = rest[hand] + pose[held[0]] - rest[held[0]]
        if unseen[hand].all() and len(held) == 2:
            forearm = carry_bone(rest[elbow], rest[wrist], pose[elbow], pose[wrist], unit)
            pose[hand] = (
                pose[wrist] + (rest[hand] - rest[wrist]) @ _rotation(_turn_of(forearm, rest[wrist] - rest[elbow])).T
            )
    return pose


def _turn_of(matrix: np.ndarray, axis: np.ndarray) -> float:
    """By how much [2, 3] turns the direction `axis`, radians."""
    after = matrix[:, :2] @ axis
    return float(np.arctan2(axis[0] * after[1] - axis[1] * after[0], axis @ after))


def _rotation(angle: float | np.ndarray) -> np.ndarray:  # [...] radians -> [..., 2, 2]
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2)


def join_bones(
    points: np.ndarray,  # [v, 2]
    share: np.ndarray,  # [v]
    first: np.ndarray,  # [2, 3]
    second: np.ndarray,  # [2, 3]
    joint: np.ndarray,  # [2]
    axis: np.ndarray,  # [2] along the limb
) -> np.ndarray:  # [v, 2]
    """Points that go with `first` where `share` is 0 and with `second` where it is 1, and turn about the joint in between:
    it bends as a hose does, where a mean of both places would fold flat at half a turn."""
    turns = [_turn_of(matrix, axis) for matrix in (first, second)]
    flat = [_rotation(-turn) @ matrix[:, :2] for turn, matrix in zip(turns, (first, second), strict=True)]
    bend = np.angle(np.exp(1j * (turns[1] - turns[0])))
    shape = flat[0] + share[:, None, None] * (flat[1] - flat[0])
    linear = _rotation(turns[0] + share * bend) @ shape
    middle = apply(first, joint) + share[:, None] * (apply(second, joint) - apply(first, joint))
    return middle + np.einsum("vij,vj->vi", linear, points - joint)


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


def fit_hand(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The turn, size and shift [2, 3] that bring a palm's points a [n, 2] closest to b; of a hand that is turned over, whose
    other side the picture does not have, its mirror image."""
    over = fit_similarity(a * MIRROR, b) @ np.diag([*MIRROR, 1.0])
    linear = min(fit_similarity(a, b), over, key=lambda m: float(((apply(m, a) - b) ** 2).sum()))[:, :2]
    size = np.sqrt(abs(np.linalg.det(linear)))
    linear *= np.clip(size, *HAND_SIZE) / max(size, 1e-6)
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
    width = np.interp(below, (HAIR, *FROM), (WIDER, 1.0, NARROWER))
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
        to_forearm, _ = distance_to_bone(points, elbow, hand[0])
        palm = max(float(np.linalg.norm(hand[5] - hand[17])), float(np.linalg.norm(hand[0] - hand[9])), 0.12 * unit)
        return cls(
            side, rest, points,
            forearm=smoothstep(0.0, JOIN * length, to_elbow),
            along=smoothstep(0.1, 0.9, to_elbow / (to_elbow + to_hand + 1e-6)),
            hand=np.maximum(smoothstep(*HELD, to_hand / unit), smoothstep(*BEYOND_WRIST, (to_forearm - to_hand) / unit)),
            fingers=spread(hand, points, FINGER_WIDTH * palm, RIDGE),
            unit=unit,
        )  # fmt: skip

    def place(self, pose: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Points [v, 2] of a pose [133, 2], and which of them [v] show: all at once, or first the forearm and then a hand
        that is turned over, for between a thing and its mirror image there is no way."""
        rest, where = self.rest, HANDS[self.side]
        shoulder, elbow = SHOULDERS[self.side], ELBOWS[self.side]
        hand, new = rest[where], pose[where]
        upper = carry_bone(rest[shoulder], rest[elbow], pose[shoulder], pose[elbow], self.unit)
        bone = (rest[elbow], hand[0], pose[elbow], new[0])
        shown = direction_shown(*bone, self.unit)
        fore = carry_bone(*bone, self.unit)
        shift = pose[elbow] - rest[elbow] + self.along[:, None] * (new[0] - hand[0] - pose[elbow] + rest[elbow])
        pointing = (1 - shown) * (self.points + shift - apply(fore, self.points))  # at the camera: both ends shift
        axis = hand[0] - rest[elbow]
        arm = join_bones(self.points, self.forearm, upper, fore, rest[elbow], axis) + self.forearm[:, None] * pointing
        palm = fit_hand(hand[PALM], new[PALM])
        bend = new - apply(palm, hand)
        farthest = np.linalg.norm(bend, axis=-1).max() / np.ptp(hand, axis=0).max()
        fingers = smoothstep(*BENT, farthest) * self.fingers @ bend
        if np.linalg.det(palm[:, :2]) < 0:
            own = apply(palm, self.points) + fingers
            return [(arm, self.hand < 0.5 + OVERLAP), (own, self.hand > 0.5 - OVERLAP)]
        moved = join_bones(self.points, self.hand, fore, palm, hand[0], axis) + self.hand[:, None] * fingers
        moved += (1 - self.hand[:, None]) * (arm - apply(fore, self.points))
        return [(moved, np.ones(len(moved), bool))]


_HAND_BONES = tuple(
    (a, b)
    for a, b in (
        *((0, f) for f in (1, 5, 9, 13, 17)),
        *((f + k, f + k + 1) for f in (1, 5, 9, 13, 17) for k in range(3)),
    )
)
