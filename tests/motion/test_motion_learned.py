"""The learned motion model: what it hears and when, its codebooks, its draws, streaming, training, measures, the fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_motion import make_speech

from iasa.avatar.identity import make_identity
from iasa.avatar.rig import make_keypoints, rest_hands, rest_motion
from iasa.config import VIDEO_FPS, InputError, TrainPreset
from iasa.keypoints import LEFT_HAND, Keypoints
from iasa.metrics import motion_quality as measure
from iasa.metrics.video_quality import frechet_distance
from iasa.motion import speech_to_keypoints, speech_to_motion
from iasa.motion.audio_embedding import AHEAD, PAST, SCALES, STRIDE, WINDOW, AudioEmbedding, make_windows
from iasa.motion.codebooks import EMACodebookUpdate, ResidualCodebook, code_usage, overlap_add
from iasa.motion.generator import MEMORY, MotionGenerator
from iasa.motion.generator_streaming import MotionStream, generate_learned_gestures
from iasa.motion.rig_fitting import fit_motion
from iasa.motion.rig_regions import (
    CHANNELS,
    PARAMETERS,
    REGIONS,
    region_slices,
    style_vector,
    to_channels,
    to_motion,
    to_vectors,
)
from iasa.motion.rules import GestureStyle, generate_gestures, make_style
from iasa.speech import analyse
from iasa.training import train_motion
from iasa.training.speech_data.performances import Heard, join_features, make_performances, pause_features
from iasa.training.train_motion import (
    draw_batch,
    load_pieces,
    save_pieces,
    to_piece,
    train_codebooks,
    train_generator,
)
from iasa.training.trainer import Schedule

SMALL = {
    "width": 32,
    "layers": 2,
    "heads": 2,
    "slot_width": 16,
    "listen_width": 16,
    "entries": 8,
    "levels": 2,
    "dim": 8,
}


def small(**changes) -> MotionGenerator:
    torch.manual_seed(0)
    return MotionGenerator(**{**SMALL, **changes}).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def talk():
    """Four seconds of steady talk with accents, then three of silence."""
    speech = make_speech([(0.2, 4.0)], [(0.8 + 0.9 * i, 2.0) for i in range(4)], 7.0)
    rng = np.random.default_rng(0)
    return replace(speech, onset=rng.random(speech.frames).astype(np.float32) * speech.speaking)


# ---------------------------------------------------------------- the numbers of a frame


def test_regions_hold_a_whole_performance(talk):
    motion = generate_gestures(talk, 3)
    vectors = to_vectors(motion)
    assert vectors.shape == (talk.frames, PARAMETERS)
    again = to_motion(vectors)
    for name in ("head", "lean", "breath", "twist", "shrug", "gaze", "face"):
        assert np.allclose(getattr(again, name), getattr(motion, name), atol=1e-5), name
    assert np.allclose(again.hands[..., :3], motion.hands[..., :3]) and np.allclose(
        again.hands[..., 9:], motion.hands[..., 9:]
    )


def test_any_numbers_decode_to_rigid_bones():
    rng = np.random.default_rng(0)
    home = to_vectors(rest_motion(40))
    wild = to_motion((home + rng.normal(size=home.shape) * 0.5).astype(np.float32))
    error = measure.bone_error(make_identity(3), wild, rest_motion(1))
    assert error["arms"] < 1e-6 and error["fingers"] < 1e-6
    keypoints = make_keypoints(make_identity(3), wild)
    assert keypoints.xy.shape == (40, 133, 2) and np.isfinite(keypoints.xy[keypoints.confidence > 0]).all()


def test_style_tells_speakers_apart():
    a, b = (style_vector(make_style(seed)) for seed in (1, 2))
    assert a.shape == b.shape and np.abs(a).max() < 3 and not np.allclose(a, b)


# ---------------------------------------------------------------- hearing


def test_windows_lie_where_the_table_says():
    frames = PAST + 2 * STRIDE + AHEAD
    channels = torch.arange(frames, dtype=torch.float32)[None, :, None].expand(1, frames, len(CHANNELS))
    windows = make_windows(channels)
    assert windows.shape == (1, 2, len(CHANNELS), WINDOW)
    assert windows[0, 0, 0, PAST] == PAST and windows[0, 1, 0, PAST] == PAST + STRIDE  # a step's own first frame


@pytest.mark.parametrize("scale, near, far", [("sound", 5, 7), ("rhythm", 24, 25), ("phrase", 148, None)])
def test_each_scale_hears_its_reach_and_can_be_switched_off(scale, near, far):
    torch.manual_seed(0)
    hears, deaf = AudioEmbedding(8, (scale,)), AudioEmbedding(8, tuple(s for s in SCALES if s != scale))
    silent = torch.zeros(1, 1, len(CHANNELS), WINDOW)

    def changed(module, back: int) -> bool:
        loud = silent.clone()
        loud[..., PAST - back] = 1
        return not torch.allclose(module(loud), module(silent))

    assert changed(hears, near)
    if far is not None:
        assert not changed(hears, far)
    if scale == "phrase":
        assert not changed(deaf, 100)  # the others do not reach that far back
    with pytest.raises(ValueError, match="no time scale 'word'; there are sound, rhythm, phrase"):
        AudioEmbedding(8, ("word",))


# ---------------------------------------------------------------- codebooks


def test_codebooks_follow_the_data_and_leave_no_entry_dead():
    torch.manual_seed(0)
    centres = 4 * torch.randn(16, 6)
    data = centres[torch.randint(16, (4096,))] + 0.3 * torch.randn(4096, 6)
    book = ResidualCodebook(2, 16, 6)
    book.entries_0.mul_(0.01).add_(50)  # far away from everything: all entries start dead but one
    following = EMACodebookUpdate(book)
    for _ in range(600):
        part = data[torch.randint(len(data), (256,))]
        following(book, part, book.encode(part))
    codes = book.encode(data)
    first = (data - book.table(0)[codes[:, 0]]).square().mean()
    both = (data - book.decode(codes)).square().mean()
    assert code_usage(codes[:, 0], 16) == pytest.approx({"used": 1.0, "perplexity": 16}, rel=0.5)
    assert first < 0.15 * data.var() and both < 0.8 * first  # the second level pays
    assert code_usage(codes[:, 1], 16)["used"] == 1.0


def test_overlapping_windows_blend_to_one():
    frames = overlap_add(torch.ones(1, 5, 2 * STRIDE, 3))
    assert frames.shape == (1, STRIDE * 6, 3)
    assert torch.allclose(frames[:, STRIDE:-STRIDE], torch.ones(1, STRIDE * 4, 3))


def test_code_usage_counts():
    assert code_usage(torch.tensor([0, 0, 1, 1]), 8) == pytest.approx({"used": 0.25, "perplexity": 2.0})


# ---------------------------------------------------------------- drawing a performance


def test_pieces_of_any_size_give_the_performance_of_the_whole(talk):
    model = small()
    whole = generate_learned_gestures(talk, 4, model=model)
    assert len(whole) == talk.frames
    for cuts in ([1, 2, 9, 10, 50, 100], [30, 31, 130]):
        stream, edges = MotionStream(4, model=model), [0, *cuts, talk.frames]
        parts = [stream.push(talk[a:b]) for a, b in zip(edges, edges[1:], strict=False)]
        made = sum(map(len, parts))
        rest = stream.finish()
        with pytest.raises(ValueError, match="finished"):
            stream.push(talk)
        assert made >= talk.frames - model.look_ahead  # a frame is out once its look-ahead is in
        again = parts[0].concat(*parts[1:], rest)
        assert len(again) == talk.frames
        for name in ("hands", "face", "head", "lean", "shrug"):
            assert np.array_equal(getattr(again, name), getattr(whole, name))


def test_the_future_beyond_the_look_ahead_changes_nothing(talk):
    model, at = small(), 60
    other = replace(talk, energy=talk.energy.copy(), onset=talk.onset.copy())
    other.energy[at:] = 1
    other.onset[at:] = 0.5
    a, b = (to_vectors(generate_learned_gestures(speech, 4, model=model)) for speech in (talk, other))
    certain = at - model.look_ahead
    assert np.array_equal(a[:certain], b[:certain]) and not np.allclose(a[at:], b[at:])


def test_a_long_stream_keeps_no_more_than_it_needs(talk):
    stream = MotionStream(0, model=small())
    for _ in range(8):
        stream.push(talk)
    assert len(stream._heard) < WINDOW + 1 and all(k.shape[2] < MEMORY for k, _ in stream._keys)


@pytest.mark.parametrize("coupling", [True, False])
def test_one_step_at_a_time_is_the_parallel_pass_of_training(talk, coupling, monkeypatch):
    model = small(coupling=coupling)
    drawn, logits = [], []
    draw, attend = MotionStream._draw, MotionGenerator.attend

    def spy(self, state):
        latents = draw(self, state)
        drawn.append(self._codes)
        return latents

    def listen(self, slot, state, keys):
        out = attend(self, slot, state, keys)
        logits.append(out)
        return out

    monkeypatch.setattr(MotionStream, "_draw", spy)
    monkeypatch.setattr(MotionGenerator, "attend", listen)
    style = GestureStyle()
    generate_learned_gestures(talk, 2, style, model=model)
    alone = torch.cat(logits).view(len(drawn), len(model.slots), -1)
    codes = torch.cat(drawn, 1)
    channels = np.zeros((PAST + STRIDE * len(drawn) + AHEAD, len(CHANNELS)), np.float32)
    channels[PAST + STRIDE :][: talk.frames] = to_channels(talk)
    past = torch.cat([codes[:, :1], codes[:, :-1]], 1)
    together = model.score(
        make_windows(torch.from_numpy(channels)[None]), codes, past, True, torch.from_numpy(style_vector(style))[None]
    )
    assert torch.allclose(together[0], alone, atol=1e-4)


def test_without_coupling_regions_do_not_see_each_other():
    for coupling in (True, False):
        model = small(coupling=coupling)
        states = torch.randn(1, 32)
        entries = [torch.randn(1, 8) for _ in model.slots[:-1]]
        other = [entries[0] + 1, *entries[1:]]
        a, b = model.slot_states(states, entries), model.slot_states(states, other)
        assert not torch.allclose(a[:, 1], b[:, 1])  # the next level of the same region always sees it
        assert torch.allclose(a[:, 2:], b[:, 2:]) is not coupling


def test_draws_follow_seed_and_temperature(talk):
    model, style = small(), GestureStyle()
    # untrained logits are almost even: sharpen them
    for query in model.queries:
        query.weight.mul_(8)
    a, b, c = (to_vectors(generate_learned_gestures(talk, seed, style, model=model)) for seed in (1, 1, 2))
    assert np.array_equal(a, b) and not np.allclose(a, c)
    sure = [to_vectors(generate_learned_gestures(talk, seed, style, temperature=0, model=model)) for seed in (1, 2)]
    assert np.array_equal(*sure)
    with pytest.raises(InputError, match="temperature is -1; 0 to 2"):
        MotionStream(temperature=-1, model=model)


def test_lips_are_the_mouth_shapes_heard_at_the_size_of_the_style(talk):
    """Even before training; the blend of windows that see the same frames changes nothing."""
    style = GestureStyle(articulation=1.2)
    lips = generate_learned_gestures(talk, 1, style, model=small()).face[:, :5]
    heard = talk.visemes * [1.2, 1.2, 1, 1, 1]
    assert np.allclose(lips, np.clip(heard, [0, -1, 0, 0, 0], 1), atol=1e-5)
    silence = analyse(np.zeros(3 * 16_000, np.float32))
    assert np.abs(generate_learned_gestures(silence, 1, model=small()).face[:, :5]).max() == 0


def test_what_trembles_is_softened_but_never_the_lips(talk):
    stream = MotionStream(0, model=small())
    parts = [
        stream._calm(part) for part in np.split(np.eye(9, dtype=np.float32)[:, 4:5] * np.ones((9, PARAMETERS)), [2, 3])
    ]
    made = np.concatenate(parts)
    lips = slice(region_slices()["face"].start, region_slices()["face"].start + 5)
    assert len(made) == 8  # one frame waits for its neighbour
    assert np.array_equal(made[:, lips], np.eye(9)[:8, 4:5] * np.ones(5))
    assert np.allclose(made[3:6, 0], [0.07, 0.86, 0.07]) and np.allclose(made.sum(0), 1)


# ---------------------------------------------------------------- learning


@pytest.fixture(scope="module")
def bank(talk):
    utterances = [Heard(str(k), talk[: 100 + 10 * k], talk[: 100 + 10 * k]) for k in range(3)]
    pieces = [to_piece(p) for p in make_performances(utterances, 6, 0)]
    return pieces[:5], pieces[5:]


def test_pieces_come_back_from_their_file(bank, tmp_path):
    save_pieces(tmp_path / "a.npz", bank[0])
    for a, b in zip(bank[0], load_pieces(tmp_path / "a.npz"), strict=True):
        assert all(np.array_equal(getattr(a, n), getattr(b, n)) for n in ("channels", "vectors", "known", "style"))
    assert len(bank[0][0].channels) == PAST + STRIDE * bank[0][0].steps + AHEAD


def test_a_window_pairs_the_sound_with_its_own_motion(bank):
    """The channels' own frames and the vectors' inner frames are the same moments."""
    piece = bank[0][0]
    marked = replace(piece, vectors=np.tile(np.arange(len(piece.vectors), dtype=np.float16)[:, None] / 8, PARAMETERS))
    sound = np.zeros_like(piece.channels)
    sound[PAST : PAST + STRIDE * piece.steps, 0] = marked.vectors[STRIDE : STRIDE * (piece.steps + 1), 0]
    batch = draw_batch([replace(marked, channels=sound)], 4, 10, np.random.default_rng(0))
    own = batch.channels[:, PAST : PAST + 40, 0]
    assert torch.equal(own, batch.vectors[:, STRIDE:-STRIDE, 0])


def schedule(steps: int) -> Schedule:
    return Schedule(steps=steps, warmup=2, ema=0.9, lr=2e-3, muon_lr=0.02)


@pytest.mark.slow
def test_both_parts_learn_and_the_second_leaves_the_first_alone(bank, tmp_path):
    model = MotionGenerator(**SMALL)
    common = {"batch": 8, "steps": 16, "bank": bank, "resume": False, "stop_after": float("inf")}
    first = train_codebooks(tmp_path, schedule(60), model=model, **common)
    log = (tmp_path / "codebooks" / "log.txt").read_text()
    assert "perplexity" in log
    batch = draw_batch(bank[1], 4, 16, np.random.default_rng(1))
    fresh = train_motion.CodebookLearner(small())
    train_motion.measure_spread(fresh.model, bank[0])
    with torch.no_grad():
        assert first.averaged().loss(batch, None)[0] < 0.7 * fresh.loss(batch, None)[0]
    model = first.averaged().model
    kept = {k: v.clone() for k, v in model.state_dict().items() if k.startswith(("codecs.", "listen."))}
    second = train_generator(tmp_path, schedule(60), model=model, **common)
    state = second.averaged().state_dict()
    assert all(torch.equal(state[k], v) for k, v in kept.items())
    assert second.smooth["loss"] < 0.97 * np.log(SMALL["entries"])  # better than not knowing


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(bank, tmp_path):
    def run(folder, stops):
        for number, steps in enumerate(stops):
            torch.manual_seed(0)
            trainer = train_codebooks(
                folder, schedule(6), batch=2, steps=8, model=MotionGenerator(**SMALL), bank=bank,
                resume=number > 0, stop_after=float("inf") if steps else 0.0,
            )  # fmt: skip
        return trainer.bare.state_dict()

    whole, parts = run(tmp_path / "a", [1]), run(tmp_path / "b", [0, 2])
    assert all(torch.equal(whole[k], parts[k]) for k in whole)


def test_unknown_regions_do_not_teach(bank):
    piece = bank[0][0]
    known = np.zeros_like(piece.known)
    known[:, REGIONS.index("head")] = True
    batch = draw_batch([replace(piece, known=known)], 2, 12, np.random.default_rng(0))
    learner = train_motion.CodebookLearner(small())
    _, errors, _ = learner.loss(batch, None)
    assert errors["head"] > 0 and all(errors[name] == 0 for name in REGIONS if name != "head")


def test_the_stage_runs_from_the_command(bank, tmp_path, monkeypatch):
    from iasa.cli import main as cli
    from iasa.training import stages

    monkeypatch.setitem(stages.PRESETS, "motion", TrainPreset(batch=2, frames=8, lr=1e-3, muon_lr=0.02, warmup=2))
    monkeypatch.setattr(train_motion, "MotionGenerator", lambda: MotionGenerator(**SMALL))
    monkeypatch.setattr(train_motion, "PERFORMANCES", 5)
    for split, pieces in zip(("train", "watch"), bank, strict=True):
        save_pieces(tmp_path / "motion" / f"bank_{split}.npz", pieces)
    words = ["train", "motion", "--run", str(tmp_path), "--steps", "5", "--from-scratch"]
    assert cli.main(words) == 0
    export = tmp_path / "motion" / "export"
    assert (export / "config.json").exists() and "no real video" in (export / "card.json").read_text()


# ---------------------------------------------------------------- measuring


def test_lag_and_correlation_of_lips(talk):
    speech = replace(
        talk, visemes=talk.visemes + 0.1 * np.random.default_rng(0).random(talk.visemes.shape).astype(np.float32)
    )
    identity = make_identity(1)
    motion = generate_gestures(speech, 1)
    true = make_keypoints(identity, motion)
    late = make_keypoints(identity, motion[np.r_[0, 0, 0 : len(motion) - 2]])
    assert measure.lip_scores(true, true)["opening_r"] == pytest.approx(1)
    assert measure.lip_scores(late, true)["lag_ms"] == pytest.approx(80, abs=8)


def test_strokes_are_found_where_they_end_and_score_on_accents(talk):
    speech = make_speech([(0.2, 8.0)], [(1.0 + 1.4 * i, 2.5) for i in range(5)], 9)
    motion = generate_gestures(speech, 0, GestureStyle(habits=("chop",)))
    ends, accents = measure.stroke_ends(motion), np.array([t for t, _ in speech.accents])
    assert all(np.abs(ends - t).min() < 0.12 for t in accents)
    assert measure.beat_alignment(accents, accents) == 1
    assert measure.beat_alignment(ends, accents) > measure.beat_alignment(ends + 0.5, accents) + 0.1
    assert np.isnan(measure.beat_alignment(np.zeros(0), accents))


def test_spread_jerk_and_rest(talk):
    motions = [generate_gestures(talk, seed) for seed in (1, 2)]
    assert measure.spread_over_seeds([motions[0], motions[0]]) == 0 < measure.spread_over_seeds(motions)
    rough = to_vectors(motions[0])
    rough[:, :6] += np.random.default_rng(0).normal(size=(len(rough), 6))
    assert measure.jerk(to_motion(rough)) > 3 * measure.jerk(motions[0])
    style = make_style(1)
    quiet = slice(talk.frames - 10, talk.frames)
    assert measure.rest_distance(generate_gestures(talk, 1, style), rest_hands(style.rest), quiet) < 1.5
    features = measure.motion_features(motions[0])
    assert features.shape[1] == 156 and frechet_distance(features, features) == pytest.approx(0, abs=1e-3)


# ---------------------------------------------------------------- real poses


def test_the_fit_finds_the_motion_of_another_body(talk):
    motion = generate_gestures(talk, 5)[20:50]
    keypoints = make_keypoints(make_identity(7), motion)
    noise = 0.001 * np.random.default_rng(0).normal(size=keypoints.xy.shape)
    confidence = keypoints.confidence.copy()
    confidence[:, LEFT_HAND] = 0
    moved = 0.8 * (keypoints.xy + noise) + [0.13, 0.05]  # farther away and off the middle
    fit = fit_motion(Keypoints(moved.astype(np.float32), confidence))
    assert fit.error < 0.01
    assert fit.known[:, [REGIONS.index(n) for n in ("arms", "right_hand", "head", "face")]].all()
    assert not fit.known[:, REGIONS.index("left_hand")].any()
    true, found = to_vectors(motion), to_vectors(fit.motion)
    for axis in (0, 1, 3, 4):  # wrists across and up; depth does not show
        assert np.abs(true[:, axis] - found[:, axis]).mean() < 1.5
    mouth = region_slices()["face"].start
    assert np.corrcoef(true[:, mouth], found[:, mouth])[0, 1] > 0.9
    head = region_slices()["head"]
    assert np.abs(true[:, head] - found[:, head]).mean() < 0.06


# ---------------------------------------------------------------- what ships

AWKWARD = {
    "silence": np.zeros(32_000, np.float32),
    "noise": 0.3 * np.random.default_rng(0).normal(size=32_000).astype(np.float32),
    "music": (0.2 * np.sin(2 * np.pi * np.outer([220, 277, 330], np.arange(48_000) / 16_000)))
    .sum(0)
    .astype(np.float32),
    "clipping": np.clip(9 * np.sin(np.arange(32_000) * 0.05) * (np.sin(np.arange(32_000) * 0.002) > 0), -1, 1).astype(
        np.float32
    ),
    "0.2 s": (0.3 * np.sin(np.arange(3200) * 0.06)).astype(np.float32),
}


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_sound_moves_sensibly(name):
    speech = analyse(AWKWARD[name], method="signal")
    motion, keypoints = speech_to_keypoints(speech, make_identity(2), 1, model="learned")
    assert len(motion) == speech.frames
    assert np.isfinite(keypoints.xy[keypoints.confidence > 0]).all()
    reach = np.abs(motion.hands[..., :3]).max((0, 1))
    assert (reach < [30, 60, 40]).all()
    step = np.linalg.norm(np.diff(motion.hands[..., :3], axis=0), axis=-1)
    assert not len(step) or step.max() < 6  # cm a frame


def test_the_shipped_performer_speaks_gestures_and_rests(talk):
    speech = join_features([talk, pause_features(4)])
    motions = [speech_to_motion(speech, seed, model="learned") for seed in range(4)]
    for motion in motions:
        opening = motion.face[:100, 0]
        assert np.corrcoef(opening, talk.visemes[:100, 0])[0, 1] > 0.85 and motion.face[130:, 0].max() < 0.05
    moved = [np.ptp(m.hands[10:100, :, :3], axis=0).max() for m in motions]
    still = [measure.rest_distance(m, rest_hands(make_style(k).rest), slice(-50, None)) for k, m in enumerate(motions)]
    assert np.median(moved) > 6 and np.median(still) < 3
    blinks = [m.face[:, 6].max() for m in motions]
    assert np.median(blinks) > 0.5


def test_the_model_must_be_one_of_two(talk):
    with pytest.raises(InputError, match="motion model is 'dance'; accepted: learned or rules"):
        speech_to_motion(talk, model="dance")
    assert VIDEO_FPS == talk.fps


def test_the_page_shows_video_and_ablation_only_where_they_were_measured():
    from iasa.evaluation.motion_report import to_page

    figure = {"mean": 0.9, "low": 0.8, "high": 1.0, "clips": 3}
    report = {
        "command": "python -m iasa evaluate-motion", "date": "2026-01-01", "device": "cpu", "speed": {"x_real_time_cpu": 38.0},
        "summary": {"synthetic": {"truth": {"beats": figure}, "learned": {"beats": figure}}},
    }  # fmt: skip
    page = to_page(report)
    assert "0.900 [0.800, 1.000]" in page and "ablation" not in page and "mediapipe" not in page
    scores = {"against_driving": 0.91, "against_truth": 0.82}
    figures = {"opening_r": 0.5, "beats": 0.4, "fgd": 3.0, "diversity": 2.0, "jerk": 1.0, "rest": 0.1}
    report["video"] = {"through": "renderer", "clips": 2, "frames": 75, "rules": scores, "learned": scores}
    report["ablation"] = {
        "steps": 60,
        "clips": 8,
        "variants": {"all": {**figures, "nats": 2.5}, "without codebooks": figures},
    }
    page = to_page(report)
    assert "| learned | 0.910 | 0.820 |" in page and "| all | 0.500 | 0.400 | 3.00 | 2.00 | 1.0 | 0.1 | 2.500 |" in page
    assert page.count("|---|---|---|---|---|---|---|---|") and "| 0.1 | - |" in page
