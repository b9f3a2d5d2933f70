"""`python -m iasa evaluate-motion`: the learned motion model beside the rules and the truth on speech that training never saw.

The truth is the avatar's motion model given what the networks never see: true phones, and accents on truly stressed
syllables. The rules and the learned motion model both get `iasa.speech.analyse` of the noisy sound.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import torch

from iasa.avatar.identity import Identity, make_identity
from iasa.avatar.rig import RigMotion, make_keypoints, rest_hands, rest_motion
from iasa.config import HELDOUT_IDENTITY, TEMPERATURE, VIDEO_FPS
from iasa.keypoints import Keypoints
from iasa.metrics import motion_quality as measure
from iasa.metrics.video_quality import bootstrap_interval, correlation, frechet_distance
from iasa.motion.generator import MotionGenerator
from iasa.motion.generator_streaming import generate_learned_gestures, load_generator
from iasa.motion.rules import generate_gestures, make_style
from iasa.speech import SpeechFeatures
from iasa.training.speech_data.heldout_speech import HeldoutSpeech, example_clips, real_clips, synthetic_clips
from iasa.training.speech_data.performances import join_features, pause_features

SEEDS = {"truth": 1000, "rules": 2000, "learned": 3000}
SHIFT = 0.5  # seconds
SILENCE = 6.0  # seconds of silence after each clip, in which hands should come to rest
ABLATION_CLIPS, ABLATION_BATCH = 8, 8
COMPONENTS = 24  # of the truth's motion features, that the Frechet distance is taken on
FIGURES = {  # name: (heading, decimals)
    "opening_r": ("opening r", 3),
    "width_r": ("width r", 3),
    "lag_ms": ("lag ms", 0),
    "loudness_r": ("opening with loudness r", 3),
    "beats": ("beat alignment", 3),
    "beats_shifted": ("shifted 0.5 s", 3),
    "fgd": ("FGD", 2),
    "diversity": ("diversity cm", 2),
    "jerk": ("jerk m/s3", 1),
    "rest": ("at rest cm", 1),
    "bones_arms": ("arm bones", 4),
    "bones_fingers": ("finger bones", 4),
}
Performer = Callable[[SpeechFeatures, int], RigMotion]


@dataclass(frozen=True)
class MotionReportOptions:
    """What the report can be asked for."""

    clips: int = 12  # synthetic ones with known stress
    seeds: int = 10  # performances of each
    real: Path | None = None  # folder of real recordings, with their words in NAME.txt
    languages: Sequence[str] = ()  # synthetic clips of these too
    temperature: float = TEMPERATURE
    video: int = 0  # clips made to pictures and read back by a detector
    through: str = "renderer"  # or "student": what makes those pictures
    ablation: int = 0  # updates of each ablation that is trained as well
    run: Path = Path("runs")  # folder of held-out speech and of the training's data
    weights: Path | None = None  # other than the shipped ones


def performers(temperature: float, model: MotionGenerator | None) -> dict[str, Performer]:
    return {
        "truth": lambda speech, seed: generate_gestures(speech, seed),
        "rules": lambda speech, seed: generate_gestures(speech, seed),
        "learned": lambda speech, seed: generate_learned_gestures(speech, seed, temperature=temperature, model=model),
    }


def score_clip(clip: HeldoutSpeech, name: str, play: Performer, seeds: int) -> dict:
    """Every figure of one motion model on one clip, means over its seeds; "features" are left for the Frechet distance."""
    frames = min(clip.heard.frames, clip.true.frames)
    speech = (clip.true if name == "truth" else clip.heard)[:frames]
    speech = join_features([speech, pause_features(SILENCE)])
    accents = np.array([t for t, _ in clip.true.accents])
    identity = make_identity(HELDOUT_IDENTITY)
    rows, features, motions = [], [], []
    true = make_keypoints(identity, generate_gestures(clip.true[:frames], SEEDS["truth"]))
    for k in range(seeds):
        seed = SEEDS[name] + k
        whole = play(speech, seed)
        motion = whole[:frames]
        lips = measure.lip_scores(make_keypoints(identity, motion), true) if k < 2 and clip.worded else {}
        ends = measure.stroke_ends(motion)
        bones = measure.bone_error(identity, motion[::5], rest_motion(1)) if k == 0 else {}
        rows.append(
            {
                **lips,
                "loudness_r": correlation(motion.face[:, 0], speech.energy[:frames]),
                "beats": measure.beat_alignment(ends, accents),
                "beats_shifted": measure.beat_alignment((ends + SHIFT) % (frames / VIDEO_FPS), accents),
                "jerk": measure.jerk(motion),
                "rest": measure.rest_distance(whole, rest_hands(make_style(seed).rest), _last_quiet(len(whole))),
                **{f"bones_{part}": error for part, error in bones.items()},
            }
        )
        features.append(measure.motion_features(whole))
        motions.append(motion)
    names = dict.fromkeys(n for row in rows for n in row)
    score = {n: _mean([row[n] for row in rows if n in row]) for n in names}
    score["diversity"] = measure.spread_over_seeds(motions) if seeds > 1 else float("nan")
    return {"clip": clip.name, "kind": clip.kind, "model": name, **score, "features": features}


def _last_quiet(frames: int) -> slice:
    """From three seconds after the end of the speech."""
    return slice(frames - int((SILENCE - 3) * VIDEO_FPS), frames)


def _mean(values: Sequence[float]) -> float:
    finite = [v for v in values if np.isfinite(v)]
    return float(np.mean(finite)) if finite else float("nan")


def frechet(rows: list[dict], others: list[dict], samples: int = 200) -> dict:
    """Distance of the motion features of `rows` from those of `others` (the truth), with a bootstrap over clips."""
    truth = np.concatenate([f for row in others for f in row["features"]])
    centre, spread = truth.mean(0), truth.std(0) + 1e-3
    _, _, axes = np.linalg.svd((truth - centre) / spread, full_matrices=False)

    def project(some: Sequence[dict]) -> np.ndarray:
        return (np.concatenate([f for row in some for f in row["features"]]) - centre) / spread @ axes[:COMPONENTS].T

    against = project(others)
    rng = np.random.default_rng(0)
    drawn = [
        frechet_distance(project([rows[i] for i in rng.integers(len(rows), size=len(rows))]), against)
        for _ in range(samples)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {
        "mean": frechet_distance(project(rows), against),
        "low": float(low),
        "high": float(high),
        "clips": len(rows),
    }


def summarise(rows: list[dict]) -> dict:
    """{kind: {model: {figure: mean, low, high, clips}}}; FGD on all synthetic clips together."""
    out: dict = {}
    for kind in dict.fromkeys(row["kind"] for row in rows):
        truth = [row for row in rows if row["kind"] == kind and row["model"] == "truth"]
        for name in SEEDS:
            some = [row for row in rows if row["kind"] == kind and row["model"] == name]
            figures = out.setdefault(kind, {}).setdefault(name, {})
            for figure in FIGURES:
                values = [row[figure] for row in some if figure in row and np.isfinite(row[figure])]
                if values:
                    low, high = bootstrap_interval(values)
                    figures[figure] = {"mean": float(np.mean(values)), "low": low, "high": high, "clips": len(values)}
            if name != "truth" and len(some) > 2:
                figures["fgd"] = frechet(some, truth)
    return out


def to_table(summary: dict) -> str:
    lines = []
    for kind, performers_ in summary.items():
        lines += ["", f"**{kind}**", "", "| | " + " | ".join(heading for heading, _ in FIGURES.values()) + " |"]
        lines.append("|" + "---|" * (len(FIGURES) + 1))
        for name, figures in performers_.items():
            cells = [_cell(figures.get(figure), decimals) for figure, (_, decimals) in FIGURES.items()]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines).strip()


def to_page(report: dict) -> str:
    """The report to read: how it was made, the table, what the video and the ablation gave."""
    speed, video, ablation = report["speed"], report.get("video"), report.get("ablation")
    lines = [
        f"Made by `{report['command']}` ({report['date']}, {report['device']}); 95 % bootstrap intervals over clips.",
        f"One thread makes {speed['x_real_time_cpu']:g} seconds of motion in a second of the processor's time.",
        "",
        to_table(report["summary"]),
    ]
    if video:
        lines += [
            "",
            f"**lip-opening correlation, read back from {video['clips']} videos by the {video['through']}**",
            "",
        ]
        lines += ["| | against the driving keypoints | against the truth |", "|---|---|---|"]
        for name in ("rules", "learned"):
            lines.append(f"| {name} | " + " | ".join(f"{value:.3f}" for value in video[name].values()) + " |")
    if ablation:
        names = {name: FIGURES[name] for name in ("opening_r", "beats", "fgd", "diversity", "jerk", "rest")}
        lines += [
            "",
            f"**ablation, {ablation['steps']} steps each from the shipped weights, {ablation['clips']} clips**",
            "",
        ]
        lines += [
            "| | " + " | ".join(heading for heading, _ in names.values()) + " | nats |",
            "|---" * (len(names) + 2) + "|",
        ]
        for name, figures in ablation["variants"].items():
            cells = [f"{figures[figure]:.{decimals}f}" for figure, (_, decimals) in names.items()]
            nats = f"{figures['nats']:.3f}" if "nats" in figures else "-"
            lines.append(f"| {name} | " + " | ".join([*cells, nats]) + " |")
    return "\n".join(lines)


def _cell(figure: dict | None, decimals: int) -> str:
    if figure is None:
        return "-"
    mean, low, high = (f"{figure[key]:.{decimals}f}" for key in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]" if figure["clips"] > 1 else mean


def measure_speed(model: MotionGenerator | None, speech: SpeechFeatures) -> dict:
    """Seconds of motion made in a second of the processor's time, one thread."""
    generate_learned_gestures(speech[:50], model=model)
    began, wall = time.process_time(), time.perf_counter()
    generate_learned_gestures(speech, model=model)
    used, passed = time.process_time() - began, time.perf_counter() - wall
    return {"x_real_time_cpu": round(speech.seconds / used, 1), "x_real_time_wall": round(speech.seconds / passed, 1)}


