"""What the tests of the backbones share: poses, pictures, tiny pipelines' calls, and the oracle, masked dense attention."""

from __future__ import annotations

import numpy as np
import torch
from diffusers.models.transformers.transformer_wan import WanAttnProcessor
from PIL import Image

from iasa import paths
from iasa.backbones.tiny_models import text_embedding
from iasa.backbones.wan_attention import self_attentions
from iasa.config import MaskOptions
from iasa.keypoints import Keypoints, load_keypoints

HEIGHT, WIDTH, FRAMES = 64, 96, 17
LATENT = (1, 16, 6, 8, 12)  # with one reference
SPARSE = MaskOptions(top_k=1, window=1, block=16)  # the paper's causal mask
BOTH_WAYS = MaskOptions(top_k=1, window=1, block=16, causal=False)
WHOLE = MaskOptions(top_k=1, window=1, block=16, causal=False, whole_window=True)
POSES = load_keypoints(paths.POSES / "welcome.npz")


def poses(frames: int = FRAMES) -> Keypoints:
    return POSES[: 2 * frames : 2]


def pictures(count: int, height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> list[Image.Image]:
    random = np.random.default_rng(seed)
    return [Image.fromarray(random.integers(0, 255, (height, width, 3), dtype=np.uint8)) for _ in range(count)]


def quiet(pipe):
    pipe.set_progress_bar_config(disable=True)
    return pipe


def run_vace(pipe, output: str = "latent", frames: int = FRAMES, references: int = 1, steps: int = 2, **options):
    return pipe(
        video=pictures(frames), reference_images=pictures(references, seed=9), height=HEIGHT, width=WIDTH, num_frames=frames,
        num_inference_steps=steps, guidance_scale=4.0, prompt_embeds=text_embedding(), negative_prompt_embeds=text_embedding(6),
        generator=torch.Generator().manual_seed(3), output_type=output, return_dict=False, **options,
    )[0]  # fmt: skip


def run_animate(pipe, frames: int, segment: int, steps: int = 2, output: str = "np"):
    return pipe(
        image=pictures(1, seed=9)[0], pose_video=pictures(frames), face_video=pictures(frames, 16, 16, seed=1), height=HEIGHT,
        width=WIDTH, segment_frame_length=segment, num_inference_steps=steps, prompt_embeds=text_embedding(), guidance_scale=1.0,
        generator=torch.Generator().manual_seed(3), output_type=output, return_dict=False,
    )[0]  # fmt: skip


def model_inputs(frames: int = 6, seed: int = 0) -> dict:
    """What a call of VACE's transformer takes beside the noise level."""
    generator = torch.Generator().manual_seed(seed)
    hidden, control = (torch.randn(1, c, frames, 8, 12, generator=generator) for c in (16, 96))
    return dict(hidden_states=hidden, control_hidden_states=control, encoder_hidden_states=text_embedding())


class MaskedProcessor(WanAttnProcessor):
    """diffusers' own processor with a dense mask: bool [tokens, tokens], or a function that gives it."""

    def __init__(self, mask) -> None:
        super().__init__()
        self.mask = mask if callable(mask) else lambda: mask

    def __call__(self, attn, hidden, encoder=None, mask=None, rotary_emb=None):
        return super().__call__(attn, hidden, encoder, self.mask(), rotary_emb)


def with_mask(model, mask, call):
    """What `call` gives when every self-attention of the model is masked dense attention."""
    before = {name: attn.processor for name, attn in self_attentions(model).items()}
    for attn in self_attentions(model).values():
        attn.set_processor(MaskedProcessor(mask))
    try:
        return call()
    finally:
        for name, attn in self_attentions(model).items():
            attn.set_processor(before[name])


def assert_close(found, wanted, tolerance: float = 1e-5) -> None:
    """Largest difference in shares of the largest value."""
    found, wanted = (torch.as_tensor(x).float() for x in (found, wanted))
    difference = float((found - wanted).abs().max())
    assert difference <= tolerance * max(1.0, float(wanted.abs().max())), difference


def gradients(model, call) -> torch.Tensor:
    """All gradients that the mean square of `call` leaves, as one vector."""
    model.zero_grad()
    call().square().mean().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
