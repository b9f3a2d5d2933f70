"""A speaker made from one portrait: mediapipe's face mesh of it, its colours, and the cut-out head."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy import ndimage

from iasa.avatar.identity import Color, FaceShape, Identity, PhotoTexture, make_identity, mix, shade
from iasa.avatar.mesh import LOWER_INNER, LOWER_OUTER, OVAL, UPPER_INNER, UPPER_OUTER, base_mesh, neutralise
from iasa.avatar.pixel_parts import distance_inside, label_parts, nearest_outside
from iasa.config import InputError
from iasa.pose.extract import quiet_stderr

NO_FACE = "no face was found in the picture: a portrait is needed in which one face looks towards the camera"
MIN_SIDE = 64  # pixels
MAX_SIDE = 4096
SEARCH_SIDE = 1024  # faces are looked for in a picture of this size
CROP_SIDE = 640  # the head and what is around it, for the texture
CROP_REACH = 3.4  # side of the crop in face heights
MIN_FACE = 24  # pixels between the cheeks in the original
_CHEEKS = ([117, 118, 101, 36, 205, 187, 123], [346, 347, 330, 266, 425, 411, 352])  # (right, left)
_FOREHEAD = [109, 10, 338, 337, 9, 108]
_IRIS_EDGE = [469, 471, 474, 476]


def make_photo_identity(image: np.ndarray) -> Identity:
    """The speaker that a portrait, uint8 [h, w, 3], shows; the largest face counts.

    Raises InputError if there is no face, or the picture is too small, too large or not RGB.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(
            "the portrait is {kind} {shape}; an RGB picture of uint8 [h, w, 3] is needed",
            kind=image.dtype,
            shape=list(image.shape),
        )
    if min(image.shape[:2]) < MIN_SIDE or max(image.shape[:2]) > MAX_SIDE:
        raise InputError(
            "the portrait has {width} x {height} pixels; {low} to {high} a side are accepted",
            width=image.shape[1],
            height=image.shape[0],
            low=MIN_SIDE,
            high=MAX_SIDE,
        )
    crop = _crop_face(image)
    points = _find_mesh(crop)
    if points is None:
        raise InputError(NO_FACE)
    person = _find_person(crop)
    colors = _measure_colors(crop, points, person)
    mesh, rotation, scale, middle = fit_head(points)
    photo = PhotoTexture(
        image=crop,
        head=_cut_out(crop, points, person, colors["hair_color"], colors["skin"]),
        points=points[:, :2].astype(np.float32),
        mesh=mesh.astype(np.float32),
        rotation=rotation.astype(np.float32),
        scale=float(scale),
        middle=middle.astype(np.float32),
    )
    return replace(
        make_identity(7), feminine=False, nails=None, hair="bald", beard="none", glasses="none",
        earring=False, stripes=False,
        face=FaceShape(), clothes="crew", sleeve="long", backdrop="glow", photo=photo, **colors,
    )  # fmt: skip


def load_solutions() -> Any:
    """mediapipe's ready-made detectors. Raises InputError that names what to install."""
    try:
        import mediapipe
    except ImportError as error:
        raise InputError(
            "a portrait needs mediapipe: pip install mediapipe==0.10.21 ({error})", error=str(error)
        ) from error
    if not hasattr(mediapipe, "solutions"):
        raise InputError(
            "mediapipe {version} has no models inside: pip install mediapipe==0.10.21", version=mediapipe.__version__
        )
    return mediapipe.solutions


