"""Input-aware sparse attention and its distillation, whole, in one file: masks from poses, a teacher, a causal student.

    python -m examples.nano_iasa                     all stages
    python -m examples.nano_iasa --steps 160         a look at each, too short to be good (five minutes of one busy core)

Of the package it takes the poses alone. Figures of 32 x 32 pixels are drawn from them: a speaker's colours are random, and
told only by a reference picture. A frame is 8 x 8 tokens of 4 x 4 pixels. Then, as in the paper (arXiv 2510.02617):

1. the mask M = M_global + M_local of a clip, from its poses (section 3.2);
2. a teacher: dense, bidirectional, many steps, by flow matching (Lipman et al. 2023);
3. the teacher fine-tuned under the mask;
4. a causal student of one step a frame, rolled out on its own past with a cache of keys and values (Huang et al. 2025),
   distilled by distribution matching (Yin et al. 2024) and a region loss (section 3.3).

Axis letters: b batch, f frames, n = 64 tokens a frame, r regions, d width. Frame 0 of every clip is the reference.
"""

from __future__ import annotations

import argparse
import copy
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from iasa.keypoints import UPPER_BODY, load_keypoints
from iasa.paths import POSES

SIDE, PATCH = 32, 4  # pixels of a picture and of a token
ROWS = SIDE // PATCH
N = ROWS * ROWS  # tokens of a frame
FRAMES, TOP_K = 8, 2  # frames of a clip beside the reference; K of the global mask
CHANNELS = 3 * PATCH * PATCH

# Parts of the body: region, keypoints of COCO-WholeBody that outline it, radius in picture widths.
REGIONS = ("face", "hands", "arms", "body", "shoulders")
PARTS = (
    ("body", (5, 6, 12, 11), 0.07),
    ("shoulders", (5, 6), 0.06),
    ("arms", (5, 7), 0.05), ("arms", (7, 9), 0.05), ("arms", (6, 8), 0.05), ("arms", (8, 10), 0.05),
    ("face", tuple(range(23, 50)), 0.03),
    ("hands", tuple(range(91, 112)), 0.02), ("hands", tuple(range(112, 133)), 0.02),
)  # fmt: skip


# 1. The mask


def rigid_distance(points: Tensor) -> Tensor:
    """S(tq, tk) = min over rotation and shift of |P_tq - tau(P_tk)|: points [f, p, 2] -> [f, f].

    With points as complex numbers the best rotation is a phase, and what it leaves is |a|^2 + |b|^2 - 2 |<a, b>|.
    """
    z = torch.view_as_complex((points - points.mean(1, keepdim=True)).double().contiguous())  # [f, p]
    size = z.abs().square().sum(1)
    return (size[:, None] + size - 2 * (z @ z.conj().T).abs()).clamp_min(0).sqrt()


def choose_past(distance: Tensor, k: int) -> Tensor:
    """The k most similar past frames of each frame, never the reference: bool [f, f]."""
    frames = len(distance)
    index = torch.arange(frames)
    past = (index < index[:, None]) & (index > 0)
    rank = distance.masked_fill(~past, torch.inf).argsort(1).argsort(1)
    return (rank < k) & past


