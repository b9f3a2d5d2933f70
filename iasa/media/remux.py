"""The same packets in another file: metadata stand at the beginning of an mp4, where they cannot change once it is begun."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import av
from av.container import OutputContainer


def open_mp4(path: Path) -> OutputContainer:
    """A file to be written whose index comes first, so that players begin before they have it all."""
    return av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})


def replace_metadata(path: Path, metadata: Mapping[str, str]) -> None:
    """Give an mp4 other metadata; pictures and sound stay as they are, bit by bit."""
    target = path.with_suffix(".again.partial")
    try:
        with av.open(str(path), format="mp4") as old, open_mp4(target) as new:
            new.metadata.update(metadata)
            streams = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
            for packet in old.demux():
                if packet.dts is not None:  # the last of each stream is empty
                    packet.stream = streams[packet.stream.index]
                    new.mux(packet)
        os.replace(target, path)
    finally:
        target.unlink(missing_ok=True)
