"""`iasa evaluate --real DIR`: photographs and clips of real people, measured beside a still picture and the warped layers alone.

DIR holds clips/ (videos of people, driven by their own poses from one of their frames), halfbody/ and portraits/ (pictures,
driven by speech), and poses/ (filmed poses, which drive the pictures of halfbody/). What is missing is left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from iasa import keypoints as kp
from iasa.avatar.photograph import SIDE, Photograph, find_person, forget_unseen
from iasa.avatar.speaker import Reference, photograph_speaker
from iasa.config import AUDIO_RATE, LAYERS, MODELS, RESTORED, VIDEO_FPS, InputError
from iasa.device import describe_machine
from iasa.evaluation.real_set import RealSet
from iasa.keypoints import Keypoints, load_keypoints
from iasa.media.reader import open_video, read_image
from iasa.metrics.face_distance import FaceDistance
from iasa.metrics.video_quality import detection_rates, flicker, mouth_correlation, psnr, ssim
from iasa.paths import SPEECH
from iasa.pipeline import CoSpeechPipeline
from iasa.pose import extract_keypoints
from iasa.pose.filter import choose_frame

ROWS = ("static", LAYERS, RESTORED, "student", "teacher")
DEFAULT_ROWS = ("static", LAYERS, "student")  # no restorer ships
SPEAKING = "tea"  # the clip of speech
SAMPLED = 10  # frames: every so many are looked at for identity and room
ASIDE = 14  # pixels at SIDE around the person in which the room is not judged
HAND_SQUARE, FACE_SQUARE = 0.2, 0.15  # of a part's extent, added around it
COLUMNS = {
    "psnr": 2, "psnr_face": 2, "psnr_hands": 2, "ssim": 3, "identity": 3, "pose": 3, "face": 3, "hands": 3, "mouth_r": 3,
    "room": 1, "flicker": 2, "fps": 1,
}  # fmt: skip


def evaluate_real(
    folder: Path, frames: int, size: int, limit: int | None = None, rows: tuple[str, ...] = DEFAULT_ROWS,
    weights: Path | None = None, note: Callable[[str], None] = print,
) -> tuple[str, dict]:  # fmt: skip
    """(Markdown, report). `frames` of each video at most, `limit` pictures and clips of each kind."""
    real = RealSet.of(folder)
    unused = {name: None for name in MODELS if name not in rows}
    if RESTORED not in rows:
        unused["restorer"] = None
    pipeline, judge = CoSpeechPipeline.from_pretrained(weights, **unused), FaceDistance()
    scores = []
    for kind, driver, name, make in _jobs(real, frames, size, limit):
        try:
            subject = make()
        except InputError as error:
            note(f"{kind}/{name}: {error}")
            scores.append({"kind": kind, "driver": driver, "name": name, "refused": str(error)})
            continue
        for row in rows:
            one = {"kind": kind, "driver": driver, "name": name, "row": row, **measure(pipeline, judge, subject, row)}
            note(" ".join(f"{k} {v:.3f}" if isinstance(v, float) else str(v) for k, v in one.items()))
            scores.append(one)
    report = {
        "command": f"python -m iasa evaluate --real {folder.name} --frames {frames} --size {size} --rows {' '.join(rows)}"
        + (f" --clips {limit}" if limit else "") + (f" --weights {weights.name}" if weights else ""),
        **describe_machine(), "scores": scores,
    }  # fmt: skip
    return write_table(report), report


Job = tuple[str, str, str, Callable[[], "Subject"]]  # kind, driver, name, what makes the subject


def _jobs(real: RealSet, frames: int, size: int, limit: int | None) -> Iterator[Job]:
    for path in real.clips[:limit]:
        yield "clips", "own poses", path.stem, lambda path=path: clip_subject(path, frames, size)
    for kind, pictures in real.pictures.items():
        for number, path in enumerate(pictures[:limit]):
            yield kind, "speech", path.stem, lambda path=path: speech_subject(path, frames, size)
            if real.poses and kind == "halfbody":
                driver = real.poses[number % len(real.poses)]
                yield kind, "filmed poses", path.stem, lambda path=path, d=driver: filmed_subject(path, d, frames, size)


@dataclass(frozen=True, eq=False)
class Subject:
    """One person to animate."""

    reference: Reference
    poses: Keypoints  # on the speaker
    truth: np.ndarray | None = None  # uint8 [f, S, S, 3]


def speech_subject(path: Path, frames: int, size: int) -> Subject:
    from iasa.motion import generate_clip_motion
    from iasa.speech import read_audio
    from iasa.speech.chunked import ChunkedSpeech

    reference = photograph_speaker(read_image(path), path.stem, size=size)
    audio, _ = read_audio(SPEECH / f"{SPEAKING}.mp3")
    audio = audio[: int(frames / VIDEO_FPS * AUDIO_RATE)]
    parts = [reference.to_keypoints(motion) for motion in generate_clip_motion(ChunkedSpeech(audio), 0)]
    return Subject(reference, kp.concat_keypoints(*parts)[:frames])


def filmed_subject(path: Path, driver: Path, frames: int, size: int) -> Subject:
    reference = photograph_speaker(read_image(path), path.stem, size=size)
    return Subject(reference, reference.carry(load_keypoints(driver))[:frames])


def clip_subject(path: Path, frames: int, size: int) -> Subject:
    """A clip cut to the square that `photograph_speaker` chooses in its best frame; driven by its own poses."""
    from PIL import Image

    with open_video(path, fps=VIDEO_FPS) as (pictures, _):
        film = [np.asarray(picture) for _, picture in zip(range(frames), pictures, strict=False)]
    best = choose_frame(extract_keypoints(iter(film)))
    reference = photograph_speaker(film[best], path.stem, size=size)
    photo = photo_of(reference)
    square = photo.square
    cut = [np.asarray(Image.fromarray(square.cut(f)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)) for f in film]
    found = forget_unseen(extract_keypoints(iter(cut)))
    own = photo.keypoints
    seen = (found.confidence > 0) & (own.confidence > 0)
    poses = replace(found, xy=np.where(seen[..., None], found.xy, own.xy), confidence=np.where(seen, own.confidence, 0))
    small = [np.asarray(Image.fromarray(f).resize((size, size), Image.Resampling.BOX)) for f in cut]
    return Subject(reference, poses, np.stack(small))


def photo_of(reference: Reference) -> Photograph:
    """The picture of a speaker who is a photograph."""
    if reference.photo is None:
        raise ValueError(f"the speaker {reference.name} is drawn; a photograph is needed")
    return reference.photo


def measure(pipeline: CoSpeechPipeline, judge: FaceDistance, subject: Subject, row: str) -> dict[str, float]:
    """One row's figures of one subject."""
    reference, count = subject.reference, len(subject.poses)
    photo = photo_of(reference)
    picture = _resize(photo.image, reference.size)
    started = time.perf_counter()
    if row == "static":
        made = np.repeat(picture[None], count, 0)
    else:
        made = np.concatenate(
            list(pipeline.stream(image=reference, keypoints=subject.poses, fit_poses=False, model=row).frames)
        )
    seconds = time.perf_counter() - started
    found = extract_keypoints(iter(made))
    truth = subject.truth
    scores = {
        **detection_rates(found, subject.poses),
        "mouth_r": mouth_correlation(found, subject.poses),
        "identity": judge.to(picture, reference.keypoints, made[::SAMPLED], found[::SAMPLED]),
        "room": room_psnr(made[::SAMPLED], photo, picture),
        "flicker": _flicker(made, photo, picture) if truth is None else flicker(made, truth),
        "fps": count / seconds,
    }
    if truth is not None:
        scores |= {"psnr": psnr(made, truth), "ssim": ssim(made, truth)}
        for name, parts, margin in (
            ("face", [kp.FACE], FACE_SQUARE), ("hands", [kp.LEFT_HAND, kp.RIGHT_HAND], HAND_SQUARE),
        ):  # fmt: skip
            scores[f"psnr_{name}"] = _psnr_around(made, truth, subject.poses, parts, margin)
    return scores


