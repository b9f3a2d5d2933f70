"""Teacher, critic and student as one frozen transformer: the teacher is the network alone, the others are adapters on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from iasa.backbones.replay import Transformer, register_state
from iasa.backbones.wan_attention import PlanController, apply_iasa
from iasa.config import InputError
from iasa.masks.plan import AttentionPlan

ADAPTERS = ("student", "critic")
TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2"]


class LoraRoles:
    """Takes turns on one set of weights: "teacher" and "critic" attend densely, "student" under the plan.

    Which role a block had in the forward pass is remembered by `replay` for the backward pass, so that gradient
    checkpointing is right whatever the role is by then.
    """

    def __init__(self, model: Transformer, rank: int = 64) -> None:
        LoraConfig = _peft().LoraConfig
        self.model = model.requires_grad_(False)
        for adapter in ADAPTERS:
            model.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=TARGETS), adapter_name=adapter)
        self._layers = [
            module for module in model.modules() if isinstance(module, _peft().tuners.tuners_utils.BaseTunerLayer)
        ]
        self.controller: PlanController | None = None
        self.role = ""
        self._become("student")
        register_state(model, self)

    def follow(self, plans: AttentionPlan | Sequence[AttentionPlan]) -> None:
        """The student's plan from now on; one for each clip of the batch, or one for all."""
        if self.controller is None:
            self.controller = apply_iasa(self.model, plans)
            self.controller.enabled = self.role == "student"
        else:
            self.controller.plans = [plans]
            self.controller.restart()

    def become(self, role: str) -> Transformer:
        """The model as one of the three."""
        if role not in (*ADAPTERS, "teacher"):
            raise ValueError(f"the role is {role!r}; teacher, critic or student is accepted")
        if role != self.role:
            self._become(role)
        return self.model

    def _become(self, role: str) -> None:
        self.role = role
        for layer in self._layers:
            layer.enable_adapters(role != "teacher")
            if role != "teacher":
                layer.set_adapter([role])
        for (
            adapter
        ) in ADAPTERS:  # peft freezes what is not active, and a second run of a block must find all as they were
            for weight in self.parameters(adapter):
                weight.requires_grad_(True)
        if self.controller is not None:
            self.controller.enabled = role == "student"

    def parameters(self, adapter: str) -> list[nn.Parameter]:
        return list(self.named_parameters(adapter).values())

    def named_parameters(self, adapter: str) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.model.named_parameters() if f".{adapter}." in name}

    def snapshot(self) -> str:
        return self.role

    def restore(self, then: str | None) -> None:
        self.become(then or "teacher")


def save_adapter(roles: LoraRoles, folder: Path, adapter: str = "student", write: bool = True) -> Path:
    """The adapter alone as diffusers' pipelines load it (`generate --lora`); all processes call it and one writes."""
    from diffusers import WanPipeline

    state = _peft().utils.get_peft_model_state_dict(roles.model, adapter_name=adapter)
    state: dict[str, Any] = {name: full_tensor(value).contiguous().cpu() for name, value in state.items()}
    file = folder / f"{adapter}.safetensors"
    if write:
        partial = f".{file.name}"
        WanPipeline.save_lora_weights(folder, transformer_lora_layers=state, weight_name=partial)
        (folder / partial).replace(file)  # whole or not at all
    return file


def full_tensor(value: Any) -> Tensor:
    """A tensor whole, where it is spread over several GPUs."""
    return value.full_tensor() if hasattr(value, "full_tensor") else value.detach()


def copy_into(parameter: Any, value: Tensor) -> None:
    """Set a parameter, spread over several GPUs or not. Raises InputError if the shapes differ."""
    if parameter.shape != value.shape:
        raise InputError(f"the checkpoint's tensor is {list(value.shape)}; {list(parameter.shape)} is needed")
    with torch.no_grad():
        if hasattr(parameter, "full_tensor"):
            from torch.distributed.tensor import distribute_tensor

            value = distribute_tensor(
                value.to(parameter.device, parameter.dtype), parameter.device_mesh, parameter.placements
            )
        parameter.copy_(value)


def _peft():
    try:
        import peft
        import peft.tuners.tuners_utils
        import peft.utils
    except ImportError as error:
        raise ImportError("adapters need peft, which is not installed: pip install peft") from error
    return peft
