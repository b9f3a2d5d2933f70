"""The plan under every self-attention of diffusers' Wan pipelines: equal to masked dense attention, and undone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from wan_cases import (
    BOTH_WAYS,
    FRAMES,
    HEIGHT,
    SPARSE,
    WHOLE,
    WIDTH,
    assert_close,
    gradients,
    model_inputs,
    poses,
    quiet,
    run_animate,
    run_vace,
    with_mask,
)  # fmt: skip

from iasa.backbones import apply_iasa, full_plan, plan_for, remove_iasa, tiny_models
from iasa.backbones.replay import enable_checkpointing
from iasa.backbones.wan_attention import PlanProcessor, self_attentions
from iasa.backbones.wan_plan import VideoSize, animate_segments, fit_poses, video_plan
from iasa.config import InputError, MaskOptions


@pytest.fixture(scope="module")
def vace():
    return quiet(tiny_models.tiny_vace())


@pytest.fixture(autouse=True)
def undone(request):
    yield
    if "vace" in request.fixturenames:
        remove_iasa(request.getfixturevalue("vace"))


def plan_of(pipe, options=SPARSE, **more):
    return plan_for(pipe, poses(), HEIGHT, WIDTH, options=options, **more)


@pytest.mark.parametrize("options", [SPARSE, BOTH_WAYS, WHOLE], ids=["causal", "both ways", "whole neighbours"])
def test_the_pipeline_is_masked_dense_attention(vace, options):
    plan = plan_of(vace, options)
    wanted = with_mask(vace.transformer, plan.dense(), lambda: run_vace(vace))
    dense = run_vace(vace)
    for backend in ("auto", "cpu", "dense", "reference"):
        apply_iasa(vace, plan, backend=backend)
        found = run_vace(vace)
        assert_close(found, wanted)
    assert (found - dense)[:, :, 1:].abs().mean() > 1e-3  # and the mask matters


@pytest.mark.parametrize("backend", ["triton", "two-pass", "flex"])
def test_the_backends_of_a_gpu(monkeypatch, backend):
    """The kernels in Triton's interpreter, FlexAttention as it is before compiling: the same layouts and orders."""
    pytest.importorskip("triton", reason="Triton's kernels need Triton")
    from torch.nn.attention.flex_attention import flex_attention

    monkeypatch.setattr(
        "iasa.backbones.prepared_attention.compiled_flex",
        lambda q, k, v, mask: flex_attention(q, k, v, block_mask=mask),
    )
    model = tiny_models.tiny_vace().transformer
    plan = video_plan(poses(), HEIGHT, WIDTH, 1, options=WHOLE)
    given = model_inputs() | {"timestep": torch.tensor([500.0]), "return_dict": False}
    with torch.no_grad():
        wanted = with_mask(model, plan.dense(), lambda: model(**given)[0])
        apply_iasa(model, plan, backend=backend)
        assert_close(model(**given)[0], wanted)


def test_chunks_and_two_references(vace):
    plan = plan_of(vace, MaskOptions(top_k=1, window=0, block=16, chunk=2), references=2)
    assert plan.grid.frames == 7 and plan.whole[0] == (0, 1) and plan.whole[4] == (4, 5, 0, 1)
    wanted = with_mask(vace.transformer, plan.dense(), lambda: run_vace(vace, references=2))
    apply_iasa(vace, plan)
    assert_close(run_vace(vace, references=2), wanted)


def test_a_full_plan_is_the_model_and_removal_leaves_no_trace(vace):
    wanted = run_vace(vace, "np")
    control = apply_iasa(vace, full_plan(VideoSize(FRAMES, HEIGHT, WIDTH, 1)), backend="cpu")
    assert_close(run_vace(vace, "np"), wanted)
    assert control.calls == {"sparse": 4, "dense": 0}  # two steps, two branches of guidance
    names = {name for name, p in vace.transformer.attn_processors.items() if isinstance(p, PlanProcessor)}
    assert names == {f"blocks.{i}.attn1.processor" for i in range(3)} | {
        f"vace_blocks.{i}.attn1.processor" for i in range(2)
    }
    remove_iasa(vace)
    assert not any(isinstance(p, PlanProcessor) for p in vace.transformer.attn_processors.values())
    assert np.array_equal(run_vace(vace, "np"), wanted)


