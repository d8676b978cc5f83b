"""Where latents come from, the `source` of a request, and the way from any space to a picture."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from generative.cards import Card
from generative.generator import Generator, StyleGenerator, sample_z
from generative.inversion import weight_delta
from generative.inversion.feature_space import FEATURES
from generative.p_space import from_pn
from generative.spaces import Space, broadcast
from jobs.errors import BadRequest, NotFound, UnknownArtifact, UnsupportedByModel
from jobs.sources import ArtifactRef, LatentSource
from workers.blocks import Answer, Op
from workers.images import Pixels, to_pixels
from workers.job import RunningJob
from workers.latents import Latents, check, from_file, known_by_hash, parse
from workers.models import LoadedModel
from workers.provenance import to_text
from workers.work import painting

Identity = tuple[str, int]  # what a picture is made from, and how many of the same come before it
CHUNK = 32  # pictures in one call of the engine: progress and cancel are that fine


class Painter(Protocol):
    """A model, loaded or not yet: whatever has a generator."""

    @property
    def generator(self) -> Generator: ...


@dataclass(frozen=True)
class Truncation:
    """How latents from Z are brought to W+."""

    psi: float = 1.0
    cutoff: int | None = None
    class_index: int | None = None


def resolve(job: RunningJob, model: Painter, source: LatentSource) -> Latents:
    """Seeds, numbers or an earlier job's latents. Raises BadRequest errors."""
    if source.seeds is not None:
        return from_seeds(source.seed_list(), model.generator)
    if source.latents is not None:
        given = known_by_hash(Space(source.latents.space), parse(source.latents))
        return check(given, model.generator)
    if source.artifact is None:
        raise BadRequest("pictures must be inverted first")
    stored = from_file(_read_artifact(job, source.artifact))
    index = source.artifact.index
    if index is not None and index >= len(stored):
        raise UnknownArtifact(f"{source.artifact.name} has {len(stored)} rows, so no row {index}")
    return check(stored if index is None else stored.row(index), model.generator)


def from_seeds(seeds: Sequence[int], generator: Generator) -> Latents:
    return Latents(Space.Z, sample_z(seeds, generator), tuple({"seed": seed} for seed in seeds))


def _read_artifact(job: RunningJob, ref: ArtifactRef) -> bytes:
    try:
        row = job.context.store.get(job.tenant, ref.job)
    except NotFound as error:
        raise UnknownArtifact(f"there is no job {ref.job}") from error
    output = next((o for o in row.outputs if o.name == ref.name), None)
    if output is None:
        raise UnknownArtifact(f"job {ref.job} has no output {ref.name!r}")
    if output.key is None or output.gone:
        raise UnknownArtifact(f"{ref.name} of job {ref.job} was removed when its retention ended")
    return job.context.blobs.read(output.key)


def to_ws(job: RunningJob, model: Painter, latents: Latents, truncation: Truncation) -> Tensor:
    """Latents in Z, W, W+, P or P+ -> (N, L, w_dim). Truncation acts on those from Z only."""
    generator = with_w(model.generator)
    if latents.space in (Space.P, Space.P_PLUS):
        assert isinstance(model, LoadedModel)
        return broadcast(from_pn(latents.rows, model.codes.axes), generator.num_ws)
    if latents.space is Space.W_PLUS:
        return latents.rows
    if latents.space is Space.W:
        return broadcast(latents.rows, generator.num_ws)
    if latents.space in (Space.S, Space.FEATURES):
        raise UnsupportedByModel(f"latents in {latents.space} cannot be brought back to W+")
    ws: Tensor = job.forward(model, painting.map_z, mapping_inputs(model, latents, truncation))
    return ws


@dataclass(frozen=True, eq=False)
class Tuned:
    """A generator that was bent to one picture."""

    generator: Generator


def tuned_by(model: Painter, tuning: Mapping[str, Tensor]) -> Tuned:
    """The model with what pivotal tuning has added. Raises UnsupportedByModel if it is another model's."""
    try:
        return Tuned(weight_delta.apply(with_w(model.generator), tuning))
    except ValueError as error:
        raise UnsupportedByModel(f"the latents were tuned for another model: {error}") from error


