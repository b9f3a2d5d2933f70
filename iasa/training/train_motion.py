"""Stage 1: region codebooks first, then the generator that predicts their codes from speech (iasa.motion).

Learned from performances (iasa.training.speech_data.performances) and, where `python -m iasa motion-data` left any under the run
folder, from clips of real speakers.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iasa.config import VIDEO_FPS, InputError, TrainPreset
from iasa.files import write_npz
from iasa.models.checkpoint import load_weights, read_card, save_weights, shipped_weights
from iasa.motion.audio_embedding import AHEAD, PAST, STRIDE, make_windows
from iasa.motion.codebooks import EMACodebookUpdate, code_usage
from iasa.motion.generator import MotionGenerator
from iasa.motion.rig_regions import CODED, REGIONS, coded_slices, style_vector, to_channels, to_vectors
from iasa.training.options import TrainOptions
from iasa.training.speech_data.performances import Performance, make_performances, make_utterances
from iasa.training.trainer import Schedule, Trainer, find_checkpoint, main_process_first, wants_resume

PERFORMANCES, HELDOUT_PERFORMANCES = 1600, 24  # with 400 the arms are learned by heart after some 600 steps
CODEBOOK_SHARE = 0.4  # of the steps go to the codebooks
COMMITMENT = 0.25
VELOCITY, ACCELERATION = 4.0, 8.0  # weights of the errors of the first and second differences
LEVELS_DROPPED = 0.2  # chance that the decoder of a region learns with the first level alone
CODE_WEIGHTS = {
    "arms": 2.0,
    "right_hand": 1.0,
    "left_hand": 1.0,
    "head": 1.0,
    "face": 0.5,
}  # of a region's codes in the loss
FORGOTTEN = 0.1  # share of the past codes that the generator sees wrong, as it will err itself
LOST = 0.1  # share of the steps of which it sees nothing true: who only goes on as before never begins a stroke
FROM_START = 0.15  # share of the windows that begin where the speech begins


@dataclass(frozen=True)
class Piece:
    """One performance, padded: step 0 lies before the first frame, see `iasa.motion.generator_streaming`."""

    channels: np.ndarray  # float16 [PAST + 4 s + AHEAD, 12]
    vectors: np.ndarray  # float16 [4 (s + 2), 57]
    known: np.ndarray  # bool [s, 5] regions that were seen; all of them on the avatar
    style: np.ndarray  # float32 [20]

    @property
    def steps(self) -> int:
        return len(self.known)


def make_piece(channels: np.ndarray, vectors: np.ndarray, known: np.ndarray, style: np.ndarray) -> Piece:
    """Pad the channels [f, 12], vectors [f, 57] and known [f, 5] of a clip to whole steps, with a step around."""
    frames = len(channels)
    steps = -(-frames // STRIDE) + 2
    after = STRIDE * (steps - 1) - frames
    channels = np.pad(channels, ((PAST + STRIDE, after + AHEAD), (0, 0)))
    vectors = np.pad(vectors, ((2 * STRIDE, after + STRIDE), (0, 0)), mode="edge")
    known = np.pad(known, ((STRIDE, after), (0, 0)), mode="edge").reshape(steps, STRIDE, len(REGIONS)).all(1)
    return Piece(channels.astype(np.float16), vectors.astype(np.float16), known, style)


def to_piece(performance: Performance) -> Piece:
    channels, vectors = to_channels(performance.heard), to_vectors(performance.motion)
    return make_piece(channels, vectors, np.ones((len(channels), len(REGIONS)), bool), style_vector(performance.style))


def save_pieces(path: Path, pieces: Sequence[Piece]) -> None:
    arrays = {name: np.concatenate([getattr(p, name) for p in pieces]) for name in ("channels", "vectors", "known")}
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays |= {"styles": np.stack([p.style for p in pieces]), "steps": np.array([p.steps for p in pieces])}
    write_npz(path, **arrays)


def load_pieces(path: Path) -> list[Piece]:
    with np.load(path, allow_pickle=False) as z:
        steps = z["steps"]
        parts = [
            np.split(z[name], np.cumsum(lengths)[:-1])
            for name, lengths in (
                ("channels", PAST + STRIDE * steps + AHEAD), ("vectors", STRIDE * (steps + 2)), ("known", steps),
            )
        ]  # fmt: skip
        return [Piece(*arrays) for arrays in zip(*parts, z["styles"], strict=True)]


def make_bank(run: Path, performances: int = PERFORMANCES) -> tuple[list[Piece], list[Piece]]:
    """Pieces to train on and a few to watch (the last utterances, which training does not use); kept under `run`."""
    paths = [run / f"bank_{split}.npz" for split in ("train", "watch")]
    if not all(path.exists() for path in paths):
        utterances = make_utterances(run / "speech")
        cut = max(1, len(utterances) // 16)
        split = ((utterances[cut:], performances, 0), (utterances[:cut], HELDOUT_PERFORMANCES, 1))
        for path, (some, count, seed) in zip(paths, split, strict=True):
            save_pieces(path, [to_piece(p) for p in make_performances(some, count, seed)])
    train, watch = (load_pieces(path) for path in paths)
    clips = [piece for path in sorted((run / "clips").glob("*.npz")) for piece in load_pieces(path)]
    return train + clips, watch


@dataclass(frozen=True)
class Batch:
    channels: Tensor  # [b, PAST + 4 s + AHEAD, 12]
    vectors: Tensor  # [b, 4 (s + 2), 57]
    known: Tensor  # bool [b, s, 5]
    style: Tensor  # [b, 20]
    codes: Tensor | None = None  # int64 [b, s + 1, slots], of the step before too
    first: bool = False  # the windows begin where the speech begins


def draw_batch(
    pieces: Sequence[Piece],
    size: int,
    steps: int,
    rng: np.random.Generator,
    device: torch.device | str = "cpu",
    codes: Sequence[np.ndarray] | None = None,
) -> Batch:
    """Random windows of `steps` steps; a short piece is repeated at its end."""
    first = rng.random() < FROM_START
    lengths = np.array([p.steps for p in pieces], float)
    rows: dict[str, list] = {name: [] for name in ("channels", "vectors", "known", "style", "codes")}
    for i in rng.choice(len(pieces), size, p=lengths / lengths.sum()):
        piece = pieces[i]
        start = 0 if first else int(rng.integers(1, max(2, piece.steps - steps + 1)))

        def cut(values: np.ndarray, begin: int, count: int) -> np.ndarray:
            return values[np.minimum(np.arange(begin, begin + count), len(values) - 1)].astype(np.float32)

        rows["channels"].append(cut(piece.channels, STRIDE * start, PAST + STRIDE * steps + AHEAD))
        rows["vectors"].append(cut(piece.vectors, STRIDE * start, STRIDE * (steps + 2)))
        known = cut(piece.known, start, steps)
        known[max(0, piece.steps - start) :] = 0
        rows["known"].append(known)
        rows["style"].append(piece.style)
        if codes is not None:
            rows["codes"].append(cut(codes[i], max(0, start - 1), 1).tolist() + cut(codes[i], start, steps).tolist())
    tensors = {name: torch.from_numpy(np.stack(values)).to(device) for name, values in rows.items() if values}
    known = tensors["known"].bool()
    taught = tensors["codes"].long() if codes is not None else None
    return Batch(tensors["channels"], tensors["vectors"], known, tensors["style"], taught, first)


def region_errors(made: Tensor, true: Tensor, known: Tensor) -> dict[str, Tensor]:
    """Mean squared errors of standardised motion [b, f, 57] and its differences, by region, where it is known [b, f, 5]."""
    errors = {}
    for i, (name, where) in enumerate(coded_slices().items()):
        a, b, seen = made[..., where], true[..., where], known[..., i, None].to(made.dtype)
        total = a.new_zeros(())
        for weight, order in ((1.0, 0), (VELOCITY, 1), (ACCELERATION, 2)):
            difference = torch.diff(a - b, n=order, dim=1)
            share = seen[:, order:]
            total = total + weight * (difference.square() * share).sum() / (share.sum() * CODED[name] + 1e-6)
        errors[name] = total
    return errors


class CodebookLearner(nn.Module):
    """The network with the running means by which its codebooks learn."""

    def __init__(self, model: MotionGenerator) -> None:
        super().__init__()
        self.model = model
        self.following = nn.ModuleDict(
            {name: EMACodebookUpdate(codec.codebook) for name, codec in model.codecs.items()}
        )
        self.adam_parameters = tuple(f"model.{name}" for name in model.adam_parameters)

    def loss(self, batch: Batch, rng: np.random.Generator | None) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """(loss, error of each region, codes [b, s, slots]); with `rng` the codebooks follow and levels are dropped."""
        model = self.model
        values = model.standardise(batch.vectors)
        latents, quantised, codes, commitment = model.latents(values), {}, [], values.new_zeros(())
        for i, (name, latent) in enumerate(latents.items()):
            codebook, flat = model.codecs[name].codebook, latent.flatten(0, 1)
            code = codebook.encode(flat.detach())
            if rng is not None:
                seen = batch.known[..., i].flatten()
                self.following[name](codebook, flat.detach()[seen], code[seen])
            levels = 1 if rng is not None and rng.random() < LEVELS_DROPPED else codebook.levels
            near = sum((codebook.table(level)[code[:, level]] for level in range(levels)), torch.zeros_like(flat))
            commitment = commitment + F.mse_loss(flat, near)
            quantised[name] = (flat + (near - flat).detach()).unflatten(0, latent.shape[:2])
            codes.append(code.unflatten(0, latent.shape[:2]))
        made = model.standardise(model.reconstruct(batch.channels, quantised, batch.style))
        true = values[:, STRIDE + 2 : -STRIDE - 2]
        known = batch.known.repeat_interleave(STRIDE, 1)[:, 2:-2]
        errors = region_errors(made, true, known)
        error = sum(errors.values(), values.new_zeros(()))
        return error + COMMITMENT * commitment, errors, torch.cat(codes, -1)


def measure_spread(model: MotionGenerator, pieces: Sequence[Piece]) -> None:
    """Set the mean and spread by which motion is standardised; what hardly moves is not blown up."""
    vectors = np.concatenate([p.vectors[:: 2 * STRIDE] for p in pieces]).astype(np.float32)
    spread = torch.from_numpy(vectors.std(0))
    model.mean.copy_(torch.from_numpy(vectors.mean(0)))
    model.std.copy_(spread.clamp_min(0.03))


def train_codebooks(
    run: Path, schedule: Schedule, batch: int, steps: int, model: MotionGenerator, bank, resume: bool, stop_after: float
) -> Trainer[CodebookLearner]:
    """Encoders, codebooks and decoders; the generator's own weights stay as they are."""
    train, watch = bank
    measure_spread(model, train)
    for name, p in model.named_parameters():
        p.requires_grad_(name.startswith(("codecs.", "listen.")))
    trainer = Trainer(CodebookLearner(model), run / "codebooks", schedule)
    if resume:
        trainer.resume()
    device = trainer.accelerator.device

    def loss_of(learner: CodebookLearner, rng: np.random.Generator) -> Tensor:
        some = draw_batch(train, batch, steps, rng, device)
        loss, errors, _ = learner.loss(some, rng)  # in full precision: differences of frames are small
        trainer.log(**{name: float(error.detach()) for name, error in errors.items()})
        return loss

    @torch.no_grad()
    def report(learner: CodebookLearner, folder: Path, step: int) -> str:
        some = draw_batch(watch, 32, steps, np.random.default_rng(0), device)
        _, errors, codes = learner.loss(some, None)
        model, levels = learner.model, learner.model.config.levels
        usage = [
            f"{name}/{k % levels} {code_usage(codes[..., k], model.config.entries)['perplexity']:.0f}"
            for k, name in enumerate(np.repeat(REGIONS, levels))
        ]
        return (
            "held out " + " ".join(f"{n} {float(e):.4f}" for n, e in errors.items()) + " perplexity " + " ".join(usage)
        )

    trainer.fit(loss_of, report, stop_after)
    return trainer


