"""`iasa demo`: the same server as app.py."""

from __future__ import annotations

import signal
import socket

import pytest

gr = pytest.importorskip("gradio", reason="the demo is optional: pip install gradio")

import app  # noqa: E402
from iasa.cli.main import main  # noqa: E402
from iasa.demo import launch  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def small_page(monkeypatch, tmp_path):
    """A page of one line, and no networks."""

    def make() -> gr.Blocks:
        with gr.Blocks() as page:
            gr.Markdown("here")
        return page

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(launch, "make_app", make)
    monkeypatch.setattr(launch, "load_pipeline", lambda: None)
    monkeypatch.setattr(launch, "output_folder", lambda: tmp_path)
    yield
    signal.signal(signal.SIGTERM, before)


def test_the_command_serves_at_its_port(monkeypatch):
    """Until it is interrupted; a port that is taken is answered in a sentence."""
    assert app.main is launch.main
    served = []
    real = gr.Blocks.launch

    def launch_and_leave(page, **options):
        real(page, **options, quiet=True, prevent_thread_lock=True)
        served.append((page.local_url, options["mcp_server"]))
        raise KeyboardInterrupt

    monkeypatch.setattr(gr.Blocks, "launch", launch_and_leave)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    assert main(["demo", "--port", str(port)]) == 130
    assert served == [(f"http://127.0.0.1:{port}/", None)]


def test_a_port_that_is_taken_is_answered_in_a_sentence(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["demo", "--port", str(port)]) == 2
    assert f"the demo cannot be served at port {port}" in capsys.readouterr().err
    for wrong in ("0", "70000", "x"):
        with pytest.raises(SystemExit) as raised:
            main(["demo", "--port", wrong])
        assert raised.value.code == 2
