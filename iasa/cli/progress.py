"""The progress bar of the commands that take a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tqdm import tqdm


class StageBar:
    """A progress bar on stderr that names the stage under way; it is gone when closed, and only a terminal shows it."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._stage = ""

    def __call__(self, stage: str, share: float) -> None:
        if self._bar is None or stage != self._stage:
            self.close()
            from tqdm import tqdm

            layout = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
            self._bar = tqdm(total=1.0, desc=stage, bar_format=layout, leave=False, mininterval=0.2, disable=None)
            self._stage = stage
        self._bar.update(share - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar, self._stage = None, ""
