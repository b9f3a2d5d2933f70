"""Train the network behind `iasa.speech.lip_network` on synthetic speech with known phones: a minute on one core.

`python -m iasa.training.train_lips --cache DIR` writes iasa/speech/lips.npz.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from iasa.files import write_npz
from iasa.speech.lip_network import BANDS, CONTEXT, LIP_NETWORK, guess_visemes, make_windows
from iasa.training.speech_data.corpus import Utterance, make_corpus

CHANNEL_WEIGHTS = (4.0, 1.0, 2.0, 1.0, 1.0)  # in the loss: the opening of the jaw is what one sees first


def make_network(width: int = 96) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(BANDS * len(CONTEXT), width),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(width, width // 2),
        nn.ReLU(),
        nn.Linear(width // 2, 5),
    )


def disturb(windows: Tensor) -> Tensor:
    """Another level, another equaliser and some noise for each window [b, 11 * 32]."""
    batch = len(windows)
    level = 0.3 * torch.randn(batch, 1, 1)
    tilt = 0.3 * torch.randn(batch, 1, BANDS)
    noise = 0.3 * torch.randn(batch, len(CONTEXT), BANDS)
    return windows + (level + tilt + noise).flatten(1)


def train(corpus: list[Utterance], steps: int, batch: int = 512, lr: float = 1e-3, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    network = make_network()
    x = torch.from_numpy(np.concatenate([make_windows(u.audio, u.features.frames) for u in corpus]))
    y = torch.from_numpy(np.concatenate([u.features.visemes for u in corpus]))
    optimiser = torch.optim.AdamW(network.parameters(), lr, weight_decay=0.03)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, steps)
    weights = torch.tensor(CHANNEL_WEIGHTS)
    for _ in range(steps):
        chosen = torch.randint(len(x), (batch,))
        loss = ((network(disturb(x[chosen])) - y[chosen]) ** 2 * weights).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network.eval()


def save(network: nn.Sequential, path: Path) -> None:
    """The layers as float16 arrays weight0, bias0, weight1, ..."""
    layers = [layer for layer in network if isinstance(layer, nn.Linear)]
    arrays = {f"weight{i}": layer.weight for i, layer in enumerate(layers)}
    arrays |= {f"bias{i}": layer.bias for i, layer in enumerate(layers)}
    write_npz(path, **{k: v.detach().numpy().astype(np.float16) for k, v in arrays.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cache", type=Path, help="folder of the analysed training speech")
    parser.add_argument("--steps", type=int, default=5000)
    options = parser.parse_args()
    corpus = [u for u in make_corpus("train", options.cache) if u.features.source == "given" and "real" not in u.name]
    save(train(corpus, options.steps), LIP_NETWORK)
    for utterance in make_corpus("heldout"):
        guess = guess_visemes(utterance.audio, utterance.features.frames)
        truth = utterance.features.visemes
        r = [np.corrcoef(guess[:, c], truth[:, c])[0, 1] for c in range(3)]
        print(f"{utterance.name}: opening r {r[0]:.2f}, width r {r[1]:.2f}, pressed r {r[2]:.2f}")


if __name__ == "__main__":
    main()
