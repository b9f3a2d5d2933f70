"""The page's own words, which the browser shows in its language or in the one that the page's address names."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import gradio as gr

from iasa.demo.translations import ADDRESS_NAMES, LANGUAGES, translate

translations = gr.I18n(**{language: {} for language in LANGUAGES})  # filled while the page is laid out

# In front of gradio's own script, which asks the browser for its language once.
CHOSEN = f"""<script>{{
  const given = new URLSearchParams(location.search), known = {json.dumps(list(LANGUAGES))};
  const lang = {json.dumps(ADDRESS_NAMES)}.map((name) => given.get(name)).find((asked) => known.includes(asked));
  if (lang) Object.defineProperty(navigator, "language", {{ get: () => lang }});
}}</script>"""
SWITCH = "\n".join(
    f'<a href="?lang={code}" lang="{code}" hreflang="{code}">{name}</a>' for code, name in LANGUAGES.items()
)
SWITCH_SCRIPT = (
    f"const [ours, ...others] = {json.dumps(ADDRESS_NAMES)};"
    + """
for (const link of element.querySelectorAll("a")) {
  if (link.lang === document.documentElement.lang.slice(0, 2)) link.setAttribute("aria-current", "true");
  link.addEventListener("click", (event) => {
    event.preventDefault();
    const here = new URL(location.href); // the rest of the address stays
    here.searchParams.set(ours, link.lang);
    for (const other of others) here.searchParams.delete(other);
    location.assign(here);
  });
}"""
)


def words(text: str | Callable[[str], str]) -> Any:  # I18nData, which some components take without saying so
    """An English text in the page's language, or a text that a function returns for a language's code."""
    key = "iasa " + (text if isinstance(text, str) else text.__name__)  # gradio has keys of its own, so ours are marked
    for language, known in translations.translations.items():
        known[key] = translate(text, language) if isinstance(text, str) else text(language)
    return translations(key)


def language_switch() -> gr.HTML:
    """Links to the page in each language; the address keeps the choice."""
    return gr.HTML(
        f'<nav aria-label="Language">{SWITCH}</nav>', js_on_load=SWITCH_SCRIPT, elem_id="language", show_label=False
    )


class ChosenLanguage:
    """The server's page begins with CHOSEN: with `?lang=` or `?__lang=` in its address the browser speaks that language."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:  # an ASGI application
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        is_page = scope["type"] == "http" and scope["path"] == "/" and scope["method"] == "GET"
        start: list[dict[str, Any]] = []  # waits for the body, which becomes longer

        async def begin_with_chosen(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                start.append(message)
                return
            if start:
                body = message.get("body", b"").replace(b"<head>", b"<head>" + CHOSEN.encode(), 1)
                first = start.pop()
                headers = [header for header in first["headers"] if header[0].lower() != b"content-length"]
                await send(first | {"headers": headers})
                message = message | {"body": body}
            await send(message)

        await self.app(scope, receive, begin_with_chosen if is_page else send)
