"""What the restorer changes of a photograph's layers: its crops alone, and nothing while it has learnt nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sample_photographs import avatar_photograph

pytest.importorskip("cv2", reason="OpenCV comes with mediapipe: pip install mediapipe==0.10.21")

from iasa import keypoints as kp  # noqa: E402
from iasa.avatar.identity import make_identity  # noqa: E402
from iasa.avatar.speaker import Reference, load_speaker  # noqa: E402
from iasa.inference.generation import Timing  # noqa: E402
from iasa.inference.restoration import LayerRestorer, restore  # noqa: E402
from iasa.keypoints import Keypoints  # noqa: E402
from iasa.models.restorer import Restorer  # noqa: E402


@pytest.fixture(scope="module")
def reference():
    photo = avatar_photograph()
    return Reference(photo.image[::2, ::2], photo.keypoints, make_identity(3), "noise", photo, 256)


def restorer(reference, brighter=0.0):
    network = Restorer(32, (8, 16)).eval()
    torch.nn.init.constant_(network.head.bias, brighter)
    return LayerRestorer(network, reference)


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).integers(60, 160, (3, 256, 256, 3), dtype=np.uint8)


def poses(reference, count=3):
    return np.repeat(reference.photo.xy[None].astype(np.float64), count, 0)


def test_a_network_that_has_learnt_nothing_changes_nothing(reference, frames):
    np.testing.assert_array_equal(restorer(reference)(frames, poses(reference)), frames)


def test_it_brightens_the_face_where_that_is_in_each_frame(reference, frames):
    xy = poses(reference)
    xy[1, kp.FACE] += (0.06, 0.03)
    made = restorer(reference, 0.2)(frames, xy).astype(int) - frames
    assert reference.parts.moving == (False, False)  # hands at rest are closed: only the face has a crop
    for change, pose in zip(made, xy, strict=True):
        x, y = (pose[kp.FACE].mean(0) * 256).astype(int)
        assert np.abs(change[y - 5 : y + 5, x - 5 : x + 5] - 25.5).max() <= 1
        rows, columns = np.nonzero(change.any(-1))
        middle = np.array([columns.mean(), rows.mean()])
        np.testing.assert_allclose(middle, pose[kp.FACE].mean(0) * 256, atol=2)
        assert np.abs(change[-40:]).max() == 0


def test_frames_pass_with_and_without_it(reference, frames):
    piece = Keypoints(poses(reference).astype(np.float32), np.ones((3, kp.COUNT), np.float32))

    def warped():
        yield frames, piece

    (passed,) = restore(warped(), None, Timing())
    np.testing.assert_array_equal(passed, frames)
    timing = Timing()
    (made,) = restore(warped(), restorer(reference, 0.2), timing)
    assert (made != frames).any() and timing.seconds["decode"] > 0


def test_a_drawn_speaker_has_none():
    with pytest.raises(ValueError, match="drawn"):
        LayerRestorer(Restorer(32, (8, 16)), load_speaker("alba"))
