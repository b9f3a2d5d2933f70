"""Render takes of random speakers: each one a photograph and frames of a gesture, true pairs of one person in two poses.

    people/bin/python -m examples.make_takes --data package/public/data --out takes --seeds 0 100

What to install is said in examples/make_people.py. A take is a function of its seed and of --portraits: DIR/NNNN/00.png is
the photograph, mostly at rest with both hands open; 01.png to 24.png are three runs of eight frames at 25 a second out of one
gesture. Existing takes are kept, and a folder appears when it is complete, so that a run may be stopped and continued.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from examples.make_people import HEAD
from examples.people import materials, rooms, stage
from examples.people.bodies import Body, worn_file
from examples.people.gestures import CALM, LIVELY, Gesture, Pose, draw_moments
from examples.people.materials import Color, Paint, dyed, patterned, tinted

SIZE, SAMPLES, ROOM_SAMPLES = 256, 6, 24
SECONDS, RUNS, LENGTH, RATE, RESTING = 3.0, 3, 8, 25.0, 0.7
CLOTHES = {
    "female": ("female_elegantsuit01", "female_casualsuit01", "female_casualsuit02"),
    "male": (
        "male_elegantsuit01", "male_casualsuit01", "male_casualsuit02", "male_casualsuit03",
        "male_casualsuit04", "male_casualsuit05", "male_casualsuit06", "male_worksuit01",
    ),
}  # fmt: skip
HAIR = {
    "female": ("long01", "long01", "bob02", "Braid01", "ponytail01", "ponytail01", "afro01"),
    "male": ("short01", "short02", "short04", "afro01"),
}
HAIR_COLORS = (
    (0.02, 0.018, 0.016), (0.045, 0.03, 0.02), (0.1, 0.06, 0.035), (0.2, 0.11, 0.05),
    (0.42, 0.28, 0.14), (0.22, 0.07, 0.025),
)  # fmt: skip
GRAY = (0.2, 0.195, 0.19)
TONES = {
    "african": (0.9, (1.7, 1.55, 1.45)),
    "asian": (1.1, (0.88, 0.78, 0.72)),
    "caucasian": (1.12, (0.88, 0.77, 0.71)),
}
EYES = ("brown", "brown", "brownlight", "blue", "green", "grey", "deepblue")
FACES = (
    "chin-width-incr", "head-fat-incr", "nose-scale-horiz-incr", "nose-scale-vert-incr", "nose-width2-incr", "nose-hump-incr",
    "mouth-scale-horiz-incr", "mouth-lowerlip-volume-incr", "mouth-upperlip-volume-incr", "neck-scale-horiz-incr",
    "measure-shoulder-dist-incr", "forehead-temple-incr", "eyebrows-trans-up",
)  # fmt: skip
PAIRED = ("eye-scale-incr", "cheek-bones-incr", "ear-scale-incr", "hand-fingers-length-incr", "upperarm-fat-incr")
LASHES = (0.05, 0.05, 0.05)


@dataclass(frozen=True)
class Speaker:
    shape: dict[str, float]
    local: dict[str, float]
    skin: Path
    tone: Paint
    worn: dict[str, Path]  # MakeHuman's files, by part; clothes first
    looks: dict[str, tuple[Path, Paint, float]]  # of those: picture, paint, roughness


def draw_speaker(chance: random.Random, data: Path) -> Speaker:
    sex = chance.choice(("female", "male"))
    kin = chance.choice(("african", "asian", "caucasian"))
    age = chance.uniform(0.62, 0.93)
    shape = {
        "gender": chance.uniform(0, 0.12) if sex == "female" else chance.uniform(0.88, 1),
        "age": age, "muscle": chance.uniform(0.3, 0.6), "weight": chance.uniform(0.3, 0.62),
        "height": chance.uniform(0.35, 0.65), "proportions": chance.uniform(0.4, 0.65),
        "cupsize": chance.uniform(0.2, 0.6) if sex == "female" else 0.0, "firmness": 0.6,
    }  # fmt: skip
    other = chance.choice(("african", "asian", "caucasian"))
    shape |= dict.fromkeys(("african", "asian", "caucasian"), 0.0)
    shape[other] = chance.uniform(0, 0.4)
    shape[kin] = 1.0 - (shape[other] if other != kin else 0.0)
    local = HEAD | {name: chance.gauss(0, 0.3) for name in FACES}
    local["measure-shoulder-dist-incr"] -= 0.6 if sex == "female" else 0.2
    for name in PAIRED:
        local |= dict.fromkeys((f"l-{name}", f"r-{name}"), chance.gauss(0, 0.25))
    gamma, tint = TONES[kin]
    gamma, bright = gamma * chance.uniform(0.9, 1.1), chance.uniform(0.85, 1.1)
    if kin == "african" and sex == "female":
        tint = (1.4, 1.5, 1.45)  # these skins are redder than the men's
    hue = [bright * chance.uniform(0.95, 1.05) * channel for channel in tint]
    worn, looks = draw_worn(chance, data, sex, kin == "caucasian", gray=age > 0.85)
    return Speaker(shape, local, draw_skin(chance, data, sex, kin, age), tinted(tuple(hue), gamma), worn, looks)


def draw_skin(chance: random.Random, data: Path, sex: str, kin: str, age: float) -> Path:
    years = "young" if age < 0.76 else "middleage" if age < 0.86 else "old"
    folder = data / "skins" / f"{years}_{kin}_{sex}" / "textures"
    return chance.choice(sorted(picture for picture in folder.glob("*.png") if "special" not in picture.name))


def draw_worn(chance: random.Random, data: Path, sex: str, fair: bool, gray: bool) -> tuple[dict, dict]:
    """What the speaker puts on, and how that looks."""
    names = {
        "clothes": chance.choice(CLOTHES[sex]),
        "hair": chance.choice(HAIR[sex]),
        "eyebrows": f"eyebrow{chance.randint(1, 12):03}",
        "eyelashes": f"eyelashes{chance.randint(2, 4):02}",
        "teeth": "Teeth_Base",
        "eyes": "HighPolyEyes",
    }
    worn = {kind: worn_file(data, kind, name) for kind, name in names.items()}
    color = chance.choice(HAIR_COLORS if fair else HAIR_COLORS[:3])
    color = GRAY if gray and chance.random() < 0.5 else color
    brows = tuple(channel * 0.7 for channel in color)
    eyes = chance.choice(EYES if fair else EYES[:3])
    looks = {
        "clothes": ("*_diffuse.png", draw_cloth(chance), 0.85),
        "hair": ("*.png", dyed(color, 0.35, 1.6), 0.45),
        "eyebrows": ("*.png", dyed(brows, 0.6, 1.2), 0.6),
        "eyelashes": ("*.png", tinted(LASHES), 0.6),
        "teeth": ("*.png", tinted((0.85, 0.83, 0.78)), 0.3),
        "eyes": (f"{eyes}_eye.png", tinted((1.0, 1.0, 1.0)), 0.2),
    }
    found = {}
    for kind, (pattern, paint, rough) in looks.items():
        (picture,) = (worn[kind].parent / "textures").glob(pattern)
        found[kind] = (picture, paint, rough)
    return worn, found


def draw_cloth(chance: random.Random) -> Paint:
    """As it is, tinted, dyed or with a pattern on that."""
    tint: Color = tuple(chance.uniform(0.6, 1.5) for _ in range(3))
    dye = rooms.any_color(chance, (0.0, 0.9), (0.12, 0.85))
    paint = tinted(tint) if chance.random() < 0.35 else dyed(dye, 0.6, 1.15)
    if chance.random() < 0.4:
        kind = chance.choice(("stripes", "bands", "checks", "dots"))
        paint = patterned(paint, kind, rooms.any_color(chance, (0.0, 0.9), (0.1, 0.9)), chance.uniform(20, 90))
    return paint


class Actor:
    """A speaker on the stage who takes poses."""

    def __init__(self, speaker: Speaker, pose: Pose):
        self.worn = speaker.worn
        self.body = Body(speaker.shape, speaker.local, pose.face)
        self.body.pose(pose)
        meshes = {kind: self.body.put_on(path) for kind, path in self.worn.items()}
        self.covered = meshes["clothes"][1]
        self.skin = self.body.skin(self.covered)
        self.top = float(self.skin.vertices[:, 2].max())
        self.meshes = {kind: mesh for kind, (mesh, _) in meshes.items()}
        self.speaker = speaker

    def enter(self) -> None:
        skin = materials.smooth("skin", self.speaker.skin, self.speaker.tone, 0.5, soft=0.4, cut=False)
        stage.add("body", self.skin, skin)
        for kind, mesh in self.meshes.items():
            picture, paint, rough = self.speaker.looks[kind]
            made = materials.eye(picture) if kind == "eyes" else materials.smooth(kind, picture, paint, rough)
            stage.add(kind, mesh, made)

    def take(self, pose: Pose) -> None:
        self.body.express(pose.face)
        self.body.pose(pose)
        stage.move("body", self.body.skin(self.covered).vertices)
        for kind, path in self.worn.items():
            stage.move(kind, self.body.put_on(path)[0].vertices)


def render(seed: int, data: Path, folder: Path, size: int, samples: int, portrait: bool) -> None:
    chance = random.Random(seed)
    gesture = Gesture(seed, SECONDS, LIVELY if portrait else CALM)
    stage.start(size, ROOM_SAMPLES, threads=1)
    actor = Actor(draw_speaker(chance, data), gesture.at(0.0))
    rooms.illuminate(chance, actor.top - 0.12)
    rooms.furnish(chance, actor.top - 0.8)
    rooms.view(chance, actor.top, portrait)
    stage.hurry()
    stage.freeze_room(folder / "room.exr")
    (folder / "room.exr").unlink()
    actor.enter()
    stage.use_samples(samples)
    for number, moment in enumerate(draw_moments(seed, SECONDS, RUNS, LENGTH, RATE, RESTING)):
        actor.take(gesture.at(moment))
        stage.save(folder / f"{number:02}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="MakeHuman's, public/data of the npm package")
    parser.add_argument("--out", type=Path, required=True, help="the folder of takes")
    parser.add_argument(
        "--seeds", type=int, nargs=2, required=True, metavar=("FIRST", "END"), help="END is not rendered"
    )
    parser.add_argument("--size", type=int, default=SIZE, help=f"pixels (default: {SIZE})")
    parser.add_argument("--samples", type=int, default=SAMPLES, help=f"light paths a pixel (default: {SAMPLES})")
    parser.add_argument(
        "--portraits", action="store_true", help="heads that fill the picture, move more and open the mouth"
    )
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for seed in range(*arguments.seeds):
        take = arguments.out / f"{seed:04}"
        if take.exists():
            continue
        start = time.process_time()
        # beside the takes, where nobody takes it for one
        folder = Path(tempfile.mkdtemp(prefix=f".{arguments.out.name}-", dir=arguments.out.resolve().parent))
        try:
            render(seed, arguments.data, folder, arguments.size, arguments.samples, arguments.portraits)
            folder.chmod(0o755)
            folder.rename(take)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        print(f"{take.name}: {time.process_time() - start:.1f} s of one core", flush=True)


if __name__ == "__main__":
    main()
