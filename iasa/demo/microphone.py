"""The live microphone: pieces of sound from the browser go to a speaker who listens, pieces of video come back.

One visitor at a time. The page's call only hands the sound over and takes what is ready; a thread of its own does the
work. What waits is bounded: sound beyond MAX_WAITING seconds is skipped, and said so.
"""

from __future__ import annotations

import logging
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue

import gradio as gr
import numpy as np
import soxr

from iasa.avatar.speaker import Reference
from iasa.config import AUDIO_RATE, LAYERS, InputError, Sentence
from iasa.demo.player import LiveVideo, still
from iasa.demo.service import language_of, load_pipeline, plain_errors, session_name
from iasa.demo.speaker_choice import Crop, check_seed, choose_speaker
from iasa.demo.translations import translate
from iasa.pipeline import CoSpeechPipeline
from iasa.session import LiveSpeaker

logger = logging.getLogger(__name__)

MAX_LIVE_SECONDS = 60.0  # of sound in one go
MAX_WAITING = 6.0  # seconds of sound that may wait for the speaker
IDLE_SECONDS = 4.0  # without a piece the visitor has gone
QUIET_SECONDS = 2.0  # after a stop, pieces that still come are not a new start until this long none came
MAX_CHUNK_BYTES = 20 * 2**20
_HEADER = struct.Struct("<HHIIHH")  # of WAV: format, channels, rate, bytes a second, bytes a sample, bits


class MicrophoneSession:
    """One visitor's live run: `push` sound, `message` for the page, `finish` or `stop`."""

    def __init__(
        self, session: str, pipeline: CoSpeechPipeline, choose: Callable[[], Reference], seed: int = 0
    ) -> None:
        self.session, self.seed = session, seed
        self.live = LiveVideo(f"live-{time.monotonic_ns()}")
        self.heard = self.skipped = self.waiting = 0.0  # seconds of sound
        self.first: float | None = None  # seconds from the first sound to the first frame
        self.stopped = False
        self.started = self.last = self._latest = time.monotonic()
        self._sent, self._frames = 0, 0
        self._sound: SimpleQueue[np.ndarray | None] = SimpleQueue()
        self._resampler: tuple[int, soxr.ResampleStream] | None = None
        self._lock, self._finishing, self._told = threading.Lock(), False, False
        self._run = ThreadPoolExecutor(1, "microphone").submit(self._work, pipeline, choose)
        self._run.add_done_callback(self._check)

    def push(self, sound: np.ndarray, rate: int) -> None:
        """Hand over mono float32 [n]; never waits. After a stop or the time's end the sound is dropped."""
        self.last = time.monotonic()
        if self._finishing or self.stopped or self.ended:
            return
        if rate != AUDIO_RATE:
            if self._resampler is None or self._resampler[0] != rate:
                self._resampler = rate, soxr.ResampleStream(rate, AUDIO_RATE, 1)
            sound = self._resampler[1].resample_chunk(sound.astype(np.float32))
        seconds = len(sound) / AUDIO_RATE
        with self._lock:
            if self.waiting + seconds > MAX_WAITING:
                self.skipped += seconds
                return
            self.waiting += seconds
            self.heard += seconds
        self._sound.put(sound)
        if self.heard >= MAX_LIVE_SECONDS:
            self.finish()

    def finish(self) -> None:
        """No more sound; what was heard is still shown."""
        if not self._finishing:
            self._finishing = True
            self._sound.put(None)

    @property
    def ended(self) -> bool:
        return self._run.done()

    @property
    def failed(self) -> bool:
        """Whether the run ended with an error of which the visitor does not know yet."""
        return self.ended and not self._told and self._run.exception() is not None

    def resend(self) -> None:
        """The next message holds all pieces: the last answer to a recording that was closed may never have arrived."""
        self._sent = 0

    def stop(self) -> None:
        """Drop everything at once."""
        self.stopped, self.last = True, time.monotonic()
        self.finish()

    def in_use(self) -> bool:
        """Whether a new start has to wait: work goes on, or pieces of what was stopped still come."""
        late = (self.stopped or self.heard >= MAX_LIVE_SECONDS) and time.monotonic() - self.last < QUIET_SECONDS
        return not self.ended or late

    def message(self, language: str = "en") -> str:
        """What the page has to know next. Raises the error that ended the run, once, as InputError or ImportError."""
        ended, known = self.ended, len(self.live.pieces)
        if ended and self.failed:
            self._told, error = True, self._run.exception()
            if isinstance(error, InputError | ImportError):
                raise error
            raise InputError(
                "the live run broke off ({kind}: {error}); start it again", kind=type(error).__name__, error=str(error)
            ) from error
        text = self.live.message(translate(self._note(), language), ended, self._sent)
        self._sent = known
        return text

    def _note(self) -> Sentence:
        note = Sentence("Listening: {heard:.0f} s heard", heard=self.heard)
        if self.stopped:
            note = Sentence("Stopped.")
        elif self.first is not None:
            note = Sentence(
                "Live: first frame after {first:.1f} s, {speed:.1f} frames/s, {heard:.0f} s heard",
                first=self.first,
                speed=self.speed,
                heard=self.heard,
            )
        if self.skipped < 0.5:
            return note
        text = "{note}; {skipped:.0f} s skipped, since this machine cannot keep up"
        return Sentence(text, note=note, skipped=self.skipped)

    @property
    def speed(self) -> float:
        """Frames a second since the first one."""
        return self._frames / max(0.04, self._latest - self.started - (self.first or 0.0))

    def _work(self, pipeline: CoSpeechPipeline, choose: Callable[[], Reference]) -> None:
        reference = choose()
        self.live.poster = still(reference.image)
        with LiveSpeaker(
            pipeline, reference, seed=self.seed, model=None if reference.photo is None else LAYERS
        ) as speaker:
            while not self.stopped:
                sound = self._next()
                if sound is not None:
                    self.live.hear(sound)
                if self.stopped:
                    break
                self._show(speaker.finish() if sound is None else speaker.push(sound))
                if sound is None:
                    break
        self.live.finish()

    def _check(self, run: Future) -> None:
        error = run.exception()
        if error is not None:
            self.stopped = True
            if not isinstance(error, InputError | ImportError):  # a fault of the program's, for whoever runs it
                logger.error("the live run broke off", exc_info=error)

    def _next(self) -> np.ndarray | None:
        try:
            sound = self._sound.get(timeout=IDLE_SECONDS)
        except Empty:
            return None
        if sound is not None:
            with self._lock:
                self.waiting -= len(sound) / AUDIO_RATE
        return sound

    def _show(self, frames: np.ndarray) -> None:
        if len(frames):
            self._latest = time.monotonic()
            self._frames += len(frames)
            self.live.add_frames(frames)
            if self.first is None:
                self._frames, self.first = 0, self._latest - self.started


