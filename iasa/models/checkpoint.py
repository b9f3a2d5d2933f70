"""Shipping weights: 8-bit matrices in safetensors files below 10 MB, and the card that says how they were trained.

`save_pretrained` of a model keeps full precision; this format is for the repository, where every file must stay small.
A matrix is stored as int8 with one float16 scale a row, a vector as float16.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import ModelMixin
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from iasa.config import InputError
from iasa.paths import WEIGHTS

FILE_BYTES = 9 * 2**20


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:  # [rows, ...] -> int8 [rows, ...], float16 [rows]
    """Round each row to 255 levels between minus and plus its largest magnitude."""
    rows = weight.float().flatten(1)
    scale = (rows.abs().amax(1) / 127).clamp_min(1e-7).half()
    codes = (rows / scale.float()[:, None]).round().clamp(-127, 127).to(torch.int8)
    return codes.view(weight.shape), scale


def dequantise(codes: Tensor, scale: Tensor) -> Tensor:
    """float32 of `quantise`'s pair."""
    return codes.float() * scale.float().view(-1, *[1] * (codes.ndim - 1))


def save_weights(model: ModelMixin, folder: Path, card: dict) -> None:
    """Write `config.json`, `card.json` and part_NN.safetensors into `folder`, replacing what was there."""
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in model.state_dict().items():
        tensor = tensor.detach().cpu()
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
    for stale in folder.glob("part_*.safetensors"):
        stale.unlink()
    for i, part in enumerate(parts):
        try:
            save_file(part, folder / f"part_{i:02d}.safetensors")
        except SafetensorError as error:  # a full disk, say
            raise InputError(f"the weights cannot be written to {folder}: {error}") from error
    config = {k: v for k, v in model.config.items() if not k.startswith("_")}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")


def load_weights(kind: type[ModelMixin], folder: Path) -> ModelMixin:
    """A model of class `kind` in evaluation mode. Raises InputError if files are missing or of another shape."""
    parts = sorted(folder.glob("part_*.safetensors"))
    if not parts or not (folder / "config.json").exists():
        raise InputError(f"there are no weights in {folder.name}; config.json and part_*.safetensors are needed")
    stored: dict[str, Tensor] = {}
    try:
        model = kind(**json.loads((folder / "config.json").read_text()))
        for part in parts:
            stored.update(load_file(part))
    except (SafetensorError, ValueError, TypeError, OSError) as error:
        raise InputError(f"the weights in {folder.name} are damaged: {error}") from error
    state = {
        name: dequantise(tensor, stored[f"{name}.scale"]) if f"{name}.scale" in stored else tensor.float()
        for name, tensor in stored.items()
        if not name.endswith(".scale") or name.removesuffix(".scale") not in stored
    }
    own = model.state_dict()
    for name, tensor in own.items():
        if name not in state:
            raise InputError(f"the weights in {folder.name} lack {name}")
        if state[name].shape != tensor.shape:
            raise InputError(
                f"{name} in {folder.name} has shape {list(state[name].shape)}; {list(tensor.shape)} is needed"
            )
    model.load_state_dict(state)
    return model.eval()


def read_card(weights: str | Path) -> dict:
    """The card of shipped weights, by their name, or of a folder: what they were trained on, for how long, where."""
    folder = WEIGHTS / weights if isinstance(weights, str) else weights
    return json.loads((folder / "card.json").read_text())
