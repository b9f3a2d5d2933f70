"""Mouth shapes from sound alone: band levels to jaw opening and lip width, for speech that no recogniser here can read."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from iasa.config import AUDIO_RATE
from iasa.speech.prosody import HOP, Prosody

TRANSFORM = 512  # samples


def make_signal_visemes(
    audio: np.ndarray,  # float32 [n] at 16 kHz
    prosody: Prosody,
    frames: int,
) -> np.ndarray:  # float32 [f, 5]
    """Opening from the level of the first-formant band, width from the balance of the bands above and below it."""
    import librosa

    out = np.zeros((frames, 5), np.float32)
    if not prosody.speaking.any():
        return out
    padded = np.pad(audio, (0, max(0, 2 * TRANSFORM - len(audio))))
    power = np.abs(librosa.stft(padded, n_fft=TRANSFORM, hop_length=HOP)) ** 2
    power = power[:, : len(prosody.energy)]
    hertz = np.linspace(0, AUDIO_RATE / 2, len(power))

    def level(low: float, high: float) -> np.ndarray:
        return 10 * np.log10(power[(hertz >= low) & (hertz < high)].sum(0) + 1e-9)

    low, middle, upper, hiss = level(80, 350), level(450, 1100), level(1600, 3400), level(4000, 8000)
    loud = np.clip(prosody.energy * 1.35 - 0.35, 0, 1)
    opening = 0.75 * loud * np.clip((middle - low + 12) / 18, 0, 1)
    width = loud * np.clip((upper - middle + 10) / 16, -0.8, 0.8)
    teeth = loud * np.clip((hiss - middle) / 12, 0, 0.8)
    for channel, values in ((0, opening), (1, width), (4, teeth)):
        values = np.pad(values, (0, len(prosody.energy) - len(values)))
        out[:, channel] = prosody.at_frames(gaussian_filter1d(values, 2), frames)
    return out
