"""Loading of a user's Wan weights: what is in the folder, whether it fits, and one plain sentence where it does not.

Nothing is fetched unless the user names a repository of the Hub instead of a folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from iasa.config import InputError

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

PIPELINES = {"vace": "WanVACEPipeline", "animate": "WanAnimatePipeline"}
NEEDS_GPU = 5_000_000_000  # parameters of a transformer from which on a processor would take days
GIB = 2**30
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_NETWORKS = ("transformer", "transformer_2", "vae", "text_encoder", "image_encoder")


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes, computed from sizes and not measured."""

    weights: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.activations


def load_pipeline(
    weights: str,  # a folder of diffusers' layout, or a repository of the Hub
    backbone: str = "vace",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    tokens: int = 0,  # of the video that is to be made, for the estimate of memory
    place: torch.device | str | None = None,  # where the weights stay until they are spread; None: on the device
    without: Sequence[str] = (),  # parts that are left out, "text_encoder" say
) -> DiffusionPipeline:
    """The pipeline of a backbone with the user's weights. Raises InputError before anything large is read."""
    if backbone not in PIPELINES:
        raise InputError(f"the backbone is {backbone!r}; accepted: {', '.join(PIPELINES)}")
    folder, device = Path(weights), torch.device(device)
    if folder.is_dir():
        _check_folder(folder, PIPELINES[backbone])
        _check_size(folder, device, dtype, tokens, without)
    elif not _HUB_ID.fullmatch(weights):
        raise InputError(
            f"there is no folder {weights}; a diffusers folder or a repository of the Hub, OWNER/NAME, is accepted"
        )
    import diffusers

    try:
        pipe = getattr(diffusers, PIPELINES[backbone]).from_pretrained(
            weights, torch_dtype=dtype, **dict.fromkeys(without)
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(f"{weights} cannot be loaded as a {PIPELINES[backbone]}: {first_line(error)}") from error
    return pipe.to(device if place is None else place)


def load_lora(pipe: DiffusionPipeline, path: str, name: str = "iasa") -> None:
    """A LoRA for the transformer, of this program or of others for Wan. Raises InputError, or ImportError without peft."""
    file = Path(path)
    if not file.exists() and not _HUB_ID.fullmatch(path):
        raise InputError(f"there is no LoRA {path}; a .safetensors file or a folder is accepted")
    if file.is_file() and file.suffix != ".safetensors":
        raise InputError(f"the LoRA {file.name} is refused; a .safetensors file is accepted, pickled ones are not")
    try:
        pipe.load_lora_weights(path, adapter_name=name)
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        if "PEFT" in str(error):
            raise ImportError("a LoRA needs peft, which is not installed: pip install peft") from error
        raise InputError(f"{file.name} is not a LoRA for this backbone: {first_line(error)}") from error


def load_causal_weights(transformer: torch.nn.Module, path: str) -> None:
    """Weights of a causal text-to-video model (Self-Forcing's, say) into a transformer's main blocks.

    `path` is a .safetensors file, or a folder that holds some, in diffusers' names or in Wan's own. VACE's control blocks
    and what else the file lacks stay as they are. Raises InputError if the file is for another size, or for another model.
    """
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    place = Path(path)
    files = sorted(place.glob("*.safetensors")) if place.is_dir() else [place]
    if not files or not all(file.is_file() and file.suffix == ".safetensors" for file in files):
        raise InputError(f"there are no causal weights in {place.name}; .safetensors files are accepted")
    try:
        given = {name: value for file in files for name, value in load_file(file).items()}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{place.name} cannot be read: {first_line(error)}") from error
    prefix = next((p for p in ("model.", "generator.") if given and all(n.startswith(p) for n in given)), "")
    given = {name.removeprefix(prefix): value for name, value in given.items()}
    if any(".self_attn." in name for name in given):
        given = convert_wan_transformer_to_diffusers(given)
    own = transformer.state_dict()
    missing = [name for name in own if name.startswith("blocks.") and name not in given]
    if missing:
        raise InputError(f"{place.name} lacks {len(missing)} tensors of the main blocks, {missing[0]} among them")
    for name, value in given.items():
        if name in own and own[name].shape != value.shape:
            raise InputError(f"{name} in {place.name} is {list(value.shape)}; {list(own[name].shape)} is needed")
    transformer.load_state_dict({name: value for name, value in given.items() if name in own}, strict=False)


def estimate_memory(config: dict, parameters: int, other_bytes: int, tokens: int, dtype: torch.dtype) -> MemoryNeed:
    """What one forward pass needs: the weights, and some 14 copies of the hidden states beside a decoder's 3 GiB."""
    width = config["num_attention_heads"] * config["attention_head_dim"]
    size = torch.finfo(dtype).bits // 8
    activations = 14 * tokens * width * size + (3 * GIB if tokens >= 10_000 else 0)
    return MemoryNeed(parameters * size + other_bytes, activations)


def available_memory(device: torch.device) -> int | None:
    """Free bytes on a device; None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    info = Path("/proc/meminfo")
    found = re.search(r"MemAvailable:\s+(\d+) kB", info.read_text()) if info.exists() else None
    return int(found[1]) * 1024 if found else None


def first_line(error: Exception) -> str:
    """What an error says, short enough for a sentence."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def count_parameters(config: dict) -> int:
    """Of a transformer, from its config.json and without its weights."""
    import diffusers

    with torch.device("meta"):
        model = getattr(diffusers, config["_class_name"]).from_config(config)
    return sum(p.numel() for p in model.parameters())


def _check_folder(folder: Path, wanted: str) -> None:
    index_file = folder / "model_index.json"
    if not index_file.is_file():
        raise InputError(f"{folder} has no model_index.json; a folder written by diffusers' save_pretrained is needed")
    index = _read_json(index_file)
    kind = index.get("_class_name")
    if kind != wanted:
        raise InputError(f"{folder} holds weights of {kind}; {wanted} is needed")
    for name, entry in index.items():
        if not isinstance(entry, list) or entry[0] is None:
            continue
        if not (folder / name).is_dir():
            raise InputError(f"{folder} lacks its part {name}; copy the folder whole")
        if name in _NETWORKS and not [*(folder / name).glob("*.safetensors")]:
            raise InputError(
                f"{folder / name} holds no .safetensors file; copy the folder whole (pickled weights are refused)"
            )


def _check_size(
    folder: Path, device: torch.device, dtype: torch.dtype, tokens: int, without: Sequence[str] = ()
) -> None:
    config_file = folder / "transformer" / "config.json"
    config = _read_json(config_file)
    try:
        parameters = count_parameters(config)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{config_file} does not describe a transformer: {first_line(error)}") from error
    if parameters >= NEEDS_GPU and device.type != "cuda":
        raise InputError(
            f"{folder} has {parameters / 1e9:.0f} billion parameters and there is no CUDA device; one is needed"
        )
    left_out = ("transformer", *without)
    others = sum(file.stat().st_size for file in folder.glob("*/*.safetensors") if file.parent.name not in left_out)
    need, free = estimate_memory(config, parameters, others, tokens, dtype), available_memory(device)
    if free is not None and need.total > free:
        raise InputError(
            f"{folder} needs about {need.total / GIB:.1f} GiB (computed) and {free / GIB:.1f} GiB are free on {device.type}"
        )


def _read_json(file: Path) -> dict:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read: {first_line(error)}") from error
