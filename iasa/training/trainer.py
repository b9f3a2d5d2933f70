"""The loop that every stage shares: accelerate, two optimizers, EMA, atomic checkpoints, exact resume, sample sheets.

All randomness of a step comes from (seed, step, process), so a run that was killed continues the same curve. Several
processes (`accelerate launch`) begin at the first one's weights, learn from batches of their own and average their
gradients after every step: each holds the whole network, which is small.
"""

from __future__ import annotations

import json
import math
import pickle
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import broadcast
from diffusers.training_utils import EMAModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from iasa.config import InputError
from iasa.device import pick_device, pick_precision
from iasa.training.muon import make_optimizers
from iasa.training.options import TrainOptions

M = TypeVar("M", bound=nn.Module)
LossOf = Callable[[M, np.random.Generator], Tensor]
SampleGrid = Callable[[M, Path, int], str]  # draws a sheet into the run's folder; its line goes to the log
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
    sample_grid_every: float = 300.0  # seconds
    seconds: float = math.inf  # after which the run ends, cooled down, if its steps take longer


def lr_factor(step: int, steps: int, warmup: int, spent: float = 0.0) -> float:
    """Linear warm-up, a plateau, and a linear fall over the last COOLDOWN of the steps, or of the time, whichever ends first.

    `spent` is the share of the time that is over.
    """
    return min(1.0, (step + 1) / warmup, (steps - step) / max(1.0, COOLDOWN * steps), (1 - spent) / COOLDOWN)


class Learner(Generic[M]):
    """A network with its optimizers: what a step changes and a checkpoint holds."""

    def __init__(self, model: M, lr: float, muon_lr: float, accelerator: Accelerator, name: str = "model") -> None:
        self.bare: M = model.to(accelerator.device)
        self.accelerator, self.name = accelerator, name
        share_weights(self.bare, accelerator)
        self.optimizers = make_optimizers(self.bare, lr, muon_lr)
        for group in self.groups():
            group["base_lr"] = group["lr"]

    def groups(self):
        for optimizer in self.optimizers:
            yield from optimizer.param_groups

    def set_rate(self, factor: float) -> None:
        """Every learning rate as a share of its own base."""
        for group in self.groups():
            group["lr"] = group["base_lr"] * factor

    def update(self, loss: Tensor) -> float:
        """One step down `loss`; returns its mean over the processes.

        Raises FloatingPointError, before anything changes, if it is not finite on any of them.
        """
        value = float(reduce(loss.detach().float(), self.accelerator, "mean"))
        if not np.isfinite(value):
            raise FloatingPointError(f"the loss of the {self.name} is {value}")
        self.accelerator.backward(loss)
        average_gradients(self.bare, self.accelerator)
        torch.nn.utils.clip_grad_norm_(self.bare.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return value

    def save(self, folder: Path) -> None:
        save_file(
            {k: v.detach().cpu().contiguous() for k, v in self.bare.state_dict().items()},
            folder / f"{self.name}.safetensors",
        )
        torch.save([optimizer.state_dict() for optimizer in self.optimizers], folder / self._optimizer_file)

    def load(self, folder: Path) -> None:
        """Raises InputError if a file is missing or damaged or of another network."""
        state = read_state(folder / f"{self.name}.safetensors", self.bare)
        optimizers = folder / self._optimizer_file
        try:
            stored = torch.load(optimizers, weights_only=True)
        except (OSError, RuntimeError, pickle.UnpicklingError) as error:
            raise InputError(f"{optimizers.name} of the checkpoint cannot be read: {error}") from error
        self.bare.load_state_dict(state)
        for optimizer, saved in zip(self.optimizers, stored, strict=True):
            base = [group["base_lr"] for group in optimizer.param_groups]
            optimizer.load_state_dict(saved)
            for group, lr in zip(optimizer.param_groups, base, strict=True):
                group["base_lr"] = lr

    @property
    def _optimizer_file(self) -> str:
        return "optimizers.pt" if self.name == "model" else f"{self.name}_optimizers.pt"


@torch.no_grad()
def share_weights(model: nn.Module, accelerator: Accelerator) -> None:
    """Give every process the parameters and buffers of the first one."""
    if accelerator.num_processes == 1:
        return
    for tensor in model.state_dict().values():
        tensor.copy_(broadcast(tensor.contiguous()))


def reduce(tensor: Tensor, accelerator: Accelerator, how: str) -> Tensor:
    """The "sum" or "mean" of a tensor over all processes."""
    reduced: Any = accelerator.reduce(tensor, how)  # it takes nested containers too, and so it is declared
    return reduced


def average_gradients(model: nn.Module, accelerator: Accelerator) -> None:
    """The mean over all processes, in one message."""
    if accelerator.num_processes == 1:
        return
    owners = [p for p in model.parameters() if p.requires_grad]
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in owners])
    parts = reduce(flat, accelerator, "mean").split([p.numel() for p in owners])
    for p, part in zip(owners, parts, strict=True):
        if p.grad is not None or part.any():
            p.grad = part.view_as(p).clone()


