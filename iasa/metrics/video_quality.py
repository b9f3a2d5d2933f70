"""How good a video is: fidelity to the truth, what a pose detector finds, lips, flicker (paper, section 4).

Pure functions. Pictures are uint8 [f, H, W, 3] in numpy, or floating point [..., 3, H, W] in torch, whose
peak (the distance of black from white: 2 for -1..1) must then be given. PSNR pools the squared error of a
whole clip, so that a frame copied exactly cannot lift the mean without bound. A figure that is undefined is
NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from iasa.keypoints import (
    BODY,
    EYE_CORNERS,
    FACE,
    LEFT_HAND,
    LEFT_SHOULDER,
    LOWER_LIP,
    REGIONS,
    RIGHT_HAND,
    RIGHT_SHOULDER,
    UPPER_LIP,
    Keypoints,
    mouth_opening,
    mouth_shape,
)

PEAK = 255.0
BEST_PSNR = 100.0  # dB, stands for equality
SSIM_FRAMES = 8  # at a time, to bound memory
HAND_INSIDE = 0.5  # share of a hand's points that must lie in the picture for it to be looked for
STILL = 2.0  # grey levels by which a pixel of the truth may change and still count as still
FAST_LAG = 5  # frames, the longest delay between lips that is looked for

Images = np.ndarray | Tensor


def _to_planes(images: Images) -> Tensor:
    """uint8 [f, H, W, 3] or floating [..., 3, H, W] -> float32 [f, 3, H, W]."""
    if isinstance(images, np.ndarray):
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(f"images are {images.dtype} {list(images.shape)}; uint8 [f, H, W, 3] is needed")
        return torch.from_numpy(images).permute(0, 3, 1, 2).float()
    if images.ndim < 4 or images.shape[-3] != 3:
        raise ValueError(f"images are {list(images.shape)}; [..., 3, H, W] is needed")
    return images.detach().float().flatten(0, -4)


def _check_pair(pred: Images, truth: Images) -> None:
    if tuple(pred.shape) != tuple(truth.shape):
        raise ValueError(f"images of {list(pred.shape)} cannot be compared with {list(truth.shape)}")


def _to_decibel(error: float, peak: float) -> float:
    """Mean squared error -> PSNR, dB."""
    if not np.isfinite(error):
        return float("nan")
    return min(BEST_PSNR, float(10 * np.log10(peak**2 / error))) if error > 0 else BEST_PSNR


def psnr(pred: Images, truth: Images, peak: float = PEAK) -> float:
    """Peak signal-to-noise ratio over the whole clip, dB; 100 where the two are equal."""
    _check_pair(pred, truth)
    error = (_to_planes(pred) - _to_planes(truth)).square().mean(dtype=torch.float64)
    return _to_decibel(float(error), peak)


def ssim(pred: Images, truth: Images, peak: float = PEAK) -> float:
    """Structural similarity (Wang et al. 2004: Gaussian window of 11, sigma 1.5), mean over the frames."""
    from torchmetrics.functional.image import structural_similarity_index_measure  # seconds to import

    _check_pair(pred, truth)
    pairs = zip(_to_planes(pred).split(SSIM_FRAMES), _to_planes(truth).split(SSIM_FRAMES), strict=True)
    total, frames = 0.0, 0
    for a, b in pairs:
        similarity = structural_similarity_index_measure(a, b, data_range=peak)
        assert isinstance(similarity, Tensor)  # no tuple, as nothing else is asked for
        total += float(similarity) * len(a)
        frames += len(a)
    return total / frames


def region_psnr(
    pred: Images,
    truth: Images,
    masks: np.ndarray | Tensor,  # bool [f, r, H, W]
    names: Sequence[str] = REGIONS,
    peak: float = PEAK,
) -> dict[str, float]:
    """PSNR inside each region, pooled over its pixels in all frames, dB; NaN where it never appears."""
    _check_pair(pred, truth)
    masks = torch.as_tensor(masks).bool()
    error = (_to_planes(pred) - _to_planes(truth)).square().mean(1)  # [f, H, W]
    if masks.shape != (error.shape[0], len(names), *error.shape[1:]):
        raise ValueError(f"masks are {list(masks.shape)}; {[error.shape[0], len(names), *error.shape[1:]]} are needed")
    scores = {}
    for row, name in enumerate(names):
        inside = error[masks[:, row]]
        scores[name] = _to_decibel(float(inside.mean(dtype=torch.float64)), peak)  # mean of nothing is NaN
    return scores


def flicker(
    pred: np.ndarray,  # uint8 [f, H, W, 3]
    truth: np.ndarray,
    moving: np.ndarray | None = None,  # bool [f, H, W], what moves by right
) -> float:
    """Unrest of what should be still: |x(t-1) - 2 x(t) + x(t+1)|, mean over still pixels, less the truth's.

    Grey levels (0..255); 0 is as steady as the truth, below 0 steadier. A pixel is still at t if the truth
    changes by no more than `STILL` over the three frames and none of them lies in `moving`. The second
    difference lets slow drift pass and catches what comes and goes from frame to frame. NaN under three
    frames or without still pixels.
    """
    _check_pair(pred, truth)
    unrest, pixels = 0.0, 0
    for t in range(1, len(pred) - 1):
        three, true_three = (images[t - 1 : t + 2].astype(np.float32) for images in (pred, truth))
        still = (np.ptp(true_three, axis=0) <= STILL).all(-1)  # [H, W]
        if moving is not None:
            still &= ~moving[t - 1 : t + 2].any(0)
        for clip, sign in ((three, 1), (true_three, -1)):
            unrest += sign * float(np.abs(clip[0] - 2 * clip[1] + clip[2])[still].sum(dtype=np.float64))
        pixels += 3 * int(still.sum())
    return unrest / pixels if pixels else float("nan")


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's r of two series [n]; NaN under three values or where one does not vary."""
    if len(a) < 3:
        return float("nan")
    a, b = a - a.mean(dtype=np.float64), b - b.mean(dtype=np.float64)
    scale = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / scale) if scale > 1e-12 else float("nan")


