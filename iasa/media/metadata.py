"""What every made file says of itself: its settings, and, as an XMP packet, that a trained model made it (IPTC)."""

from __future__ import annotations

import json
import os
import re
import struct
import uuid
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, unescape

import numpy as np

TITLE = "AI-generated video"
AI_MARK = "AI-generated video: the speaker's picture and movement were made by a computer program (IASA)"
AI_SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:exif="http://ns.adobe.com/exif/1.0/">
<Iptc4xmpExt:DigitalSourceType>{source}</Iptc4xmpExt:DigitalSourceType>
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">{title}</rdf:li></rdf:Alt></dc:title>
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{description}</rdf:li></rdf:Alt></dc:description>
<exif:UserComment><rdf:Alt><rdf:li xml:lang="x-default">{comment}</rdf:li></rdf:Alt></exif:UserComment>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""
_COMMENT = re.compile(r'<exif:UserComment><rdf:Alt><rdf:li xml:lang="x-default">([^<]*)</rdf:li>')
_PACKET = re.compile(rb"<\?xpacket begin=.{0,1000000}?<\?xpacket end=", re.DOTALL)
_XMP_BOX = uuid.UUID("be7acfcb-97a9-42e8-9c71-999491e3afac").bytes  # of an mp4, by the XMP specification
_GIF_TRAILER = b"\x3b"
_GIF_XMP_END = bytes([1, *range(255, -1, -1), 0])  # readers that skip sub-blocks by their length end up in here


def to_comment(settings: dict) -> str:
    """The settings (JSON values) with the statement that a program made the file, as ASCII JSON."""
    return json.dumps({**settings, "ai_generated": True, "digital_source_type": AI_SOURCE}, default=_to_json)


def to_xmp(comment: str) -> bytes:
    """The XMP packet, UTF-8, of a file with that comment."""
    return _XMP.format(source=AI_SOURCE, title=TITLE, description=escape(AI_MARK), comment=escape(comment)).encode()


def to_tags(comment: str) -> dict[str, str]:
    """The tags of a container that has names and values."""
    return {"title": TITLE, "description": AI_MARK, "comment": comment}


def append_to_mp4(path: Path, packet: bytes) -> None:
    """Put the packet behind everything else, in the box that XMP has in an mp4."""
    with open(path, "ab") as file:
        file.write(struct.pack(">I", 24 + len(packet)) + b"uuid" + _XMP_BOX + packet)


def append_to_gif(path: Path, packet: bytes) -> None:
    """Put the packet behind the last picture, in XMP's application extension."""
    with open(path, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != _GIF_TRAILER:
            raise ValueError("the GIF does not end in its trailer")
        file.seek(-1, os.SEEK_END)
        file.write(b"\x21\xff\x0bXMP DataXMP" + packet + _GIF_XMP_END + _GIF_TRAILER)


def find_xmp(data: bytes) -> str:
    """The first XMP packet in a file of any kind, "" where there is none: packets are made to be found like this."""
    found = _PACKET.search(data)
    return found[0].decode("utf-8", "replace") if found else ""


def find_settings(data: bytes) -> dict:
    """The settings in the XMP packet of a file."""
    comment = _COMMENT.search(find_xmp(data))
    return to_settings(unescape(comment[1])) if comment else {}


def to_settings(comment: str) -> dict:
    """The settings in a comment of `to_comment`, {} where it is another's."""
    try:
        settings = json.loads(comment)
    except (json.JSONDecodeError, RecursionError):
        return {}
    return settings if isinstance(settings, dict) else {}


def _to_json(value: Any) -> Any:
    """numpy scalars and arrays, and paths, as JSON values."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"metadata of type {type(value).__name__} cannot be stored; JSON values are needed")
