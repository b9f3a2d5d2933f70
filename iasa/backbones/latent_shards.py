"""Training samples as WebDataset tar shards: encoded once by the autoencoder, written twice the same, restartable.

A shard holds the clips of a few videos. It stands under its name when it is whole, and the json beside it says that it is
done, so that a run that was stopped goes on with the next. Which worker writes it changes nothing in it. A sample is

    KEY.latents.npy     float16 [16, f, h, w] normalised latents      KEY.control.npy     float16 [32, r + f, h, w]
    KEY.text.npy        float16 [m, d] the prompt's embedding         KEY.empty.npy       float16 [m, d] of the empty one
    KEY.xy.npy          float32 [4 f - 3, 133, 2]                     KEY.confidence.npy  float32 [4 f - 3, 133]
    KEY.json            frames a second
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from iasa.backbones.skeletons import draw_skeletons
from iasa.backbones.video_clips import PoseFinder, VideoClip, find_videos, read_clips
from iasa.backbones.wan_distill import LatentClip
from iasa.backbones.wan_generate import PROMPT
from iasa.config import InputError
from iasa.files import atomic_write
from iasa.keypoints import Keypoints
from iasa.pose import extract_keypoints

PARTS = ("latents", "control", "text", "empty", "xy", "confidence")
TEXT_LENGTH = 512


@dataclass(frozen=True)
class ShardSettings:
    height: int = 480
    width: int = 832
    frames: int = 81
    fps: float = 16.0
    prompt: str = PROMPT
    videos: int = 8  # in a shard


class ClipEncoder:
    """Clips to samples by the own functions of a WanVACEPipeline; the prompt is encoded once."""

    def __init__(self, pipe: Any, settings: ShardSettings) -> None:
        self.pipe, self.settings = pipe, settings
        self.device = pipe.vae.device
        self.text, self.empty = (self._encode_text(words) for words in (settings.prompt, ""))

    @torch.no_grad()
    def __call__(self, clip: VideoClip) -> dict[str, np.ndarray]:
        vae, size = self.pipe.vae, (self.settings.height, self.settings.width)
        mean, std = (torch.tensor(x).view(1, -1, 1, 1, 1) for x in (vae.config.latents_mean, vae.config.latents_std))
        video = torch.from_numpy(clip.pictures).permute(3, 0, 1, 2)[None].to(self.device, vae.dtype) / 127.5 - 1
        latents = (vae.encode(video).latent_dist.mode() - mean.to(video)) / std.to(video)
        skeletons, reference = draw_skeletons(clip.poses, *size, "vace"), Image.fromarray(clip.reference)
        conditions = self.pipe.preprocess_conditions(
            skeletons, None, [reference], 1, *size, len(skeletons), torch.float32, self.device
        )
        control = self.pipe.prepare_video_latents(*conditions, None, self.device)
        sample = {"latents": latents[0], "control": control[0], "text": self.text, "empty": self.empty}
        arrays = {name: value.float().cpu().numpy().astype(np.float16) for name, value in sample.items()}
        return arrays | {"xy": clip.poses.xy, "confidence": clip.poses.confidence}

    @torch.no_grad()
    def _encode_text(self, words: str) -> Tensor:  # [m, d], without the zeros that fill it up
        if self.pipe.text_encoder is None:
            return torch.zeros(1, self.pipe.transformer.config.text_dim)
        given: dict[str, Any] = dict(
            do_classifier_free_guidance=False, max_sequence_length=TEXT_LENGTH, device=self.device
        )
        embedding = self.pipe.encode_prompt(words, **given)[0][0]
        used = embedding.abs().amax(-1).nonzero()
        return embedding[: int(used.max()) + 1 if len(used) else 1]


def write_shards(
    videos: Path,
    out: Path,
    encoder: ClipEncoder,
    worker: int = 0,
    workers: int = 1,
    find_poses: PoseFinder = extract_keypoints,
) -> dict:
    """This worker's shards of a folder of videos; those that are done are left alone. Raises InputError."""
    if not 0 <= worker < workers:
        raise InputError(f"worker {worker} of {workers} is refused; 0 to {workers - 1} are accepted")
    groups = group_videos(videos, encoder.settings.videos)
    out.mkdir(parents=True, exist_ok=True)
    reports = [
        write_shard(number, groups[number], out, encoder, find_poses) for number in range(worker, len(groups), workers)
    ]
    frames = sum(report["frames"] for report in reports)
    return {
        "shards": len(reports),
        "written": sum(not report["was_there"] for report in reports),
        "clips": sum(report["clips"] for report in reports),
        "kept": round(sum(report["kept"] for report in reports) / max(frames, 1), 4),
        "refused": sum(len(report["refused"]) for report in reports),
    }


def group_videos(videos: Path, size: int) -> list[list[Path]]:
    """The videos of each shard."""
    paths = find_videos(videos)
    return [paths[start : start + size] for start in range(0, len(paths), size)]


