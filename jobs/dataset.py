"""The input of a `dataset` job and of its parts, and what becomes of sample i.

All of it follows from the job's `seed` and i alone: never from shards, workers or attempts. The seed of
sample i is `seed + i`, so a dataset holds no latent twice. Its share of the mix and its split are read off
the two-dimensional sequence of the plastic number (M. Roberts, "The Unreasonable Effectiveness of Quasirandom
Sequences", 2018): in any run of samples, shares, splits and their combinations hold to within a few.
"""

from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, Field, model_validator

from jobs.evaluation import EditStep
from jobs.words import MAX_SEED, ClassRef, Finite, JobId, Layers, Name, Psi, Seed, Sha256Hex, Strict, Text

MAX_COUNT = 10_000_000  # latents of one dataset
MAX_SHARDS = 20_000
MAX_TRIES = 64
_STRIDE = 2**32 // MAX_TRIES  # between the seeds that are tried for one image
_BITS = 2**64
_PLASTIC = (13925035116211876495, 10511698010929265437)  # 2**64 / p and 2**64 / p², p the plastic number
_GOLDEN = 11400714819323198485  # turns neighbouring job seeds into distant starts


class Range(Strict):
    """From `min` to `max`; without one of them, as far as it goes."""

    min: Finite | None = None
    max: Finite | None = None

    @model_validator(mode="after")
    def _some(self) -> "Range":
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is above max")
        return self


class FlowStep(Strict):
    """Attributes that a trained StyleFlow sets, in their own units; those that it is not told are held."""

    name: Name
    """Of the flow: a `discover` job with the method styleflow makes it."""
    set: Annotated[dict[Name, Finite], Field(min_length=1, max_length=32)]
    layers: Layers | None = None
    """Of W+ that change; those that the flow recommends without it."""


class Share(Strict):
    """A part of the images, and what they are to be: of a class, taken by a flow to attributes, edited, or
    chosen by what a network sees.
    """

    name: Name
    share: Annotated[float, Field(gt=0, le=1)]
    class_index: Annotated[ClassRef | None, Field(alias="class")] = None
    """In place of the dataset's."""
    flow: FlowStep | None = None
    """Before the edits: what a network reads in each picture is set to what it is to be."""
    edits: Annotated[tuple[EditStep, ...], Field(max_length=8)] = ()
    """Directions along which each of them is moved."""
    require: Annotated[dict[Name, bool | Text | Range], Field(max_length=8)] = {}  # noqa: RUF012
    """Factors that a picture must show, by name: true or false, a value by its name, or a range."""
    tries: Annotated[int, Field(ge=1, le=MAX_TRIES)] = 32
    """Latents that are tried for one picture; the nearest is taken, and marked, where none will do."""


