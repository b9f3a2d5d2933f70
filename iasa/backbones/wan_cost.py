"""What a denoising step of a Wan model costs by its operations, and how much of it the plan can save: computed, not measured."""

from __future__ import annotations

from dataclasses import dataclass

TEXT_TOKENS = 512


@dataclass(frozen=True)
class WanShape:
    """A transformer's sizes; its control blocks count as blocks."""

    width: int
    ffn: int
    blocks: int

    @staticmethod
    def of(config: dict) -> WanShape:
        """From the transformer's config."""
        blocks = config["num_layers"] + len(config.get("vace_layers", []))
        return WanShape(config["num_attention_heads"] * config["attention_head_dim"], config["ffn_dim"], blocks)


SHAPES = {
    "VACE 1.3B": WanShape(1536, 8960, 45),
    "VACE 14B": WanShape(5120, 13824, 48),
    "Animate 14B": WanShape(5120, 13824, 40),
}


@dataclass(frozen=True)
class Machine:
    """Assumed rates of one H100, operations and bytes a second."""

    linear: float = 650e12
    dense_attention: float = 600e12
    sparse_attention: float = 450e12  # on the kept blocks
    memory: float = 3.35e12
    passes: int = 25  # over [tokens, width] in bf16 a block, beside the products, in compiled blocks


@dataclass(frozen=True)
class StepCost:
    """Operations of one pass of the transformer."""

    linear: float
    attention: float  # of self-attention, dense
    cross: float
    bytes: float

    @property
    def attention_share(self) -> float:
        return self.attention / (self.linear + self.attention + self.cross)

    def seconds(self, machine: Machine, density: float | None = None) -> float:
        """Of a step: dense, or under a plan that keeps this share of the blocks; 0 is free attention, the ceiling."""
        rest = (
            self.linear / machine.linear
            + self.cross / machine.dense_attention
            + self.bytes * machine.passes / machine.memory
        )
        if density is None:
            return rest + self.attention / machine.dense_attention
        return rest + self.attention * density / machine.sparse_attention


def step_cost(shape: WanShape, tokens: int) -> StepCost:
    """Of one pass over so many tokens."""
    per_token = (
        12 * shape.width**2 + 4 * shape.width * shape.ffn
    )  # two attentions' projections, and the feed-forward layers
    return StepCost(
        linear=shape.blocks * tokens * per_token,
        attention=4.0 * shape.blocks * tokens**2 * shape.width,
        cross=4.0 * shape.blocks * tokens * TEXT_TOKENS * shape.width,
        bytes=2.0 * shape.blocks * tokens * shape.width,
    )


def speed_table(densities: dict[int, tuple[float, float]], machine: Machine | None = None) -> list[str]:
    """Rows of Markdown: tokens -> the block densities of the causal and of the training-free plan."""
    machine = machine or Machine()
    rows = []
    for name, shape in SHAPES.items():
        for tokens, (causal, training_free) in densities.items():
            cost = step_cost(shape, tokens)
            dense = cost.seconds(machine)
            gains = " | ".join(f"{dense / cost.seconds(machine, d):.2f}x" for d in (causal, training_free, 0.0))
            share = f"{100 * cost.attention_share:.0f} %"
            rows.append(f"| {name}, {tokens:,} tokens | {share} | {dense:.2f} s | {gains} |")
    return rows
