"""The rows of the quality report: what makes each one's pictures, where its weights lie, and which command trains them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from iasa.config import DEFAULT_STEPS, MaskOptions


@dataclass(frozen=True)
class Variant:
    """One line of a table."""

    name: str
    title: str
    kind: str  # "given" (no network of ours makes it), "teacher" (dense windows), "sparse" (many steps), "student"
    stage: str = ""  # of training; the weights lie in a run's <stage>/export, an export's <stage>, or in iasa/weights
    shipped: str = ""  # folder in iasa/weights
    mask: MaskOptions = MaskOptions()

    @property
    def command(self) -> str:
        """What trains the row."""
        return f"python -m iasa train {self.stage}"

    def steps(self, asked: Mapping[str, int | None]) -> int:
        model = "student" if self.kind == "student" else "teacher"
        return asked.get(model) or DEFAULT_STEPS[model]


GIVEN = (
    Variant("truth", "ground truth", "given"),
    Variant("autoencoder", "autoencoder", "given"),
    Variant("static", "static reference", "given"),
    Variant("warped", "warped reference", "given"),
    Variant("warped_autoencoder", "warped reference through the autoencoder", "given"),
)
ABLATION = (  # the paper's table 2 in kind
    Variant("teacher", "teacher", "teacher", "teacher", "teacher"),
    Variant("finetuned", "+ fine-tuned", "teacher", "finetune", "finetune"),
    Variant("global", "+ global mask", "sparse", "finetune_global", "finetune_global", MaskOptions(local=False)),
    Variant("local", "+ local mask", "sparse", "finetune_local", "finetune_local"),
    Variant("regression", "few steps, by regression", "student", "student", "student"),
    Variant("rollout", "+ self-rollout", "student", "self_forcing", "self_forcing"),
    Variant("dmd", "+ DMD", "student", "distill", "distill"),
    Variant("region", "+ region loss", "student", "distill_region", "student"),
)
STUDENT = Variant("student", "student", "student", "", "student")  # as shipped, whichever stage it comes from
ROWS = {row.name: row for row in (*GIVEN, *ABLATION, STUDENT)}
DEFAULT_ROWS = (*(row.name for row in GIVEN), "teacher", "student")