def write_shard(number: int, paths: Sequence[Path], out: Path, encoder: ClipEncoder, find_poses: PoseFinder) -> dict:
    """One shard, unless it is done: OUT/shard-000000.tar where there are clips, and its json."""
    record = out / f"shard-{number:06d}.json"
    wanted = {"videos": [path.name for path in paths], "settings": vars(encoder.settings)}
    if record.is_file():
        known = json.loads(record.read_text())
        if {name: known.get(name) for name in wanted} != wanted:
            raise InputError(f"{record} was made of other videos or with other settings; choose another folder")
        return {**known, "was_there": True}
    report = {"clips": 0, "frames": 0, "kept": 0, "refused": []}
    settings = encoder.settings
    target = record.with_suffix(".tar")
    with atomic_write(target) as partial:
        with tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as tar:
            for path in paths:
                try:
                    clips, seen = read_clips(
                        path, settings.height, settings.width, settings.fps, settings.frames, find_poses
                    )
                    for clip in clips:
                        add_sample(tar, clip.key, encoder(clip), {"fps": settings.fps})
                        report["clips"] += 1
                except InputError as error:
                    report["refused"].append(f"{path.name}: {error}")
                    continue
                report["frames"] += seen.frames
                report["kept"] += seen.kept
    if not report["clips"]:
        target.unlink()
    with atomic_write(record) as partial:
        partial.write_text(json.dumps({**wanted, **report}, indent=1) + "\n")
    return {**report, "was_there": False}


def add_sample(tar: tarfile.TarFile, key: str, arrays: dict[str, np.ndarray], notes: dict) -> None:
    """A sample's files, without a date or an owner: the same sample is the same bytes."""
    name = key.replace(".", "_").replace("/", "_")  # WebDataset's key ends at the first full stop
    for part in PARTS:
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(arrays[part]), allow_pickle=False)
        _add(tar, f"{name}.{part}.npy", buffer.getvalue())
    _add(tar, f"{name}.json", json.dumps(notes).encode())


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


class ShardClips:
    """The samples of a folder of shards by number, read when they are asked for."""

    def __init__(self, folder: Path) -> None:
        self._places: list[tuple[Path, str, dict[str, tuple[int, int]]]] = []  # shard, key, part -> (offset, size)
        for path in shard_paths(folder):
            with _open_tar(path) as tar:
                samples: dict[str, dict[str, tuple[int, int]]] = {}
                for entry in tar:
                    key, _, part = entry.name.partition(".")
                    samples.setdefault(key, {})[part] = (entry.offset_data, entry.size)
            self._places += [(path, key, parts) for key, parts in samples.items()]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> LatentClip:
        path, key, parts = self._places[index]
        with open(path, "rb") as file:

            def read(part: str) -> bytes:
                if part not in parts:
                    raise InputError(f"sample {key} of {path.name} lacks {part}; make the shard again")
                file.seek(parts[part][0])
                return file.read(parts[part][1])

            return decode_sample(
                {"__key__": key, **{name: read(name) for name in ("json", *(f"{p}.npy" for p in PARTS))}}
            )


def stream_clips(folder: Path) -> Iterator[LatentClip]:
    """The same samples by the library webdataset, which also reads from object stores (optional: pip install webdataset)."""
    try:
        from webdataset import WebDataset  # type: ignore
    except ImportError as error:
        raise ImportError(
            "streaming shards needs webdataset, which is not installed: pip install webdataset"
        ) from error
    paths = [str(path) for path in shard_paths(folder)]
    for sample in WebDataset(paths, shardshuffle=False, empty_check=False):
        yield decode_sample(sample)


def decode_sample(sample: dict) -> LatentClip:
    """A sample's files by their endings, and its key, as the trainer takes it."""
    arrays = {part: np.load(io.BytesIO(sample[f"{part}.npy"]), allow_pickle=False) for part in PARTS}
    latents, control = (torch.from_numpy(arrays[part])[None].float() for part in ("latents", "control"))
    text, empty = (_filled(arrays[part]) for part in ("text", "empty"))
    poses = Keypoints(arrays["xy"], arrays["confidence"], json.loads(sample["json"])["fps"])
    return LatentClip(sample["__key__"], latents, control, text, empty, poses)


def shard_paths(folder: Path) -> list[Path]:
    paths = sorted(Path(folder).glob("shard-*.tar"))
    if not paths:
        raise InputError(f"there are no shards in {folder}; make some with `backbone-data`")
    return paths


def _open_tar(path: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path)
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"{path.name} is not a shard: {error}") from error


def _filled(embedding: np.ndarray) -> Tensor:
    """[m, d] -> [1, 512, d] with zeros at the end, as Wan's text encoder hands it on."""
    text = torch.from_numpy(embedding).float()[:TEXT_LENGTH]
    return torch.nn.functional.pad(text, (0, 0, 0, TEXT_LENGTH - len(text)))[None]
