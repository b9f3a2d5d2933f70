"""The measuring part of the quality report: one clip to its figures, many clips to a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iasa.keypoints import LEFT_HAND, REGIONS, RIGHT_HAND, Keypoints
from iasa.metrics.proxy import ProxyMetrics
from iasa.metrics.video_quality import (
    bootstrap_interval,
    detection_rates,
    flicker,
    hand_confidence,
    hand_diversity,
    keypoint_error,
    lip_shape_correlation,
    mouth_correlation,
    mouth_lag,
    psnr,
    region_psnr,
    ssim,
)
from iasa.pose import extract_keypoints

MOVING = ("face", "hands", "arms")  # regions that may change from frame to frame
COLUMNS = {  # figure: (heading, decimals)
    "psnr": ("PSNR dB", 2),
    "psnr_face": ("face", 2),
    "psnr_hands": ("hands", 2),
    "psnr_arms": ("arms", 2),
    "ssim": ("SSIM", 3),
    "pose": ("pose found", 3),
    "face": ("face found", 3),
    "hands": ("hand detection", 3),
    "hkc": ("HKC", 3),
    "hkd": ("HKD px", 1),
    "mouth_r": ("lip-opening r", 3),
    "mouth_lag": ("lag frames", 1),
    "lips_r": ("lip shape r", 3),
    "lips_lag": ("its lag", 1),
    "hand_error": ("hand error", 3),
    "flicker": ("flicker", 2),
    "identity": ("identity", 3),
    "identity_kept": ("identity kept", 3),
    "sync": ("sync", 3),
    "sync_lag": ("sync lag", 1),
    "fd_parts": ("FD parts", 3),
    "lpips": ("LPIPS", 3),  # from here to FVD: only by weights that a user brings, see iasa.metrics.published
    "arcface": ("ArcFace", 3),
    "arcface_kept": ("ArcFace kept", 3),
    "sync_c": ("Sync-C", 2),
    "sync_d": ("Sync-D", 2),
    "fid": ("FID", 2),
    "fvd": ("FVD", 1),
    "fps": ("frames/s", 2),
    "fps_denoise": ("without decoding", 2),
    "fps_processor": ("frames/processor s", 2),
}
COMPARED = (  # figures whose differences between rows are told
    "psnr", "psnr_face", "psnr_hands", "psnr_arms", "ssim", "hands", "hkc", "mouth_r", "lips_r", "sync", "identity",
    "identity_kept", "flicker", "lpips", "arcface", "sync_c", "sync_d",
)  # fmt: skip


def score_video(
    frames: np.ndarray,  # uint8 [f, H, W, 3]
    truth_frames: np.ndarray | None,  # the same, None where there is no truth (a real video)
    keypoints_true: Keypoints,  # the poses that drove the video
    masks: np.ndarray | None = None,  # bool [f, 5, H, W], rows as iasa.keypoints.REGIONS
    proxy: ProxyMetrics | None = None,
    reference: tuple[np.ndarray, Keypoints] | None = None,  # picture uint8 [H, W, 3] and its pose, for the proxy
    audio: np.ndarray | None = None,  # float32 [n] at 16 kHz, for the sync score
    found: Keypoints | None = None,  # what the pose detector finds in the frames, where that is known
) -> dict[str, float]:
    """Every figure of one clip by name (see `COLUMNS`), by one tracking pass of the pose detector.

    Without truth frames, masks, proxy, reference or sound the figures that need them are left out. Raises
    ValueError on unequal lengths.
    """
    if len(frames) != len(keypoints_true):
        raise ValueError(f"{len(frames)} frames cannot be scored against {len(keypoints_true)} poses")
    found = extract_keypoints(frames, fps=keypoints_true.fps) if found is None else found
    both_hands = slice(LEFT_HAND.start, RIGHT_HAND.stop)
    lag = mouth_lag(found, keypoints_true)
    lips_lag = mouth_lag(found, keypoints_true, likeness=lip_shape_correlation)
    scores = {
        "frames": len(frames),
        **detection_rates(found, keypoints_true),
        "hkc": hand_confidence(found, keypoints_true),
        "hkd": hand_diversity(found),
        "mouth_r": mouth_correlation(found, keypoints_true),
        "mouth_lag": float("nan") if lag is None else float(lag),
        "lips_r": lip_shape_correlation(found, keypoints_true),
        "lips_lag": float("nan") if lips_lag is None else float(lips_lag),
        "hand_error": keypoint_error(found, keypoints_true, both_hands),
    }
    if proxy is not None and reference is not None:
        scores |= proxy.score(frames, found, reference, audio)
    if truth_frames is not None:
        scores["psnr"] = psnr(frames, truth_frames)
        scores["ssim"] = ssim(frames, truth_frames)
        moving = None
        if masks is not None:
            by_region = region_psnr(frames, truth_frames, masks)
            scores |= {f"psnr_{name}": value for name, value in by_region.items()}
            moving = masks[:, [REGIONS.index(name) for name in MOVING]].any(1)
        scores["flicker"] = flicker(frames, truth_frames, moving)
    return scores


def summarise(rows: Sequence[dict], pooled: dict[str, dict] | None = None) -> tuple[str, dict]:
    """Rows of `score_video`, each with its "model" added, as (markdown table, the same for JSON).

    `pooled` holds figures of all clips of a model together: {model: {figure: {"mean", "low", "high", "clips"}}}.

    Mean over clips [95 % bootstrap interval]; models in order of appearance; figures that no row has are
    left out. The dict is {model: {figure: {"mean", "low", "high", "clips"}}}, with None for what is
    undefined.
    """
    models = list(dict.fromkeys(row["model"] for row in rows))
    pooled = pooled or {}
    names = [n for n in COLUMNS if any(n in row for row in rows) or any(n in one for one in pooled.values())]
    summary: dict = {}
    for model in models:
        clips = [row for row in rows if row["model"] == model]
        summary[model] = {name: _summarise_one([row.get(name, np.nan) for row in clips]) for name in names}
        summary[model] |= pooled.get(model, {})
    counts = {model: sum(row["model"] == model for row in rows) for model in models}
    return make_table(summary, counts, names), summary


def compare_rows(rows: Sequence[dict], pairs: Sequence[tuple[str, str]]) -> dict[str, dict]:
    """What each first model of `pairs` has more than the second, clip by clip: {"a against b": {figure: as `summarise`}}.

    Only clips in which both have the figure count. The interval is the bootstrap's over the differences of the same
    clips: what makes a clip hard for both models drops out of it. Pairs of which a model is missing are left out.
    """
    by_model: dict[str, dict] = {}
    for row in rows:
        by_model.setdefault(row["model"], {})[row["clip"]] = row
    found = {}
    for first, second in pairs:
        mine, other = by_model.get(first, {}), by_model.get(second, {})
        common = [clip for clip in mine if clip in other]
        names = [n for n in COMPARED if any(n in mine[c] and n in other[c] for c in common)]
        if names:
            found[f"{first} against {second}"] = {
                n: _summarise_one([mine[c].get(n, np.nan) - other[c].get(n, np.nan) for c in common]) for n in names
            }
    return found


def make_table(
    summary: dict, counts: dict[str, int], names: Sequence[str] = tuple(COLUMNS), first: str = "model", sign: str = ""
) -> str:
    """Markdown of `summarise`'s figures, one line a model; columns that no model has are left out.

    `first` heads the first column; with "+" for `sign` figures above 0 are shown with it.
    """
    names = [name for name in names if any(name in figures for figures in summary.values())]
    header = [first, "clips", *(COLUMNS[name][0] for name in names)]
    lines = [header, ["---"] * len(header)]
    for model, figures in summary.items():
        cells = [_to_cell(figures[name], COLUMNS[name][1], sign) if name in figures else "-" for name in names]
        lines.append([model, str(counts[model]), *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _summarise_one(values: list[float]) -> dict:
    finite = [float(value) for value in values if np.isfinite(value)]
    if not finite:
        return {"mean": None, "low": None, "high": None, "clips": 0}
    low, high = bootstrap_interval(finite)
    return {"mean": float(np.mean(finite)), "low": low, "high": high, "clips": len(finite)}


def _to_cell(figure: dict, decimals: int, sign: str) -> str:
    if figure["mean"] is None:
        return "-"
    mean, low, high = (f"{figure[key]:{sign}.{decimals}f}" for key in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]" if figure["clips"] > 1 else mean
