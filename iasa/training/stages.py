"""`iasa train STAGE`: one stage of the training after another.

A stage reads what earlier ones left in the run folder, else the shipped weights, and leaves its own under
<run>/<stage>/export. Without a run of its own to resume it starts from the shipped weights. The teacher goes on with
the sparse masks (finetune, finetune_global, finetune_local), the first student begins there (--from-scratch) and is
trained on its self-rollout: by the true latents alone (self_forcing), distilled (distill), or with the region loss too
(distill_region).
"""

from __future__ import annotations

import math
import platform
import time
from datetime import date
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import PartialState
from diffusers import ModelMixin

from iasa.config import HELDOUT_IDENTITY, PRESETS, REGION_WEIGHTS, DistillOptions, InputError, TrainPreset
from iasa.device import pick_device
from iasa.losses import FaceEmbedding
from iasa.models.autoencoder import Autoencoder
from iasa.models.checkpoint import find_weights, load_weights, read_card, save_weights, shipped_name, shipped_weights
from iasa.models.network import Network
from iasa.models.transformer import VideoTransformer
from iasa.training.options import CLIPS, MEMORY_STAGES, PHOTO_CLIPS, STAGE_STEPS, TrainOptions
from iasa.training.trainer import Schedule, Trainer, find_checkpoint, main_process_first, wants_resume

N = TypeVar("N", bound=Network)
OWN = ("autoencoder", "teacher", "student")  # go on from the shipped weights of their name, but for --from-scratch
BEFORE = {  # else, whose weights a stage starts from: the first that is there
    "finetune": ("teacher",),
    "finetune_global": ("finetune", "teacher"),
    "finetune_local": ("finetune_global", "finetune", "teacher"),
    "student": ("finetune_local", "finetune_global", "finetune", "teacher"),
    "self_forcing": ("student",),
    "distill": ("student",),
    "distill_region": ("student",),
    "decoder": ("decoder", "autoencoder"),
}
PAIR_UTTERANCES, PHOTO_ROUNDS, HELDOUT_SPEAKERS = (
    60,
    8,
    10,
)  # of the pairs: their motion, shards of a photograph, speakers
DRAWN = "procedural avatar (iasa.avatar), rendered at 256 x 256, 25 frames/s"
HELDOUT_SHARE = 0.2  # of the time to render
GENERATORS = ("distill_region", "distill", "student", "teacher")  # whose latents the decoder learns to paint


def run_stage(options: TrainOptions) -> dict:
    """Run one stage; returns a report for --json."""
    for name in ("pairs", "photos", "takes", "videos"):
        if getattr(options, name) and options.stage != "data":
            raise InputError(f"--{name} is for stage data; run that first, and then {options.stage} without it")
    if options.stage == "all":
        from iasa.training.whole_chain import train_all

        return train_all(options, run_stage)
    data = options.run / "data"
    if options.minutes is not None and (
        options.stage == "memory_data" or options.pairs or options.takes or options.videos
    ):
        raise InputError(
            "--minutes is for drawn clips, for those of photographs and for stages that learn; these data take what they take"
        )
    if options.stage == "data" and options.pairs:
        return _make_pairs(options, data / "pairs")
    if options.stage == "data" and (options.photos or options.takes or options.videos):
        return _make_people(options, data)
    if options.stage == "restore":
        return _train_restorer(options, data / "pairs")
    if options.stage == "data":
        from iasa.training.datasets import HELDOUT_CLIPS, count_clips, make_shards

        if not 0 <= options.first <= HELDOUT_IDENTITY - (options.clips or CLIPS):
            raise InputError(f"training's clips have numbers from 0 to {HELDOUT_IDENTITY - 1}; the others are held out")
        now, seconds = time.monotonic(), math.inf if options.minutes is None else 60 * options.minutes
        with main_process_first():  # the others find them made
            make_shards(data, HELDOUT_CLIPS, options.run / "corpus", heldout=True, until=now + HELDOUT_SHARE * seconds)
            make_shards(data, options.clips or CLIPS, options.run / "corpus", first=options.first, until=now + seconds)
        return {"stage": "data", "clips": count_clips(data)}
    if options.stage in MEMORY_STAGES:
        return _run_memory(options)
    if options.pose_only:
        raise InputError(f"--pose-only belongs to the memory stages; {options.stage} is none")
    if options.stage == "motion":
        from iasa.training.train_motion import run_motion

        preset = PRESETS[options.preset or "motion"]
        return run_motion(
            options, make_schedule("motion", preset, options.steps, options.seed, options.minutes), preset
        )
    for split, kind in (("train", "clips"), ("heldout", "held-out clips of drawn speakers")):
        if not any(data.glob(f"{split}_*.frames.npy")):
            raise InputError(
                f"there are no {kind} under {options.run}; make them with: python -m iasa train data --run {options.run}"
            )
    preset = PRESETS[options.preset or options.stage]
    if options.stage == "encoders":
        return _train_encoders(options, data, preset)
    schedule = make_schedule(options.stage, preset, options.steps, options.seed, options.minutes)
    run = options.run / options.stage
    origin = find_start(options.stage, options.run, options.from_scratch, options.people)
    before = read_card(origin) if origin else None
    try:
        model, trainer = _train(options, data, run, schedule, preset, origin)
    except FloatingPointError as error:
        raise InputError(f"{error}; go on from there with --resume, and lower rates if it happens again") from error
    card = make_card(options.stage, trainer, data, options.stage, before)
    if trainer.accelerator.is_main_process:
        export(model, run, options, card)
    return {"stage": options.stage, "steps": trainer.step, "seconds": round(trainer.seconds, 1), "card": card}


