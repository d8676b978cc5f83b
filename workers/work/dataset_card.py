"""What is said of a dataset as a whole: a manifest for programs, a README for people."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from jobs.metrics import built_version
from jobs.schemas import DatasetRequest, Status
from jobs.store import JobRow
from workers.models import LoadedModel
from workers.work.shard_files import schema

FORMAT = 1  # of the manifest
LIBRARIES = ("torch", "numpy", "opencv-python-headless", "pyarrow")


def manifest(
    parent: JobRow,
    request: DatasetRequest,
    model: LoadedModel,
    shards: Sequence[JobRow],
    total: Mapping[str, Any],
) -> dict[str, Any]:
    """All that is needed to read the dataset, to check it and to make it again."""
    given = request.input
    return {
        "format": FORMAT,
        "job": parent.id,
        "model": {"name": model.name, "sha256": model.sha256, "card": _card(model)},
        "licence": _card(model).get("licence"),
        "request": {
            "input": given.model_dump(mode="json", by_alias=True, exclude_none=True),
            "output": request.output.model_dump(mode="json"),
        },
        "counts": {**total, "complete": total["samples"] == given.samples},
        "columns": {f.name: str(f.type) for f in schema(given.attributes)},
        "parts": list(model.parts.record.parts) if given.masks and model.parts is not None else None,
        "versions": {"ganserve": built_version()} | {name: version(name) for name in LIBRARIES},
        "files": [_file(shard, output) for shard in shards for output in shard.outputs],
        "missing": [_missing(shard) for shard in shards if shard.status is not Status.SUCCEEDED],
    }


def _card(model: LoadedModel) -> dict[str, Any]:
    card: dict[str, Any] = model.card.model_dump(mode="json")
    return {name: value for name, value in card.items() if name not in ("directions", "layers")}


def _file(shard: JobRow, output: Any) -> dict[str, Any]:
    range_ = {"first": shard.result["first"], "count": shard.result["count"]} if shard.result else {}
    names = ("name", "role", "key", "size_bytes", "sha256")
    return {name: getattr(output, name) for name in names} | output.about | range_


def _missing(shard: JobRow) -> dict[str, Any]:
    given: Any = shard.request.input
    error = vars(shard.error) if shard.error else None
    return {
        "first": given.first, "count": given.count, "job": shard.id,
        "status": shard.status.value, "error": error,
    }  # fmt: skip


def readme(prefix: str, request: DatasetRequest, model: LoadedModel, total: Mapping[str, Any]) -> str:
    given, suffix = request.input, {"jpeg": "jpg"}.get(request.output.format, request.output.format)
    card = _card(model)
    whole = "" if total["samples"] == given.samples else f" of {given.samples:,} (not complete)"
    what = f"{total['samples']:,} samples{whole}, {total['pictures']:,} pictures"
    lines = [
        f"# {prefix}",
        "",
        f"{what} of {_side(request, model)} pixels, made with `{model.name}` (sha256 `{model.sha256}`).",
        f"Licence of the model: {card.get('licence') or 'not stated'}.",
        "",
        "![samples](samples.png)",
        "",
        *_table("split", total["splits"]),
        *_table("share", total["shares"]),
    ]
    if total["unmet"]:
        lines += [f"{total['unmet']:,} samples do not show what their share requires (`met` is false).", ""]
    if total["factors"]:
        lines += ["What a network reads in the pictures:", "", "![factors](factors.png)", ""]
    lines += [
        "Sample i has the seed "
        + ("that is i-th of those given" if given.seeds else f"{given.seed} + i")
        + ".",
        "`manifest.json` lists every file with its sha256 and the request that makes the dataset again.",
        "",
        "```python",
        *_reading(given.splits, suffix),
        "```",
    ]
    return "\n".join(lines) + "\n"


def _reading(splits: Mapping[str, float], suffix: str) -> list[str]:
    split = next(iter(splits))
    return [
        "from glob import glob",
        "",
        "import webdataset as wds",
        "",
        f'urls = sorted(glob("{split}-*.tar"))',
        'for sample in wds.WebDataset(urls, shardshuffle=False).decode("rgb8"):',
        f'    picture, about = sample["{suffix}"], sample["json"]',
    ]


def _table(title: str, counts: Mapping[str, int]) -> list[str]:
    if len(counts) < 2:
        return []
    rows = [f"| {name} | {count:,} |" for name, count in sorted(counts.items())]
    return [f"| {title} | samples |", "|---|---|", *rows, ""]


def _side(request: DatasetRequest, model: LoadedModel) -> int:
    return request.output.size or model.card.resolution
