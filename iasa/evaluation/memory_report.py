"""The memory bed's tables: which past frames and tokens are worth remembering, and what distillation keeps of chance.

`frames` and `tokens` give one teacher every memory in turn. Fidelity: frames whose details showed before are drawn apart
while the memory holds true frames, so nothing but the choice differs. Consistency: the teacher rolls out whole clips and
remembers its own frames. `distillation` measures students that get no warped reference, where a mean of what may be would be
a blur.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from iasa.config import InputError, MemoryOptions
from iasa.device import pick_device
from iasa.files import display_name
from iasa.inference.remembered import RememberedFrames
from iasa.keypoints import FACE, LEFT_HAND, RIGHT_HAND, Keypoints
from iasa.masks import AttentionPlan
from iasa.masks.frame_choice import CHOICES, TOKENS, showings
from iasa.metrics.memory_quality import (
    decided_by_past,
    diversity,
    least_area,
    paired_difference,
    psnr_inside,
    score_memory,
    sharpness,
    undecided,
)
from iasa.metrics.networks.part_encoder import PartEncoder
from iasa.metrics.proxy import compare_features
from iasa.metrics.video_quality import bootstrap_interval, detection_rates, hand_confidence
from iasa.models.checkpoint import find_weights, load_weights
from iasa.models.patch_codec import PatchCodec
from iasa.models.transformer import VideoTransformer
from iasa.sampling import sample_euler
from iasa.training.datasets import to_model_images, to_pictures
from iasa.training.memory_data import RATE, MemoryClip, MemoryClips, MemoryWindow, make_window
from iasa.training.memory_stages import (
    chosen_plans,
    load_codec,
    load_memory,
    make_condition,
    sample_rolled,
    sample_rolled_euler,
    window_poses,
)

MEMORIES = tuple((k, reach) for reach in (5, 25) for k in (1, 2, 4, 8))  # frames; 2 s and 10 s
STEPS = 4  # of the teacher
CODEC = "truth through the codec"  # what no network can be better than
ROLLED = ("consistency", "consistency_ratio", "psnr", "drift")  # figures of whole clips
STUDENTS = ("memory_student", "memory_self_forcing", "memory_distill", "memory_distill_region")
TITLES = {
    "memory_student": "regression",
    "memory_self_forcing": "self-forcing",
    "memory_distill": "DMD",
    "memory_distill_region": "DMD + region loss",
}
DETECTED = 24  # clips in which a detector looks for hands
SEEDS = 3  # runs that are compared for diversity
HEADINGS = {
    "fidelity": ("fidelity dB", 2), "consistency": ("consistency", 2), "consistency_ratio": ("over the truth's", 2),
    "density": ("density", 3), "psnr": ("PSNR dB", 2), "sharpness": ("sharpness", 3), "sharpness_parts": ("hands and face", 3),
    "hands": ("hand detection", 3), "hkc": ("HKC", 3), "diversity_open": ("diversity, undecided", 2),
    "diversity_decided": ("decided", 2), "drift": ("drift dB", 2), "fd_parts": ("FD parts", 3),
}  # fmt: skip
Scores = dict[str, list[dict[str, float]]]  # row -> figures of each clip
Table = tuple[Scores, list[tuple[str, str]], dict[str, dict]]  # scores, rows to compare, figures of all clips together


def evaluate_memory(
    run: Path, clips: int, tables: Sequence[str], top_k: int = MemoryOptions().top_k
) -> tuple[str, dict]:
    """(Markdown, report) of a run's networks on its first `clips` held-out clips. Raises InputError for what is missing."""
    if clips < 1:
        raise InputError(f"{clips} clips asked for; 1 or more are accepted")
    heldout = MemoryClips(run / "memory", "heldout").clips[:clips]
    codec = load_codec(run).to(pick_device())
    report: dict = {
        "command": f"python -m iasa evaluate --memory {display_name(run)} --clips {clips} --tables {' '.join(tables)}",
        "date": date.today().isoformat(),
        "device": f"{pick_device().type} ({platform.machine()}, {torch.get_num_threads()} threads)",
        "torch": torch.__version__,
        "clips": len(heldout),
        "frames": len(heldout[0].frames) - 1,
        "steps": STEPS,
        "tables": {},
    }
    makers: dict[str, Callable[[], Table]] = {
        "frames": lambda: frames_table(load_memory(run, "memory_teacher", False), codec, heldout, top_k),
        "tokens": lambda: tokens_table(load_memory(run, "memory_teacher", False), codec, heldout, top_k),
        "distillation": lambda: distillation_table(run, codec, heldout, top_k),
    }
    for name in tables:
        report["tables"][name] = summarise_rows(*makers[name]())
    return write_page(report), report