def read_back(
    clips: Sequence[HeldoutSpeech], play: dict[str, Performer], frames: int, options: MotionReportOptions
) -> dict:
    """Mouth r that mediapipe reads in the finished video against the driving keypoints, and against the truth's lips."""
    from iasa.avatar.renderer import Renderer
    from iasa.metrics.video_quality import mouth_correlation
    from iasa.pose import extract_keypoints

    if options.through == "student":
        pictures_of = _student_pictures(options.weights)
    else:
        pictures_of = lambda i, m, k: Renderer(_speaker(i), 256).render(m)  # noqa: E731
    report: dict = {}
    for name in ("rules", "learned"):
        scores = []
        for i, clip in enumerate(clips):
            motion = play[name](clip.heard, SEEDS[name])[:frames]
            keypoints = make_keypoints(_speaker(i), motion)
            found = extract_keypoints(pictures_of(i, motion, keypoints))
            true = make_keypoints(_speaker(i), generate_gestures(clip.true, SEEDS["truth"])[: len(motion)])
            scores.append((mouth_correlation(found, keypoints), mouth_correlation(found, true)))
        means = [_mean(s) for s in zip(*scores, strict=True)]
        report[name] = dict(zip(("against_driving", "against_truth"), means, strict=True))
    return {"through": options.through, "clips": len(clips), "frames": frames, **report}


