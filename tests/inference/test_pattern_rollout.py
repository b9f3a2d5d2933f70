"""Patterns of the gallery under the embedded models: the roll-out against the whole clip, the pipeline, and refusals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from iasa.attention.frame_tiles import RankedTiles
from iasa.attention.pattern import Clip
from iasa.attention.patterns import make_pattern, register
from iasa.attention.patterns.input_aware import InputAware
from iasa.avatar.speaker import load_speaker, speaker_names
from iasa.config import InputError, MaskOptions
from iasa.grid import TokenGrid
from iasa.inference.generation import Timing
from iasa.inference.pattern_rollout import MAX_FRAMES, PatternRollout
from iasa.keypoints import COUNT, Keypoints
from iasa.masks import make_plan
from iasa.models.autoencoder import Autoencoder
from iasa.models.transformer import Condition, VideoTransformer
from iasa.pipeline import CoSpeechPipeline

FRAMES = 5
ROLLED = {
    "dense": {},
    "input_aware": {},
    "local_window": {},
    "monarch": {},
    "oracle": {},
    "radial": {},
    "random_blocks": {},
    "random_frames": {},
    "sparse_forcing": {"persistent": 2, "top": 3, "window": 2},
}


@pytest.fixture(scope="module")
def network() -> VideoTransformer:
    torch.manual_seed(0)
    model = VideoTransformer(latent_channels=4, width=32, layers=2, heads=2).eval()
    with torch.no_grad():  # away from the zero initialisation, so that attention matters
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model


@pytest.fixture(scope="module")
def clip(network):
    """(condition of the reference and FRAMES frames, its plan, what a roll-out is given)."""
    rng = np.random.default_rng(0)
    xy = rng.uniform(0.2, 0.8, (1, COUNT, 2)) + 0.05 * rng.normal(size=(2 * (1 + FRAMES), COUNT, 2))
    poses = Keypoints(xy, np.ones(xy.shape[:2]))
    pairs = (torch.from_numpy(x).view(1, 1 + FRAMES, 2, *x.shape[1:]) for x in (poses.xy, poses.confidence))
    torch.manual_seed(1)
    with torch.no_grad():
        condition = network.condition(torch.randn(1, 1 + FRAMES, 4, 16, 16), torch.rand(1, 3, 256, 256), *pairs)
    plan = make_plan(Keypoints(poses.xy[::2], poses.confidence[::2], 12.5), TokenGrid(1 + FRAMES), MaskOptions(top_k=2))
    return condition, plan


def roll_out(network, clip, pattern, steps=1) -> torch.Tensor:
    condition, plan = clip
    generator = torch.Generator().manual_seed(3)
    student = PatternRollout(network, condition.frames([0]), pattern, steps, generator, lambda: plan)
    given = [(_Frame(condition, t), None) for t in range(1, 1 + FRAMES)]
    return torch.cat([latents for latents, _ in student.denoise((pair for pair in given), Timing())])


@dataclass
class _Frame:
    """What the roll-out reads of a `DenoiserInput`."""

    condition: Condition
    frame: int

    @property
    def base(self):
        return self.condition.base[0, self.frame]

    @property
    def pose_tokens(self):
        return self.condition.pose_tokens[0, self.frame]

    @property
    def pose(self):
        return self.condition.pose_summary[0, self.frame]


@pytest.mark.parametrize("name", ROLLED)
def test_a_roll_out_with_cached_keys_equals_the_whole_clip(network, clip, name):
    """With one step every frame's keys are those of its noise: the cache must give what one causal pass gives."""
    condition, plan = clip
    rolled = roll_out(network, clip, make_pattern(name, **ROLLED[name]))
    whole = make_pattern(name, **ROLLED[name])
    whole.begin(Clip(plan.grid, (1.0,), causal=True, plan=plan))
    generator = torch.Generator().manual_seed(3)
    noise = torch.stack([torch.randn(4, 16, 16, generator=generator) for _ in range(FRAMES)])[None]
    level = torch.ones(1, 1 + FRAMES)
    level[:, 0] = 0.0
    with torch.no_grad():
        wanted = network(torch.cat([condition.base[:, :1], noise], 1), level, condition, whole)[0, 1:]
    torch.testing.assert_close(rolled, wanted, rtol=1e-3, atol=1e-3)


def test_svg2_rolls_out_and_with_p_of_one_is_dense(network, clip):
    dense = roll_out(network, clip, make_pattern("dense"), steps=2)
    torch.testing.assert_close(roll_out(network, clip, make_pattern("svg2", top_p=1.0), 2), dense, rtol=1e-3, atol=1e-3)
    pattern = make_pattern("svg2", top_p=0.5, dense_share=0.0)
    assert (roll_out(network, clip, pattern, steps=2) - dense).abs().max() > 1e-2
    assert pattern.computed.density < pattern.clip.dense_share


