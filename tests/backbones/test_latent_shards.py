"""Videos to shards: cuts, the filter, crops; written twice the same, restartable, read by number and as a stream."""

from __future__ import annotations

import json
import sys
import tarfile
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from wan_cases import POSES

from iasa.backbones import tiny_models
from iasa.backbones.latent_shards import ClipEncoder, ShardClips, ShardSettings, stream_clips, write_shards
from iasa.backbones.skeletons import draw_skeletons
from iasa.backbones.video_clips import DWPose, find_takes, read_clips
from iasa.backbones.wan_distill import full_control
from iasa.cli.main import main
from iasa.config import InputError
from iasa.keypoints import Keypoints
from iasa.media.writer import write_video

SIZE = ShardSettings(64, 96, frames=9, fps=16.0, videos=2)


def find_poses(pictures, fps: float) -> Keypoints:
    """Stands for mediapipe: the example's poses, as many as there are pictures."""
    count = sum(1 for _ in pictures)
    return Keypoints(POSES.xy[:count], POSES.confidence[:count], fps)


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Three videos of 40 pictures; the brightness jumps in the second after picture 14."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(3):
        frames = np.full((40, 96, 128, 3), 60 + 20 * number, np.uint8)
        frames[:, 30:50] += np.arange(40, dtype=np.uint8)[:, None, None, None]
        if number == 1:
            frames[14:] += 100
        write_video(folder / f"v.{number}.mp4", frames, fps=16.0)
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture(scope="module")
def encoder() -> ClipEncoder:
    return ClipEncoder(tiny_models.tiny_vace(2, text=True), SIZE)