@torch.no_grad()
def encode_pieces(model: MotionGenerator, pieces: Sequence[Piece]) -> list[np.ndarray]:
    """The codes of every piece: int16 [s, slots]."""
    device, found = model.mean.device, []
    for piece in pieces:
        vectors = torch.from_numpy(piece.vectors.astype(np.float32))[None].to(device)
        found.append(model.encode(model.standardise(vectors))[0].short().cpu().numpy())
    return found


def code_losses(model: MotionGenerator, batch: Batch, rng: np.random.Generator | None) -> Tensor:
    """Cross-entropy of every true code, nats: [slots]; with `rng` some past codes are replaced by others."""
    assert batch.codes is not None  # it was drawn with codes
    codes, past = batch.codes[:, 1:], batch.codes[:, :-1]
    if rng is not None:
        wrong = torch.rand(past.shape, device=past.device) < FORGOTTEN
        wrong |= torch.rand(*past.shape[:2], 1, device=past.device) < LOST
        past = torch.where(wrong, torch.randint_like(past, model.config.entries), past)
    logits = model.score(make_windows(batch.channels), codes, past, batch.first, batch.style)
    losses = F.cross_entropy(logits.float().flatten(0, 2), codes.flatten(), reduction="none").view(codes.shape)
    seen = batch.known.repeat_interleave(model.config.levels, -1).to(losses.dtype)
    return (losses * seen).sum((0, 1)) / seen.sum((0, 1)).clamp_min(1)


