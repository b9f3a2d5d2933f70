"""The same packets in another file: tags stand at the beginning of a container, where they cannot change once it is begun."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import av
from av.container import OutputContainer


def open_output(path: Path) -> OutputContainer:
    """An mp4 or webm to be written; an mp4's index comes first, so that players begin before they have it all."""
    options = {"movflags": "+faststart"} if path.suffix == ".mp4" else {}
    return av.open(str(path), "w", format=path.suffix[1:], options=options)


def replace_metadata(path: Path, metadata: Mapping[str, str]) -> None:
    """Give an mp4 or webm other tags; pictures and sound stay as they are, bit by bit."""
    target = path.with_name(f"{path.stem}.again{path.suffix}")
    try:
        with av.open(str(path)) as old, open_output(target) as new:
            new.metadata.update(metadata)
            streams = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
            for packet in old.demux():
                if packet.dts is not None:  # the last of each stream is empty
                    packet.stream = streams[packet.stream.index]
                    new.mux(packet)
        os.replace(target, path)
    finally:
        target.unlink(missing_ok=True)