def _make_people(options: TrainOptions, folder: Path) -> dict:
    """Clips of photographs, takes and videos, which lie beside the drawn ones."""
    from iasa.training import photo_clips
    from iasa.training.datasets import count_clips
    from iasa.training.restore_data import read_photos
    from iasa.training.speech_data.corpus import make_corpus

    refused = []
    if options.takes:
        refused += photo_clips.make_take_clips(folder, options.takes)
    if options.videos:
        refused += photo_clips.make_video_clips(folder, options.videos)
    if options.photos:
        until = math.inf if options.minutes is None else time.monotonic() + 60 * options.minutes
        corpus = make_corpus("train", options.run / "corpus", PAIR_UTTERANCES)
        photos = read_photos(options.photos)
        clips = options.clips or PHOTO_CLIPS * len(photos)
        refused += photo_clips.make_photo_clips(folder, photos, corpus, clips, until)
    return {"stage": "data", "clips": count_clips(folder), "refused": refused}


def _make_pairs(options: TrainOptions, folder: Path) -> dict:
    """Data of stage restore: of photographs and videos, or of drawn speakers."""
    from iasa.training.restore_data import make_photo_shards, make_speaker_shards, read_photos
    from iasa.training.speech_data.corpus import make_corpus
    from iasa.training.video_data import make_video_shards

    if options.takes:
        raise InputError("--takes makes clips; pairs are made of --photos, of --videos, or of drawn speakers")
    refused = make_video_shards(folder, options.videos) if options.videos else []
    if options.photos:
        corpus = make_corpus("train", options.run / "corpus", PAIR_UTTERANCES)
        refused += make_photo_shards(folder, read_photos(options.photos), corpus, PHOTO_ROUNDS)
    elif not options.videos:
        make_speaker_shards(
            folder, options.clips or CLIPS, make_corpus("train", options.run / "corpus", PAIR_UTTERANCES)
        )
        make_speaker_shards(folder, HELDOUT_SPEAKERS, make_corpus("heldout", options.run / "corpus"), heldout=True)
    return _describe_pairs(folder, refused)


def _describe_pairs(folder: Path, refused: list[str]) -> dict:
    return {"stage": "data", "shards": len(list(folder.glob("restore_*.npz"))), "refused": refused}


def _train_restorer(options: TrainOptions, data: Path) -> dict:
    from iasa.models.restorer import Restorer
    from iasa.training.restore_data import SPEAKERS
    from iasa.training.train_restorer import train_restorer

    preset = PRESETS[options.preset or "restore"]
    schedule = make_schedule("restore", preset, options.steps, options.seed, options.minutes)
    run = options.run / "restore"
    shipped = None if options.from_scratch else shipped_weights("restorer")
    start = begin(Restorer, shipped) if shipped else None
    resume = wants_resume(options, run)
    try:
        model, trainer = train_restorer(data, run, schedule, preset.batch, start, resume, options.stop_after)
    except FloatingPointError as error:
        raise InputError(f"{error}; go on from there with --resume, and lower rates if it happens again") from error
    seen = {word: _people(data, f"restore_{kind}_") for kind, word in (("photo", "photographs"), ("video", "videos"))}
    people = [f"{len(names)} {word}: {', '.join(names)}" for word, names in seen.items() if names]
    card = {
        **make_card("restore", trainer, data, "restore", read_card(shipped) if shipped else None),
        "data": "drawn speakers (iasa.avatar) at 512 x 512, warped by their layers"
        + "".join(f"; {of}" for of in people or ["no real people"]),
        "clips": SPEAKERS * len(list(data.glob("restore_speakers_*.npz"))),
    }  # fmt: skip
    if trainer.accelerator.is_main_process:
        export(model, run, options, card)
    return {"stage": "restore", "steps": trainer.step, "seconds": round(trainer.seconds, 1), "card": card}


