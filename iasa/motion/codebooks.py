"""Region codebooks: the motion of each body region as entries of that region's own learned codebook.

An encoder turns the motion around a step of four frames into one latent a region; residual vector quantisation
(van den Oord et al. 2017; Zeghidour et al. 2021) names it by one entry a level; a decoder returns the region's rig
parameters from the entries of this step and the last, and from the sound, so that codes need not hold what is heard.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn

from iasa.motion.audio_embedding import STRIDE

DECAY = 0.98  # of the running means that entries follow
STALE = 0.05  # an entry that is used less than this share of the even use is put elsewhere
CONTEXT = 3 * STRIDE  # frames that the encoder sees of a step: its own and a step on both sides
REACH = 2 * STRIDE  # frames that the decoder of a step makes: its own and two on both sides


class ResidualCodebook(nn.Module):
    """`levels` codebooks of `entries` vectors [dim]; each level quantises what the earlier ones left."""

    def __init__(self, levels: int, entries: int, dim: int) -> None:
        super().__init__()
        self.levels = levels
        for level in range(levels):
            self.register_buffer(f"entries_{level}", torch.randn(entries, dim) * 0.5**level)

    def table(self, level: int) -> Tensor:
        """The entries of a level: [entries, dim]."""
        return getattr(self, f"entries_{level}")

    def encode(self, latents: Tensor) -> Tensor:
        """[n, dim] -> codes int64 [n, levels]."""
        rest, codes = latents, []
        for level in range(self.levels):
            table = self.table(level)
            codes.append(torch.cdist(rest[None], table[None])[0].argmin(1))
            rest = rest - table[codes[-1]]
        return torch.stack(codes, 1)

    def decode(self, codes: Tensor) -> Tensor:
        """[..., levels] -> [..., dim]: the sum of the named entries."""
        return torch.stack([self.table(level)[codes[..., level]] for level in range(self.levels)]).sum(0)


class EMACodebookUpdate(nn.Module):
    """How a codebook learns: entries move to the running mean of what they stand for, unused ones to where data lie."""

    def __init__(self, codebook: ResidualCodebook) -> None:
        super().__init__()
        for level in range(codebook.levels):
            table = codebook.table(level)
            self.register_buffer(f"count_{level}", torch.ones(len(table)))
            self.register_buffer(f"total_{level}", table.clone())

    @torch.no_grad()
    def forward(self, codebook: ResidualCodebook, latents: Tensor, codes: Tensor) -> None:
        """Change the entries of `codebook` by latents [n, dim] and their codes [n, levels].

        Several processes count together, each its own latents: the entries stay the same on all of them.
        """
        rest = latents
        for level in range(codebook.levels):
            table, count, total = (codebook.table(level), *(getattr(self, f"{n}_{level}") for n in ("count", "total")))
            chosen = F.one_hot(codes[:, level], len(table)).to(rest.dtype)  # [n, entries]
            count.lerp_(_over_processes(chosen.sum(0)), 1 - DECAY)
            total.lerp_(_over_processes(chosen.T @ rest), 1 - DECAY)
            stale = count < STALE * count.mean()
            total[stale] = _draw_over_processes(rest, int(stale.sum())) * count.mean()
            count[stale] = count.mean()
            rest = rest - table[codes[:, level]]
            table.copy_(total / count.clamp_min(1e-6)[:, None])


def _over_processes(x: Tensor) -> Tensor:
    """The sum of x over all processes of a training run."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(x)
    return x


def _draw_over_processes(rows: Tensor, count: int) -> Tensor:
    """`count` random rows of [n, dim], the same on all processes: each draws an even share of its own; zeros if none has any."""
    several = distributed.is_available() and distributed.is_initialized()
    rank, size = (distributed.get_rank(), distributed.get_world_size()) if several else (0, 1)
    drawn = rows.new_zeros(count, rows.shape[1])
    mine = drawn[rank::size]
    if len(rows):
        mine.copy_(rows[torch.randint(len(rows), (len(mine),))])
    return _over_processes(drawn)


def overlap_add(parts: Tensor) -> Tensor:
    """Windows of 8 frames every 4 [b, s, 8, d] -> [b, 4 (s + 1), d], blended by cosine ramps that sum to one.

    The first and the last four frames have one window only; the frame of index 0 lies two before the first step's.
    """
    k = torch.arange(REACH, device=parts.device)
    ramp = torch.sin(torch.pi * (k + 0.5) / REACH) ** 2
    parts = parts * ramp.to(parts.dtype)[:, None]
    early, late = parts[:, :, :STRIDE].flatten(1, 2), parts[:, :, STRIDE:].flatten(1, 2)
    return F.pad(early, (0, 0, 0, STRIDE)) + F.pad(late, (0, 0, STRIDE, 0))


class RegionCodec(nn.Module):
    """Encoder, codebook and decoder of one region of `size` standardised parameters."""

    def __init__(self, size: int, audio: int, levels: int, entries: int, dim: int, width: int = 160) -> None:
        super().__init__()
        self.size = size
        self.encoder = nn.Sequential(
            nn.Linear(CONTEXT * size, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, dim)
        )
        self.codebook = ResidualCodebook(levels, entries, dim)
        self.decoder = nn.Sequential(
            nn.Linear(2 * dim + audio, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, REACH * size),
        )

    def latents(self, values: Tensor) -> Tensor:
        """Standardised motion [b, 4 (s + 2), size], a step more on both sides -> [b, s, dim]."""
        windows = values.unfold(1, CONTEXT, STRIDE)  # [b, s, size, 12]
        return self.encoder(windows.flatten(2))

    def windows(self, before: Tensor, now: Tensor, audio: Tensor) -> Tensor:
        """Latents of the last step and of this one [b, s, dim], the sound [b, s, audio] -> [b, s, 8, size]."""
        made = self.decoder(torch.cat([before, now, audio], -1))
        return made.unflatten(-1, (REACH, self.size))


def code_usage(codes: Tensor, entries: int) -> dict[str, float]:
    """Of codes int64 [n]: the share of entries in use, and the perplexity (how many are in even use)."""
    share = torch.bincount(codes.flatten(), minlength=entries).double()
    share = share / share.sum()
    entropy = -(share * share.clamp_min(1e-12).log()).sum()
    return {"used": float((share > 0).double().mean()), "perplexity": float(entropy.exp())}