def test_a_roll_out_that_would_keep_too_many_keys_is_refused(network, clip):
    condition, plan = clip
    student = PatternRollout(network, condition.frames([0]), make_pattern("dense"), 1, None, lambda: plan)
    given = ((_Frame(condition, 1), None) for _ in range(MAX_FRAMES + 1))
    with pytest.raises(
        InputError, match=r"dense keeps the keys of all frames, and there are 126 latent ones; up to 125"
    ):
        next(student.denoise(given, Timing()))


# the pipeline


@pytest.fixture(scope="module")
def pipeline(network) -> CoSpeechPipeline:
    torch.manual_seed(0)
    codec = Autoencoder(latent_channels=4, widths=(16, 16, 16))
    with torch.no_grad():
        for p in codec.parameters():
            p.add_(0.05 * torch.randn_like(p))
    mask = MaskOptions(top_k=1)
    return CoSpeechPipeline(codec, network, network, device="cpu", dtype=torch.float32, mask=mask)


@pytest.fixture(scope="module")
def speaker():
    return load_speaker(speaker_names()[0])


@pytest.fixture(scope="module")
def poses(speaker) -> Keypoints:
    still, rng = speaker.keypoints, np.random.default_rng(0)
    xy = np.repeat(still.xy, 9, 0) + 0.05 * rng.normal(size=(9, 1, 2))
    return Keypoints(xy, np.repeat(still.confidence, 9, 0))


def play(pipeline, speaker, poses, model="student", steps=1, attention=None):
    made = pipeline.stream(
        image=speaker, keypoints=poses, model=model, num_inference_steps=steps, attention=attention, seed=4
    )
    return np.concatenate(list(made.frames)).astype(int), made


def test_the_student_s_own_pattern_is_what_it_streams(pipeline, speaker, poses):
    """By name, by default, and through the gallery's roll-out with the poses' plan: the same frames."""
    own, made = play(pipeline, speaker, poses)
    named, _ = play(pipeline, speaker, poses, attention="input_aware")
    assert np.array_equal(own, named) and made.pattern is None
    through, made = play(pipeline, speaker, poses, attention=InputAware(backend="cpu"))
    assert made.pattern is not None and np.abs(through - own).max() <= 1


@pytest.mark.parametrize("model, steps", [("student", 2), ("teacher", 6)])
def test_every_way_of_attending_makes_its_own_video(pipeline, speaker, poses, model, steps):
    names = ["dense", "svg2", "monarch", "sparse_forcing"] + ["pab"] * (model == "teacher")
    videos = {}
    for name in names:
        videos[name], made = play(pipeline, speaker, poses, model, steps, name)
        assert made.settings["attention"] == name and made.density == round(made.pattern.computed.density, 4)
        assert videos[name].shape == (9, 256, 256, 3)
    assert all((videos[name] != videos["dense"]).any() for name in names[1:])


def test_a_pattern_of_one_s_own_is_chosen_by_its_name(pipeline, speaker, poses, monkeypatch):
    from iasa.attention import patterns

    monkeypatch.setattr(patterns, "_known", dict(patterns._known))

    @register
    @dataclass
    class OwnTiles(RankedTiles):
        """A tile sees the tiles of its own place."""

        name: ClassVar[str] = "own_tiles"

        def score(self, q, k, q_label, k_label):
            rows, columns = (torch.arange(int(label.max()) + 1) % 4 for label in (q_label, k_label))
            return (rows[:, None] == columns).float()[None, None]

    frames, made = play(pipeline, speaker, poses, attention="own_tiles")
    assert made.settings["attention"] == "own_tiles" and 0 < made.density < 0.25 and frames.std() > 0


def test_what_a_pattern_cannot_do_is_told_before_anything_is_made(pipeline, speaker, poses):
    with pytest.raises(InputError, match="the attention is 'spiral'; accepted: dense, input_aware"):
        pipeline.stream(image=speaker, keypoints=poses, attention="spiral")
    with pytest.raises(InputError, match="pab uses outputs of earlier denoising steps again, and there is 1 step"):
        pipeline.stream(image=speaker, keypoints=poses, attention="pab", num_inference_steps=1)
    with pytest.raises(InputError, match="pab makes a clip as a whole, and this one is made frame by frame"):
        pipeline.stream(image=speaker, keypoints=poses, attention="pab", num_inference_steps=4)
    with pytest.raises(InputError, match="the layers are warped without attention"):
        pipeline.stream(image=speaker, keypoints=poses, model="layers", attention="dense")
    with pytest.raises(
        InputError, match="svg2 begins when all poses are known; input_aware takes poses that never end"
    ):
        pipeline.stream(image=speaker, keypoints=iter([poses]), attention="svg2")
