"""The page's player: pieces of one fragmented mp4, which a browser appends while they are made, then the whole file."""

from __future__ import annotations

import base64
import io
import json
from fractions import Fraction
from importlib.resources import files
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image

from iasa.config import AUDIO_RATE, VIDEO_FPS
from iasa.media.watermark import add_mark

CODECS = 'video/mp4; codecs="avc1.42c01e, mp4a.40.2"'
GREY = 128
_REPEATED = 4  # pieces sent again with each message, should the page have missed a message

PLAYER_SCRIPT = (files("iasa.demo") / "player.js").read_text(encoding="utf-8")
PLAYER = """<div class="stage"><img alt="" hidden><video hidden></video></div>
<div class="line"><progress max="1" value="0" class="idle" aria-label="%"></progress><p role="status"></p></div>"""
PLAYER_STYLE = """
.stage { position: relative; height: min(420px, 46svh, 100vw - 64px); border-radius: 8px; overflow: hidden; background: #14171f; }
.stage :is(video, img) { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain; margin: 0; }
.stage [hidden] { display: none; }
.stage img { filter: brightness(0.8); }
.line { height: 52px; padding-top: 6px; overflow: hidden; }
.line p { margin: 2px 0 0; font-size: 14px; line-height: 19px; max-height: 38px; overflow: hidden; }
progress { display: block; width: 100%; height: 6px; accent-color: var(--color-accent); }
progress.idle { visibility: hidden; }
"""


class LiveVideo:
    """Feeds an encoder; `add_frames` returns nothing, `message` what the page has to know next."""

    def __init__(self, name: str, audio: np.ndarray | None = None) -> None:  # float32 [n], mono, AUDIO_RATE
        self.name, self.audio = name, np.zeros(0, np.float32) if audio is None else audio
        self.pieces: list[str] = []
        self.poster = ""  # a still of the speaker, as an address, until there are pieces
        self.frames = self._samples = self._taken = 0
        self._file = io.BytesIO()
        self._container: OutputContainer | None = None

    def _open(self, height: int, width: int) -> OutputContainer:
        options = {
            "movflags": "empty_moov+default_base_moof",
            "frag_duration": "40000",  # microseconds: a fragment a picture
        }
        container = av.open(self._file, "w", format="mp4", options=options)
        self._video = container.add_stream(
            "libx264",
            rate=Fraction(VIDEO_FPS).limit_denominator(1001),
            options={"crf": "23", "preset": "ultrafast", "tune": "zerolatency", "profile": "baseline", "g": "25"},
        )
        self._video.width, self._video.height, self._video.pix_fmt = width, height, "yuv420p"
        self._video.codec_context.time_base = Fraction(1, round(VIDEO_FPS))
        self._sound = container.add_stream("aac", rate=AUDIO_RATE, layout="mono")
        self._sound.codec_context.bit_rate = 64_000
        return container

    def add_frames(self, frames: np.ndarray) -> None:
        """Encode uint8 [f, H, W, 3] (even sizes) with their share of the sound, as one more piece."""
        if self._container is None:
            self._container = self._open(frames.shape[1], frames.shape[2])
        for frame in add_mark(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24").reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            picture.pts, picture.time_base = self.frames, Fraction(1, round(VIDEO_FPS))
            self._container.mux(self._video.encode(picture))
            self.frames += 1
            self._add_sound(self._container)
        self._take()

    def hear(self, sound: np.ndarray) -> None:
        """More sound, float32 [n], behind what there is: for frames that come later."""
        self.audio = np.concatenate([self.audio, sound])

    def _add_sound(self, container: OutputContainer) -> None:
        """The sound up to the end of the last picture; frame by frame, since the muxer waits for both."""
        end = round(self.frames * AUDIO_RATE / VIDEO_FPS)
        part = self.audio[self._samples : end].astype(np.float32)
        part = np.pad(part, (0, end - self._samples - len(part)))
        sound = av.AudioFrame.from_ndarray(part[None], format="fltp", layout="mono")
        sound.rate, sound.pts, sound.time_base = AUDIO_RATE, self._samples, Fraction(1, AUDIO_RATE)
        self._mux_sound(container, self._sound.encode(sound))
        self._samples = end

    def _mux_sound(self, container: OutputContainer, packets: list[av.Packet]) -> None:
        """Without the encoder's run-up, which lies before 0: an appended fragment has no edit list that would skip it."""
        container.mux([packet for packet in packets if packet.pts is not None and packet.pts >= 0])

    def finish(self) -> None:
        """Close the encoders; what they still held is the last piece."""
        if self._container is not None:
            self._container.mux(self._video.encode(None))
            self._mux_sound(self._container, self._sound.encode(None))
            self._container.close()
            self._container = None
            self._take()

    def _take(self) -> None:
        data = self._file.getvalue()[self._taken :]
        self._taken += len(data)
        if data:
            self.pieces.append(base64.b64encode(data).decode("ascii"))

    def message(
        self,
        note: str,
        ended: bool = False,
        known: int | None = None,
        share: float | None = None,
        file: Path | None = None,
    ) -> str:
        """JSON for the page: the pieces after the first `known` (else the last ones) with their numbers, a line to show, the
        share that is done, and in the end the file that takes the pieces' place."""
        first = max(0, (len(self.pieces) if known is None else known) - _REPEATED)
        pieces = list(enumerate(self.pieces))[first:]
        said = {"name": self.name, "codecs": CODECS, "pieces": pieces, "note": note, "ended": ended, "share": share}
        said |= {"poster": self.poster} if self.poster and not self.pieces else {}
        return json.dumps(said | ({"file": str(file)} if file else {}))

    def data(self) -> bytes:
        """Everything so far: a playable mp4."""
        return self._file.getvalue()


def still(picture: np.ndarray) -> str:
    """uint8 [H, W, 3] as the address of a small JPEG."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def on_grey(frames: np.ndarray) -> np.ndarray:
    """Frames uint8 [f, H, W, 3 or 4] as the page shows them: what is transparent before a grey wall."""
    if frames.shape[-1] == 3:
        return frames
    share = frames[..., 3:].astype(np.float32) / 255
    return (share * frames[..., :3] + (1 - share) * GREY + 0.5).astype(np.uint8)
