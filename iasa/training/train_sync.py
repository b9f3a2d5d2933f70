"""Train the sync encoder on keypoints and sound alone: drawn speakers perform the corpus, nothing is rendered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from iasa.avatar.identity import make_identity
from iasa.avatar.rig import make_keypoints
from iasa.config import HELDOUT_IDENTITY
from iasa.metrics.networks.sync_encoder import HOPS, LONGEST, SPAN, SyncEncoder, make_mouth, make_sound
from iasa.motion.rules import generate_gestures
from iasa.speech.lip_network import BANDS
from iasa.training.speech_data.corpus import Utterance, make_corpus
from iasa.training.trainer import Schedule, Trainer, main_process_first

SPEAKERS = 2  # of each utterance
MOMENTS = 4  # windows of one utterance in a batch: the hard counter-examples
SHAKE = 0.012  # eye distances, deviation of lips as a detector finds them
TEMPERATURE = 0.07


@dataclass(frozen=True)
class Spoken:
    """One performance: sound float32 [f, 128], mouth float32 [f, 40]."""

    sound: np.ndarray
    mouth: np.ndarray


def speak(corpus: list[Utterance], speakers: int, first: int) -> list[Spoken]:
    """Every utterance by `speakers` drawn speakers, of seeds from `first` on; too short ones are left out."""
    found = []
    for number, utterance in enumerate(corpus):
        frames = utterance.features.frames
        if frames < SPAN + 2 * LONGEST:
            continue
        sound = make_sound(utterance.audio, frames)
        for turn in range(speakers):
            seed = first + number * speakers + turn
            keypoints = make_keypoints(make_identity(seed), generate_gestures(utterance.features, seed=seed))
            found.append(Spoken(sound, make_mouth(keypoints)))
    return found


def train_sync_encoder(
    cache: Path, run: Path, schedule: Schedule, resume: bool, stop_after: float, batch: int = 32
) -> tuple[SyncEncoder, Trainer, dict]:
    """A mouth and its sound attract each other, all others in the batch repel; some of these are of the same sentence.

    `cache` keeps the analysed corpus. Returns the averaged encoder, the trainer, and figures on held-out speech.
    """
    torch.manual_seed(schedule.seed)
    with main_process_first():
        corpus = make_corpus("train", cache)
    spoken = speak(corpus, SPEAKERS, 0)
    trainer = Trainer(SyncEncoder().train(), run, schedule)
    if resume:
        trainer.resume()
    device = trainer.accelerator.device

    def loss_of(encoder: SyncEncoder, rng: np.random.Generator) -> Tensor:
        sound, mouth = (part.to(device) for part in draw_windows(spoken, rng, batch))
        heard = encoder.embed_sound(disturb(sound))
        lips = encoder.embed_mouth(mouth + SHAKE * torch.randn_like(mouth))
        likeness = heard @ lips.T / TEMPERATURE
        target = torch.arange(len(sound), device=device)
        return (F.cross_entropy(likeness, target) + F.cross_entropy(likeness.T, target)) / 2

    trainer.fit(loss_of, None, stop_after)
    encoder = trainer.averaged().cpu()
    return encoder, trainer, verify_sync(encoder, speak(make_corpus("heldout", cache), 4, HELDOUT_IDENTITY))


def draw_windows(spoken: list[Spoken], rng: np.random.Generator, batch: int) -> tuple[Tensor, Tensor]:
    """`batch` x MOMENTS windows [m, SPAN, 128] and [m, SPAN, 40]; those of one performance lie apart where it is long enough."""
    sounds, mouths = [], []
    for number in rng.permutation(len(spoken))[:batch]:
        one = spoken[number]
        starts = rng.integers(0, len(one.sound) - SPAN + 1) + np.arange(MOMENTS) * 7
        for start in starts % (len(one.sound) - SPAN + 1):
            sounds.append(one.sound[start : start + SPAN])
            mouths.append(one.mouth[start : start + SPAN])
    return torch.from_numpy(np.stack(sounds)), torch.from_numpy(np.stack(mouths))


def disturb(sound: Tensor) -> Tensor:
    """Another level, equaliser and some noise for each window [m, SPAN, 128]."""
    tilt = 0.3 * torch.randn(len(sound), 1, BANDS, device=sound.device).repeat(1, 1, HOPS)
    return sound + 0.3 * torch.randn(len(sound), 1, 1, device=sound.device) + tilt + 0.2 * torch.randn_like(sound)


def verify_sync(encoder: SyncEncoder, spoken: list[Spoken], seconds: float = 3.0) -> dict[str, float]:
    """On held-out speech and speakers, lips shaken as a detector's: how often the best of 31 shifts is right within a frame.

    `window_accuracy` for single windows of 0.6 s, `clip_accuracy` for stretches of `seconds`; chance is 3 in 31.
    """
    rng = np.random.default_rng(0)
    windows, clips, margins = [], [], []
    frames = int(25 * seconds)
    for one in spoken:
        mouth = one.mouth + rng.normal(0, SHAKE, one.mouth.shape).astype(np.float32)
        for start in range(0, len(mouth) - SPAN - 2 * LONGEST + 1, SPAN):
            stop = start + SPAN + 2 * LONGEST
            windows.append(encoder.curve(one.sound[start:stop], mouth[start:stop]))
        for start in range(0, len(mouth) - frames + 1, frames):
            clips.append(encoder.curve(one.sound[start : start + frames], mouth[start : start + frames]))
            margins.append(clips[-1][LONGEST] - np.median(clips[-1]))
    right = [np.mean([abs(int(curve.argmax()) - LONGEST) <= 1 for curve in curves]) for curves in (windows, clips)]
    return {
        "window_accuracy": round(float(right[0]), 4),
        "clip_accuracy": round(float(right[1]), 4),
        "clip_seconds": seconds,
        "margin": round(float(np.mean(margins)), 3),
        "windows": len(windows),
        "clips": len(clips),
    }