def untuned(latents: Latents, what: str) -> Latents:
    """The same. Raises UnsupportedByModel for latents that have a generator of their own."""
    if latents.tunings:
        raise UnsupportedByModel(
            f"{what} needs one generator, and these latents were tuned, each with its own"
        )
    return latents


class Truncated(Protocol):
    """The inputs of the kinds that begin in Z."""

    psi: float
    cutoff: int | None
    class_index: int | str | None


def truncation_of(job: RunningJob[Any], model: LoadedModel) -> Truncation:
    """What the job's request asks for. Raises UnsupportedByModel for a class that the model lacks."""
    wanted: Truncated = job.request.input
    return Truncation(wanted.psi, wanted.cutoff, class_number(model.card, wanted.class_index))


def truncation_words(model: LoadedModel) -> set[str]:
    """The fields of a request by which this family truncates."""
    return {"w": {"psi", "cutoff"}, "z": {"psi"}, "none": set()}[model.card.truncation]


def class_number(card: Card, wanted: int | str | None) -> int | None:
    """The index of a class that was named. Raises UnsupportedByModel."""
    if not isinstance(wanted, str):
        return wanted
    if wanted not in card.class_names:
        raise UnsupportedByModel(f"the model {card.name!r} has no class {wanted!r}")
    return card.class_names.index(wanted)


def with_w(generator: Generator) -> StyleGenerator:
    """The same. Raises UnsupportedByModel for a family that has no W."""
    if not isinstance(generator, StyleGenerator):
        raise UnsupportedByModel(f"the family {generator.family} has the space z only")
    return generator


def mapping_inputs(model: Painter, latents: Latents, truncation: Truncation) -> dict[str, Tensor]:
    """What `painting.map_z` takes, and `painting.Paint`, for latents in Z."""
    inputs = {"z": latents.rows}
    if isinstance(model.generator, StyleGenerator):
        inputs["psi"] = _psi_of_layers(len(latents), model.generator, truncation)
    if model.generator.c_dim:
        inputs["c"] = one_hot(truncation.class_index, len(latents), model.generator.c_dim)
    elif truncation.class_index is not None:
        raise UnsupportedByModel("this model has no classes")
    return inputs


def _psi_of_layers(N: int, generator: StyleGenerator, truncation: Truncation) -> Tensor:
    """(N, L): psi in the layers before the cutoff, 1 in the others."""
    psi = torch.ones(N, generator.num_ws)
    psi[:, : truncation.cutoff] = truncation.psi
    return psi


def one_hot(class_index: int | None, N: int, c_dim: int) -> Tensor:
    if class_index is None:
        raise BadRequest("this model needs a class")
    if class_index >= c_dim:
        raise UnsupportedByModel(f"this model has the classes 0 to {c_dim - 1}, so no {class_index}")
    return F.one_hot(torch.tensor(class_index), c_dim).float().expand(N, -1)


def psi_of(generator: Generator, truncation: Truncation) -> float:
    """What `painting.Paint` needs of the truncation: codes of families with W have it in them."""
    return truncation.psi if generator.psi_acts_on == "z" else 1.0


def paintable(
    job: RunningJob, model: Painter, latents: Latents, truncation: Truncation, *, mapped: bool = True
) -> dict[str, Tensor]:
    """The codes that `painting.Paint` takes: `{"ws": ...}`, `{"styles": ...}` for latents in S, `{"ws": ...}`
    with `features:<layer>` for features, or `{"z": ...}` and what goes with it for a family without W, and
    for latents in Z that need not be `mapped`: one unit of work less, for who wants pictures only.
    """
    if latents.space is Space.FEATURES:
        return {"ws": latents.rows} | {FEATURES + name: t for name, t in latents.features.items()}
    if latents.space is Space.S:
        return {"styles": latents.rows}
    if latents.space is Space.Z and not (mapped and isinstance(model.generator, StyleGenerator)):
        return mapping_inputs(model, latents, truncation)
    return {"ws": to_ws(job, model, latents, truncation)}


