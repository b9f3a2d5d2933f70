"""The explorer's page: a plan, its poses and pictures, and the modules of js/, filled into template.html."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

from iasa.config import STUDENT_LAYERS, InputError, Sentence, TransformerConfig
from iasa.explorer.constants import CAMERA, CHANGE_LEVELS, drawing, mask_rule
from iasa.explorer.pattern_details import STAYS, PatternDetails, timetables
from iasa.explorer.pattern_recorder import PatternMaps
from iasa.explorer.recorder import LearnedAttention
from iasa.grid import TokenGrid
from iasa.keypoints import Keypoints
from iasa.masks import AttentionPlan
from iasa.paths import RESULTS

TITLE = "Input-aware sparse attention"
MAX_FRAMES = 1024  # latent frames of one page
MAX_DETAILS = 8
# Files of js/, each after those that it imports from.
MODULES = (
    "data", "i18n", "visibility", "similarity", "regions", "mask", "computed", "recall", "explain", "origin",
    "challenges", "holistic", "plan_text",  # arithmetic and words
    "state", "dom", "colours", "picture", "guess", "strip", "limbs", "frame", "sentence", "tiles", "controls",
    "matrix", "matrix_view", "similarity_view", "time_view", "attention_view", "origin_view", "camera", "lab_view",
    "compare_view", "pattern_details",
    "patterns_view", "views",
    "pointing", "keys", "pointers", "address", "snapshot", "tour", "main",
)  # fmt: skip
_IMPORT = re.compile(r'^import [^;]*? from "\./\w+\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=const |let |function\*? |async function )", re.MULTILINE)
_THUMBNAIL, _MANY, _SMALL = 192, 120, 96  # pixels; from _MANY frames on they are _SMALL


def explorer_html(
    plan: AttentionPlan,
    keypoints: Keypoints | None,  # at latent rate, one pose for each of the plan's frames; None: the plan as it is
    thumbnails: Sequence[np.ndarray] | None = None,  # uint8 [H, W, 3], one for each frame
    attention: LearnedAttention | None = None,
    bench: list[dict] | None = None,  # rows of `read_bench`
    title: str = TITLE,
    note: str = "",
    language: str = "",  # "en" or "de"; "": the reader's browser decides
    patterns: PatternMaps | None = None,
    clips: Mapping[str, str] | None = None,  # of a site with several pages: names and addresses, "" for this one's
    change: np.ndarray | None = None,  # [f, n], of `RecordedRun`: which tokens move
    details: Mapping[str, np.ndarray] | None = None,  # bool [f, n] each: which tokens show it, exactly; up to 8
    webcam: bool = False,  # the page may load mediapipe, if the reader asks for it, to take a pose from a camera
) -> str:
    """The whole explorer as one HTML text that asks the network for nothing, but with `webcam` on request.

    Without thumbnails the frames show skeletons, without poses the regions alone. Whatever the texts hold, none of it can
    become markup or script: data travel as JSON with every < > and & escaped, and the page's policy runs only the script
    whose hash it names. Raises InputError if poses, pictures or attention do not fit the plan.
    """
    f = plan.grid.frames
    for name, given in (("poses", keypoints), ("thumbnails", thumbnails)):
        if given is not None and len(given) != f:
            raise InputError(
                "there are {count} {name} for {frames} latent frames; one for each is needed",
                count=len(given),
                name=Sentence(name),
                frames=f,
            )
    if f > MAX_FRAMES:
        raise InputError(
            "the plan has {frames} latent frames; the explorer shows up to {most}", frames=f, most=MAX_FRAMES
        )
    if details is not None and len(details) > MAX_DETAILS:
        raise ValueError(f"there are {len(details)} details; up to {MAX_DETAILS} are shown")
    for name, array in {"change": change, **(details or {})}.items():
        if array is not None and array.shape != (f, plan.grid.tokens_per_frame):
            raise ValueError(f"{name} has shape {list(array.shape)}; [{f}, {plan.grid.tokens_per_frame}] is needed")
    if attention is not None and attention.mass.shape[2] != f:
        raise InputError(
            "the attention is of {count} frames; the plan has {frames}", count=attention.mass.shape[2], frames=f
        )
    if patterns is not None and patterns.maps.shape[3] != f * patterns.tiles:
        raise InputError(
            "the patterns' maps are of {count} frames; the plan has {frames}",
            count=patterns.maps.shape[3] // patterns.tiles,
            frames=f,
        )
    model = TransformerConfig()
    data = {
        "rule": mask_rule(),
        "drawing": drawing(),
        "plan": json.loads(plan.to_json())
        | ({} if keypoints is None else {"distance": None}),  # the page computes them
        "xy": None if keypoints is None else _encode(keypoints.xy, "<f4"),
        "confidence": None if keypoints is None else _encode(keypoints.confidence, "<f4"),
        "thumbnails": None if thumbnails is None else [_to_jpeg(picture, plan.grid) for picture in thumbnails],
        "attention": None if attention is None else _pack(attention),
        "patterns": None if patterns is None else _pack_patterns(patterns),
        "change": None if change is None else _encode(np.floor(change * CHANGE_LEVELS).clip(0, 255), "u1"),
        "details": None if not details else _pack_details_shown(details),
        "bench": bench or [],
        "camera": CAMERA if webcam else None,
        "model": {"width": model.width, "layers": len(STUDENT_LAYERS), "mlp_ratio": model.mlp_ratio},
        "note": note,
        "language": language,
        "words": json.loads(_read("german.json")),
    }
    script = f'(() => {{\n"use strict";\n{join_modules()}}})();\n'
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = {
        "title": html.escape(title),
        "data": _to_safe_json(data),
        "script": script,
        "policy": _to_policy(f"'sha256-{digest}'", webcam),
        "clips": "".join(_to_link(name, address) for name, address in (clips or {}).items()),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _read("template.html"))


def _to_policy(script: str, webcam: bool) -> str:
    """What the page may do: run its own script, show pictures of its own; with a camera run mediapipe's program too."""
    rules = {"default-src": "'none'", "img-src": "data: blob:", "style-src": "'unsafe-inline'", "script-src": script}
    if webcam:
        rules["script-src"] = f"{script} {CAMERA['library']}/ 'wasm-unsafe-eval'"
        rules["connect-src"] = f"{CAMERA['library']}/ {CAMERA['model']}"
    return "; ".join(f"{name} {allowed}" for name, allowed in rules.items())


