"""Distances within masks and their connected parts, as arrays."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def distance_inside(mask: np.ndarray) -> np.ndarray:
    """From each pixel of a mask to the nearest one outside, 0 outside: float64 of the mask's shape."""
    return np.asarray(ndimage.distance_transform_edt(mask))


def nearest_outside(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distance [H, W] of each pixel to the nearest one outside a mask, and that one's (rows, columns): int [2, H, W]."""
    distance, indices = np.empty(mask.shape), np.empty((mask.ndim, *mask.shape), np.int32)
    ndimage.distance_transform_edt(mask, return_indices=True, distances=distance, indices=indices)
    return distance, indices


def label_parts(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """The number from 1 of each pixel's connected part, int32, 0 outside of the mask; and how many parts there are."""
    labels = np.zeros(mask.shape, np.int32)
    ndimage.label(mask, output=labels)
    return labels, int(labels.max(initial=0))
