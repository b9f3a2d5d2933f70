"""What the explorer adds to the mask, run in node beside Python: computed tokens, who showed a patch first, challenges."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from test_explorer_math import NODE, Case, ask, decode, encode, random_poses, run_node

from iasa.config import MaskOptions
from iasa.explorer.constants import CHANGE_LEVELS
from iasa.grid import TokenGrid
from iasa.inference.layered_frames import REPAIRED
from iasa.keypoints import Keypoints, from_holistic
from iasa.masks import AttentionPlan, make_plan
from iasa.masks.computed import name_moving, name_regions

pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed; the explorer's arithmetic needs it")

OPEN = """
const given = JSON.parse(require("fs").readFileSync(0, "utf8"));
const bytes = (name) => (given[name] ? decode(given[name], Uint8Array) : null);
const poses = { frames: given.grid.frames, xy: decode(given.xy, Float32Array),
  confidence: decode(given.confidence, Float32Array), extent: extentOf(given.grid) };
const plan = makePlan(poses, given.grid, { ...DEFAULTS, ...given.options }, bytes("bits"));
const answer = (value) => process.stdout.write(JSON.stringify(value));
"""


def make_clip(seed: int, frames: int, rows: int, cols: int, **options) -> tuple[Keypoints, AttentionPlan]:
    poses = random_poses(np.random.default_rng([8, seed]), frames)
    return poses, make_plan(poses, TokenGrid(frames, rows, cols), MaskOptions(**options))


def ask_node(code: str, poses: Keypoints, plan: AttentionPlan, **more) -> list | dict:
    given = {
        "grid": asdict(plan.grid), "options": asdict(plan.options), "xy": encode(poses.xy, "<f4"),
        "confidence": encode(poses.confidence, "<f4"), "bits": encode(plan.region_bits.numpy(), "u1"),
    }  # fmt: skip
    return json.loads(run_node(OPEN + code, json.dumps(given | more)))


@pytest.mark.parametrize(("seed", "rows", "cols"), [(0, 16, 16), (1, 5, 9), (2, 1, 7), (3, 12, 1)])
def test_computed_tokens_are_those_of_inference(seed, rows, cols):
    rng, n = np.random.default_rng(seed), rows * cols
    poses, plan = make_clip(seed, 6, rows, cols)
    bits = plan.region_bits * (torch.arange(6) != 3)[:, None].to(torch.uint8)  # frame 3 is a picture of nobody
    plan = AttentionPlan(plan.grid, plan.frame_table, bits, None, plan.options)
    change = rng.uniform(0, 6, (6, n)) * (rng.random((6, n)) < 0.3)
    change[3] = np.linspace(0.5, 2.5, n)
    change[4, 0] = 3.0  # the threshold itself
    levels = np.floor(change * CHANGE_LEVELS).astype(np.uint8)
    code = """answer([bytes("change"), null].map((given) => {
      const { named, share } = nameComputed(plan, given);
      return [encode(named), share];
    }));"""
    moving, regions = ask_node(code, poses, plan, change=encode(levels, "u1"))
    wanted = [
        [name_moving(bits[t], torch.from_numpy(change[t]).view(rows, cols)).named.numpy() for t in range(1, 6)],
        [name_regions(bits[t], REPAIRED, rows, cols).named.numpy() for t in range(1, 6)],
    ]
    for (text, share), named in zip((moving, regions), wanted, strict=True):
        found = decode(text, "u1").reshape(6, rows, cols)
        assert found[0].all() and np.array_equal(found[1:] > 0, np.stack(named))
        assert share == pytest.approx(np.mean(named))


ORIGIN = """
const patches = bytes("patches");
const marks = given.marks ? { names: ["badge", "watch"], bits: bytes("marks") } : null;
answer(given.asked.map(([t, i]) => {
  const found = originOf(plan, t, i, patches && { patches }, marks);
  return { ...found, lit: Array.from(found.lit), shares: found.shares && Array.from(found.shares) };
}));
"""


def test_who_showed_it_first():
    """By exact masks where the patch shows a detail, else by recorded attention; without either by regions."""
    rng, frames, n = np.random.default_rng(5), 9, 36
    poses, plan = make_clip(9, frames, 6, 6, top_k=2)
    marks = (rng.random((frames, n)) < 0.08).astype(np.uint8) | 2 * (rng.random((frames, n)) < 0.05).astype(np.uint8)
    shares = np.tril(rng.random((n, frames, frames))).swapaxes(0, 1) ** 3
    q, k = np.tril_indices(frames)
    roots = np.round(np.sqrt(shares[q, :, k]) * 255).astype(np.uint8)
    kept = np.zeros_like(shares)
    kept[q, :, k] = (roots / 255) ** 2
    asked = [(int(t), int(i)) for t, i in zip(rng.integers(0, frames, 60), rng.integers(0, n, 60), strict=True)]
    asked += [(t, int(marks[t].argmax())) for t in range(1, frames)]
    allowed = plan.dense().view(frames, n, frames, n).numpy()
    given = {"patches": encode(roots, "u1"), "marks": encode(marks, "u1")}
    detail, attention, region = (
        ask_node(ORIGIN, poses, plan, asked=asked, **{name: given[name] for name in names})
        for names in (("patches", "marks"), ("patches",), ())
    )
    kinds = {answer["kind"] for answer in detail}
    assert kinds == {"detail", "attention", "none"}
    for (t, i), by_detail, by_attention, by_region in zip(asked, detail, attention, region, strict=True):
        if t == 0:
            assert {answer["kind"] for answer in (by_detail, by_attention, by_region)} == {"none"}
            continue
        seen = [s for s in range(t) if allowed[t, i, s].any()]
        most = max(kept[t, i, s] for s in seen)
        strong = [s for s in seen if kept[t, i, s] > 0 and kept[t, i, s] >= 0.5 * most]
        assert by_attention["first"] == next(iter(strong), -1) and by_attention["shown"] == strong
        np.testing.assert_allclose(by_attention["shares"], kept[t, i, : t + 1], atol=1e-9)
        bits = plan.region_bits.numpy()
        alike = (bits & bits[t, i]) != 0 if bits[t, i] else bits == 0
        first = next((s for s in seen if (allowed[t, i, s] & alike[s]).any()), -1)
        assert by_region["kind"] == "region" and by_region["first"] == first
        if not marks[t, i]:
            assert by_detail == by_attention
            continue
        assert by_detail["kind"] == "detail"
        shows = (marks & (marks[t, i] & -marks[t, i].astype(np.int8)).astype(np.uint8)) > 0
        assert by_detail["shown"] == [s for s in range(t) if shows[s].any()]
        first = next((s for s in range(t) if (allowed[t, i, s] & shows[s]).any()), -1)
        assert by_detail["first"] == first
        wanted = (allowed[t, i, first] & shows[first]) if first >= 0 else np.zeros(n)
        assert by_detail["lit"] == wanted.astype(int).tolist()


CHALLENGE = """
const floats = (name) => decode(given[name], Float32Array);
const record = { layers: 2, heads: 1, signatures: Array.from({ length: 32 }, (_, s) => s), bits: bytes("bits"),
  mass: floats("mass"), meets: floats("meets") };