def join_modules(names: Sequence[str] = MODULES) -> str:
    """Modules of js/ one after another, to share one scope: their imports and exports are left out."""
    return "\n".join(_EXPORT.sub("", _IMPORT.sub("", _read(f"js/{name}.js"))) for name in names)


def _to_link(name: str, address: str) -> str:
    place = f'href="{html.escape(address)}"' if address else 'aria-current="page"'
    return f'<a class="button" {place}>{html.escape(name)}</a>'


def explorer_frame(page: str, height: int = 1960) -> str:
    """The page in a frame of its own, for a notebook or the demo: scripts run in it, but reach nothing around it. In a column
    of 1100 pixels or more all of it is seen; the demo is told how high it is."""
    return (
        f'<iframe srcdoc="{html.escape(page)}" sandbox="allow-scripts allow-downloads" title="Mask explorer" '
        f'allow="clipboard-write" style="width:100%;height:{int(height)}px;border:0;border-radius:14px"></iframe>'
    )


def read_bench(folder: Path = RESULTS) -> list[dict]:
    """Speed-ups of sparse over the fastest dense attention that `python -m iasa bench attention` stored: one row for each
    size and method, with tokens, density (share of the pairs computed), speedup, method, device, date; [] without a file."""
    rows = []
    for path in sorted(folder.glob("bench_attention*.json")):
        report = json.loads(path.read_text())
        for case in report["cases"]:
            rows += [
                {
                    "tokens": case["tokens"],
                    "density": row["pairs"] / case["tokens"] ** 2,
                    "speedup": row["forward_speedup"],
                    "method": row["method"],
                    "device": str(report.get("device", "")),
                    "date": str(report.get("date", "")),
                }
                for row in case["rows"]
                if not row["method"].startswith("dense")
            ]
    return rows


def _read(name: str) -> str:
    return (files("iasa.explorer") / name).read_text(encoding="utf-8")


