"""The files of a folder of real people; light, so that a wrong folder is answered before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from iasa.config import InputError
from iasa.files import display_name

IMAGES, VIDEOS = (".jpg", ".jpeg", ".png", ".webp"), (".mp4", ".mov", ".webm", ".mkv")


@dataclass(frozen=True)
class RealSet:
    """The files of a folder."""

    clips: list[Path]
    pictures: dict[str, list[Path]]  # by framing
    poses: list[Path]

    @classmethod
    def of(cls, folder: Path) -> RealSet:
        """Raises InputError if there is nothing to measure on."""

        def files(name: str, kinds: tuple[str, ...]) -> list[Path]:
            return sorted(p for p in (folder / name).glob("*") if p.suffix.lower() in kinds)

        pictures = {name: files(name, IMAGES) for name in ("halfbody", "portraits")}
        found = cls(files("clips", VIDEOS), {k: v for k, v in pictures.items() if v}, files("poses", (".npz",)))
        if not found.clips and not found.pictures:
            raise InputError(
                f"{display_name(folder)} holds neither clips/ nor halfbody/ nor portraits/; one of them is needed"
            )
        return found
