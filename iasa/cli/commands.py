"""What each command of `python -m iasa` does, given its parsed arguments; each returns the figures of its --json line.

Arguments and files are checked before torch is imported, so that a slip is answered at once; libraries load inside
the command that needs them.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iasa.config import FRAMES_PER_LATENT, VIDEO_FPS, InputError, MaskOptions, check_steps
from iasa.files import atomic_write, check_output

if TYPE_CHECKING:
    import numpy as np

    from iasa.avatar.speaker import Reference
    from iasa.keypoints import Keypoints
    from iasa.masks import AttentionPlan

DRAWN_AT_A_TIME = 50  # frames
MAX_GRID = 128  # rows and columns of tokens
MASK_SUFFIXES = (".npz", ".json", ".png", ".html")
BENCHES = (
    "attention",
    "generate",
    "plan",
)  # each is a module iasa.benchmarks.bench_NAME with run(arguments) -> (table, figures)


def generate(arguments: argparse.Namespace) -> dict:
    """The main job."""
    check_output(arguments.out, (".mp4",))
    check_steps(arguments.model, arguments.steps)
    if arguments.stream and (arguments.pose is not None or arguments.model != "student"):
        raise InputError("--stream is the student's, and makes its own poses; leave --pose and --model out")
    if arguments.motion and arguments.pose is not None:
        raise InputError("--motion chooses who makes the poses, and --pose gives them; leave one out")
    poses = None if arguments.pose is None else _read_poses(arguments.pose)
    audio = _read_speech(arguments.audio)
    reference = _read_reference(arguments)
    bar = StageBar()
    bar("load", 0.0)
    try:
        started = time.perf_counter()
        if poses is None and not arguments.stream:
            from iasa.speech.recognizer_process import shared_recognizer

            shared_recognizer().start()  # loads beside the networks
        from iasa.pipeline import CoSpeechPipeline
        from iasa.pipeline import generate as make_video

        pipeline = CoSpeechPipeline.from_pretrained(models=(arguments.model,))
        loading = time.perf_counter() - started
        options = {"mark": not arguments.no_mark, "steps": arguments.steps, "seed": arguments.seed, "progress": bar}
        if arguments.motion:
            options["motion"] = arguments.motion
        if arguments.stream:
            from iasa.session import write_live

            report = write_live(pipeline, audio, reference, arguments.out, **options)
        else:
            report = make_video(pipeline, audio, reference, arguments.out, poses, model=arguments.model, **options)
    finally:
        bar.close()
    from iasa.media.content_credentials import sign_if_asked

    sign_if_asked(arguments.out)
    report["seconds"] = {"load": round(loading, 3), **report["seconds"]}
    made = f"{report['frames']} frames in {loading + report['elapsed']:.1f} s"
    _tell(
        arguments,
        f"{arguments.out}: {made} by the {report['model']} in {report['steps']} steps, "
        f"the first after {report['first_frame']} s, "
        + ("" if arguments.stream else f"attention density {report['density']:.3f}, ")
        + f"{report['device']} {report['dtype']}",
    )
    return {**report, "out": arguments.out}


def motion(arguments: argparse.Namespace) -> dict:
    """Speech to keypoints on a speaker's body."""
    check_output(arguments.out, (".npz",))
    from iasa.avatar.identity import make_identity
    from iasa.avatar.rig import concat_motions, make_keypoints
    from iasa.avatar.speaker import load_speaker
    from iasa.keypoints import save_keypoints
    from iasa.motion import generate_clip_motion
    from iasa.speech.chunked import ChunkedSpeech

    audio = _read_speech(arguments.audio)
    if arguments.avatar is not None:
        identity = make_identity(arguments.avatar)
    else:
        identity = load_speaker(arguments.speaker or _first_speaker()).identity
    started = time.perf_counter()
    speech = ChunkedSpeech(audio)
    keypoints = make_keypoints(
        identity, concat_motions(*generate_clip_motion(speech, arguments.seed, model=arguments.model))
    )
    save_keypoints(arguments.out, keypoints)
    seconds = round(time.perf_counter() - started, 3)
    _tell(arguments, f"{arguments.out}: poses of {len(keypoints)} frames, mouth from the {speech.source}")
    return {
        "frames": len(keypoints),
        "seconds": seconds,
        "phones_from": speech.source,
        "model": arguments.model,
        "out": arguments.out,
    }


def motion_data(arguments: argparse.Namespace) -> dict:
    """Clips of real speakers for the training of the motion stage."""
    from iasa.training.motion_clips import make_clips

    report = make_clips(Path(arguments.videos), Path(arguments.run) / "motion" / "clips")
    _tell(
        arguments,
        f"{report['clips']} clips, {report['seconds']:.0f} s, of {report['videos']} videos; "
        f"the paper's filter kept {report['kept']:.0%} of the frames",
    )
    return report