const mean = meanRecord(record), most = { top_k: 3, window: 2 };
const search = searchFewest(poses, given.grid, plan.options, bytes("bits"), plan.distance, mean, given.wanted, most);
let step = search.next(), steps = 0;
while (!step.done) { step = search.next(); steps += 1; }
answer({ oracle: oracleMass(plan, mean), kept: pastMass(plan, mean), pairs: pastPairs(plan, plan.counts), steps,
  best: step.value });
"""


def test_the_fewest_blocks_are_found_among_all_settings():
    """Against every plan of the controls; and the oracle keeps no less than any of them does with as many pairs."""
    rng, frames = np.random.default_rng(6), 7
    poses, plan = make_clip(4, frames, 5, 5, top_k=2, window=1, block=4)
    bits, n = plan.region_bits.numpy(), 25
    meets = np.zeros((2, frames, frames, 32))
    for q in range(frames):
        for k in range(q + 1):
            common = np.unique(bits[q][:, None] & bits[k])
            meets[:, q, k, common] = rng.random((2, len(common))) ** 4
    q, k = np.tril_indices(frames)
    mean = meets.mean(0)

    tables = {
        key: make_plan(poses, plan.grid, MaskOptions(top_k=key[0], window=key[1])).frame_table
        for key in np.ndindex(4, 3)
    }

    def judge(top_k: int, window: int, regions: int) -> tuple[float, float, float]:
        """Mass, pairs in blocks, pairs."""
        some = AttentionPlan(plan.grid, tables[top_k, window], plan.region_bits & regions, None, plan.options)
        whole = sum(len(frames) for frames in some.whole) * n * n
        mass = sum(mean[t, s, (np.arange(32) & regions) > 0].sum() for t, past in enumerate(some.past) for s in past)
        every = (frames * n) ** 2
        return mass, some.block_csr().density() * every - whole, some.density() * every - whole

    table = {key: judge(*key) for key in np.ndindex(4, 3, 32) if key[2]}
    wanted = 0.5 * table[2, 1, 31][0]
    given = {"mass": encode(meets.sum(-1)[:, q, k], "<f4"), "meets": encode(meets[:, q, k], "<f4"), "wanted": wanted}
    found = ask_node(CHALLENGE, poses, plan, **given)
    best = found["best"]
    fewest = min(blocks for mass, blocks, _ in table.values() if mass >= wanted)
    mass, blocks, _ = table[best["top_k"], best["window"], best["regions"]]
    assert found["steps"] == 31 and blocks == pytest.approx(fewest) == pytest.approx(best["blocks"])
    assert mass == pytest.approx(best["mass"], rel=1e-5) and mass >= wanted
    assert found["kept"] == pytest.approx(table[2, 1, 31][0], rel=1e-5)
    assert found["pairs"] == pytest.approx(table[2, 1, 31][2])
    for mass, _, pairs in table.values():
        if pairs <= found["pairs"]:
            assert mass <= found["oracle"] + 1e-6


HANDS = """
const task = handsTask(plan, plan.grid.frames - 1);
const with_ = (options) => makePlan(poses, given.grid, { ...plan.options, ...options }, bytes("bits"), plan.distance);
answer([task, handsMeet(plan, task), handsMeet(with_({ window: 8 }), task), handsMeet(with_({ window: 8, regions: 1 }), task),
  handsMeet(with_({ top_k: 99, regions: 2 }), task), scoreOf(50, 200), scoreOf(200, 50), scoreOf(0, 0)]);