def regression_loss(model: MotionGenerator, batch: Batch) -> Tensor:
    """Of the ablation without codebooks: the trunk's state is decoded as it is."""
    windows = make_windows(batch.channels)
    states = model.regress(model.trunk(windows, None, batch.first, batch.style))
    latents = dict(zip(REGIONS, states.chunk(len(REGIONS), -1), strict=True))
    made = model.standardise(model.reconstruct(batch.channels, latents, batch.style))
    true = model.standardise(batch.vectors)[:, STRIDE + 2 : -STRIDE - 2]
    errors = region_errors(made, true, batch.known.repeat_interleave(STRIDE, 1)[:, 2:-2])
    return sum(errors.values(), made.new_zeros(()))


def train_generator(
    run: Path, schedule: Schedule, batch: int, steps: int, model: MotionGenerator, bank, resume: bool, stop_after: float
) -> Trainer[MotionGenerator]:
    """The generator, on the codes of trained codebooks (without codebooks: everything, by regression)."""
    train, watch = bank
    taught = model.config.codebooks
    for name, p in model.named_parameters():
        p.requires_grad_(not (taught and name.startswith(("codecs.", "listen."))))
    trainer = Trainer(model, run / "generator", schedule)
    if resume:
        trainer.resume()
    device = trainer.accelerator.device
    codes = [encode_pieces(model, pieces) if taught else None for pieces in (train, watch)]
    weights = torch.tensor([CODE_WEIGHTS[name] for name, _ in model.slots], device=device)

    def loss_of(model: MotionGenerator, rng: np.random.Generator) -> Tensor:
        some = draw_batch(train, batch, steps, rng, device, codes[0])
        with trainer.accelerator.autocast():
            if not taught:
                return regression_loss(model, some)
            return (code_losses(model, some, rng) * weights).sum() / weights.sum()

    @torch.no_grad()
    def report(model: MotionGenerator, folder: Path, step: int) -> str:
        some = draw_batch(watch, 32, steps, np.random.default_rng(0), device, codes[1])
        if not taught:
            return f"held out {float(regression_loss(model, some)):.4f}"
        losses = code_losses(model, some, None).view(len(REGIONS), -1).mean(1)
        return f"held out {float(losses.mean()):.4f} nats " + " ".join(
            f"{name} {float(loss):.3f}" for name, loss in zip(REGIONS, losses, strict=True)
        )

    trainer.fit(loss_of, report, stop_after)
    return trainer


