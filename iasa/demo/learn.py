"""The Learn tab's texts: what the method does and what it must not be used for, measured figures, a program's way in."""

from __future__ import annotations

import os
from pathlib import Path

from iasa.avatar.speaker import speaker_names
from iasa.config import MODELS, Sentence
from iasa.demo.measured import quality_table, say_device
from iasa.demo.translations import translate
from iasa.models.checkpoint import read_card
from iasa.paths import CHECKOUT, PEOPLE_WEIGHTS, WEIGHTS

LICENCE = "https://www.apache.org/licenses/LICENSE-2.0"
CLIENT = """from gradio_client import Client, handle_file

client = Client("{address}")
video, figures, poses = client.predict(
    audio=handle_file("speech.mp3"), kind="Example speaker", example="{name}", model="student", steps=1, seed=0,
    api_name="/speak",
)
client.view_api()  # all endpoints: /speak, /poses, /compare, /explore, /mask"""


def about(language: str = "en") -> str:
    """What this is, how it works, its limits, and what it must not be used for."""
    return (Path(__file__).parent / f"learn_{language}.md").read_text(encoding="utf-8").strip()


def about_measured(language: str = "en") -> str:
    return f"### {translate('Measured', language)}\n{quality_table(language=language)}"


def about_weights(language: str = "en") -> str:
    """What the shipped networks were trained on, from their cards."""
    lines = []
    titles = {WEIGHTS / name: name for name in ("autoencoder", *reversed(MODELS))}
    titles |= {PEOPLE_WEIGHTS / "autoencoder": "decoder for photos", PEOPLE_WEIGHTS / "student": "student for photos"}
    for folder, name in titles.items():
        if (folder / "card.json").exists():
            card = read_card(folder)
            text = translate(
                "{steps} steps in {hours:.1f} h on {device}; data: {data}",
                language,
                steps=card["steps"],
                hours=card["seconds"] / 3600,
                device=say_device(card["device"], language),
                data=Sentence(card["data"]),
            )
            lines.append(f"- **{translate(name, language)}**: {text}")
    return f"### {translate('What was trained', language)}\n" + "\n".join(lines) if lines else ""


def repository() -> str:
    """Where the files of this version can be read: the Space's, those of a named repository on GitHub, or "" for nowhere."""
    space, named = os.environ.get("SPACE_ID"), os.environ.get("IASA_REPOSITORY")
    if space:
        return f"https://huggingface.co/spaces/{space}"
    return f"https://github.com/{named}" if named else ""


def links(language: str = "en") -> str:
    """Code, notebooks and licence, linked where it is known where they are."""
    base = repository()
    places = (("Code", "iasa"), ("Notebooks", "notebooks"))
    parts = [f"[{name}]({base}/tree/main/{folder})" if base else f"{name}: `{folder}/`" for name, folder in places]
    return " · ".join([*parts, f"[{translate('Licence', language)}: Apache 2.0]({LICENCE})"])


def title(language: str = "en") -> str:
    """The page's head: what it is, whose method, and where the rest lies."""
    text = (
        "# Speech in, talking speaker out\nAn open implementation of [*Input-Aware Sparse Attention for Real-Time "
        "Co-Speech Video Generation*](https://arxiv.org/abs/2510.02617) (Lu, Chen, Xiao, Zhu; SIGGRAPH Asia 2025) on an "
        "ordinary processor. {links}\n\nThe speakers are drawn, or a photograph is carried by its pose. Every video is "
        "AI-generated and marked so."
    )
    return translate(text, language, links=links(language))


def about_notebooks(language: str = "en") -> str:
    """The course's notebooks, linked where it is known where they are."""
    base = repository()
    names = sorted(path.name for path in (CHECKOUT / "notebooks").glob("*.ipynb"))
    where = f"{base}/blob/main/notebooks/" if base else None
    lines = [f"- [{name}]({where}{name})" if where else f"- `notebooks/{name}`" for name in names]
    return f"### {translate('Notebooks', language)}\n" + "\n".join(lines) if lines else ""


def about_programs(language: str = "en") -> str:
    text = "`pip install gradio_client`; started with `python app.py --mcp`, the same are MCP tools."
    return f"### {translate('From a program', language)}\n{translate(text, language)}"


def client_code() -> str:
    """Python that calls this demo."""
    address = os.environ.get("SPACE_ID") or "http://127.0.0.1:7860"
    return CLIENT.format(address=address, name=(speaker_names() or ["alba"])[0])
