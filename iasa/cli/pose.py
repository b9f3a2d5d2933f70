"""`iasa pose`: keypoints of a real video, and how much of it is good enough to learn from."""

from __future__ import annotations

import argparse
import time

from iasa.cli.arguments import input_files, tell
from iasa.config import VIDEO_FPS, InputError
from iasa.files import check_output, display_name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--video", required=True, help="of one person who faces the camera, waist up")
    parser.add_argument("--out", required=True, help="P.npz with xy, confidence and fps")


def run(arguments: argparse.Namespace) -> dict:
    check_output(arguments.out, (".npz",), input_files(arguments))
    from tqdm import tqdm

    from iasa.keypoints import BODY, FACE, LEFT_HAND, RIGHT_HAND, save_keypoints
    from iasa.media.reader import open_video
    from iasa.pose import bridge_gaps, extract_keypoints, keep_frames

    started = time.perf_counter()
    with open_video(arguments.video, fps=VIDEO_FPS) as (pictures, _):
        keypoints = extract_keypoints(tqdm(pictures, desc="pose", unit=" frames", leave=False), VIDEO_FPS)
    seen = keypoints.confidence > 0
    parts = {"pose": BODY, "face": FACE, "left_hand": LEFT_HAND, "right_hand": RIGHT_HAND}
    found = {name: round(float(seen[:, part].any(1).mean()), 4) for name, part in parts.items()}
    if not seen.any():
        raise InputError(
            f"no person is found in {display_name(arguments.video)}; one who faces the camera, waist up, is needed"
        )
    save_keypoints(arguments.out, bridge_gaps(keypoints))
    kept = round(float(keep_frames(keypoints).mean()), 4)
    tell(
        arguments,
        f"{arguments.out}: {len(keypoints)} frames; found pose {found['pose']:.0%}, face {found['face']:.0%}, "
        f"left hand {found['left_hand']:.0%}, right hand {found['right_hand']:.0%}; "
        f"{kept:.0%} of the frames pass the paper's filter",
    )
    seconds = round(time.perf_counter() - started, 3)
    return {"frames": len(keypoints), "seconds": seconds, "found": found, "kept": kept, "out": arguments.out}