def train_motion(
    run: Path,
    schedule: Schedule,
    preset: TrainPreset,
    start: MotionGenerator | None,
    resume: bool,
    stop_after: float,
) -> tuple[MotionGenerator, Trainer]:
    """Both parts, each with its own checkpoint under `run`; the second begins once the first is done.

    With `start`, trained weights, the codebooks stay as they are, so that their codes keep their meaning.
    """
    torch.manual_seed(schedule.seed)
    with main_process_first():
        bank = make_bank(run)
    common = {"batch": preset.batch, "steps": preset.frames, "bank": bank}
    if start is None:
        share = replace(
            schedule, steps=max(1, int(CODEBOOK_SHARE * schedule.steps)), seconds=CODEBOOK_SHARE * schedule.seconds
        )
        began = time.monotonic()
        trainer = train_codebooks(run, share, model=MotionGenerator(), resume=resume, stop_after=stop_after, **common)
        start = trainer.averaged().model
        if trainer.step < share.steps and trainer.seconds < share.seconds:
            return start, trainer  # it was stopped
        stop_after -= time.monotonic() - began
        left = (1 - CODEBOOK_SHARE) * schedule.seconds
        schedule = replace(schedule, steps=max(1, schedule.steps - share.steps), seconds=left)
        resume = resume and find_checkpoint(run / "generator").exists()  # the run may have ended before
    trainer = train_generator(run, schedule, model=start, resume=resume, stop_after=stop_after, **common)
    return trainer.averaged(), trainer


