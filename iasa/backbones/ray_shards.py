"""The shard writer on a cluster: Ray Data hands each shard to an actor that loaded the weights once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from iasa.backbones.latent_shards import ClipEncoder, ShardSettings, group_videos, write_shard
from iasa.pose import extract_keypoints


class ShardWriter:
    """One actor: the pipeline in its memory, a row {"shard": number} in, the shard's report out."""

    def __init__(self, videos: str, out: str, weights: str, settings: ShardSettings, device: str, load=None) -> None:
        from iasa.backbones.wan_weights import load_pipeline

        self.groups, self.out = group_videos(Path(videos), settings.videos), Path(out)
        self.encoder = ClipEncoder((load or load_pipeline)(weights, "vace", device), settings)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        number = int(row["shard"])
        report = write_shard(number, self.groups[number], self.out, self.encoder, extract_keypoints)
        return {"shard": number, "clips": report["clips"], "frames": report["frames"], "kept": report["kept"]}


def write_shards_by_ray(
    videos: Path, out: Path, weights: str, settings: ShardSettings, actors: int, gpus: float = 0
) -> dict:
    """All shards of a folder by `actors` actors, each with so many GPUs; needs a shared file system. Returns totals."""
    try:
        import ray  # type: ignore
        import ray.data  # type: ignore
    except ImportError as error:
        raise ImportError("--ray needs Ray, which is not installed: pip install 'ray[data]'") from error
    out.mkdir(parents=True, exist_ok=True)
    shards = ray.data.from_items([{"shard": number} for number in range(len(group_videos(videos, settings.videos)))])
    made = shards.map(
        ShardWriter,
        fn_constructor_args=(str(videos.resolve()), str(out.resolve()), weights, settings, "cuda" if gpus else "cpu"),
        concurrency=actors,
        num_gpus=gpus or None,
    ).take_all()
    frames = sum(row["frames"] for row in made)
    kept = sum(row["kept"] for row in made)
    return {"shards": len(made), "clips": sum(row["clips"] for row in made), "kept": round(kept / max(frames, 1), 4)}
