"""Blender's stage for a rendered person: meshes, the room behind, light, camera and the render itself."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np

from examples.people.bodies import Mesh
from examples.people.materials import Color, plain

BOOKS = (
    (0.5, 0.12, 0.08),
    (0.1, 0.2, 0.3),
    (0.7, 0.62, 0.45),
    (0.12, 0.25, 0.16),
    (0.75, 0.72, 0.68),
    (0.2, 0.12, 0.2),
)
WOOD, LEAF, POT, FRAME, SKY = (
    (0.35, 0.22, 0.12),
    (0.07, 0.22, 0.06),
    (0.55, 0.5, 0.45),
    (0.8, 0.8, 0.78),
    (0.85, 0.93, 1.0),
)


def start(size: int, samples: int, threads: int) -> None:
    """An empty scene that Cycles renders on the CPU."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    render, cycles = scene.render, scene.cycles
    render.engine, cycles.device, cycles.samples, cycles.seed = "CYCLES", "CPU", samples, 1
    cycles.use_adaptive_sampling, cycles.adaptive_threshold = True, 0.02
    cycles.use_denoising, cycles.denoiser = True, "OPENIMAGEDENOISE"
    cycles.max_bounces, cycles.diffuse_bounces, cycles.transparent_max_bounces = 6, 3, 24
    render.resolution_x = render.resolution_y = size
    render.threads_mode, render.threads = "FIXED", threads
    scene.view_settings.view_transform, scene.view_settings.look = "AgX", "AgX - Medium High Contrast"


def use_samples(samples: int) -> None:
    bpy.context.scene.cycles.samples = samples


def save(path: Path) -> None:
    render = bpy.context.scene.render
    render.filepath, render.image_settings.file_format = str(path), "PNG"
    bpy.ops.render.render(write_still=True)


def add(name: str, mesh: Mesh, material: bpy.types.Material, finer: int = 0) -> None:
    """`finer`: how often its faces are divided."""
    data = bpy.data.meshes.new(name)
    faces = [list(dict.fromkeys(face)) for face in mesh.faces.tolist()]
    corners = [corner for face, uvs in zip(faces, mesh.uvs.tolist(), strict=True) for corner in uvs[: len(face)]]
    link(data, mesh.vertices.tolist(), faces, material)
    data.uv_layers.new(name="uv").data.foreach_set("uv", np.array(corners, np.float32).ravel())
    if finer:
        modifier = bpy.data.objects[name].modifiers.new("finer", "SUBSURF")
        modifier.levels = modifier.render_levels = finer


def move(name: str, vertices: np.ndarray) -> None:
    data = bpy.data.objects[name].data
    data.vertices.foreach_set("co", vertices.astype(np.float32).ravel())
    data.update()


def link(
    data: bpy.types.Mesh, vertices: list, faces: list, material: bpy.types.Material, place=(0.0, 0.0, 0.0)
) -> None:
    """Put a smooth mesh on the stage."""
    data.from_pydata(vertices, [], faces)
    data.polygons.foreach_set("use_smooth", [True] * len(faces))
    data.materials.append(material)
    thing = bpy.data.objects.new(data.name, data)
    thing.location = place
    bpy.context.collection.objects.link(thing)


def box(material: bpy.types.Material, place, size) -> None:
    bpy.ops.mesh.primitive_cube_add(size=1, location=place)
    bpy.context.object.scale = size
    bpy.context.object.data.materials.append(material)


def furnish(wall: Color, side: int) -> None:
    """A wall with a shelf of books on one side (-1: right of the picture), a window and a plant on the other."""
    box(plain("wall", wall, 0.9), (0, 3.0, 0.5), (9, 0.1, 5))
    put_shelf(-1.2 * side, 2.6, -0.7, 1.5, random.Random(int(side > 0)))
    put_plant((0.98 * side, 2.0, 0.02), 0.8, random.Random(1))
    frame = plain("frame", FRAME, 0.5)
    box(plain("window", SKY, 0.5, glow=2.2), (1.62 * side, 2.93, 1.0), (1.1, 0.02, 1.3))
    for x, y, z, size in (
        (1.07, 2.9, 1.0, (0.07, 0.06, 1.4)), (1.62, 2.9, 0.33, (1.2, 0.1, 0.06)), (1.5, 2.9, 1.0, (0.04, 0.05, 1.3)),
    ):  # fmt: skip
        box(frame, (x * side, y, z), size)


def put_shelf(x: float, y: float, z: float, wide: float, chance: random.Random) -> None:
    board = plain("board", WOOD, 0.5, mottled=0.5)
    books = [plain(f"book {number}", color, 0.6) for number, color in enumerate(BOOKS)]
    for row in range(5):
        level = z + row * 0.36
        box(board, (x, y, level), (wide, 0.3, 0.03))
        at = x - wide / 2 + 0.05
        while at < x + wide / 2 - 0.06:
            thick, high = chance.uniform(0.02, 0.05), chance.uniform(0.18, 0.29)
            if chance.random() < 0.16:
                at += chance.uniform(0.06, 0.2)
                continue
            box(chance.choice(books), (at + thick / 2, y - 0.03, level + 0.015 + high / 2), (thick * 0.92, 0.2, high))
            at += thick
    for end in (-1, 1):
        box(board, (x + end * wide / 2, y, z + 0.72), (0.03, 0.3, 1.6))


