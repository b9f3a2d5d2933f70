"""Pairs for the restorer: crops of a photograph's warped layers, and what they should have shown.

Three sources, through the same path. A speaker, drawn or filmed (`video_data`), at one moment is the photograph, and the
other moments are the truth. A photograph (`train data --pairs --photos DIR`) is warped to another pose, cut anew as if it had
been taken there, and warped back: the truth is the photograph itself. Shards are .npz files restore_*.npz of the arrays of
`Pairs`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from iasa.avatar.framing import Square
from iasa.avatar.identity import Identity, make_identity
from iasa.avatar.moving_parts import find_parts
from iasa.avatar.photograph import SIDE, Photograph, find_person, take_photograph
from iasa.avatar.renderer import Renderer
from iasa.avatar.retarget import Retarget
from iasa.avatar.rig import DRAWING_SIZE, RigMotion, make_geometry, make_keypoints, rest_motion, to_drawing
from iasa.config import HELDOUT_IDENTITY, InputError
from iasa.files import atomic_write
from iasa.keypoints import Keypoints
from iasa.motion.rules import generate_gestures
from iasa.training.speech_data.corpus import Utterance
from iasa.warp.layered_warp import LayeredWarp
from iasa.warp.part_crops import PartCrops

IMAGES = (".jpg", ".jpeg", ".png", ".webp")
CROP = 128  # pixels
FRAMES = 8  # of one speaker in one photograph
SPEAKERS = 10  # of one shard
POSES = 6  # to which one photograph is warped for one shard
JITTER = 0.0012  # image units: a detector's points are never exact
CALM = (0.1, 0.5)  # how much of its gesture a drawn speaker's hand makes: layers reach no farther


@dataclass(frozen=True)
class Pairs:
    """n crops."""

    layers: np.ndarray  # uint8 [n, CROP, CROP, 3]
    photo: np.ndarray  # uint8 [n, CROP, CROP, 3], the same part of the photograph
    truth: np.ndarray  # uint8 [n, CROP, CROP, 3]
    xy: np.ndarray  # float32 [n, 2, 133, 2] of the photograph and of the frame, each in units of its crop
    confidence: np.ndarray  # float32 [n, 2, 133]

    def __len__(self) -> int:
        return len(self.layers)

    def save(self, path: Path) -> None:
        with atomic_write(path) as partial, open(partial, "wb") as file:
            np.savez(file, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, *paths: Path) -> Pairs:
        parts = []
        for path in paths:
            with np.load(path) as data:
                parts.append({field.name: data[field.name] for field in fields(cls)})
        return cls(*(np.concatenate([part[field.name] for part in parts]) for field in fields(cls)))


def cut_pairs(
    photo: Photograph, moving: tuple[bool, bool], poses: list[np.ndarray], truths: list[np.ndarray],
    rng: np.random.Generator,
) -> Iterator[tuple[np.ndarray, ...]]:  # fmt: skip
    """What `Pairs` holds of one photograph, driven to `poses` [133, 2], image units, whose `truths` are uint8 [S, S, 3]."""
    jittered = replace(photo.keypoints, xy=photo.keypoints.xy + rng.normal(0, JITTER, photo.keypoints.xy.shape))
    photo = replace(photo, keypoints=jittered)
    warp = LayeredWarp(photo, SIDE, moving)
    crops = PartCrops.of(photo.xy, photo.seen, moving, CROP)
    confidence = np.repeat(photo.keypoints.confidence, 2, 0).astype(np.float32)
    for pose, truth in zip(poses, truths, strict=True):
        pose = np.where(photo.seen[:, None], pose + rng.normal(0, JITTER, pose.shape), photo.xy)
        frame = np.clip(warp.draw(pose * SIDE) + 0.5, 0, 255).astype(np.uint8)
        for number in crops.parts:
            xy = np.stack([crops.place(number, photo.xy), crops.place(number, pose)])
            cut = (
                crops.cut(number, image, at) for image, at in ((frame, pose), (photo.image, photo.xy), (truth, pose))
            )
            yield (*cut, xy, confidence)


def collect(pairs: Iterator[tuple[np.ndarray, ...]]) -> Pairs:
    """All of them as arrays."""
    return Pairs(*(np.stack(column) for column in zip(*pairs, strict=True)))


def draw_photograph(identity: Identity, motion: RigMotion, renderer: Renderer) -> Photograph:
    """A drawn speaker in the motion's first frame, as `take_photograph` would describe her."""
    geometry, keypoints = make_geometry(identity, motion, 0), make_keypoints(identity, motion[:1])

    def place(points: np.ndarray) -> np.ndarray:  # [n, 3] cm -> image units
        xy = to_drawing(identity, points) / DRAWING_SIZE
        return np.concatenate([xy, -points[..., 2:] * identity.scale / DRAWING_SIZE], -1).astype(np.float32)

    inside = ((keypoints.xy > 0) & (keypoints.xy < 1)).all(-1)
    keypoints = Keypoints(keypoints.xy, keypoints.confidence * inside)
    right, left = (place(hand) for hand in geometry.hands)
    return Photograph(
        renderer.draw(motion, 0), renderer.matte(motion, 0), keypoints, place(geometry.face), (left, right),
        Square(0, 0, SIDE),
    )  # fmt: skip


