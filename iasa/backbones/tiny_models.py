"""Random models of the real Wan classes, small enough for a processor: for tests, the notebook and trying a script out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan, WanAnimatePipeline, WanImageToVideoPipeline, WanVACEPipeline

TEXT = 16  # width of the text encoder
CORE: dict[str, Any] = dict(
    patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=16, out_channels=16, text_dim=TEXT, freq_dim=32, ffn_dim=64,
    cross_attn_norm=True, qk_norm="rms_norm_across_heads", rope_max_seq_len=64,
)  # fmt: skip
WORDS = "a person speaks to the camera plain background still".split()


def tiny_vae() -> AutoencoderKLWan:
    from diffusers import AutoencoderKLWan

    torch.manual_seed(1)
    sizes: dict[str, Any] = dict(
        base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    )
    return AutoencoderKLWan(**sizes).eval()


def tiny_vace(layers: int = 3, text: bool = False) -> WanVACEPipeline:
    """A pipeline with `layers` blocks and two control blocks; `text` adds a tokenizer and a text encoder."""
    from diffusers import FlowMatchEulerDiscreteScheduler, WanVACEPipeline, WanVACETransformer3DModel

    torch.manual_seed(0)
    model = WanVACETransformer3DModel(
        **CORE, in_channels=16, num_layers=layers, vace_layers=[0, layers - 1], vace_in_channels=96
    )
    tokenizer, encoder = _maybe_text(text)
    scheduler: Any = FlowMatchEulerDiscreteScheduler(shift=3.0)
    return WanVACEPipeline(
        tokenizer=tokenizer,
        text_encoder=encoder,
        transformer=loud(model).eval(),
        vae=tiny_vae(),
        scheduler=scheduler,
    )


def tiny_animate(layers: int = 5, text: bool = False) -> WanAnimatePipeline:
    from diffusers import FlowMatchEulerDiscreteScheduler, WanAnimatePipeline, WanAnimateTransformer3DModel

    torch.manual_seed(0)
    model = WanAnimateTransformer3DModel(
        **CORE, in_channels=36, latent_channels=16, num_layers=layers, image_dim=32, added_kv_proj_dim=32,
        motion_encoder_channel_sizes={"4": 16, "8": 16, "16": 16}, motion_encoder_size=16, motion_style_dim=8, motion_dim=4,
        motion_encoder_dim=16, face_encoder_hidden_dim=16, face_encoder_num_heads=2, inject_face_latents_blocks=5,
    )  # fmt: skip
    encoder, processor = _tiny_vision()
    tokenizer, text_encoder = _maybe_text(text)
    scheduler: Any = FlowMatchEulerDiscreteScheduler(shift=3.0)
    return WanAnimatePipeline(
        tokenizer=tokenizer, text_encoder=text_encoder, vae=tiny_vae(), transformer=loud(model).eval(), image_encoder=encoder,
        image_processor=processor, scheduler=scheduler,
    )  # fmt: skip


def tiny_i2v(layers: int = 2) -> WanImageToVideoPipeline:
    from diffusers import FlowMatchEulerDiscreteScheduler, WanImageToVideoPipeline, WanTransformer3DModel

    torch.manual_seed(0)
    model = WanTransformer3DModel(**CORE, in_channels=36, num_layers=layers, image_dim=32, added_kv_proj_dim=32)
    encoder, processor = _tiny_vision()
    tokenizer, text_encoder = _maybe_text(False)
    return WanImageToVideoPipeline(
        tokenizer=tokenizer, text_encoder=text_encoder, vae=tiny_vae(), transformer=loud(model).eval(), image_encoder=encoder,
        image_processor=processor, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )  # fmt: skip


def tiny_text() -> tuple[Any, Any]:
    """A tokenizer of WORDS and a umT5 encoder."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

    known = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    words = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    torch.manual_seed(2)
    config = UMT5Config(vocab_size=len(known), d_model=TEXT, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    return tokenizer, UMT5EncoderModel(config).eval()


def _maybe_text(wanted: bool) -> tuple[Any, Any]:
    return tiny_text() if wanted else (None, None)


def text_embedding(seed: int = 5) -> torch.Tensor:
    """What a text encoder would give: [1, 512, TEXT]."""
    return torch.randn(1, 512, TEXT, generator=torch.Generator().manual_seed(seed))


def loud(model: Any, seed: int = 0) -> Any:
    """The model with weights so large that attention is far from uniform: else every mask gives nearly the same output."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if weight.ndim >= 2 and ("attn" in name or "patch_embedding" in name) and name.endswith("weight"):
            weight.data = torch.randn(weight.shape, generator=generator) * (2.0 / weight[0].numel()) ** 0.5
    return model


def _tiny_vision() -> tuple[Any, Any]:
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

    config = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=32,
        patch_size=16,
    )
    return CLIPVisionModel(config).eval(), CLIPImageProcessor(size=32, crop_size=32)
