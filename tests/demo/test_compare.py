"""The comparison's own arithmetic."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("gradio", reason="the demo's pages are gradio's: pip install gradio")

from iasa.config import InputError  # noqa: E402
from iasa.demo.compare import Side, dense_pipeline, read_pair, teacher_pairs  # noqa: E402
from iasa.device import Precision  # noqa: E402
from iasa.models.autoencoder import Autoencoder  # noqa: E402
from iasa.models.transformer import VideoTransformer  # noqa: E402
from iasa.pipeline import CoSpeechPipeline  # noqa: E402


@pytest.mark.parametrize("precision", [Precision(torch.float32), Precision(torch.bfloat16)])
def test_both_students_are_the_same_but_for_the_mask(precision):
    """In the same numbers too, whatever the machine would choose."""
    student = VideoTransformer(8, width=16, layers=1, heads=2)
    sparse = CoSpeechPipeline(Autoencoder(8, (8, 8, 16)), student, dtype=precision)
    dense = dense_pipeline(sparse, 9)
    assert dense.student is sparse.student and dense.autoencoder is sparse.autoencoder
    assert dense.precision == sparse.precision == precision and dense.dtype == precision.dtype
    assert (dense.mask.top_k, dense.mask.local) == (9, False) and sparse.mask.local


def test_the_teachers_windows_are_counted_with_their_reference():
    """Nine frames in windows of six that overlap by two: 0..5 and 4..8; each window sees itself and the reference."""
    assert teacher_pairs(9, 10) == (6 * 7 + 1 + 5 * 6 + 1) * 100
    assert teacher_pairs(3, 10) == (3 * 4 + 1) * 100


def test_two_patterns_are_read_with_their_models_and_steps():
    assert read_pair(("", "student", 1), ("", "teacher", 900)) is None
    pair = read_pair(("dense", "student", 2.0), ("pab", "teacher", 20))
    assert pair == (Side("dense", "student", 2), Side("pab", "teacher", 20))
    for one, other, said in (
        (("dense", "student", 1), ("", "student", 1), "the patterns are dense; two of"),
        (("dense", "student", 1), ("flash", "student", 1), "dense, flash; two of"),
        (("dense", "student", 5), ("svg2", "teacher", 5), "5 steps asked for; the student takes 1 to 4"),
        (("dense", "layers", 0), ("svg2", "teacher", 5), "the model is 'layers'; accepted: student, teacher"),
    ):
        with pytest.raises(InputError, match=said):
            read_pair(one, other)
