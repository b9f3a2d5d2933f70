"""`python -m iasa bench plan`: density and cost of the input-aware plans of the example poses.

Three densities tell what the permutation is for. Token density is the share of token pairs that the paper's mask
allows. Block density is what a kernel that works on whole tiles has to compute; without the permutation a frame's
hands, say, are strewn over most of its tiles, and nearly all tiles are kept.
"""

from __future__ import annotations

import time

import numpy as np

from iasa.config import FRAMES_PER_LATENT, LATENT_FPS, InputError
from iasa.grid import TokenGrid
from iasa.keypoints import Keypoints, load_keypoints, pool_to_latent
from iasa.masks import make_plan
from iasa.paths import POSES

GRIDS = ((50, 16, 16), (21, 32, 32))  # latent frames, rows, columns: the embedded model's and the paper's
LONG = (round(60 * LATENT_FPS), 16, 16)  # a minute of the embedded model
BLOCKS = (16, 32, 64, 128)


def example_poses(frames: int, clip: str = "welcome") -> Keypoints:
    """`frames` latent poses of an example clip, played to and fro where it is too short."""
    path = POSES / f"{clip}.npz"
    if not path.exists():
        raise InputError(f"the example poses {path.name} are not there; `iasa motion` makes such a file")
    poses = load_keypoints(path)
    wanted = frames * FRAMES_PER_LATENT
    turn = np.abs((np.arange(wanted) + len(poses) - 1) % (2 * len(poses) - 2) - (len(poses) - 1))
    return pool_to_latent(poses[turn])


def density_rows(clip: str) -> list[dict]:
    """One row for each grid and block size: the figures of `AttentionPlan.density_table`."""
    rows = []
    for shape in GRIDS:
        plan = make_plan(example_poses(shape[0], clip), TokenGrid(*shape))
        rows += [{"clip": clip, "grid": list(shape), **row} for row in plan.density_table(BLOCKS)]
    return rows


def plan_seconds(shape: tuple[int, int, int], repeats: int) -> dict:
    """Best wall and processor seconds of a plan, and of the plan with its blocks."""
    poses, grid = example_poses(shape[0]), TokenGrid(*shape)
    best = {}
    for _ in range(repeats):
        wall, processor = time.perf_counter(), time.process_time()
        plan = make_plan(poses, grid)
        made = (time.perf_counter() - wall, time.process_time() - processor)
        plan.block_csr().transpose()
        blocks = (time.perf_counter() - wall, time.process_time() - processor)
        seconds = dict(
            zip(("plan", "plan_processor", "with_blocks", "with_blocks_processor"), made + blocks, strict=True)
        )
        best = {name: min(value, best.get(name, value)) for name, value in seconds.items()}
    return {"grid": list(shape), "tokens": grid.tokens, **{name: round(s, 5) for name, s in best.items()}}


def run(quick: bool = False) -> tuple[str, dict]:
    """(Markdown tables, figures)."""
    clips = sorted(path.stem for path in POSES.glob("*.npz"))
    density = [row for clip in clips for row in density_rows(clip)]
    seconds = [plan_seconds(shape, 3 if quick else 10) for shape in (LONG, *GRIDS)]
    lines = [
        "| clip | latent frames | tokens | block | token density | permuted | picture order |",
        "|---|" + "---|" * 6,
    ]
    for row in density:
        f, h, w = row["grid"]
        lines.append(
            f"| {row['clip']} | {f} of {h} x {w} | {f * h * w} | {row['block']} | {row['token_density']:.1%} "
            f"| {row['block_density']:.1%} | {row['block_density_unpermuted']:.1%} |"
        )
    lines += ["", "| plan of | seconds | and its blocks |", "|---|---|---|"]
    for row in seconds:
        f, h, w = row["grid"]
        lines.append(f"| {f} x {h} x {w} | {row['plan']:.3f} | {row['with_blocks']:.3f} |")
    return "\n".join(lines), {"density": density, "plans": seconds}
