"""The trained proxy of the quality report: is it the same face, do the lips go with the sound, do parts look drawn?

Their networks were trained here on the avatar, so their figures carry their own names: identity is no ArcFace likeness,
sync is not Sync-C, and the Frechet distance on the part encoder is not FID. For these see `iasa.metrics.published`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from iasa.config import VIDEO_FPS, InputError
from iasa.keypoints import EYE_CORNERS, FACE, LEFT_HAND, RIGHT_HAND, Keypoints
from iasa.metrics.networks.face_encoder import FaceEncoder
from iasa.metrics.networks.part_encoder import PartEncoder
from iasa.metrics.networks.sync_encoder import LONGEST, SyncEncoder, make_mouth, make_sound
from iasa.metrics.video_quality import frechet_distance, identity_figures, sync_margin
from iasa.models.checkpoint import find_weights, load_weights

EVERY = 8  # frames between those whose parts are looked at
CROP = 64  # pixels
CHUNK = 25  # frames whose faces are looked at together
RESAMPLES = 100
NAMES = ("face_encoder", "part_encoder", "sync_encoder")


@dataclass(frozen=True)
class ProxyMetrics:
    """`face` may be any embedding of the form of `FaceEncoder.embed`."""

    face: Callable[[Tensor, Tensor], Tensor]
    parts: PartEncoder
    sync: SyncEncoder

    @classmethod
    def load(cls, run: Path | None = None) -> ProxyMetrics | None:
        """Those that a run folder holds, else the shipped ones; None if there are none yet."""
        try:
            face = load_weights(FaceEncoder, find_weights(run, "face_encoder")).requires_grad_(False)
            parts = load_weights(PartEncoder, find_weights(run, "part_encoder")).requires_grad_(False)
            sync = load_weights(SyncEncoder, find_weights(run, "sync_encoder")).requires_grad_(False)
        except InputError:
            return None
        return cls(face.embed, parts, sync)

    def score(
        self,
        frames: np.ndarray,  # uint8 [f, H, W, 3]
        found: Keypoints,  # what a detector finds in them
        reference: tuple[np.ndarray, Keypoints],  # picture uint8 [H, W, 3] and its pose
        audio: np.ndarray | None = None,  # float32 [n] at 16 kHz
    ) -> dict[str, float]:
        """`identity`, `identity_kept`, and with sound `sync` and `sync_lag` of one clip."""
        still = self.embed(reference[0][None], reference[1])[0]
        scores = identity_figures(self.embed(frames, found), still, round(VIDEO_FPS))
        if audio is None:
            return scores
        if len(frames) < 3 * LONGEST or not (found.confidence[:, list(EYE_CORNERS)] > 0).any():
            return scores | {"sync": float("nan"), "sync_lag": float("nan")}
        curve = self.sync.curve(make_sound(audio, len(frames)), make_mouth(_fill(found)))
        return scores | {"sync": sync_margin(curve), "sync_lag": float(curve.argmax() - LONGEST)}

    def embed(self, frames: np.ndarray, poses: Keypoints) -> np.ndarray:
        """`embed_faces` by this metric."""
        return embed_faces(self.face, frames, poses)

    def extract_features(self, frames: np.ndarray, truth: Keypoints) -> np.ndarray:
        """Features float32 [m, 96] of face and hands in some frames, where the true pose has them."""
        crops = []
        for i in range(0, len(frames), EVERY):
            for part in (FACE, LEFT_HAND, RIGHT_HAND):
                corner = np.clip(truth.xy[i, part].mean(0) * frames.shape[1] - CROP / 2, 0, frames.shape[1] - CROP)
                x, y = corner.astype(int)
                crops.append(frames[i, y : y + CROP, x : x + CROP])
        images = torch.from_numpy(np.stack(crops)).movedim(-1, 1).float() / 127.5 - 1
        return self.parts.pooled(images).numpy()


@torch.no_grad()
def embed_faces(face: Callable[[Tensor, Tensor], Tensor], frames: np.ndarray, poses: Keypoints) -> np.ndarray:
    """Unit vectors [f, d] of the faces in uint8 [f, H, W, 3]; NaN where the eyes were not found."""
    seen = (poses.confidence[:, list(EYE_CORNERS)] > 0).all(1)
    parts = []
    for start in range(0, len(frames), CHUNK):
        which = slice(start, start + CHUNK)
        images = torch.from_numpy(frames[which]).movedim(-1, 1).float() / 127.5 - 1
        xy = torch.from_numpy(
            np.where(seen[which, None, None], poses.xy[which], 0.5)
        ).float()  # missing ones may be NaN
        parts.append(face(images, xy * frames.shape[1]).numpy())
    return np.where(seen[:, None], np.concatenate(parts), np.nan)


def _fill(poses: Keypoints) -> Keypoints:
    """Frames whose eyes were not found repeat the one before, the first ones the one after."""
    seen = (poses.confidence[:, list(EYE_CORNERS)] > 0).all(1)
    last = np.maximum.accumulate(np.where(seen, np.arange(len(seen)), -1))
    return poses[np.where(last < 0, np.flatnonzero(seen)[0] if seen.any() else 0, last)]


def compare_features(clips: list[np.ndarray], truth: list[np.ndarray]) -> dict:
    """Frechet distance of the features of some clips from those of the same clips' truth, with its interval over clips."""
    distance = frechet_distance(np.concatenate(clips), np.concatenate(truth))
    rng, drawn = np.random.default_rng(0), []
    for _ in range(RESAMPLES if len(clips) > 1 else 0):
        chosen = rng.integers(len(clips), size=len(clips))
        drawn.append(frechet_distance(*(np.concatenate([part[i] for i in chosen]) for part in (clips, truth))))
    low, high = np.quantile(drawn, [0.025, 0.975]) if drawn else (distance, distance)
    return {"mean": distance, "low": float(low), "high": float(high), "clips": len(clips)}
