"""Visitors of the running demo, as browsers are over HTTP: they upload, generate, cancel, reload, and send junk."""

from __future__ import annotations

import io
import json
import random
import tempfile
import threading
import time
import uuid
import wave
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

from iasa.avatar.speaker import speaker_names
from iasa.media.reader import read_metadata
from iasa.paths import SPEECH
from iasa.speech import read_audio

HEAVY = ("speak_live", "poses", "compare", "explore")
ACTIONS = {"speak": 8, "preview": 3, "compare": 1, "explore": 1, "cancel": 4, "reload": 3, "junk": 6, "estimate": 2}
PATIENCE = 400.0  # seconds
API = "/gradio_api"


@dataclass
class Record:
    """What all visitors saw together."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    done: Counter = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    heavy: list[tuple[float, float, float, float]] = field(default_factory=list)  # asked, accepted, started, ended
    waits: list[float] = field(default_factory=list)

    def fault(self, text: str) -> None:
        with self.lock:
            self.faults.append(text)

    def overlaps(self, slack: float = 0.3) -> int:
        """Heavy jobs that began before another had ended; messages arrive a little late."""
        known = sorted((start, end) for _, _, start, end in self.heavy)
        return sum(b[0] < a[1] - slack for a, b in zip(known, known[1:], strict=False))

    def overtaken(self) -> int:
        """Pairs of heavy jobs of which the one that was asked for later, without doubt, began first."""
        jobs = self.heavy
        return sum(a[1] < b[0] and b[2] < a[2] - 0.3 for a in jobs for b in jobs)


class Server:
    """The page's address, and the numbers of its functions."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        config = httpx.get(f"{self.address}/config", timeout=60).json()
        self.functions, self.inputs = {}, {}
        for entry in config["dependencies"]:
            self.functions.setdefault(entry["api_name"], entry["id"])
            self.inputs.setdefault(entry["api_name"], len(entry["inputs"]))


