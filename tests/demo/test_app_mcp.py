"""The demo's endpoints as MCP tools, through an MCP client over HTTP, as an agent uses them."""

from __future__ import annotations

import asyncio
import base64
import io
import re
import urllib.request
import wave
from datetime import timedelta

import pytest

pytest.importorskip("gradio", reason="the demo is optional: pip install gradio")
mcp = pytest.importorskip("mcp", reason='MCP tools are optional: pip install "gradio[mcp]"')

from mcp.client.streamable_http import streamablehttp_client  # noqa: E402

import app  # noqa: E402
from iasa.avatar.identity import make_identity  # noqa: E402
from iasa.avatar.rig import make_keypoints, rest_motion  # noqa: E402
from iasa.demo import launch, service  # noqa: E402
from iasa.demo.speaker_choice import DRAWN, EXAMPLE  # noqa: E402
from iasa.keypoints import load_keypoints, save_keypoints  # noqa: E402
from iasa.paths import SPEECH  # noqa: E402
from iasa.speech import read_audio  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
TOOLS = {"speak", "poses", "compare", "compare_memory", "explore", "mask"}
PATIENCE = timedelta(seconds=200)


@pytest.fixture
def address(tmp_path, monkeypatch):
    monkeypatch.setattr(service, "output_folder", lambda: tmp_path)
    monkeypatch.setattr(launch, "output_folder", lambda: tmp_path)
    page = app.make_app()
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, share=False, **app.launch_options(tools=True))
    yield f"{url}gradio_api/mcp/"
    page.close()


def write_speech() -> str:
    """0.6 s of an example clip as a data URL: agents send small files inside their call."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 16_000, 0, "NONE", ""))
        writer.writeframes((read_audio(SPEECH / "tea.mp3")[0][:9600] * 32767).astype("<i2").tobytes())
    return "data:audio/wav;base64," + base64.b64encode(file.getvalue()).decode()


def write_poses(path) -> str:
    """A driver's poses as a data URL, which has no name to tell what it is."""
    save_keypoints(path, make_keypoints(make_identity(3), rest_motion(10)))
    return "data:application/octet-stream;base64," + base64.b64encode(path.read_bytes()).decode()


SPEAKER = {"kind": EXAMPLE, "example": "dana", "number": 7, "consent": False, "seed": 3}
MOVEMENT = {"amount": 1.5, "blink": 0.5, "height": 2, "lock": True, "motion": "rules"}
CROP = {"crop": '{"box": [0, 0, 1, 1]}'}

BACKDROP = {"backdrop": "Color", "color": "#224466"}
FIRST = {"pattern": "dense", "model": "student", "steps": 2}
SECOND = {"other_pattern": "pab", "other_model": "teacher", "other_steps": 5}


def make_calls(poses: str) -> list[tuple[str, dict, str]]:
    """(tool, arguments, what the answer holds): each tool with as little as it needs, and with every optional argument."""
    speech = {"audio": write_speech()}
    return [
        ("speak", speech, "15 frames"),
        (
            "speak",
            speech | SPEAKER | MOVEMENT | BACKDROP | CROP | {"model": "student", "steps": 2, "driving": poses},
            "student, steps: 2",
        ),
        ("speak", speech | {"model": "teacher", "steps": 5}, "teacher, steps: 5"),
        ("speak", speech | {"kind": DRAWN, "number": 11}, "15 frames"),
        ("poses", speech, ".npz"),
        ("poses", speech | SPEAKER | MOVEMENT | CROP | {"driving": poses}, ".npz"),
        ("compare", speech | {"seconds": 0.4, "teacher_steps": 1, "example": "dana", "seed": 2}, "sparse student"),
        ("compare", speech | {"seconds": 0.4} | FIRST | SECOND, "teacher, pab"),
        ("compare_memory", {"number": 1, "choice": "oracle", "other": "last", "frames": 1}, "| oracle | 1 |"),
        ("explore", {}, "iframe"),
        ("explore", {"clip": poses, "record": False}, "iframe"),
        ("explore", {"example": "emre", "record": False}, "emre"),
        ("mask", {"poses": poses}, "token_density"),
        ("mask", {"poses": poses, "top_k": 2, "method": "hull", "block": 32}, '"block": 32'),
    ]


async def use(address: str, calls: list[tuple[str, dict, str]]) -> tuple[list, list]:
    """The tools, and the answers to calls."""
    async with streamablehttp_client(address) as (read, write, _), mcp.ClientSession(read, write) as session:
        await session.initialize()
        tools = (await session.list_tools()).tools
        return tools, [await session.call_tool(name, asked, PATIENCE) for name, asked, _ in calls]


def test_an_agent_calls_every_tool_with_every_argument(address, tmp_path):
    calls = make_calls(write_poses(tmp_path / "driver.npz"))
    refused = [
        ("poses", {"audio": write_speech(), "example": "nobody"}, "nobody"),
        ("poses", {"audio": write_speech(), "crop": "all of it"}, "The crop is all of it; left, top"),
        ("mask", {}, "There are no poses"),
        ("speak", {"audio": write_speech(), "model": "teacher", "steps": 101}, "1 to 100"),
    ]
    tools, answers = asyncio.run(use(address, calls + refused))
    found = {tool.name: tool for tool in tools}
    assert set(found) == TOOLS  # named as the endpoints; the page's own small events are no tools
    assert all(len(tool.description) > 60 for tool in tools)
    assert set(found["mask"].inputSchema["properties"]) == {"poses", "top_k", "method", "block"}
    for name, tool in found.items():
        assert tool.inputSchema.get("required", []) == (["audio"] if name in ("speak", "poses", "compare") else [])
        optional = set(tool.inputSchema["properties"]) - {"photo", "picture"}
        assert optional == set().union(*(asked for called, asked, _ in calls if called == name)), name
    for (name, asked, said), answer in zip(calls, answers, strict=False):
        text = " ".join(getattr(part, "text", "") for part in answer.content)
        assert not answer.isError and said in text, (name, sorted(asked), text[:300])
    for (name, _, said), answer in zip(refused, answers[len(calls) :], strict=True):
        assert answer.isError and said in answer.content[0].text, (name, answer.content)
    text = " ".join(getattr(part, "text", "") for part in answers[4].content)
    urllib.request.urlretrieve(re.search(r"http[^'\" ]+?\.npz", text)[0], tmp_path / "answer.npz")
    assert len(load_keypoints(tmp_path / "answer.npz")) == 15
