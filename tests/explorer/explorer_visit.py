"""The explorer's page with a visitor on it, and the clip that most tests show on it."""

from __future__ import annotations

import base64

import numpy as np
from test_explorer_math import random_poses

from iasa.explorer import LearnedAttention
from iasa.keypoints import Keypoints

FRAMES, ROWS, COLS = 21, 32, 32
LAYERS, HEADS = 2, 3
EVIL = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>&\u2028"


def make_poses(frames: int = FRAMES) -> Keypoints:
    poses = random_poses(np.random.default_rng(11), frames)
    return Keypoints(poses.xy, np.maximum(poses.confidence, 0.3))


def make_attention(frames: int, seed: int = 0) -> LearnedAttention:
    rng = np.random.default_rng(seed)
    mass = np.tril(rng.random((LAYERS, HEADS, frames, frames)))
    mass /= mass.sum(-1, keepdims=True)
    parts, meets = rng.random((*mass.shape, 6)), rng.random((*mass.shape, 32))
    meets *= mass[..., None] / meets.sum(-1, keepdims=True)
    parts /= parts.sum(-1, keepdims=True)
    patches = np.tril(rng.random((ROWS * COLS, frames, frames))).swapaxes(0, 1)
    patches /= patches.sum(-1, keepdims=True)
    return LearnedAttention(mass.astype(np.float32), meets.astype(np.float32), parts, patches, EVIL)


class Visit:
    """A page with what went wrong in it and what it asked for."""

    def __init__(self, browser, address: str, **context) -> None:
        self.context = browser.new_context(**({"viewport": {"width": 1440, "height": 900}} | context))
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address)

    def at(self, t: int, i: int) -> tuple[float, float]:
        return tuple(self.page.evaluate(f"iasaExplorer.whereIs({t}, {i})"))

    def hover(self, t: int, i: int) -> None:
        self.page.mouse.move(*self.at(t, i))

    def click(self, t: int, i: int) -> None:
        self.page.mouse.click(*self.at(t, i))

    def row(self) -> np.ndarray:
        """Reasons of the query's row of the mask."""
        text = "(({ rowReasons, plan, state, encode }) => encode(rowReasons(plan(), state.query.t, state.query.i)))(iasaExplorer)"
        return np.frombuffer(base64.b64decode(self.page.evaluate(text)), "u1")

    def until(self, expression: str) -> None:
        """Wait until it holds (the page's policy forbids Playwright's own way of waiting)."""
        for _ in range(200):
            if self.page.evaluate(expression):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never came true: {expression}")

    @property
    def sentence(self) -> str:
        return self.page.inner_text("#sentence")

    def figure(self, number: int) -> str:
        return self.page.inner_text(f"#figure-{number}")


def percent(share: float) -> str:
    return f"{100 * share:.{2 if share < 0.0995 else 1}f}%"
