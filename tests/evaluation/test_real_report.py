"""`iasa evaluate --real`: a folder of photographs, from the picture to the table."""

import pytest
from PIL import Image
from sample_photographs import astronaut

from iasa.config import LAYERS
from iasa.evaluation import real_people

pytest.importorskip("mediapipe", reason="the pose detector is optional: pip install mediapipe==0.10.21")


class NoJudge:
    """Instead of dlib's network, which is optional: how like the person is, is tested with it."""

    def to(self, *pictures: object) -> float:
        return float("nan")


def test_warped_layers_move_the_mouth_and_a_still_picture_does_not(tmp_path, monkeypatch):
    monkeypatch.setattr(real_people, "FaceDistance", NoJudge)
    (tmp_path / "portraits").mkdir()
    Image.fromarray(astronaut()).save(tmp_path / "portraits" / "astronaut.png")
    rows = ("static", LAYERS)
    table, report = real_people.evaluate_real(tmp_path, frames=24, size=256, rows=rows, note=lambda line: None)
    still, moving = report["scores"]
    assert (still["row"], moving["row"]) == rows
    assert moving["mouth_r"] > 0.5 and not still["mouth_r"] > 0.5
    assert moving["fps"] > 0 and LAYERS in table
