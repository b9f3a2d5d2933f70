"""The learned motion model: region-codebook attention over a causal trunk that hears the speech and remembers its codes.

For every step of four frames the trunk turns the sound (AudioEmbedding), the speaker's style and the codes of the
steps before into a state. Slot after slot (a region and a level of its codebook, arms first, face last) a query made of
that state and of the entries already chosen in this step attends to all entries of the slot's codebook; the attention
weights are the distribution that an entry is drawn from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from einops import rearrange
from torch import Tensor, nn

from iasa.models.network import Network
from iasa.models.rotary import Rope, rope_angles, rotate
from iasa.motion.audio_embedding import AHEAD, PAST, SCALES, STRIDE, AudioEmbedding, make_windows
from iasa.motion.codebooks import RegionCodec, overlap_add
from iasa.motion.rig_regions import CODED, LIPS, PARAMETERS, REGIONS, STYLE_SIZE, coded_slices

ROPE_BASE = 200.0
MEMORY = 32  # steps that the trunk remembers: 5.1 s
HEARD_BY_DECODERS = ("sound", "rhythm")
ARTICULATION = 7  # its place in a style vector


def make_rope(positions: Tensor, width: int) -> Rope:
    """Cosines and sines [s, width / 2] of the angles of steps at positions [s]."""
    angles = rope_angles(positions, width // 2, ROPE_BASE)
    return angles.cos(), angles.sin()


class Block(nn.Module):
    """Attention and a feed-forward layer, each after a normalisation and added to what came in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.RMSNorm(width), nn.RMSNorm(width)])
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.feed = nn.Sequential(nn.Linear(width, 3 * width), nn.SiLU(), nn.Linear(3 * width, width))

    def forward(
        self,
        x: Tensor,  # [b, s, width]
        mask: Tensor | None,  # bool [s, past + s], None: everything is seen
        rope: Rope | None = None,  # of make_rope
        past: tuple[Tensor, Tensor] | None = None,  # keys and values [b, nh, past, d]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        q, k, v = rearrange(self.qkv(self.norms[0](x)), "b s (three nh d) -> three b nh s d", three=3, nh=self.heads)
        if rope is not None:
            q, k = rotate(q, rope), rotate(k, rope)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.out(rearrange(seen, "b nh s d -> b s (nh d)"))
        return x + self.feed(self.norms[1](x)), (k, v)


def recent_mask(steps: int) -> Tensor:
    """Which steps a step sees: itself and the `MEMORY` - 1 before it. bool [steps, steps]."""
    age = torch.arange(steps)[:, None] - torch.arange(steps)
    return (age >= 0) & (age < MEMORY)


class MotionGenerator(Network):
    """Codebooks, decoders and generator; `iasa.motion.generator_streaming.MotionStream` runs it.

    `scales`, `codebooks` and `coupling` exist for the ablation: which time scales the generator hears; without
    codebooks the latents are regressed; without coupling a region does not see the others' entries of this step.
    """

    mean: Tensor  # [57] of the motion
    std: Tensor  # [57]
    sees: Tensor  # bool [slots, slots]

    @register_to_config
    def __init__(
        self,
        width: int = 192,
        layers: int = 3,
        heads: int = 4,
        slot_width: int = 128,
        slot_layers: int = 1,
        listen_width: int = 96,  # width of the sound that the decoders hear
        entries: int = 128,
        levels: int = 2,
        dim: int = 32,
        scales: Sequence[str] = SCALES,
        codebooks: bool = True,
        coupling: bool = True,
    ) -> None:
        super().__init__()
        self.slots = [(name, level) for name in REGIONS for level in range(levels)]
        self.register_buffer("mean", torch.zeros(PARAMETERS))
        self.register_buffer("std", torch.ones(PARAMETERS))
        self.listen = AudioEmbedding(listen_width, HEARD_BY_DECODERS)
        codecs = {name: RegionCodec(size, listen_width, levels, entries, dim) for name, size in CODED.items()}
        self.codecs = cast("Mapping[str, RegionCodec]", nn.ModuleDict(codecs))  # torch does not say what it holds
        self.audio = AudioEmbedding(width, scales)
        self.style = nn.Linear(STYLE_SIZE, width)
        self.start = nn.Parameter(torch.zeros(width))
        self.past = nn.Linear(len(self.slots) * dim, width)
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(layers)])
        self.norm = nn.RMSNorm(width)
        if codebooks:
            self.to_slots = nn.Linear(width, slot_width)
            self.slot_names = nn.Parameter(0.02 * torch.randn(len(self.slots), slot_width))
            self.chosen = nn.ModuleList([nn.Linear(dim, slot_width) for _ in self.slots])
            self.slot_blocks = nn.ModuleList([Block(slot_width, heads) for _ in range(slot_layers)])
            self.slot_norm = nn.RMSNorm(slot_width)
            self.queries = nn.ModuleList([nn.Linear(slot_width, slot_width) for _ in self.slots])
            self.entry_keys = nn.ModuleList([nn.Linear(dim, slot_width) for _ in self.slots])
        else:
            self.regress = nn.Linear(width, len(REGIONS) * dim)
        self.adam_parameters = ("slot_names", "start")
        sees = torch.ones(len(self.slots), len(self.slots), dtype=torch.bool).tril()
        if not coupling:  # a slot's token carries the entry before it, so the first slot of a region sees only itself
            region = torch.arange(len(self.slots)) // levels
            sees &= region[:, None] == region
        self.register_buffer("sees", sees, persistent=False)

    # ------------------------------------------------------------------ codes

    def standardise(self, vectors: Tensor) -> Tensor:
        return (vectors - self.mean) / self.std

    def latents(self, values: Tensor) -> dict[str, Tensor]:
        """Standardised motion [b, 4 (s + 2), 57] -> a latent a region [b, s, dim]."""
        return {name: self.codecs[name].latents(values[..., where]) for name, where in coded_slices().items()}

    def encode(self, values: Tensor) -> Tensor:
        """Standardised motion [b, 4 (s + 2), 57], a step more on both sides -> codes int64 [b, s, slots]."""
        parts = []
        for name, latent in self.latents(values).items():
            parts.append(self.codecs[name].codebook.encode(latent.flatten(0, 1)).unflatten(0, latent.shape[:2]))
        return torch.cat(parts, -1)

    def entries_of(self, codes: Tensor) -> list[Tensor]:
        """Codes [..., slots] -> the entry of each slot, [..., dim]."""
        return [self.codecs[name].codebook.table(level)[codes[..., i]] for i, (name, level) in enumerate(self.slots)]

    def region_latents(self, codes: Tensor) -> dict[str, Tensor]:
        """Codes [..., slots] -> the sum of a region's entries, [..., dim]."""
        levels = self.config.levels
        return {
            name: self.codecs[name].codebook.decode(codes[..., i * levels : (i + 1) * levels])
            for i, name in enumerate(REGIONS)
        }

    # ------------------------------------------------------------------ decoding

    def decode_windows(
        self,
        before: dict[str, Tensor],  # region -> [b, s, dim] of the last step
        now: dict[str, Tensor],
        windows: Tensor,  # [b, s, 12, WINDOW]
        style: Tensor,  # [b, 20]
    ) -> Tensor:
        """Rig parameters [b, s, 8, 57] of each step's eight frames, to be blended by `overlap_add`.

        Lips are the mouth shapes heard, at the style's size.
        """
        audio = self.listen(windows)
        heard = windows[..., :LIPS, PAST - 2 : PAST + STRIDE + 2].transpose(2, 3)  # [b, s, 8, 5]
        size = 1 + style[:, ARTICULATION, None] / 2  # articulation, see style_vector
        size = torch.cat([size, size, torch.ones_like(size).expand(-1, LIPS - 2)], 1)
        parts = []
        for name, where in coded_slices().items():
            if name == "face":
                parts.append(heard * size[:, None, None])
            parts.append(self.codecs[name].windows(before[name], now[name], audio) * self.std[where] + self.mean[where])
        return torch.cat(parts, -1)

    def reconstruct(self, channels: Tensor, latents: dict[str, Tensor], style: Tensor) -> Tensor:
        """Latents [b, s, dim] and their sound [b, PAST + 4 s + AHEAD, 12] -> frames [b, 4 (s - 1), 57].

        The first step has no step before it. Frames from 2 after its start to 2 before the end of the last come out.
        """
        before = {name: F.pad(z, (0, 0, 1, 0))[:, :-1] for name, z in latents.items()}
        frames = overlap_add(self.decode_windows(before, latents, make_windows(channels), style))
        return frames[:, STRIDE:-STRIDE]

    # ------------------------------------------------------------------ generating

    def trunk(self, windows: Tensor, past_codes: Tensor | None, first: bool, style: Tensor) -> Tensor:
        """States [b, s, width] of a whole sequence.

        windows [b, s, 12, WINDOW]; past_codes [b, s, slots] are those of the step before each, None without
        codebooks; with `first` the first step has no step before it.
        """
        x = self.audio(windows) + self.style(style)[:, None]
        if past_codes is not None:
            x = x + self.remember(past_codes, first)
        steps = x.shape[1]
        mask = recent_mask(steps).to(x.device)
        rope = make_rope(torch.arange(steps, device=x.device), self.head_width)
        for block in self.blocks:
            x, _ = block(x, mask, rope)
        return self.norm(x)

    @property
    def head_width(self) -> int:
        return self.config.width // self.config.heads

    def remember(self, past_codes: Tensor, first: bool) -> Tensor:
        """What the trunk knows of the step before: [b, s, width]."""
        seen = self.past(torch.cat(self.entries_of(past_codes), -1))
        if first:
            seen = torch.cat([self.start.expand(len(seen), 1, -1).to(seen.dtype), seen[:, 1:]], 1)
        return seen

    def slot_states(self, states: Tensor, entries: Sequence[Tensor]) -> Tensor:
        """States [n, width] and the entries of all slots but the last [n, dim] -> states [n, slots, slot_width]."""
        known = [torch.zeros_like(states[:, : self.config.slot_width])]
        for slot, entry in enumerate(entries, 1):
            known.append(self.chosen[slot](entry) if self._is_told(slot) else known[0])
        x = self.to_slots(states)[:, None] + self.slot_names + torch.stack(known, 1)
        for block in self.slot_blocks:
            x, _ = block(x, self.sees)
        return self.slot_norm(x)

    def _is_told(self, slot: int) -> bool:
        """Whether a slot's token carries the entry chosen before it."""
        return self.config.coupling or slot % self.config.levels != 0

    def next_slot(
        self, slot: int, base: Tensor, before: Tensor | None, past: list[tuple[Tensor, Tensor] | None]
    ) -> Tensor:
        """One slot of `slot_states` after another: its state [n, slot_width].

        base [n, slot_width] is `to_slots` of the trunk's state, before [n, dim] the entry of the slot before; `past`
        holds keys and values of each block and is brought up to date.
        """
        x = base + self.slot_names[slot]
        if before is not None and self._is_told(slot):
            x = x + self.chosen[slot](before)
        x = x[:, None]
        for i, block in enumerate(self.slot_blocks):
            x, past[i] = block(x, None, past=past[i] if self._is_told(slot) else None)
        return self.slot_norm(x)[:, 0]

    def keys_of(self, slot: int) -> Tensor:
        """What a query of this slot attends to: [entries, slot_width]."""
        name, level = self.slots[slot]
        return self.entry_keys[slot](self.codecs[name].codebook.table(level))

    def attend(self, slot: int, state: Tensor, keys: Tensor) -> Tensor:
        """Region-codebook attention: state [n, slot_width] -> logits over the slot's entries [n, entries]."""
        return self.queries[slot](state) @ keys.T / keys.shape[-1] ** 0.5

    def score(self, windows: Tensor, codes: Tensor, past_codes: Tensor, first: bool, style: Tensor) -> Tensor:
        """Logits [b, s, slots, entries] of true `codes` [b, s, slots], given the sound and the codes before."""
        states = self.trunk(windows, past_codes, first, style).flatten(0, 1)
        entries = [entry.flatten(0, 1) for entry in self.entries_of(codes)]
        x = self.slot_states(states, entries[:-1])
        logits = torch.stack([self.attend(i, x[:, i], self.keys_of(i)) for i in range(len(self.slots))], 1)
        return logits.unflatten(0, codes.shape[:2])

    @property
    def look_ahead(self) -> int:
        """Frames of sound after a frame that must be there before it can be made."""
        return AHEAD + STRIDE + 2
