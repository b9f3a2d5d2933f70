"""The explorer's arithmetic, run in node, beside the Python masks that it mirrors, on random poses and options."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from iasa import keypoints as layout
from iasa.config import MaskOptions
from iasa.explorer import constants
from iasa.explorer.constants import mask_rule
from iasa.explorer.page import MODULES, explorer_html, join_modules
from iasa.grid import TokenGrid
from iasa.keypoints import COUNT, FACE, LEFT_HAND, REGIONS, RIGHT_HAND, UPPER_BODY, Keypoints, scale_keypoints
from iasa.masks import AttentionPlan, make_plan, region_bits, regions, rigid_distance
from iasa.masks.visibility import chunk_bounds

NODE = shutil.which("node")
ARITHMETIC = MODULES[: MODULES.index("plan_text") + 1]  # the modules that draw nothing
PLANS = 200
NEAR = 1e-5  # image units: a token this near a region's edge may fall on either side in float32

pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed; the explorer's arithmetic needs it")

DRIVER = """
const cases = JSON.parse(require("fs").readFileSync(0, "utf8"));
const answers = cases.map((given) => {
  const poses = { frames: given.grid.frames, xy: decode(given.xy, Float32Array),
    confidence: decode(given.confidence, Float32Array), extent: extentOf(given.grid) };
  const options = { ...DEFAULTS, ...given.options }, n = given.grid.rows * given.grid.cols;
  const closest = new Float64Array(given.grid.frames * n).fill(Infinity);
  const bits = regionBits(poses, given.grid, options.method, closest);
  const used = given.bits ? decode(given.bits, Uint8Array) : bits;
  const plan = makePlan(poses, given.grid, options, used);
  const other = makePlan(poses, given.grid, { ...options, ...given.other }, used, plan.distance);
  const rows = given.queries.map(([t, i]) => encode(rowReasons(plan, t, i)));
  return { distance: encode(plan.distance), table: plan.table, bits: encode(bits), closest: encode(closest),
    order: encode(plan.order), measured: measure(plan, { width: 320, layers: 8, mlp_ratio: 3 }), rows,
    json: toJson(plan), settings: readSettings(writeSettings(options), DEFAULTS), options,
    compared: comparePlans(plan, other), sentences: given.asked.map((q) => explain(plan, ...q)),
    keys: given.queries.map(([t]) => Array.from(keysByReason(plan, t))) };
});
process.stdout.write(JSON.stringify(answers));
"""


@dataclass
class Case:
    """What one call is given, and what Python makes of it."""

    keypoints: Keypoints
    plan: AttentionPlan
    queries: list[tuple[int, int]]
    switches: dict  # the explorer's own options


def random_poses(rng: np.random.Generator, frames: int) -> Keypoints:
    """A crude person who sways, turns and gestures; some points, hands and shoulders are missing at times."""
    body = rng.normal(0, 0.04, (COUNT, 2))
    for index, place in {
        0: (0.5, 0.3), 1: (0.53, 0.28), 2: (0.47, 0.28), 3: (0.57, 0.3), 4: (0.43, 0.3), 5: (0.65, 0.55), 6: (0.35, 0.55),
        7: (0.72, 0.75), 8: (0.28, 0.75), 9: (0.6, 0.85), 10: (0.4, 0.85), 11: (0.6, 0.98), 12: (0.4, 0.98),
    }.items():  # fmt: skip
        body[index] += place
    body[FACE] += (0.5, 0.3)
    body[LEFT_HAND] += (0.6, 0.87)
    body[RIGHT_HAND] += (0.4, 0.87)
    angle = rng.normal(0, 0.15, frames)
    turn = np.stack([np.stack([np.cos(angle), -np.sin(angle)], -1), np.stack([np.sin(angle), np.cos(angle)], -1)], 1)
    moved = np.einsum("fij,pj->fpi", turn, body - 0.5) + 0.5 + rng.normal(0, 0.05, (frames, 1, 2))
    for hand in (LEFT_HAND, RIGHT_HAND):
        moved[:, hand] += rng.normal(0, 0.15, (frames, 1, 2))
    moved += rng.normal(0, 0.01, moved.shape)
    confidence = rng.uniform(0.3, 1, (frames, COUNT))
    confidence[rng.random((frames, COUNT)) < 0.05] = 0
    for hand in (LEFT_HAND, RIGHT_HAND):
        confidence[rng.random(frames) < 0.2, hand] = 0
    confidence[:, 11:13] *= rng.random() < 0.5
    confidence[rng.random(frames) < 0.05] = 0
    confidence[-1, 0] = max(confidence[-1, 0], 0.5)  # a clip without any keypoint is refused
    if frames > 3 and rng.random() < 0.3:  # a pose that is held: a tie of distances
        moved[2], confidence[2] = moved[1], confidence[1]
    if frames > 3 and rng.random() < 0.3:  # a shoulder that shows later
        confidence[:2, 5] = 0
    return Keypoints(moved, confidence)


def make_case(seed: int) -> Case:
    rng = np.random.default_rng([6, seed])
    frames = int(rng.integers(1, 12))
    rows, cols = (32, 32) if seed < 2 else rng.integers(1, 21, 2).tolist()
    options = MaskOptions(
        top_k=int(rng.integers(0, 7)), window=int(rng.integers(0, 4)), sink=bool(rng.random() < 0.6),
        local=bool(rng.random() < 0.9), method=str(rng.choice(regions.METHODS)), block=int(rng.choice([1, 16, 32, 64, 128])),
        mode=str(rng.choice(["exact", "pooled"])), reach=int(rng.choice([125, 3])),
    )  # fmt: skip
    keypoints = random_poses(rng, frames)
    aspect = 1.0
    if seed % 2:  # as video models have them
        aspect = float(rng.choice([1.0, 832 / 480, 0.5]))
        options = replace(
            options, references=int(rng.integers(1, 4)), chunk=int(rng.integers(1, 5)), causal=bool(rng.random() < 0.5),
            whole_window=bool(rng.random() < 0.5),
        )  # fmt: skip
    plan = make_plan(keypoints, TokenGrid(frames, rows, cols, aspect), options)
    queries = [(int(rng.integers(frames)), int(rng.integers(rows * cols))) for _ in range(3)]
    return Case(keypoints, plan, queries, {"permute": bool(rng.random() < 0.7)})


def encode(array: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array, kind).tobytes()).decode()


def decode(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


def ask(cases: list[Case], asked: list | None = None, other: dict | None = None, own_bits: bool = True) -> list[dict]:
    """What node answers to each case; with `own_bits` it goes on from Python's region bits."""
    given = [
        {
            "grid": asdict(case.plan.grid),
            "options": asdict(case.plan.options) | case.switches,
            "xy": encode(case.keypoints.xy, "<f4"),
            "confidence": encode(case.keypoints.confidence, "<f4"),
            "bits": encode(case.plan.region_bits.numpy(), "u1") if own_bits else None,
            "queries": case.queries,
            "asked": asked or [],
            "other": other or {},
        }
        for case in cases
    ]
    return json.loads(run_node(DRIVER, json.dumps(given)))


