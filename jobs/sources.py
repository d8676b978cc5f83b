"""Where latents come from, as requests say it: seeds, numbers, or what an earlier job left."""

from typing import Annotated, Any

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from jobs.words import MAX_IMAGES, MAX_SEED, ImageId, JobId, Seed, SpaceName, Strict


def parse_seeds(text: str) -> tuple[int, ...]:
    """`"0-15,99"` -> (0, 1, …, 15, 99). At most `MAX_IMAGES` of them."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not (first.isascii() and first.isdigit() and (not dash or (last.isascii() and last.isdigit()))):
            raise ValueError(f'seeds are written like "0-15,99", not {text[:40]!r}')
        low, high = int(first), int(last or first)
        if high < low or high > MAX_SEED:
            raise ValueError(f"a seed range goes upwards and ends at {MAX_SEED} or before")
        if len(seeds) + high - low + 1 > MAX_IMAGES:
            raise PydanticCustomError(
                "limit_exceeded", "at most {limit} seeds in one job", {"limit": MAX_IMAGES}
            )
        seeds.extend(range(low, high + 1))
    return tuple(seeds)


def parse_layers(text: str) -> tuple[int, ...]:
    """`"0-3,7"` -> (0, 1, 2, 3, 7), sorted, each once."""
    layers: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if int(last or first) < int(first):
            raise ValueError(f"a range of layers goes upwards, and {part!r} does not")
        layers.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(layers))


class Numbers(Strict):
    """An array: `values` nested, or `base64` of little-endian float32 with its `shape`."""

    values: list[Any] | None = None
    base64: str | None = None
    shape: tuple[int, ...] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> "Numbers":
        if (self.values is None) == (self.base64 is None):
            raise ValueError("give either values, or base64 with shape")
        if (self.base64 is None) != (self.shape is None):
            raise ValueError("base64 and shape go together")
        return self


class Latents(Numbers):
    """Explicit latents: an array (N, …)."""

    space: SpaceName


class ArtifactRef(Strict):
    """An output of an earlier job of the same tenant."""

    job: JobId
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    index: Annotated[int, Field(ge=0)] | None = None
    """Row of the artifact; all rows when left out."""


class LatentSource(Strict):
    """Exactly one of them."""

    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, max_length=MAX_IMAGES)] | str | None = None
    latents: Latents | None = None
    artifact: ArtifactRef | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "LatentSource":
        names = list(type(self).model_fields)
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(names)} (got {given or 'none'})")
        if isinstance(self.seeds, str):
            parse_seeds(self.seeds)  # refuse it here, where the caller can still be told
        return self

    def seed_list(self) -> tuple[int, ...]:
        return parse_seeds(self.seeds) if isinstance(self.seeds, str) else self.seeds or ()


class Source(LatentSource):
    images: Annotated[tuple[ImageId, ...], Field(min_length=1, max_length=16)] | None = None