class Visitor:
    """One browser at a time: a session of its own, new after each reload."""

    def __init__(self, server: Server, record: Record, number: int) -> None:
        self.server, self.record, self.number = server, record, number
        self.random = random.Random(number)
        self.client = httpx.Client(
            base_url=server.address + API,
            timeout=httpx.Timeout(60, read=PATIENCE),
            limits=httpx.Limits(max_keepalive_connections=0),  # the server may close one just as it is used again
        )
        self.session = uuid.uuid4().hex
        self.events: set[str] = set()  # its own

    def visit(self, until: float) -> None:
        """Act at random until then."""
        while time.monotonic() < until:
            action = self.random.choices(list(ACTIONS), list(ACTIONS.values()))[0]
            try:
                getattr(self, action)()
            except httpx.TransportError as error:
                self.record.fault(f"{action}: {type(error).__name__} {error}")
            with self.record.lock:
                self.record.done[action] += 1
            time.sleep(self.random.uniform(0.1, 1.5))
        self.client.close()

    # what visitors do

    def speak(self) -> None:
        seed = self.number * 100_000 + self.random.randrange(100_000)
        answer = self.generate(self.settings(self.upload(speech(self.random)), seed))
        if answer is None:
            return
        if not answer["success"]:
            return self.record.fault(f"speak: {answer['output'].get('error')}")
        self.check_own(json.loads(answer["output"]["data"][0])["file"], seed)

    def check_own(self, path: str, seed: int) -> None:
        """The video holds the seed that this visitor chose, and no other has."""
        url = f"{self.server.address}{API}/file={path}"
        got = self.client.get(url)
        if got.status_code != 200:
            return self.record.fault(f"speak: the video answers {got.status_code}")
        with tempfile.NamedTemporaryFile(suffix=".mp4") as kept:
            Path(kept.name).write_bytes(got.content)
            made = read_metadata(kept.name)
        if made.get("seed") != seed:
            self.record.fault(f"speak: a video of seed {made.get('seed')} came for {seed}")

    def preview(self) -> None:
        data = self.settings(self.upload(speech(self.random)), self.number)
        answer = self.call("poses", data[:6] + data[8:-4] + data[-1:])
        if answer is not None and not answer["success"]:
            self.record.fault(f"poses: {answer['output'].get('error')}")

    def compare(self) -> None:
        answer = self.call("compare", [self.upload(speech(self.random)), speaker_names()[0], 0.4, 1, self.number])
        if answer is not None and not answer["success"]:
            self.record.fault(f"compare: {answer['output'].get('error')}")

    def explore(self) -> None:
        answer = self.call("explore", [None, False, None, ""])
        if answer is not None and not answer["success"] and "no longer kept" not in str(answer["output"]):
            self.record.fault(f"explore: {answer['output'].get('error')}")

    def estimate(self) -> None:
        answer = self.call("estimate", [self.upload(speech(self.random)), "student", 1, "Example speaker"])
        if answer is not None and not answer["success"]:
            self.record.fault(f"estimate: {answer['output'].get('error')}")

    def cancel(self) -> None:
        """Generate, change one's mind, and generate again."""
        stop = threading.Event()
        timer = threading.Timer(self.random.uniform(0, 4), stop.set)
        timer.start()
        self.generate(self.settings(self.upload(speech(self.random, 3.0)), self.number), stop)
        timer.cancel()
        self.speak()

    def reload(self) -> None:
        """Leave in the middle of a run: the connection breaks, and a new session begins."""
        settings = self.settings(self.upload(speech(self.random, 2.0)), self.number)
        if self.join("speak_live", [*settings, None]) is not None:
            leave = time.monotonic() + self.random.uniform(0, 2)
            with self.client.stream("GET", "/queue/data", params={"session_hash": self.session}) as lines:
                for _ in lines.iter_lines():
                    if time.monotonic() > leave:
                        break
        self.session = uuid.uuid4().hex

    def junk(self) -> None:
        kind = self.random.randrange(6)
        if kind == 0:  # no sound
            bad = self.upload(self.random.randbytes(self.random.randrange(1, 4000)), "junk.wav")
            self.expect_refusal(self.generate(self.settings(bad, 1)))
        elif kind == 1:  # a file of the machine's
            file = {"path": self.random.choice(["/etc/passwd", "../../etc/passwd", "/proc/self/environ"]),
                    "meta": {"_type": "gradio.FileData"}}  # fmt: skip
            self.expect_refusal(self.generate(self.settings(file, 1)))
        elif kind == 2:
            for path in ("/etc/passwd", "..%2f..%2fetc%2fpasswd", "/tmp", "/proc/self/environ"):
                got = self.client.get(f"/file={path}")
                if got.status_code == 200:
                    self.record.fault(f"junk: {path} is served")
        elif kind == 3:  # settings that are none
            wrong = self.settings(self.upload(speech(self.random)), 1)
            wrong[self.random.choice((1, 2, 6, 7, 8, 10, 14))] = self.random.choice(
                ("<script>", -5, None, [1], {"a": 1}, 1e99)
            )
            self.generate(wrong)
        elif kind == 4:
            for body in (
                b"{",
                b"[]",
                json.dumps({"data": None, "fn_index": 10**9, "session_hash": "x" * 10_000}).encode(),
            ):
                got = self.client.post("/queue/join", content=body, headers={"content-type": "application/json"})
                if got.status_code == 200:
                    self.record.fault(f"junk: {body[:40]!r} is accepted")
        else:
            self.call("estimate", [None, "teacher", "many", None])

    def expect_refusal(self, answer: dict | None) -> None:
        if answer is not None and answer["success"]:
            self.record.fault("junk: it was taken for speech")

    # how browsers do it

    def generate(self, settings: list, stop: threading.Event | None = None) -> dict | None:
        """The run takes its turn, which stays in the session, then waits in the line."""
        self.call("begin_run", [None] * self.server.inputs["begin_run"])
        return self.call("speak_live", [*settings, None], stop)

    def settings(self, audio: dict, seed: int) -> list:
        name = self.random.choice(speaker_names())
        movement, behind = [None, 1, 1, 0, False, "rules"], ["Own room", None, None, None]
        return [audio, "Example speaker", name, 7, None, False, "student", 1, seed, *movement, *behind]

    def upload(self, data: bytes, name: str = "speech.wav") -> dict:
        got = self.client.post("/upload", files={"files": (name, data)})
        got.raise_for_status()
        return {"path": got.json()[0], "orig_name": name, "meta": {"_type": "gradio.FileData"}}

    def join(self, function: str, data: list) -> str | None:
        """The event's name; None where the line is full or the request is refused."""
        body = {"data": data, "fn_index": self.server.functions[function], "session_hash": self.session}
        got = self.client.post("/queue/join", json=body)
        if got.status_code == 503 or "event_id" not in got.json():
            with self.record.lock:
                self.record.done["turned away: the line is full" if got.status_code == 503 else "refused"] += 1
            return None
        self.events.add(got.json()["event_id"])
        return got.json()["event_id"]

    def call(self, function: str, data: list, stop: threading.Event | None = None) -> dict | None:
        """The last message of an event; None where it was cancelled or turned away."""
        asked = time.monotonic()
        event = self.join(function, data)
        if event is None:
            time.sleep(self.random.uniform(1, 4))
            return None
        accepted, started, cancelled = time.monotonic(), 0.0, False
        for message in self.listen():
            if stop is not None and stop.is_set() and not cancelled:
                cancelled = True
                self.press_cancel()
            kind = message["msg"]
            if kind in ("unexpected_error", "server_stopped"):
                self.record.fault(f"{function}: {kind} {message.get('message')}")
                return None
            if message.get("event_id") not in (None, *self.events):
                self.record.fault(f"{function}: a message of another event came")
            if message.get("event_id") != event:
                continue  # the stop flag's own, of an earlier run
            if kind == "process_starts":
                started = time.monotonic()
            elif kind == "process_completed":
                if function in HEAVY and started and not cancelled:
                    with self.record.lock:
                        self.record.heavy.append((asked, accepted, started, time.monotonic()))
                        self.record.waits.append(started - accepted)
                return None if cancelled else message
        return None

    def listen(self) -> Iterator[dict]:
        """The session's messages; a stream that ends is opened again, as browsers do."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            with self.client.stream("GET", "/queue/data", params={"session_hash": self.session}) as lines:
                for line in lines.iter_lines():
                    if line.startswith("data:"):
                        message = json.loads(line[5:])
                        if message["msg"] == "close_stream":
                            break
                        yield message
            time.sleep(0.2)

    def press_cancel(self) -> None:
        stop = {"data": [], "fn_index": self.server.functions["request_stop"], "session_hash": self.session}
        self.events.add(self.client.post("/queue/join", json=stop).json().get("event_id"))


_clip = read_audio(SPEECH / "tea.mp3")[0]


def speech(chance: random.Random, seconds: float = 0.6) -> bytes:
    """A WAV file of some of an example clip."""
    start = chance.randrange(int(len(_clip) - 16_000 * (seconds + 0.1)))
    part = _clip[start : start + int(16_000 * seconds)]
    part = part / max(0.05, float(np.abs(part).max())) + 0.01 * np.sin(np.arange(len(part)) / 8)  # never silent
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, 16_000, 0, "NONE", ""))
        out.writeframes((part.clip(-1, 1) * 32767 * 0.9).astype("<i2").tobytes())
    return file.getvalue()


def visit_together(address: str, visitors: int, seconds: float) -> Record:
    """So many visitors at once, for so long."""
    server, record = Server(address), Record()
    until = time.monotonic() + seconds
    threads = [threading.Thread(target=Visitor(server, record, n).visit, args=(until,)) for n in range(visitors)]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    return record
