"""Muon (Jordan et al. 2024): momentum whose matrix updates are orthogonalised; here for convolutions too.

torch.optim.Muon takes two-dimensional parameters only, and the autoencoder is all convolutions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from iasa.device import pick_precision

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # quintic whose iteration drives singular values to about 1


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:  # [rows, cols] -> [rows, cols]
    """The nearest semi-orthogonal matrix, roughly: singular values end in about 0.7..1.2."""
    a, b, c = _NEWTON_SCHULZ
    x = matrix.to(pick_precision(device=matrix.device).dtype)  # a processor without bfloat16 takes thirty times as long
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if tall else x).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum for weights of two or more dimensions (flattened to [out, rest]).

    A step changes a weight by lr * max(1, out / rest)^0.5 in spectral norm, after decoupled weight decay.
    """

    def __init__(self, params, lr: float, momentum: float = 0.95, weight_decay: float = 0.01) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(p)
                moment = state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(moment, group["momentum"])
                matrix = update.reshape(len(update), -1)
                scale = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(orthogonalise(matrix).view_as(p), alpha=-group["lr"] * scale)
        return loss


def make_optimizers(model: nn.Module, lr: float, muon_lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the hidden matrices, AdamW for vectors, embeddings and whatever a module names in `adam_parameters`."""
    named = getattr(model, "adam_parameters", ())
    matrices, rest = [], []
    for name, p in model.named_parameters():
        if p.requires_grad:
            hidden = p.ndim >= 2 and not any(name.startswith(n) for n in named)
            (matrices if hidden else rest).append(p)
    return [
        Muon(matrices, lr=muon_lr),
        torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]