def speaker_pairs(seed: int, utterance: Utterance) -> Iterator[tuple[np.ndarray, ...]]:
    """A drawn speaker: at rest or at some moment she is photographed, her other moments are the truth."""
    rng = np.random.default_rng([seed, 11])
    identity = make_identity(seed)
    motion = generate_gestures(utterance.features, seed=seed)
    motion = motion[np.sort(rng.permutation(len(motion))[: FRAMES + 1])]
    rest = rest_motion(len(motion), rest=int(rng.integers(2)))
    motion = replace(motion, hands=rest.hands + float(rng.uniform(*CALM)) * (motion.hands - rest.hands))
    first = rest[:1] if rng.random() < 0.5 else motion[:1]
    motion = first.concat(motion[1:])
    renderer = Renderer(identity, SIDE)
    photo = draw_photograph(identity, motion, renderer)
    poses = make_keypoints(identity, motion[1:]).xy
    yield from cut_pairs(photo, (True, True), list(poses), list(renderer.render(motion[1:])), rng)


def photograph_pairs(
    photo: Photograph, motion: RigMotion, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, ...]]:
    """A photograph warped to some poses of a motion, cut anew there, and warped back to where it was taken."""
    parts = find_parts(photo)
    poses = Retarget(photo, parts).from_motion(motion).xy
    warp = LayeredWarp(photo, SIDE, parts.moving)
    for number in rng.permutation(len(poses))[:POSES]:
        pose = np.where(photo.seen[:, None], poses[number], photo.xy)
        picture = np.clip(warp.draw(pose * SIDE) + 0.5, 0, 255).astype(np.uint8)
        face = photo.face.copy()
        face[: len(warp.depth), :2] = warp.mesh(pose * SIDE) / SIDE
        there = replace(
            photo, image=picture, person=find_person(picture), face=face,
            keypoints=replace(photo.keypoints, xy=pose[None].astype(np.float32)),
        )  # fmt: skip
        yield from cut_pairs(there, parts.moving, [photo.xy.astype(np.float64)], [photo.image], rng)


def make_speaker_shards(folder: Path, speakers: int, corpus: list[Utterance], heldout: bool = False) -> None:
    """Shards of drawn speakers; those that are there already are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    base = HELDOUT_IDENTITY if heldout else 0
    corpus = [u for u in corpus if u.features.frames > 4 * FRAMES]
    for start in range(0, speakers, SPEAKERS):
        path = folder / f"{'heldout' if heldout else 'restore'}_speakers_{start:06d}.npz"
        if not path.exists():
            seeds = range(base + start, base + min(start + SPEAKERS, speakers))
            collect(p for seed in seeds for p in speaker_pairs(seed, corpus[seed % len(corpus)])).save(path)


def read_photos(folder: Path) -> list[tuple[str, np.ndarray]]:
    """(name, uint8 [H, W, 3]) of a folder's pictures, no name twice. Raises InputError if there are none."""
    from iasa.media.reader import read_image

    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in IMAGES)
    if not paths:
        raise InputError(f"{folder.name} holds no photographs; {', '.join(IMAGES)} are read")
    stems = [path.stem for path in paths]
    names = (path.stem if stems.count(path.stem) == 1 else path.name.replace(".", "-") for path in paths)
    return [(name, read_image(path)) for name, path in zip(names, paths, strict=True)]


def make_photo_shards(
    folder: Path, photos: list[tuple[str, np.ndarray]], corpus: list[Utterance], rounds: int
) -> list[str]:
    """Shards of photographs (name, uint8 [H, W, 3]); returns a sentence for each picture that is no use.

    Raises InputError if none of them is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    taken, refused = [], []
    for name, picture in photos:
        try:
            taken.append((name, take_photograph(picture)))
        except InputError as error:
            refused.append(f"{name}: {error}")
    if not taken:
        raise InputError("none of the pictures shows a person who could be animated: " + "; ".join(refused[:3]))
    for turn in range(rounds):
        for number, (name, photo) in enumerate(taken):
            path = folder / f"restore_photo_{name}_{turn:03d}.npz"
            if not path.exists():
                rng = np.random.default_rng([turn, number, 13])
                speech = corpus[int(rng.integers(len(corpus)))].features
                motion = generate_gestures(speech, seed=int(rng.integers(2**31)))
                collect(photograph_pairs(photo, motion, rng)).save(path)
    return refused
