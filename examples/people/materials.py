"""What the rendered people and their room are made of: Cycles materials, most of them textured by noise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import bpy

Paint = Callable[["Shader", bpy.types.NodeSocket], bpy.types.NodeSocket]  # a garment's colour from its own picture's
Color = tuple[float, float, float]
POROUS, FRECKLED = (0.8, 0.7, 0.64, 1), (0.62, 0.45, 0.35, 1)
FLUSHED = (1.0, 0.72, 0.66, 1)


class Shader:
    """A material that is written as calls: inputs are values or other nodes' sockets, by name or as i0, i1, ..."""

    def __init__(self, name: str):
        self.material = bpy.data.materials.new(name)
        self.material.use_nodes = True
        self.tree = self.material.node_tree
        self.tree.nodes.clear()

    def node(self, kind: str, settings: dict | None = None, **inputs) -> bpy.types.Node:
        made = self.tree.nodes.new(f"ShaderNode{kind}")
        for key, value in (settings or {}).items():
            setattr(made, key, value)
        for key, value in inputs.items():
            number = key.removeprefix("i")
            self._set(made.inputs[int(number) if number.isdigit() else key.replace("_", " ")], value)
        return made

    def _set(self, socket: bpy.types.NodeSocket, value) -> None:
        if isinstance(value, bpy.types.NodeSocket):
            self.tree.links.new(value, socket)
        else:
            socket.default_value = value

    def image(self, path: Path, data: bool = False) -> bpy.types.Node:
        image = bpy.data.images.load(str(path), check_existing=True)
        if data:
            image.colorspace_settings.name = "Non-Color"
        return self.node("TexImage", {"image": image, "interpolation": "Cubic"})

    def mix(self, share, a, b, how: str = "MIX") -> bpy.types.NodeSocket:
        made = self.node("Mix", {"data_type": "RGBA", "blend_type": how}, i0=share, i6=a, i7=b)
        return made.outputs[2]

    def tint(self, color, by) -> bpy.types.NodeSocket:
        return self.mix(1.0, color, by, "MULTIPLY")

    def gray(self, value) -> bpy.types.NodeSocket:
        return self.node("CombineColor", i0=value, i1=value, i2=value).outputs[0]

    def times(self, a, b) -> bpy.types.NodeSocket:
        return self.node("Math", {"operation": "MULTIPLY"}, i0=a, i1=b).outputs[0]

    def ramp(self, value, low: float, high: float, start: float = 0.0, end: float = 1.0) -> bpy.types.NodeSocket:
        made = self.node("MapRange", Value=value, From_Min=low, From_Max=high, To_Min=start, To_Max=end)
        return made.outputs[0]

    def place(self, kind: str) -> bpy.types.NodeSocket:
        return self.node("TexCoord").outputs[kind]

    def noise(self, scale: float, detail: float = 2.0, rough: float = 0.5, where=None) -> bpy.types.NodeSocket:
        where = where or self.place("Object")
        return self.node("TexNoise", Vector=where, Scale=scale, Detail=detail, Roughness=rough).outputs[0]

    def bump(self, height, strength: float, depth: float, below=None) -> bpy.types.NodeSocket:
        more = {} if below is None else {"Normal": below}
        return self.node("Bump", Height=height, Strength=strength, Distance=depth, **more).outputs[0]

    def cut_out(self, alpha, shader) -> bpy.types.Material:
        clear = self.node("BsdfTransparent").outputs[0]
        return self.end(self.node("MixShader", i0=alpha, i1=clear, i2=shader).outputs[0])

    def end(self, shader) -> bpy.types.Material:
        self.node("OutputMaterial", i0=shader)
        return self.material


def skin(picture: Path, tint: Color, gamma: float) -> bpy.types.Material:
    """Light goes in and comes out reddened; blotches, freckles and pores are noise."""
    s = Shader("skin")
    color = s.tint(s.node("Gamma", Color=s.image(picture).outputs[0], Gamma=gamma).outputs[0], (*tint, 1))
    for noise, share, by in (
        (s.ramp(s.noise(38, 4, 0.6), 0.35, 0.7), 0.12, FLUSHED),
        (s.ramp(s.noise(420, 3, 0.6), 0.3, 0.75), 0.16, POROUS),
        (s.ramp(s.noise(230, 1), 0.66, 0.74), 0.16, FRECKLED),
    ):
        color = s.mix(s.times(noise, share), color, s.tint(color, by))
    pores = s.node("TexVoronoi", {"feature": "SMOOTH_F1"}, Vector=s.place("Object"), Scale=900.0).outputs[0]
    normal = s.bump(s.noise(260, 5, 0.65), 0.25, 0.001, s.bump(pores, 0.22, 0.0006))
    made = s.node(
        "BsdfPrincipled", Base_Color=color, Roughness=s.ramp(s.noise(90, 3), 0, 1, 0.38, 0.56), Normal=normal, IOR=1.4,
        Subsurface_Weight=0.55, Subsurface_Radius=(1.0, 0.34, 0.16), Subsurface_Scale=0.006, Specular_IOR_Level=0.42,
    )  # fmt: skip
    return s.end(made.outputs[0])


def hair(picture: Path, tint: Color) -> bpy.types.Material:
    """Locks cut out by the picture's alpha, with strands along them."""
    s = Shader("hair")
    image = s.image(picture)
    along = s.node("Mapping", Vector=s.place("UV"), Scale=(420, 3, 1)).outputs[0]
    strands = s.noise(1.0, 3.0, 0.7, along)
    color = s.tint(s.tint(image.outputs[0], (*tint, 1)), s.gray(s.ramp(strands, 0.3, 0.7, 0.65, 1.2)))
    made = s.node(
        "BsdfPrincipled", Base_Color=color, Roughness=0.45, Normal=s.bump(strands, 0.3, 0.002), Specular_IOR_Level=0.22
    )
    return s.cut_out(image.outputs[1], made.outputs[0])