def test_dense_steps_and_layers(vace):
    plan = plan_of(vace)
    wanted = run_vace(vace)
    control = apply_iasa(vace, plan, dense_steps=2)
    assert torch.equal(run_vace(vace), wanted) and control.calls == {"sparse": 0, "dense": 4}
    control = apply_iasa(vace, plan, dense_steps=1)
    first = run_vace(vace)
    assert control.calls == {"sparse": 2, "dense": 2} and not torch.equal(first, wanted)
    assert torch.equal(run_vace(vace), first)  # a second call of the pipeline begins with a dense step again
    apply_iasa(vace, plan, dense_layers=lambda name: True)
    assert torch.equal(run_vace(vace), wanted)
    apply_iasa(vace, plan, dense_layers=lambda name: name.startswith("vace_blocks"))
    assert not torch.equal(run_vace(vace), wanted)


@pytest.mark.parametrize("steps", [1, 2])
def test_animate_in_segments(steps):
    pipe = quiet(tiny_models.tiny_animate())
    frames, segment = 21, 13  # two segments of 13 that share one picture
    plans = plan_for(pipe, poses(frames), HEIGHT, WIDTH, options=SPARSE, segment=segment)
    assert [plan.grid.frames for plan in plans] == [5, 5] and not torch.equal(
        plans[0].region_bits, plans[1].region_bits
    )
    dense = run_animate(pipe, frames, segment, steps)
    control = apply_iasa(pipe, plans)
    found = run_animate(pipe, frames, segment, steps)
    assert control.segment == 1 and control.calls == {"sparse": 2 * steps, "dense": 0}
    again = run_animate(pipe, frames, segment, steps)
    assert control.segment == 1 and np.array_equal(again, found)
    remove_iasa(pipe)
    calls = iter(range(1000))
    masks = [plan.dense() for plan in plans]
    wanted = with_mask(
        pipe.transformer,
        lambda: masks[next(calls) // (5 * steps)],
        lambda: run_animate(pipe, frames, segment, steps),
    )
    assert_close(found, wanted)
    assert found.shape == (1, frames, HEIGHT, WIDTH, 3) and np.abs(found - dense).mean() > 1e-5


def test_segments_are_cut_as_the_pipeline_cuts_them():
    pipe = tiny_models.tiny_animate(5)
    for frames, segment, shared in ((21, 13, 1), (30, 13, 5), (13, 13, 1), (7, 13, 1)):
        step = segment - shared
        target = frames + -(frames - shared) % step
        padded = pipe.pad_video_frames(list(range(frames)), target)
        parts = animate_segments(poses(frames), segment, shared)
        assert len(parts) == max(1, target // step)
        for i, part in enumerate(parts):
            np.testing.assert_array_equal(part.xy, poses(frames).xy[padded[i * step : i * step + segment]])


def test_image_to_video_has_no_reference_and_its_cross_attention_stays():
    pipe = quiet(tiny_models.tiny_i2v())
    plan = plan_for(pipe, poses(), HEIGHT, WIDTH, options=SPARSE)
    assert plan.options.sinks == 0 and plan.grid.frames == 5

    def call():
        from wan_cases import pictures

        return pipe(
            image=pictures(1)[0], height=HEIGHT, width=WIDTH, num_frames=FRAMES, num_inference_steps=2, guidance_scale=1.0,
            prompt_embeds=tiny_models.text_embedding(), generator=torch.Generator().manual_seed(3), output_type="latent",
            return_dict=False,
        )[0]  # fmt: skip

    wanted = with_mask(pipe.transformer, plan.dense(), call)
    apply_iasa(pipe, plan)
    assert_close(call(), wanted)


def test_what_engineers_do_to_a_pipeline_stays(vace):
    """Fused projections, quantised linears, offloading by groups, attention backends, half precision."""
    plan = plan_of(vace)
    wanted = with_mask(vace.transformer, plan.dense(), lambda: run_vace(vace))
    pipe = quiet(tiny_models.tiny_vace())
    apply_iasa(pipe, plan)
    pipe.transformer.fuse_qkv_projections()
    assert_close(run_vace(pipe), wanted)
    pipe.transformer.set_attention_backend("native")
    assert all(a.processor._attention_backend == "native" for a in self_attentions(pipe.transformer).values())
    pipe.transformer.reset_attention_backend()
    cpu = torch.device("cpu")
    pipe.transformer.enable_group_offload(cpu, cpu, offload_type="block_level", num_blocks_per_group=1)
    assert_close(run_vace(pipe), wanted)
    half = quiet(tiny_models.tiny_vace())
    half.transformer.to(torch.bfloat16)
    apply_iasa(half, plan)
    found = run_vace(half)
    assert found.isfinite().all() and (found - wanted).abs().mean() < 0.1
    quantised = quiet(tiny_models.tiny_vace())
    for attn in self_attentions(quantised.transformer).values():
        torch.ao.quantization.quantize_dynamic(attn, {torch.nn.Linear}, inplace=True)
    mask = plan.dense()
    oracle = with_mask(quantised.transformer, mask, lambda: run_vace(quantised))
    apply_iasa(quantised, plan)
    assert_close(run_vace(quantised), oracle, 1e-2)  # rounding to 8 bits falls either way
    assert (oracle - wanted).abs().max() > 1e-4


def test_two_clips_with_a_plan_each():
    model = tiny_models.tiny_vace().transformer
    plans = [video_plan(part, HEIGHT, WIDTH, 1, options=SPARSE) for part in (poses(), poses(2 * FRAMES)[FRAMES:])]
    one, two = model_inputs(seed=0), model_inputs(seed=1)
    both = {name: torch.cat([one[name], two[name]]) for name in one}
    apply_iasa(model, [plans])
    with torch.no_grad():
        found = model(**both, timestep=torch.tensor([500.0, 500.0]), return_dict=False)[0]
        for i, (plan, given) in enumerate(zip(plans, (one, two), strict=True)):
            apply_iasa(model, plan)
            assert_close(found[i : i + 1], model(**given, timestep=torch.tensor([500.0]), return_dict=False)[0])
        apply_iasa(model, [plans])
        with pytest.raises(InputError, match="2 plans for a batch of 1"):
            model(**one, timestep=torch.tensor([500.0]), return_dict=False)


def test_gradients_under_a_plan_and_with_checkpointing():
    model = tiny_models.tiny_vace().transformer.train()
    plan = video_plan(poses(), HEIGHT, WIDTH, 1, options=SPARSE)

    def call():
        return model(**model_inputs(), timestep=torch.tensor([500.0]), return_dict=False)[0]

    wanted = with_mask(model, plan.dense(), lambda: gradients(model, call))
    apply_iasa(model, plan, backend="cpu")
    plain = gradients(model, call)
    assert_close(plain, wanted, 1e-6)
    model.enable_gradient_checkpointing()
    with pytest.raises(InputError, match="ordinary gradient checkpointing gives wrong gradients under a plan"):
        call()
    enable_checkpointing(model)
    assert torch.equal(gradients(model, call), plain)


def test_what_runs_again_sees_the_plan_of_then():
    """The hazard: another plan of the same shape before the backward pass gives other gradients without a word."""
    model = tiny_models.tiny_vace().transformer.train()
    plan = video_plan(poses(), HEIGHT, WIDTH, 1, options=SPARSE)
    other = video_plan(poses(), HEIGHT, WIDTH, 1, options=MaskOptions(top_k=0, window=0, block=16))

    def gradients_with(replay: bool, swap: bool) -> torch.Tensor:
        model.zero_grad()
        if replay:
            enable_checkpointing(model)
        control = apply_iasa(model, [plan, other], backend="dense")
        loss = model(**model_inputs(), timestep=torch.tensor([500.0]), return_dict=False)[0].square().mean()
        if swap:  # the next clip's forward pass comes before this one's backward
            model(**model_inputs(), timestep=torch.tensor([900.0]), return_dict=False)
            assert control.segment == 1
        loss.backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    wanted = gradients_with(replay=False, swap=False)
    assert torch.equal(gradients_with(replay=True, swap=True), wanted)
    loss = model(**model_inputs(), timestep=torch.tensor([500.0]), return_dict=False)[0].square().mean()
    remove_iasa(model)
    with pytest.raises(InputError, match="removed between the forward and the backward pass"):
        loss.backward()


def test_the_ordinary_way_is_wrong_which_is_why_it_is_refused(monkeypatch):
    model = tiny_models.tiny_vace().transformer.train()
    plan = video_plan(poses(), HEIGHT, WIDTH, 1, options=SPARSE)
    other = video_plan(poses(), HEIGHT, WIDTH, 1, options=MaskOptions(top_k=0, window=0, block=16))
    monkeypatch.setattr("iasa.backbones.wan_attention.check_checkpointing", lambda model: None)
    model.enable_gradient_checkpointing()
    found = []
    for swap in (False, True):
        model.zero_grad()
        apply_iasa(model, [plan, other], backend="dense")
        loss = model(**model_inputs(), timestep=torch.tensor([500.0]), return_dict=False)[0].square().mean()
        if swap:
            model(**model_inputs(), timestep=torch.tensor([900.0]), return_dict=False)
        loss.backward()
        found.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert float((found[1] - found[0]).norm() / found[0].norm()) > 1e-3


def test_blocks_compile_whole(vace):
    """Without a graph break, and another plan costs one recompilation, not an error."""
    plan, other = plan_of(vace), plan_of(vace, MaskOptions(top_k=0, window=0, block=16))
    model = tiny_models.tiny_vace(2).transformer
    given = model_inputs() | {"timestep": torch.tensor([500.0]), "return_dict": False}
    torch._dynamo.reset()
    with torch.no_grad():
        wanted = [with_mask(model, one.dense(), lambda: model(**given)[0]) for one in (plan, other)]
        model.compile_repeated_blocks(backend="eager", fullgraph=True)
        for backend in ("dense", "triton"):
            for one, mask in zip((plan, other), wanted, strict=True):
                apply_iasa(model, one, backend=backend)
                assert_close(model(**given)[0], mask)
    torch._dynamo.reset()


def test_bad_input_is_one_sentence(vace):
    apply_iasa(vace, plan_of(vace, references=0))
    with pytest.raises(InputError, match="5 latent frames of 4 x 6 tokens and the video has 6 latent frames of 4 x 6"):
        run_vace(vace)
    for frames, height, width, sentence in (
        (80, 64, 96, "80 pictures do not fill"), (81, 60, 96, "96 x 60 is refused"), (81, 64, 100, "100 x 64 is refused"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=sentence):
            VideoSize(frames, height, width)
    assert VideoSize(81, 480, 832, 1).grid.tokens == 34_320 and VideoSize(81, 512, 512, 1).grid.tokens == 22_528
    with pytest.raises(InputError, match="WanPipeline"):
        plan_for(object(), poses(), HEIGHT, WIDTH)
    with pytest.raises(InputError, match="Linear has no self-attention of Wan's"):
        apply_iasa(torch.nn.Linear(2, 2), plan_of(vace))
    with pytest.raises(InputError, match="backend is 'quick'"):
        apply_iasa(vace, plan_of(vace), backend="quick")
    with pytest.raises(InputError, match="1 poses for 2 references"):
        plan_of(vace, references=2, reference_pose=poses(1))
    apply_iasa(vace, plan_of(vace))
    processor = next(iter(self_attentions(vace.transformer).values())).processor
    with pytest.raises(InputError, match="context parallelism do not go together"):
        processor._parallel_config = object()
    assert len(fit_poses(poses(10), 16.0)) % 4 == 1