def warp_rigid(places: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Places [n, 2] carried from source to target control points [p, 2] by rigid moving least squares: [n, 2].

    Schaefer et al. 2006: at each place the best rigid motion of the control points, weighted by 1 / distance^2.
    """
    z, p, q = (torch.view_as_complex(x.double().contiguous()) for x in (places, source, target))
    w = 1 / (z[:, None] - p).abs().square().clamp_min(1e-8)  # [n, p]
    w = w / w.sum(1, keepdim=True)
    p_mean, q_mean = (w * p).sum(1), (w * q).sum(1)
    turn = (w * (p - p_mean[:, None]).conj() * (q - q_mean[:, None])).sum(1)
    turn = torch.where(turn.abs() > 0, turn / turn.abs().clamp_min(1e-12), torch.ones_like(turn))
    return torch.view_as_real(q_mean + turn * (z - p_mean)).float()


def inside(places: Tensor, outline: Tensor, radius: float) -> Tensor:
    """Whether places [n, 2] lie within `radius` of the hull of an outline [p, 2]: bool [n]."""
    angles = torch.arange(32) * (torch.pi / 16)
    directions = torch.stack([angles.cos(), angles.sin()])  # half planes that touch the hull
    return ((places @ directions) <= (outline @ directions).amax(0) + radius).all(1)


def region_maps(xy: Tensor, side: int) -> Tensor:
    """Which pixels of a side x side grid show which part: keypoints [f, 133, 2] -> bool [f, parts, side * side].

    Each place is carried to the reference pose, frame 0, where the part's outline is drawn once.
    """
    line = (torch.arange(side) + 0.5) / side
    places = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).reshape(-1, 2)
    maps = []
    for pose in xy:
        row = []
        for _, points, radius in PARTS:
            index = list(points)
            row.append(inside(warp_rigid(places, pose[index], xy[0, index]), xy[0, index], radius))
        maps.append(torch.stack(row))
    return torch.stack(maps)


def make_mask(xy: Tensor, parts: Tensor) -> Tensor:
    """M_global + M_local of a clip, True where a pair is allowed: bool [f * n, f * n], rows are queries.

    A pair of frames passes the global mask if the key is among the query's K; a pair of tokens the local one if a region
    holds both. The own frame is dense, and all see the reference (our addition, as in the package).
    """
    frames = len(xy)
    chosen = choose_past(rigid_distance(xy[:, list(UPPER_BODY)]), TOP_K)
    tokens = parts.view(frames, len(PARTS), ROWS, PATCH, ROWS, PATCH).any(5).any(3).flatten(2)  # [f, parts, n]
    regions = torch.stack([
        tokens[:, [i for i, part in enumerate(PARTS) if part[0] == name]].any(1) for name in REGIONS
    ], -1).view(frames * N, len(REGIONS)).float()  # fmt: skip
    local_mask = regions @ regions.T > 0
    global_mask = chosen.repeat_interleave(N, 0).repeat_interleave(N, 1)
    frame = torch.arange(frames).repeat_interleave(N)
    return global_mask & local_mask | (frame[:, None] == frame) | (frame == 0)


# Data


@dataclass
class Clip:
    """Everything of b clips: x tokens [b, 1 + f, n, c], pose [b, 1 + f, n, parts * 16], mask bool [b, t, t], soft [b, r, ...]."""

    x: Tensor
    pose: Tensor
    mask: Tensor
    regions: Tensor  # [b, 1 + f, n, c], 1 on pixels of face and hands


def patches(images: Tensor) -> Tensor:
    """[..., c, 32, 32] -> [..., n, c * 16]."""
    return F.pixel_unshuffle(images.float(), PATCH).flatten(-2).movedim(-1, -2)


def to_images(tokens: Tensor) -> Tensor:
    """[..., n, 48] -> [..., 3, 32, 32]."""
    return F.pixel_shuffle(tokens.movedim(-1, -2).unflatten(-1, (ROWS, ROWS)), PATCH)


class Data:
    """Clips drawn from bundled poses: every stretch of poses once, colours anew at every draw."""

    def __init__(self, clips: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        films = [torch.from_numpy(load_keypoints(POSES / f"{name}.npz").xy) for name in ("welcome", "library")]
        self.parts, self.masks = [], []
        for _ in range(clips):
            film = films[rng.integers(len(films))]
            first = int(rng.integers(0, len(film) - 4 * FRAMES))
            xy = torch.cat([film[:1], film[first : first + 4 * FRAMES : 4]])  # the reference, then every fourth
            parts = region_maps(xy, SIDE)
            self.parts.append(parts)
            self.masks.append(make_mask(xy, parts))

    def draw(self, count: int, generator: torch.Generator) -> Clip:
        """Some clips in random colours: background, then part by part, hands last."""
        which = torch.randint(len(self.parts), (count,), generator=generator).tolist()
        parts = torch.stack([self.parts[i] for i in which]).float()  # [b, 1 + f, parts, 32 * 32]
        colours = torch.rand(count, 5, 3, generator=generator) * 2 - 1  # background, clothes, skin, face, hand
        image = colours[:, 0, None, :, None].expand(-1, parts.shape[1], -1, SIDE * SIDE)
        for i, (name, _, _) in enumerate(PARTS):
            colour = colours[:, {"face": 3, "hands": 4, "arms": 2}.get(name, 1), None, :, None]
            image = torch.where(parts[:, :, i, None] > 0, colour, image)
        detail = [i for i, part in enumerate(PARTS) if part[0] in ("face", "hands")]
        regions = parts[:, :, detail].amax(2, keepdim=True).expand_as(image)
        square = (SIDE, SIDE)
        return Clip(
            patches(image.unflatten(-1, square)), patches(parts.unflatten(-1, square)),
            torch.stack([self.masks[i] for i in which]), patches(regions.unflatten(-1, square)),
        )  # fmt: skip


# The network


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width))

    def forward(self, x: Tensor, mask: Tensor | None, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple]:
        """x [b, t, d] -> [b, t, d], and its keys and values [b, nh, t, d / nh] for a cache."""
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        own = (k, v)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        o = F.scaled_dot_product_attention(q, k, v, attn_mask=None if mask is None else mask[:, None])
        x = x + self.out(o.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x)), own


class Network(nn.Module):
    """Noisy tokens, poses and noise levels -> clean tokens. Teacher, critic and student are this, under different masks."""

    def __init__(self, width: int = 96, layers: int = 3, heads: int = 3) -> None:
        super().__init__()
        self.enter = nn.Linear(CHANNELS + len(PARTS) * PATCH * PATCH + 8, width)
        self.place = nn.Parameter(torch.randn(N, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, CHANNELS))

    def forward(
        self,
        x: Tensor,  # [b, f, n, c]
        pose: Tensor,  # [b, f, n, parts * 16]
        level: Tensor,  # [b, f], 0 for the clean reference
        mask: Tensor | None = None,  # bool [b, queries, keys]; None is dense
        cache: list[tuple[Tensor, Tensor]] | None = None,  # of each layer, keys and values of earlier frames
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        angle = level[..., None] * torch.tensor([1.0, 3.0, 9.0, 27.0])
        told = torch.cat([angle.sin(), angle.cos()], -1)[:, :, None].expand(-1, -1, N, -1)
        h = (self.enter(torch.cat([x, pose, told], -1)) + self.place).flatten(1, 2)
        kept = []
        for i, block in enumerate(self.blocks):
            h, own = block(h, mask, None if cache is None else cache[i])
            kept.append(own)
        return self.leave(h).view_as(x), kept


def predict(network: Network, clip: Clip, noisy: Tensor, level: Tensor, masked: bool) -> Tensor:
    """x0 of the frames [b, f, n, c]; the clean reference rides in front, at level 0. One level a clip [b]."""
    x = torch.cat([clip.x[:, :1], noisy], 1)
    levels = torch.cat([torch.zeros(len(x), 1), level[:, None].expand(-1, x.shape[1] - 1)], 1)
    return network(x, clip.pose, levels, clip.mask if masked else None)[0][:, 1:]


# 2 and 3. The teacher, and the teacher under the mask


def mix(x0: Tensor, noise: Tensor, level: Tensor) -> Tensor:
    """The straight path of flow matching: (1 - t) x0 + t noise."""
    return torch.lerp(x0, noise, level.view(-1, 1, 1, 1))


def flow_loss(guess: Tensor, x0: Tensor, level: Tensor) -> Tensor:
    """Error of x0 over t plus a floor: nearly the error of the velocity."""
    return ((guess - x0).square().mean((1, 2, 3)) / (level + 0.2)).mean()


def train_teacher(network: Network, data: Data, steps: int, masked: bool, rate: float, batch: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    for _ in range(steps):
        clip = data.draw(batch, generator)
        x0, level = clip.x[:, 1:], torch.rand(batch, generator=generator)
        noisy = mix(x0, torch.randn(x0.shape, generator=generator), level)
        step(optimiser, flow_loss(predict(network, clip, noisy, level, masked), x0, level))
        schedule.step()


def step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(optimiser.param_groups[0]["params"], 1.0)
    optimiser.step()


@torch.no_grad()
def sample(network: Network, clip: Clip, steps: int, masked: bool, generator: torch.Generator) -> Tensor:
    """Euler's steps from noise to pictures: x <- x + (t' - t) (x - x0) / t."""
    x = torch.randn(clip.x[:, 1:].shape, generator=generator)
    for i in range(steps):
        t, after = 1 - i / steps, 1 - (i + 1) / steps
        x0 = predict(network, clip, x, torch.full((len(x),), t), masked)
        x = x + (after - t) * (x - x0) / t
    return x


# 4. The student


def roll_out(student: Network, clip: Clip, generator: torch.Generator) -> Tensor:
    """Frame after frame, one step each, reading the cache where the mask lets it: x0 [b, f, n, c], with its graph.

    Keys and values of past frames are those of their denoising step, detached (Self-Forcing): a frame's loss teaches how to
    draw it from such a past, not how to have drawn the past. Tokens that no query may see are not even gathered.
    """
    zero = torch.zeros(len(clip.x), 1)
    _, cache = student(clip.x[:, :1], clip.pose[:, :1], zero)
    cache = [(k.detach(), v.detach()) for k, v in cache]
    frames = []
    for t in range(1, clip.x.shape[1]):
        rows = clip.mask[:, t * N : (t + 1) * N, : (t + 1) * N]
        wanted = rows[:, :, : t * N].any(1).any(0).nonzero()[:, 0]  # past tokens that some query of some clip sees
        past = [(k[:, :, wanted], v[:, :, wanted]) for k, v in cache]
        seen = torch.cat([rows[:, :, wanted], rows[:, :, t * N :]], 2)
        noise = torch.randn(clip.x[:, :1].shape, generator=generator)
        made, own = student(noise, clip.pose[:, t : t + 1], zero + 1, seen, past)
        frames.append(made)
        cache = [
            (torch.cat([k, a.detach()], 2), torch.cat([v, b.detach()], 2))
            for (k, v), (a, b) in zip(cache, own, strict=True)
        ]
    return torch.cat(frames, 1)


def dmd_loss(x0: Tensor, clip: Clip, teacher: Network, critic: Network, generator: torch.Generator) -> Tensor:
    """A scalar whose gradient by x0 leads along the difference of two scores (Yin et al. 2024, equations 7 and 8)."""
    with torch.no_grad():
        level = torch.rand(len(x0), generator=generator) * 0.93 + 0.05
        noisy = mix(x0, torch.randn(x0.shape, generator=generator), level)
        real, fake = (predict(network, clip, noisy, level, False) for network in (teacher, critic))
        gradient = (fake - real) / (x0 - real).abs().mean((1, 2, 3), keepdim=True).clamp_min(1e-6)
    return 0.5 * F.mse_loss(x0, (x0 - gradient).detach())


def region_loss(x0: Tensor, clip: Clip) -> Tensor:
    """Squared error inside face and hands (the paper compares features there: ArcFace for faces, LPIPS for the rest)."""
    inside = clip.regions[:, 1:]
    return ((x0 - clip.x[:, 1:]).square() * inside).sum() / inside.sum().clamp_min(1)


def distil(start: Network, teacher: Network, data: Data, steps: int, batch: int, weight: float) -> Network:
    """DMD on the student's own roll-outs, two lessons of the critic a step; `weight` of the region loss."""
    generator = torch.Generator().manual_seed(3)
    student, critic = copy.deepcopy(start), copy.deepcopy(teacher)
    learn = torch.optim.AdamW(student.parameters(), lr=3e-4, betas=(0.5, 0.95))
    follow = torch.optim.AdamW(critic.parameters(), lr=1e-3, betas=(0.5, 0.95))
    for _ in range(steps):
        clip = data.draw(batch, generator)
        x0 = roll_out(student, clip, generator)
        made = x0.detach()
        for _ in range(2):  # the critic: flow matching on the student's samples
            level = torch.rand(batch, generator=generator)
            noisy = mix(made, torch.randn(made.shape, generator=generator), level)
            step(follow, flow_loss(predict(critic, clip, noisy, level, False), made, level))
        step(learn, dmd_loss(x0, clip, teacher, critic, generator) + weight * region_loss(x0, clip))
    return student


