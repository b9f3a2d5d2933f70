"""Training losses; models and targets come in as arguments, a scalar goes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from iasa.masks.region_masks import SOFT_REGIONS, soft_masks

Denoiser = Callable[[Tensor, Tensor], Tensor]  # noisy [b, f, c, h, w], level [b, f] -> x0; its condition is bound
FaceEmbedding = Callable[
    [Tensor, Tensor], Tensor
]  # images [m, 3, H, W], xy [m, 133, 2] in their pixels -> [m, d] of length 1
Features = Callable[[Tensor], list[Tensor]]  # images [m, 3, H, W] -> feature maps [m, c, h, w], any number of them


def gradient_loss(x: Tensor, y: Tensor, weight: Tensor, scales: int = 3) -> Tensor:
    """Weighted mean difference of neighbouring-pixel differences over a pyramid: punishes blur and seams.

    x, y [m, c, H, W], weight [m, 1, H, W] -> scalar.
    """
    loss = x.new_zeros(())
    for _ in range(scales):
        error = x - y
        rows, cols = error.diff(dim=-2).abs() * weight[..., 1:, :], error.diff(dim=-1).abs() * weight[..., 1:]
        loss = loss + (rows.mean() + cols.mean()) / weight.mean()
        x, y, weight = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2), F.avg_pool2d(weight, 2)
    return loss


def reconstruction_loss(output: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Of the autoencoder: L1, squares (PSNR counts those) and half the gradient loss, all weighted by pixel.

    output, target [m, c, H, W] in [-1, 1], weight [m, 1, H, W] -> scalar.
    """
    difference = output - target
    pointwise = (difference.abs() + 2.0 * difference.square()) * weight
    return pointwise.mean() / weight.mean() + 0.5 * gradient_loss(output, target, weight)


def add_noise(clean: Tensor, noise: Tensor, level: Tensor) -> Tensor:  # [b, f, c, h, w], level [b, f]
    """Flow matching's straight path: (1 - t) x0 + t noise."""
    t = level[..., None, None, None]
    return (1 - t) * clean + t * noise


def flow_loss(
    output: Tensor,  # [b, f, c, h, w] predicted x0
    clean: Tensor,  # [b, f, c, h, w]
    level: Tensor,  # [b, f] in [0, 1]
    token_weight: Tensor | None = None,  # [b, f, n] 0..2, how much more a token counts
    weight_scale: float = 3.0,
    floor: float = 0.2,
) -> Tensor:
    """Flow matching (Lipman et al. 2023) for a network that predicts x0.

    The velocity is (x_t - x0) / t, so its squared error is the error of x0 over t^2. Here the weight is 1 / (t + floor):
    it falls with t too, but near t = 0 it stays bounded. Tokens with token_weight 1 count 1 + weight_scale times.
    """
    error = (output - clean).square().mean(2).flatten(2) / (level[..., None] + floor)  # [b, f, n]
    if token_weight is not None:
        weight = 1 + weight_scale * token_weight
        return (error * weight).sum() / weight.sum()
    return error.mean()


def sample_levels(shape: tuple[int, ...], pure_noise: float = 0.2, device: torch.device | str = "cpu") -> Tensor:
    """Noise levels for training: logit-normal towards the noisy end, and `pure_noise` of them at 1."""
    level = torch.sigmoid(torch.randn(shape, device=device) * 1.2 + 0.8)
    return torch.where(torch.rand(shape, device=device) < pure_noise, torch.ones_like(level), level)


def dmd_grad(
    real_x0: Tensor,  # [b, f, c, h, w] what the teacher makes of the student's noised sample
    fake_x0: Tensor,  # [b, f, c, h, w] what the critic makes of it
    x0: Tensor,  # [b, f, c, h, w] the student's sample
) -> Tensor:
    """Gradient of the reverse KL between the student's and the teacher's diffused distributions, by x0: [b, f, c, h, w].

    The difference of the two scores, which is that of the two predictions of x0, over the mean |x0 - real_x0| of each
    sample (Yin et al. 2024, equations 7 and 8): that puts all noise levels on one scale. Their further factor 1 - t,
    which their own code leaves out too, is left out.
    """
    scale = (x0 - real_x0).abs().flatten(1).mean(1).clamp_min(1e-6)
    return (fake_x0 - real_x0) / scale.view(-1, *[1] * (x0.ndim - 1))


