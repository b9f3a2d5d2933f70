"""Playback while a video is made: frames and sound as pieces of one fragmented mp4 that a browser appends as they come."""

from __future__ import annotations

import base64
import io
import json
from fractions import Fraction

import av
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import ColorRange, Colorspace

from iasa.config import AUDIO_RATE, VIDEO_FPS
from iasa.media.watermark import add_mark

CODECS = 'video/mp4; codecs="avc1.42c01e, mp4a.40.2"'
_REPEATED = 4  # pieces sent again with each message, should the page have missed a message

# Runs in the page, once for the component; `props.value` holds a message of `LiveVideo.message`.
PLAYER_SCRIPT = """
const video = element.querySelector("video"), note = element.querySelector("p");
let name = null, buffer = null, next = 0, waiting = [], ended = false;
const feed = () => {
  if (!buffer || buffer.updating) return;
  if (waiting.length) { buffer.appendBuffer(waiting.shift()); return; }
  if (ended && video.media && video.media.readyState === "open") video.media.endOfStream();
};
const open = (message) => {
  name = message.name; buffer = null; next = 0; waiting = []; ended = false;
  const media = video.media = new MediaSource();
  media.addEventListener("sourceopen", () => {
    buffer = media.addSourceBuffer(message.codecs);
    buffer.addEventListener("updateend", () => { if (video.paused && next < 6) video.play().catch(() => {}); feed(); });
    feed();
  }, { once: true });
  video.src = URL.createObjectURL(media);
};
watch("value", () => {
  const message = JSON.parse(props.value || "{}");
  element.querySelector("div").hidden = !message.name || !window.MediaSource || !MediaSource.isTypeSupported(message.codecs);
  if (!message.name) return;
  if (message.name !== name) open(message);
  for (const [number, piece] of message.pieces) {
    if (number !== next) continue;
    waiting.push(Uint8Array.from(atob(piece), (letter) => letter.charCodeAt(0)));
    next += 1;
  }
  ended = message.ended;
  video.hidden = next === 0;
  note.textContent = message.note;
  feed();
});
"""
PLAYER = "<div hidden><video controls playsinline></video><p></p></div>"
PLAYER_STYLE = (
    "video[hidden] { display: none; } video { width: 100%; max-height: 420px; background: #000; border-radius: 8px; }"
)


class LiveVideo:
    """Feeds an encoder; `add_frames` returns nothing, `message` what the page has to know next."""

    def __init__(self, name: str, audio: np.ndarray) -> None:  # float32 [n], mono, AUDIO_RATE
        self.name, self.audio = name, audio
        self.pieces: list[str] = []
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

    def message(self, note: str, ended: bool = False, known: int | None = None) -> str:
        """JSON for the page: the pieces after the first `known` (else the last ones) with their numbers, and a line to show."""
        first = max(0, (len(self.pieces) if known is None else known) - _REPEATED)
        pieces = list(enumerate(self.pieces))[first:]
        return json.dumps({"name": self.name, "codecs": CODECS, "pieces": pieces, "note": note, "ended": ended})

    def data(self) -> bytes:
        """Everything so far: a playable mp4."""
        return self._file.getvalue()