def run_node(code: str, given: str = "") -> str:
    """What node prints that runs the page's own arithmetic, with the constants as Python has them now, and then `code`."""
    page = json.dumps({"rule": mask_rule(), "language": "en", "words": {}})
    text = f'"use strict";\nglobalThis.iasaPage = {page};\n{join_modules(ARITHMETIC)}\n{code}'
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "driver.cjs"
        path.write_text(text, encoding="utf-8")
        done = subprocess.run([NODE, str(path)], input=given, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [make_case(seed) for seed in range(PLANS)]


@pytest.fixture(scope="module")
def answers(cases) -> list[dict]:
    return ask(cases)


def test_the_rigid_fit_is_the_same(cases, answers):
    for case, answer in zip(cases, answers, strict=True):
        f = case.plan.grid.frames
        body = list(UPPER_BODY)
        xy = scale_keypoints(case.keypoints, case.plan.grid.extent).xy[:, body]
        weights = case.keypoints.confidence[:, body]
        wanted = rigid_distance(torch.from_numpy(xy).double(), torch.from_numpy(weights).double()).numpy()
        found = decode(answer["distance"], "<f8").reshape(f, f)
        assert np.array_equal(np.isinf(found), np.isinf(wanted))
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_the_frame_tables_are_the_same(cases, answers):
    for seed, (case, answer) in enumerate(zip(cases, answers, strict=True)):
        assert answer["table"] == case.plan.frame_table.tolist(), seed


def test_the_region_labels_are_the_same(cases, answers):
    """Bit for bit, but for tokens that lie on a region's edge within what float32 can tell."""
    tokens = doubtful = differing = 0
    for case, answer in zip(cases, answers, strict=True):
        plan = case.plan
        wanted = region_bits(case.keypoints, plan.grid, plan.options.method).numpy().ravel()
        found = decode(answer["bits"], "u1")
        closest = decode(answer["closest"], "<f8")
        assert np.array_equal(found[closest > NEAR], wanted[closest > NEAR])
        tokens, doubtful = tokens + len(found), doubtful + (closest <= NEAR).sum()
        differing += (found != wanted).sum()
    assert tokens > 100_000 and doubtful < 1e-3 * tokens and differing < 1e-4 * tokens


def test_orders_and_densities_are_the_same(cases, answers):
    for case, answer in zip(cases, answers, strict=True):
        plan, measured = case.plan, answer["measured"]
        if case.switches["permute"]:
            assert np.array_equal(decode(answer["order"], "<i4"), plan.permutation().numpy())
        assert measured["tokenDensity"] == pytest.approx(plan.density(), rel=1e-9)
        csr = plan.block_csr(permute=case.switches["permute"])
        assert measured["blockDensity"] == pytest.approx(csr.density(), rel=1e-9)
        kept = csr.density() if plan.options.mode == "pooled" else plan.density()
        assert measured["speedup"] == pytest.approx(1 / kept)
        assert measured["flops"] == pytest.approx(4 * kept * plan.grid.tokens**2 * 320 * 8)


def test_rows_of_the_mask_are_the_same(cases, answers):
    """Each lit patch of a query, its reason, and the keys that the chart over time counts."""
    for case, answer in zip(cases, answers, strict=True):
        plan, n = case.plan, case.plan.grid.tokens_per_frame
        exact = AttentionPlan(plan.grid, plan.frame_table, plan.region_bits, None, replace(plan.options, mode="exact"))
        for (t, i), text in zip(case.queries, answer["rows"], strict=True):
            row = decode(text, "u1")
            wanted = exact.allowed(t * n + i, torch.arange(plan.grid.tokens)).numpy()
            assert np.array_equal((row > 0) & (row != 9), wanted)
            by_frame = row.reshape(-1, n)
            start, end = (int(bound[t]) for bound in chunk_bounds(plan.grid.frames, plan.options))
            assert (by_frame[start:end] == 1).all()
            if t >= plan.options.sinks:
                assert (by_frame[: plan.options.sinks] == 2).all()
            assert not (row == 10).any() if plan.options.local else not ((row >= 4) & (row < 9)).any()
            for token in np.flatnonzero((row >= 4) & (row < 9)):
                region = 1 << (row[token] - 4)
                assert plan.region_bits[t, i] & plan.region_bits.flatten()[token] & region
                assert token // n in plan.frame_table[t, : plan.options.top_k].tolist()
            for token in np.flatnonzero(row == 3):
                near = start - plan.options.window, end + (0 if plan.options.causal else plan.options.window)
                assert token // n in range(*near) and not start <= token // n < end
                assert plan.options.whole_window == (token // n in plan.whole[t])
        if plan.options.mode == "pooled" and case.switches["permute"]:
            full = plan.dense()
            for (t, i), text in zip(case.queries, answer["rows"], strict=True):
                assert np.array_equal(decode(text, "u1") > 0, full[t * n + i].numpy())
        for (t, _), keys in zip(case.queries, answer["keys"], strict=True):
            counted = exact.dense()[t * n : (t + 1) * n].double().sum(1).mean()
            assert sum(keys) - keys[9] == pytest.approx(float(counted))


def test_settings_and_files_come_back(cases, answers):
    for case, answer in zip(cases, answers, strict=True):
        of_the_clip = {"reach": 0, "references": 1}  # no settings
        assert answer["settings"] | of_the_clip == answer["options"] | of_the_clip
        back = AttentionPlan.from_json(answer["json"])
        assert torch.equal(back.frame_table, case.plan.frame_table)
        assert torch.equal(back.region_bits, case.plan.region_bits) and back.options == case.plan.options


def test_the_explorers_own_switches(cases):
    """Not causal, not aligned, regions off: against numpy."""
    some = [
        Case(c.keypoints, c.plan, c.queries, dict(causal=False, align=False, regions=0b00110, permute=True))
        for c in cases[2:60]
        if c.plan.options.local
        and c.plan.grid.aspect == 1
        and c.plan.options == replace(c.plan.options, references=1, chunk=1, whole_window=False)
    ]
    for case, answer in zip(some, ask(some), strict=True):
        f, options = case.plan.grid.frames, case.plan.options
        xy = case.keypoints.xy[:, list(UPPER_BODY)].astype(float)
        w = case.keypoints.confidence[:, list(UPPER_BODY)].astype(float)
        found = decode(answer["distance"], "<f8").reshape(f, f)
        first = 1 if options.sink else 0
        for t in range(f):
            for s in range(f):
                both = w[t] * w[s]
                if (both > 0).sum() < 2:
                    assert np.isinf(found[t, s])
                elif s != t:
                    wanted = np.sqrt(len(both) * (both[:, None] * (xy[t] - xy[s]) ** 2).sum() / both.sum())
                    assert found[t, s] == pytest.approx(wanted, abs=1e-9)
            near = [s for s in range(first, f) if s != t and np.isfinite(found[t, s]) and abs(s - t) <= options.reach]
            near = sorted(near, key=lambda s, t=t: (found[t, s], -s))[: options.top_k]
            chosen = [s for s in answer["table"][t][: options.top_k] if s >= 0]
            assert chosen == near
            window = {s for s in range(t - options.window, t + options.window + 1) if s != t and first <= s < f}
            assert {s for s in answer["table"][t][options.top_k :] if s >= 0} == window - set(near)
        for (t, i), text in zip(case.queries, answer["rows"], strict=True):
            n, row = case.plan.grid.tokens_per_frame, decode(text, "u1")
            bits = case.plan.region_bits.numpy() & 0b00110
            for s in sorted({s for s in answer["table"][t] if s >= 0} - ({0} if options.sink else set())):
                lit = (row[s * n : (s + 1) * n] > 0) & (row[s * n : (s + 1) * n] < 9)
                assert np.array_equal(lit, (bits[t, i] & bits[s]) != 0)


def test_two_plans_are_compared_pair_by_pair(cases):
    some = [c for c in cases[2:60] if c.plan.grid.tokens <= 1500 and c.switches["permute"]]
    other = dict(top_k=2, window=0, mode="exact")
    for case, answer in zip(some, ask(some, other=other), strict=True):
        options = replace(case.plan.options, **other)
        second = make_plan(case.keypoints, case.plan.grid, options).dense()
        first = case.plan.dense()
        assert answer["compared"] == {
            "both": int((first & second).sum()), "onlyA": int((first & ~second).sum()), "onlyB": int((second & ~first).sum()),
        }  # fmt: skip


def test_sentences(cases):
    """Each kind of answer, on a plan that has them all."""
    rng = np.random.default_rng(3)
    poses = random_poses(rng, 10)
    poses = Keypoints(poses.xy, np.maximum(poses.confidence, 0.4))
    grid = TokenGrid(10, 8, 8)
    plan = make_plan(poses, grid, MaskOptions(top_k=3, window=1, sink=True, reach=6))
    n, t = grid.tokens_per_frame, 9
    bits, table = plan.region_bits, plan.frame_table[t].tolist()
    bare = int((bits[t] == 0).nonzero()[0])
    limb = int((bits[t] != 0).nonzero()[0])
    hidden = next(s for s in range(3, 9) if s not in table)
    near = table[0]
    shares = int(((bits[near] & bits[t, limb]) != 0).nonzero()[0])
    asked = [
        (t, limb, t, 0), (t, limb, 0, 5), (3, limb, 7, 0), (t, limb, hidden, 0),
        (t, bare, near, 0), (t, limb, near, shares), (t, limb, 2, 0),
    ]  # fmt: skip
    own, sink, future, far, background, seen, reach = ask([Case(poses, plan, [], {})], asked)[0]["sentences"]
    distance = plan.distance[t]
    assert own.startswith("Visible: a frame sees all of itself")
    assert "sink" in sink and sink.startswith("Visible")
    assert future == "Hidden: frame 7 lies in the future of frame 3; attention is causal."
    limit = float(distance[table[2]])
    assert far.startswith(f"Hidden: frame {hidden} is not among the 3 most similar past frames of frame 9: distance")
    assert f"{float(distance[hidden]):.2f}" in far or f"{float(distance[hidden]):.3f}" in far
    assert f"{limit:.2f}" in far or f"{limit:.3f}" in far
    assert background.startswith("Hidden") and "background" in background
    assert seen.startswith(f"Visible: frame {near} is the most similar") and any(r in seen for r in REGIONS)
    assert reach == "Hidden: frame 2 is 7 frames away; only 6 are searched."
    assert n == 64


def test_without_pythons_bits_the_plan_is_the_same(cases):
    """From poses alone, as after a drag: tables and densities of whole plans."""
    some = [c for c in cases[2:30]]
    for case, answer in zip(some, ask(some, own_bits=False), strict=True):
        assert answer["table"] == case.plan.frame_table.tolist()
        assert answer["measured"]["tokenDensity"] == pytest.approx(case.plan.density(), abs=2e-3)


def page_data(case: Case) -> dict:
    """What Python hands to the page."""
    page = explorer_html(case.plan, case.keypoints)
    return json.loads(page.partition('<script type="application/json" id="data">')[2].partition("</script>")[0])


def test_the_page_takes_every_constant_from_python(monkeypatch, cases):
    """Whatever is changed in Python stands changed in the page's data."""
    before = page_data(cases[3])
    monkeypatch.setattr(regions, "TORSO", 1.7)
    monkeypatch.setattr(regions, "PARTS", (replace(regions.PARTS[0], radius=0.33), *regions.PARTS[2:]))
    monkeypatch.setattr(layout, "UPPER_BODY", (0, 5, 6))
    monkeypatch.setattr("iasa.masks.plot.REGION_COLOURS", ((1, 2, 255),) * 5)
    monkeypatch.setattr(constants, "MaskOptions", lambda: MaskOptions(top_k=9, window=3, sink=False))
    after = page_data(cases[3])
    assert before["rule"]["torso"] == 1.3 and after["rule"]["torso"] == 1.7
    assert (
        after["rule"]["parts"][0]["radius"] == 0.33 and len(after["rule"]["parts"]) == len(before["rule"]["parts"]) - 1
    )
    assert after["rule"]["upper_body"] == [0, 5, 6]
    assert after["drawing"]["colours"]["regions"] == ["#0102ff"] * 5
    assert after["rule"]["options"] | {"top_k": 9, "window": 3, "sink": False} == after["rule"]["options"]
    assert before["rule"]["options"] == asdict(MaskOptions())


def test_both_rules_follow_changed_constants(monkeypatch):
    """No constant of the rule is typed a second time in JavaScript: with others, both answer alike again."""
    usual = [make_case(seed) for seed in range(2, 40)]
    monkeypatch.setattr(regions, "TORSO", 0.7)
    monkeypatch.setattr(regions, "USUAL_SHOULDERS", 0.9)
    monkeypatch.setattr(regions, "NARROWEST_SHOULDERS", 0.35)
    monkeypatch.setattr(regions, "DIRECTIONS", 7)
    monkeypatch.setattr(regions, "SOFTENING", 3e-3)
    wider = [replace(part, radius=2 * part.radius, fewest=max(1, part.fewest - 1)) for part in regions.PARTS]
    monkeypatch.setattr(
        regions, "PARTS", (replace(wider[1], points=(91, 95, 99)), *wider[3:], replace(wider[0], region="body"))
    )
    fewer = (0, 5, 6, 9, 10, 95)
    monkeypatch.setattr(layout, "UPPER_BODY", fewer)
    monkeypatch.setattr("iasa.masks.plan.UPPER_BODY", fewer)
    changed = [make_case(seed) for seed in range(2, 40)]
    assert any(not torch.equal(a.plan.region_bits, b.plan.region_bits) for a, b in zip(usual, changed, strict=True))
    assert any(not torch.equal(a.plan.frame_table, b.plan.frame_table) for a, b in zip(usual, changed, strict=True))
    for case, answer in zip(changed, ask(changed, own_bits=False), strict=True):
        assert answer["table"] == case.plan.frame_table.tolist()
        wanted = region_bits(case.keypoints, case.plan.grid, case.plan.options.method).numpy().ravel()
        sure = decode(answer["closest"], "<f8") > NEAR
        assert np.array_equal(decode(answer["bits"], "u1")[sure], wanted[sure])
