"""Poses of real video: found by mediapipe, filtered by the paper's thresholds, drawn as skeletons."""

from iasa.pose.extract import HolisticDetector, HolisticFrame, extract_keypoints, to_keypoints
from iasa.pose.filter import PoseFilter, find_runs, keep_frames
from iasa.pose.gaps import bridge_gaps
from iasa.pose.shots import find_cuts, find_jumps
from iasa.pose.skeleton import draw_pose

__all__ = [
    "HolisticDetector",
    "HolisticFrame",
    "PoseFilter",
    "bridge_gaps",
    "draw_pose",
    "extract_keypoints",
    "find_cuts",
    "find_jumps",
    "find_runs",
    "keep_frames",
    "to_keypoints",
]
