"""The loop of the distillation: batches, optimizers, several processes, checkpoints of adapters alone, exact resume."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from iasa.backbones.lora_roles import ADAPTERS, LoraRoles, copy_into, full_tensor, save_adapter
from iasa.backbones.replay import enable_checkpointing
from iasa.backbones.wan_distill import (
    DistillSettings,
    LatentClip,
    RegionTerm,
    annealed,
    check_clips,
    clip_losses,
    plan_clip,
)
from iasa.config import InputError

_MOMENTS = ("exp_avg", "exp_avg_sq")


class ClipSource(Protocol):
    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> LatentClip: ...


class BackboneTrainer:
    """Distils a transformer under the plan; its own weights are never written.

    Several processes share the batches when `torch.distributed` is set up. `prepare` spreads the model's weights over
    them (accelerate's `fsdp2_prepare_model`), which then averages the gradients itself.
    """

    def __init__(
        self,
        transformer: nn.Module,
        clips: ClipSource,
        settings: DistillSettings,
        folder: Path,
        batch: int = 1,
        checkpointing: bool = True,
        region: RegionTerm | None = None,
        prepare: Callable[[nn.Module], nn.Module] | None = None,
    ) -> None:
        if not len(clips):
            raise InputError("there are no clips to train on; make some with `backbone-data`")
        self.rank, self.world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        if batch % self.world:
            raise InputError(f"a batch of {batch} clips cannot be shared by {self.world} processes")
        self.clips, self.settings, self.folder, self.batch = clips, settings, Path(folder), batch
        self.region, self.sharded = region, prepare is not None
        torch.manual_seed(settings.seed)  # the adapters begin the same in every process
        self.roles = LoraRoles(transformer, settings.rank)
        if checkpointing:
            enable_checkpointing(transformer.train())
        if prepare is not None:
            self.roles.model = prepare(transformer)
        rates = {"student": settings.lr, "critic": settings.critic_lr}
        self.masters = {name: _masters(self.roles.named_parameters(name)) for name in ADAPTERS}
        self.optimizers = {
            name: torch.optim.AdamW(masters.values(), lr=rates[name], betas=(0.0, 0.999), weight_decay=0.01)
            for name, masters in self.masters.items()
        }
        self.step = 0

    def fit(self, updates: int, save_every: int = 100) -> Iterator[dict[str, float]]:
        """Go on until `updates` of the student are done; each one's losses, averaged over the batch."""
        while self.step < updates:
            losses = {"step": self.step, "critic": 0.0}
            for turn in range(self.settings.critic_updates):
                losses["critic"] += self._update("critic", turn) / self.settings.critic_updates
            losses["student"] = self._update("student", self.settings.critic_updates)
            self.step += 1
            if self.step % save_every == 0 or self.step == updates:
                self.save()
            yield losses

    def _update(self, adapter: str, turn: int) -> float:
        """One step of an adapter's optimizer on the next batch."""
        student = adapter == "student"
        weights = self.roles.parameters(adapter)
        for weight in weights:
            weight.grad = None
        total = torch.zeros(())
        for clip in self._next_clips(turn):
            options = annealed(self.settings.mask, clip.control.shape[2], self.step, self.settings.anneal)
            share = self.world / self.batch  # of this process's clips; the average over processes follows
            counter = self.step * (self.settings.critic_updates + 1) + turn
            plan = plan_clip(clip, options)
            total += share * clip_losses(self.roles, clip, plan, self.settings, student, counter, self.region, share)
        self._average(weights, total)
        masters = list(self.masters[adapter].values())
        for master, weight in zip(masters, weights, strict=True):
            master.grad = None if weight.grad is None else weight.grad.to(master.dtype)
        nn.utils.clip_grad_norm_(masters, 10.0)
        self.optimizers[adapter].step()
        self._use_masters(adapter)
        return float(total)

    def _use_masters(self, adapter: str) -> None:
        """The adapter computes with its masters' values, rounded."""
        with torch.no_grad():
            for name, weight in self.roles.named_parameters(adapter).items():
                if weight is not self.masters[adapter][name]:
                    weight.copy_(self.masters[adapter][name])

    def _next_clips(self, turn: int) -> Iterator[LatentClip]:
        """This process's part of a batch that depends on the step alone."""
        rng = np.random.default_rng([self.settings.seed, self.step, turn])
        chosen = rng.choice(len(self.clips), self.batch, replace=self.batch > len(self.clips))
        dtype = next(p.dtype for name, p in self.roles.model.named_parameters() if "patch_embedding" in name)
        device = self.roles.parameters("student")[0].device
        for index in chosen[self.rank :: self.world]:
            clip = self.clips[int(index)]
            check_clips([clip])
            yield clip.to(device, dtype)

    def _average(self, weights: Sequence[nn.Parameter], total: torch.Tensor) -> None:
        if self.world == 1:
            return
        on_device = total.to(weights[0].device)
        dist.all_reduce(on_device)
        total.copy_(on_device / self.world)
        if self.sharded:
            return
        for weight in weights:
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
            dist.all_reduce(weight.grad)
            weight.grad /= self.world

    def save(self) -> None:
        """Adapters and optimizers, whole or not at all; FOLDER/student.safetensors is what `generate --lora` takes."""
        from safetensors.torch import save_file

        state = {}
        for adapter in ADAPTERS:
            for name, master in self.masters[adapter].items():
                state[name] = full_tensor(master)
                moments = self.optimizers[adapter].state.get(master, {})
                state |= {f"{kind} {name}": full_tensor(moments[kind]) for kind in _MOMENTS if kind in moments}
        state = {name: value.clone().contiguous().cpu() for name, value in state.items()}
        if self.rank == 0:
            partial = self.folder / ".checkpoint.partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            save_file(state, partial / "state.safetensors")
            settings = json.dumps({"step": self.step, "settings": asdict(self.settings), "batch": self.batch})
            (partial / "settings.json").write_text(settings)
            shutil.rmtree(self.folder / "checkpoint", ignore_errors=True)
            partial.rename(self.folder / "checkpoint")
        save_adapter(self.roles, self.folder, write=self.rank == 0)
        if self.world > 1:
            dist.barrier()

    def resume(self) -> int:
        """Go on from the folder's checkpoint exactly where it stopped; the step. Raises InputError."""
        from safetensors.torch import load_file

        place = self.folder / "checkpoint"
        if not (place / "settings.json").is_file():
            raise InputError(f"there is no checkpoint in {self.folder}")
        known = json.loads((place / "settings.json").read_text())
        if known["settings"] != json.loads(json.dumps(asdict(self.settings))) or known["batch"] != self.batch:
            raise InputError(f"the checkpoint in {self.folder} was made with other settings; resume with the same")
        state = load_file(place / "state.safetensors")
        self.step = known["step"]
        for adapter in ADAPTERS:
            optimizer = self.optimizers[adapter]
            for name, master in self.masters[adapter].items():
                if name not in state:
                    raise InputError(f"the checkpoint in {self.folder} is for another model: it lacks {name}")
                copy_into(master, state[name])
                if f"exp_avg {name}" in state:
                    done = self.step * (self.settings.critic_updates if adapter == "critic" else 1)
                    optimizer.state[master] = {"step": torch.tensor(float(done))}
                    for kind in _MOMENTS:
                        moment = torch.zeros_like(master)
                        copy_into(moment, state[f"{kind} {name}"])
                        optimizer.state[master][kind] = moment
            self._use_masters(adapter)
        return self.step


def _masters(weights: dict[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    """What an optimizer changes: the weights if they are float32, else float32 copies.

    Steps of 1e-5 on weights of 0.1 are smaller than bfloat16 can tell apart: its weights alone would never move.
    """
    return {
        name: weight if weight.dtype == torch.float32 else nn.Parameter(weight.detach().float())
        for name, weight in weights.items()
    }