def _lips_seen(*poses: Keypoints) -> np.ndarray:
    """Frames in which all poses have the lips and the eyes that scale them: bool [f]."""
    points = [UPPER_LIP, LOWER_LIP, *EYE_CORNERS]
    return np.all([(pose.confidence[:, points] > 0).all(1) for pose in poses], axis=0)


def mouth_correlation(a: Keypoints, b: Keypoints) -> float:
    """Pearson's r of the mouth openings (over eye distance), in the frames in which both faces are seen."""
    if len(a) != len(b):
        raise ValueError(f"poses of {len(a)} and {len(b)} frames cannot be compared")
    both = _lips_seen(a, b)
    return correlation(mouth_opening(a)[both], mouth_opening(b)[both])


def lip_shape_correlation(a: Keypoints, b: Keypoints) -> float:
    """Pearson's r of all lip coordinates about their means, pooled, in the frames in which both faces are seen."""
    if len(a) != len(b):
        raise ValueError(f"poses of {len(a)} and {len(b)} frames cannot be compared")
    both = _lips_seen(a, b)
    if both.sum() < 3:
        return float("nan")
    moved = [(shape - shape.mean(0)).ravel() for shape in (mouth_shape(a)[both], mouth_shape(b)[both])]
    return correlation(*moved)


def mouth_lag(
    found: Keypoints,
    truth: Keypoints,
    longest: int = FAST_LAG,
    likeness: Callable[[Keypoints, Keypoints], float] = mouth_correlation,
) -> int | None:
    """By how many frames the lips found lag behind the true ones: where r is greatest. None if undefined."""
    scores = {}
    for lag in range(-longest, longest + 1):
        frames = len(found) - abs(lag)
        if frames > longest:
            late, early = max(lag, 0), max(-lag, 0)
            r = likeness(found[late : late + frames], truth[early : early + frames])
            if np.isfinite(r):
                scores[lag] = r
    return max(scores, key=lambda lag: (scores[lag], -abs(lag))) if scores else None


