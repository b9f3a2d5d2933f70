"""`iasa mask`: the attention plan of a pose file, as figures, a file, a picture, or a page to explore."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from iasa.cli.arguments import add_networks, add_seed, first_speaker, input_files, read_poses, tell
from iasa.config import FRAMES_PER_LATENT, VIDEO_FPS, InputError, MaskOptions
from iasa.files import atomic_write, check_output, display_name

if TYPE_CHECKING:
    import numpy as np

    from iasa.explorer import PatternMaps
    from iasa.keypoints import Keypoints
    from iasa.masks import AttentionPlan
    from iasa.masks.foreign_blocks import ForeignBlocks

MAX_GRID = 128  # rows and columns of tokens
SUFFIXES = (".npz", ".json", ".png", ".html")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    default = MaskOptions()
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--pose", metavar="P.npz", help="poses, of iasa pose or iasa motion")
    source.add_argument(
        "--plan", metavar="FILE", help="a plan made before, .json or .npz, of a video model too, to be shown as it is"
    )
    parser.add_argument("--rows", type=int, default=16, help="token rows of a frame (default: 16)")
    parser.add_argument("--cols", type=int, default=16, help="token columns of a frame (default: 16)")
    parser.add_argument(
        "--top-k", type=int, default=default.top_k, help=f"chosen past frames (default: {default.top_k})"
    )
    parser.add_argument(
        "--window",
        type=int,
        default=default.window,
        help=f"frames just before, always seen (default: {default.window})",
    )
    parser.add_argument(
        "--method", choices=("mls", "hull", "body"), default=default.method, help="how regions are found"
    )
    parser.add_argument(
        "--block", type=int, default=default.block, help=f"tile of the matrix (default: {default.block})"
    )
    parser.add_argument("--no-sink", action="store_true", help="the first frame is not visible to all")
    parser.add_argument(
        "--out",
        help="plan.npz or plan.json (everything), mask.png (a picture), explorer.html (to explore in a browser)",
    )
    parser.add_argument("--video", metavar="V.mp4", help="the video of these poses, for the explorer's pictures")
    parser.add_argument(
        "--attention",
        action="store_true",
        help="let the student make the clip, and show in the explorer what it attends to",
    )
    parser.add_argument(
        "--patterns",
        action="store_true",
        help="with --attention: what other patterns would attend to in the same run, for the explorer's pickers",
    )
    parser.add_argument(
        "--blocks",
        metavar="FILE",
        help="another block mask of the same tokens, JSON of compressed rows (docs/block_masks.md), beside the plan",
    )
    parser.add_argument("--speaker", metavar="NAME", help="who speaks with --attention (default: the first example)")
    add_networks(parser)
    add_seed(parser)


def run(arguments: argparse.Namespace) -> dict:
    suffix = ""
    if arguments.out:
        suffix = check_output(arguments.out, SUFFIXES, input_files(arguments)).suffix.lower()
    options = _check(arguments, suffix)
    from iasa.grid import TokenGrid
    from iasa.keypoints import fill_latent, pool_to_latent
    from iasa.masks import make_plan
    from iasa.masks.export import save_plan

    blocks = _read_blocks(arguments.blocks)
    started = time.perf_counter()
    if arguments.plan:
        plan = _show_plan(arguments, suffix, blocks)
    elif arguments.attention:
        plan = _explore_run(arguments, read_poses(arguments.pose), options, blocks)
    else:
        latent = pool_to_latent(fill_latent(read_poses(arguments.pose)))
        plan = make_plan(latent, TokenGrid(len(latent), arguments.rows, arguments.cols), options)
        if suffix == ".html":
            pictures = None if arguments.video is None else _read_thumbnails(arguments.video, len(latent))
            maps = _map_blocks(plan, blocks)
            _write_explorer(arguments.out, plan, latent, pictures, patterns=maps)
        elif blocks:
            _draw_blocks(arguments.out, plan, blocks)
        elif arguments.out:
            save_plan(arguments.out, plan)
    report: dict[str, Any] = plan.report()
    if blocks:
        report["blocks"] = {name: round(mask.density(), 4) for name, mask in blocks.items()}
    report |= {"seconds": round(time.perf_counter() - started, 3), "out": arguments.out}
    tell(
        arguments,
        f"{report['frames']} latent frames, {report['tokens']} tokens: "
        f"{report['token_density']:.1%} of the token pairs, {report['block_density']:.1%} of the "
        f"{report['block']} x {report['block']} blocks ({report['block_density_unpermuted']:.1%} in picture order)",
    )
    return report


def _check(arguments: argparse.Namespace, suffix: str) -> MaskOptions:
    for name in ("video", "attention"):
        if getattr(arguments, name) and suffix != ".html":
            raise InputError(f"--{name} is for the explorer; give it an --out that ends in .html")
    if arguments.plan:
        _check_alone(arguments)
    if arguments.patterns and not arguments.attention:
        raise InputError("--patterns are recorded in a run of the student; add --attention")
    if arguments.blocks and suffix in (".npz", ".json"):
        raise InputError("--blocks are shown and not saved; give --out a name that ends in .png or .html")
    if arguments.blocks and arguments.attention and not arguments.patterns:
        raise InputError("--blocks stand among the patterns of a run; add --patterns, or leave --attention out")
    for name in ("rows", "cols"):
        if not 1 <= getattr(arguments, name) <= MAX_GRID:
            raise InputError(f"--{name} is {getattr(arguments, name)}; 1 to {MAX_GRID} are accepted")
    return MaskOptions(
        top_k=arguments.top_k,
        window=arguments.window,
        sink=not arguments.no_sink,
        method=arguments.method,
        block=arguments.block,
    )


def _check_alone(arguments: argparse.Namespace) -> None:
    """A plan that is made already takes no options. Raises InputError."""
    default, used = MaskOptions(), arguments
    changed = {
        "video": used.video, "attention": used.attention, "no-sink": used.no_sink, "rows": used.rows != 16,
        "cols": used.cols != 16, "top-k": used.top_k != default.top_k, "window": used.window != default.window,
        "method": used.method != default.method, "block": used.block != default.block,
    }  # fmt: skip
    for name, given in changed.items():
        if given:
            raise InputError(f"--plan is shown as it is; leave --{name} out, or give --pose to make a plan anew")


def _show_plan(arguments: argparse.Namespace, suffix: str, blocks: dict[str, ForeignBlocks]) -> AttentionPlan:
    """The plan of a file, written as --out asks for."""
    from iasa.masks.export import load_plan, save_plan

    plan = load_plan(arguments.plan)
    if suffix == ".html":
        _write_explorer(arguments.out, plan, None, patterns=_map_blocks(plan, blocks))
    elif blocks:
        _draw_blocks(arguments.out, plan, blocks)
    elif arguments.out:
        save_plan(arguments.out, plan)
    return plan


def _read_blocks(path: str | None) -> dict[str, ForeignBlocks]:
    """The mask by its file's name; {} without a file."""
    from iasa.masks.foreign_blocks import read_blocks

    return {} if path is None else {display_name(path): read_blocks(path)}


