"""The networks of a pipeline: found, loaded, moved to a device and a number type, saved."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import DiffusionPipeline

from iasa.config import MaskOptions, TransformerConfig
from iasa.device import Precision, pick_device, pick_precision
from iasa.grid import TokenGrid
from iasa.inference.fast_codec import FastCodec
from iasa.inference.graphed import GraphedCodec, has_graphs
from iasa.inference.stage_threads import StageExecutor
from iasa.inference.strip_codec import StripCodec
from iasa.models.autoencoder import Autoencoder
from iasa.models.checkpoint import (
    HUB_OPTIONS,
    STAGES_OF,
    check_folder,
    fetch,
    find_weights,
    has_weights,
    load_weights,
    save_weights,
    shipped_weights,
)
from iasa.models.restorer import Restorer
from iasa.models.transformer import VideoTransformer
from iasa.motion.generator import MotionGenerator
from iasa.paths import PEOPLE_WEIGHTS, WEIGHTS

NETWORKS = {
    "autoencoder": Autoencoder,
    "student": VideoTransformer,
    "teacher": VideoTransformer,
    "motion": MotionGenerator,
    "restorer": Restorer,
}


class PipelineNetworks(DiffusionPipeline):
    """What CoSpeechPipeline is made of; its own documentation says what the arguments mean."""

    _optional_components = ["student", "teacher", "motion", "restorer"]

    def __init__(
        self,
        autoencoder: Autoencoder,
        student: VideoTransformer | None = None,
        teacher: VideoTransformer | None = None,
        motion: MotionGenerator | None = None,
        restorer: Restorer | None = None,
        mask: MaskOptions | dict | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | Precision | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            autoencoder=autoencoder, student=student, teacher=teacher, motion=motion, restorer=restorer
        )
        self.register_to_config(mask=mask if isinstance(mask, dict) else asdict(mask or MaskOptions()))
        self._codec: FastCodec | None = None
        self._strip_codec: StripCodec | None = None
        # the folder of the networks for people, and those that they take the place of
        self._for_people: tuple[Path, Autoencoder, VideoTransformer | None] | None = None
        self._people: Self | None = None
        device = torch.device(device or pick_device())
        self.executor = StageExecutor()
        self.to(device, pick_precision(dtype, device))

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike | None = None, **options: Any) -> Self:
        """The networks of a folder that `save_pretrained` or training wrote, or of a Hub repository by its name; those that
        it lacks, and all of them without a folder, are the ones that ship with the package.

        With the package's own folder, iasa/weights, photographs too are painted by networks that saw drawn speakers alone.
        Options are those of the class, `teacher=None` say to leave the teacher out, or a network to take instead; with a
        Hub repository also `revision`, `token`, `cache_dir` and `local_files_only`.
        """
        hub = {name: options.pop(name) for name in HUB_OPTIONS if name in options}
        if "torch_dtype" in options:  # as diffusers calls it
            options["dtype"] = options.pop("torch_dtype")
        folder = None if folder is None else check_folder(fetch(folder, partial(cls.download, **hub)))
        index = folder and folder / "model_index.json"
        if index and index.exists():
            options = {"mask": json.loads(index.read_text()).get("mask"), **options}
        places = {
            name: find_weights(folder, *STAGES_OF[name])
            for name in NETWORKS
            if name not in options and (name != "restorer" or has_weights(folder, *STAGES_OF[name]))
        }
        pipeline = cls(**options, **{name: load_weights(NETWORKS[name], place) for name, place in places.items()})
        shipped = all(places.get(name) == shipped_weights(name) for name in ("autoencoder", "student"))
        people = PEOPLE_WEIGHTS if shipped else folder and folder / PEOPLE_WEIGHTS.name
        named = folder is not None and folder.resolve() == WEIGHTS  # then it is these alone that are meant
        if people is not None and people.is_dir() and not named:
            pipeline._for_people = people, pipeline.autoencoder, pipeline.student
        return pipeline

    @property
    def people(self) -> Self:
        """What paints photographs: the networks that were trained on from these for people, of the folder `people` beside
        them; itself where there are none, or a network was exchanged."""
        if self._for_people is None or self._for_people[1:] != (self.autoencoder, self.student):
            return self
        if self._people is None:
            self._people = type(self).from_pretrained(
                self._for_people[0], teacher=None, restorer=None, motion=self.motion, mask=self.mask, device=self.device,
                dtype=self.precision,
            )  # fmt: skip
            self._people.executor = self.executor
        return self._people

    def save_pretrained(self, folder: str | os.PathLike, **_: Any) -> None:
        """Write every network, in its current number type, and model_index.json: what `from_pretrained` reads. Those for
        people go into the folder `people`."""
        for name in NETWORKS:
            if getattr(self, name) is not None:
                save_weights(getattr(self, name), Path(folder) / name)
        self.save_config(folder)
        if self.people is not self:
            for name in ("autoencoder", "student"):
                save_weights(getattr(self.people, name), Path(folder) / PEOPLE_WEIGHTS.name / name)

    def to(
        self,
        *places: torch.device | str | torch.dtype | Precision,
        device: torch.device | str | None = None,
        dtype: torch.dtype | Precision | None = None,
        silence_dtype_warnings: bool = True,  # there are none
    ) -> Self:
        """Move what paints to a device, a number type or both; the motion model stays on the processor, in float32."""
        for place in places:
            device, dtype = (device, place) if isinstance(place, torch.dtype | Precision) else (place, dtype)
        device = torch.device(self.device if device is None else device)
        precision = self.precision if dtype is None else pick_precision(dtype, device)
        self.precision = precision if device.type == "cpu" else replace(precision, int8=False)

        # torch's own to(): diffusers' warns of an empty list of float32 modules
        def move_network(network: torch.nn.Module, **layout: Any) -> torch.nn.Module:
            return torch.nn.Module.to(network, device=device, dtype=self.precision.dtype, **layout)

        move_network(self.autoencoder, memory_format=torch.channels_last).eval()
        for model in (*self.models.values(), *([self.restorer] if self.restorer is not None else [])):
            move_network(model).eval()
        self._codec = None
        self._people = None
        return self

    @property
    def models(self) -> dict[str, VideoTransformer]:
        """The generators that are there, by their names of config.MODELS."""
        return {name: model for name in ("student", "teacher") if (model := getattr(self, name)) is not None}

    @property
    def mask(self) -> MaskOptions:
        return MaskOptions(**self.config["mask"])

    @property
    def codec(self) -> FastCodec:
        """The autoencoder as generations run it."""
        if self._codec is None or self._codec.net is not self.autoencoder:
            if has_graphs(self.device):
                self._codec = GraphedCodec(self.autoencoder)
            else:
                self._codec = FastCodec(self.autoencoder, self.precision.int8)
        return self._codec

    @property
    def strip_codec(self) -> StripCodec:
        """The same, of the tokens that are computed."""
        if self._strip_codec is None or self._strip_codec.codec is not self.codec:
            self._strip_codec = StripCodec(self.codec)
        return self._strip_codec

    @property
    def grid(self) -> TokenGrid:
        """Of one latent frame."""
        sides = next(iter(self.models.values())).config if self.models else TransformerConfig()
        return TokenGrid(1, sides.rows, sides.cols)
