"""The paper's method inside diffusers' Wan models: plan, processors, skeletons, streaming, distillation, data.

Nothing here is imported by the rest of the package, and diffusers' Wan classes are loaded on first use.
"""

from iasa.backbones.wan_attention import PlanController, apply_iasa, remove_iasa
from iasa.backbones.wan_plan import TRAINING_FREE, full_plan, plan_for

__all__ = ["TRAINING_FREE", "PlanController", "apply_iasa", "full_plan", "plan_for", "remove_iasa"]
