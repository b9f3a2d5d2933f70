"""The mask explorer: a page of its own that holds a plan, its poses, and what was measured on it."""

from iasa.explorer.block_maps import block_maps
from iasa.explorer.page import explorer_frame, explorer_html, read_bench
from iasa.explorer.pattern_recorder import PatternMaps, record_patterns
from iasa.explorer.recorder import LearnedAttention, RecordedRun, latent_poses, record_attention

__all__ = [
    "LearnedAttention",
    "PatternMaps",
    "RecordedRun",
    "block_maps",
    "explorer_frame",
    "explorer_html",
    "latent_poses",
    "read_bench",
    "record_attention",
    "record_patterns",
]
