"""Running the learned motion model: speech features in, in pieces of any size, motion out, the same as all at once."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from iasa.avatar.rig import RigMotion
from iasa.config import TEMPERATURE, InputError
from iasa.models.checkpoint import find_weights, load_weights
from iasa.motion.audio_embedding import AHEAD, PAST, STRIDE, WINDOW
from iasa.motion.codebooks import REACH
from iasa.motion.generator import MEMORY, MotionGenerator, make_rope
from iasa.motion.rig_regions import (
    CHANNELS,
    LIPS,
    PARAMETERS,
    REGIONS,
    region_slices,
    style_vector,
    to_channels,
    to_motion,
)
from iasa.motion.rules import GestureStyle, make_style
from iasa.speech import SpeechFeatures

SOFT = np.full(
    PARAMETERS, 0.07, np.float32
)  # share of each neighbouring frame in a frame: what trembles is no movement
SOFT[region_slices()["face"].start :][:LIPS] = 0  # lips follow the sound


@lru_cache(maxsize=1)
def load_generator(folder: Path | None = None) -> MotionGenerator:
    """The motion model of a folder of weights, else the shipped one. Raises InputError where there is none."""
    return load_weights(MotionGenerator, find_weights(folder, "motion")).requires_grad_(False)


class MotionStream:
    """A performance under way: `push` features as they come, get the frames that are certain, `finish` for the rest.

    A frame comes out once `model.look_ahead` (30) frames of sound after it are in, 1.2 s. How the speech is cut into
    pieces does not change the result. Memory stays the same however long the speech.
    """

    def __init__(
        self,
        seed: int = 0,
        style: GestureStyle | None = None,
        temperature: float = TEMPERATURE,
        model: MotionGenerator | None = None,
    ) -> None:
        if not 0 <= temperature <= 2:
            raise InputError(f"the temperature is {temperature:g}; 0 to 2 is accepted")
        self.model = model or load_generator()
        self.style = style or make_style(seed)
        self.temperature = temperature
        self._rng = np.random.default_rng([seed, 11])
        self._style = torch.from_numpy(style_vector(self.style))[None]
        self._heard = np.zeros((PAST + STRIDE, len(CHANNELS)), np.float32)  # a step of nothing before the first frame
        self._keys: list[tuple[torch.Tensor, torch.Tensor] | None] = [None] * len(self.model.blocks)
        slots = range(len(self.model.slots)) if self.model.config.codebooks else ()
        with torch.inference_mode():
            self._entry_keys = [self.model.keys_of(slot) for slot in slots]
        self._codes: torch.Tensor | None = None
        self._latents: dict[str, torch.Tensor] | None = None
        self._step = 0
        self._late = np.zeros((STRIDE, PARAMETERS), np.float32)  # the half of the last window that waits for the next
        self._edge = np.zeros((0, PARAMETERS), np.float32)  # the last two frames, of which one waits for its neighbour
        self._ready = np.zeros((0, PARAMETERS), np.float32)
        self._skip = STRIDE + 2  # frames of the step of nothing, and the two that its window begins early
        self._in = self._out = 0
        self._finished = False

    def push(self, features: SpeechFeatures) -> RigMotion:
        """The next piece of speech -> the motion of all frames that it makes certain (none at first).

        Raises ValueError once the performance is finished.
        """
        if self._finished:
            raise ValueError("this performance is finished; begin another MotionStream")
        self._in += features.frames
        return self._hear(to_channels(features))

    def finish(self) -> RigMotion:
        """The remaining frames: with them as many have come out as went in."""
        self._finished = True
        return self._hear(np.zeros((AHEAD + 3 * STRIDE, len(CHANNELS)), np.float32))

    def _hear(self, channels: np.ndarray) -> RigMotion:
        self._heard = np.concatenate([self._heard, channels])
        made = [self._ready]
        while len(self._heard) >= WINDOW:
            made.append(self._calm(self._next(self._heard[:WINDOW])))
            self._heard = self._heard[STRIDE:]
        frames = np.concatenate(made)
        count = max(0, self._in - self._out)
        self._ready = frames[count:]
        out = frames[: min(count, len(frames))]
        self._out += len(out)
        return to_motion(out)

    def _calm(self, frames: np.ndarray) -> np.ndarray:
        """Frames [f, 57] softened by `SOFT`, a frame late."""
        if not len(frames):
            return frames
        frames = np.concatenate([self._edge if len(self._edge) else frames[:1], frames])
        self._edge = frames[-2:]
        return (1 - 2 * SOFT) * frames[1:-1] + SOFT * (frames[:-2] + frames[2:])

    @torch.inference_mode()
    def _next(self, window: np.ndarray) -> np.ndarray:
        """One step: its window of sound [WINDOW, 12] -> the four frames that it completes [4 or fewer, 57]."""
        model = self.model
        heard = torch.from_numpy(np.ascontiguousarray(window.T))[None, None]  # [1, 1, 12, WINDOW]
        latents = self._draw(self._state(heard)) if model.config.codebooks else self._regress(self._state(heard))
        before = self._latents or {name: torch.zeros_like(z) for name, z in latents.items()}
        part = model.decode_windows(before, latents, heard, self._style)[0, 0].numpy()  # [8, 57]
        ramp = np.sin(np.pi * (np.arange(REACH) + 0.5) / REACH)[:, None] ** 2
        part = (part * ramp).astype(np.float32)
        frames, self._late = self._late + part[:STRIDE], part[STRIDE:]
        self._latents, self._step = latents, self._step + 1
        skip = min(self._skip, STRIDE)
        self._skip -= skip
        return frames[skip:]

    def _state(self, heard: torch.Tensor) -> torch.Tensor:
        """The trunk's state of this step: [1, 1, width]."""
        model = self.model
        x = model.audio(heard) + model.style(self._style)[:, None]
        if model.config.codebooks:
            known = self._codes if self._codes is not None else torch.zeros(1, 1, len(model.slots), dtype=torch.long)
            x = x + model.remember(known, first=self._codes is None)
        rope = make_rope(torch.tensor([self._step]), model.head_width)
        for i, block in enumerate(model.blocks):
            x, (k, v) = block(x, None, rope, self._keys[i])
            self._keys[i] = (k[:, :, 1 - MEMORY :], v[:, :, 1 - MEMORY :])
        return model.norm(x)

    def _draw(self, state: torch.Tensor) -> dict[str, torch.Tensor]:
        """Entries drawn slot after slot -> the latent of each region [1, 1, dim]."""
        model, chosen = self.model, []
        entry: torch.Tensor | None = None
        past: list[tuple[torch.Tensor, torch.Tensor] | None] = [None] * len(model.slot_blocks)
        draws = self._rng.random(len(model.slots))
        base = model.to_slots(state[0])
        for slot, (name, level) in enumerate(model.slots):
            logits = model.attend(slot, model.next_slot(slot, base, entry, past), self._entry_keys[slot])[0]
            chosen.append(self._pick(logits.numpy(), float(draws[slot])))
            entry = model.codecs[name].codebook.table(level)[chosen[-1]][None]
        self._codes = torch.tensor(chosen)[None, None]
        return model.region_latents(self._codes)

    def _pick(self, logits: np.ndarray, draw: float) -> int:
        """An entry, by inverting the cumulative distribution at `draw` in 0..1."""
        if self.temperature == 0:
            return int(logits.argmax())
        share = np.exp((logits - logits.max()).astype(np.float64) / self.temperature).cumsum()
        return int(np.searchsorted(share, draw * share[-1], side="right").clip(0, len(share) - 1))

    def _regress(self, state: torch.Tensor) -> dict[str, torch.Tensor]:
        return dict(zip(REGIONS, self.model.regress(state).chunk(len(REGIONS), -1), strict=True))


def generate_learned_gestures(
    features: SpeechFeatures,
    seed: int = 0,
    style: GestureStyle | None = None,
    temperature: float = TEMPERATURE,
    model: MotionGenerator | None = None,
) -> RigMotion:
    """The learned performance of a whole clip; the same seed, style and temperature give the same motion."""
    stream = MotionStream(seed, style, temperature, model)
    return stream.push(features).concat(stream.finish())
