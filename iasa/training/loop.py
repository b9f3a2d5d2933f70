"""The loop that every stage shares: accelerate, two optimizers, EMA, atomic checkpoints, exact resume, sample sheets.

All randomness of a step comes from (seed, step, process), so a run that was killed continues the same curve.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from iasa.device import pick_dtype
from iasa.training.muon import make_optimizers

COOLDOWN = 0.5  # share of the steps, at the end, over which the learning rate falls to zero


@dataclass(frozen=True)
class Schedule:
    """Length and rhythm of a run."""

    steps: int
    seed: int = 0
    warmup: int = 50
    lr: float = 1e-3
    muon_lr: float = 0.02
    ema: float = 0.999
    save_every: float = 120.0  # seconds
    sheet_every: float = 300.0  # seconds


def lr_factor(step: int, steps: int, warmup: int) -> float:
    """Linear warm-up, a plateau, and a linear fall over the last COOLDOWN of the steps."""
    return min(1.0, (step + 1) / warmup, (steps - step) / max(1.0, COOLDOWN * steps))


class Trainer:
    """Runs `loss_of(model, rng)` for `schedule.steps` steps and keeps its state under `folder`."""

    def __init__(self, model: nn.Module, folder: Path, schedule: Schedule, accelerator: Accelerator | None = None) -> None:
        self.folder, self.schedule = Path(folder), schedule
        precision = "bf16" if pick_dtype() == torch.bfloat16 else "no"
        self.accelerator = accelerator or Accelerator(mixed_precision=precision)
        self.bare = model.to(self.accelerator.device)
        self.optimizers = make_optimizers(self.bare, schedule.lr, schedule.muon_lr)
        for group in self._groups():
            group["base_lr"] = group["lr"]
        prepared = self.accelerator.prepare(self.bare, *self.optimizers)
        self.model, self.optimizers = prepared[0], list(prepared[1:])
        self.ema = EMAModel(self.bare.parameters(), decay=schedule.ema, use_ema_warmup=True, inv_gamma=1.0, power=0.75)
        self.step, self.seconds = 0, 0.0

    def _groups(self):
        for optimizer in self.optimizers:
            yield from optimizer.param_groups

    def rng(self, step: int) -> np.random.Generator:
        """This step's and process's source of randomness; torch is seeded from it too."""
        key = [self.schedule.seed, step, self.accelerator.process_index]
        torch.manual_seed(int(np.random.default_rng([*key, 1]).integers(2**62)))
        return np.random.default_rng([*key, 0])

    def fit(
        self,
        loss_of: Callable[[nn.Module, np.random.Generator], Tensor],
        sheet: Callable[[nn.Module, Path, int], str] | None = None,
        stop_after: float = float("inf"),
    ) -> float:
        """Train to the last step, or for `stop_after` seconds; returns the last loss.

        Raises FloatingPointError on a loss that is not finite; the last good checkpoint stays.
        """
        began, saved, drawn = time.monotonic(), time.monotonic(), time.monotonic()
        earlier, value, smooth = self.seconds, float("nan"), None
        bar = tqdm(
            total=self.schedule.steps,
            initial=self.step,
            disable=not self.accelerator.is_main_process,
            mininterval=15,
            dynamic_ncols=True,
        )
        while self.step < self.schedule.steps and time.monotonic() - began < stop_after:
            factor = lr_factor(self.step, self.schedule.steps, self.schedule.warmup)
            for group in self._groups():
                group["lr"] = group["base_lr"] * factor
            loss = loss_of(self.model, self.rng(self.step))
            value = loss.item()
            if not np.isfinite(value):
                raise FloatingPointError(
                    f"the loss is {value} at step {self.step}; the checkpoint in {self.folder.name} is the last good one"
                )
            self.accelerator.backward(loss)
            self.accelerator.clip_grad_norm_(self.bare.parameters(), 1.0)
            for optimizer in self.optimizers:
                optimizer.step()
                optimizer.zero_grad()
            self.ema.step(self.bare.parameters())
            self.step += 1
            self.seconds = earlier + time.monotonic() - began
            smooth = value if smooth is None else 0.98 * smooth + 0.02 * value
            bar.update()
            bar.set_postfix(loss=f"{smooth:.4f}", refresh=False)
            if time.monotonic() - saved > self.schedule.save_every:
                self.save()
                saved = time.monotonic()
            if sheet and time.monotonic() - drawn > self.schedule.sheet_every:
                self.draw(sheet, smooth)
                drawn = time.monotonic()
        bar.close()
        self.save()
        if sheet:
            self.draw(sheet, smooth if smooth is not None else value)
        return value

    def draw(self, sheet: Callable[[nn.Module, Path, int], str], loss: float) -> None:
        """Let `sheet` draw with the averaged weights; its line goes to the log."""
        if not self.accelerator.is_main_process:
            return
        self.ema.store(self.bare.parameters())
        self.ema.copy_to(self.bare.parameters())
        self.bare.eval()
        line = sheet(self.bare, self.folder, self.step)
        self.bare.train()
        self.ema.restore(self.bare.parameters())
        text = f"step {self.step} {self.seconds:.0f} s loss {loss:.4f} {line}"
        tqdm.write(text)
        with open(self.folder / "log.txt", "a") as log:
            log.write(text + "\n")

    def save(self) -> None:
        """Write the checkpoint beside the old one, then swap: an interrupted save loses nothing."""
        if not self.accelerator.is_main_process:
            return
        target, partial, old = (self.folder / name for name in ("checkpoint", "checkpoint.partial", "checkpoint.old"))
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file({k: v.detach().cpu().contiguous() for k, v in self.bare.state_dict().items()}, partial / "model.safetensors")
        shadow = {str(i): p.detach().cpu().contiguous() for i, p in enumerate(self.ema.shadow_params)}
        save_file(shadow, partial / "ema.safetensors")
        torch.save([optimizer.state_dict() for optimizer in self.optimizers], partial / "optimizers.pt")
        state = {"step": self.step, "seconds": self.seconds, "ema_step": self.ema.optimization_step}
        (partial / "state.json").write_text(json.dumps(state))
        shutil.rmtree(old, ignore_errors=True)
        if target.exists():
            target.rename(old)
        partial.rename(target)
        shutil.rmtree(old, ignore_errors=True)

    def resume(self) -> bool:
        """Load the checkpoint if there is one; True if so."""
        source = self.folder / "checkpoint"
        if not source.exists():
            source = self.folder / "checkpoint.old"  # killed between the two renames of a save
        if not (source / "state.json").exists():
            return False
        self.bare.load_state_dict(load_file(source / "model.safetensors"))
        shadow = load_file(source / "ema.safetensors")
        for i, p in enumerate(self.ema.shadow_params):
            p.data.copy_(shadow[str(i)])
        for optimizer, saved in zip(self.optimizers, torch.load(source / "optimizers.pt", weights_only=True), strict=True):
            base = [group["base_lr"] for group in optimizer.param_groups]
            optimizer.load_state_dict(saved)
            for group, lr in zip(optimizer.param_groups, base, strict=True):
                group["base_lr"] = lr
        state = json.loads((source / "state.json").read_text())
        self.step, self.seconds, self.ema.optimization_step = state["step"], state["seconds"], state["ema_step"]
        return True

    def averaged(self) -> nn.Module:
        """The model with its averaged weights, for export; training cannot go on from it."""
        self.ema.copy_to(self.bare.parameters())
        return self.bare.eval()
