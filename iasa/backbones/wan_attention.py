"""An attention processor for the self-attention of diffusers' Wan transformers, and the controller that feeds it.

Wan's blocks pass neither a mask nor `attention_kwargs` on, so all processors of a model read a shared controller, which a
hook before the transformer's forward tells the denoising step and the latent grid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from iasa.attention.dispatch import BACKENDS
from iasa.backbones.prepared_attention import PreparedAttention, attend, prepare_attention
from iasa.backbones.replay import Transformer, check_checkpointing, register_state, unregister_state
from iasa.config import InputError
from iasa.grid import TokenGrid
from iasa.masks.plan import AttentionPlan

Plans = AttentionPlan | Sequence[AttentionPlan]
_HOOK = "_iasa_hook"


class PlanController:
    """Which plan holds at this call of the transformer.

    plans: one for each segment of a long video, or one. A segment ends where the noise rises again; after the last comes
    the first, so that a second call of the pipeline begins anew. Each may be a sequence: one plan for each clip of a batch.
    dense_steps: first denoising steps of a segment that run dense.
    """

    def __init__(self, plans: Sequence[Plans], dense_steps: int = 0, backend: str = "auto") -> None:
        if backend not in ("auto", *BACKENDS):
            raise InputError(f"attention backend is {backend!r}; auto, {' or '.join(BACKENDS)} is accepted")
        if dense_steps < 0:
            raise InputError(f"dense_steps is {dense_steps}; 0 or more is accepted")
        self.plans, self.dense_steps, self.backend = list(plans), dense_steps, backend
        self.enabled = True  # off: every call runs dense, as if there were no plan
        self.calls = {"sparse": 0, "dense": 0}  # of the transformer
        self.prepared: tuple[PreparedAttention, ...] | None = None  # what the processors read; None runs dense
        self.restart()

    def restart(self) -> None:
        """Begin anew: also after a call of the pipeline that was interrupted."""
        self.segment, self.step, self._level, self._seen = 0, -1, None, set()
        self.branch: str | None = None  # of guidance: what the pipeline calls it, "cond" or "uncond"

    def watch(self, cache_context: Callable[..., AbstractContextManager]) -> Callable[..., AbstractContextManager]:
        """The transformer's `cache_context`, in which pipelines name the branch of guidance, with an ear."""

        @contextmanager
        def listening(name: str, **kwargs) -> Iterator[None]:
            self.branch = name
            try:
                with cache_context(name, **kwargs):
                    yield
            finally:
                self.branch = None

        return listening

    def before_forward(self, model: Transformer, args: tuple, kwargs: dict) -> None:
        hidden, timestep, text = self.inputs(args, kwargs)
        if not self.enabled:
            self.prepared = None
            return
        if torch.is_grad_enabled():
            check_checkpointing(model)
        self._advance(float(timestep.float().max()), self.branch or text.data_ptr())
        plan = self.plans[self.segment]
        plans = (plan,) if isinstance(plan, AttentionPlan) else tuple(plan)
        self.check_grid(model, hidden, [one.grid for one in plans])
        sparse = self.step >= self.dense_steps
        self.calls["sparse" if sparse else "dense"] += 1
        if not sparse:
            self.prepared = None
            return
        heads = model.config.num_attention_heads * len(hidden)
        kind = (self.backend, hidden.device, hidden.dtype, heads)
        self.prepared = tuple(prepare_attention(one, *kind) for one in plans)

    @property
    def segments(self) -> int:
        return len(self.plans)

    @staticmethod
    def inputs(args: tuple, kwargs: dict) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden states, time step and text of a call of the transformer."""
        names = ("hidden_states", "timestep", "encoder_hidden_states")
        given: dict[str, Tensor] = dict(zip(names, args, strict=False)) | kwargs
        hidden, timestep, text = (given[name] for name in names)
        return hidden, timestep, text

    def _advance(self, level: float, branch: str | int) -> None:
        """Count steps and segments; branches of guidance are calls of one level with other names, or other texts."""
        if self._level is None:
            self.step = 0
        elif level < self._level:
            self.step += 1
        elif level > self._level or (self.step == 0 and branch in self._seen):
            self.segment, self.step = (self.segment + 1) % self.segments, 0
        else:
            self._seen.add(branch)
            return
        self._level, self._seen = level, {branch}

    def check_grid(self, model: Transformer, hidden: Tensor, grids: Sequence[TokenGrid]) -> None:
        here = tuple(size // patch for size, patch in zip(hidden.shape[2:], model.config.patch_size, strict=True))
        for grid in grids:
            made_for = (grid.frames, grid.rows, grid.cols)
            if made_for != here:
                one, other = ("{} latent frames of {} x {} tokens".format(*sizes) for sizes in (made_for, here))
                raise InputError(f"the plan is for {one} and the video has {other}")

    def snapshot(self) -> tuple:
        return (self.prepared,)

    def restore(self, then: tuple | None) -> None:
        self.prepared = then[0] if then else None


class PlanProcessor:
    """Self-attention over the pairs that the controller's plan allows; else what `dense` does, the model's own processor."""

    def __init__(self, controller: PlanController, dense) -> None:
        self.controller, self.dense = controller, dense

    # diffusers sets these two on every processor (set_attention_backend, enable_parallelism): they are the dense one's
    @property
    def _attention_backend(self):
        return self.dense._attention_backend

    @_attention_backend.setter
    def _attention_backend(self, value) -> None:
        self.dense._attention_backend = value

    @property
    def _parallel_config(self):
        return self.dense._parallel_config

    @_parallel_config.setter
    def _parallel_config(self, value) -> None:
        _refuse_parallel(value)
        self.dense._parallel_config = value

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, rotary_emb=None, **kwargs):
        prepared = self.controller.prepared
        if prepared is None:
            return self.dense(attn, hidden_states, encoder_hidden_states, attention_mask, rotary_emb, **kwargs)
        out = attend(prepared, *project(attn, hidden_states, rotary_emb))
        return output(attn, out, hidden_states)


def project(attn: Any, x: Tensor, rope: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values with Wan's norms over all heads and its rotary embedding: [b, nh, f*n, d] each."""
    q, k, v = attn.to_qkv(x).chunk(3, -1) if attn.fused_projections else (attn.to_q(x), attn.to_k(x), attn.to_v(x))
    q, k = attn.norm_q(q), attn.norm_k(k)
    q, k, v = (part.unflatten(2, (attn.heads, -1)) for part in (q, k, v))
    if rope is not None:
        q, k = rotate(q, *rope), rotate(k, *rope)
    q, k, v = (part.transpose(1, 2).to(v.dtype) for part in (q, k, v))
    return q, k, v


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of neighbouring pairs: x [b, f*n, nh, d], cos and sin [1, f*n, 1, d]."""
    even, odd = x[..., 0::2], x[..., 1::2]
    cos, sin = cos[..., 0::2], sin[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2).type_as(x)


def output(attn: Any, out: Tensor, like: Tensor) -> Tensor:
    """[b, nh, f*n, d] -> [b, f*n, width] through the layer's output projection."""
    return attn.to_out[1](attn.to_out[0](out.transpose(1, 2).flatten(2).type_as(like)))