# All of it


def psnr(made: Tensor, clip: Clip, inside: bool = False) -> float:
    """In dB, of pictures in -1..1; over face and hands alone if `inside`."""
    square = (made.clamp(-1, 1) - clip.x[:, 1:]).square()
    error = (square * clip.regions[:, 1:]).sum() / clip.regions[:, 1:].sum() if inside else square.mean()
    return float(10 * torch.log10(4 / error.clamp_min(1e-12)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=800, help="training steps of the teacher (default 800)")
    parser.add_argument("--batch", type=int, default=4, help="clips a step (default 4)")
    parser.add_argument("--clips", type=int, default=48, help="stretches of poses to learn from (default 48)")
    parser.add_argument("--out", type=Path, help="a PNG with a held-out clip by every network")
    options = parser.parse_args()
    torch.manual_seed(0)
    data, unseen = Data(options.clips, seed=0), Data(8, seed=1)
    test = unseen.draw(8, torch.Generator().manual_seed(9))
    print(f"mask: {test.mask.float().mean():.1%} of the pairs of tokens are allowed")

    few, batch, began = max(1, options.steps // 4), options.batch, time.perf_counter()
    teacher = Network()
    train_teacher(teacher, data, options.steps, masked=False, rate=2e-3, batch=batch, seed=1)
    tuned = copy.deepcopy(teacher)
    train_teacher(tuned, data, few, masked=True, rate=5e-4, batch=batch, seed=2)
    plain = distil(tuned, teacher, data, few, batch, weight=0.0)
    student = distil(tuned, teacher, data, few, batch, weight=2.0)
    print(f"trained in {time.perf_counter() - began:.0f} s")

    rows: dict[str, Tensor] = {"copy of the reference": test.x[:, :1].expand_as(test.x[:, 1:])}
    takes: dict[str, float] = {}
    for name, make in {
        "teacher, 16 steps": lambda g: sample(teacher, test, 16, False, g),
        "+ mask, 16 steps": lambda g: sample(tuned, test, 16, True, g),
        "+ mask, rolled out in 1 step": lambda g: roll_out(tuned, test, g),
        "+ DMD, 1 step": lambda g: roll_out(plain, test, g),
        "+ region loss, 1 step": lambda g: roll_out(student, test, g),
    }.items():
        began = time.perf_counter()
        with torch.no_grad():
            rows[name] = make(torch.Generator().manual_seed(5))
        takes[name] = time.perf_counter() - began
    for name, made in rows.items():
        speed = f"{made.shape[0] * FRAMES / takes[name]:7.0f} frames/s" if name in takes else ""
        print(f"{name:30s} PSNR {psnr(made, test):5.2f} dB, face and hands {psnr(made, test, True):5.2f} dB {speed}")
    if options.out:
        strips = [to_images(made[0]) for made in (*rows.values(), test.x[:, 1:])]  # [f, 3, 32, 32] each
        sheet = torch.cat([torch.cat(list(strip), 2) for strip in strips], 1).movedim(0, -1)
        picture = Image.fromarray((sheet * 127.5 + 127.5).clamp(0, 255).byte().numpy())
        picture.resize((picture.width * 4, picture.height * 4), Image.Resampling.NEAREST).save(options.out)


if __name__ == "__main__":
    main()
