"""The explorer as a lab in a real browser: challenges, guessing, a camera's pose, plans of video models and of files."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from browser import open_another, take_screenshot
from explorer_visit import COLS, FRAMES, ROWS, make_poses, percent

from iasa.cli.main import main
from iasa.config import MaskOptions
from iasa.explorer import explorer_html
from iasa.explorer.constants import CAMERA
from iasa.grid import TokenGrid
from iasa.masks import AttentionPlan, make_plan


def test_the_lab_scores_challenges_and_guesses(visit, plan):
    there, n = visit(), ROWS * COLS
    there.page.click("#tab-lab")
    there.page.click("#fewest-answer")
    there.until("document.getElementById('fewest-best').textContent.startsWith('Perfect: K ')")
    perfect = re.match(r"Perfect: K (\d+), window (\d+), (.*) alone: ", there.page.inner_text("#fewest-best"))
    there.page.fill("#option-top_k", perfect[1])
    there.page.fill("#option-window", perfect[2])
    for name in ("Face", "Hands", "Arms", "Body", "Shoulders"):
        if name.lower() not in perfect[3]:
            there.page.get_by_label(name, exact=True).uncheck(force=True)
    assert there.page.inner_text("#fewest-score").endswith("Score 100 of 100.")
    there.page.click("#reset")
    assert there.page.inner_text("#hands-score").startswith("Not yet") or "Reached" in there.page.inner_text(
        "#hands-score"
    )
    there.page.click("#hands-frame")
    t, s = map(int, re.findall(r"frame (\d+)", there.page.inner_text("#hands-task")))
    assert t - s == 8 and there.page.evaluate("iasaExplorer.state.query.t") == t
    there.page.fill("#option-top_k", "16")
    score = re.search(
        r"Reached, with [\d,]+ pairs of past frames. Score (\d+) of 100", there.page.inner_text("#hands-score")
    )
    assert 0 < int(score[1]) < 100
    there.page.click("#reset")
    # a guess: nothing is given away before, then one right stroke and one wrong
    there.hover(15, int(((plan.region_bits[15] & 2) != 0).nonzero()[0]))
    there.page.click("#guess-start")
    query = there.page.evaluate("iasaExplorer.state.query")
    allowed = plan.allowed(query["t"] * n + query["i"], torch.arange(plan.grid.tokens)).view(FRAMES, n).numpy()
    past = [s for s in plan.past[query["t"]] if allowed[s].any()]
    hidden = next(s for s in range(1, query["t"]) if s not in plan.past[query["t"]])
    there.hover(past[0], 3)
    assert there.sentence.startswith("Guess: ")
    marks = np.zeros((FRAMES, n), bool)
    for s, i in ((past[0], int(allowed[past[0]].argmax())), (hidden, 5 * COLS + 5)):
        there.click(s, i)
        row, col = divmod(i, COLS)
        near = np.zeros((ROWS, COLS), bool)
        near[max(0, row - 1) : row + 2, max(0, col - 1) : col + 2] = True
        marks[s] |= near.ravel()
    assert f" {marks.sum()} marked" in there.page.inner_text("#guess-score")
    there.page.click("#guess-show")
    needed = np.isin(np.arange(FRAMES), past)[:, None] & allowed
    right, wrong, missed = (marks & needed).sum(), (marks & ~needed).sum(), (needed & ~marks).sum()
    share = percent(right / (right + wrong + missed))
    assert right > 0 and there.sentence.startswith(f"Score {share}: {right} right (green), {missed:,} missed")
    take_screenshot(there.page, "explorer_guess")
    there.page.click("#guess-end")
    assert "sees" in there.sentence


LANDMARKS = """export const FilesetResolver = { forVisionTasks: async () => ({}) };
const points = (count, place) => [Array.from({ length: count }, (_, i) => ({ ...place(i), visibility: 1 }))];
export const HolisticLandmarker = { createFromOptions: async () => ({ detectForVideo: () => ({
  faceLandmarks: [], leftHandLandmarks: [], rightHandLandmarks: [],
  poseLandmarks: points(33, (i) => ({ x: 0.3 + 0.01 * i, y: i === 15 || i === 16 ? 0.1 : 0.5 })) }) }) };"""


def test_a_camera_is_asked_for_and_loaded_on_request_alone(browser, plan, poses, tmp_path):
    """With mediapipe's place taken by a few landmarks; without `webcam` the page's policy lets nothing in."""
    (tmp_path / "page.html").write_text(explorer_html(plan, poses, webcam=True), encoding="utf-8")
    assert "https:" not in re.search('Policy" content="([^"]*)"', explorer_html(plan, poses))[1]
    arguments = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with open_another(browser, *arguments) as other:
        page = other.new_context(permissions=["camera"]).new_page()
        asked, errors = [], []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.route(re.compile("^https:"), lambda route: (asked.append(route.request.url), route.fulfill(
            body=LANDMARKS, content_type="text/javascript", headers={"access-control-allow-origin": "*"})))  # fmt: skip
        page.goto((tmp_path / "page.html").as_uri())
        page.click("#tab-lab")
        assert "never sent" in page.inner_text("#camera-task") and not asked
        before = page.evaluate("Array.from(iasaExplorer.poses.xy)")
        page.click("#camera-start")
        page.locator("#camera-score", has_text="Your pose").wait_for()
        assert asked == [f"{CAMERA['library']}/vision_bundle.mjs"] and not errors
        t = page.evaluate("iasaExplorer.state.query.t")
        after = np.array(page.evaluate("Array.from(iasaExplorer.poses.xy)")).reshape(FRAMES, 133, 2)
        old = np.array(before).reshape(FRAMES, 133, 2)
        assert np.array_equal(np.delete(after, t, 0), np.delete(old, t, 0))
        np.testing.assert_allclose(after[t, 5] + after[t, 6], old[t, 5] + old[t, 6], atol=1e-5)  # the shoulders' middle
        assert after[t, 9, 1] < after[t, 5, 1] and page.evaluate(f"iasaExplorer.poses.confidence[{133 * t + 100}]") == 0
        page.click("#camera-stop")
        page.click("#reset-pose")
        assert page.evaluate("Array.from(iasaExplorer.poses.xy)") == before


VIDEO = MaskOptions(top_k=2, window=1, references=2, chunk=3, causal=False, whole_window=True, block=128)


@pytest.mark.parametrize(
    ("aspect", "options"),
    [(832 / 480, VIDEO), (480 / 832, MaskOptions(references=3, chunk=4, block=128))],
)
def test_plans_of_video_models(visit, tmp_path, aspect, options):
    """Chunks, several references, both directions, pictures that are wide or tall: drawn, explained, loaded beside."""
    poses, wide = make_poses(13), aspect > 1
    grid = TokenGrid(13, 8 if wide else 12, 12 if wide else 8, aspect)
    plan = make_plan(poses, grid, options)
    pictures = np.random.default_rng(0).integers(0, 255, (13, 30, 40, 3), np.uint8)
    (tmp_path / "page.html").write_text(explorer_html(plan, poses, pictures, title="video"), encoding="utf-8")
    there = visit(address=(tmp_path / "page.html").as_uri())
    assert there.figure(0) == percent(plan.density())
    box = there.page.locator("#frame").bounding_box()
    assert box["width"] / box["height"] == pytest.approx(aspect, rel=0.03)
    corners = there.at(7, grid.cols - 1), there.at(7, (grid.rows - 1) * grid.cols)
    (right, left), (top, bottom) = zip(*corners, strict=True)
    sides = (right - left) * grid.cols / (grid.cols - 1), (bottom - top) * grid.rows / (grid.rows - 1)
    assert sides[0] / sides[1] == pytest.approx(aspect, rel=0.03)  # and in the film strip
    for t, i in ((7, 9), (12, 40), (1, 3)):
        there.hover(t, i)
        assert there.page.evaluate("[iasaExplorer.state.query.t, iasaExplorer.state.query.i]") == [t, i]
        allowed = plan.allowed(t * grid.tokens_per_frame + i, torch.arange(grid.tokens)).numpy()
        assert np.array_equal(there.row() > 0, allowed)
    there.click(7, 9)
    there.hover(0, 3)
    assert (f"one of {options.references} references" if options.references > 1 else "the sink") in there.sentence
    there.page.click("#tab-compare")
    other = make_plan(poses, grid, replace(options, chunk=1, references=1))
    (tmp_path / "other.json").write_text(other.to_json())
    there.page.set_input_files("#second-file", tmp_path / "other.json")
    there.until(f"document.getElementById('numbers').innerText.includes('{percent(other.density())}')")
    take_screenshot(there.page, f"explorer_video_{aspect:.2f}")


def test_a_plan_from_a_file_is_shown_as_it_is(visit, tmp_path, capsys):
    """Without poses: frames and regions are the file's, whatever poses would have chosen, until a control changes them."""
    rng, grid = np.random.default_rng(2), TokenGrid(9, 6, 10, 832 / 480)
    made = make_plan(make_poses(9), grid, VIDEO)
    table = torch.tensor([[-1, -1]] * 2 + [[int(t) for t in rng.permutation(range(2, 9))[:2]] for _ in range(7)])
    plan = AttentionPlan(grid, table, made.region_bits, made.distance, VIDEO)
    (tmp_path / "plan.json").write_text(plan.to_json())
    words = ["mask", "--plan", str(tmp_path / "plan.json"), "--out", str(tmp_path / "page.html")]
    assert main([*words, "--top-k", "3"]) == 2 and "leave --top-k out" in capsys.readouterr().err
    assert main(words) == 0
    there = visit(address=(tmp_path / "page.html").as_uri())
    assert there.figure(0) == percent(plan.density())
    for t, i in ((7, 9), (3, 40), (8, 25)):
        there.hover(t, i)
        allowed = plan.allowed(t * 60 + i, torch.arange(grid.tokens)).numpy()
        assert np.array_equal(there.row() > 0, allowed)
    assert there.page.is_disabled("input[name=option-align]") and there.page.is_disabled("input[name=option-method]")
    there.page.fill("#option-top_k", "1")
    assert there.figure(0) == percent(make_plan(make_poses(9), grid, replace(VIDEO, top_k=1)).density())
    there.page.click("#reset")
    assert there.figure(0) == percent(plan.density())
    take_screenshot(there.page, "explorer_plan")