def _people(data: Path, start: str) -> list[str]:
    """What the shards of a folder whose names begin with `start` were made of."""
    paths = (*data.glob(f"{start}*.npz"), *data.glob(f"{start}*.frames.npy"))
    return sorted({path.name.rsplit("_", 1)[0].removeprefix(start) for path in paths})


def _name(names: list[str]) -> str:
    """All of them, or of numbers the first and the last."""
    counted = len(names) > 3 and all(name.isdecimal() for name in names)
    return f"{names[0]} to {names[-1]}" if counted else ", ".join(names)


def describe_data(data: Path) -> str:
    """What a card says of the clips of a folder."""
    kinds = (("photo", "photographs moved by their layers"), ("take", "rendered or filmed takes"), ("video", "videos"))
    seen = [(word, _people(data, f"train_{kind}_")) for kind, word in kinds]
    people = [f"{len(names)} {word} ({_name(names)})" for word, names in seen if names]
    drawn = [DRAWN] if any(data.glob("train_[0-9]*.frames.npy")) or not people else []
    return "; ".join([*drawn, *(people or ["no real people"])])


def export(model: ModelMixin, run: Path, options: TrainOptions, card: dict) -> None:
    """Leave the weights in the stage's folder `run`, and where --export says."""
    save_weights(model, run / "export", card)
    if options.export:
        base = card["name"] if options.people and options.compact else None
        save_weights(model, options.export / card["name"], card, options.compact, base)


def make_schedule(
    stage: str, preset: TrainPreset, steps: int | None, seed: int, minutes: float | None = None
) -> Schedule:
    return Schedule(
        seconds=math.inf if minutes is None else 60 * minutes,
        steps=steps or STAGE_STEPS[stage],
        seed=seed,
        warmup=preset.warmup,
        lr=preset.lr,
        muon_lr=preset.muon_lr,
        ema=preset.ema,
    )


def _run_memory(options: TrainOptions) -> dict:
    """A stage of the memory bed."""
    from iasa.training.memory_stages import run_memory

    def schedule(stage: str, preset: TrainPreset) -> Schedule:
        return make_schedule(stage, preset, options.steps, options.seed, options.minutes)

    def card(trainer: Trainer, name: str, clips: int) -> dict:
        made = make_card(options.stage, trainer, options.run / "memory", name)
        data = "procedural avatar with marks (iasa.avatar.details), 128 x 128, 2.5 frames/s; no real people"
        return {**made, "data": data, "clips": clips}

    try:
        return run_memory(options, schedule, card)
    except FloatingPointError as error:
        raise InputError(f"{error}; go on from there with --resume, and lower rates if it happens again") from error


def _train_encoders(options: TrainOptions, data: Path, preset: TrainPreset) -> dict:
    """The three proxy metrics, one after another, from drawn speakers alone."""
    from iasa.training.datasets import count_clips
    from iasa.training.encoders import train_face_encoder, train_part_encoder
    from iasa.training.train_sync import train_sync_encoder

    makers = {
        "face_encoder": (train_face_encoder, data),
        "part_encoder": (train_part_encoder, data),
        "sync_encoder": (train_sync_encoder, options.run / "corpus"),
    }
    report: dict = {"stage": "encoders"}
    for name, (train, source) in makers.items():
        run = options.run / name
        share = None if options.minutes is None else options.minutes / len(makers)
        schedule = make_schedule(name, preset, options.steps, options.seed, share)
        begun = name == next(iter(makers)) or find_checkpoint(run).exists()  # the run may have ended before the others
        encoder, trainer, figures = train(
            source, run, schedule, begun and wants_resume(options, run), options.stop_after
        )
        card = {**make_card("encoders", trainer, data, name), "heldout": figures}
        card |= {"data": f"{DRAWN}; no real people", "clips": count_clips(data, "[0-9]")}
        if trainer.accelerator.is_main_process:
            export(encoder, run, options, card)
        report[name] = {"steps": trainer.step, "seconds": round(trainer.seconds, 1), **figures}
    return report


