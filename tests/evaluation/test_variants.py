"""The shipped networks against the baselines that need none of them, on held-out speakers and speech."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("skia", reason="the speakers are drawn by Skia: pip install skia-python")

from iasa.evaluation.rows import GIVEN, STUDENT
from iasa.evaluation.variants import VariantRunner, find_variant  # noqa: E402
from iasa.evaluation.worker import HeldoutClip, make_heldout_clips  # noqa: E402
from iasa.metrics.video_quality import psnr  # noqa: E402
from iasa.models.autoencoder import Autoencoder  # noqa: E402
from iasa.models.checkpoint import load_weights  # noqa: E402
from iasa.paths import WEIGHTS  # noqa: E402


@pytest.fixture(scope="module")
def scores() -> dict[str, np.ndarray]:
    """PSNR of each variant on two held-out clips."""
    clips: list[HeldoutClip] = make_heldout_clips(2, 24)
    codec = load_weights(Autoencoder, WEIGHTS / "autoencoder")
    found = {}
    for variant in (*GIVEN, STUDENT):
        runner = VariantRunner(variant, codec, find_variant(variant) if variant is STUDENT else None, 1)
        made = [runner.play(clip.keypoints, clip.reference, clip.truth)[0] for clip in clips]
        assert all(m.shape == clip.truth.shape and m.dtype == np.uint8 for m, clip in zip(made, clips, strict=True))
        found[variant.name] = np.array([psnr(m, clip.truth) for m, clip in zip(made, clips, strict=True)])
    return found


def test_the_student_adds_two_decibels_to_the_warped_reference(scores):
    assert (scores["student"] >= scores["warped"] + 2).all()


def test_baselines_are_ordered_as_what_they_know(scores):
    assert (scores["warped"] > scores["static"] + 3).all()  # the pose
    assert (
        scores["student"] > scores["warped_autoencoder"]
    ).all()  # the decoder is told the pose, but knows no latents
    assert (scores["autoencoder"] > scores["student"]).all()  # which is given the true latents
    assert (scores["truth"] == 100).all()  # the most that `psnr` says