def whole_window(clip: MemoryClip, codec: PatchCodec, prior: bool) -> MemoryWindow:
    """All frames of a clip."""
    return make_window([clip], np.arange(1, len(clip.frames))[None], codec, prior).to(codec.mean.device)


def recode(window: MemoryWindow, codec: PatchCodec) -> np.ndarray:
    """The true frames through the codec: uint8 [f, S, S, 3]."""
    return to_pictures(codec.decode(window.latents[:, 1:]))[0]


def later_showings(clip: MemoryClip) -> list[int]:
    """Frames in which a detail shows most that an earlier showing has shown, rising: what a memory is asked for."""
    areas = clip.masks.sum((-2, -1))
    found = set()
    for detail, least in enumerate(least_area(areas)):
        for start, end in showings(areas[:, detail], least)[1:]:
            found.add(start + int(areas[start:end, detail].argmax()))
    return sorted(found)


@torch.no_grad()
def draw_targets(
    memory: RememberedFrames,
    codec: PatchCodec,
    window: MemoryWindow,
    plan: AttentionPlan,
    targets: Sequence[int],
    seed: int,
    steps: int = STEPS,
    watch: Callable[[], None] | None = None,  # called before each step; what it raises ends the work
) -> np.ndarray:  # uint8 [q, S, S, 3]
    """The teacher's frames `targets`, each drawn apart, which remember true frames of the plan; one seed is one noise."""
    torch.manual_seed(seed)
    noise = torch.randn_like(window.latents[:, list(targets)])

    def denoise(x: torch.Tensor, level: float) -> torch.Tensor:
        if watch:
            watch()
        return memory.predict(x, torch.full(x.shape[:2], level, device=x.device), targets, plan).float()

    return to_pictures(codec.decode(sample_euler(denoise, noise, steps)))[0]


@torch.no_grad()
def forced_fidelity(
    model: VideoTransformer, codec: PatchCodec, clips: Sequence[MemoryClip], rows: dict[str, dict]
) -> Scores:
    """`fidelity` and `density` of each row of arguments of `chosen_plans`, clip by clip."""
    scores: Scores = {row: [] for row in (CODEC, *rows)}
    for number, clip in enumerate(tqdm(clips, desc="fidelity")):
        window, targets = whole_window(clip, codec, prior=True), later_showings(clip)
        through = recode(window, codec)
        inside = psnr_inside(through, clip.frames[1:], decided_by_past(clip.masks)[1:])
        kept = score_memory(through, clip.frames[1:], clip.masks[1:])
        scores[CODEC].append({"fidelity": inside} | {name: kept[name] for name in ROLLED})
        memory = RememberedFrames(model, make_condition(model, window), window.latents[:, 1:])
        decided = decided_by_past(clip.masks)[targets]
        for row, arguments in rows.items():
            plan = chosen_plans(window, **arguments, seed=number)[0]
            figures = {"fidelity": float("nan"), "density": plan.density()}
            if targets:
                made = draw_targets(memory, codec, window, plan, targets, seed=number)
                figures["fidelity"] = psnr_inside(made, clip.frames[targets], decided)
            scores[row].append(figures)
    return scores


@torch.no_grad()
def roll_scores(model: VideoTransformer, codec: PatchCodec, clips: Sequence[MemoryClip], arguments: dict) -> list[dict]:
    """The teacher's own runs under one choice of frames."""
    found = []
    for number, clip in enumerate(tqdm(clips, desc=str(arguments["choice"]))):
        window = whole_window(clip, codec, prior=True)
        torch.manual_seed(number)
        latents = sample_rolled_euler(model, window, chosen_plans(window, **arguments, seed=number), STEPS)
        made = to_pictures(codec.decode(latents))[0]
        scores = score_memory(made, clip.frames[1:], clip.masks[1:])
        found.append({name: scores[name] for name in ROLLED})
    return found


