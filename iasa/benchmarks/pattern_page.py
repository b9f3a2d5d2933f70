"""The page of `bench patterns`: its tables, and what the patterns' papers claim beside what can be compared here."""

from __future__ import annotations

from iasa.benchmarks.bench_generate import to_table

COLUMNS = {
    "pattern": "pattern", "density": "density", "mass": "mass", "error_all": "error", "error_face": "error, face",
    "error_hands": "error, hands", "psnr_dense": "PSNR to dense", "ssim_dense": "SSIM to dense", "face_dense": "face",
    "hands_dense": "hands", "psnr": "PSNR to truth", "ssim": "SSIM to truth", "hands_found": "hands found",
    "mouth_r": "lip-opening r", "planning": "planning s", "attention": "attention s", "denoise": "denoising s",
    "gflop": "attention GFLOP", "clips": "n",
}  # fmt: skip
DECIMALS = {
    "density": 3, "mass": 3, "error_all": 3, "error_face": 3, "error_hands": 3, "psnr_dense": 2, "ssim_dense": 4,
    "face_dense": 2, "hands_dense": 2, "psnr": 2, "ssim": 4, "hands_found": 2, "mouth_r": 2, "planning": 2, "attention": 1,
    "denoise": 1, "gflop": 0,
}  # fmt: skip
CLAIMS = (  # pattern, what its paper claims, what can be compared with these tables, what cannot
    (
        "input_aware",
        "2.29x from both masks (1.93 to 4.42 FPS, one H100), SSIM 0.835 to 0.831 after fine-tuning on them",
        "what the regions keep on face and hands",
        "a GPU's speed; quality after fine-tuning",
    ),
    (
        "sparse_forcing",
        "1.11 to 1.27x, a KV cache 42 % smaller, trained with its choice active for 1200 iterations",
        "mass and error of the choice itself",
        "a model trained for it; chunks of three frames; block size, C and window, which are ours",
    ),
    (
        "monarch",
        "5.6x over FlashAttention-3 at 720p; about 90 % sparse without training, 95 % fine-tuned",
        "error of the factorisation at an equal share",
        "grids: frames of 16 x 16 tokens cannot go below 12.5 %",
    ),
    (
        "svg2",
        "1.58 to 1.89x (Wan 14B) and 2.30x (Hunyuan) at 720p on an H100, PSNR to dense 24 to 30",
        "mass, PSNR to dense, planning's share of the time",
        "tens of thousands of tokens in clusters of hundreds; it is said to be weak on small and on few-step models",
    ),
    (
        "pab",
        "1.15 to 1.4x on one GPU (10.5x sets eight GPUs beside one)",
        "PSNR to dense, share of the steps left out",
        "spatial, temporal and cross attention apart, each with a range of its own",
    ),
    (
        "radial",
        "a static pattern whose density halves per octave",
        "mass at an equal share",
        "twelve frames have four octaves",
    ),
)
INTRODUCTION = """# Attention patterns, side by side

`{command}`

One thread of {device}, float32, {frames} latent frames and the reference ({tokens} tokens); n clips, as the last column
says: with so few, differences of some tenths of a decibel may be the clip's. Unless a heading says fine-tuned, patterns are
dropped in, without training. Densities are shares of the whole attention matrix, matched as nearly as a pattern can be set.
*mass*: the attention mass that is kept (for monarch, the overlap of its effective map with the dense one). *error*: of one
attention output, relative, beside the dense run. PSNR and SSIM *to dense* are against the dense run of the same model and
noise, of the whole picture, face and hands. Seconds are of one thread's processor; planning (k-means, pooling, the plan of
the poses) is part of the attention's seconds. `oracle` is a bound for tiles of the picture, not for clusters, and computes
dense attention to choose. The teacher is bidirectional, and `input_aware` and `random_frames` are causal there too;
`sparse_forcing` runs on it as its bidirectional adaptation, without a cache. How each is computed, and what of it is ours:
[iasa/attention/patterns](../../iasa/attention/patterns).
"""


OUTCOMES = """Who is first in what, of the tables below. `oracle` and `random_blocks` bound what a choice of tiles is
worth; *by pose minus at random* is the gain, in decibels to the dense video, of choosing the paper's frames by pose over
drawing them (0 where K is none or all of them). Where the pattern with most mass is not the one with the nearest video,
mass is not the measure to choose by. Seconds are this processor's, with planning; a GPU's would differ."""


