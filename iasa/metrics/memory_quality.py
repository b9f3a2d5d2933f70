"""What a model remembers: whether a detail is the same whenever it shows, and how near it is to the truth.

Pictures are uint8 [f, H, W, 3], masks bool [f, d, H, W] of the true details (`iasa.avatar.details.DETAILS`); a run's detail is
looked for where the truth has it. A showing counts where at least SHARE of the most that the clip ever shows of the detail
is seen, and at least LEAST pixels. A figure that is undefined is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iasa.masks.frame_choice import showings
from iasa.metrics.video_quality import BEST_PSNR, PEAK, bootstrap_interval

LEAST, SHARE = 12, 0.6  # pixels; of the largest area
CELLS = 4  # a detail is compared in CELLS x CELLS mean colours
FLAT = 0.02  # grey levels between neighbours, mean: below it there are no edges to be sharp


def least_area(areas: np.ndarray) -> np.ndarray:
    """From how many pixels on each detail counts as shown: areas [f, d] -> [d]."""
    return np.maximum(LEAST, SHARE * np.asarray(areas, np.float64).max(0))


def describe_detail(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean colours of a detail in CELLS x CELLS cells of its box, NaN where it covers too little: [CELLS, CELLS, 3].

    picture [H, W, 3], mask bool [H, W]. The box follows the detail, so that what moved is still the same.
    """
    colors = np.full((CELLS, CELLS, 3), np.nan)
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return colors
    y, x = np.nonzero(mask)
    down = (y - rows[0]) * CELLS // (rows[-1] - rows[0] + 1)
    right = (x - cols[0]) * CELLS // (cols[-1] - cols[0] + 1)
    cell = down * CELLS + right
    count = np.bincount(cell, minlength=CELLS**2)
    enough = count > 0
    for channel in range(3):
        total = np.bincount(cell, picture[y, x, channel].astype(np.float64), minlength=CELLS**2)
        colors.reshape(-1, 3)[enough, channel] = total[enough] / count[enough]
    return colors


def detail_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Root mean square difference of two descriptions where both have a colour, grey levels; NaN where they share none."""
    difference = (a - b)[np.isfinite(a).all(-1) & np.isfinite(b).all(-1)]
    return float(np.sqrt((difference**2).mean())) if len(difference) else float("nan")


def consistency(pictures: np.ndarray, masks: np.ndarray) -> float:
    """Distance of a detail from its first showing to each later one, grey levels, mean over showings and details.

    Of each showing the frame counts that shows most of the detail.
    """
    areas = masks.sum((-2, -1))  # [f, d]
    found = []
    for detail, least in enumerate(least_area(areas)):
        runs = showings(areas[:, detail], least)
        peaks = [start + int(areas[start:end, detail].argmax()) for start, end in runs]
        looks = [describe_detail(pictures[t], masks[t, detail]) for t in peaks]
        found += [detail_distance(looks[0], look) for look in looks[1:]]
    return _mean(found)


def decided_by_past(masks: np.ndarray) -> np.ndarray:
    """The pixels of details that an earlier showing has shown: bool [f, H, W]. masks bool [f, d, H, W]."""
    areas = masks.sum((-2, -1))
    decided = np.zeros((len(masks), *masks.shape[2:]), bool)
    for detail, least in enumerate(least_area(areas)):
        for start, end in showings(areas[:, detail], least)[1:]:
            decided[start:end] |= masks[start:end, detail]
    return decided


def undecided(masks: np.ndarray) -> np.ndarray:
    """The pixels of details in their first showing, which nothing but chance decides: bool [f, H, W]."""
    areas = masks.sum((-2, -1))
    first = np.zeros((len(masks), *masks.shape[2:]), bool)
    for detail, least in enumerate(least_area(areas)):
        for start, end in showings(areas[:, detail], least)[:1]:
            first[start:end] |= masks[start:end, detail]
    return first


def psnr_inside(pictures: np.ndarray, truth: np.ndarray, where: np.ndarray) -> float:
    """PSNR over the pixels of a mask [f, H, W], pooled, dB; NaN where it is empty."""
    error = (pictures.astype(np.float64) - truth)[where]
    if not len(error):
        return float("nan")
    square = float((error**2).mean())
    return min(BEST_PSNR, float(10 * np.log10(PEAK**2 / square))) if square else BEST_PSNR


def sharpness(pictures: np.ndarray, truth: np.ndarray, where: np.ndarray) -> float:
    """Mean difference of neighbouring pixels over the truth's, inside a mask [f, H, W]: 1 is as sharp, below 1 blurred.

    Where the edges lie does not count. NaN where the truth has none.
    """
    strengths = []
    for images in (pictures, truth):
        grey = images.astype(np.float64).mean(-1)
        steps = np.abs(np.diff(grey, axis=1))[:, :, :-1] + np.abs(np.diff(grey, axis=2))[:, :-1]
        strengths.append(steps[where[:, :-1, :-1]])
    if not len(strengths[1]) or strengths[1].mean() < FLAT:
        return float("nan")
    return float(strengths[0].mean() / strengths[1].mean())


def diversity(runs: Sequence[np.ndarray], where: np.ndarray) -> float:
    """How much pictures of other noise differ inside a mask: standard deviation over the runs, mean of pixels, grey levels."""
    if len(runs) < 2 or not where.any():
        return float("nan")
    return float(np.stack(runs).astype(np.float64).std(0, ddof=1)[where].mean())


def drift(pictures: np.ndarray, truth: np.ndarray) -> float:
    """PSNR of the last quarter less that of the first, dB: below 0 a run decays."""
    quarter = max(1, len(pictures) // 4)
    everywhere = np.ones(pictures.shape[:3], bool)
    ends = (slice(0, quarter), slice(len(pictures) - quarter, None))
    first, last = (psnr_inside(pictures[part], truth[part], everywhere[part]) for part in ends)
    return last - first


def score_memory(pictures: np.ndarray, truth: np.ndarray, masks: np.ndarray) -> dict[str, float]:
    """Every figure of one run that needs no detector. `consistency` is told over the truth's own too, as `consistency_ratio`."""
    own = consistency(truth, masks)
    found = consistency(pictures, masks)
    decided = decided_by_past(masks)
    return {
        "consistency": found,
        "consistency_ratio": found / own if own > 0 else float("nan"),
        "fidelity": psnr_inside(pictures, truth, decided),
        "psnr": psnr_inside(pictures, truth, np.ones(pictures.shape[:3], bool)),
        "sharpness": sharpness(pictures, truth, undecided(masks)),
        "drift": drift(pictures, truth),
    }


def paired_difference(first: Sequence[float], second: Sequence[float]) -> dict[str, float | None]:
    """Mean of first - second over the clips that both have, with the 95 % bootstrap interval over clips."""
    differences = [a - b for a, b in zip(first, second, strict=True) if np.isfinite(a) and np.isfinite(b)]
    if not differences:
        return {"mean": None, "low": None, "high": None, "clips": 0}
    low, high = bootstrap_interval(differences)
    return {"mean": float(np.mean(differences)), "low": low, "high": high, "clips": len(differences)}


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")
