"""AttentionPlan: who may attend whom in a clip, as a frame table and region bits; its blocks, density, JSON.

Paper, section 3.2. The plan is made once from the pose, before any denoising; all layers, heads and steps
share it. Token i of frame tq may attend token j of frame tk if one of these holds:

- tk = tq (the own frame is dense);
- tk is the sink, frame 0, and `options.sink` is on and tq > 0;
- tk is in frame_table[tq], and region_bits[tq, i] & region_bits[tk, j] != 0.

Video models need more frames that are seen whole: several references, chunks, neighbours. `masks/visibility.py` derives
them from the options; everything here reads `whole_spans`.

Nothing here grows with the square of the tokens except `dense`, which refuses large plans.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from iasa.config import InputError, MaskOptions
from iasa.grid import TokenGrid
from iasa.keypoints import REGIONS, UPPER_BODY, Keypoints, scale_keypoints
from iasa.masks.blocks import SIGNATURES, BlockCSR, kept_blocks, region_order
from iasa.masks.regions import METHODS, region_bits
from iasa.masks.similarity import distance_rows, top_k_frames
from iasa.masks.visibility import Spans, add_window, candidates, chunk_bounds, whole_spans

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

    from iasa.masks.export import FlashInferBlocks

MODES = ("exact", "pooled")
MAX_DENSE_TOKENS = 16_384
_KEEP_DISTANCE = 2_048  # frames: a longer clip's plan goes without its [f, f] distances


@dataclass(frozen=True, eq=False)
class AttentionPlan:
    """The mask of one clip. Build it with `make_plan`; see the module's docstring for what it allows."""

    grid: TokenGrid
    frame_table: Tensor  # int64 [f, k], chosen past frames, -1 pads
    region_bits: Tensor  # uint8 [f, n], bit order REGIONS
    distance: Tensor | None = None  # float [f, f]
    options: MaskOptions = MaskOptions()
    made: dict = field(default_factory=dict, init=False, repr=False)  # what attention has made of it, to be used again

    def __getstate__(self) -> dict:
        return self.__dict__ | {"made": {}}  # a copy makes its own

    def __post_init__(self) -> None:
        check_options(self.options)
        f, n = self.grid.frames, self.grid.tokens_per_frame
        if self.frame_table.ndim != 2 or len(self.frame_table) != f:
            raise InputError(f"the frame table has shape {list(self.frame_table.shape)}; [{f}, k] is needed")
        if list(self.region_bits.shape) != [f, n]:
            raise InputError(f"the region bits have shape {list(self.region_bits.shape)}; [{f}, {n}] is needed")
        if self.frame_table.dtype != torch.int64 or self.region_bits.dtype != torch.uint8:
            raise InputError(
                f"frame table and region bits are {self.frame_table.dtype} and {self.region_bits.dtype}; "
                "torch.int64 and torch.uint8 are needed"
            )
        if self.distance is not None and list(self.distance.shape) != [f, f]:
            raise InputError(f"the distances have shape {list(self.distance.shape)}; [{f}, {f}] is needed")
        if self.options.causal:
            end, accepted = chunk_bounds(f, self.options)[0][:, None], "earlier frames"
        else:
            end, accepted = f, f"frames below {f}"
        if ((self.frame_table < -1) | (self.frame_table >= end)).any():
            raise InputError(f"the frame table names a frame that is not in the past; {accepted} or -1 are accepted")
        if (self.region_bits >= SIGNATURES).any():
            raise InputError(f"region bits go up to {int(self.region_bits.max())}; below {SIGNATURES} is accepted")

    @cached_property
    def whole_spans(self) -> tuple[Spans, ...]:
        """For each frame the runs of frames that all its tokens see whole; its own frame is in the first run."""
        return whole_spans(self.grid.frames, self.options)

    @cached_property
    def whole(self) -> tuple[tuple[int, ...], ...]:
        """`whole_spans` frame by frame."""
        return tuple(tuple(t for span in spans for t in range(*span)) for spans in self.whole_spans)

    @cached_property
    def past(self) -> tuple[tuple[int, ...], ...]:
        """For each frame the frames it sees through the region rule, ascending, without those it sees whole.

        All of them are in the past of a plan that is causal.
        """
        rows = zip(self.frame_table.tolist(), self.whole, strict=True)
        return tuple(tuple(sorted(set(row) - {-1, *whole})) for row, whole in rows)

    @property
    def visible(self) -> Tensor:
        """`past` as a matrix, for pictures: bool [f, f]."""
        seen = torch.zeros(self.grid.frames, self.grid.frames, dtype=torch.bool)
        for frame, past in enumerate(self.past):
            seen[frame, list(past)] = True
        return seen

    @property
    def visible_whole(self) -> Tensor:
        """`whole` as a matrix: bool [f, f]."""
        seen = torch.zeros(self.grid.frames, self.grid.frames, dtype=torch.bool)
        for frame, spans in enumerate(self.whole_spans):
            for first, end in spans:
                seen[frame, first:end] = True
        return seen

    def past_frames(self, frame: int) -> list[int]:
        """Frames that `frame` sees through the region rule, ascending; the sink is not among them."""
        return list(self.past[frame])

    def past_tokens(self, frame: int) -> Tensor:
        """Past keys that some query of `frame` sees through the region rule: int64 [m], positions, ascending.

        All tokens of its past frames that share a region with any of its tokens; the sink's are left out.
        """
        past = torch.tensor(self.past[frame], dtype=torch.int64)
        reached = 0
        for value in self.signature_counts[frame].nonzero()[:, 0].tolist():
            reached |= value
        row, token = ((self.region_bits[past] & reached) != 0).nonzero(as_tuple=True)
        return past[row] * self.grid.tokens_per_frame + token

    def has_sink(self, frame: int) -> bool:
        return self.options.sink and frame > 0

    def allowed(self, query: Tensor | int, key: Tensor | int) -> Tensor:
        """Whether query tokens may attend key tokens, both as positions in the sequence (broadcast): bool."""
        query, key = torch.as_tensor(query), torch.as_tensor(key)
        for name, index in (("query", query), ("key", key)):
            if index.numel() and not (0 <= int(index.min()) and int(index.max()) < self.grid.tokens):
                raise InputError(f"{name} tokens go outside 0..{self.grid.tokens - 1}, the plan's tokens")
        n = self.grid.tokens_per_frame
        query_frame, key_frame = query // n, key // n
        bits = self.region_bits.flatten()
        chosen = (self.frame_table[query_frame] == key_frame[..., None]).any(-1)
        seen = chosen & ((bits[query] & bits[key]) != 0)
        for span in range(2):  # the frames about the own one, the sinks
            first, end = self._span_table[span, :, query_frame]
            seen |= (first <= key_frame) & (key_frame < end)
        return seen

    @cached_property
    def _span_table(self) -> Tensor:
        """`whole_spans` as int64 [2, 2, f]: run, (first, end), frame; an empty run where there is but one."""
        padded = [(*spans, (0, 0))[:2] for spans in self.whole_spans]
        return torch.tensor(padded, dtype=torch.int64).permute(1, 2, 0)

    def dense(self, max_tokens: int = MAX_DENSE_TOKENS) -> Tensor:
        """The mask as a matrix, bool [f*n, f*n] in sequence order, True where attention is allowed.

        In mode "pooled" the kept blocks are filled. Raises InputError on more than `max_tokens` tokens.
        """
        tokens = self.grid.tokens
        if tokens > max_tokens:
            raise InputError(f"a dense mask of {tokens} tokens is refused; up to {max_tokens} are accepted")
        if self.options.mode == "pooled":
            return self._dense_pooled()
        mask = torch.zeros(self.grid.frames, self.grid.tokens_per_frame, tokens, dtype=torch.bool)
        for t in range(self.grid.frames):
            frames = mask[t].view(-1, self.grid.frames, self.grid.tokens_per_frame)  # [n, f, n]
            past = self.past_frames(t)
            frames[:, past] = (self.region_bits[t][:, None, None] & self.region_bits[past]) != 0
            frames[:, list(self.whole[t])] = True
        return mask.view(tokens, tokens)

    def _dense_pooled(self) -> Tensor:
        csr = self.block_csr()
        kept = torch.zeros(len(csr.size), len(csr.size), dtype=torch.bool)
        kept[csr.rows, csr.columns] = True
        block_of = torch.repeat_interleave(torch.arange(len(csr.size)), csr.size)  # of each permuted position
        place = torch.empty_like(block_of)
        place[self.permutation()] = block_of
        return kept[place[:, None], place]

    @cached_property
    def signature_counts(self) -> Tensor:
        """Tokens of each frame by their bits: int64 [f, 32]."""
        counts = torch.zeros(self.grid.frames, SIGNATURES, dtype=torch.int64)
        return counts.scatter_add_(1, self.region_bits.long(), torch.ones_like(self.region_bits, dtype=torch.int64))

    def density(self) -> float:
        """Share of token pairs that are allowed pair by pair, whatever the mode: token density."""
        f, n = self.grid.frames, self.grid.tokens_per_frame
        signature = torch.arange(SIGNATURES)
        share = ((signature[:, None] & signature) != 0).double()
        counts = self.signature_counts.double()
        query = torch.tensor([t for t, past in enumerate(self.past) for _ in past], dtype=torch.int64)
        key = torch.tensor([s for past in self.past for s in past], dtype=torch.int64)
        region_pairs = ((counts @ share)[query] * counts[key]).sum()
        whole_frames = sum(end - first for spans in self.whole_spans for first, end in spans)
        return (float(region_pairs) + whole_frames * n * n) / float(f * n) ** 2

    def permutation(self) -> Tensor:
        """Order that makes each frame's region tokens contiguous: int64 [f*n].

        permuted[i] = sequence[permutation[i]]. Frames keep their order and places; see `region_order`.
        """
        return region_order(self.region_bits)

    def block_csr(self, block: int | None = None, permute: bool = True) -> BlockCSR:
        """Kept blocks: a block is kept if any pair in it is allowed. Blocks never cross frames.

        `block` is the tile (default: options.block); a frame's last block may be smaller. permute=False
        blocks the sequence as it stands, to show what the permutation is for; its `start` counts unpermuted
        positions.
        """
        bits = self.region_bits
        if permute:
            bits = bits.flatten()[self.permutation()].view_as(bits)
        return kept_blocks(bits, self.past, self.whole, self.options.block if block is None else block)

    def to_flex(self, block: int = 128, device: torch.device | str = "cpu") -> BlockMask:
        """This mask for torch's FlexAttention, over tokens in the order of `permutation`; see masks/export.py."""
        from iasa.masks.export import to_flex

        return to_flex(self, block, device)

    def to_flashinfer(self, block: int | None = None) -> FlashInferBlocks:
        """The kept blocks as FlashInfer's block-sparse wrappers take them; see masks/export.py."""
        from iasa.masks.export import to_flashinfer

        return to_flashinfer(self, block)

    def density_table(self, blocks: Sequence[int] = (16, 32, 64, 128)) -> list[dict[str, float | int]]:
        """Block density for several block sizes, with and without the permutation: rows ready for JSON."""
        return [
            {
                "block": block,
                "block_density": self.block_csr(block).density(),
                "block_density_unpermuted": self.block_csr(block, permute=False).density(),
                "token_density": self.density(),
            }
            for block in blocks
        ]

    def report(self) -> dict[str, float | int | str]:
        """The plan in figures, ready for JSON: sizes, token density, block density permuted and not."""
        return {
            "frames": self.grid.frames,
            "tokens": self.grid.tokens,
            "top_k": self.options.top_k,
            "method": self.options.method,
            "mode": self.options.mode,
            **self.density_table([self.options.block])[0],
            "background_share": float((self.region_bits == 0).double().mean()),
        }

    def to_json(self) -> str:
        """The plan as JSON text; bits and distances are base64 of uint8 and of little-endian float32."""
        distance = None if self.distance is None else _encode(self.distance.to(torch.float32).numpy(), "<f4")
        return json.dumps(
            {
                "kind": "iasa attention plan",
                "version": 1,
                "grid": asdict(self.grid),
                "options": asdict(self.options),
                "regions": list(REGIONS),
                "frame_table": self.frame_table.tolist(),
                "region_bits": _encode(self.region_bits.numpy(), "u1"),
                "distance": distance,
            }
        )

    @staticmethod
    def from_json(text: str) -> AttentionPlan:
        """The plan that `to_json` wrote. Raises InputError on anything else."""
        try:
            data = json.loads(text)
            if data.get("kind") != "iasa attention plan" or data.get("version") != 1:
                raise InputError("the text is not an attention plan of version 1")
            if data["regions"] != list(REGIONS):
                raise InputError(f"the plan's regions are {data['regions']}; {list(REGIONS)} is accepted")
            grid, options = TokenGrid(**data["grid"]), MaskOptions(**data["options"])
            f, n = grid.frames, grid.tokens_per_frame
            table = torch.tensor(data["frame_table"], dtype=torch.int64).reshape(f, -1)
            bits = _decode(data["region_bits"], "u1", (f, n))
            distance = None if data["distance"] is None else _decode(data["distance"], "<f4", (f, f))
            return AttentionPlan(grid, table, bits, distance, options)
        except InputError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
            raise InputError(f"the text is not an attention plan: {error}") from error


