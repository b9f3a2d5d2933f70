"""The hierarchical audio embedding: what is heard at three time scales, for every step of four video frames.

| scale | window around a step | sees | moves |
|---|---|---|---|
| sound | 0.24 s before it to 0.08 s after it, frame by frame (40 ms) | all channels | lips |
| rhythm | 0.96 s before to 0.96 s after, frame by frame | onsets, loudness, pitch, accents | hands, head |
| phrase | 5.9 s before to 0.96 s after, in parts of 0.32 s | pauses, loudness, pitch | posture, rest |

Causal with a look-ahead of `AHEAD` frames: a gesture starts before the word that it belongs to.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from iasa.motion.rig_regions import CHANNELS

STRIDE = 4  # video frames in one step
PAST, AHEAD = 148, 24  # frames of sound seen before and after a step's own
WINDOW = PAST + STRIDE + AHEAD
SOUND_PAST, SOUND_AHEAD = 6, 2
RHYTHM_REACH = 24
PHRASE_PART = 8  # frames averaged into one
RHYTHM = ("open", "energy", "pitch", "voiced", "speaking", "onset", "accent", "exists")
PHRASE = ("energy", "pitch", "speaking", "accent", "exists")
SCALES = ("sound", "rhythm", "phrase")


def make_windows(channels: Tensor) -> Tensor:
    """[b, PAST + 4 s + AHEAD, 12] -> the window of every step [b, s, 12, WINDOW]."""
    return channels.unfold(1, WINDOW, STRIDE)


class AudioEmbedding(nn.Module):
    """Windows [b, s, 12, WINDOW] -> [b, s, width], the sum of the scales; a scale left out of `scales` is not heard."""

    def __init__(self, width: int, scales: Sequence[str] = SCALES) -> None:
        super().__init__()
        unknown = set(scales) - set(SCALES)
        if unknown:
            raise ValueError(f"there is no time scale {unknown.pop()!r}; there are {', '.join(SCALES)}")
        sizes = {
            "sound": len(CHANNELS) * (SOUND_PAST + STRIDE + SOUND_AHEAD),
            "rhythm": len(RHYTHM) * (2 * RHYTHM_REACH + STRIDE),
            "phrase": len(PHRASE) * (WINDOW // PHRASE_PART),
        }
        self.branches = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(sizes[name], width), nn.SiLU(), nn.Linear(width, width))
                for name in SCALES
                if name in scales
            }
        )
        self._rhythm = [CHANNELS.index(name) for name in RHYTHM]
        self._phrase = [CHANNELS.index(name) for name in PHRASE]

    def forward(self, windows: Tensor) -> Tensor:
        heard = {
            "sound": windows[..., PAST - SOUND_PAST : PAST + STRIDE + SOUND_AHEAD],
            "rhythm": windows[..., self._rhythm, PAST - RHYTHM_REACH : PAST + STRIDE + RHYTHM_REACH],
            "phrase": windows[..., self._phrase, :].unflatten(-1, (-1, PHRASE_PART)).mean(-1),
        }
        parts = [branch(heard[name].flatten(2)) for name, branch in self.branches.items()]
        return torch.stack(parts).sum(0)