def put_plant(place, height: float, chance: random.Random, leaves: int = 46, rows: int = 9) -> None:
    leaf = plain("leaf", LEAF, 0.45, mottled=0.6)
    for _ in range(leaves):
        around, lean, length = chance.uniform(0, math.tau), chance.uniform(0.25, 1.25), chance.uniform(0.45, 1) * height
        points, (c, s) = [], (math.cos(around), math.sin(around))
        for along in (row / (rows - 1) for row in range(rows)):
            bend = lean * (0.35 + along * 0.9)
            out, up = length * along * math.sin(bend), length * along * math.cos(bend)
            wide = 0.085 * height * math.sin(math.pi * min(1, 0.06 + along * 0.94)) ** 0.8
            points += [(out * c - k * wide * s, out * s + k * wide * c, up - 0.02 * abs(k)) for k in (-1, 0, 1)]
        corners = [row * 3 + k for row in range(rows - 1) for k in range(2)]
        link(bpy.data.meshes.new("leaf"), points, [(a, a + 1, a + 4, a + 3) for a in corners], leaf, place)
    pot = (place[0], place[1], place[2] - 0.22 * height)
    bpy.ops.mesh.primitive_cylinder_add(radius=0.3 * height, depth=0.5 * height, location=pot)
    bpy.context.object.data.materials.append(plain("pot", POT, 0.6))


@dataclass(frozen=True)
class Lamp:
    """A round one that looks at the speaker."""

    place: tuple[float, float, float]  # above a face's height
    aim: float
    size: float
    power: float
    color: Color


def studio(strength: float) -> tuple[Lamp, ...]:
    """Soft light, from the left most; a little from behind."""
    return (
        Lamp((-1.3, -1.6, 0.5), -0.1, 1.2, 66 * strength, (1, 0.95, 0.89)),
        Lamp((1.6, -1.4, 0.0), -0.25, 1.5, 26 * strength, (0.88, 0.94, 1)),
        Lamp((1.5, 0.9, 0.5), -0.1, 0.5, 7, (1, 0.97, 0.92)),
    )


def light(face: float, lamps: tuple[Lamp, ...], around: Color = (0.8, 0.88, 1.0), strength: float = 0.3) -> None:
    """Lamps about a face at that height, and light from all around."""
    world = bpy.data.worlds.new("world")
    bpy.context.scene.world, world.use_nodes = world, True
    background = world.node_tree.nodes["Background"].inputs
    background[0].default_value, background[1].default_value = (*around, 1), strength
    for shown in lamps:
        lamp = bpy.data.lights.new("area", "AREA")
        lamp.shape, lamp.size, lamp.energy, lamp.color = "DISK", shown.size, shown.power, shown.color
        thing = bpy.data.objects.new("area", lamp)
        x, y, z = shown.place
        thing.location = (x, y, face + z)
        thing.rotation_euler = (math.atan2(math.hypot(x, y), z - shown.aim), 0, math.atan2(-y, -x) - math.pi / 2)
        bpy.context.collection.objects.link(thing)


def look(
    height: float, wide: float = 0.88, distance: float = 2.6, stop: float = 2.2, aside: float = 0.0, around: float = 0.0
) -> None:
    """From the front, `wide` metres of the person across the picture, the room out of focus; the camera goes `aside` by
    metres and `around` the person by radians."""
    camera = bpy.data.cameras.new("camera")
    camera.sensor_width = 36
    camera.lens = camera.sensor_width * distance / wide
    camera.dof.use_dof, camera.dof.focus_distance, camera.dof.aperture_fstop = True, distance - 0.1, stop
    thing = bpy.data.objects.new("camera", camera)
    c, s = math.cos(around), math.sin(around)
    thing.location = (aside * c + distance * s, aside * s - distance * c, height)
    thing.rotation_euler = (math.pi / 2, 0, around)
    bpy.context.collection.objects.link(thing)
    bpy.context.scene.camera = thing


def hurry() -> None:
    """Trade what small pictures do not show for time."""
    scene = bpy.context.scene
    scene.render.use_persistent_data = True
    cycles = scene.cycles
    cycles.use_adaptive_sampling, cycles.use_light_tree = False, False
    cycles.caustics_reflective = cycles.caustics_refractive = False
    cycles.denoising_prefilter, cycles.denoising_quality = "FAST", "BALANCED"
    cycles.max_bounces, cycles.diffuse_bounces, cycles.transparent_max_bounces = 3, 1, 12


def freeze_room(path: Path) -> None:
    """Render what stands on the stage once, and show that picture behind everything to come instead: the room takes no more
    time, nor does its blur."""
    scene = bpy.context.scene
    settings = scene.render.image_settings
    scene.render.filepath, settings.file_format, settings.color_depth = str(path), "OPEN_EXR", "32"
    bpy.ops.render.render(write_still=True)
    settings.file_format, settings.color_depth = "PNG", "8"
    for thing in list(bpy.data.objects):
        if thing.type == "MESH":
            bpy.data.objects.remove(thing)
    scene.camera.data.dof.use_dof = False
    scene.world.cycles.sampling_method = "NONE"
    tree = scene.world.node_tree
    image = tree.nodes.new("ShaderNodeTexImage")
    image.image = bpy.data.images.load(str(path))
    image.image.pack()
    shown, mix = tree.nodes.new("ShaderNodeBackground"), tree.nodes.new("ShaderNodeMixShader")
    for start, end in (
        (tree.nodes.new("ShaderNodeTexCoord").outputs["Window"], image.inputs[0]),
        (image.outputs[0], shown.inputs[0]),
        (tree.nodes.new("ShaderNodeLightPath").outputs["Is Camera Ray"], mix.inputs[0]),
        (tree.nodes["Background"].outputs[0], mix.inputs[1]),
        (shown.outputs[0], mix.inputs[2]),
        (mix.outputs[0], tree.nodes["World Output"].inputs[0]),
    ):
        tree.links.new(start, end)