class Variant(Strict):
    """The same latent once more, edited."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
    edits: Annotated[tuple[EditStep, ...], Field(min_length=1, max_length=8)]


def _distinct(shares: tuple[Share, ...]) -> tuple[Share, ...]:
    if len({share.name for share in shares}) < len(shares):
        raise ValueError("every share has a name of its own")
    if sum(share.share for share in shares) > 1 + 1e-9:
        raise ValueError("the shares are more than 1 together")
    return shares


def _distinct_variants(variants: tuple[Variant, ...]) -> tuple[Variant, ...]:
    names = {variant.name for variant in variants}
    if len(names) < len(variants) or names & {"mask", "json", "npz"}:
        raise ValueError("every variant has a name of its own, other than mask, json and npz")
    return variants


def _whole(splits: dict[str, float]) -> dict[str, float]:
    if abs(sum(splits.values()) - 1) > 1e-9:
        raise ValueError("the splits are 1 together")
    return splits


SplitName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


class DatasetInput(Strict):
    """What a caller asks for. A latent with its variants is a sample; `count` counts samples."""

    count: Annotated[int, Field(ge=1, le=MAX_COUNT)] | None = None
    """Samples; left out where `seeds` says how many."""
    seeds: Annotated[str, Field(pattern=r"^\d+(-\d+)?(,\d+(-\d+)?)*$", max_length=65536)] | None = None
    """These seeds, such as "0-9999,20000", in place of `seed`, `seed + 1`, …"""
    seed: Seed = 0
    psi: Psi = 0.7
    cutoff: Annotated[int, Field(ge=0, le=64)] | None = None
    class_index: Annotated[ClassRef | None, Field(alias="class")] = None
    noise: Annotated[str, Field(pattern="^(const|random|none)$")] = "const"
    noise_seed: Seed = 0
    mix: Annotated[tuple[Share, ...], Field(max_length=32), AfterValidator(_distinct)] = ()
    """Parts of the images that are to be something; what is left is as it comes."""
    variants: Annotated[tuple[Variant, ...], Field(max_length=8), AfterValidator(_distinct_variants)] = ()
    """Further pictures of each sample, such as the same person with a smile."""
    original: bool = True
    """Also the sample as it was before its variants' edits."""
    attributes: bool = False
    """What the feature network reads in each picture."""
    masks: bool = False
    """A picture of each picture's parts."""
    splits: Annotated[
        dict[SplitName, Annotated[float, Field(gt=0, le=1)]],
        Field(min_length=1, max_length=8),
        AfterValidator(_whole),
    ] = {"train": 1.0}  # noqa: RUF012
    shard_size: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Samples of a shard; left out, what takes a worker a few minutes at most."""
    prefix: Name | None = None
    """Folder in the bucket, under the tenant's; left out, the job's id."""
    model_sha256: Sha256Hex | None = None
    """The weights; filled in when the job is accepted."""

    @model_validator(mode="after")
    def _goes_together(self) -> "DatasetInput":
        if (self.count is None) == (self.seeds is None):
            raise ValueError("give either count or seeds")
        if self.seeds is not None and any(share.require for share in self.mix):
            raise ValueError("what is chosen by require cannot have given seeds: give count and seed")
        if not self.original and not self.variants:
            raise ValueError("original is false, and there are no variants: no picture is left")
        if self.seeds is not None:
            SeedRuns(self.seeds)  # refuse it here, where the caller can still be told
        return self

    @property
    def samples(self) -> int:
        return self.count if self.count is not None else self.runs.count

    def completed(self, resolution: int, sha256: str) -> "DatasetInput":
        """With what it leaves out and depends on the model."""
        size = self.shard_size or default_shard_size(resolution, self.pictures_each)
        return self.model_copy(update={"shard_size": size, "model_sha256": self.model_sha256 or sha256})

    @property
    def pictures(self) -> int:
        return self.samples * self.pictures_each

    @property
    def shards(self) -> int:
        assert self.shard_size is not None
        return shards_of(self.samples, self.shard_size)

    @property
    def pictures_each(self) -> int:
        return len(self.variants) + self.original

    @cached_property
    def runs(self) -> "SeedRuns":
        return SeedRuns(self.seeds or "")

    def seed_of(self, i: int, attempt: int = 0) -> int:
        """The seed of sample i; those of further attempts are no other sample's."""
        if self.seeds is not None:
            return self.runs[i]
        return (self.seed + i + attempt * _STRIDE) % (MAX_SEED + 1)

    def share_of(self, i: int) -> int | None:
        """Which of `mix`; None for what is left."""
        found = bisect_right(_ends([share.share for share in self.mix]), _place(self.seed, i, 0))
        return found if found < len(self.mix) else None

    def split_of(self, i: int) -> str:
        names = list(self.splits)
        found = bisect_right(_ends(list(self.splits.values())), _place(self.seed, i, 1))
        return names[min(found, len(names) - 1)]


def _place(seed: int, i: int, axis: int) -> float:
    """Of sample i along an axis of the sequence, in [0, 1)."""
    start = seed * _GOLDEN + _BITS // 2
    return (start + (i + 1) * _PLASTIC[axis]) % _BITS / _BITS


def _ends(parts: Sequence[float]) -> list[float]:
    return [min(end, 1.0) if end < 1 - 1e-9 else 1.0 for end in accumulate(parts)]


class SeedRuns:
    """`"0-9,50"` as a sequence, without writing it out. Raises ValueError unless every seed is there once."""

    def __init__(self, text: str) -> None:
        self._runs = [_run(part) for part in text.split(",") if part]
        ordered = sorted(self._runs)
        if any(after.start < before.stop for before, after in pairwise(ordered)):
            raise ValueError("every seed counts once")
        self._ends = list(accumulate(run.stop - run.start for run in self._runs))
        if self.count > MAX_COUNT:
            raise ValueError(f"a dataset has at most {MAX_COUNT} samples")

    @property
    def count(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, i: int) -> int:
        found = bisect_right(self._ends, i)
        return self._runs[found].stop - (self._ends[found] - i)


class _Run(NamedTuple):
    start: int
    stop: int


def _run(text: str) -> _Run:
    first, _, last = text.partition("-")
    low, high = int(first), int(last or first)
    if high < low or high > MAX_SEED:
        raise ValueError(f"a range of seeds goes upwards and ends at {MAX_SEED} or before")
    return _Run(low, high + 1)


def default_shard_size(resolution: int, pictures_each: int) -> int:
    """About a gigabyte of pixels: two minutes of two cores, or of a device with large pictures."""
    return max(64, min(10_000, 2**28 // (resolution**2 * pictures_each)))


def shards_of(samples: int, size: int) -> int:
    return -(-samples // size)


# --- the parts -------------------------------------------------------------------------------------------


class ShardInput(Strict):
    """Made by the service, never sent by a caller."""

    dataset: JobId
    first: Annotated[int, Field(ge=0)]
    """Of its samples."""
    count: Annotated[int, Field(ge=1)]


class SummaryInput(Strict):
    """Made by the service, never sent by a caller."""

    of: JobId
    """The dataset or batch whose parts have ended."""