@dataclass(frozen=True)
class NoiseSource:
    """The noise of each picture, by `mode`: const, random or none.

    Random noise follows from `seed` and the picture's identity: what it is made from, and how many of the
    same the job has before it. So neither its place among other pictures nor the job matters.
    """

    mode: str = "const"
    seed: int = 0
    identities: Sequence[Identity] = ()
    found: Mapping[str, Tensor] = field(default_factory=dict)  # (N, 1, H, W) by layer, in place of const

    def inputs(self, generator: Generator, first: int, count: int) -> dict[str, Tensor]:
        """For pictures `first`, `first + 1`, ...: (count, 1, H, W) for every layer with noise."""
        if self.mode == "const":
            return {painting.NOISE + name: t[first : first + count] for name, t in self.found.items()}
        if self.mode == "none" or not isinstance(generator, StyleGenerator) or not generator.noise_sizes:
            return {}
        pictures = [_draw_noise(generator, self.seed, *who) for who in self.identities[first : first + count]]
        return {painting.NOISE + name: torch.stack([p[name] for p in pictures]) for name in pictures[0]}

    def rest(self) -> Literal["const", "none"]:
        """The noise of the layers that `inputs` says nothing of."""
        return "const" if self.mode == "const" and not self.found else "none"


def identities(origins: Sequence[Mapping[str, Any]]) -> list[Identity]:
    """For each picture what it is made from, as text, and how many of the same come before it."""
    seen: Counter[str] = Counter()
    found = []
    for text in map(to_text, origins):
        found.append((text, seen[text]))
        seen[text] += 1
    return found


def _draw_noise(generator: StyleGenerator, seed: int, origin: str, repeat: int) -> dict[str, Tensor]:
    """Standard normal, (1, H, W) by layer, coarse to fine from one stream."""
    who = int.from_bytes(hashlib.sha256(origin.encode()).digest()[:8], "big")
    rng = np.random.default_rng([seed, who, repeat])
    shapes = {name: (1, side, side) for name, side in generator.noise_sizes.items()}
    return {n: torch.from_numpy(rng.standard_normal(shape, np.float32)) for n, shape in shapes.items()}


def paint(
    job: RunningJob,
    model: Painter,
    inputs: Mapping[str, Tensor],
    noise: NoiseSource,
    truncation: Truncation,
    *,
    tunings: Sequence[Mapping[str, Tensor]] = (),
    lod: float | None = None,
    begin: float = 0.0,
) -> Iterator[Pixels]:
    """Pictures (H, W, 3), one after the other. While the caller has one chunk, the engine makes the next.

    Progress goes from `begin` to 1. `tunings`: of each picture, empty for none.
    """
    if tunings:
        yield from _paint_tuned(job, model, inputs, noise, tunings, lod)
        return
    op = painting.Paint(noise.rest(), lod, psi_of(model.generator, truncation))
    N = len(next(iter(inputs.values())))
    pending: Answer | None = None
    for first in range(0, N + CHUNK, CHUNK):
        following = _submit(job, model, op, inputs, noise, first) if first < N else None
        if pending is not None:
            yield from to_pixels(job.wait(pending))
            done = min(first, N)
            job.reporter.report(begin + (1 - begin) * done / N, done, N)
        pending = following


def _paint_tuned(
    job: RunningJob,
    model: Painter,
    inputs: Mapping[str, Tensor],
    noise: NoiseSource,
    tunings: Sequence[Mapping[str, Tensor]],
    lod: float | None,
) -> Iterator[Pixels]:
    """As `paint`; pictures that follow each other and have the same tuning share a generator."""
    op = painting.Paint(noise.rest(), lod)
    painter, last = model, None
    for i, tuning in enumerate(tunings):
        if tuning is not last:
            painter, last = tuned_by(model, tuning), tuning
        one = {name: t[i : i + 1] for name, t in inputs.items()}
        answer = job.submit(painter, op, {**one, **noise.inputs(model.generator, i, 1)})
        yield from to_pixels(job.wait(answer))
        job.reporter.report((i + 1) / len(tunings), i + 1, len(tunings))


def _submit(
    job: RunningJob,
    model: Painter,
    op: Op,
    inputs: Mapping[str, Tensor],
    noise: NoiseSource,
    first: int,
) -> Answer:
    chunk = {name: t[first : first + CHUNK] for name, t in inputs.items()}
    count = len(next(iter(chunk.values())))
    return job.submit(model, op, {**chunk, **noise.inputs(model.generator, first, count)})