def _train(options: TrainOptions, data: Path, run: Path, schedule: Schedule, preset: TrainPreset, origin: Path | None):
    common = {"resume": wants_resume(options, run), "stop_after": options.stop_after}
    if options.stage == "autoencoder":
        from iasa.training.train_autoencoder import train_autoencoder

        start = begin(Autoencoder, origin) if origin else None
        return train_autoencoder(data, run, schedule, preset.batch, start, **common)
    from iasa.training.datasets import encode_shards

    state = PartialState(cpu=pick_device().type == "cpu")  # gives each process of several its device
    autoencoder = earlier(Autoencoder, options.run, "decoder", "autoencoder", people=options.people)
    autoencoder = autoencoder.to(pick_device()).to(memory_format=torch.channels_last)
    with state.main_process_first():  # the others find the latents written
        for split in ("train", "heldout"):
            encode_shards(data, split, autoencoder)
    if options.stage == "teacher":
        from iasa.training.train_teacher import train_teacher

        start = begin(VideoTransformer, origin) if origin else None
        return train_teacher(data, run, schedule, preset, autoencoder, start, **common)
    assert origin is not None  # all the others begin at trained weights
    if options.stage == "decoder":
        from iasa.training.train_decoder import train_decoder

        generator = earlier(VideoTransformer, options.run, *GENERATORS, people=options.people)
        return train_decoder(data, run, schedule, generator, begin(Autoencoder, origin), **common)
    start = begin(VideoTransformer, origin)
    if options.stage == "student":
        from iasa.training.train_student import train_student

        return train_student(data, run, schedule, preset, autoencoder, start, **common)
    if options.stage.startswith("finetune"):
        from iasa.training.finetune_sparse import finetune_sparse

        mask = None if options.stage == "finetune" else preset.mask
        return finetune_sparse(data, run, schedule, preset, autoencoder, start, **common, mask=mask)
    from iasa.training.distill import distill

    teacher = earlier(VideoTransformer, options.run, "finetune", "teacher")
    if options.stage == "self_forcing":
        return distill(
            data, run, schedule, preset, autoencoder, start, teacher, **common, options=DistillOptions(dmd=0.0)
        )
    if options.stage == "distill":
        return distill(data, run, schedule, preset, autoencoder, start, teacher, **common)
    from iasa.metrics.networks.part_encoder import PartEncoder
    from iasa.training.region_loss import RegionLoss

    face = choose_face(options.run, options.arcface)
    parts = earlier(PartEncoder, options.run, "part_encoder").to(pick_device())
    weights = {name: REGION_WEIGHTS[name] for name in options.regions}
    return distill(
        data, run, schedule, preset, autoencoder, start, teacher, **common,
        region_term=RegionLoss(autoencoder, face, parts, weights, DistillOptions().region_frames),
    )  # fmt: skip


def choose_face(run: Path, arcface: Path | None) -> FaceEmbedding:
    """What tells faces apart in the region loss: a user's ArcFace, else the encoder trained here. Raises InputError."""
    if arcface:
        from iasa.metrics.published import read_arcface

        return read_arcface(arcface)
    from iasa.metrics.networks.face_encoder import FaceEncoder

    return earlier(FaceEncoder, run, "face_encoder").to(pick_device()).embed


def find_start(stage: str, run: Path, from_scratch: bool, people: bool = False) -> Path | None:
    """The folder with the weights that a stage begins at; None: it begins anew. Raises InputError if there are none."""
    if stage in OWN and not from_scratch and (shipped := shipped_weights(stage, people=people)):
        return shipped
    return find_weights(run, *BEFORE[stage], people=people) if stage in BEFORE else None


def begin(kind: type[N], origin: Path) -> N:
    """The network of these weights, to be trained."""
    return load_weights(kind, origin).requires_grad_(True)


def earlier(kind: type[N], run: Path, *stages: str, people: bool = False) -> N:
    """A frozen network of the first of these stages that the run holds, else of the first that is shipped."""
    return load_weights(kind, find_weights(run, *stages, people=people)).requires_grad_(False)


def make_card(stage: str, trainer: Trainer, data: Path, name: str, before: dict | None = None) -> dict:
    """What a weight file must say of itself. `before` is the card of the weights that the stage began at.

    Steps and seconds add up over the runs that refined weights of one name.
    """
    from iasa.training.datasets import count_clips

    name = shipped_name(name)
    refined = before if before is not None and before["name"] == name else {"steps": 0, "seconds": 0}
    return {
        "name": name,
        "made_by": f"python -m iasa train {stage}",
        "began_at": f"{before['name']}, {before['steps']} steps, {before.get('made_by', '')}".rstrip(", ")
        if before
        else "noise",
        "data": describe_data(data),
        "clips": count_clips(data),
        "steps": trainer.step + refined["steps"],
        "seconds": round(trainer.seconds + refined["seconds"]),
        "device": f"{trainer.accelerator.device.type} ({platform.machine()}, {torch.get_num_threads()} threads)",
        "torch": torch.__version__,
        "date": date.today().isoformat(),
        "licence": "Apache-2.0",
    }