"""


def test_hands_see_hands_eight_frames_back():
    poses, plan = make_clip(2, 16, 8, 8, top_k=1)
    task, now, window, without_hands, many, *scores = ask_node(HANDS, poses, plan)
    shown = (plan.region_bits & 2).any(1).tolist()
    wanted = [t for t in range(9, 16) if shown[t] and shown[t - 8] and t - 8 not in plan.past[t]]
    assert [task["t"], task["s"]] == [wanted[-1], wanted[-1] - 8]
    nearest = make_plan(poses, plan.grid, MaskOptions(top_k=1, window=0)).frame_table[:, 0].tolist()
    nearest[task["t"]] = task["s"]
    hands = ((plan.region_bits & 2) > 0).sum(1)
    assert task["pairs"] == sum(int(hands[t] * hands[s]) for t, s in enumerate(nearest) if s >= 0)
    assert [now, window, without_hands, many] == [False, True, False, True]
    assert scores == [25, 100, 100]


HOLISTIC_JS = """
const points = readHolistic(given.found, given.width, given.height);
const unseen = points.map(([x, y]) => [x, y, 0]);
answer([points, fitToShoulders(points, [0.7, 0.6], [0.4, 0.5]), fitToShoulders(unseen, [0, 0], [1, 1])]);
"""


def test_a_cameras_pose_is_read_as_python_reads_holistic():
    """Landmark by landmark; then the shoulders are the speaker's."""
    rng = np.random.default_rng(8)
    poses, plan = make_clip(1, 2, 4, 4)
    face, pose, left = rng.random((1, 478, 2)), rng.random((1, 33, 2)), rng.random((1, 21, 2))
    visibility = rng.uniform(0.5, 1, (1, 33))
    named = [[{"x": x, "y": y} for x, y in part[0]] for part in (face, pose, left)]
    for point, sure in zip(named[1], visibility[0], strict=True):
        point["visibility"] = sure
    found = {"faceLandmarks": [named[0]], "poseLandmarks": [named[1]], "leftHandLandmarks": [named[2]],
             "rightHandLandmarks": []}  # fmt: skip
    points, fitted, unseen = ask_node(HOLISTIC_JS, poses, plan, found=found, width=640, height=480)
    scale = [640 / 480, 1]
    wanted = from_holistic(face * scale, pose * scale, left * scale, None, 1.0, visibility, 1.0)
    seen = wanted.confidence[0] > 0
    points, fitted = np.array(points), np.array(fitted)
    np.testing.assert_allclose(points[:, 2], wanted.confidence[0], atol=1e-6)
    np.testing.assert_allclose(points[seen, :2], wanted.xy[0, seen], atol=1e-6)
    assert seen.sum() == 133 - 21 and unseen is None
    middle, width = (fitted[5] + fitted[6])[:2] / 2, np.linalg.norm((fitted[5] - fitted[6])[:2])
    np.testing.assert_allclose(middle, [0.55, 0.55])
    assert width == pytest.approx(np.hypot(0.3, 0.1))
    turned = (fitted[:, :2] - middle) / width
    before = (points[:, :2] - points[5:7, :2].mean(0)) / np.linalg.norm(points[5, :2] - points[6, :2])
    np.testing.assert_allclose(turned[seen], before[seen], atol=1e-9)


def test_sentences_of_frames_that_are_seen_whole():
    """Of a plan as video models have them: two references, chunks of three, whole neighbours on both sides."""
    options = MaskOptions(top_k=1, window=1, references=2, chunk=3, causal=False, whole_window=True)
    poses = random_poses(np.random.default_rng(3), 12)
    plan = make_plan(poses, TokenGrid(12, 4, 6, 1.5), options)
    chunk, reference, window, between = ask(
        [Case(poses, plan, [], {})], [(6, 0, 5, 0), (6, 0, 1, 3), (6, 0, 8, 0), (1, 0, 0, 0)]
    )[0]["sentences"]
    assert chunk == "Visible: frames 6 and 5 are one chunk, made together, and see each other whole."
    assert reference == "Visible: frame 1 is one of 2 references, which every frame sees whole."
    assert window == "Visible: frame 8 lies in the window next to frame 6, which is seen whole."
    assert between == "Visible: frame 0 is one of 2 references, which every frame sees whole."
