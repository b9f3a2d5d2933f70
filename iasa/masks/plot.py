"""A picture of an attention plan: which frames see which, and which region each token belongs to."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from iasa.keypoints import REGIONS
from iasa.masks.foreign_blocks import ForeignBlocks
from iasa.masks.plan import AttentionPlan

# Okabe and Ito's palette, which colour-blind readers tell apart
REGION_COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (204, 121, 167))
BACKGROUND, HIDDEN, INK = (226, 226, 226), (246, 246, 246), (40, 40, 40)
OWN, SINK, CHOSEN = (30, 60, 110), (0, 140, 140), (200, 60, 20)

PANEL, MARGIN, LINE = 416, 20, 22  # pixels
SHOWN = 4  # frames whose tokens are drawn
STRIPES = 12  # to a token


def pair_shares(plan: AttentionPlan) -> torch.Tensor:
    """Share of allowed token pairs of every two frames: float64 [f, f], rows are queries."""
    signature = torch.arange(plan.signature_counts.shape[1])
    meet = ((signature[:, None] & signature) != 0).double()
    counts = plan.signature_counts.double()
    shares = (counts @ meet @ counts.T) / plan.grid.tokens_per_frame**2 * plan.visible
    return shares.masked_fill_(plan.visible_whole, 1.0)


def draw_plan(plan: AttentionPlan) -> np.ndarray:
    """The frame table and some frames' regions: uint8 [H, W, 3].

    Left, rows are query frames and columns the frames they see: dark blue what is seen whole, green the sink, red the
    chosen past, paler where fewer token pairs meet. Right, the tokens of a few frames in their regions' colours.
    """
    width, height = 2 * PANEL + 3 * MARGIN, PANEL + 2 * MARGIN + 4 * LINE
    canvas = Image.new("RGB", (width, height), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
    report = plan.report()
    top = MARGIN + LINE
    title = (
        f"{report['frames']} latent frames of {plan.grid.rows} x {plan.grid.cols} tokens, K = {report['top_k']}: "
        f"{report['token_density']:.1%} of the token pairs, {report['block_density']:.1%} of the "
        f"{report['block']} x {report['block']} blocks"
    )
    pen.text((MARGIN, MARGIN - 6), title, INK, font)
    canvas.paste(_frame_panel(plan), (MARGIN, top))
    for i, (x, y, frame) in enumerate(_places(plan.grid.frames, top)):
        canvas.paste(_token_panel(plan, frame), (x, y))
        pen.text((x + 4, y + 2), f"frame {frame}", INK, font)
        if i == 0 and plan.options.sink:
            pen.text((x + 4, y + LINE - 2), "the reference", INK, font)
    below = top + PANEL + 8
    pen.text((MARGIN, below), "rows: frames that look; columns: frames they see", INK, font)
    pen.text((2 * MARGIN + PANEL, below), "tokens by region; striped: in several", INK, font)
    own = "own frame" if plan.whole_spans[-1][0] == (plan.grid.frames - 1, plan.grid.frames) else "seen whole"
    kinds = [(own, OWN), ("sink: the first frame", SINK), ("chosen by pose", CHOSEN)]
    _legend(pen, font, MARGIN, below + LINE, kinds)
    names = [*zip(REGIONS, REGION_COLOURS, strict=True), ("none", BACKGROUND)]
    _legend(pen, font, 2 * MARGIN + PANEL, below + LINE, names)
    return np.asarray(canvas)


def draw_blocks(plan: AttentionPlan, blocks: ForeignBlocks, name: str) -> np.ndarray:
    """A plan and a block mask of another origin, both as pairs of frames: uint8 [H, W, 3]. Raises InputError."""
    blocks.check_grid(plan.grid)
    frame = torch.arange(plan.grid.tokens) // plan.grid.tokens_per_frame
    held = torch.bincount(blocks.label * plan.grid.frames + frame, minlength=len(blocks.kept) * plan.grid.frames)
    held = held.view(-1, plan.grid.frames).double()  # tokens of each block in each frame
    shares = (held.T @ blocks.kept.double() @ held / plan.grid.tokens_per_frame**2).numpy()[..., None]
    pixels = (shares * np.array(OWN, float) + (1 - shares) * HIDDEN).round().astype(np.uint8)
    height = PANEL + 2 * MARGIN + 3 * LINE
    canvas = Image.new("RGB", (2 * PANEL + 3 * MARGIN, height), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
    titles = (
        f"input-aware: {plan.block_csr().density():.1%} of the pairs in blocks",
        f"{name}: {blocks.density():.1%}",
    )
    small = len(pixels) <= PANEL
    filter_ = Image.Resampling.NEAREST if small else Image.Resampling.BOX
    panels = (_frame_panel(plan), Image.fromarray(pixels).resize((PANEL, PANEL), filter_))
    for i, (title, panel) in enumerate(zip(titles, panels, strict=True)):
        x = MARGIN + i * (PANEL + MARGIN)
        pen.text((x, MARGIN - 6), title[:52], INK, font)
        canvas.paste(panel, (x, MARGIN + LINE))
    below = MARGIN + LINE + PANEL + 8
    pen.text(
        (MARGIN, below), "rows: frames that look; columns: frames they see; darker where more pairs meet", INK, font
    )
    return np.asarray(canvas)


def _frame_panel(plan: AttentionPlan) -> Image.Image:
    shares = pair_shares(plan).numpy()[..., None]
    colour = np.broadcast_to(np.array(CHOSEN, float), (*shares.shape[:2], 3)).copy()
    colour[plan.visible_whole.numpy()] = OWN
    colour[plan.options.sinks :, : plan.options.sinks] = SINK
    most = np.where(shares < 1, shares, 0).max() or 1.0
    strength = np.where(shares > 0, 0.3 + 0.7 * np.minimum(shares / most, 1), 0.0)
    pixels = (strength * colour + (1 - strength) * HIDDEN).round().astype(np.uint8)
    small = len(pixels) <= PANEL
    filter_ = Image.Resampling.NEAREST if small else Image.Resampling.BOX
    return Image.fromarray(pixels).resize((PANEL, PANEL), filter_)


def paint_tokens(bits: np.ndarray, rows: int, cols: int) -> np.ndarray:
    """Region bits [n] as a picture, uint8 [12 * rows, 12 * cols, 3]; a token of several regions is striped in their colours."""
    member = (bits[:, None] >> np.arange(len(REGIONS))) & 1  # [n, r]
    count = member.sum(1, keepdims=True)
    stripe = np.arange(STRIPES) * count // STRIPES  # [n, STRIPES]: the how-manieth of its regions
    first = np.argsort(1 - member, axis=1, kind="stable")  # regions of each token, its own first
    region = np.take_along_axis(first, stripe, 1)
    pixels = np.where(count[..., None] > 0, np.array(REGION_COLOURS)[region], BACKGROUND).astype(np.uint8)
    return pixels.reshape(rows, cols * STRIPES, 3).repeat(STRIPES, 0)


def _token_panel(plan: AttentionPlan, frame: int) -> Image.Image:
    tokens = paint_tokens(plan.region_bits[frame].numpy(), plan.grid.rows, plan.grid.cols)
    return Image.fromarray(tokens).resize((PANEL // 2 - 4, PANEL // 2 - 4), Image.Resampling.NEAREST)


def _places(frames: int, top: int) -> list[tuple[int, int, int]]:
    """(x, y, frame) of the token panels: evenly spaced frames, the first and the last among them."""
    chosen = np.unique(np.linspace(0, frames - 1, min(SHOWN, frames)).round().astype(int))
    left, step = 2 * MARGIN + PANEL, PANEL // 2 + 4
    return [(left + step * (i % 2), top + step * (i // 2), int(frame)) for i, frame in enumerate(chosen)]


def _legend(
    pen: ImageDraw.ImageDraw,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    x: int,
    y: int,
    names: list[tuple[str, tuple[int, ...]]],
) -> None:
    for name, colour in names:
        pen.rectangle((x, y + 3, x + 11, y + 14), fill=colour)
        pen.text((x + 16, y), name, INK, font)
        x += 24 + round(pen.textlength(name, font))
