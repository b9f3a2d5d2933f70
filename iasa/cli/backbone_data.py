"""`python -m iasa backbone-data`: videos of people who talk to WebDataset shards that `backbone-train` reads."""

from __future__ import annotations

import argparse
from pathlib import Path

from iasa.cli.arguments import count, input_folder, tell
from iasa.cli.generate_backbone import parse_size
from iasa.config import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--videos", type=input_folder, required=True, metavar="DIR", help="folder of videos, each of up to an hour"
    )
    parser.add_argument(
        "--weights", required=True, metavar="W", help="VACE: a folder of diffusers' layout, or OWNER/NAME"
    )
    parser.add_argument(
        "--out", required=True, metavar="SHARDS", help="folder; shards that are done there are left alone"
    )
    parser.add_argument("--size", metavar="WxH", help="pixels, multiples of 16 (default: 832x480)")
    parser.add_argument("--frames", type=count, default=81, help="pictures of a clip, 4 n + 1 (default: 81)")
    parser.add_argument("--prompt", help="what the videos show, in words")
    parser.add_argument("--worker", type=int, default=0, metavar="I", help="which of the workers this is (default: 0)")
    parser.add_argument(
        "--of", type=count, default=1, metavar="N", help="how many workers share the videos (default: 1)"
    )
    parser.add_argument(
        "--dwpose", nargs=2, metavar=("DETECTOR", "POSE"), help="two ONNX files: poses by rtmlib, not mediapipe"
    )
    parser.add_argument(
        "--ray", type=int, metavar="ACTORS", help="share the work among so many actors of a Ray cluster instead"
    )


def run(arguments: argparse.Namespace) -> dict:
    height, width = parse_size(arguments.size)
    if arguments.frames < 5 or arguments.frames % 4 != 1:
        raise InputError(f"clips of {arguments.frames} pictures are refused; 4 n + 1 are accepted, 81 say")
    if arguments.ray is not None and (arguments.ray < 1 or arguments.of != 1 or arguments.dwpose):
        raise InputError("--ray takes a number of actors from 1, and neither --of nor --dwpose")
    from iasa.backbones.latent_shards import ClipEncoder, ShardSettings, write_shards
    from iasa.backbones.video_clips import DWPose, find_videos
    from iasa.backbones.wan_generate import PROMPT
    from iasa.backbones.wan_weights import load_pipeline
    from iasa.device import pick_device, pick_precision
    from iasa.pose import extract_keypoints

    settings = ShardSettings(height, width, arguments.frames, prompt=arguments.prompt or PROMPT)
    videos, out = arguments.videos, Path(arguments.out)
    find_videos(videos)
    device = pick_device()
    if arguments.ray is not None:
        from iasa.backbones.ray_shards import write_shards_by_ray

        report = write_shards_by_ray(
            videos, out, arguments.weights, settings, arguments.ray, float(device.type == "cuda")
        )
    else:
        find_poses = (
            DWPose(Path(arguments.dwpose[0]), Path(arguments.dwpose[1]), device.type)
            if arguments.dwpose
            else extract_keypoints
        )
        encoder = ClipEncoder(load_pipeline(arguments.weights, "vace", device, pick_precision().dtype), settings)
        report = write_shards(videos, out, encoder, arguments.worker, arguments.of, find_poses)
    tell(
        arguments, f"{report['clips']} clips in {report['shards']} shards; {report['kept']:.0%} of the frames were kept"
    )
    return {**report, "out": str(out)}
