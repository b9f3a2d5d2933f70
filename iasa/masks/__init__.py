"""The input-aware masks: which frames (`similarity`), which tokens (`regions`), the plan of both (`plan`)."""

from iasa.masks.blocks import BlockCSR
from iasa.masks.plan import AttentionPlan, make_plan
from iasa.masks.regions import region_bits
from iasa.masks.similarity import past_distance, rigid_distance, top_k_past

__all__ = [
    "AttentionPlan",
    "BlockCSR",
    "make_plan",
    "past_distance",
    "region_bits",
    "rigid_distance",
    "top_k_past",
]