def pose(arguments: argparse.Namespace) -> dict:
    """Keypoints of a real video, and how much of it is good enough to learn from."""
    check_output(arguments.out, (".npz",))
    from tqdm import tqdm

    from iasa.keypoints import BODY, FACE, LEFT_HAND, RIGHT_HAND, save_keypoints
    from iasa.media.reader import open_video
    from iasa.pose import extract_keypoints, keep_frames

    started = time.perf_counter()
    with open_video(arguments.video, fps=VIDEO_FPS) as (pictures, _):
        keypoints = extract_keypoints(tqdm(pictures, desc="pose", unit=" frames", leave=False), VIDEO_FPS)
    seen = keypoints.confidence > 0
    found = {
        name: round(float(seen[:, part].any(1).mean()), 4)
        for name, part in (
            ("pose", BODY),
            ("face", FACE),
            ("left_hand", LEFT_HAND),
            ("right_hand", RIGHT_HAND),
        )
    }
    if not seen.any():
        raise InputError(
            f"no person is found in {Path(arguments.video).name}; one who faces the camera, waist up, is needed"
        )
    save_keypoints(arguments.out, keypoints)
    kept = round(float(keep_frames(keypoints).mean()), 4)
    _tell(
        arguments,
        f"{arguments.out}: {len(keypoints)} frames; found pose {found['pose']:.0%}, face {found['face']:.0%}, "
        f"hands {found['left_hand']:.0%} and {found['right_hand']:.0%}; the paper's filter keeps {kept:.0%}",
    )
    seconds = round(time.perf_counter() - started, 3)
    return {"frames": len(keypoints), "seconds": seconds, "found": found, "kept": kept, "out": arguments.out}


def mask(arguments: argparse.Namespace) -> dict:
    """The attention plan of a pose file."""
    suffix = check_output(arguments.out, MASK_SUFFIXES).suffix.lower() if arguments.out else ""
    for name in ("video", "attention"):
        if getattr(arguments, name) and suffix != ".html":
            raise InputError(f"--{name} is for the explorer; give it an --out that ends in .html")
    options = MaskOptions(
        top_k=arguments.top_k,
        window=arguments.window,
        sink=not arguments.no_sink,
        method=arguments.method,
        block=arguments.block,
    )
    for name in ("rows", "cols"):
        if not 1 <= getattr(arguments, name) <= MAX_GRID:
            raise InputError(f"--{name} is {getattr(arguments, name)}; 1 to {MAX_GRID} are accepted")
    poses = _read_poses(arguments.pose)
    from iasa.grid import TokenGrid
    from iasa.keypoints import fill_latent, pool_to_latent
    from iasa.masks import make_plan
    from iasa.masks.export import save_plan

    started = time.perf_counter()
    if arguments.attention:
        plan = _explore_run(arguments, poses, options)
    else:
        latent = pool_to_latent(fill_latent(poses))
        plan = make_plan(latent, TokenGrid(len(latent), arguments.rows, arguments.cols), options)
        if suffix == ".html":
            pictures = None if arguments.video is None else _read_thumbnails(arguments.video, len(latent))
            _write_explorer(arguments.out, plan, latent, pictures)
        elif arguments.out:
            save_plan(arguments.out, plan)
    report: dict[str, Any] = plan.report()
    report |= {"seconds": round(time.perf_counter() - started, 3), "out": arguments.out}
    _tell(
        arguments,
        f"{report['frames']} latent frames of {FRAMES_PER_LATENT} pictures, {report['tokens']} tokens: "
        f"{report['token_density']:.1%} of the token pairs, {report['block_density']:.1%} of the "
        f"{report['block']} x {report['block']} blocks ({report['block_density_unpermuted']:.1%} in picture order)",
    )
    return report


def _explore_run(arguments: argparse.Namespace, poses: Keypoints, options: MaskOptions) -> AttentionPlan:
    """The explorer of a clip that the student makes of the poses, with what it attends to; the run's plan."""
    if arguments.video:
        raise InputError("--attention makes the pictures itself; leave --video out")
    from iasa.avatar.speaker import load_speaker
    from iasa.config import TransformerConfig
    from iasa.explorer import record_attention
    from iasa.pipeline import CoSpeechPipeline

    model = TransformerConfig()
    if (arguments.rows, arguments.cols) != (model.rows, model.cols):
        raise InputError(
            f"--attention runs the shipped student, whose grid is {model.rows} x {model.cols}; "
            f"--rows {arguments.rows} --cols {arguments.cols} is asked for"
        )
    reference = load_speaker(arguments.speaker or _first_speaker())
    pipeline = CoSpeechPipeline.from_pretrained(models=("student",), mask=options)
    run = record_attention(pipeline, poses, reference, seed=arguments.seed)
    _write_explorer(arguments.out, run.plan, run.keypoints, run.thumbnails, run.attention)
    return run.plan


def _write_explorer(path: str, plan: AttentionPlan, latent: Keypoints, pictures=None, attention=None) -> None:
    from iasa.explorer import explorer_html, read_bench

    with atomic_write(path) as partial:
        partial.write_text(explorer_html(plan, latent, pictures, attention, read_bench()), encoding="utf-8")


