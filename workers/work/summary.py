"""summary: the last part of a dataset or batch, which tells what the others have made.

Of a dataset: the manifest, a README, a sheet of samples and, where attributes were read, their histograms.
They are outputs of the job, and lie in the dataset's folder beside its shards. Of a batch: results and
errors, a line for each job.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import orjson

from jobs.blobs import dataset_prefix
from jobs.schemas import DatasetRequest, Status, SummaryRequest
from jobs.store import JobRow
from workers import encode, plots
from workers.encode import Collage
from workers.images import to_pixels
from workers.job import Result, RunningJob
from workers.models import LoadedModel
from workers.provenance import provenance, to_text
from workers.work import dataset_card
from workers.work.sampling import Sampler, grouped
from workers.work.tallies import EDGES, together

Job = RunningJob[SummaryRequest]
SHEET = 64  # pictures on the sheet of samples
PAGE = 500  # parts that are read at a time


def summarise(job: Job) -> Result:
    parent = job.context.store.get(job.tenant, job.request.input.of)
    request = parent.request
    if isinstance(request, DatasetRequest):
        return _dataset(job, parent, request)
    return _batch(job, parent)


def _parts(job: Job, parent: JobRow) -> Iterator[JobRow]:
    """In order."""
    after = -1
    while page := job.context.store.parts(job.tenant, parent.id, after, PAGE):
        yield from page
        after = page[-1].place or 0
        job.reporter.alive()


# --- datasets --------------------------------------------------------------------------------------------


def _dataset(job: Job, parent: JobRow, request: DatasetRequest) -> Result:
    model, shards = job.model(), list(_parts(job, parent))
    made = [shard for shard in shards if shard.status is Status.SUCCEEDED and shard.result]
    total = together(shard.result for shard in made if shard.result)
    prefix = request.input.prefix or parent.id
    files = {
        "manifest.json": orjson.dumps(
            dataset_card.manifest(parent, request, model, shards, total), option=orjson.OPT_INDENT_2
        ),
        "README.md": dataset_card.readme(prefix, request, model, total).encode(),
    }
    if sheet := _sheet(job, model, request, made):
        files["samples.png"] = sheet
    if total["factors"]:
        files["factors.png"] = plots.histograms(
            total["factors"], EDGES.tolist(), f"{prefix}: what a network reads"
        )
    folder = dataset_prefix(job.tenant, prefix, request.output.bucket)
    for name, body in files.items():
        _put(job, folder + name, body)
    job.outbox.flush()
    return {name: total[name] for name in ("samples", "pictures", "unmet", "splits", "shares")} | {
        "prefix": folder,
        "shards": len(made),
        "complete": total["samples"] == request.input.samples,
    }


def _put(job: Job, key: str, body: bytes) -> None:
    """As an output, and in the dataset's folder, where an older one is replaced."""
    name = key.rsplit("/", 1)[1]
    kind = name.rsplit(".", 1)[1]
    roles = {"json": "manifest", "md": "report", "png": "plot"}
    role = "grid" if name == "samples.png" else roles[kind]
    media_type = encode.MEDIA_TYPES[kind]
    job.outbox.put(name, lambda: body, role=role, media_type=media_type)
    job.context.blobs.write(key, body, media_type=media_type)


def _sheet(job: Job, model: LoadedModel, request: DatasetRequest, made: list[JobRow]) -> bytes | None:
    """Samples from everywhere in the dataset, painted once more: they are the same pictures."""
    ranges = [range(s.result["first"], s.result["first"] + s.result["count"]) for s in made if s.result]
    there = [i for run in ranges for i in _spread(run, max(1, SHEET // len(ranges)))]
    indices = [there[i] for i in _spread(range(len(there)), SHEET)]
    if not indices:
        return None
    sampler = Sampler(job, model, request.input)
    variants = [()] if request.input.original else []
    wanted = [*variants, *(variant.edits for variant in request.input.variants)]
    tiles: dict[tuple[int, int], Any] = {}
    indices = indices[: max(1, SHEET // len(wanted))]
    for _, members in grouped(sampler.samples(indices)):
        own = sampler.codes(members)
        for column, edits in enumerate(wanted):
            pictures = job.wait(sampler.paint(members, sampler.edited(members, own, edits)))
            for sample, pixels in zip(members, to_pixels(pictures), strict=True):
                tiles[sample.i, column] = pixels
    first = next(iter(tiles.values()))
    collage = _frame(len(indices), len(wanted), *first.shape[:2])
    for place, (i, column) in enumerate((i, c) for i in indices for c in range(len(wanted))):
        collage.place(place, tiles[i, column])
    about = provenance("dataset", model.name, model.sha256, {"seed": request.input.seed}, indices=indices)
    return encode.png(collage.pixels, to_text(about))


def _frame(samples: int, each: int, height: int, width: int) -> Collage:
    """Rows of whole samples, about as many as columns."""
    across = max(1, round((samples * each) ** 0.5 / each))
    return Collage(-(-samples // across), across * each, height, width)


def _spread(run: range, count: int) -> list[int]:
    """Up to `count` of them, evenly."""
    count = min(count, len(run))
    return [run[j * len(run) // count] for j in range(count)]


# --- batches ---------------------------------------------------------------------------------------------


def _batch(job: Job, parent: JobRow) -> Result:
    results, errors = [], []
    for line in _parts(job, parent):
        told: dict[str, Any] = {"custom_id": line.metadata["custom_id"], "job": line.id}
        if line.status is Status.SUCCEEDED:
            results.append(orjson.dumps(told | {"result": line.result, "outputs": _outputs(line)}))
        else:
            error = vars(line.error) if line.error else {"code": line.status.value, "detail": ""}
            errors.append(orjson.dumps(told | {"status": line.status.value, "error": error}))
    for name, lines in (("results.jsonl", results), ("errors.jsonl", errors)):
        body = b"".join(line + b"\n" for line in lines)
        job.outbox.put(
            name, partial(bytes, body), role="results", media_type=encode.MEDIA_TYPES["jsonl"],
            about={"lines": len(lines)},
        )  # fmt: skip
    return {"completed": len(results), "failed": len(errors)}


def _outputs(line: JobRow) -> list[dict[str, Any]]:
    """Where each file lies; links, which end, are in the job's answer."""
    names = ("name", "role", "index", "media_type", "size_bytes", "sha256", "key", "about")
    return [{name: getattr(output, name) for name in names} for output in line.outputs]