def _speaker(i: int) -> Identity:
    return make_identity(HELDOUT_IDENTITY + 600 + i)


def _student_pictures(weights: Path | None) -> Callable[[int, RigMotion, Keypoints], np.ndarray]:
    from iasa.avatar.speaker import draw_speaker
    from iasa.pipeline import CoSpeechPipeline

    pipeline = CoSpeechPipeline.from_pretrained(weights, teacher=None, motion=None)

    def make(i: int, motion: RigMotion, keypoints: Keypoints) -> np.ndarray:
        generation = pipeline.stream(image=draw_speaker(HELDOUT_IDENTITY + 600 + i), keypoints=keypoints)
        return np.concatenate(list(generation.frames))

    return make


def ablate(run: Path, steps: int, clips: list[HeldoutSpeech], temperature: float) -> dict:
    """The shipped generator less one part each time, trained on for `steps`; scored like the rest on a few clips.

    Where a part is gone the others have these steps to make up for it; without codebooks the regression begins anew.
    """
    from iasa.config import PRESETS
    from iasa.training.stages import make_schedule
    from iasa.training.train_motion import code_losses, draw_batch, encode_pieces, make_bank, train_generator

    shipped, clips = load_generator(), clips[:ABLATION_CLIPS]
    variants = {
        "all": {},
        "without sound": {"scales": ("rhythm", "phrase")},
        "without rhythm": {"scales": ("sound", "phrase")},
        "without phrase": {"scales": ("sound", "rhythm")},
        "without coupling": {"coupling": False},
        "without codebooks": {"codebooks": False},
    }
    preset, bank, report = PRESETS["motion"], make_bank(run / "motion"), {}
    truth = [score_clip(clip, "truth", performers(0, None)["truth"], 2) for clip in clips]
    for name, changes in variants.items():
        config = {k: v for k, v in shipped.config.items() if not k.startswith("_")}
        model = MotionGenerator(**{**config, **changes})
        own = model.state_dict()
        model.load_state_dict({k: v for k, v in shipped.state_dict().items() if k in own}, strict=False)
        folder = run / "motion" / "ablation" / name.replace(" ", "_")
        trainer = train_generator(
            folder,
            make_schedule("motion", preset, steps, 0),
            ABLATION_BATCH,
            preset.frames,
            model,
            bank,
            False,
            float("inf"),
        )
        model = trainer.averaged().requires_grad_(False)
        play = performers(temperature, model)["learned"]
        rows = [score_clip(clip, "learned", play, 2) for clip in clips]
        figures = {n: _mean([row[n] for row in rows]) for n in ("beats", "diversity", "jerk", "rest", "opening_r")}
        report[name] = {**figures, "fgd": frechet(rows, truth, 2)["mean"]}
        if model.config.codebooks:
            watch = bank[1]
            batch = draw_batch(watch, 48, preset.frames, np.random.default_rng(0), codes=encode_pieces(model, watch))
            with torch.no_grad():
                report[name]["nats"] = float(code_losses(model, batch, None).mean())
    return {"steps": steps, "batch": ABLATION_BATCH, "clips": len(clips), "variants": report}


