"""The causal roll-out: equal to the whole clip, bounded in memory, right gradients, and a decoder that keeps step."""

from __future__ import annotations

import pytest
import torch
from wan_cases import (
    FRAMES,
    HEIGHT,
    POSES,
    SPARSE,
    WIDTH,
    assert_close,
    gradients,
    model_inputs,
    poses,
    with_mask,
)

from iasa.backbones import apply_iasa, remove_iasa, tiny_models
from iasa.backbones.replay import enable_checkpointing
from iasa.backbones.wan_plan import video_plan
from iasa.backbones.wan_stream import CausalWan, StreamDecoder, few_step_levels, roll_out, split_chunks
from iasa.config import InputError, MaskOptions

CHUNKS = MaskOptions(top_k=1, window=1, block=16, chunk=3)
NEAR_WHOLE = MaskOptions(top_k=1, window=2, block=16, whole_window=True)
LEVEL = {"timestep": torch.tensor([400.0])}


@pytest.fixture(scope="module")
def model():
    return tiny_models.tiny_vace().transformer


def part(given: dict, frames: range) -> dict:
    cut = {name: x[:, :, frames.start : frames.stop] for name, x in given.items() if name != "encoder_hidden_states"}
    cut["hidden"] = cut.pop("hidden_states")
    return cut | {"encoder_hidden_states": given["encoder_hidden_states"]} | LEVEL


@pytest.mark.parametrize("options, references", [(SPARSE, 1), (CHUNKS, 1), (NEAR_WHOLE, 2), (SPARSE, 0)])
def test_chunk_by_chunk_is_the_whole_clip(model, options, references):
    """The key cache, the rotary offsets and VACE's control blocks: all frames at one noise level, at once and in turn."""
    plan = video_plan(poses(), HEIGHT, WIDTH, references, options=options)
    given = model_inputs(plan.grid.frames)
    wanted = with_mask(model, plan.dense(), lambda: model(**given, **LEVEL, return_dict=False)[0].detach())
    apply_iasa(model, plan)
    with torch.no_grad():
        assert_close(model(**given, **LEVEL, return_dict=False)[0], wanted)
        remove_iasa(model)
        with CausalWan(model, plan, HEIGHT // 8, WIDTH // 8) as stream:
            parts = [stream(frames, **part(given, frames)) for frames in stream.chunks]
    assert_close(torch.cat(parts, 2), wanted)
    with torch.no_grad():
        dense = model(**given, **LEVEL, return_dict=False)[0]
    assert (dense - wanted).abs().max() > 1e-2


def test_the_cache_does_not_grow_with_the_video(model):
    plan = video_plan(POSES[:129:2], HEIGHT, WIDTH, 1, options=MaskOptions(top_k=1, window=1, block=16, reach=4))
    assert plan.grid.frames == 18
    given = model_inputs(plan.grid.frames)
    sizes = []
    with torch.no_grad(), CausalWan(model, plan, HEIGHT // 8, WIDTH // 8) as stream:
        for frames in stream.chunks:
            stream(frames, **part(given, frames))
            sizes.append({len(pairs) for pairs in stream.cache.values()})
    assert all(len(kept) == 1 and max(kept) <= 6 for kept in sizes)  # the reference and what is within reach


def test_a_few_step_roll_out_with_streamed_decoding():
    pipe = tiny_models.tiny_vace()
    plan = video_plan(poses(), HEIGHT, WIDTH, 1, options=CHUNKS)
    given = model_inputs()
    decode = StreamDecoder(pipe.vae)
    other = StreamDecoder(pipe.vae)  # two streams do not disturb each other

    def arguments(frames: range) -> dict:
        control = given["control_hidden_states"][:, :, frames.start : frames.stop]
        return dict(encoder_hidden_states=given["encoder_hidden_states"], control_hidden_states=control)

    latents, shown = [], []
    with torch.no_grad(), CausalWan(pipe.transformer, plan, 8, 12) as stream:
        reference = torch.zeros(1, 16, 1, 8, 12)
        generator = torch.Generator().manual_seed(1)
        for clean in roll_out(stream, given["hidden_states"], reference, few_step_levels(4), arguments, generator):
            latents.append(clean)
            shown.append(decode(clean))
            other(torch.zeros_like(clean))
        assert [x.shape[2] for x in latents] == [3, 2] and [x.shape[2] for x in shown] == [9, 8]
        whole = torch.cat(latents, 2)
        at_once = pipe.vae.decode(whole * decode.std + decode.mean, return_dict=False)[0]
    assert whole.isfinite().all() and torch.equal(torch.cat(shown, 2), at_once) and at_once.shape[2] == FRAMES
    with torch.no_grad(), CausalWan(pipe.transformer, plan, 8, 12) as stream:
        again = roll_out(
            stream,
            given["hidden_states"],
            reference,
            few_step_levels(4),
            arguments,
            torch.Generator().manual_seed(1),
        )
        assert torch.equal(torch.cat(list(again), 2), whole)
    assert few_step_levels(4)[0] == 1.0 and few_step_levels(4, 1.0) == [1.0, 0.75, 0.5, 0.25]


@pytest.mark.parametrize("options", [SPARSE, CHUNKS], ids=["frames", "chunks"])
def test_gradients_of_a_checkpointed_roll_out(options):
    """What runs again must see the chunk and the keys of then: torch raises otherwise, or, worse, does not."""
    model = tiny_models.tiny_vace(2).transformer.train()
    plan = video_plan(poses(), HEIGHT, WIDTH, 1, options=options)
    given = model_inputs()

    def found() -> torch.Tensor:
        with CausalWan(model, plan, 8, 12) as stream:
            return gradients(model, lambda: torch.cat([stream(f, **part(given, f)) for f in stream.chunks], 2))

    plain = found()
    enable_checkpointing(model)
    assert torch.equal(found(), plain)
    with CausalWan(model, plan, 8, 12) as stream:
        loss = torch.cat([stream(f, **part(given, f)) for f in stream.chunks], 2).square().mean()
    with pytest.raises(InputError, match="removed between the forward and the backward pass"):
        loss.backward()
    model.enable_gradient_checkpointing()
    with pytest.raises(InputError, match="ordinary gradient checkpointing"):
        found()


def test_bad_input_is_one_sentence(model):
    both_ways = video_plan(poses(), HEIGHT, WIDTH, 1)
    with pytest.raises(InputError, match="takes a causal plan"):
        CausalWan(model, both_ways, 8, 12)
    plan = video_plan(poses(), HEIGHT, WIDTH, 1, options=CHUNKS)
    assert split_chunks(plan) == [range(0, 1), range(1, 4), range(4, 6)]
    given = model_inputs()
    with CausalWan(model, plan, 8, 12) as stream:
        with pytest.raises(InputError, match="frames 2 to 3 are not a chunk"):
            stream(range(2, 4), **part(given, range(2, 4)))
        with pytest.raises(InputError, match="frame 0 has not been rolled out"):
            stream(range(1, 4), **part(given, range(1, 4)))
        with pytest.raises(InputError, match="the plan has 1 references"):
            next(roll_out(stream, given["hidden_states"], None, [1.0], lambda frames: {}))
