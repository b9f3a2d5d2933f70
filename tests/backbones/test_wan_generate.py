"""Speech to a video by a Wan pipeline on disk: the command, segments, the comparison, and each bad input in a sentence."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from wan_cases import POSES, quiet

from iasa import paths
from iasa.avatar.speaker import load_speaker
from iasa.backbones import tiny_models, wan_weights
from iasa.backbones.speech_scene import crop_box, cut_picture, fit_body, make_scene
from iasa.backbones.wan_generate import WanSettings, WanVideo, compare_videos, generate_video, split_segments
from iasa.backbones.wan_weights import load_causal_weights, load_lora, load_pipeline
from iasa.cli.main import main
from iasa.config import InputError
from iasa.keypoints import Keypoints, save_keypoints
from iasa.media.reader import read_metadata, read_video

SPEECH = str(paths.SPEECH / "tea.mp3")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights") / "vace"
    tiny_models.tiny_vace(text=True).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pose_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("poses") / "p.npz"
    save_keypoints(file, POSES[:12])
    return file


def command(*words: str) -> list[str]:
    return [
        "generate",
        "--audio",
        SPEECH,
        "--speaker",
        "alba",
        "--backbone",
        "vace",
        "--resolution",
        "96x64",
        "--steps",
        "2",
        *words,
    ]


def test_the_command_writes_a_comparison(weights, pose_file, tmp_path, capsys):
    out = tmp_path / "v.mp4"
    words = command("--weights", str(weights), "--pose", str(pose_file), "--out", str(out), "--compare", "--json")
    assert main(words) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["frames"] == 8 and report["fps"] == 16 and report["tokens"] == 4 * 24 and 0 < report["density"] < 1
    figures = report["compare"]
    assert figures["psnr"] > 0 and set(figures) >= {
        "psnr_face",
        "psnr_hands",
        "psnr_elsewhere",
        "background_flicker",
        "speedup",
    }
    frames, fps = read_video(out)
    assert frames.shape == (8, 64, 192, 3) and fps == 16
    assert read_metadata(out)["ai_generated"] and read_metadata(out)["attention"] == "input_aware"


def test_animate_from_a_folder_in_one_step(tmp_path, pose_file, capsys):
    weights, out = tmp_path / "animate", tmp_path / "v.mp4"
    tiny_models.tiny_animate(text=True).save_pretrained(weights)
    words = command("--weights", str(weights), "--pose", str(pose_file), "--out", str(out), "--compare", "--json")
    words[words.index("vace")] = "animate"
    words[words.index("--steps") + 1] = "1"
    assert main(words) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1], parse_constant=pytest.fail)  # NaN is no JSON
    assert report["fps"] == 30 and report["frames"] == round(12 / 25 * 30)
    assert report["compare"]["psnr"] < 100  # the only step followed the plan


def test_dense_is_the_pipeline_alone_and_speech_makes_the_poses(weights, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("iasa.speech.read_audio", lambda path: (np.zeros(4000, np.float32), 16_000))
    out = tmp_path / "v.mp4"
    assert main(command("--weights", str(weights), "--out", str(out), "--attention", "dense", "--json")) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["attention"] == "dense" and "density" not in report and report["frames"] >= 4


def test_long_speech_is_made_in_segments_that_go_on_from_each_other(monkeypatch):
    pipe = quiet(tiny_models.tiny_vace())
    scene = make_scene(load_speaker("alba"), POSES[:34], 64, 96)
    settings = WanSettings(64, 96, 1, 1.0, segment=13)
    calls = []
    call = type(pipe).__call__
    monkeypatch.setattr(type(pipe), "__call__", lambda self, **given: calls.append(given) or call(self, **given))
    video = generate_video(pipe, scene, settings)
    assert len(video.frames) == 22 and [plan.grid.frames for plan in video.plans] == [5, 5, 4]
    assert [len(one["video"]) for one in calls] == [13, 13, 9]
    np.testing.assert_array_equal(np.stack([np.asarray(x) for x in calls[1]["video"][:5]]), video.frames[8:13])
    masks = [np.asarray(x).max() for x in calls[1]["mask"]]
    assert masks == [0] * 5 + [255] * 8
    assert split_segments(161, 81, 5) == [range(0, 81), range(76, 157), range(152, 161)]


def test_animate_takes_its_face_from_the_warped_picture(monkeypatch):
    pipe = quiet(tiny_models.tiny_animate())
    keypoints = POSES[:14]
    scene = make_scene(load_speaker("alba"), keypoints, 64, 96)
    seen = {}
    call = type(pipe).__call__
    monkeypatch.setattr(type(pipe), "__call__", lambda self, **given: seen.update(given) or call(self, **given))
    video = generate_video(pipe, scene, WanSettings(64, 96, 1, 1.0, segment=13))
    assert video.fps == 30 and len(video.frames) == round(14 / 25 * 30) and len(video.plans) == 2
    faces = np.stack([np.asarray(x) for x in seen["face_video"]])
    assert faces.shape[1:] == (16, 16, 3) and faces.std() > 5 and (faces[0] != faces[8]).any()


def test_the_comparison_tells_regions_and_the_background_apart():
    poses = POSES[:9:2]
    random = np.random.default_rng(0)
    still = np.full((4, 64, 64, 3), 100, np.uint8)
    unrest = still.copy()
    unrest[:, :4] = random.integers(0, 255, (4, 4, 64, 3))  # the top edge, where nobody is
    dense, sparse = WanVideo(still, 12.5, seconds=2.0), WanVideo(unrest, 12.5, seconds=1.0)
    figures = compare_videos(sparse, dense, Keypoints(poses.xy, poses.confidence, 12.5))
    assert figures["psnr_elsewhere"] < 25 < 99 <= figures["psnr_face"]
    assert figures["background_flicker"] > 1 and figures["speedup"] == 2.0


@pytest.mark.parametrize("height, width", [(64, 96), (480, 832), (512, 512), (96, 64)])
def test_the_scene_shows_all_that_moves(height, width):
    scene = make_scene(load_speaker("alba"), POSES[:40], height, width)
    assert scene.picture.shape == (height, width, 3)
    seen = scene.keypoints.xy[scene.keypoints.confidence > 0]
    inside = POSES.xy[:40][POSES.confidence[:40] > 0]
    inside = ((inside >= 0) & (inside <= 1)).all(-1)
    assert (seen[inside] >= 0).all() and (seen[inside] <= 1).all()
    shoulder, nose = scene.keypoints.xy[0, 5] * [width, height], scene.keypoints.xy[0, 0] * [width, height]
    ratio = (shoulder - nose) / (POSES.xy[0, 5] - POSES.xy[0, 0])
    assert ratio[0] == pytest.approx(ratio[1], rel=1e-3)  # nobody is squeezed


def test_the_motion_is_laid_on_the_body_in_the_photograph():
    rest = load_speaker("alba").keypoints
    photographed = Keypoints(rest.xy * 700 + np.float32([300, 50]), rest.confidence)
    scale, shift = fit_body(rest, photographed)
    assert scale == pytest.approx(700, rel=1e-4) and shift == pytest.approx([300, 50], abs=0.1)
    unseen = Keypoints(rest.xy, np.zeros((1, 133), np.float32))
    with pytest.raises(InputError, match="no face and shoulders"):
        fit_body(rest, unseen)
    box = crop_box(photographed, (900, 1600), 832 / 480)
    assert box[0] >= 0 and box[0] + box[2] <= 1600 + 1e-6 and box[3] == pytest.approx(900)
    picture = np.zeros((90, 160, 3), np.uint8)
    picture[:, :80] = 200
    beyond = cut_picture(picture, (-40, -10, 240, 110), 55, 120)
    assert beyond[0, 0, 0] == 200 and beyond[-1, -1, 0] == 0 and beyond.shape == (55, 120, 3)


def test_bad_input_is_exit_status_2_and_one_sentence(weights, tmp_path, capsys, monkeypatch):
    out = ["--out", str(tmp_path / "v.mp4")]
    wrong, broken, part = (tmp_path / name for name in ("wrong", "broken", "part"))
    tiny_models.tiny_i2v().save_pretrained(wrong)
    shutil.copytree(weights, broken)
    (broken / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    shutil.copytree(weights, part)
    shutil.rmtree(part / "scheduler")
    (tmp_path / "l.pt").write_bytes(b"x")
    (tmp_path / "l.safetensors").write_bytes(b"x" * 64)
    cases = [
        (command(*out), "--backbone needs --weights"),
        (command("--weights", str(tmp_path), *out), "no model_index.json"),
        (command("--weights", str(wrong), *out), "holds weights of WanImageToVideoPipeline; WanVACEPipeline is needed"),
        (command("--weights", str(broken), *out), "holds no .safetensors file"),
        (command("--weights", str(part), *out), "lacks its part scheduler"),
        (command("--weights", str(weights), "--lora", str(tmp_path / "n.safetensors"), *out), "there is no LoRA"),
        (command("--weights", str(weights), "--lora", str(tmp_path / "l.pt"), *out), "pickled ones are not"),
        (command("--weights", str(weights), "--lora", str(tmp_path / "l.safetensors"), *out), "is not a LoRA"),
        ([*command("--weights", str(weights), *out), "--resolution", "100x64"], "multiples of 16"),
        ([*command("--weights", str(weights), *out), "--resolution", "wide"], "multiples of 16"),
        ([*command("--weights", str(weights), *out), "--steps", "0"], "0 steps"),
        ([*command("--weights", str(weights), *out), "--compare", "--attention", "dense"], "leave --attention dense out"),
        (["generate", "--audio", SPEECH, "--lora", "x", *out], "--lora belongs to --backbone"),
    ]  # fmt: skip
    monkeypatch.setattr("iasa.speech.read_audio", lambda path: (np.zeros(4000, np.float32), 16_000))
    for words, sentence in cases:
        assert main(words) == 2, words
        told = capsys.readouterr().err.strip().splitlines()
        assert sentence in told[-1] and told[-1].startswith("iasa: "), (words, told)
    with pytest.raises(SystemExit, match="2"):
        main(command("--weights", str(tmp_path / "none" / "x"), *out))
    assert "there is no folder x" in capsys.readouterr().err
    assert not (tmp_path / "v.mp4").exists()


def test_what_does_not_fit_is_refused_before_it_is_read(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(wan_weights, "available_memory", lambda device: 1000)
    with pytest.raises(InputError, match=r"needs about 0.0 GiB \(computed\) and 0.0 GiB are free on cpu"):
        load_pipeline(str(weights))
    large = tmp_path / "large"
    shutil.copytree(weights, large)
    config = json.loads((large / "transformer" / "config.json").read_text())
    config |= dict(num_attention_heads=40, attention_head_dim=128, ffn_dim=13824, num_layers=40)
    config["vace_layers"] = list(range(0, 40, 5))
    (large / "transformer" / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="17 billion parameters and there is no CUDA device"):
        load_pipeline(str(large))
    need = wan_weights.estimate_memory(config, 2_150_000_000, 0, 34_320, torch.bfloat16)
    assert 4.0 < need.weights / 2**30 < 4.1


def test_weights_that_are_spread_later_stay_in_memory(weights, monkeypatch):
    """14B over several GPUs: no one of them is asked to hold the whole, and none is not asked for."""
    monkeypatch.setattr("iasa.backbones.wan_weights.NEEDS_GPU", 1)
    monkeypatch.setattr("iasa.backbones.wan_weights.available_memory", lambda device: None)
    pipe = load_pipeline(str(weights), device="cuda", place="cpu", without=("text_encoder",))
    assert pipe.text_encoder is None and pipe.tokenizer is not None
    assert {weight.device.type for weight in pipe.transformer.parameters()} == {"cpu"}
    with pytest.raises(InputError, match="there is no CUDA device"):
        load_pipeline(str(weights), device="cpu", place="cpu")


def test_causal_weights_go_into_the_main_blocks(tmp_path):
    from diffusers import WanTransformer3DModel
    from safetensors.torch import save_file

    torch.manual_seed(7)
    donor = WanTransformer3DModel(**tiny_models.CORE, in_channels=16, num_layers=3)
    donor.save_pretrained(tmp_path / "donor")
    pipe = tiny_models.tiny_vace()
    control = pipe.transformer.vace_blocks[0].attn1.to_q.weight.clone()
    load_causal_weights(pipe.transformer, str(tmp_path / "donor"))
    assert torch.equal(pipe.transformer.blocks[2].ffn.net[2].weight, donor.blocks[2].ffn.net[2].weight)
    assert torch.equal(pipe.transformer.vace_blocks[0].attn1.to_q.weight, control)
    part = {f"model.{n}": v for n, v in donor.state_dict().items() if "blocks.1." not in n}
    save_file(part, tmp_path / "part.safetensors")
    with pytest.raises(InputError, match="lacks .* tensors of the main blocks, blocks.1"):
        load_causal_weights(pipe.transformer, str(tmp_path / "part.safetensors"))
    with pytest.raises(InputError, match="no causal weights"):
        load_causal_weights(pipe.transformer, str(tmp_path / "none.pt"))
    smaller = WanTransformer3DModel(**{**tiny_models.CORE, "ffn_dim": 32}, in_channels=16, num_layers=3)
    smaller.save_pretrained(tmp_path / "smaller")
    with pytest.raises(InputError, match="is needed"):
        load_causal_weights(pipe.transformer, str(tmp_path / "smaller"))


def test_a_lora_of_a_text_to_video_model_fits_vace(tmp_path):
    """Few-step LoRAs know `blocks.*` alone."""
    pytest.importorskip("peft", reason="LoRAs need peft, an extra")
    from diffusers import WanTransformer3DModel, WanVACEPipeline
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    from iasa.backbones.lora_roles import TARGETS

    donor = WanTransformer3DModel(**tiny_models.CORE, in_channels=16, num_layers=3)
    donor.add_adapter(LoraConfig(r=4, lora_alpha=4, init_lora_weights=False, target_modules=TARGETS))
    WanVACEPipeline.save_lora_weights(tmp_path, transformer_lora_layers=get_peft_model_state_dict(donor))
    pipe = quiet(tiny_models.tiny_vace())
    scene = make_scene(load_speaker("alba"), POSES[:6], 64, 96)
    before = generate_video(pipe, scene, WanSettings(64, 96, 2, 1.0)).frames
    load_lora(pipe, str(next(tmp_path.glob("*.safetensors"))))
    after = generate_video(pipe, scene, WanSettings(64, 96, 2, 1.0)).frames
    pipe.set_adapters(["iasa"], [0.0])
    undone = generate_video(pipe, scene, WanSettings(64, 96, 2, 1.0)).frames
    assert (before != after).mean() > 0.01 and np.abs(undone.astype(int) - before).max() <= 1