_current: list[MicrophoneSession] = []  # at most one
_entrance = threading.Lock()


def enter(session: str, start: Callable[[], MicrophoneSession]) -> MicrophoneSession:
    """The session's own run, or a new one. Raises InputError while another visitor speaks."""
    with _entrance:
        run = next(iter(_current), None)
        if run and run.session == session and (run.failed or run.in_use()):
            return run
        if run and run.in_use():
            raise InputError("somebody else is speaking live just now; wait a moment and try again")
        _current[:] = [start()]
        return _current[0]


def own_run(request: gr.Request | None) -> MicrophoneSession | None:
    return next((run for run in _current if run.session == session_name(request)), None)


def listen(
    chunk: str | None,
    kind: str,
    example: str | None,
    number: float | None,
    photo: str | None,
    consent: bool,
    seed: float,
    crop: str | None = None,
    request: gr.Request | None = None,
) -> str | dict:
    """One piece of the microphone's sound (a WAV file) -> what the live player has to know."""
    with plain_errors(request):
        if chunk is None:
            return gr.skip()
        sound, rate = read_chunk(chunk)
        Path(chunk).unlink(missing_ok=True)  # nothing of a live run is kept

        def start() -> MicrophoneSession:
            def choose() -> Reference:
                return choose_speaker(kind, example, number, photo, consent, crop=Crop.read(crop))

            return MicrophoneSession(session_name(request), load_pipeline(), choose, check_seed(seed))

        listener = enter(session_name(request), start)
        listener.push(sound, rate)
        return listener.message(language_of(request))


def finish_listening(request: gr.Request | None = None) -> Iterator[str]:
    """The recording has ended: the rest of the video as it is made."""
    listener = own_run(request)
    if listener:
        listener.resend()
    with plain_errors(request):
        while listener:
            listener.finish()
            ended = listener.ended
            yield listener.message(language_of(request))
            if ended:
                return
            time.sleep(0.3)


def stop_listening(request: gr.Request | None = None) -> str | dict:
    """Cancel: nothing more is made."""
    listener = own_run(request)
    if listener is None:
        return gr.skip()
    listener.stop()
    return listener.message(language_of(request))


def read_chunk(path: str | os.PathLike) -> tuple[np.ndarray, int]:
    """Mono float32 [n] and its rate, of a piece of WAV as a browser streams it: the sizes in its header mean nothing.

    Raises InputError. Of more than MAX_WAITING seconds the last ones are returned.
    """
    size = os.stat(path).st_size
    if size > MAX_CHUNK_BYTES:
        raise InputError(
            "the recording's piece has {size:.0f} MB; at most {most:.0f} MB are accepted",
            size=size / 2**20,
            most=MAX_CHUNK_BYTES / 2**20,
        )
    data = Path(path).read_bytes()
    form, body = data.find(b"fmt "), data.find(b"data")
    wrong = InputError("the recording is not WAV sound of 16 bits")
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE" or form != 12 or not form < body < 200:
        raise wrong
    if len(data) < form + 8 + _HEADER.size:
        raise wrong
    kind, channels, rate, _, _, bits = _HEADER.unpack_from(data, form + 8)
    if kind not in (1, 0xFFFE) or bits != 16 or not 1 <= channels <= 2 or not 8000 <= rate <= 96_000:
        raise wrong
    samples = np.frombuffer(data, "<i2", (len(data) - body - 8) // 2, body + 8)
    samples = samples[: len(samples) // channels * channels].reshape(-1, channels)[-int(MAX_WAITING * rate) :]
    return samples.astype(np.float32).mean(1) / 32768, rate
