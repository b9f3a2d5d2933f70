"""Published metrics by a user's own weights: LPIPS, SyncNet, FID, FVD, ArcFace. Only with these are they named so.

`python -m iasa evaluate --metric NAME=FILE` reads, without pickle:

  lpips      AlexNet's weights as torchvision publishes them (.pth or .safetensors); the rest of LPIPS is torchmetrics'
  syncnet    syncnet_v2.model as its authors publish it (tensors alone; .safetensors too): Sync-C and Sync-D
  inception  TorchScript, net(uint8 [m, 3, H, W], return_features=True) -> [m, d], as inception-2015-12-05.pt is: FID
  i3d        TorchScript, net([m, 3, 16, H, W] in 0..255, rescale=True, resize=True, return_features=True) -> [m, d], as
             i3d_torchscript.pt is: FVD
  arcface    TorchScript, net(faces [m, 3, 112, 112] in -1..1, red first) -> [m, d]: a traced backbone
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from iasa.config import AUDIO_RATE, PUBLISHED_METRICS, VIDEO_FPS, InputError
from iasa.files import display_name
from iasa.keypoints import EYE_CORNERS, FACE, Keypoints
from iasa.metrics.mfcc import make_cepstra
from iasa.metrics.networks import syncnet
from iasa.metrics.networks.syncnet import SyncNet, sync_distances
from iasa.metrics.proxy import EVERY, embed_faces
from iasa.metrics.video_quality import identity_figures

PIECE = 16  # video frames that FVD's network sees at a time
CHUNK = 8  # pictures, or windows of SyncNet, at a time
ARC_SIDE = 112
# Where ArcFace's crops have the eyes, the tip of the nose and the corners of the mouth, pixels (Deng et al. 2019).
ARC_POINTS = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
FIVE = tuple(slice(FACE.start + a, FACE.start + b) for a, b in ((36, 42), (42, 48), (30, 31), (48, 49), (54, 55)))
ABOVE = 0.3  # of the height of the face's points: how far a face detector's box reaches above the brows
ROOM = 0.4  # of half the box: what SyncNet's crops have around it, twice that below

FaceEmbedding = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class PublishedMetrics:
    """The proxy that were given; each of the figures comes with its own."""

    lpips: nn.Module | None = None
    syncnet: SyncNet | None = None
    inception: nn.Module | None = None
    i3d: nn.Module | None = None
    arcface: FaceEmbedding | None = None

    @classmethod
    def load(cls, files: Mapping[str, Path]) -> PublishedMetrics:
        """From files by name of PUBLISHED_METRICS. Raises InputError on another name and on a file that is not that network."""
        readers = {
            "lpips": read_lpips, "syncnet": read_syncnet, "inception": read_inception, "i3d": read_i3d, "arcface": read_arcface,
        }  # fmt: skip
        for name in files:
            if name not in readers:
                raise InputError(f"there is no metric {name!r}; accepted: {', '.join(PUBLISHED_METRICS)}")
        return cls(**{name: readers[name](Path(path)) for name, path in files.items()})

    @torch.no_grad()
    def score(
        self,
        frames: np.ndarray,  # uint8 [f, H, W, 3]
        truth: np.ndarray,  # the same
        found: Keypoints,  # what a detector finds in `frames`
        reference: tuple[np.ndarray, Keypoints],  # picture uint8 [H, W, 3] and its pose
        audio: np.ndarray,  # float32 [n] at 16 kHz
    ) -> dict[str, float]:
        """`lpips`, `arcface` and `arcface_kept`, `sync_c` and `sync_d` of one clip."""
        scores = {}
        if self.lpips is not None:
            pairs = zip(_chunks(frames, CHUNK), _chunks(truth, CHUNK), strict=True)
            distances = [self.lpips(_to_images(a), _to_images(b)).flatten() for a, b in pairs]
            scores["lpips"] = float(torch.cat(distances).mean())
        if self.arcface is not None:
            still = embed_faces(self.arcface, reference[0][None], reference[1])[0]
            figures = identity_figures(embed_faces(self.arcface, frames, found), still, round(VIDEO_FPS))
            scores |= {"arcface": figures["identity"], "arcface_kept": figures["identity_kept"]}
        if self.syncnet is not None:
            scores |= score_sync(self.syncnet, frames, found, audio)
        return scores

    @torch.no_grad()
    def extract_features(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        """Features [m, d] that the Frechet distances compare: `fid` of every eighth picture, `fvd` of pieces of 16."""
        features = {}
        if self.inception is not None:
            parts = [self.inception(_planes(part), return_features=True) for part in _chunks(frames[::EVERY], CHUNK)]
            features["fid"] = torch.cat(parts).float().numpy()
        if self.i3d is not None:
            whole = frames[: len(frames) // PIECE * PIECE].reshape(-1, PIECE, *frames.shape[1:])
            pieces = [_planes(piece).transpose(0, 1)[None].float() for piece in whole]
            if pieces:
                options = {"rescale": True, "resize": True, "return_features": True}
                features["fvd"] = torch.cat([self.i3d(piece, **options) for piece in pieces]).float().numpy()
        return features


def read_lpips(path: Path) -> nn.Module:
    """LPIPS (Zhang et al. 2018) with AlexNet: pairs of pictures [m, 3, H, W] in [-1, 1] -> distances [m, 1, 1, 1]."""
    from torchmetrics.functional.image import lpips

    given = {name: tensor for name, tensor in read_tensors(path).items() if name.startswith("features.")}
    try:
        network = lpips._LPIPS(net="alex", pnet_rand=True)  # of torchmetrics: its linear layers come with it
    except ModuleNotFoundError as error:
        raise InputError("LPIPS needs torchvision, on which torchmetrics builds it: pip install torchvision") from error
    wanted = {f"features.{name.split('.', 1)[1]}": name for name in network.net.state_dict()}  # "slice2.3.weight"
    _check_tensors(path, given, {ours: network.net.state_dict()[theirs] for ours, theirs in wanted.items()}, "AlexNet")
    network.net.load_state_dict({theirs: given[ours] for ours, theirs in wanted.items()})
    return network


def lpips_layers(network: nn.Module, images: Tensor) -> list[Tensor]:
    """The feature maps that LPIPS compares, for the region loss: images [m, 3, H, W] in [-1, 1]."""
    scale, layers = (network.get_submodule(name) for name in ("scaling_layer", "net"))
    return list(layers(scale(images)))


def read_syncnet(path: Path, narrower: int = 1) -> SyncNet:
    network = SyncNet(narrower)
    given = read_tensors(path)
    _check_tensors(path, given, network.state_dict(), "SyncNet")
    network.load_state_dict({name: given[name] for name in network.state_dict()})
    return network.eval().requires_grad_(False)


def read_inception(path: Path) -> nn.Module:
    network = read_script(path)
    _try(path, "Inception network", lambda: network(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), return_features=True))
    return network


def read_i3d(path: Path) -> nn.Module:
    network = read_script(path)
    blank = torch.zeros(1, 3, PIECE, 64, 64)
    _try(path, "I3D network", lambda: network(blank, rescale=True, resize=True, return_features=True))
    return network


def read_arcface(path: Path) -> FaceEmbedding:
    """As `FaceEncoder.embed`: for `RegionLoss` too, since gradients pass through to the pictures."""
    network = read_script(path)
    _try(path, "ArcFace network", lambda: network(torch.zeros(2, 3, ARC_SIDE, ARC_SIDE)))

    def embed(
        images: Tensor, xy: Tensor
    ) -> Tensor:  # [m, 3, H, W] in [-1, 1], [m, 133, 2] pixels -> [m, d] of length 1
        return F.normalize(network(align_five(images, xy)).float(), dim=-1)

    return embed


def align_five(images: Tensor, xy: Tensor) -> Tensor:  # [m, 3, H, W], [m, 133, 2] in their pixels -> [m, 3, 112, 112]
    """Faces moved, turned and scaled so that five points come to lie nearest to ARC_POINTS. Differentiable in `images`."""
    five = torch.stack([xy[:, part].mean(1) for part in FIVE], 1).float()  # [m, 5, 2]
    source = torch.complex(five[..., 0], five[..., 1])
    wanted = xy.new_tensor(ARC_POINTS, dtype=torch.float32) + 0.5  # they count from the middle of the first pixel
    target = torch.complex(wanted[:, 0], wanted[:, 1])
    middle, aim = source.mean(1, keepdim=True), target.mean()
    spread = (source - middle).abs().square().sum(1, keepdim=True).clamp_min(1e-6)
    turn = ((source - middle).conj() * (target - aim)).sum(1, keepdim=True) / spread  # [m, 1], scale and rotation
    step = torch.arange(ARC_SIDE, device=xy.device) + 0.5
    y, x = torch.meshgrid(step, step, indexing="ij")
    places = (torch.complex(x, y).view(1, -1) - aim) / turn + middle  # [m, cells]
    sides = places.real.new_tensor([images.shape[-1], images.shape[-2]])
    grid = torch.view_as_real(places) / sides * 2 - 1
    grid = grid.view(-1, ARC_SIDE, ARC_SIDE, 2).to(images.dtype)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


@torch.no_grad()
def score_sync(network: SyncNet, frames: np.ndarray, found: Keypoints, audio: np.ndarray) -> dict[str, float]:
    """Sync-D, the least mean distance over shifts of -15..15 frames, and Sync-C, how far it lies below the median.

    Faces are cut out around the keypoints instead of a face detector's box. NaN where no face was found, or where
    sound and pictures have not a whole window.
    """
    columns = make_cepstra(audio)
    windows = min(len(frames), int(len(audio) * VIDEO_FPS / AUDIO_RATE)) - syncnet.SPAN
    faces = cut_faces(frames, found)
    if faces is None or windows < 1:
        return {"sync_c": float("nan"), "sync_d": float("nan")}
    seen, heard = [], []
    for start in range(0, windows, CHUNK):
        which = range(start, min(start + CHUNK, windows))
        seen.append(network.embed_faces(torch.stack([faces[i : i + syncnet.SPAN].transpose(0, 1) for i in which])))
        sound = [columns[None, :, i * syncnet.STEPS : (i + syncnet.SPAN) * syncnet.STEPS] for i in which]
        heard.append(network.embed_sound(torch.from_numpy(np.stack(sound))))
    distances = sync_distances(torch.cat(seen), torch.cat(heard))
    least = distances.min()
    return {"sync_c": float(distances.median() - least), "sync_d": float(least)}


def cut_faces(frames: np.ndarray, found: Keypoints) -> Tensor | None:
    """Faces as SyncNet was shown them: float32 [f, 3, 224, 224], blue first, 0..255; None where none was found.

    A square around each face's points and the forehead, with room around it and twice that below; frames without a
    face take the box of the one before.
    """
    known = np.flatnonzero((found.confidence[:, list(EYE_CORNERS)] > 0).all(1))
    if not len(known):
        return None
    last = known[np.maximum(np.searchsorted(known, np.arange(len(frames)), side="right") - 1, 0)]
    points = found.xy[last, FACE].astype(np.float32) * frames.shape[1]
    low, high = points.min(1), points.max(1)  # [f, 2]
    low[:, 1] -= ABOVE * (high - low)[:, 1]
    half = (high - low).max(1) / 2
    left_top = (low + high) / 2 - np.stack([half * (1 + ROOM), half], 1)
    side = half * 2 * (1 + ROOM)
    step = (torch.arange(syncnet.SIDE) + 0.5) / syncnet.SIDE
    y, x = torch.meshgrid(step, step, indexing="ij")
    places = (
        torch.stack([x, y], -1) * torch.from_numpy(side)[:, None, None, None]
        + torch.from_numpy(left_top)[:, None, None]
    )
    grid = places / torch.tensor([frames.shape[2], frames.shape[1]]) * 2 - 1
    return F.grid_sample(_planes(frames).flip(1).float(), grid, padding_mode="border", align_corners=False)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A file of tensors alone, .safetensors or torch's own. Raises InputError on anything else."""
    try:
        found = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (
        OSError,
        RuntimeError,
        ValueError,
        EOFError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        SafetensorError,
    ) as error:
        raise InputError(
            f"{display_name(path)} holds no tensors that can be read safely: {_first_line(error)}"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise InputError(f"{display_name(path)} holds a {type(found).__name__}; a dictionary of tensors is needed")
    return found


def read_script(path: Path) -> nn.Module:
    """A TorchScript file, ready to metric. Raises InputError on anything else."""
    try:
        network = torch.jit.load(str(path), map_location="cpu").eval()
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{display_name(path)} is no TorchScript file: {_first_line(error)}") from error
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network


def _check_tensors(path: Path, given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], kind: str) -> None:
    for name, tensor in wanted.items():
        if name not in given:
            raise InputError(f"{display_name(path)} is no {kind}: it lacks {name}")
        if given[name].shape != tensor.shape:
            raise InputError(
                f"{display_name(path)} is no {kind}: {name} has shape {list(given[name].shape)}; {list(tensor.shape)} is needed"
            )


@torch.no_grad()
def _try(path: Path, kind: str, call: Callable[[], Tensor]) -> None:
    """Let a network see a blank picture. Raises InputError if it cannot or answers otherwise than with vectors."""
    try:
        answer = call()
    except (RuntimeError, TypeError, ValueError, torch.jit.Error) as error:
        raise InputError(f"{display_name(path)} is no {kind} of the form needed: {_first_line(error)}") from error
    if not isinstance(answer, Tensor) or answer.ndim != 2:
        shape = list(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise InputError(
            f"{display_name(path)} is no {kind} of the form needed: it answers {shape}; [m, features] is needed"
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def _chunks(frames: np.ndarray, size: int) -> Sequence[np.ndarray]:
    return [frames[start : start + size] for start in range(0, len(frames), size)]


def _planes(frames: np.ndarray) -> Tensor:  # uint8 [m, H, W, 3] -> uint8 [m, 3, H, W]
    return torch.from_numpy(np.ascontiguousarray(frames)).movedim(-1, 1).contiguous()


def _to_images(frames: np.ndarray) -> Tensor:  # uint8 [m, H, W, 3] -> float32 [m, 3, H, W] in [-1, 1]
    return _planes(frames).float() / 127.5 - 1