def make_plan(
    keypoints: Keypoints,  # at latent rate, one pose for each of the grid's frames
    grid: TokenGrid,
    options: MaskOptions | None = None,
) -> AttentionPlan:
    """The input-aware mask of a clip from its poses alone (paper, section 3.2).

    With `options.sink`, frame 0 is the reference: visible to all, so never among the chosen K. The
    `options.window` frames just before are added to the table after the K, nearest first. Raises InputError
    on bad options, if the number of poses differs from the grid's, and if no frame shows any keypoint.
    """
    options = options or MaskOptions()
    check_options(options)
    if not (isinstance(keypoints, Keypoints) and isinstance(grid, TokenGrid)):
        given = ", ".join(type(one).__name__ for one in (keypoints, grid))
        raise InputError(f"a plan is made from Keypoints and a TokenGrid(frames, rows, cols); {given} was given")
    if len(keypoints) != grid.frames:
        raise InputError(f"there are {len(keypoints)} poses for {grid.frames} latent frames; one for each is needed")
    if not (keypoints.confidence > 0).any():
        raise InputError("all keypoints are missing in every frame; a pose with some seen keypoints is needed")
    body = list(UPPER_BODY)
    xy = torch.from_numpy(scale_keypoints(keypoints, grid.extent).xy[:, body]).double()  # [f, p, 2]
    weights = torch.from_numpy(keypoints.confidence[:, body]).double()
    chosen, blocks = [], []
    for start, block in distance_rows(xy, weights):
        rows = slice(start, start + len(block))
        chosen.append(top_k_frames(block, options.top_k, candidates(rows, grid.frames, options)))
        if grid.frames <= _KEEP_DISTANCE:
            blocks.append(block.float())
    table = add_window(torch.cat(chosen), options)
    if options.local:
        bits = region_bits(keypoints, grid, options.method)
    else:  # all tokens share all regions
        bits = torch.full((grid.frames, grid.tokens_per_frame), SIGNATURES - 1, dtype=torch.uint8)
    return AttentionPlan(grid, table, bits, torch.cat(blocks) if blocks else None, options)


def check_options(options: MaskOptions) -> None:
    """Raise InputError if an option is out of its range."""
    for name, least in (("top_k", 0), ("window", 0), ("block", 1), ("reach", 1), ("references", 1), ("chunk", 1)):
        value = getattr(options, name)
        if value < least:
            raise InputError("{name} is {value}; {least} or more is accepted", name=name, value=value, least=least)
    if options.window > options.reach:
        raise InputError(
            "window is {window}; up to {reach}, the reach, is accepted", window=options.window, reach=options.reach
        )
    for name, accepted in (("method", METHODS), ("mode", MODES)):
        value = getattr(options, name)
        if value not in accepted:
            raise InputError(
                "{name} is {value!r}; {names} is accepted", name=name, value=value, names=" or ".join(accepted)
            )


def _encode(array: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array, kind).tobytes()).decode("ascii")


def _decode(text: str, kind: str, shape: tuple[int, int]) -> Tensor:
    raw = base64.b64decode(text)
    wanted = shape[0] * shape[1] * np.dtype(kind).itemsize
    if len(raw) != wanted:
        raise InputError(f"the plan holds {len(raw)} bytes where {wanted} are needed")
    return torch.from_numpy(np.frombuffer(raw, kind).reshape(shape).copy())