def _resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def _crop_face(image: np.ndarray) -> np.ndarray:
    """A square around the largest face, CROP_SIDE pixels, its border repeated where the picture ends."""
    h, w = image.shape[:2]
    shrink = min(1.0, SEARCH_SIDE / max(h, w))
    small = _resize(image, max(1, round(w * shrink)), max(1, round(h * shrink))) if shrink < 1 else image
    boxes = []
    for model in (0, 1):  # faces near the camera, then small ones
        with (
            quiet_stderr(),
            load_solutions().face_detection.FaceDetection(
                model_selection=model, min_detection_confidence=0.4
            ) as detector,
        ):
            found = detector.process(small).detections or []
        boxes += [d.location_data.relative_bounding_box for d in found]
        if boxes:
            break
    if not boxes:
        raise InputError(NO_FACE)
    box = max(boxes, key=lambda b: b.width * w * b.height * h)
    if box.width * w < MIN_FACE:
        raise InputError(
            "the face is {width:.0f} pixels wide; at least {least} are needed", width=box.width * w, least=MIN_FACE
        )
    side = int(np.ceil(CROP_REACH * max(box.width * w, box.height * h)))
    x0 = round((box.xmin + box.width / 2) * w - side / 2)
    y0 = round((box.ymin + box.height / 2) * h - side * 0.48)
    rows = np.clip(np.arange(y0, y0 + side), 0, h - 1)
    columns = np.clip(np.arange(x0, x0 + side), 0, w - 1)
    return np.ascontiguousarray(_resize(image[rows][:, columns], CROP_SIDE, CROP_SIDE))


def _find_mesh(image: np.ndarray) -> np.ndarray | None:
    """Face landmarks, pixels, z in the same scale: float64 [478, 3]."""
    options = {
        "static_image_mode": True,
        "max_num_faces": 1,
        "refine_landmarks": True,
        "min_detection_confidence": 0.3,
    }
    with quiet_stderr(), load_solutions().face_mesh.FaceMesh(**options) as detector:
        faces = detector.process(image).multi_face_landmarks
    if not faces:
        return None
    h, w = image.shape[:2]
    return np.array([(p.x * w, p.y * h, p.z * w) for p in faces[0].landmark])


