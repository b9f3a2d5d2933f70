"""Random rooms, light and views of them for a rendered speaker."""

from __future__ import annotations

import colorsys
import math
import random

import bpy

from examples.people.materials import Color, plain
from examples.people.stage import FRAME, SKY, Lamp, box, light, look, put_plant, put_shelf

LOOKS = (
    "None",
    "AgX - Medium High Contrast",
    "AgX - Medium High Contrast",
    "AgX - Punchy",
    "AgX - Medium Low Contrast",
)
HALF_BODY, HEAD_AND_SHOULDERS, HEAD = (0.82, 1.05), (0.56, 0.8), (0.34, 0.6)  # metres across the picture
FAR = 2.1  # metres from the speaker to the main light
CLOSE = 0.2  # share of the latter, which cut hands off


def any_color(chance: random.Random, saturation: tuple[float, float], value: tuple[float, float]) -> Color:
    return colorsys.hsv_to_rgb(chance.random(), chance.uniform(*saturation), chance.uniform(*value) ** 1.6)


def furnish(chance: random.Random, floor: float) -> None:
    """A wall and what stands or hangs before it; `floor`: a height that a speaker's belly is at."""
    back = chance.uniform(0.9, 3.2)
    wall = any_color(chance, (0.0, 0.45), (0.25, 0.95))
    box(plain("wall", wall, 0.9, mottled=chance.choice((0.0, 0.0, 0.3))), (0, back + 0.05, floor + 0.5), (12, 0.1, 6))
    if chance.random() < 0.25:  # a second colour up to the hip or the shoulder
        lower = any_color(chance, (0.0, 0.5), (0.2, 0.9))
        box(plain("panel", lower, 0.7), (0, back, floor - 1 + chance.uniform(0, 0.5)), (12, 0.04, 2))
    side = chance.choice((-1, 1))
    spots = [(side * chance.uniform(0.35, 1.3), back), (-side * chance.uniform(0.35, 1.3), back)]
    things = [put_window, put_pictures, put_curtain, put_lamp, put_door, shelf, plant]
    for spot, put in zip(spots, chance.sample(things, 2), strict=True):
        if chance.random() < 0.8:
            put(chance, spot[0] * (0.45 + 0.2 * back), spot[1], floor)


def shelf(chance: random.Random, x: float, y: float, floor: float) -> None:
    put_shelf(x, y - 0.3, floor - 0.75 + chance.uniform(-0.1, 0.1), chance.uniform(0.7, 1.6), chance)


def plant(chance: random.Random, x: float, y: float, floor: float) -> None:
    put_plant((x, y - 0.5, floor - chance.uniform(0, 0.3)), chance.uniform(0.5, 1.0), chance)


def put_window(chance: random.Random, x: float, y: float, floor: float) -> None:
    wide, high, middle = chance.uniform(0.6, 1.4), chance.uniform(0.8, 1.6), floor + chance.uniform(0.4, 0.9)
    sky = chance.choice((SKY, SKY, (1.0, 0.8, 0.6), (0.1, 0.13, 0.25)))
    box(plain("window", sky, 0.5, glow=chance.uniform(0.6, 2.4)), (x, y - 0.02, middle), (wide, 0.02, high))
    frame = plain("frame", FRAME if chance.random() < 0.7 else any_color(chance, (0.2, 0.5), (0.1, 0.5)), 0.5)
    for at in (-0.5, 0.0, 0.5):
        box(frame, (x + at * wide, y - 0.05, middle), (0.05, 0.06, high + 0.05))
        box(frame, (x, y - 0.05, middle + at * high), (wide + 0.05, 0.06, 0.05))


def put_pictures(chance: random.Random, x: float, y: float, floor: float) -> None:
    for number in range(chance.randint(1, 3)):
        wide, high = chance.uniform(0.2, 0.6), chance.uniform(0.2, 0.6)
        place = (x + number * 0.7 * math.copysign(1, x), y - 0.02, floor + chance.uniform(0.2, 0.75))
        box(plain("frame", any_color(chance, (0, 0.4), (0.05, 0.8)), 0.4), place, (wide + 0.06, 0.03, high + 0.06))
        shown = plain("picture", any_color(chance, (0.1, 0.8), (0.2, 0.9)), 0.5)
        box(shown, (place[0], y - 0.04, place[2]), (wide, 0.02, high))


