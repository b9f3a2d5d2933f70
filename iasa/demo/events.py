"""How the page uses gradio's events: quiet ones, buttons that stand for a choice, tools' names, files that stay unopened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

QUIET: dict[str, Any] = {"api_visibility": "private", "queue": False}


def answer(function: Callable, choice: str, of_clip: bool = False) -> Callable:
    """An event of a button that stands for one choice: gradio names it by its function and hands over the request."""

    def choose(request: gr.Request) -> Any:
        return function(choice, request)

    def choose_of_clip(made: Any, request: gr.Request) -> Any:
        return function(choice, made, request)

    return choose_of_clip if of_clip else choose


def hand_over_unopened(upload: Any) -> Any:
    """An upload that passes the file's path on: gradio would open a picture before `iasa.media.reader.read_image` can judge
    it, and refuse files by their names, which programs that send data have none for."""
    upload.preprocess = lambda payload: None if payload is None else payload.path
    return upload


def name_tool(function: Callable, name: str) -> Callable:
    """The name of an endpoint for the tool that agents see, which gradio calls by the function's."""
    function.__name__ = name
    return function