def run_motion(options: TrainOptions, schedule: Schedule, preset: TrainPreset) -> dict:
    """The stage `motion` of `iasa train`; returns a report for --json."""
    run, shipped = options.run / "motion", shipped_weights("motion")
    anew = options.from_scratch or shipped is None
    anew = anew or (options.resume and find_checkpoint(run / "codebooks").exists())
    start = None if anew or shipped is None else load_weights(MotionGenerator, shipped)
    try:
        resume = wants_resume(options, run / ("codebooks" if anew else "generator"))
        model, trainer = train_motion(run, schedule, preset, start, resume, options.stop_after)
    except FloatingPointError as error:
        raise InputError(f"{error}; go on from there with --resume, and lower rates if it happens again") from error
    bank = make_bank(run)  # read back
    before = [] if anew else [read_card("motion")]
    card = make_card(model, trainer, bank, before)
    state = find_checkpoint(run / "codebooks") / "state.json"
    card["codebook_steps"] = before[0]["codebook_steps"] if before else json.loads(state.read_text())["step"]
    if trainer.accelerator.is_main_process:
        save_weights(model, run / "export", card)
        if options.export:
            save_weights(model, options.export / "motion", card, options.compact)
    return {"stage": "motion", "steps": trainer.step, "seconds": round(trainer.seconds, 1), "card": card}


def make_card(model: MotionGenerator, trainer: Trainer, bank, before: Sequence[dict]) -> dict:
    """What the weights must say of themselves, the use of every codebook among it."""
    train, watch = bank
    clips = len(train) - PERFORMANCES
    codes = torch.from_numpy(np.concatenate(encode_pieces(model, watch))).long()
    usage = {
        f"{name} level {level + 1}": {k: round(v, 3) for k, v in code_usage(codes[:, i], model.config.entries).items()}
        for i, (name, level) in enumerate(model.slots)
    }
    real = f"{clips} clips of real video" if clips else "no real video"
    return {
        "name": "motion",
        "made_by": "python -m iasa train motion",
        "data": f"performances of the procedural avatar (iasa.motion.rules) to synthetic speech and three real clips; {real}",
        "hours": round(sum(p.steps for p in train) * STRIDE / VIDEO_FPS / 3600, 2),
        "steps": trainer.step + sum(card["steps"] for card in before),
        "seconds": round(trainer.seconds + sum(card["seconds"] for card in before)),
        "entries": model.config.entries,
        "codebooks_on_watched_performances": usage,
        "device": f"{trainer.accelerator.device.type} ({platform.machine()}, {torch.get_num_threads()} threads)",
        "torch": torch.__version__,
        "date": date.today().isoformat(),
        "licence": "Apache-2.0",
    }