def _read_thumbnails(path: str, frames: int) -> list[np.ndarray]:
    """The first picture of each of `frames` latent frames."""
    from iasa.media.reader import open_video

    with open_video(path, fps=VIDEO_FPS) as (pictures, _):
        kept = [picture for number, picture in enumerate(pictures) if number % FRAMES_PER_LATENT == 0]
    if not frames <= len(kept) <= frames + 1:
        raise InputError(
            f"{Path(path).name} lasts {len(kept)} latent frames and the poses {frames}; the video of these poses is needed"
        )
    return kept[:frames]


def avatar(arguments: argparse.Namespace) -> dict:
    """The procedural speaker itself: the ground truth that the networks learn from."""
    check_output(arguments.out, (".mp4",))
    from iasa.avatar.identity import make_identity
    from iasa.avatar.renderer import Renderer
    from iasa.config import AUDIO_RATE
    from iasa.media.writer import VideoWriter
    from iasa.motion import speech_to_motion
    from iasa.speech import analyse

    audio = _read_speech(arguments.audio)
    renderer = Renderer(make_identity(arguments.seed), arguments.size)
    started = time.perf_counter()
    bar = StageBar()
    bar("motion", 0.0)
    performance = speech_to_motion(analyse(audio), arguments.seed)
    frames = len(performance)
    settings = {
        "speaker": f"avatar {arguments.seed}",
        "seed": arguments.seed,
        "fps": VIDEO_FPS,
        "model": "renderer",
    }
    try:
        with VideoWriter(arguments.out, VIDEO_FPS, audio, AUDIO_RATE, metadata=settings) as writer:
            for start in range(0, frames, DRAWN_AT_A_TIME):
                bar("draw", start / frames)
                writer.add_frames(renderer.render(performance[start : start + DRAWN_AT_A_TIME]))
    finally:
        bar.close()
    seconds = time.perf_counter() - started
    _tell(arguments, f"{arguments.out}: {frames} frames in {seconds:.1f} s")
    return {
        "frames": frames,
        "seconds": round(seconds, 3),
        "fps": round(frames / seconds, 2),
        "out": arguments.out,
    }


def train(arguments: argparse.Namespace) -> dict:
    """One training stage."""
    import torch.distributed

    from iasa.training.stages import run_stage

    try:
        report = run_stage(arguments)
    finally:
        if torch.distributed.is_initialized():  # the group's threads must not outlive the interpreter
            torch.distributed.destroy_process_group()
    _tell(arguments, json.dumps(report))
    return report


def evaluate(arguments: argparse.Namespace) -> dict:
    """The quality report."""
    from iasa.evaluation.run import run

    return run(arguments)


def bench(arguments: argparse.Namespace) -> dict:
    """One of the speed tables."""
    if arguments.out:
        check_output(arguments.out, (".json",))
    from iasa.device import describe_machine
    from iasa.files import atomic_write

    table, figures = importlib.import_module(f"iasa.benchmarks.bench_{arguments.what}").run(arguments)
    quick = " --quick" if arguments.quick else ""
    report = {"command": f"python -m iasa bench {arguments.what}{quick}", **describe_machine(), **figures}
    _tell(arguments, table)
    if arguments.out:
        with atomic_write(arguments.out) as partial:
            partial.write_text(json.dumps(report, indent=1) + "\n")
    return report


def evaluate_motion(arguments: argparse.Namespace) -> dict:
    """The report on stage 1."""
    from iasa.evaluation.evaluate_motion import run

    return run(arguments)


def _read_speech(path: str) -> np.ndarray:
    """float32 [n], mono, 16 kHz."""
    from iasa.speech import read_audio

    return read_audio(path)[0]


def _read_poses(path: str) -> Keypoints:
    from iasa.keypoints import load_keypoints

    poses = load_keypoints(path)
    if not len(poses):
        raise InputError(f"{Path(path).name} holds no poses; at least one frame is needed")
    if abs(poses.fps - VIDEO_FPS) > 0.01:
        raise InputError(f"{Path(path).name} holds {poses.fps:g} poses a second; {VIDEO_FPS:g} are needed")
    return poses


def _read_reference(arguments: argparse.Namespace) -> Reference:
    from iasa.avatar.speaker import draw_speaker, load_speaker, photo_speaker

    if arguments.reference is not None:
        from iasa.media.reader import read_image

        return photo_speaker(read_image(arguments.reference))
    if arguments.avatar is not None:
        return draw_speaker(arguments.avatar)
    return load_speaker(arguments.speaker or _first_speaker())


def _first_speaker() -> str:
    from iasa.avatar.speaker import speaker_names

    names = speaker_names()
    if not names:
        raise InputError("the example speakers are not there; name another with --avatar N or --reference IMG")
    return names[0]


def _tell(arguments: argparse.Namespace, sentence: str) -> None:
    if not arguments.json:
        print(sentence, flush=True)


class StageBar:
    """A progress bar on stderr that names the stage under way; it is gone when closed."""

    def __init__(self) -> None:
        self._bar, self._stage = None, ""

    def __call__(self, stage: str, share: float) -> None:
        if stage != self._stage:
            self.close()
            from tqdm import tqdm

            layout = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
            self._bar = tqdm(total=1.0, desc=stage, bar_format=layout, leave=False, mininterval=0.2)
            self._stage = stage
        self._bar.update(share - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar, self._stage = None, ""