def put_curtain(chance: random.Random, x: float, y: float, floor: float) -> None:
    cloth = plain("curtain", any_color(chance, (0.1, 0.7), (0.2, 0.8)), 0.9)
    wide, folds = chance.uniform(0.4, 1.2), chance.randint(5, 12)
    for fold in range(folds):
        at = x + wide * (fold / folds - 0.5)
        bpy.ops.mesh.primitive_cylinder_add(radius=0.6 * wide / folds, depth=4, location=(at, y - 0.1, floor + 0.3))
        bpy.context.object.data.materials.append(cloth)


def put_lamp(chance: random.Random, x: float, y: float, floor: float) -> None:
    place = (x, y - 0.4, floor + chance.uniform(0.1, 0.6))
    bpy.ops.mesh.primitive_cone_add(radius1=0.2, radius2=0.12, depth=0.28, location=place)
    glow = plain("shade", (1.0, 0.82, 0.55), 0.8, glow=chance.uniform(0.8, 2.5))
    bpy.context.object.data.materials.append(glow)
    box(plain("stand", any_color(chance, (0, 0.4), (0.05, 0.6)), 0.4), (x, y - 0.4, place[2] - 1), (0.03, 0.03, 1.8))


def put_door(chance: random.Random, x: float, y: float, floor: float) -> None:
    door = plain("door", any_color(chance, (0, 0.5), (0.2, 0.95)), 0.5)
    box(door, (x, y - 0.01, floor), (0.9, 0.04, 2.2))
    for level in (-0.1, 0.6):
        box(door, (x, y - 0.04, floor + level), (0.6, 0.03, 0.5))
    box(plain("frame", FRAME, 0.5), (x, y + 0.01, floor), (1.1, 0.04, 2.35))


def warmth(amount: float) -> Color:
    """Light's colour from blue (-1) over white to that of a bulb (1)."""
    if amount > 0:
        return (1.0, 1 - 0.12 * amount, 1 - 0.35 * amount)
    return (1 + 0.28 * amount, 1 + 0.1 * amount, 1.0)


def illuminate(chance: random.Random, face: float) -> None:
    """A main light from one side, less from the other, perhaps an edge from behind."""
    side, strength, tone = chance.choice((-1, 1)), chance.uniform(0.6, 1.3), chance.uniform(-0.8, 0.9)
    around, above = side * math.radians(chance.uniform(8, 65)), chance.uniform(0.1, 1.3)
    place = (FAR * math.sin(around), -FAR * math.cos(around), above)
    size, power = chance.uniform(0.35, 1.6), 70 * strength
    less, other = power * chance.uniform(0.08, 0.6), warmth(chance.uniform(-0.8, 0.6))
    lamps = [
        Lamp(place, -0.15, size, power, warmth(tone)),
        Lamp((-1.6 * side, -1.4, 0.0), -0.25, 1.5, less, other),
    ]
    if chance.random() < 0.5:
        lamps.append(Lamp((-1.5 * side, 0.9, 0.5), -0.1, 0.5, chance.uniform(4, 25), warmth(chance.uniform(-1, 1))))
    light(face, tuple(lamps), warmth(chance.uniform(-0.9, 0.3)), chance.uniform(0.15, 0.55))


def view(chance: random.Random, top: float, portrait: bool = False) -> None:
    """From half the body to head and shoulders, of a portrait the head, a little from aside; as a camera renders it."""
    close = chance.random() < CLOSE
    wide = chance.uniform(*(HEAD if portrait else HEAD_AND_SHOULDERS if close else HALF_BODY))
    height = top - wide * (0.5 - chance.uniform(0.03, 0.11))
    look(
        height, wide, chance.uniform(1.7, 3.2), chance.uniform(1.2, 5.0),
        aside=chance.uniform(-0.05, 0.05) * wide, around=math.radians(chance.gauss(0, 7)),
    )  # fmt: skip
    settings = bpy.context.scene.view_settings
    settings.look, settings.exposure = chance.choice(LOOKS), chance.uniform(-0.3, 0.45)
