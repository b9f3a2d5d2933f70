"""Weights on disk: diffusers' layout, one folder a network, and the resolver that says which folder a network comes from.

A folder holds `config.json`, safetensors, and where training wrote it `card.json`, which says how. `CoSpeechPipeline`'s
`save_pretrained`, `python -m iasa train` and `from_pretrained` share it. The repository's own weights are compact, since
every file there must stay small: a matrix is stored as int8 with one float16 scale a row, a vector as float16, in parts
of less than 10 MB; networks that were trained on from others of these, as their difference. Reading takes all.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from diffusers import ModelMixin
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from iasa.config import InputError
from iasa.files import display_name
from iasa.models.compact import dequantise, pack, quantise, unpack
from iasa.paths import PEOPLE_WEIGHTS, WEIGHTS

M = TypeVar("M", bound=ModelMixin)
HUB_OPTIONS = ("revision", "token", "cache_dir", "local_files_only")
FILE_BYTES = 9 * 2**20
WHOLE, PARTS, DIFFERENCE = "diffusion_pytorch_model*.safetensors", "part_*.safetensors", "difference.safetensors"
# In config.json of a difference: the shipped network's name, and `mark_of` it.
BASE, BASE_MARK = "_difference_from", "_difference_from_mark"
STAGES_OF = {  # the stages of training that make a network of the pipeline, the last one first
    "autoencoder": ("decoder", "autoencoder"),
    "student": ("distill_region", "distill", "self_forcing", "student"),
    "teacher": ("teacher",),
    "motion": ("motion",),
    "restorer": ("restore", "restorer"),
}
RENAMED = {"role": "token_type"}  # as weights of version 0.1 call it


def save_weights(
    model: ModelMixin, folder: Path, card: dict | None = None, compact: bool = False, base: str | None = None
) -> None:
    """Write a network into `folder`, replacing what was there: as it is, or `compact` as the repository keeps it.

    With `base`, the name of a shipped network of the same shape, the difference from that alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for stale in weight_files(folder):
        stale.unlink()
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    config = {k: v for k, v in json.loads(model.to_json_string()).items() if k != "_name_or_path"}
    try:
        if base is not None:
            config |= {BASE: base, BASE_MARK: mark_of(WEIGHTS / base)}
            save_file(_subtract(state, _read_state(WEIGHTS / base)), folder / DIFFERENCE)
        elif compact:
            for i, part in enumerate(_split(state)):
                save_file(part, folder / f"part_{i:02d}.safetensors")
        else:
            save_file(state, folder / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    except SafetensorError as error:  # a full disk, say
        raise InputError(f"the weights cannot be written to {display_name(folder)}: {error}") from error
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    if card is not None:
        (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")


def _subtract(state: dict[str, Tensor], base: dict[str, Tensor]) -> dict[str, Tensor]:
    """What differs, compact."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        change = tensor.float() - base[name]
        if change.abs().amax() < 1e-7:
            continue
        if tensor.ndim < 2:
            found[name] = change.half()
        else:
            codes, scale = pack(change)
            found |= {name: codes.contiguous(), f"{name}.scale": scale}
    return found


def _add(base: dict[str, Tensor], change: dict[str, Tensor]) -> dict[str, Tensor]:
    """`_subtract`'s other number."""
    state = dict(base)
    for name, tensor in change.items():
        if name.endswith(".scale") and name.removesuffix(".scale") in change:
            continue
        scale = change.get(f"{name}.scale")
        state[name] = base[name] + (tensor.float() if scale is None else unpack(tensor, scale, base[name].shape))
    return state


def _split(state: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Compact tensors in parts of at most FILE_BYTES."""
    parts: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in state.items():
        if tensor.ndim >= 2:
            codes, scale = quantise(tensor)
            entry = {name: codes.contiguous(), f"{name}.scale": scale}
        else:
            entry = {name: tensor.half()}
        bytes_ = sum(t.numel() * t.element_size() for t in entry.values())
        if size + bytes_ > FILE_BYTES and parts[-1]:
            parts.append({})
            size = 0
        parts[-1].update(entry)
        size += bytes_
    return parts


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a network's numbers; none where there are none."""
    return sorted([*folder.glob(WHOLE), *folder.glob(PARTS), *folder.glob(DIFFERENCE)])


def mark_of(folder: Path) -> str:
    """A short name of what the weight files hold: figures kept for other weights are not taken for these."""
    digest = hashlib.sha256()
    for part in weight_files(folder):
        digest.update(part.read_bytes())
    return digest.hexdigest()[:12]


def _read_state(folder: Path) -> dict[str, Tensor]:
    """A folder's numbers as float32, by their names. Raises InputError where a difference is from other weights."""
    stored: dict[str, Tensor] = {}
    for file in weight_files(folder):
        stored.update(load_file(file))
    if (folder / DIFFERENCE).exists():
        config = json.loads((folder / "config.json").read_text())
        base = WEIGHTS / Path(str(config[BASE])).name  # nothing beside the shipped ones
        if config[BASE_MARK] != mark_of(base):
            raise InputError(
                "the weights in {folder} are a difference from another {name} than the one that is shipped here",
                folder=display_name(folder),
                name=base.name,
            )
        return _add(_read_state(base), stored)
    state = {
        name: dequantise(tensor, stored[f"{name}.scale"]) if f"{name}.scale" in stored else tensor.float()
        for name, tensor in stored.items()
        if not name.endswith(".scale") or name.removesuffix(".scale") not in stored
    }
    return {RENAMED.get(name, name): tensor for name, tensor in state.items()}


def load_weights(kind: type[M], folder: Path) -> M:
    """A model of class `kind` in evaluation mode, float32. Raises InputError if files are missing or of another shape."""
    name_of = display_name(folder)
    if not weight_files(folder) or not (folder / "config.json").exists():
        raise InputError("there are no weights in {folder}; config.json and safetensors are needed", folder=name_of)
    try:
        config = json.loads((folder / "config.json").read_text())
        model = kind(**{key: value for key, value in config.items() if not key.startswith("_")})
        state = _read_state(folder)
    except InputError:  # a ValueError too
        raise
    except (SafetensorError, ValueError, TypeError, KeyError, RuntimeError, OSError) as error:  # RuntimeError: shapes
        raise InputError("the weights in {folder} are damaged: {error}", folder=name_of, error=str(error)) from error
    own = model.state_dict()
    for name, tensor in own.items():
        if name not in state:
            raise InputError("the weights in {folder} lack {name}", folder=name_of, name=name)
        if state[name].shape != tensor.shape:
            raise InputError(
                "{name} in {folder} has shape {shape}; {wanted} is needed",
                name=name,
                folder=name_of,
                shape=list(state[name].shape),
                wanted=list(tensor.shape),
            )
    model.load_state_dict(state)
    return model.eval()


def held_weights(folder: Path | None, *names: str) -> Path | None:
    """The weights of the first of these networks or stages that `folder` holds, if any.

    `folder` is what `save_pretrained` or `train --export` wrote (NAME/), or a training's run (STAGE/export/).
    """
    if folder is None:
        return None
    for name in names:
        for place in (folder / name / "export", folder / name):
            if (place / "config.json").exists():
                return place
    return None


def shipped_weights(*names: str, people: bool = False) -> Path | None:
    """The weights of the first of these networks that the package holds; `people`: rather those for photographs of people."""
    return (held_weights(PEOPLE_WEIGHTS, *names) if people else None) or held_weights(WEIGHTS, *names)


def find_weights(folder: Path | None, *names: str, people: bool = False) -> Path:
    """The weights of the first of these networks or stages that `folder` holds, else of the first that is shipped.

    Raises InputError if there are none.
    """
    place = held_weights(folder, *names) or shipped_weights(*(shipped_name(name) for name in names), people=people)
    if place is None:
        raise InputError(f"there are no weights to start from; train one of these first: {', '.join(names)}")
    return place


def has_weights(folder: Path | None, *names: str) -> bool:
    """Whether `find_weights` would find any."""
    return bool(held_weights(folder, *names) or shipped_weights(*(shipped_name(name) for name in names)))


def fetch(folder: str | os.PathLike, download: Callable[[str], str | os.PathLike]) -> Path:
    """A folder as it is; what has the form of a Hub repository's name, and is no folder, is downloaded. Raises InputError."""
    name = str(folder)
    if Path(folder).is_dir() or not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name):
        return Path(folder)
    try:
        return Path(download(name))
    except (OSError, ValueError) as error:  # huggingface_hub's errors are among them
        raise InputError(f"{name} is no folder, and no pipeline of the Hub that can be reached: {error}") from error


def check_folder(folder: str | Path) -> Path:
    """A folder that somebody named with --weights. Raises InputError where it is none, or holds no network's weights."""
    path = Path(folder)
    if not path.is_dir():
        within = "" if path.parent.is_dir() else f", nor one {display_name(path.parent)} that it could be in"
        raise InputError(f"there is no folder {display_name(path)} with weights{within}")
    if not any(path.glob("*/config.json")) and not any(path.glob("*/export/config.json")):
        raise InputError(
            f"there are no weights in {display_name(path)}; what `train --export` or save_pretrained wrote, or a run is needed"
        )
    return path


def shipped_name(stage: str) -> str:
    """The folder of shipped weights that a stage makes or refines."""
    return {"decoder": "autoencoder", "distill_region": "student", "restore": "restorer"}.get(stage, stage)


def read_card(weights: str | Path) -> dict:
    """The card of shipped weights, by their name, or of a folder: what they were trained on, for how long, where."""
    folder = WEIGHTS / weights if isinstance(weights, str) else weights
    return json.loads((folder / "card.json").read_text())