@pytest.fixture(scope="module")
def shards(videos, encoder, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("shards")
    report = write_shards(videos, out, encoder, find_poses=find_poses)
    assert report == {"shards": 2, "written": 2, "clips": 4 + 3 + 4, "kept": round(11 * 9 / 120, 4), "refused": 1}
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_written_twice_by_any_workers_they_are_the_same(videos, encoder, shards, tmp_path):
    for worker in (1, 0):
        write_shards(videos, tmp_path, encoder, worker, 2, find_poses)
    assert contents(tmp_path) == contents(shards)
    with tarfile.open(next(shards.glob("*.tar"))) as tar:
        assert {entry.mtime for entry in tar} == {0}


def test_a_stopped_run_goes_on_with_the_next(videos, encoder, shards, tmp_path, monkeypatch):
    for name in ("shard-000000.tar", "shard-000000.json", "shard-000001.tar"):  # stopped before the second was done
        (tmp_path / name).write_bytes((shards / name).read_bytes()[: None if "000000" in name else 700])
    report = write_shards(videos, tmp_path, encoder, find_poses=find_poses)
    assert report["written"] == 1 and contents(tmp_path) == contents(shards)

    def stop(clip):
        raise KeyboardInterrupt

    (tmp_path / "shard-000001.json").unlink()
    (tmp_path / "shard-000001.tar").unlink()
    monkeypatch.setattr(ClipEncoder, "__call__", lambda self, clip: stop(clip))
    with pytest.raises(KeyboardInterrupt):
        write_shards(videos, tmp_path, encoder, find_poses=find_poses)
    assert sorted(contents(tmp_path)) == ["shard-000000.json", "shard-000000.tar"]  # nothing half-made stays
    other = ClipEncoder(tiny_models.tiny_vace(2), ShardSettings(64, 96, frames=13, videos=2))
    with pytest.raises(InputError, match="other settings; choose another folder"):
        write_shards(videos, tmp_path, other, find_poses=find_poses)


def test_a_sample_is_what_the_pipeline_would_compute(videos, encoder, shards):
    clips = ShardClips(shards)
    assert len(clips) == 11
    clip = clips[5]
    read, _ = read_clips(videos / "v.1.mp4", 64, 96, 16.0, 9, find_poses)
    source = next(one for one in read if one.key.replace(".", "_") == clip.key)
    pipe = encoder.pipe
    with torch.no_grad():
        pictures = torch.from_numpy(source.pictures).permute(3, 0, 1, 2)[None] / 127.5 - 1
        mean, std = (
            torch.tensor(x).view(1, -1, 1, 1, 1) for x in (pipe.vae.config.latents_mean, pipe.vae.config.latents_std)
        )
        wanted = (pipe.vae.encode(pictures).latent_dist.mode() - mean) / std
    assert (clip.latents - wanted).abs().max() < 2e-3 * wanted.abs().max() and clip.latents.shape == (1, 16, 3, 8, 12)
    assert clip.references == 1 and len(clip.poses) == 9 and clip.size == (64, 96)
    seen = {}

    def keep(self, args, kwargs):
        seen["control"] = kwargs["control_hidden_states"]

    hook = pipe.transformer.register_forward_pre_hook(keep, with_kwargs=True)
    from PIL import Image

    pipe.set_progress_bar_config(disable=True)
    skeletons, reference = draw_skeletons(source.poses, 64, 96, "vace"), Image.fromarray(source.reference)
    pipe(
        video=skeletons, reference_images=[reference], height=64, width=96, num_frames=9,
        num_inference_steps=1, guidance_scale=1.0, prompt=SIZE.prompt, output_type="latent",
    )  # fmt: skip
    hook.remove()
    found = full_control(clip.control, 1)
    assert found.shape == seen["control"].shape
    assert (found - seen["control"]).abs().max() < 2e-3 * seen["control"].abs().max()
    prompt = pipe.encode_prompt(SIZE.prompt, do_classifier_free_guidance=False, max_sequence_length=512)[0]
    assert clip.text.shape == prompt.shape and (clip.text - prompt).abs().max() < 2e-3


def test_webdataset_streams_the_same_samples(shards):
    pytest.importorskip("webdataset", reason="streaming needs webdataset, an extra")
    by_number = ShardClips(shards)
    count = 0
    for clip, other in zip(stream_clips(shards), (by_number[i] for i in range(len(by_number))), strict=True):
        assert (
            clip.key == other.key
            and torch.equal(clip.latents, other.latents)
            and torch.equal(clip.control, other.control)
        )
        assert np.array_equal(clip.poses.xy, other.poses.xy) and torch.equal(clip.text, other.text)
        count += 1
    assert count == 11


def test_no_clip_crosses_a_cut_or_a_frame_that_fails():
    cuts = [12]
    keep = np.ones(30, bool)
    keep[20] = False
    assert find_takes(keep, cuts, 5) == [(0, 12), (12, 20), (21, 30)]
    assert find_takes(keep, cuts, 9) == [(0, 12), (21, 30)]


def test_clips_show_the_person_uncut(videos):
    clips, report = read_clips(videos / "v.1.mp4", 64, 96, 16.0, 9, find_poses)
    clips = list(clips)
    assert report.frames == 40 and [clip.key[-6:] for clip in clips] == ["000000", "000014", "000023"]
    for clip in clips:
        assert clip.pictures.shape == (9, 64, 96, 3)
        seen = clip.poses.xy[clip.poses.confidence > 0]
        assert np.quantile(seen, 0.02) > -0.05 and np.quantile(seen, 0.98) < 1.05
    assert abs(float(clips[0].pictures.mean()) - float(clips[1].pictures.mean())) > 60  # before the jump, after it


def test_dwpose_by_rtmlib(monkeypatch, tmp_path):
    class Wholebody:
        def __init__(self, **options) -> None:
            assert options["det"].endswith("d.onnx") and options["backend"] == "onnxruntime"

        def __call__(self, picture):
            small, large = np.full((133, 2), 10.0), np.tile(np.linspace(20, 60, 133)[:, None], 2)
            return np.stack([small, large]), np.full((2, 133), 0.7)

    monkeypatch.setitem(sys.modules, "rtmlib", types.SimpleNamespace(Wholebody=Wholebody))
    for name in ("d.onnx", "p.onnx"):
        (tmp_path / name).touch()
    found = DWPose(tmp_path / "d.onnx", tmp_path / "p.onnx")(iter(np.zeros((2, 80, 120, 3), np.uint8)), 16.0)
    assert len(found) == 2 and found.fps == 16.0 and (found.confidence == np.float32(0.7)).all()
    np.testing.assert_allclose(
        found.xy[0, 0], [0.0, 0.25]
    )  # (20 - 20) / 80, 20 / 80: the larger person, in the middle square
    with pytest.raises(InputError, match="there is no file"):
        DWPose(tmp_path / "none.onnx", tmp_path / "p.onnx")


def test_ray_actors_write_the_same(videos, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="Ray is for clusters and not installed with the project")
    from iasa.backbones.ray_shards import write_shards_by_ray

    weights = tmp_path / "weights"
    tiny_models.tiny_vace(2, text=True).save_pretrained(weights)
    settings = ShardSettings(64, 96, frames=9, videos=1)
    report = write_shards_by_ray(videos, tmp_path / "ray", str(weights), settings, 2)
    assert report["shards"] == 4
    write_shards(videos, tmp_path / "alone", ClipEncoder(tiny_models.tiny_vace(2, text=True), settings))
    assert contents(tmp_path / "ray") == contents(tmp_path / "alone")


def test_the_commands_make_data_and_train(videos, tmp_path, monkeypatch, capsys):
    pytest.importorskip("peft", reason="adapters need peft, an extra")
    weights, out, run = (str(tmp_path / name) for name in ("weights", "shards", "run"))
    tiny_models.tiny_vace(2, text=True).save_pretrained(weights)
    monkeypatch.setattr("iasa.pose.extract_keypoints", find_poses)
    data = ["backbone-data", "--videos", str(videos), "--weights", weights, "--out", out]
    assert main([*data, "--size", "96x64", "--frames", "9", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["clips"] == 11
    words = [
        "backbone-train",
        "--data",
        out,
        "--weights",
        weights,
        "--run",
        run,
        "--updates",
        "1",
        "--batch",
        "1",
        "--rank",
        "2",
    ]
    assert main([*words, "--region", "0.1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["step"] == 0 and np.isfinite(report["student"]) and Path(report["lora"]).is_file()
    words[8] = "2"
    assert main([*words, "--region", "0.1", "--resume"]) == 0
    assert [json.loads(line)["step"] for line in (tmp_path / "run" / "losses.jsonl").read_text().splitlines()] == [0, 1]
    capsys.readouterr()
    for words, sentence in (
        (["backbone-data", "--videos", str(tmp_path), "--weights", weights, "--out", out], "there are no videos in"),
        ([*data, "--frames", "80"], "4 n + 1"),
        ([*data, "--worker", "2", "--of", "2"], "worker 2 of 2"),
        ([*data, "--ray", "0"], "--ray takes a number"),
        (["backbone-train", "--data", str(tmp_path), "--weights", weights, "--run", run], "there are no shards"),
    ):  # fmt: skip
        assert main(words) == 2
        assert sentence in capsys.readouterr().err