def frames_table(model: VideoTransformer, codec: PatchCodec, clips: Sequence[MemoryClip], top_k: int) -> Table:
    """Every choice of frames at every size of memory; whole clips with one frame and with `top_k` within 10 s."""
    rows = {}
    longest = max(reach for _, reach in MEMORIES)
    for k, reach in dict.fromkeys((*MEMORIES, (top_k, longest))):
        for choice in CHOICES:
            if choice != "all":
                rows[f"{choice}, K = {k}, {reach / RATE:.0f} s"] = {"choice": choice, "top_k": k, "reach": reach}
    for reach in sorted({reach for _, reach in MEMORIES}):
        rows[f"all, {reach / RATE:.0f} s"] = {"choice": "all", "top_k": 1, "reach": reach}
    scores = forced_fidelity(model, codec, clips, rows)
    runs = [f"{choice}, K = {k}, {longest / RATE:.0f} s" for k in sorted({1, top_k}) for choice in CHOICES]
    for at in (*(at for at in runs if at in rows), f"all, {longest / RATE:.0f} s"):
        rolled = roll_scores(model, codec, clips, rows[at])
        scores[at] = [one | other for one, other in zip(scores[at], rolled, strict=True)]
    pairs = [
        (f"pose, K = {k}, {reach / RATE:.0f} s", f"{other}, K = {k}, {reach / RATE:.0f} s")
        for k, reach in MEMORIES
        for other in ("unaligned", "hands", "last", "random", "unlike", "oracle")
    ]
    return scores, pairs, {}


def tokens_table(model: VideoTransformer, codec: PatchCodec, clips: Sequence[MemoryClip], top_k: int) -> Table:
    """Frames by pose within 10 s, and of these the tokens that each rule keeps."""
    shared = {"choice": "pose", "top_k": top_k, "reach": max(reach for _, reach in MEMORIES)}
    scores = forced_fidelity(model, codec, clips, {tokens: {**shared, "tokens": tokens} for tokens in TOKENS})
    return scores, [("mls", other) for other in TOKENS if other != "mls"], {}


@torch.no_grad()
def distillation_table(run: Path, codec: PatchCodec, clips: Sequence[MemoryClip], top_k: int) -> Table:
    """The teacher and every student that is trained, none of which gets a warped reference; one and four steps."""
    reach = max(reach for _, reach in MEMORIES)
    models = {("teacher", STEPS): (load_memory(run, "memory_teacher", True), sample_rolled_euler)}
    for stage in STUDENTS:
        student = load_memory(run, stage, True)
        models |= {(TITLES[stage], steps): (student, sample_rolled) for steps in (1, 4)}
    parts = load_weights(PartEncoder, find_weights(None, "part_encoder")).requires_grad_(False)
    scores: Scores = {CODEC: []}
    looks: dict[str, list[np.ndarray]] = {CODEC: []}
    for number, clip in enumerate(tqdm(clips, desc=CODEC)):
        window = whole_window(clip, codec, prior=False)
        through = recode(window, codec)
        scores[CODEC].append(score_invention([through], clip, window_poses(window)[0], number < DETECTED))
        looks[CODEC].append(look_at(through, parts))
    for (title, steps), (model, sample) in models.items():
        row = f"{title}, {steps} step{'s' * (steps > 1)}"
        scores[row], looks[row] = [], []
        for number, clip in enumerate(tqdm(clips, desc=row)):
            window = whole_window(clip, codec, prior=False)
            plans, runs = chosen_plans(window, "pose", top_k, reach), []
            for seed in range(SEEDS if number < DETECTED else 1):
                torch.manual_seed(1000 * number + seed)
                runs.append(to_pictures(codec.decode(sample(model, window, plans, steps)))[0])
            scores[row].append(score_invention(runs, clip, window_poses(window)[0], number < DETECTED))
            looks[row].append(look_at(runs[0], parts))
    truth = [look_at(clip.frames[1:], parts) for clip in clips]
    pooled = {row: {"fd_parts": compare_features(found, truth)} for row, found in looks.items()}
    compared = (
        ("DMD", "self-forcing"),
        ("DMD + region loss", "DMD"),
        *((t, "regression") for t in list(TITLES.values())[1:]),
    )
    pairs = [(f"{a}, {steps}", f"{b}, {steps}") for a, b in compared for steps in ("1 step", "4 steps")]
    return scores, pairs, pooled


