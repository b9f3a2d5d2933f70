"""200 malformed uploads: each is answered with one plain sentence; nothing crashes, hangs, leaks or is executed."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest
from malformed import SCRIPT, SECRET, make_uploads

gr = pytest.importorskip("gradio", reason="the demo is optional: pip install gradio")

import app  # noqa: E402
from iasa.config import InputError  # noqa: E402
from iasa.demo import service  # noqa: E402
from iasa.demo.motion_edits import read_poses  # noqa: E402
from iasa.media.reader import read_image  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
COUNT = 200
DOORS = {"speech": service.read_speech, "photo": read_image, "poses": read_poses, "video": read_poses}


def test_every_upload_is_refused_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kinds = Counter()
    for upload in make_uploads(tmp_path, COUNT):
        started = time.process_time()
        with pytest.raises(InputError) as raised:
            DOORS[upload.door](str(upload.path))
            raise AssertionError(f"{upload.kind} at {upload.door} was taken")
        said = str(raised.value)
        assert 10 < len(said) < 300 and "\n" not in said and SECRET not in said, (upload, said)
        assert "Traceback" not in said and str(tmp_path) not in said, (upload, said)
        assert time.process_time() - started < 5, upload
        kinds[upload.kind] += 1
    assert sum(kinds.values()) == COUNT and len(kinds) == 18
    assert not Path("unpickled").exists() and not Path("calert").exists()


def test_a_sample_through_the_served_page(tmp_path, monkeypatch):
    """As a program sends them: an error with the sentence, and the server goes on."""
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    (tmp_path / "made").mkdir()
    monkeypatch.setattr(service, "output_folder", lambda: tmp_path / "made")
    page = app.make_app()
    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False, share=False)
    try:
        client = Client(address, verbose=False)
        seen = set()
        for upload in make_uploads(tmp_path, 36, seed=5):
            if upload.door == "photo" or upload.kind in seen or not upload.path.stat().st_size:
                continue
            seen.add(upload.kind)
            with pytest.raises(AppError) as raised:
                if upload.door == "speech":
                    client.predict(audio=handle_file(upload.path), example="alba", api_name="/poses")
                elif upload.door == "poses":
                    client.predict(poses=handle_file(upload.path), top_k=2, method="mls", block=16, api_name="/mask")
                else:
                    client.predict(clip=handle_file(upload.path), record=False, api_name="/explore")
            said = str(raised.value)
            assert SECRET not in said and "Traceback" not in said and "<" not in said, (upload, said)
        assert len(seen) > 8
        with pytest.raises(AppError, match="list of choices"):  # text where a choice is meant
            good = tmp_path / "good.npz"
            from malformed import make_poses

            good.write_bytes(make_poses())
            client.predict(poses=handle_file(good), top_k=2, method=SCRIPT, block=16, api_name="/mask")
    finally:
        page.close()
    assert not list(tmp_path.rglob("unpickled"))
