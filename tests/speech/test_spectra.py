"""Measures of sound against librosa's, which the package does without: it compiles for half a minute at its first use."""

import subprocess
import sys

import numpy as np
import pytest

from iasa.paths import SPEECH
from iasa.speech import read_audio, spectra
from iasa.speech.features import to_rate
from iasa.speech.prosody import PITCH_HIGH, PITCH_LOW, WINDOW

RATE = 16_000


@pytest.fixture(scope="module", params=["speech", "noise", "tone", "silence", "short"])
def sound(request) -> np.ndarray:
    rng = np.random.default_rng(0)
    n = (spectra.AT_ONCE + 7) * spectra.HOP + 11  # more than is looked at in one go
    tone = np.sin(2 * np.pi * 123.4 * np.arange(n) / RATE)
    return {
        "speech": lambda: read_audio(SPEECH / "tea.mp3")[0],
        "noise": lambda: rng.normal(size=n) / 8,
        "tone": lambda: tone,
        "silence": lambda: np.r_[np.zeros(9_000), tone[:9_000], np.zeros(9_000)],
        "short": lambda: tone[: 2 * WINDOW],
    }[request.param]().astype(np.float32)


def test_loudness_bands_and_flux_are_librosa_s(sound):
    librosa = pytest.importorskip("librosa", reason="the measures to compare with are librosa's: pip install librosa")
    rms = librosa.feature.rms(y=sound, frame_length=WINDOW, hop_length=spectra.HOP)[0]
    np.testing.assert_allclose(spectra.loudness(sound, WINDOW), 20 * np.log10(rms + 1e-6), atol=1e-3)
    for window, count, low, high in ((WINDOW, 40, 200, 4000), (512, 32, 60, 7600)):
        mel = librosa.feature.melspectrogram(
            y=sound, sr=RATE, n_fft=window, hop_length=spectra.HOP, n_mels=count, fmin=low, fmax=high
        )
        ours = spectra.mel_bands(sound, window, count, low, high)
        np.testing.assert_allclose(np.log(ours + 1e-4), np.log(mel.T + 1e-4), atol=1e-4)
        theirs = librosa.onset.onset_strength(S=librosa.power_to_db(mel), sr=RATE, hop_length=spectra.HOP)
        np.testing.assert_allclose(spectra.spectral_flux(ours), theirs, atol=1e-2)


def test_pitch_is_librosa_s(sound):
    librosa = pytest.importorskip("librosa", reason="the measures to compare with are librosa's: pip install librosa")
    theirs = librosa.yin(sound, fmin=PITCH_LOW, fmax=PITCH_HIGH, sr=RATE, frame_length=1024, hop_length=spectra.HOP)
    heard = spectra.loudness(sound, 1024) > -60  # the pitch of silence is rounding
    octaves = np.abs(np.log2(spectra.pitch(sound, PITCH_LOW, PITCH_HIGH) / theirs))[heard]
    assert np.mean(octaves < 2e-3) > 0.99


def test_pitch_of_tones():
    for hertz in (80, 150, 333):
        tone = np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE)
        found = spectra.pitch(tone, PITCH_LOW, PITCH_HIGH)[10:-10]
        np.testing.assert_allclose(found, hertz, rtol=1e-2)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000])
def test_resampling_keeps_time(rate):
    seconds = np.arange(int(1.237 * rate)) / rate
    out = to_rate(np.sin(2 * np.pi * 440 * seconds).astype(np.float32), rate)
    assert out.dtype == np.float32 and len(out) == -(-len(seconds) * RATE // rate)
    middle = slice(1_000, -1_000)
    np.testing.assert_allclose(out[middle], np.sin(2 * np.pi * 440 * np.arange(len(out)) / RATE)[middle], atol=2e-3)


def test_nothing_is_compiled_to_hear():
    code = (
        "import sys, numpy as np; from iasa.speech import analyse; from iasa.speech.features import to_rate;"
        "analyse(to_rate(np.random.default_rng(0).normal(size=44_100).astype('f'), 44_100), method='signal');"
        "print(sorted({'numba', 'librosa', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
