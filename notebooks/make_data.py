"""Draw the pictures of notebook 5 and train its half-trained start.

    python notebooks/make_data.py                 data/tiny_frames.npz (needs skia) and data/tiny_teacher.safetensors
    python notebooks/make_data.py --steps 3000     a longer training

The pictures are small, 64 x 64, so that no learned decoder stands between a latent and what is seen of it: 192 x 8 x 8
numbers are 8 x 8 pixels of three colours for each of 8 x 8 tokens.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from tqdm import trange

from iasa.attention.frame_patterns import attend_own
from iasa.avatar.renderer import Renderer
from iasa.avatar.rig import make_keypoints, rest_motion
from iasa.avatar.speaker import load_speaker
from iasa.losses import add_noise, flow_loss, sample_levels
from iasa.models.transformer import VideoTransformer
from iasa.motion import speech_to_motion
from iasa.paths import SPEECH
from iasa.speech import analyse, read_audio

DATA = Path(__file__).resolve().parent / "data"
SPEAKERS = ("alba", "bruno", "chidi", "dana", "emre", "femi")  # the last is held out
UNSEEN = 8  # frames of each from another performance, held out
FRAMES, SIDE, PATCH = 48, 64, 8  # of each speaker, beside the reference; pixels of a picture's and of a token's side


def draw_frames() -> dict[str, np.ndarray]:
    """Reference, 48 frames and 8 held-out ones of every speaker: pictures uint8 [s, 57, 64, 64, 3], xy float16, seen bool."""
    pictures, xy, seen = [], [], []
    phones = [tuple(phone) for phone in json.loads((SPEECH / "tea.json").read_text())["phones"]]
    features = analyse(read_audio(SPEECH / "tea.mp3")[0], phones=phones)
    for seed, name in enumerate(SPEAKERS):
        identity = load_speaker(name).identity
        motion = rest_motion(1)
        for performance, count in ((seed, FRAMES), (100 + seed, UNSEEN)):
            whole = speech_to_motion(features, performance, model="rules")
            chosen = np.random.default_rng(performance).choice(len(whole), count, replace=False)
            motion = motion.concat(whole[np.sort(chosen)])
        keypoints = make_keypoints(identity, motion)
        drawn = torch.from_numpy(Renderer(identity).render(motion)).movedim(-1, 1).float()
        small = F.interpolate(drawn, (SIDE, SIDE), mode="area").round().byte().movedim(1, -1)
        pictures.append(small.numpy())
        xy.append(keypoints.xy.astype(np.float16))
        seen.append(keypoints.confidence > 0)
    return {"pictures": np.stack(pictures), "xy": np.stack(xy), "seen": np.stack(seen)}


def to_latents(pictures: np.ndarray) -> Tensor:
    """Pictures uint8 [..., 64, 64, 3] as [..., 192, 8, 8] in -1..1: 8 x 8 pixels a token."""
    return F.pixel_unshuffle(torch.from_numpy(pictures).movedim(-1, -3).float() / 127.5 - 1, PATCH)


def take_batch(data: dict[str, np.ndarray], speaker: int, which: Tensor) -> dict[str, Tensor]:
    """Some frames of a speaker, each with the reference in front: latents, xy, seen; and the one image."""
    pairs = torch.stack([torch.zeros_like(which), which], 1)  # [b, 2]
    xy, seen = (torch.from_numpy(data[key][speaker]).float()[pairs, None] for key in ("xy", "seen"))
    image = F.interpolate(
        F.pixel_shuffle(to_latents(data["pictures"][speaker, :1]), PATCH), (256, 256), mode="bilinear"
    )
    return {
        "latents": to_latents(data["pictures"][speaker])[pairs],
        "image": image,
        "xy": xy.expand(-1, -1, 2, -1, -1),  # the network is told two poses a latent frame
        "seen": seen.expand(-1, -1, 2, -1),
    }


def predict(network: VideoTransformer, batch: dict[str, Tensor], noisy: Tensor, level: Tensor) -> Tensor:
    """x0 of one latent frame each [b, c, h, w]; the clean reference rides in front, at level 0."""
    reference = batch["latents"][:, :1]
    condition = network.condition(reference.expand(-1, 2, -1, -1, -1), batch["image"], batch["xy"], batch["seen"])
    condition = replace(condition, image_tokens=condition.image_tokens.expand(len(noisy), -1, -1))
    levels = torch.stack([torch.zeros_like(level), level], 1)
    return network(torch.cat([reference, noisy[:, None]], 1), levels, condition, attend_own)[:, 1]


def train(data: dict[str, np.ndarray], steps: int, batch_size: int = 8) -> VideoTransformer:
    torch.manual_seed(0)
    network = VideoTransformer(latent_channels=192, width=96, layers=3, heads=3, rows=8, cols=8)
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    for _ in trange(steps, mininterval=20):
        speaker = int(torch.randint(len(SPEAKERS) - 1, ()))
        batch = take_batch(data, speaker, torch.randint(1, FRAMES + 1, (batch_size,)))
        clean, level = batch["latents"][:, 1:], sample_levels((batch_size, 1))
        noisy = add_noise(clean, torch.randn_like(clean), level)
        loss = flow_loss(predict(network, batch, noisy[:, 0], level[:, 0])[:, None], clean, level)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return network


def held_out_error(network: VideoTransformer, data: dict[str, np.ndarray], speakers: range) -> float:
    """Error of the one-step guess from pure noise on held-out frames, over that of copying the reference."""
    error, copied = 0.0, 0.0
    for speaker in speakers:
        batch = take_batch(data, speaker, torch.arange(FRAMES + 1, FRAMES + UNSEEN + 1))
        goal = batch["latents"][:, 1]
        noise = torch.randn(goal.shape, generator=torch.Generator().manual_seed(5))
        with torch.no_grad():
            guess = predict(network, batch, noise, torch.ones(len(goal)))
        error += float((guess - goal).square().mean())
        copied += float((batch["latents"][:, 0] - goal).square().mean())
    return error / copied


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400, help="training steps (default 400)")
    options = parser.parse_args()
    DATA.mkdir(exist_ok=True)
    file = DATA / "tiny_frames.npz"
    if not file.exists():
        np.savez_compressed(file, **draw_frames())
    data = dict(np.load(file))
    began = time.monotonic()
    network = train(data, options.steps)
    known, unknown = (held_out_error(network, data, who) for who in (range(5), range(5, 6)))
    print(f"{time.monotonic() - began:.0f} s; error over copying: new poses {known:.2f}, a new speaker {unknown:.2f}")
    save_file({k: v.half().contiguous() for k, v in network.state_dict().items()}, DATA / "tiny_teacher.safetensors")


if __name__ == "__main__":
    main()