def read_state(path: Path, model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a checkpoint file for `model`. Raises InputError if some are missing or of another shape."""
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path.name} of the checkpoint in {path.parent.parent.name} cannot be read: {error}"
        ) from error
    for name, tensor in model.state_dict().items():
        if name not in state:
            raise InputError(f"the checkpoint in {path.parent.parent.name} lacks {name}")
        if state[name].shape != tensor.shape:
            raise InputError(
                f"{name} in the checkpoint of {path.parent.parent.name} has shape {list(state[name].shape)}; "
                f"{list(tensor.shape)} is needed"
            )
    return state


def main_process_first() -> AbstractContextManager:
    """Where files are made that all processes read: the others enter once the first has left."""
    return PartialState(cpu=pick_device().type == "cpu").main_process_first()


def find_checkpoint(folder: Path) -> Path:
    """Where a run's checkpoint lies, whether there is one or not."""
    checkpoint, old = folder / "checkpoint", folder / "checkpoint.old"
    return old if old.exists() and not checkpoint.exists() else checkpoint  # killed between the two renames of a save


def wants_resume(options: TrainOptions, run: Path) -> bool:
    """Whether to go on from the run's checkpoint: where there is none, --from-scratch begins anew instead."""
    whole = (find_checkpoint(run) / "state.json").exists()
    return options.resume and (whole or not options.from_scratch)


class Trainer(Generic[M]):
    """Runs `loss_of(model, rng)` for `schedule.steps` steps and keeps its state under `folder`.

    `auxiliary_models` are networks that learn beside the main one (a critic): same steps and checkpoint, optimizers of their
    own; `loss_of` calls `trainer.auxiliary_models[name].update(loss)` as often as it likes. What it hands to `log` goes to
    the log as a running mean.
    """

    def __init__(
        self,
        model: M,
        folder: Path,
        schedule: Schedule,
        accelerator: Accelerator | None = None,
        auxiliary_models: Mapping[str, nn.Module] | None = None,
        auxiliary_rate: float = 1.0,  # their rates, in the main network's
    ) -> None:
        self.folder, self.schedule = Path(folder), schedule
        precision = "bf16" if pick_precision().dtype == torch.bfloat16 else "no"
        cpu = pick_device().type == "cpu"  # said aloud: several processes without a GPU are refused else
        self.accelerator = accelerator or Accelerator(mixed_precision=precision, cpu=cpu)
        kind = self.accelerator.distributed_type.value
        if kind in ("FSDP", "DEEPSPEED", "MEGATRON_LM", "TP"):
            raise InputError(
                f"{kind} would split the network; it is small and trains whole: choose multi-GPU or multi-CPU"
            )
        self.learner = Learner(model, schedule.lr, schedule.muon_lr, self.accelerator)
        self.bare = self.learner.bare
        self.auxiliary_models = {
            name: Learner(
                other, auxiliary_rate * schedule.lr, auxiliary_rate * schedule.muon_lr, self.accelerator, name
            )
            for name, other in (auxiliary_models or {}).items()
        }
        self.ema = EMAModel(self.bare.parameters(), decay=schedule.ema, use_ema_warmup=True, inv_gamma=1.0, power=0.75)
        self.step, self.seconds, self.saved_step = 0, 0.0, None
        self.smooth: dict[str, float] = {}

    def rng(self, step: int) -> np.random.Generator:
        """This step's and process's source of randomness; torch is seeded from it too."""
        key = [self.schedule.seed, step, self.accelerator.process_index]
        torch.manual_seed(int(np.random.default_rng([*key, 1]).integers(2**62)))
        return np.random.default_rng([*key, 0])

    def sample_indices(self, count: int) -> range:
        """Numbers of this step's samples for this process: over all steps and processes each number comes once."""
        accelerator = self.accelerator
        first = (self.step * accelerator.num_processes + accelerator.process_index) * count
        return range(first, first + count)

    def log(self, **values: float) -> None:
        """Running means of what a step measured."""
        for name, value in values.items():
            self.smooth[name] = 0.98 * self.smooth.get(name, value) + 0.02 * value

    def fit(
        self,
        loss_of: LossOf[M],
        sample_grid: SampleGrid[M] | None = None,
        stop_after: float = float("inf"),
    ) -> float:
        """Train to the last step, to the end of the schedule's time, or for `stop_after` seconds; returns the last loss.

        Raises FloatingPointError on a loss that is not finite; the last good checkpoint stays. Raises InputError if a
        checkpoint cannot be written.
        """
        began, saved, drawn = time.monotonic(), time.monotonic(), time.monotonic()
        earlier, value = self.seconds, float("nan")
        bar = tqdm(
            total=self.schedule.steps,
            initial=self.step,
            disable=not self.accelerator.is_main_process,
            mininterval=15,
            dynamic_ncols=True,
        )
        with bar:
            while self.step < self.schedule.steps and not self._agreed(
                time.monotonic() - began >= stop_after or self.seconds >= self.schedule.seconds
            ):
                value = self._one_step(loss_of)
                self.seconds = earlier + time.monotonic() - began
                bar.update()
                bar.set_postfix({k: f"{v:.4f}" for k, v in self.smooth.items()}, refresh=False)
                if time.monotonic() - saved > self.schedule.save_every:
                    self.save()
                    saved = time.monotonic()
                if sample_grid and time.monotonic() - drawn > self.schedule.sample_grid_every:
                    self.draw(sample_grid)
                    drawn = time.monotonic()
        self.save()
        if sample_grid:
            self.draw(sample_grid)
        return value

    def _one_step(self, loss_of: LossOf[M]) -> float:
        factor = lr_factor(self.step, self.schedule.steps, self.schedule.warmup, self._spent())
        for learner in (self.learner, *self.auxiliary_models.values()):
            learner.set_rate(factor)
        try:
            value = self.learner.update(loss_of(self.bare, self.rng(self.step)))
        except FloatingPointError as error:
            kept = (
                "no checkpoint was written"
                if self.saved_step is None
                else f"the checkpoint is that of step {self.saved_step}"
            )
            raise FloatingPointError(f"{error} at step {self.step}; {kept} (in {self.folder.name})") from error
        self.ema.step(self.bare.parameters())
        self.step += 1
        self.log(loss=value)
        return value

    @property
    def done(self) -> float:
        """The share of the run that is over, by steps or by time, the same for all processes."""
        return max(self.step / self.schedule.steps, self._spent())

    def _spent(self) -> float:
        """The share of the time that is over, the same for all processes."""
        spent = min(1.0, self.seconds / self.schedule.seconds)
        if self.accelerator.num_processes == 1 or math.isinf(self.schedule.seconds):
            return spent
        return float(reduce(torch.tensor(spent, device=self.accelerator.device), self.accelerator, "mean"))

    def _agreed(self, stop: bool) -> bool:
        """Whether any process wants to stop: all must do so in the same step."""
        if self.accelerator.num_processes == 1:
            return stop
        wish = torch.tensor(float(stop), device=self.accelerator.device)
        return bool(reduce(wish, self.accelerator, "sum") > 0)

    def draw(self, sample_grid: SampleGrid[M]) -> None:
        """Let `sample_grid` draw with the averaged weights; its line goes to the log."""
        if not self.accelerator.is_main_process:
            return
        self.ema.store(self.bare.parameters())
        self.ema.copy_to(self.bare.parameters())
        self.bare.eval()
        self.folder.mkdir(parents=True, exist_ok=True)
        line = sample_grid(self.bare, self.folder, self.step)
        self.bare.train()
        self.ema.restore(self.bare.parameters())
        parts = " ".join(f"{name} {value:.4f}" for name, value in self.smooth.items())
        text = f"step {self.step} {self.seconds:.0f} s {parts} {line}"
        tqdm.write(text)
        with open(self.folder / "log.txt", "a") as log:
            log.write(text + "\n")

    def save(self) -> None:
        """Write the checkpoint beside the old one, then swap: an interrupted save loses nothing.

        Raises InputError if it cannot be written, a full disk say; the old one stays and no part is left behind.
        """
        if not self.accelerator.is_main_process:
            return
        target, partial, old = (self.folder / name for name in ("checkpoint", "checkpoint.partial", "checkpoint.old"))
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir(parents=True)
            self._write(partial)
            if target.exists():  # if not, a save was killed between these renames, and the old one is all there is
                shutil.rmtree(old, ignore_errors=True)
                target.rename(old)
            partial.rename(target)
        except (OSError, SafetensorError, RuntimeError) as error:  # torch.save reports a full disk as a RuntimeError
            shutil.rmtree(partial, ignore_errors=True)
            kept = "there is no earlier one" if self.saved_step is None else f"that of step {self.saved_step} is whole"
            raise InputError(
                f"the checkpoint of step {self.step} cannot be written to {self.folder}: {error}; {kept}"
            ) from error
        shutil.rmtree(old, ignore_errors=True)
        self.saved_step = self.step

    def _write(self, folder: Path) -> None:
        for learner in (self.learner, *self.auxiliary_models.values()):
            learner.save(folder)
        shadow = {str(i): p.detach().cpu().contiguous() for i, p in enumerate(self.ema.shadow_params)}
        save_file(shadow, folder / "ema.safetensors")
        state = {"step": self.step, "seconds": self.seconds, "ema_step": self.ema.optimization_step}
        (folder / "state.json").write_text(json.dumps(state))

    def resume(self) -> None:
        """Go on from the checkpoint. Raises InputError if there is none, if it is damaged, or of another network."""
        source = find_checkpoint(self.folder)
        if not (source / "state.json").exists():
            found = "lacks state.json" if source.exists() else "is not there"
            raise InputError(
                f"the checkpoint to resume in {self.folder} {found}; without --resume, or with --from-scratch, "
                "training begins anew"
            )
        for learner in (self.learner, *self.auxiliary_models.values()):
            learner.load(source)
        try:
            shadow = load_file(source / "ema.safetensors")
            averages = [shadow[str(i)] for i in range(len(self.ema.shadow_params))]
            state = json.loads((source / "state.json").read_text())
            step, seconds, ema_step = (state[name] for name in ("step", "seconds", "ema_step"))
        except (SafetensorError, ValueError, OSError, KeyError, TypeError) as error:
            raise InputError(f"the checkpoint in {source} is damaged: {error}") from error
        for p, average in zip(self.ema.shadow_params, averages, strict=True):
            p.data.copy_(average)
        self.step, self.seconds, self.ema.optimization_step = step, seconds, ema_step
        self.saved_step = self.step

    def averaged(self) -> M:
        """The model with its averaged weights, for export; training cannot go on from it."""
        self.ema.copy_to(self.bare.parameters())
        return self.bare.eval()