def eye(picture: Path) -> bpy.types.Material:
    """Where the picture is transparent lies the cornea, which only mirrors."""
    s = Shader("eye")
    image = s.image(picture)
    ball = s.node(
        "BsdfPrincipled", Base_Color=image.outputs[0], Roughness=0.25, Subsurface_Weight=0.1, Subsurface_Scale=0.002
    )
    clear, gloss = s.node("BsdfTransparent").outputs[0], s.node("BsdfGlossy", Roughness=0.03).outputs[0]
    cornea = s.node("MixShader", i0=s.node("Fresnel", IOR=1.38).outputs[0], i1=clear, i2=gloss).outputs[0]
    return s.end(s.node("MixShader", i0=image.outputs[1], i1=cornea, i2=ball.outputs[0]).outputs[0])


def cloth(folder: Path, name: str, paint: Paint) -> bpy.types.Material:
    """A garment's own picture and seams, painted, woven and a little wrinkled."""
    s = Shader(name)
    image = s.image(folder / f"{name}_diffuse.png")
    color = paint(s, image.outputs[0])
    color = s.mix(0.12, color, s.tint(color, s.gray(s.ramp(s.noise(700), 0.2, 0.8))))
    normal, seams = None, folder / f"{name}_normal.png"
    if seams.exists():
        normal = s.node("NormalMap", Color=s.image(seams, data=True).outputs[0], Strength=1.0).outputs[0]
    threads = [
        s.node(
            "TexWave", {"bands_direction": way}, Vector=s.place("UV"), Scale=1400 / 6, Distortion=0.6, Detail=1.0
        ).outputs[1]
        for way in "XY"
    ]
    weave = s.node("Math", {"operation": "ADD"}, i0=threads[0], i1=threads[1]).outputs[0]
    normal = s.bump(s.noise(16, 4, 0.55), 0.28, 0.012, s.bump(weave, 0.16, 0.0008, normal))
    made = s.node(
        "BsdfPrincipled", Base_Color=color, Roughness=0.85, Normal=normal,
        Sheen_Weight=0.3, Sheen_Roughness=0.5, Specular_IOR_Level=0.2,
    )  # fmt: skip
    return s.cut_out(s.ramp(image.outputs[1], 0.1, 0.5), made.outputs[0])


def dyed(color: Color, dark: float, light: float) -> Paint:
    """One colour, from dark to light by how bright the garment's own picture is."""

    def paint(s: Shader, own: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
        bright = s.node("RGBToBW", Color=own).outputs[0]
        return s.tint((*color, 1), s.gray(s.ramp(bright, 0.01, 0.25, dark, light)))

    return paint


def tinted(color: Color, gamma: float = 1.0) -> Paint:
    return lambda s, own: s.tint(s.node("Gamma", Color=own, Gamma=gamma).outputs[0] if gamma != 1 else own, (*color, 1))


def patterned(ground: Paint, kind: str, color: Color, scale: float) -> Paint:
    """`kind`: stripes, bands, checks or dots, laid on the cloth; `scale` of them across the garment's picture."""

    def paint(s: Shader, own: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
        where = s.place("UV")
        if kind == "checks":
            share = s.node("TexChecker", Vector=where, Scale=scale).outputs[1]
        elif kind == "dots":
            share = s.ramp(s.node("TexVoronoi", Vector=where, Scale=scale, Randomness=0.0).outputs[0], 0.25, 0.3, 1, 0)
        else:
            way = {"bands_direction": "X" if kind == "stripes" else "Y"}
            share = s.ramp(s.node("TexWave", way, Vector=where, Scale=scale / 6).outputs[1], 0.5, 0.6)
        below = ground(s, own)
        return s.mix(s.times(share, 0.8), below, dyed(color, 0.6, 1.1)(s, own))

    return paint


def smooth(
    name: str, picture: Path, paint: Paint, rough: float, soft: float = 0.0, cut: bool = True
) -> bpy.types.Material:
    """What small pictures show of skin (`soft`), cloth and hair: no pores, threads or strands; with folds where a picture of
    them lies beside its own, and `cut` out by its alpha."""
    s = Shader(name)
    image = s.image(picture)
    folds = picture.with_name(picture.name.replace("_diffuse", "_normal"))
    more = {}
    if folds != picture and folds.exists():
        more["Normal"] = s.node("NormalMap", Color=s.image(folds, data=True).outputs[0], Strength=1.0).outputs[0]
    made = s.node(
        "BsdfPrincipled", Base_Color=paint(s, image.outputs[0]), Roughness=rough, Specular_IOR_Level=0.3, IOR=1.4,
        Subsurface_Weight=soft, Subsurface_Radius=(1.0, 0.34, 0.16), Subsurface_Scale=0.006, **more,
    )  # fmt: skip
    return s.cut_out(image.outputs[1], made.outputs[0]) if cut else s.end(made.outputs[0])


def plain(name: str, color: Color, rough: float = 0.7, glow: float = 0.0, mottled: float = 0.0) -> bpy.types.Material:
    s = Shader(name)
    shown = (*color, 1)
    if mottled:
        darker = (*(channel / 2 for channel in color), 1)
        shown = s.mix(s.times(s.ramp(s.noise(3, 5), 0.3, 0.7), mottled), shown, darker)
    made = s.node(
        "BsdfPrincipled", Base_Color=shown, Roughness=rough, Emission_Color=(*color, 1), Emission_Strength=glow
    )
    return s.end(made.outputs[0])