def sync_margin(curve: np.ndarray) -> float:
    """How much better the lips go with the sound in time than at another time: likeness at shift 0 less the median's."""
    return float(curve[len(curve) // 2] - np.median(curve))


def identity_figures(vectors: np.ndarray, reference: np.ndarray, second: int) -> dict[str, float]:
    """Likeness of faces to the reference's: `identity`, its mean; `identity_kept`, the last second's share of the first's.

    vectors [f, d] of length 1, NaN where no face was found; reference [d]; `second` is its number of frames. A second
    is that many faces that were found; `identity_kept` is NaN where there are not two of them.
    """
    likeness = vectors @ reference
    known = likeness[np.isfinite(likeness)]
    if len(known) < 2 * second:
        return {"identity": float(known.mean()) if len(known) else float("nan"), "identity_kept": float("nan")}
    return {"identity": float(known.mean()), "identity_kept": float(known[-second:].mean() / known[:second].mean())}


def area_under_curve(positive: np.ndarray, negative: np.ndarray) -> float:
    """The chance that a positive score is above a negative one (ties count half)."""
    scores = np.concatenate([positive, negative])
    values, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    rank = (counts.cumsum() - (counts - 1) / 2)[place]  # mean rank of equals, from 1
    n = len(positive)
    return float((rank[:n].sum() - n * (n + 1) / 2) / (n * len(negative)))


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Frechet distance (Dowson and Landau 1982) of Gaussians fitted to features [n, d] and [m, d].

    It is FID only on the Inception network's features; name the encoder beside the figure. Fewer samples than
    features will do, but then the figure is too large. NaN under two samples.
    """
    if min(len(a), len(b)) < 2:
        return float("nan")
    a, b = a.astype(np.float64), b.astype(np.float64)
    gap = a.mean(0) - b.mean(0)
    first, second = (np.asarray(np.linalg.qr((x - x.mean(0)) / np.sqrt(len(x) - 1), mode="r")) for x in (a, b))
    # covariances are R' R: the trace of the root of their product is the sum of the singular values of R1 R2'
    shared = np.linalg.svd(first @ second.T, compute_uv=False).sum()
    return float(gap @ gap + np.square(first).sum() + np.square(second).sum() - 2 * shared)


def hands_inside(truth: Keypoints) -> np.ndarray:
    """Which hands (left, right) the truth has in the picture, by half their points at least: bool [f, 2]."""
    inside = (truth.confidence > 0) & ((truth.xy >= 0) & (truth.xy <= 1)).all(-1)
    return np.stack([inside[:, hand].mean(1) >= HAND_INSIDE for hand in (LEFT_HAND, RIGHT_HAND)], 1)


def detection_rates(found: Keypoints, truth: Keypoints) -> dict[str, float]:
    """Shares of the frames in which a detector finds the `pose` and the `face`, and of the `hands` it finds.

    Hands count only where the truth has them in the picture; NaN where it never has.
    """
    seen = found.confidence > 0
    hands = np.stack([seen[:, hand].any(1) for hand in (LEFT_HAND, RIGHT_HAND)], 1)  # [f, 2]
    wanted = hands_inside(truth)
    return {
        "pose": float(seen[:, BODY].any(1).mean()),
        "face": float(seen[:, FACE].any(1).mean()),
        "hands": float(hands[wanted].mean()) if wanted.any() else float("nan"),
    }


def hand_confidence(found: Keypoints, truth: Keypoints) -> float:
    """HKC: the detector's mean confidence in the hand keypoints, over the hands that the truth shows.

    A hand that is not found counts as 0. The papers use DWPose; with mediapipe the confidence is its hand
    network's presence probability, so figures compare with one another but not with theirs.
    """
    wanted = hands_inside(truth)
    scores = np.stack([found.confidence[:, hand].mean(1) for hand in (LEFT_HAND, RIGHT_HAND)], 1)
    return float(scores[wanted].mean()) if wanted.any() else float("nan")


def hand_diversity(found: Keypoints, size: int = 512) -> float:
    """HKD: how far the hand keypoints roam, the root of their variance over time, pixels at `size`.

    The variance of x plus that of y of each keypoint over the frames in which it was found, averaged over
    keypoints. No definition is published (CyberHost, EchoMimicV2 and the paper give figures alone); this is
    ours.
    """
    variances = []
    for point in [*range(LEFT_HAND.start, LEFT_HAND.stop), *range(RIGHT_HAND.start, RIGHT_HAND.stop)]:
        path = found.xy[found.confidence[:, point] > 0, point].astype(np.float64) * size
        if len(path) > 1:
            variances.append(path.var(0).sum())
    return float(np.sqrt(np.mean(variances))) if variances else float("nan")


def keypoint_error(found: Keypoints, truth: Keypoints, points: slice) -> float:
    """Median distance of found points from the true ones, true shoulder widths; NaN if none was found."""
    shoulders = np.linalg.norm(truth.xy[:, LEFT_SHOULDER] - truth.xy[:, RIGHT_SHOULDER], axis=-1)
    distance = np.linalg.norm(found.xy[:, points] - truth.xy[:, points], axis=-1)
    distance = distance / np.maximum(shoulders, 1e-6)[:, None]
    both = (found.confidence[:, points] > 0) & (truth.confidence[:, points] > 0)
    return float(np.median(distance[both])) if both.any() else float("nan")


def bootstrap_interval(
    values: Sequence[float] | np.ndarray, level: float = 0.95, samples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The percentile bootstrap interval (Efron 1979) of the mean over clips; NaN values are left out.

    Clips, not frames, are drawn, since the frames of one clip resemble one another.
    """
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    drawn = np.random.default_rng(seed).choice(values, (samples, len(values)))
    low, high = np.quantile(drawn.mean(1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
