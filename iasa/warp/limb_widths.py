"""How wide limbs are, and the bones of a hand: for the cut-outs of a photograph, and for regions of the mask."""

from __future__ import annotations

# Half widths, sleeves included, in distances between the shoulders, where nothing narrower is measured.
UPPER_ARM, FOREARM, WRIST, PALM, FINGER = 0.17, 0.17, 0.105, 0.063, 0.036
FINGERS = tuple((a, a + 1) for first in (1, 5, 9, 13, 17) for a in range(first, first + 3))
PALM_BONES = ((0, 1), (0, 5), (0, 9), (0, 13), (0, 17), (5, 9), (9, 13), (13, 17))
