"""`iasa bench backbone`: the plan on Wan's shapes, random weights, no network: what a GPU needs some eight minutes for.

22,528 and 34,320 tokens are 81 pictures of 512 x 512 and 832 x 480 with a reference. Rows come in the order of their
worth; each is written when it is done, none begins after the last minute, and one that fails keeps its error. Without a
CUDA device the plans alone are measured, and every other cell says "not measured". `--quick` tries the script out with
tiny models on any device: its figures say nothing about speed.
"""

from __future__ import annotations

import gc
import json
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from iasa.attention.dispatch import sparse_attention
from iasa.backbones.replay import enable_checkpointing
from iasa.backbones.wan_attention import apply_iasa, remove_iasa
from iasa.backbones.wan_plan import TRAINING_FREE, video_plan
from iasa.backbones.wan_stream import CausalWan
from iasa.benchmarks import BackboneOptions
from iasa.config import MaskOptions
from iasa.files import atomic_write
from iasa.keypoints import Keypoints, load_keypoints
from iasa.masks.plan import AttentionPlan
from iasa.paths import POSES

NOT_MEASURED = "not measured"
SIZES, FRAMES = ((512, 512), (480, 832)), 81
SHAPES = {
    "1.3B": dict(num_attention_heads=12, ffn_dim=8960, num_layers=30, vace_layers=list(range(0, 30, 2))),
    "14B": dict(num_attention_heads=40, ffn_dim=13824, num_layers=40, vace_layers=list(range(0, 40, 5))),
}
MASKS = {"causal": MaskOptions(block=128), "training-free": TRAINING_FREE}
BACKENDS = ("triton", "two-pass", "flex")


class Bench:
    """The rows, and what they are measured on."""

    def __init__(self, options: BackboneOptions) -> None:
        self.options = options
        self.gpu = torch.cuda.is_available()
        self.device = torch.device("cuda" if self.gpu else "cpu")
        self.dtype = torch.bfloat16 if self.gpu else torch.float32
        self.sizes, self.frames = (((64, 64),), 5) if options.quick else (SIZES, FRAMES)
        self.width = 16 if options.quick else 128
        self.backends = ("cpu",) if options.quick and not self.gpu else BACKENDS
        self.rows: list[dict] = []
        self._until = time.monotonic() + 60 * options.minutes

    def shape(self, label: str) -> dict:
        """Sizes of a transformer; tiny ones to try the script out."""
        if self.options.quick:
            return dict(
                num_attention_heads=2, ffn_dim=64, num_layers=2, vace_layers=[0], attention_head_dim=16, text_dim=16
            )
        return SHAPES[label] | dict(attention_head_dim=128, text_dim=4096)

    def row(self, part: str, name: str, measure: Callable[[], dict | float], on_any: bool = False, **notes) -> None:
        """One row: milliseconds, or several figures."""
        row = {"part": part, "name": name, **notes}
        if not (self.gpu or on_any or self.options.quick):
            row["ms"] = NOT_MEASURED
        elif time.monotonic() > self._until:
            row |= {"ms": NOT_MEASURED, "reason": "no time was left"}
        else:
            row |= self._measured(measure)
        self.rows.append(row)
        if self.options.out:
            with atomic_write(self.options.out) as partial:
                partial.write_text(json.dumps({"rows": self.rows}, indent=1) + "\n")

    def _measured(self, measure: Callable[[], dict | float]) -> dict:
        if self.gpu:
            torch.cuda.reset_peak_memory_stats()
        try:
            found = measure()
        except Exception as error:  # noqa: BLE001 - whatever one row meets, the others must still run
            return {"ms": NOT_MEASURED, "reason": f"{type(error).__name__}: {error}"[:300]}
        found = dict(found) if isinstance(found, dict) else {"ms": round(found, 3)}
        if self.gpu:
            found["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
        return found

    def timed(self, call: Callable[[], object], repeats: int = 3, warm: int = 1) -> float:
        """Median milliseconds of a call."""
        took = []
        for _ in range(warm + (1 if self.options.quick else repeats)):
            self._wait()
            started = time.perf_counter()
            call()
            self._wait()
            took.append(1000 * (time.perf_counter() - started))
        return statistics.median(took[warm:])

    def _wait(self) -> None:
        if self.gpu:
            torch.cuda.synchronize()

    def free(self) -> None:
        gc.collect()
        if self.gpu:
            torch.cuda.empty_cache()

    def plan(self, size: tuple[int, int], options: MaskOptions) -> AttentionPlan:
        """Of the example poses in the middle of a picture of this size."""
        poses = load_keypoints(POSES / "welcome.npz")[: self.frames]
        height, width = size
        extent = np.array([max(width / height, 1), max(height / width, 1)], np.float32)
        placed = Keypoints(0.5 + (poses.xy - 0.5) / extent, poses.confidence, poses.fps)
        return video_plan(placed, height, width, 1, options=options)

    def random(self, *shape: int) -> torch.Tensor:
        generator = torch.Generator(device=self.device).manual_seed(len(shape))
        return torch.randn(*shape, generator=generator, device=self.device, dtype=self.dtype)

    def inputs(self, model: Any, plan: AttentionPlan, frames: int | None = None) -> dict:
        """What the transformer takes for a plan's video, or for some frames of it."""
        grid = plan.grid
        place = (frames or grid.frames, 2 * grid.rows, 2 * grid.cols)
        return dict(
            hidden_states=self.random(1, 16, *place), control_hidden_states=self.random(1, 96, *place),
            encoder_hidden_states=self.random(1, 512, model.config.text_dim), return_dict=False,
            timestep=torch.tensor([500.0], device=self.device),
        )  # fmt: skip

    def transformer(self, label: str) -> Any:
        """VACE with random weights, made on the device; None where there is nothing to measure it on."""
        if not (self.gpu or self.options.quick) or time.monotonic() > self._until:
            return None
        from diffusers import WanVACETransformer3DModel

        before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)
        try:
            with self.device:
                return WanVACETransformer3DModel(in_channels=16, vace_in_channels=96, **self.shape(label)).eval()
        finally:
            torch.set_default_dtype(before)


