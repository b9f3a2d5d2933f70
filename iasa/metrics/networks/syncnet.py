"""SyncNet's layout (Chung and Zisserman 2016), for whoever has its published weights: five pictures of a face, and the
0.2 s of sound that belong to them, become two vectors that lie close to each other when the lips go with the sound.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SPAN = 5  # video frames of a window
STEPS = 4  # columns of cepstra in a video frame
SIDE = 224  # pixels of a face
FEATURES, HIDDEN = 1024, 512

# A convolution: channels, kernel, stride, padding, and the pooling behind it (kernel, stride, padding) or None.
SOUND = (
    (64, (3, 3), 1, 1, (1, 1, 0)),
    (192, (3, 3), 1, 1, (3, (1, 2), 0)),
    (384, (3, 3), 1, 1, None),
    (256, (3, 3), 1, 1, None),
    (256, (3, 3), 1, 1, (3, 2, 0)),
    (HIDDEN, (5, 4), 1, 0, None),
)
FACES = (
    (96, (SPAN, 7, 7), (1, 2, 2), 0, ((1, 3, 3), (1, 2, 2), 0)),
    (256, (1, 5, 5), (1, 2, 2), (0, 1, 1), ((1, 3, 3), (1, 2, 2), (0, 1, 1))),
    (256, (1, 3, 3), 1, (0, 1, 1), None),
    (256, (1, 3, 3), 1, (0, 1, 1), None),
    (256, (1, 3, 3), 1, (0, 1, 1), ((1, 3, 3), (1, 2, 2), 0)),
    (HIDDEN, (1, 6, 6), 1, 0, None),
)


class SyncNet(nn.Module):
    """Names of the tensors are those of the published file; `narrower` divides the channels, for tests."""

    def __init__(self, narrower: int = 1) -> None:
        super().__init__()
        self.netcnnaud = _convolutions(SOUND, 1, (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d), narrower)
        self.netfcaud = _head(HIDDEN // narrower, FEATURES // narrower)
        self.netcnnlip = _convolutions(FACES, 3, (nn.Conv3d, nn.BatchNorm3d, nn.MaxPool3d), narrower)
        self.netfclip = _head(HIDDEN // narrower, FEATURES // narrower)

    def embed_sound(self, cepstra: Tensor) -> Tensor:  # [m, 1, 13, 20] -> [m, features]
        return self.netfcaud(self.netcnnaud(cepstra).flatten(1))

    def embed_faces(self, faces: Tensor) -> Tensor:  # [m, 3, 5, 224, 224], blue first, 0..255 -> [m, features]
        return self.netfclip(self.netcnnlip(faces).flatten(1))


def _convolutions(table, channels: int, kinds: tuple[type, type, type], narrower: int) -> nn.Sequential:
    convolution, norm, pool = kinds
    layers: list[nn.Module] = []
    for width, kernel, stride, padding, pooling in table:
        width //= narrower
        layers += [convolution(channels, width, kernel, stride, padding), norm(width), nn.ReLU()]
        if pooling:
            layers.append(pool(*pooling))
        channels = width
    return nn.Sequential(*layers)


def _head(channels: int, features: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(channels, channels), nn.BatchNorm1d(channels), nn.ReLU(), nn.Linear(channels, features)
    )


def sync_distances(faces: Tensor, sound: Tensor, longest: int = 15) -> Tensor:
    """Mean distance of the faces' vectors [m, d] from the sound's at shifts -longest..longest: [2 longest + 1].

    As in the published code, vectors of zeros stand beyond both ends of the sound.
    """
    padded = torch.cat([sound.new_zeros(longest, sound.shape[1]), sound, sound.new_zeros(longest, sound.shape[1])])
    shifts = [(faces - padded[shift : shift + len(faces)]).norm(dim=1).mean() for shift in range(2 * longest + 1)]
    return torch.stack(shifts)