def score_invention(runs: list[np.ndarray], clip: MemoryClip, poses: Keypoints, detect: bool) -> dict[str, float]:
    """Figures of runs of one clip that differ in their noise; the first one counts where one is enough."""
    truth, masks = clip.frames[1:], clip.masks[1:]
    near = near_parts(poses[1:], truth.shape[1])
    figures = score_memory(runs[0], truth, masks)
    figures["sharpness_parts"] = sharpness(runs[0], truth, near)
    figures["diversity_open"] = diversity(runs, undecided(masks))
    figures["diversity_decided"] = diversity(runs, decided_by_past(masks))
    if detect:
        from iasa.pose import extract_keypoints

        found = extract_keypoints(enlarge(runs[0]), fps=RATE)
        figures["hands"] = detection_rates(found, poses[1:])["hands"]
        figures["hkc"] = hand_confidence(found, poses[1:])
    return figures


def near_parts(poses: Keypoints, side: int, margin: int = 3) -> np.ndarray:
    """Boxes of both hands and the face: bool [f, side, side]."""
    near = np.zeros((len(poses), side, side), bool)
    for part in (FACE, LEFT_HAND, RIGHT_HAND):
        low = np.clip(poses.xy[:, part].min(1) * side - margin, 0, side).astype(int)
        high = np.clip(poses.xy[:, part].max(1) * side + margin, 0, side).astype(int)
        for frame, ((x0, y0), (x1, y1)) in enumerate(zip(low, high, strict=True)):
            near[frame, y0:y1, x0:x1] = True
    return near


def enlarge(pictures: np.ndarray, size: int = 256) -> np.ndarray:
    """uint8 [f, S, S, 3] -> [f, size, size, 3], at which detectors and encoders were tried."""
    images = torch.nn.functional.interpolate(
        to_model_images(pictures), (size, size), mode="bicubic", align_corners=False
    )
    return to_pictures(images)


@torch.no_grad()
def look_at(pictures: np.ndarray, parts: PartEncoder) -> np.ndarray:
    """Pooled features of the pictures: float32 [f, c]."""
    return parts.pooled(to_model_images(enlarge(pictures))).numpy()


def summarise_rows(scores: Scores, pairs: Sequence[tuple[str, str]], pooled: dict[str, dict] | None = None) -> dict:
    """{"rows": {row: {figure: mean and interval}}, "differences": {"a against b": the same, over the same clips}}."""
    rows = {}
    for row, clips in scores.items():
        names = dict.fromkeys(name for clip in clips for name in clip)
        rows[row] = {name: _interval([clip.get(name, np.nan) for clip in clips]) for name in names}
        rows[row] |= (pooled or {}).get(row, {})
    differences = {}
    for first, second in pairs:
        if first in scores and second in scores:
            left_out = {"density", *(name for figures in (pooled or {}).values() for name in figures)}
            shared = [name for name in rows[first] if name in rows[second] and name not in left_out]
            differences[f"{first} against {second}"] = {
                name: paired_difference(*([clip.get(name, np.nan) for clip in scores[row]] for row in (first, second)))
                for name in shared
            }
    return {"rows": rows, "differences": differences}


def _interval(values: list[float]) -> dict:
    finite = [float(value) for value in values if np.isfinite(value)]
    if not finite:
        return {"mean": None, "low": None, "high": None, "clips": 0}
    low, high = bootstrap_interval(finite)
    return {"mean": float(np.mean(finite)), "low": low, "high": high, "clips": len(finite)}


def write_page(report: dict) -> str:
    """The report for reading."""
    lines = [
        f"`{report['command']}`, {report['date']}, {report['device']}, torch {report['torch']}: {report['clips']} held-out clips "
        f"of {report['frames']} frames at {RATE} frames/s, {report['steps']} steps of the teacher. Mean [95 % bootstrap interval "
        "over clips]; differences are of the same clips.",
    ]
    for name, table in report["tables"].items():
        lines += ["", f"## {name.capitalize()}", "", _markdown(table["rows"])]
        if table["differences"]:
            lines += ["", _markdown(table["differences"], "+")]
    return "\n".join(lines) + "\n"


def _markdown(rows: dict, sign: str = "") -> str:
    names = [name for name in HEADINGS if any(name in figures for figures in rows.values())]
    lines = [["", *(HEADINGS[name][0] for name in names)], ["---"] * (1 + len(names))]
    for row, figures in rows.items():
        lines.append([row, *(_cell(figures.get(name), HEADINGS[name][1], sign) for name in names)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(figure: dict | None, decimals: int, sign: str) -> str:
    if figure is None or figure["mean"] is None:
        return "-"
    mean, low, high = (f"{figure[key]:{sign}.{decimals}f}" for key in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]" if figure["clips"] > 1 else mean