def run(options: BackboneOptions) -> tuple[str, dict]:
    """The table and the figures."""
    bench = Bench(options)
    for part in (_plans, _attention, _agreement, _small_model, _large_model, _autoencoder):
        part(bench)
        bench.free()
    return _table(bench), {"minutes": options.minutes, "rows": bench.rows}


def _plans(bench: Bench) -> None:
    for size in bench.sizes:
        for mask, options in MASKS.items():

            def measure(size=size, options=options) -> dict:
                took = bench.timed(lambda: bench.plan(size, options).block_csr())
                plan = bench.plan(size, options)
                figures = {"pairs": plan.density(), "blocks": plan.block_csr().density()}
                figures["blocks_unsorted"] = plan.block_csr(permute=False).density()
                return {"ms": round(took, 1), "tokens": plan.grid.tokens} | {k: round(v, 4) for k, v in figures.items()}

            bench.row("plan", f"{mask}, {size[1]} x {size[0]}", measure, on_any=True)


def _attention(bench: Bench) -> None:
    """One layer's attention alone: dense kernels and the plan's, forward, and forward with backward."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    for size in bench.sizes:
        plan = bench.plan(size, MASKS["causal"])
        for label in SHAPES:
            heads = bench.shape(label)["num_attention_heads"]

            def tensors(heads=heads, plan=plan, grad=False) -> list[torch.Tensor]:
                return [bench.random(1, heads, plan.grid.tokens, bench.width).requires_grad_(grad) for _ in range(3)]

            def dense(kind, tensors=tensors) -> float:
                given = tensors()
                with sdpa_kernel(kind) if bench.gpu else nullcontext():
                    return bench.timed(lambda: F.scaled_dot_product_attention(*given), 5)

            def sparse(backend, tensors=tensors, plan=plan) -> float:
                q, k, v = tensors()
                with torch.no_grad():
                    return bench.timed(lambda: sparse_attention(q, k, v, plan, backend), 5)

            def both_ways(call, tensors=tensors) -> float:
                return bench.timed(lambda: call(*tensors(grad=True)).sum().backward(), 3)

            note = {"tokens": plan.grid.tokens, "heads": heads}
            for name, kind in (("cudnn", SDPBackend.CUDNN_ATTENTION), ("flash", SDPBackend.FLASH_ATTENTION)):
                bench.row("attention", f"dense {name}", lambda kind=kind, dense=dense: dense(kind), **note)
            for backend in bench.backends:
                bench.row("attention", f"plan {backend}", lambda b=backend, sparse=sparse: sparse(b), **note)
            dense_call = F.scaled_dot_product_attention
            bench.row("attention", "dense, forward and backward", lambda c=dense_call, both=both_ways: both(c), **note)
            for backend in [b for b in bench.backends if b != "two-pass"]:

                def call(q, k, v, backend=backend, plan=plan):
                    return sparse_attention(q, k, v, plan, backend)

                bench.row(
                    "attention", f"plan {backend}, forward and backward", lambda c=call, both=both_ways: both(c), **note
                )


def _agreement(bench: Bench) -> None:
    """The largest error of each backend against masked dense attention in float32, in shares of the largest value."""

    def measure(backend: str) -> dict:
        plan = bench.plan((256, 256) if not bench.options.quick else bench.sizes[0], MASKS["causal"])
        q, k, v = (bench.random(1, 4, plan.grid.tokens, bench.width) for _ in range(3))
        with torch.no_grad():
            truth = sparse_attention(q.float(), k.float(), v.float(), plan, "reference")
            error = (sparse_attention(q, k, v, plan, backend).float() - truth).abs().max() / truth.abs().max()
        return {"error": float(error)}

    for backend in bench.backends:
        bench.row("agreement", backend, lambda backend=backend: measure(backend))


def _forward(bench: Bench, model: Any, label: str, size: tuple[int, int], how: str) -> None:
    """Whole forward passes: dense, and under both masks."""
    backend = bench.backends[0]
    for mask, options in [("dense", None), *MASKS.items()]:

        def measure(options=options) -> float:
            plan = bench.plan(size, options or MASKS["causal"])
            if options is not None:
                apply_iasa(model, plan, backend=backend)
            try:
                with torch.no_grad():
                    return bench.timed(lambda: model(**bench.inputs(model, plan)), 3, 2 if how == "compiled" else 1)
            finally:
                remove_iasa(model)

        bench.row("forward", f"VACE {label} {mask}, {how}", measure, size=f"{size[1]} x {size[0]}")
        bench.free()


def _small_model(bench: Bench) -> None:
    model = bench.transformer("1.3B")
    for size in bench.sizes:
        _forward(bench, model, "1.3B", size, "eager")

    def streamed() -> float:
        plan = bench.plan(bench.sizes[-1], MASKS["causal"])
        with torch.no_grad(), CausalWan(model, plan, 2 * plan.grid.rows, 2 * plan.grid.cols) as stream:
            for frames in stream.chunks:
                given = bench.inputs(model, plan, len(frames))
                given.pop("return_dict")
                hidden = given.pop("hidden_states")
                last = frames == stream.chunks[-1]
                if last:
                    return bench.timed(lambda f=frames, h=hidden, g=given: stream(f, h, keep=False, **g))
                stream(frames, hidden, **given)
        raise RuntimeError("the plan has no frames")

    def trained() -> float:
        from iasa.backbones.lora_roles import LoraRoles

        plan = bench.plan(bench.sizes[-1], MASKS["causal"])
        roles = LoraRoles(model, 64 if not bench.options.quick else 4)
        enable_checkpointing(model.train())
        roles.follow(plan)
        given = bench.inputs(model, plan)
        return bench.timed(lambda: model(**given)[0].float().square().mean().backward(), 2)

    bench.row("stream", "VACE 1.3B, one pass of one latent frame", streamed)
    if bench.gpu and model is not None:
        model.compile_repeated_blocks()
    _forward(bench, model, "1.3B", bench.sizes[-1], "compiled")
    del model
    bench.free()
    model = bench.transformer("1.3B")
    bench.row("train", "VACE 1.3B, LoRA of rank 64, one step with checkpointing", trained)


def _large_model(bench: Bench) -> None:
    model = bench.transformer("14B")
    for size in bench.sizes:
        _forward(bench, model, "14B", size, "eager")


def _autoencoder(bench: Bench) -> None:
    def make() -> Any:
        from diffusers import AutoencoderKLWan

        tiny: dict[str, Any] = dict(base_dim=3, dim_mult=[1, 1, 1, 1], num_res_blocks=1) if bench.options.quick else {}
        vae: Any = AutoencoderKLWan(**tiny)
        return vae.to(device=bench.device, dtype=bench.dtype).eval()

    def decode(height: int, width: int) -> float:
        vae, latents = make(), bench.random(1, 16, (bench.frames - 1) // 4 + 1, height // 8, width // 8)
        with torch.no_grad():
            return bench.timed(lambda: vae.decode(latents), 2)

    def encode(height: int, width: int) -> float:
        vae, pictures = make(), bench.random(1, 3, bench.frames, height, width)
        with torch.no_grad():
            return bench.timed(lambda: vae.encode(pictures), 2)

    for size in bench.sizes:
        for name, call in (("decode", decode), ("encode", encode)):
            bench.row(
                "autoencoder", f"{name} {bench.frames} pictures, {size[1]} x {size[0]}", lambda c=call, s=size: c(*s)
            )


def _table(bench: Bench) -> str:
    """Markdown."""
    lines = ["| part | row | tokens | ms | else |", "|---|---|--:|--:|---|"]
    for row in bench.rows:
        known = ("part", "name", "tokens", "ms")
        rest = ", ".join(f"{name} {value}" for name, value in row.items() if name not in known)
        lines.append(f"| {row['part']} | {row['name']} | {row.get('tokens', '')} | {row.get('ms', '')} | {rest} |")
    return "\n".join(lines)