def to_command(options: MotionReportOptions) -> str:
    """The command as it can be given again; folders by their name alone."""
    words = [f"--clips {options.clips} --seeds {options.seeds} --temperature {options.temperature:g}"]
    words += [f"--real {options.real.name}"] if options.real else []
    words += [f"--languages {' '.join(options.languages)}"] if options.languages else []
    words += [f"--video {options.video} --through {options.through}"] if options.video else []
    words += [f"--ablation {options.ablation}"] if options.ablation else []
    return " ".join(["python -m iasa evaluate-motion", *words])


def report_motion(options: MotionReportOptions) -> tuple[str, dict]:
    """(Markdown, report) of the rules and the learned model on held-out speech."""
    from iasa.models.checkpoint import check_folder

    model = load_generator(options.weights and check_folder(options.weights))
    cache = options.run / "motion" / "heldout"
    clips = [*synthetic_clips(options.clips, cache), *example_clips(cache)]
    if options.real:
        clips += real_clips(options.real, cache)
    for language in options.languages:
        clips += synthetic_clips(3, cache, language)
    play = performers(options.temperature, model)
    rows = [score_clip(clip, name, play[name], options.seeds) for clip in clips for name in SEEDS]
    summary = summarise(rows)
    report = {
        "command": to_command(options),
        "date": date.today().isoformat(),
        "device": f"cpu ({platform.machine()}, {torch.get_num_threads()} threads)",
        "torch": torch.__version__,
        "look_ahead_seconds": model.look_ahead / VIDEO_FPS,
        "summary": summary,
        "speed": measure_speed(model, max((c.heard for c in clips), key=lambda s: s.frames)),
    }
    if options.video:
        report["video"] = read_back(clips[: options.video], play, 75, options)
    if options.ablation:
        synthetic = [clip for clip in clips if clip.kind == "synthetic"]
        report["ablation"] = ablate(options.run, options.ablation, synthetic, options.temperature)
    return to_page(report), report
