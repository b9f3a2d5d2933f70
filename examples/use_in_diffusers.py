"""The plan inside diffusers' Wan, from the toy to the real thing: python -m examples.use_in_diffusers [--weights W]

Without weights a tiny random model of the same class runs on a processor: where the tokens are, what the plan keeps, what
it saves by operations, and how far the video moves from dense attention's. With weights (and a GPU) the same lines do the
same at 832 x 480.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from iasa import paths
from iasa.avatar.speaker import load_speaker
from iasa.backbones import TRAINING_FREE, tiny_models
from iasa.backbones.speech_scene import make_scene
from iasa.backbones.wan_cost import Machine, WanShape, step_cost
from iasa.backbones.wan_generate import WanSettings, compare_videos, generate_video
from iasa.backbones.wan_plan import fit_poses, plan_for
from iasa.backbones.wan_weights import load_pipeline
from iasa.config import MaskOptions
from iasa.device import pick_device, pick_precision
from iasa.keypoints import REGIONS, load_keypoints


def main(words: Sequence[str] | None = None) -> dict[str, float | None]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", help="VACE: a folder of diffusers' layout, or OWNER/NAME of the Hub")
    parser.add_argument("--steps", type=int, default=4)
    arguments = parser.parse_args(words)

    height, width = (480, 832) if arguments.weights else (64, 96)
    if arguments.weights:
        pipe = load_pipeline(arguments.weights, "vace", pick_device(), pick_precision().dtype)
    else:
        pipe = tiny_models.tiny_vace(text=True)
    pipe.set_progress_bar_config(disable=True)
    scene = make_scene(load_speaker("alba"), load_keypoints(paths.POSES / "welcome.npz")[:50], height, width)
    poses = fit_poses(scene.keypoints, 16.0)

    print("where the tokens are, and what each plan keeps of the pairs")
    for name, options in (("causal, as the paper", MaskOptions(block=128)), ("training-free", TRAINING_FREE)):
        plan = plan_for(pipe, poses, height, width, reference_pose=scene.pose, options=options)
        grid, share = plan.grid, [float((plan.region_bits >> r & 1).double().mean()) for r in range(len(REGIONS))]
        regions = ", ".join(f"{region} {part:.0%}" for region, part in zip(REGIONS, share, strict=True))
        print(f"  {name}: {grid.frames} frames of {grid.rows} x {grid.cols} tokens ({regions})")
        cost, density = step_cost(WanShape.of(pipe.transformer.config), grid.tokens), plan.block_csr().density()
        gain = cost.seconds(Machine()) / cost.seconds(Machine(), density)
        print(f"    {plan.density():.1%} of the pairs; attention is {cost.attention_share:.0%} of a step's operations")
        print(f"    gain on an H100 (computed): {gain:.2f}x")

    settings = WanSettings(height, width, arguments.steps)
    sparse = generate_video(pipe, scene, settings)
    dense = generate_video(pipe, scene, WanSettings(height, width, arguments.steps, attention="dense"))
    figures = compare_videos(sparse, dense, scene.keypoints)
    print("the video under the plan beside dense attention's:", figures)
    if not arguments.weights:
        print("these weights are random: what the figures say of quality, only yours can tell")
    return figures


if __name__ == "__main__":
    main()
