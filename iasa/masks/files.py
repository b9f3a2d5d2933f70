"""Plans as files: .npz and .json hold everything, .png is a picture to look at."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from iasa.config import InputError, MaskOptions
from iasa.files import check_output, whole_file
from iasa.grid import TokenGrid
from iasa.masks.picture import draw_plan
from iasa.masks.plan import AttentionPlan

SUFFIXES = (".npz", ".json", ".png")


def save_plan(path: str | os.PathLike, plan: AttentionPlan) -> None:
    """Write a plan in the format that the name's ending asks for. Raises InputError."""
    suffix = check_output(path, SUFFIXES).suffix.lower()
    with whole_file(path) as partial:
        if suffix == ".json":
            partial.write_text(plan.to_json() + "\n")
        elif suffix == ".png":
            Image.fromarray(draw_plan(plan)).save(partial, optimize=True)
        else:
            arrays = {"frame_table": plan.frame_table.numpy(), "region_bits": plan.region_bits.numpy()}
            if plan.distance is not None:
                arrays["distance"] = plan.distance.numpy()
            settings = json.dumps({"grid": asdict(plan.grid), "options": asdict(plan.options)})
            np.savez_compressed(partial, settings=np.array(settings), **arrays)


def load_plan(path: str | os.PathLike) -> AttentionPlan:
    """Read a .npz or .json of `save_plan`; pickled content is refused. Raises InputError."""
    path = Path(path)
    try:
        if path.suffix.lower() == ".json":
            return AttentionPlan.from_json(path.read_text())
        with np.load(path, allow_pickle=False) as data:
            settings = json.loads(str(data["settings"]))
            distance = torch.from_numpy(data["distance"]) if "distance" in data.files else None
            return AttentionPlan(
                TokenGrid(**settings["grid"]),
                torch.from_numpy(data["frame_table"]),
                torch.from_numpy(data["region_bits"]),
                distance,
                MaskOptions(**settings["options"]),
            )
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path.name}") from error
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path.name} is not a plan: an npz or json of `iasa mask` is needed") from error