def to_page(figures: dict, command: str, device: str) -> str:
    """Markdown."""
    frames = figures["latent_frames"]
    text = [INTRODUCTION.format(command=command, device=device, frames=frames, tokens=(1 + frames) * 256).strip()]
    if figures.get("stopped"):
        text.append("The run was stopped before its end: rows that are missing were not reached.")
    if outcomes := came_out(finished(figures)):
        text.append(f"## What came out\n\n{OUTCOMES}\n\n{to_table(outcomes, tuple(outcomes[0]))}")
    for subjects in figures["clips"]:
        rows = [row for row in figures["rows"] if row["subjects"] == subjects]
        for model in dict.fromkeys(row["model"] for row in rows):
            for target in dict.fromkeys(row["target"] for row in rows if row["model"] == model):
                some = [row for row in rows if (row["model"], row["target"]) == (model, target)]
                heading = "as they are" if target is None else f"density {target:.0%}"
                text.append(f"## {model}, {subjects}, {heading}\n\n{to_table(*_shown(some))}")
                why = [f"- {sentence}" for sentence in _refusals(figures["refused"], model, target)]
                if why and subjects == "avatars":
                    text.append("Not here:\n" + "\n".join(why))
    headings = ("pattern", "its paper's claim", "comparable here", "not comparable here")
    claims = [dict(zip(headings, claim, strict=True)) for claim in CLAIMS]
    text.append("## What the papers claim\n\n" + to_table(claims, headings))
    return "\n\n".join(text)


def finished(figures: dict) -> list[dict]:
    """The rows of models that were measured to the end: among half of the patterns nobody is first."""
    done = figures.get("done", [])
    return [
        row for row in figures["rows"] if not figures.get("stopped") or f"{row['subjects']}, {row['model']}" in done
    ]


def came_out(rows: list[dict]) -> list[dict]:
    """The tables in one: of every model and density with four patterns or more, who is first in what."""
    found = []
    for place in dict.fromkeys((row["subjects"], row["model"], row["target"]) for row in rows if row["target"]):
        some = [row for row in rows if (row["subjects"], row["model"], row["target"]) == place]
        every = {row["pattern"]: row for row in some if row["pattern"] != "dense"}
        if len(every) < 4:
            continue
        dense = [row for row in rows if (row["subjects"], row["model"]) == place[:2] and row["pattern"] == "dense"]
        psnr = {name: row["psnr_dense"] for name, row in every.items()}
        nearest = sorted(psnr, key=lambda name: -psnr[name])
        chosen, drawn = psnr.get("input_aware"), psnr.get("random_frames")
        faster = [name for name, row in every.items() if dense and row["attention"] < dense[0]["attention"]]
        found.append(
            {
                "of": f"{place[1]}, {place[0]}, {place[2]:.0%}",
                "nearest to the dense video, dB": ", ".join(f"{name} {psnr[name]:.1f}" for name in nearest[:3]),
                "oracle, random blocks": ", ".join(
                    f"{psnr[name]:.1f}" for name in ("oracle", "random_blocks") if name in psnr
                ),
                "most mass": _first(every, "mass", -1),
                "smallest error": _first(every, "error_all", 1),
                "by pose minus at random": None if chosen is None or drawn is None else f"{chosen - drawn:+.1f}",
                "attention faster than dense": ", ".join(faster) or "none",
            }
        )
    return found


def _first(every: dict[str, dict], figure: str, sign: int) -> str | None:
    """The pattern whose figure is the smallest, or with sign -1 the largest."""
    known = {name: row[figure] for name, row in every.items() if row.get(figure) is not None}
    best = min(known, key=lambda name: sign * known[name], default=None)
    return None if best is None else f"{best} {known[best]:.2f}"


def _shown(rows: list[dict]) -> tuple[list[dict], tuple[str, ...]]:
    """Rows and columns as they are printed; columns that no row has are left out."""
    names = [name for name in COLUMNS if any(row.get(name) is not None for row in rows)]
    shown = [{COLUMNS[name]: _cell(row.get(name), name) for name in names} for row in rows]
    return shown, tuple(COLUMNS[name] for name in names)


def _cell(value: object, name: str) -> object:
    return f"{value:.{DECIMALS[name]}f}" if isinstance(value, float) and name in DECIMALS else value


def _refusals(refused: dict[str, str], model: str, target: float | None) -> list[str]:
    start = f"{model}, {target:g}, " if target is not None else "never"
    return [sentence for key, sentence in refused.items() if key.startswith(start)]