def _map_blocks(plan: AttentionPlan, blocks: dict[str, ForeignBlocks]) -> PatternMaps | None:
    from iasa.explorer import block_maps

    return block_maps(plan, blocks) if blocks else None


def _draw_blocks(path: str | None, plan: AttentionPlan, blocks: dict[str, ForeignBlocks]) -> None:
    from PIL import Image

    from iasa.masks.plot import draw_blocks

    for name, mask in blocks.items():
        picture = Image.fromarray(draw_blocks(plan, mask, name))
        if path:
            with atomic_write(path) as partial:
                picture.save(partial, "PNG", optimize=True)


def _explore_run(
    arguments: argparse.Namespace, poses: Keypoints, options: MaskOptions, blocks: dict[str, ForeignBlocks]
) -> AttentionPlan:
    """The explorer of a clip that the student makes of the poses, with what it attends to; the run's plan."""
    if arguments.video:
        raise InputError("--attention makes the pictures itself; leave --video out")
    from iasa.avatar.speaker import load_speaker
    from iasa.config import TransformerConfig
    from iasa.explorer import record_attention, record_patterns
    from iasa.pipeline import CoSpeechPipeline

    model = TransformerConfig()
    if (arguments.rows, arguments.cols) != (model.rows, model.cols):
        raise InputError(
            f"--attention runs the shipped student, whose grid is {model.rows} x {model.cols}; "
            f"--rows {arguments.rows} --cols {arguments.cols} is asked for"
        )
    reference = load_speaker(arguments.speaker or first_speaker())
    pipeline = CoSpeechPipeline.from_pretrained(arguments.weights, teacher=None, mask=options)
    run = record_attention(pipeline, poses, reference, seed=arguments.seed)
    patterns = None
    if arguments.patterns:
        patterns = record_patterns(pipeline, poses, reference, seed=arguments.seed, masks=blocks)
    _write_explorer(arguments.out, run.plan, run.keypoints, run.thumbnails, run.attention, patterns, run.change)
    return run.plan


def _write_explorer(
    path: str, plan: AttentionPlan, latent: Keypoints | None, pictures=None, attention=None, patterns=None, change=None
) -> None:
    from iasa.explorer import explorer_html, read_bench

    with atomic_write(path) as partial:
        partial.write_text(
            explorer_html(plan, latent, pictures, attention, read_bench(), patterns=patterns, change=change),
            encoding="utf-8",
        )


def _read_thumbnails(path: str, frames: int) -> list[np.ndarray]:
    """The first picture of each of `frames` latent frames."""
    from iasa.media.reader import open_video

    with open_video(path, fps=VIDEO_FPS) as (pictures, _):
        kept = [picture for number, picture in enumerate(pictures) if number % FRAMES_PER_LATENT == 0]
    if not frames <= len(kept) <= frames + 1:
        raise InputError(
            f"{display_name(path)} lasts {len(kept)} latent frames and the poses {frames}; the video of these poses is needed"
        )
    return kept[:frames]
