"""`python -m iasa backbone-train`: a Wan model distilled to few steps under the plan, as a LoRA for `generate --lora`.

Under `accelerate launch` several processes share each batch; with accelerate's FSDP2 the weights are spread over them.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path

from iasa.cli.arguments import add_seed, count, input_folder, tell


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=input_folder, required=True, metavar="SHARDS", help="folder of `backbone-data`")
    parser.add_argument(
        "--weights", required=True, metavar="W", help="VACE: a folder of diffusers' layout, or OWNER/NAME"
    )
    parser.add_argument(
        "--run", required=True, metavar="R", help="folder for checkpoints, losses and student.safetensors"
    )
    parser.add_argument("--updates", type=count, default=600, help="of the student (default: 600)")
    parser.add_argument("--batch", type=count, default=8, help="clips of an update, over all processes (default: 8)")
    parser.add_argument("--steps", type=count, default=4, help="denoising steps of the student (default: 4)")
    parser.add_argument("--rank", type=count, default=64, help="of the adapters (default: 64)")
    parser.add_argument(
        "--whole-clip", action="store_true", help="the student denoises the clip at once, not chunk by chunk"
    )
    parser.add_argument("--causal-weights", metavar="FILE", help="start from a causal few-step model's main blocks")
    parser.add_argument(
        "--region", type=float, default=0.0, help="weight of the region loss on decoded crops (default: 0)"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --run")
    parser.add_argument("--save-every", type=count, default=50, help="updates (default: 50)")
    add_seed(parser)


def run(arguments: argparse.Namespace) -> dict:
    from accelerate import Accelerator
    from accelerate.utils import fsdp2_prepare_model

    from iasa.backbones.latent_shards import ShardClips
    from iasa.backbones.wan_distill import DistillSettings
    from iasa.backbones.wan_plan import TRAINING_FREE
    from iasa.backbones.wan_region_loss import make_region_loss
    from iasa.backbones.wan_trainer import BackboneTrainer
    from iasa.backbones.wan_weights import load_causal_weights, load_pipeline
    from iasa.device import pick_precision

    clips = ShardClips(Path(arguments.data))
    accelerator = Accelerator()
    device, dtype = accelerator.device, pick_precision(device=accelerator.device).dtype
    sharded = accelerator.is_fsdp2  # no one device holds the weights: they are read into memory and spread from there
    pipe = load_pipeline(
        arguments.weights, "vace", device, dtype, place="cpu" if sharded else device,
        without=("text_encoder", "tokenizer"),  # shards hold what they would give
    )  # fmt: skip
    if arguments.causal_weights:
        load_causal_weights(pipe.transformer, arguments.causal_weights)
    settings = DistillSettings(
        steps=arguments.steps, rank=arguments.rank, causal=not arguments.whole_clip, region=arguments.region, seed=arguments.seed,
        mask=TRAINING_FREE if arguments.whole_clip else DistillSettings.mask,
    )  # fmt: skip
    region = make_region_loss(pipe.vae.to(device)) if arguments.region else None
    folder = Path(arguments.run)
    trainer = BackboneTrainer(
        pipe.transformer, clips, settings, folder, arguments.batch, region=region,
        prepare=partial(fsdp2_prepare_model, accelerator) if sharded else None,
    )  # fmt: skip
    if arguments.resume:
        trainer.resume()
    folder.mkdir(parents=True, exist_ok=True)
    losses = {}
    with open(folder / "losses.jsonl", "a") as file:
        for losses in trainer.fit(arguments.updates, arguments.save_every):
            if accelerator.is_main_process:
                file.write(json.dumps(losses) + "\n")
                file.flush()
    tell(arguments, f"{folder / 'student.safetensors'} after {trainer.step} updates on {len(clips)} clips")
    return {**losses, "clips": len(clips), "lora": str(folder / "student.safetensors")}