def _find_person(image: np.ndarray) -> np.ndarray:
    """How much of each pixel is the person, 0..1: float64 [h, w], with edges that follow the picture's."""
    with quiet_stderr(), load_solutions().selfie_segmentation.SelfieSegmentation(model_selection=0) as detector:
        mask = detector.process(image).segmentation_mask.astype(np.float64)
    return guided_filter(mask, image.mean(2) / 255, radius=image.shape[0] // 70)


def guided_filter(mask: np.ndarray, guide: np.ndarray, radius: int, epsilon: float = 2e-3) -> np.ndarray:
    """The guided filter (He, Sun, Tang 2010): moves a mask's edges [h, w] onto those of the guide [h, w]."""

    def mean(x: np.ndarray) -> np.ndarray:
        return ndimage.uniform_filter(x, 2 * radius + 1, mode="nearest")

    guide_mean, mask_mean = mean(guide), mean(mask)
    slope = (mean(guide * mask) - guide_mean * mask_mean) / (mean(guide * guide) - guide_mean**2 + epsilon)
    return np.clip(mean(slope) * guide + mean(mask_mean - slope * guide_mean), 0, 1)


def _kabsch(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, float]:
    """Rotation and scale that bring points a [n, 3] closest to b, both centred: b = scale * a @ rotation.T"""
    a, b = a - a.mean(0), b - b.mean(0)
    u, s, vt = np.linalg.svd(b.T @ a)
    sign = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    return u * sign @ vt, float((s * sign).sum() / (a**2).sum())


def fit_head(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """This person's neutral mesh [478, 3], cm, and how the photo shows it: rotation [3, 3], pixels a cm, and
    the pixel [2] of the head frame's origin. Both sides are averaged: the mesh is symmetric."""
    base = base_mesh()
    flipped = points * [1, -1, -1]  # y up, z to the camera
    rotation, _ = _kabsch(base.vertices, flipped)
    local = (flipped - flipped.mean(0)) @ rotation  # the head frame, still in pixels
    for _ in range(3):
        mirrored = local[base.mirror] * [-1, 1, 1]
        turn, _ = _kabsch(local, mirrored - mirrored.mean(0) + local.mean(0))
        half = _half_turn(turn)
        rotation, local = rotation @ half.T, local @ half.T
    symmetric = (local + (local - local[:468].mean(0) * [1, 0, 0])[base.mirror] * [-1, 1, 1]) / 2
    unit = 14.0 / (symmetric[454, 0] - symmetric[234, 0])
    shift = np.array([symmetric[:468, 0].mean(), (symmetric[10, 1] + symmetric[152, 1]) / 2, symmetric[:, 2].mean()])
    mesh = (symmetric - shift) * unit
    gap = np.linalg.norm(points[13] - points[14]) / np.linalg.norm(points[61] - points[291])
    turned, scale = _kabsch(mesh, flipped)
    middle = flipped.mean(0) - scale * turned @ mesh.mean(0)
    return neutralise(mesh) if gap > 0.04 else mesh, turned, scale, middle[:2] * [1, -1]


def _half_turn(rotation: np.ndarray) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(Rotation.from_matrix(rotation).as_rotvec() / 2).as_matrix()


def _inside(size: int, outline: np.ndarray) -> np.ndarray:
    """Pixels inside a polygon [n, 2]: bool [size, size]."""
    from PIL import Image, ImageDraw

    picture = Image.new("1", (size, size))
    ImageDraw.Draw(picture).polygon([(float(x), float(y)) for x, y in outline], fill=1)
    return np.asarray(picture, bool)


def _median_color(pixels: np.ndarray) -> Color:
    """Of pixels [n, 3], in 0..1."""
    red, green, blue = (float(c) for c in np.median(pixels, 0) / 255)
    return red, green, blue


def _middle_color(pixels: np.ndarray, fallback: Color) -> Color:
    """Median colour of the pixels [n, 3] of middling brightness."""
    if len(pixels) < 20:
        return fallback
    brightness = pixels.mean(1)
    low, high = np.percentile(brightness, [30, 88])
    chosen = pixels[(brightness >= low) & (brightness <= high)]
    return _median_color(chosen)


def _measure_colors(image: np.ndarray, points: np.ndarray, person: np.ndarray) -> dict[str, Any]:
    """Skin, lips, eyes, hair, clothes, wall and light of the portrait, as fields of Identity."""
    size, p = len(image), points[:, :2]
    right, left = (_inside(size, p[ring]) for ring in _CHEEKS)
    red, green, blue = _middle_color(image[right | left | _inside(size, p[_FOREHEAD])], (0.85, 0.66, 0.55))
    skin = min(1.0, red * 1.03), min(1.0, green * 1.03), min(1.0, blue * 1.03)
    lips = np.zeros((size, size), bool)
    for outer, inner in ((UPPER_OUTER, UPPER_INNER), (LOWER_OUTER, LOWER_INNER)):
        lips |= _inside(size, p[[*outer, *inner[::-1]]])
    up = (p[10] - p[152]) / np.linalg.norm(p[10] - p[152])
    height, width = np.linalg.norm(p[10] - p[152]), np.linalg.norm(p[234] - p[454])
    yy, xx = np.mgrid[:size, :size]
    above = ((xx - p[10, 0]) * up[0] + (yy - p[10, 1]) * up[1]) / height  # 0 at the hairline, -1 at the chin
    aside = np.abs((xx - p[10, 0]) * -up[1] + (yy - p[10, 1]) * up[0]) / width
    body = person > 0.6
    crown = body & (above > 0.04) & (above < 0.4) & (aside < 0.6)
    unlike_skin = np.abs(image / 255.0 - np.array(skin)).sum(2) > 0.25
    hair = _middle_color(image[crown & unlike_skin], shade(skin, -0.5))
    chest = body & (above < -1.45) & (aside < 1.3)
    cloth = _middle_color(image[chest & unlike_skin], (0.35, 0.4, 0.5))
    wall = image[person < 0.2]
    light = float(np.clip((image[left].mean() - image[right].mean()) / 60, -0.7, 0.7))
    direction = np.array([light, 0.45, 1.0]) / np.linalg.norm([light, 0.45, 1.0])
    edge = np.clip(p[_IRIS_EDGE].round().astype(int), 0, size - 1)
    return {
        "skin": skin,
        "lips": _middle_color(image[lips], shade(skin, -0.2)),
        "iris": _median_color(image[edge[:, 1], edge[:, 0]]),
        "hair_color": hair,
        "cloth_color": cloth,
        "cloth_second": mix(cloth, (1, 1, 1), 0.5),
        "backdrop_color": _median_color(wall) if len(wall) > 500 else (0.7, 0.72, 0.75),
        "light": tuple(float(c) for c in direction),
    }


def _cut_out(image: np.ndarray, points: np.ndarray, person: np.ndarray, hair: Color, skin: Color) -> np.ndarray:
    """The head with its hair on a clear ground: uint8 [h, w, 4]. The neck is drawn."""
    size, p = len(image), points[:, :2]
    yy, xx = np.mgrid[:size, :size]
    height, width = np.linalg.norm(p[10] - p[152]), np.linalg.norm(p[234] - p[454])
    face = _inside(size, p[list(OVAL)])
    ears, chin = p[[93, 323], 1].mean(), p[152, 1]
    near = np.clip(2.2 - np.hypot((xx - p[1, 0]) / (0.62 * height), (yy - p[10, 1]) / (0.75 * height)), 0, 1)

    # From the ears down only the face, the ears and broad areas of hair are kept.
    to_hair, to_skin = (np.abs(image / 255.0 - np.array(c)).sum(2) for c in (hair, skin))
    is_hair = (to_hair < np.minimum(to_skin, 0.45)) & (person > 0.5) & ~face
    is_hair = _opened(ndimage.gaussian_filter(is_hair.astype(float), height / 60) > 0.5, 0.045 * height)
    locks = ndimage.gaussian_filter(is_hair.astype(float), height / 80)
    locks *= np.clip((chin + 0.5 * height - yy) / (0.3 * height), 0, 1)
    locks *= np.clip((np.abs(xx - p[152, 0]) / width - 0.4) / 0.1, 0, 1)  # under the chin is the neck
    away = distance_inside(~face)
    ear = (away < 0.08 * height) & (yy < ears + 0.12 * height) & (to_skin < 0.6)
    low = np.clip((yy - ears) / (0.12 * height), 0, 1)
    alpha = person * near * (1 - low + low * np.maximum(locks, ear))
    alpha = np.clip((ndimage.gaussian_filter(alpha, 1.2) - 0.35) / 0.45, 0, 1)
    alpha = np.maximum(alpha, ndimage.gaussian_filter(face.astype(float), 1.0))
    alpha *= _main_part(alpha > 0.1, p[1])

    # Edge pixels take the colour of the nearest sure one, or the wall would shine through hair and cheeks.
    jaw = face & (distance_inside(face) < 0.025 * height) & (yy > ears - 0.1 * height)
    sure = (alpha > 0.97) & (person > 0.85) & ~jaw
    _, nearest = nearest_outside(~sure)
    color = image[nearest[0], nearest[1]]
    return np.dstack([color, (alpha * 255 + 0.5).astype(np.uint8)])


def _opened(mask: np.ndarray, radius: float | np.floating) -> np.ndarray:
    """The mask without what is narrower than 2 * radius."""
    core = distance_inside(mask) > radius
    return distance_inside(~core) <= radius if core.any() else core


def _main_part(mask: np.ndarray, point: np.ndarray) -> np.ndarray:
    """The connected part of a mask that holds the point (x, y)."""
    labels, _ = label_parts(mask)
    y, x = np.clip(point[::-1].round().astype(int), 0, len(mask) - 1)
    return labels == labels[y, x]