def _to_safe_json(data: dict) -> str:
    """JSON that cannot end its script element, open a comment, or break a line inside a string."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)  # ASCII only
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _encode(array: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array, kind).tobytes()).decode("ascii")


def _to_jpeg(picture: np.ndarray, grid: TokenGrid) -> str:
    """A small picture, cut to the grid's shape, as a data URI."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    width, height = min(image.width, image.height * grid.aspect), min(image.height, image.width / grid.aspect)
    left, top = (image.width - width) / 2, (image.height - height) / 2
    size = _THUMBNAIL if grid.frames < _MANY else _SMALL
    small = round(size * grid.aspect**0.5), round(size / grid.aspect**0.5)
    file = io.BytesIO()
    image.resize(small, Image.Resampling.LANCZOS, (left, top, left + width, top + height)).save(
        file, "JPEG", quality=80
    )
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _pack(attention: LearnedAttention) -> dict:
    """Of every two frames q >= k, in the order (0, 0), (1, 0), (1, 1), ...; nothing goes to the future.

    `mass` as 16-bit numbers, `meets` and `parts` as shares of it in bytes, of the sets of common regions those that
    occur; `patches`, for each token of q, as bytes of the square root.
    """
    layers, heads, frames = attention.mass.shape[:3]
    signatures = np.flatnonzero(attention.meets.any((0, 1, 2, 3)))
    q, k = np.tril_indices(frames)
    mass = attention.mass[:, :, q, k]
    shares = attention.meets[:, :, q, k][..., signatures] / np.maximum(mass[..., None], 1e-12)
    return {
        "layers": layers,
        "heads": heads,
        "mass": _encode(np.round(mass.clip(0, 1) * 65535), "<u2"),
        "signatures": signatures.tolist(),
        "meets": _encode(_to_bytes(shares), "u1"),
        "parts": _encode(np.round(attention.parts[:, :, q, k].clip(0, 1) * 255), "u1"),
        "patches": _encode(np.round(np.sqrt(attention.patches[q, :, k].clip(0, 1)) * 255), "u1"),
        "source": attention.source,
    }


def _pack_details_shown(details: Mapping[str, np.ndarray]) -> dict:
    bits = np.packbits(np.stack(list(details.values()), -1), -1, "little")[..., 0]  # a bit for each, the first lowest
    return {"names": list(details), "bits": _encode(bits, "u1")}


def _to_bytes(shares: np.ndarray) -> np.ndarray:
    """Shares [..., s] of 1 as whole numbers that sum to 255, so that many small ones are not lost: the largest remainders
    are rounded up."""
    exact = 255 * shares
    whole = np.floor(exact)
    missing = np.round(exact.sum(-1, keepdims=True) - whole.sum(-1, keepdims=True))
    rank = (whole - exact).argsort(-1).argsort(-1)
    return (whole + (rank < missing)).clip(0, 255)


def _pack_patterns(patterns: PatternMaps) -> dict:
    """Square roots of the shares as 8-bit numbers: small shares are most of a map."""
    count, layers, heads = patterns.mass.shape
    return {
        "names": patterns.names,
        "tiles": patterns.tiles,
        "layers": layers,
        "heads": heads,
        "maps": _encode(np.round(np.sqrt(patterns.maps.clip(0, 1)) * 255), "u1"),
        "mass": [[_known(share) for share in row] for row in patterns.mass.reshape(count, -1).tolist()],
        "density": [round(share, 4) for share in patterns.density],
        "planning": [_known(seconds) for seconds in patterns.planning],
        "refused": dict(patterns.refused),
        "timetables": [] if patterns.details is None else timetables(),
        "details": None if patterns.details is None else _pack_details(patterns.details),
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)


def _pack_details(details: PatternDetails) -> dict:
    """Arrays as 8-bit numbers with their shapes; shares by their square roots."""
    shares = ("rows", "columns")
    return {"stays_for": STAYS} | {
        name: {
            "shape": array.shape,
            "values": _encode(
                np.round(np.sqrt(array.clip(0, 1)) * 255) if name in shares else array.clip(0, 255), "u1"
            ),
        }
        for name, array in details.found.items()
    }