def room_psnr(frames: np.ndarray, photo: Photograph, picture: np.ndarray) -> float:
    """PSNR against the photograph where neither it nor the frame shows the person, dB."""
    errors, pixels = 0.0, 0
    size = picture.shape[0]
    own = _resize((photo.person * 255).astype(np.uint8), size) > 10
    for frame in frames:
        person = own | (_resize((find_person(_resize(frame, SIDE)) * 255).astype(np.uint8), size) > 10)
        room = ~np.asarray(ndimage.binary_dilation(person, iterations=max(1, ASIDE * size // SIDE)), bool)
        errors += float(((frame.astype(np.float64) - picture) ** 2)[room].sum())
        pixels += 3 * int(room.sum())
    return min(100.0, float(10 * np.log10(255**2 * pixels / max(errors, 1e-9)))) if pixels else float("nan")


def _flicker(made: np.ndarray, photo: Photograph, picture: np.ndarray) -> float:
    """Unrest of the room around where the person may move."""
    size = picture.shape[0]
    person = _resize((photo.person * 255).astype(np.uint8), size) > 10
    person = ndimage.binary_dilation(person, iterations=max(1, 4 * ASIDE * size // SIDE))
    count = len(made)
    return flicker(made, np.repeat(picture[None], count, 0), np.repeat(person[None], count, 0))


def _psnr_around(made: np.ndarray, truth: np.ndarray, poses: Keypoints, parts: list[slice], margin: float) -> float:
    """Inside the boxes around parts of the poses, dB; NaN where they are never seen."""
    size, errors, pixels = made.shape[1], 0.0, 0
    for i in range(len(made)):
        for part in parts:
            if not (poses.confidence[i, part] > 0).any():
                continue
            xy = poses.xy[i, part] * size
            grow = margin * np.ptp(xy, axis=0)
            low = np.clip(xy.min(0) - grow, 0, size).astype(int)
            high = np.clip(xy.max(0) + grow, 0, size).astype(int)
            box = (i, slice(low[1], high[1]), slice(low[0], high[0]))
            errors += float(((made[box].astype(np.float64) - truth[box]) ** 2).sum())
            pixels += made[box].size
    return float(10 * np.log10(255**2 * pixels / max(errors, 1e-9))) if pixels else float("nan")


def _resize(image: np.ndarray, size: int) -> np.ndarray:
    from PIL import Image

    return (
        image if len(image) == size else np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BOX))
    )


def write_table(report: dict) -> str:
    """Means by kind, driver and row, for reading."""
    scores = [s for s in report["scores"] if "row" in s]
    groups = list(dict.fromkeys((s["kind"], s["driver"], s["row"]) for s in scores))
    lines = [
        f"`{report['command']}`, {report['date']}, {report['device']}, torch {report['torch']}.", "",
        "| material | driven by | row | n | " + " | ".join(COLUMNS) + " |",
        "|---" * (4 + len(COLUMNS)) + "|",
    ]  # fmt: skip
    for kind, driver, row in groups:
        of = [s for s in scores if (s["kind"], s["driver"], s["row"]) == (kind, driver, row)]
        cells = []
        for name, digits in COLUMNS.items():
            values = np.array([s.get(name, np.nan) for s in of], float)
            values = values[np.isfinite(values)]
            cells.append(f"{values.mean():.{digits}f}" if len(values) else "-")
        lines.append(f"| {kind} | {driver} | {row} | {len(of)} | " + " | ".join(cells) + " |")
    refused = [f"- {s['kind']}/{s['name']}: {s['refused']}" for s in report["scores"] if "refused" in s]
    return "\n".join([*lines, *([""] + refused if refused else [])])
