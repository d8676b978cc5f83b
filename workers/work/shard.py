"""shard: a run of a dataset's samples as WebDataset tars, one for each split, with a table beside each.

Pictures of a sample share its key: `00000007.png`, `00000007.smile.png`, `00000007.json`, so a loader reads
pairs together. Equal requests give equal bytes, whoever works and however often; files therefore have keys
without a fence, and an attempt that finds them written has nothing to write.

While the engine paints one chunk, the pool encodes the chunk before, and this thread writes the one before
that.
"""

import shutil
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from jobs.blobs import dataset_prefix
from jobs.errors import Conflict, UnknownArtifact
from jobs.evaluation import EditStep
from jobs.schemas import DatasetRequest, ShardRequest
from workers.blocks import Answer
from workers.images import to_pixels
from workers.job import Result, RunningJob
from workers.latents import Latents
from workers.metrics import IMAGES
from workers.models import LoadedModel
from workers.work.members import Encoder, Made, Painted, Record
from workers.work.sampling import ORIGINAL, Sample, Sampler, grouped
from workers.work.shard_files import ShardFiles
from workers.work.tallies import Tally

Job = RunningJob[ShardRequest]
CHUNK = 128  # pictures that the engine is asked for at a time
GROUP = 16  # samples that one task of the pool encodes
AHEAD = 2  # chunks that may wait to be written
OLD_S = 86400.0  # after which what a killed worker left is removed


def shard(job: Job) -> Result:
    part = job.request.input
    parent = job.context.store.get(job.tenant, part.dataset)
    request, model = parent.request, job.model()
    if not isinstance(request, DatasetRequest):
        raise UnknownArtifact(f"{part.dataset} is no dataset")
    if request.input.model_sha256 != model.sha256:
        raise Conflict("The model has other weights than the dataset was asked of.", code="model_mismatch")
    folder = job.context.settings.work_dir / "shards"
    folder.mkdir(parents=True, exist_ok=True)
    _remove_old(folder)
    with TemporaryDirectory(dir=folder, prefix=f"{job.claim.job_id}-") as place:
        files = ShardFiles(Path(place), job.claim.row.place or 0, request.input.attributes)
        tally = Tally(request.input.attributes)
        for made in _made(job, model, request):
            files.add(made)
            tally.add(made)
        prefix = request.input.prefix or parent.id
        _publish(job, files, dataset_prefix(job.tenant, prefix, request.output.bucket))
        job.outbox.flush()  # the files go with the folder
    return {"first": part.first, "count": part.count, **tally.plain()}


def _remove_old(folder: Path) -> None:
    for left in folder.iterdir():
        if time.time() - left.stat().st_mtime > OLD_S:
            shutil.rmtree(left, ignore_errors=True)


# --- the line: paint, look, encode, write ----------------------------------------------------------------


@dataclass
class _Chunk:
    """Samples whose pictures the engine was asked for."""

    samples: list[Sample]
    answers: list[tuple[str, list[Sample], Latents, Answer]] = field(default_factory=list)
    """Variant, the samples of one share, their codes, and their pictures to be."""


def _made(job: Job, model: LoadedModel, request: DatasetRequest) -> Iterator[Made]:
    """The samples in order, as members of a tar."""
    part, given = job.request.input, request.input
    sampler, encoder = Sampler(job, model, given), Encoder(model, request)
    size = max(1, CHUNK // given.pictures_each)
    encoding: deque[list[Future[list[Made]]]] = deque()
    painting: _Chunk | None = None
    done = 0
    for first in range(part.first, part.first + part.count + size, size):
        indices = range(first, min(first + size, part.first + part.count))
        following = _ask(sampler, indices) if indices else None
        if painting is not None:
            records = _looked_at(sampler, painting, request.output.latents)
            encoding.append(_encode(job, encoder, records))
        painting = following
        while encoding and (len(encoding) > AHEAD or not indices):
            for made in _written(job, encoding.popleft()):
                done += 1
                IMAGES.labels("dataset").inc(given.pictures_each)
                yield made
            job.reporter.report(done / part.count, done, part.count)


def _ask(sampler: Sampler, indices: Sequence[int]) -> _Chunk:
    """Have the pictures of some samples painted."""
    given, chunk = sampler.given, _Chunk(sampler.samples(indices))
    variants: dict[str, tuple[EditStep, ...]] = {ORIGINAL: ()} if given.original else {}
    variants |= {variant.name: variant.edits for variant in given.variants}
    for _, members in grouped(chunk.samples):
        own = sampler.codes(members)
        for name, edits in variants.items():
            codes = sampler.edited(members, own, edits)
            chunk.answers.append((name, members, codes, sampler.paint(members, codes)))
    return chunk


def _looked_at(sampler: Sampler, chunk: _Chunk, latents: str) -> list[Record]:
    """The samples with all that is known of each of their pictures."""
    records = {sample.i: Record(sample) for sample in chunk.samples}
    for variant, members, codes, answer in chunk.answers:
        if latents != "none":
            _keep_latents(sampler, records, variant, members, codes, latents)
        pictures = sampler.job.wait(answer)
        attributes = sampler.read(pictures) if sampler.given.attributes else {}
        masks = sampler.parts(pictures) if sampler.given.masks else None
        pixels = to_pixels(pictures)
        for row, sample in enumerate(members):
            records[sample.i].pictures[variant] = Painted(
                pixels[row],
                {name: float(values[row]) for name, values in attributes.items()},
                None if masks is None else masks[row].numpy(),
            )
    return list(records.values())


def _keep_latents(
    sampler: Sampler,
    records: dict[int, Record],
    variant: str,
    members: Sequence[Sample],
    codes: Latents,
    space: str,
) -> None:
    """z and w are the sample's and stand there once, under the name of the space."""
    name = space if space in ("z", "w") else f"{variant}.{space}".lstrip(".")
    if name in records[members[0].i].latents:
        return
    for sample, row in zip(members, sampler.latents(members, codes, space), strict=True):
        records[sample.i].latents[name] = row.numpy()


def _encode(job: Job, encoder: Encoder, records: Sequence[Record]) -> list[Future[list[Made]]]:
    groups = [records[at : at + GROUP] for at in range(0, len(records), GROUP)]
    return [job.context.pool.submit(encoder.encode, group) for group in groups]


def _written(job: Job, futures: Sequence[Future[list[Made]]]) -> Iterator[Made]:
    for future in futures:
        yield from job.reporter.wait(future)


# --- publishing ------------------------------------------------------------------------------------------


def _publish(job: Job, files: ShardFiles, folder: str) -> None:
    for path, role, media_type, about in files.close():
        fenced = f"{path.stem}.{job.claim.fence}{path.suffix}"
        keys = [folder + name for name in (path.name, fenced)]
        job.outbox.put(
            path.name, partial(_itself, path), role=role, media_type=media_type, about=about, keys=keys
        )


def _itself(path: Path) -> Path:
    return path
