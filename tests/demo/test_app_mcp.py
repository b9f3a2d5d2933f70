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
from iasa.avatar.speaker import speaker_names  # noqa: E402
from iasa.demo import service  # noqa: E402
from iasa.keypoints import load_keypoints  # noqa: E402
from iasa.paths import SPEECH  # noqa: E402
from iasa.speech import read_audio  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
TOOLS = {"speak", "poses", "compare", "explore", "mask"}
PATIENCE = timedelta(seconds=200)


@pytest.fixture
def address(tmp_path, monkeypatch):
    monkeypatch.setattr(service, "output_folder", lambda: tmp_path)
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


async def use(address: str) -> tuple[list, list]:
    """The tools, and the answers to a good and to a bad call."""
    async with streamablehttp_client(address) as (read, write, _), mcp.ClientSession(read, write) as session:
        await session.initialize()
        tools = (await session.list_tools()).tools
        name = next(tool.name for tool in tools if tool.name.endswith("poses"))
        asked = {"audio": write_speech(), "example": speaker_names()[0], "seed": 3}
        good = await session.call_tool(name, asked, PATIENCE)
        bad = await session.call_tool(name, asked | {"example": "nobody"}, PATIENCE)
        return tools, [good, bad]


def test_an_agent_lists_the_tools_and_calls_one(address, tmp_path):
    tools, (good, bad) = asyncio.run(use(address))
    found = {re.sub(r"^.*?(speak|poses|compare|explore|mask)$", r"\1", tool.name): tool for tool in tools}
    assert set(found) == TOOLS  # the page's own small events are no tools
    assert all(len(found[name].description) > 60 for name in TOOLS)
    assert set(found["mask"].inputSchema["properties"]) == {"poses", "top_k", "method", "block"}
    assert not good.isError, good.content
    link = next(re.search(r"http\S+?\.npz", part.text) for part in good.content if ".npz" in getattr(part, "text", ""))
    urllib.request.urlretrieve(link[0], tmp_path / "answer.npz")
    assert len(load_keypoints(tmp_path / "answer.npz")) == 15
    assert bad.isError and "nobody" in bad.content[0].text