def dmd_loss(
    x0: Tensor,  # [b, f, c, h, w] the student's sample, with its graph
    teacher: Denoiser,
    critic: Denoiser,
    level: Tensor,  # [b, f]
    noise: Tensor,  # [b, f, c, h, w]
    token_weight: Tensor | None = None,  # [b, f, n] 0..2
    weight_scale: float = 3.0,
) -> Tensor:
    """Distribution matching distillation (Yin et al. 2024): a scalar whose gradient by x0 is `dmd_grad`'s mean.

    Teacher and critic are only read. There is no classifier-free guidance: the teacher was never trained without its
    poses, so it has no unconditional score. `token_weight` weights tokens as in `flow_loss`; that scales the steps of
    each token and does not move the point at which the two scores agree.
    """
    with torch.no_grad():
        noisy = add_noise(x0, noise, level)
        grad = dmd_grad(teacher(noisy, level).float(), critic(noisy, level).float(), x0)
        if token_weight is not None:
            weight = 1 + weight_scale * token_weight
            weight = weight / weight.mean()
            grad = grad * weight.unflatten(-1, x0.shape[-2:])[:, :, None]
        target = x0 - grad
    return 0.5 * (x0 - target).square().mean()


def critic_loss(
    critic: Denoiser,
    x0: Tensor,  # [b, f, c, h, w] the student's sample; nothing flows back into it
    level: Tensor,  # [b, f]
    noise: Tensor,  # [b, f, c, h, w]
    token_weight: Tensor | None = None,
) -> Tensor:
    """Flow matching on the student's own samples: the critic learns the score of what the student makes."""
    x0 = x0.detach()
    return flow_loss(critic(add_noise(x0, noise, level), level).float(), x0, level, token_weight)


def feature_distance(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Squared distance of unit feature vectors, mean over what `weight` covers: maps [m, c, h, w], weight [m, 1, H, W] -> [m]."""
    near = F.normalize(a.float(), dim=1) - F.normalize(b.float(), dim=1)
    weight = F.adaptive_avg_pool2d(weight, (a.shape[-2], a.shape[-1]))[:, 0]
    return (near.square().sum(1) * weight).sum((1, 2)) / weight.sum((1, 2)).clamp_min(1e-3)


def region_terms(
    output: Tensor,  # [m, 3, H, W] decoded pictures, or crops of them, in [-1, 1]
    truth: Tensor,  # [m, 3, H, W]
    xy: Tensor,  # [m, 133, 2] pixels of these pictures
    confidence: Tensor,  # [m, 133]
    face: FaceEmbedding,
    features: Features,
    regions: tuple[str, ...] = SOFT_REGIONS,
    scale: float = 256.0,
) -> dict[str, Tensor]:
    """The paper's L_r by region, scalars: squared distance of identity embeddings for the face, of features elsewhere.

    Where the paper takes features of masked pictures, here the masks weight the distance of whole pictures' features:
    one pass serves all regions. A picture without a region counts for nothing in it. Gradients reach `output` alone if
    the encoders are frozen.
    """
    masks = soft_masks(xy, confidence, (output.shape[-2], output.shape[-1]), scale)
    with torch.no_grad():
        true_maps, true_face = features(truth), face(truth, xy) if "face" in regions else None
    maps = features(output)
    terms = {}
    for region in regions:
        mask = masks[:, SOFT_REGIONS.index(region)][:, None]
        present = (mask.flatten(1).amax(1) > 0.5).float()
        if region == "face" and true_face is not None:
            each = (face(output, xy) - true_face).square().sum(-1)
        else:
            each = torch.stack([feature_distance(*pair, mask) for pair in zip(maps, true_maps, strict=True)]).mean(0)
        terms[region] = (each * present).sum() / present.sum().clamp_min(1.0)
    return terms


def region_loss(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Sum of lambda_r L_r over the regions at hand."""
    return sum((weights[name] * value for name, value in terms.items()), torch.zeros(()))
