"""The demo's endpoints as MCP tools, through an MCP client over HTTP, as an agent uses them."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from datetime import timedelta

import pytest

pytest.importorskip("gradio", reason="the demo is optional: pip install gradio")
mcp = pytest.importorskip("mcp", reason='MCP tools are optional: pip install "gradio[mcp]"')

from mcp.client.streamable_http import streamablehttp_client  # noqa: E402

import app  # noqa: E402
from iasa.demo import service  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
POSES = service.ROOT / "examples" / "poses" / "welcome.npz"
TOOLS = {"speak", "poses", "compare", "explore", "mask"}


@pytest.fixture
def address(tmp_path, monkeypatch):
    monkeypatch.setattr(service, "output_folder", lambda: tmp_path)
    page = app.make_app()
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, share=False, **app.launch_options(tools=True))
    yield f"{url}gradio_api/mcp/"
    page.close()


async def use(address: str) -> tuple[list, list]:
    """The tools, and the answers to a good and to a bad call."""
    async with streamablehttp_client(address) as (read, write, _), mcp.ClientSession(read, write) as session:
        await session.initialize()
        tools = (await session.list_tools()).tools
        name = next(tool.name for tool in tools if tool.name.endswith("mask"))
        data = "data:application/octet-stream;base64," + base64.b64encode(POSES.read_bytes()).decode()
        asked = {"poses": data, "top_k": 2, "method": "hull", "block": 16}
        patience = timedelta(seconds=200)
        good = await session.call_tool(name, asked, patience)
        bad = await session.call_tool(name, asked | {"poses": None}, patience)
        return tools, [good, bad]


def test_an_agent_lists_the_tools_and_calls_one(address):
    tools, (good, bad) = asyncio.run(use(address))
    found = {re.sub(r"^.*?(speak|poses|compare|explore|mask)$", r"\1", tool.name): tool for tool in tools}
    assert TOOLS <= set(found) and not [tool.name for tool in tools if re.search("live|listen|stop|restore|estimate", tool.name)]
    assert all(len(found[name].description) > 60 for name in TOOLS)
    assert set(found["mask"].inputSchema["properties"]) == {"poses", "top_k", "method", "block"}
    texts = [part.text for part in good.content if part.type == "text"]
    assert not good.isError and any('"token_density"' in text or "token_density" in json.dumps(text) for text in texts), good
    assert any(part.type == "image" for part in good.content)
    assert bad.isError and "there are no poses" in bad.content[0].text