def self_attentions(transformer: Transformer) -> dict[str, Any]:
    """Wan's self-attention layers by name: `attn1` of every block, VACE's control blocks among them."""
    found = {
        name: module
        for name, module in transformer.named_modules()
        if name.endswith(".attn1") and hasattr(module, "processor") and hasattr(module, "fused_projections")
    }
    if not found:
        kind = type(transformer).__name__
        raise InputError(f"{kind} has no self-attention of Wan's; WanVACEPipeline or WanAnimatePipeline is accepted")
    return found


def apply_iasa(
    pipe: object,  # a pipeline, or its transformer
    plans: AttentionPlan | Sequence[Plans],
    dense_steps: int = 0,
    dense_layers: Callable[[str], bool] = lambda name: False,  # by the layer's name, "blocks.0.attn1"
    backend: str = "auto",
) -> PlanController:
    """Every self-attention of the pipeline's transformers follows the plan from now on; `remove_iasa` undoes it.

    A list of plans holds one for each segment (`plan_for` makes it for Animate). Weights, adapters, offloading and
    `set_attention_backend` stay as they are. Raises InputError on a model without Wan's self-attention or whose tokens
    are spread over several GPUs.
    """
    controller = PlanController([plans] if isinstance(plans, AttentionPlan) else plans, dense_steps, backend)
    install(pipe, controller, lambda name, dense: PlanProcessor(controller, dense), dense_layers)
    return controller


def install(
    pipe: object,
    controller: PlanController,
    make_processor: Callable[[str, Any], PlanProcessor],  # from the layer's name and its own processor
    dense_layers: Callable[[str], bool] = lambda name: False,
) -> None:
    """Give every self-attention a processor that reads the controller, and the controller an eye on every call."""
    remove_iasa(pipe)
    for model in transformers(pipe):
        for name, attn in self_attentions(model).items():
            _refuse_parallel(getattr(attn.processor, "_parallel_config", None))
            if not dense_layers(name):
                attn.set_processor(make_processor(name, attn.processor))
        hook = model.register_forward_pre_hook(controller.before_forward, with_kwargs=True, prepend=True)
        model.__dict__[_HOOK] = (hook, controller)
        model.__dict__["cache_context"] = controller.watch(model.cache_context)
        register_state(model, controller)


def remove_iasa(pipe: object) -> None:
    """Every layer computes again what it did before `apply_iasa`."""
    for model in transformers(pipe):
        for attn in self_attentions(model).values():
            if isinstance(attn.processor, PlanProcessor):
                attn.set_processor(attn.processor.dense)
        hook, controller = model.__dict__.pop(_HOOK, (None, None))
        if hook is not None:
            hook.remove()
            del model.__dict__["cache_context"]
            unregister_state(model, controller)


def transformers(pipe: object) -> list[Transformer]:
    """The transformers of a pipeline (Wan 2.2 may have two), or the one that is given."""
    if isinstance(pipe, nn.Module):
        return [pipe]
    found = [getattr(pipe, name, None) for name in ("transformer", "transformer_2")]
    if not any(found_one is not None for found_one in found):
        raise InputError(f"{type(pipe).__name__} has no transformer; WanVACEPipeline or WanAnimatePipeline is accepted")
    return [model for model in found if model is not None]


def _refuse_parallel(config: object) -> None:
    if config is not None:
        raise InputError("a plan and context parallelism do not go together: the tokens of a clip must be on one GPU")
