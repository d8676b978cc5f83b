"""Models in memory: the ones used last stay loaded, up to a count and a budget of bytes.

A model is a folder (`generative.store`). Those that ship lie in the model repository; imported ones are
loaded from the worker's shelf (`workers.shelf`).
"""

import copy
import tempfile
import threading
from collections import ChainMap, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import cast

import torch

from generative.cards import Card, read_card
from generative.editing.attribute_flow import AttributeFlow
from generative.editing.direction import Direction
from generative.editing.files import Members, load_sets
from generative.editing.unit_table import UnitTable
from generative.generator import Generator, StyleGenerator
from generative.inversion.codes import CodeBook
from generative.inversion.encoding import Encoder, encode, seen_in
from generative.inversion.search import viewed
from generative.losses import PerceptualDistance
from generative.metrics.examiner import Examiner
from generative.metrics.extractors import ShippedFeatures
from generative.networks import feature_network, parts_network
from generative.networks.feature_network import FeatureNetwork
from generative.networks.parts_network import PartsNetwork
from generative.statistics import WStatistics
from generative.store import load_encoder, load_model, load_statistics
from jobs import tracing
from jobs.blobs import BlobStore, fetch
from jobs.cards import WORLD
from jobs.errors import NotFound, UnknownDirection, UnknownModel
from jobs.settings import Settings
from jobs.store import DirectionSetRow, JobStore, ModelRow
from workers.blocks import Op, Subject
from workers.engine import Model
from workers.metrics import LOAD_SECONDS, MODELS_LOADED
from workers.runtimes import Elsewhere, Place, Runtime, is_plain, open_runtime
from workers.shelf import Shelf, is_model

CAPACITY = 4  # models kept in memory
SETS = 64  # sets of directions kept in memory
LENDER = "portraits"  # the shipped model whose feature network serves colour models that have none


class Encoding:
    """An encoder for a generator: called with pictures (N, C, H, W) it gives ws (N, L, D), or in the space S
    styles (N, S).
    """

    def __init__(self, encoder: Encoder, generator: StyleGenerator) -> None:
        self._encoder, self._generator = encoder, generator
        self.img_resolution, self.space = generator.img_resolution, seen_in(encoder)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return encode(self._encoder, images, self._generator)


class Comparing:
    """A perceptual distance for pictures of one size: called with two sets (N, C, H, W) it gives (N,)."""

    def __init__(self, distance: PerceptualDistance, img_resolution: int) -> None:
        self._distance, self.img_resolution = distance, img_resolution

    def __call__(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self._distance(viewed(a), viewed(b))
        return found


class Labelling:
    """A network that sees the parts of pictures, for the engine: a copy on its device."""

    def __init__(self, parts: PartsNetwork, generator: Generator) -> None:
        self.network = copy.deepcopy(parts).to(next(generator.parameters()).device)
        self.img_resolution = generator.img_resolution

    def label(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) -> (N, H, W) uint8."""
        return self.network.label(images)


@dataclass(frozen=True)
class LoadedModel:
    """Ready to paint: on the device, in evaluation mode, weights frozen."""

    name: str
    sha256: str  # of the weights
    card: Card
    generator: Generator
    statistics: WStatistics | None
    """None for a family without W."""
    directions: Mapping[str, Direction]
    perceptual: PerceptualDistance | None
    codes: CodeBook
    encoder: Encoder | None = None
    flows: Mapping[str, AttributeFlow] = field(default_factory=dict)
    units: Mapping[str, UnitTable] = field(default_factory=dict)
    """Dissected layers."""
    parts: PartsNetwork | None = None
    """Finds portraits in pictures; on the CPU, for jobs' own threads."""
    runtime: Runtime | None = None
    """Runs the plain paths elsewhere; None where torch does."""
    shared: "LoadedModel | None" = None
    """The model without a tenant's directions, which holds what all tenants share."""

    @cached_property
    def size_bytes(self) -> int:
        """Of its own networks, and once more of the generator where a backend holds the weights, too."""
        twice = [self.generator] if self.runtime is not None else []
        own = [
            n for n in (*twice, self.generator, self.encoder, self.parts) if isinstance(n, torch.nn.Module)
        ]
        return sum(t.nbytes for network in own for t in (*network.parameters(), *network.buffers()))

    def direction(self, name: str) -> Direction:
        """Raises UnknownDirection."""
        if name not in self.directions:
            raise UnknownDirection(f"The model {self.name!r} has no direction {name!r}.")
        return self.directions[name]

    def flow(self, name: str) -> AttributeFlow:
        """Raises UnknownDirection."""
        if name not in self.flows:
            raise UnknownDirection(f"The model {self.name!r} has no flow {name!r}.")
        return self.flows[name]

    @cached_property
    def encode(self) -> Encoding | None:
        """Pictures to ws; one for as long as the model is loaded, for searches that share it share steps."""
        if self.shared is not None:
            return self.shared.encode
        if self.encoder is None or not isinstance(self.generator, StyleGenerator):
            return None
        return Encoding(self.encoder, self.generator)

    @cached_property
    def comparing(self) -> Comparing:
        """One for as long as the model is loaded."""
        if self.shared is not None:
            return self.shared.comparing
        assert self.perceptual is not None
        return Comparing(self.perceptual, self.generator.img_resolution)

    @cached_property
    def examiner(self) -> Examiner | None:
        """For evaluations; one for as long as the model is loaded. None without a network to look with."""
        if self.shared is not None:
            return self.shared.examiner
        if self.perceptual is None:
            return None
        network = self.perceptual.features
        return Examiner(self.generator, ShippedFeatures(network), network, self.perceptual)

    @cached_property
    def labelling(self) -> Labelling | None:
        """One for as long as the model is loaded."""
        if self.shared is not None:
            return self.shared.labelling
        return None if self.parts is None else Labelling(self.parts, self.generator)


def placed(model: Model, op: Op) -> tuple[Model, Op]:
    """Where an operation runs: on the backend of a model that has one for it, else where it was to."""
    if isinstance(model, LoadedModel) and model.runtime is not None and is_plain(op):
        return Subject(model.runtime), Elsewhere(op)
    return model, op


class Models:
    """Loads models, and forgets the one that was used longest ago. May be called from any thread."""

    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        blobs: BlobStore,
        device: torch.device | str = "cpu",
        *,
        capacity: int = CAPACITY,
    ) -> None:
        self._repo = settings.model_repo
        self._shelf = Shelf(settings.work_dir / "models", blobs, settings.model_disk_bytes)
        self._backend_of, self._triton_address = settings.backend_of, settings.triton_address
        self._memory_bytes = settings.model_memory_bytes
        self._store, self._blobs, self._device, self._capacity = store, blobs, torch.device(device), capacity
        self._loaded: OrderedDict[Path, tuple[str, LoadedModel]] = OrderedDict()  # used last: at the end
        self._features: dict[Path, PerceptualDistance] = {}
        self._sets: dict[str, Members] = {}  # by their prefix
        self._locks: dict[Path, threading.Lock] = {}
        self._guard = threading.Lock()

    def get(self, tenant: str, name: str) -> LoadedModel:
        """The model that requests of this tenant mean by `name`.

        Raises:
            UnknownModel: if there is none.
            CheckpointError, ValueError: if its folder is broken.
        """
        return self._with_sets(self._get(tenant, name), tenant, name)

    def _get(self, tenant: str, name: str) -> LoadedModel:
        folder, fetched = self._repo / name, None
        if not is_model(folder):
            fetched = self._imported(tenant, name)
            folder = self._shelf.place(tenant, fetched)
        with self._lock(folder):
            if fetched is not None:
                self._shelf.bring(fetched, folder)
            sha256 = read_card(folder).sha256
            if (known := self._remembered(folder, sha256)) is not None:
                return known
            with tracing.span("load model", model=name):
                return self._load(folder, sha256)

    def _with_sets(self, model: LoadedModel, tenant: str, name: str) -> LoadedModel:
        """With the directions that the tenant added for these weights; all else is the same objects."""
        rows = [row for row in self._store.list_directions(tenant, name) if row.model_sha256 == model.sha256]
        if not rows:
            return model
        added = [self._members(row) for row in rows]
        return replace(
            model,
            directions=ChainMap(dict(model.directions), *(found.directions for found in added)),
            flows=ChainMap(dict(model.flows), *(found.flows for found in added)),
            units=ChainMap(dict(model.units), *(found.units for found in added)),
            shared=model,
        )

    def _members(self, row: DirectionSetRow) -> Members:
        with self._guard:
            known = self._sets.get(row.prefix)
        if known is None:
            with tempfile.TemporaryDirectory(prefix="directions-") as place:
                for key in self._blobs.list(row.prefix):
                    if key.endswith(".png"):  # for people
                        continue
                    path = Path(place) / "directions" / key.removeprefix(row.prefix)
                    path.parent.mkdir(exist_ok=True)
                    fetch(self._blobs, key, path)
                known = self._read_sets(Path(place))
        with self._guard:
            while len(self._sets) >= SETS:
                self._sets.pop(next(iter(self._sets)))
            self._sets[row.prefix] = known
        return known

    def _read_sets(self, folder: Path) -> Members:
        """Those of a folder; flows are on the device, directions and tables where jobs' own threads are."""
        found = load_sets(folder)
        for flow in found.flows.values():
            flow.flow.to(self._device)
        return found

    def _lock(self, folder: Path) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(folder, threading.Lock())

    def _remembered(self, folder: Path, sha256: str) -> LoadedModel | None:
        with self._guard:
            known, model = self._loaded.get(folder, (None, None))
            if known != sha256:  # never loaded, or replaced by another model of that name
                return None
            self._loaded.move_to_end(folder)
            return model

    @LOAD_SECONDS.time()
    def _load(self, folder: Path, sha256: str) -> LoadedModel:
        generator, card = load_model(folder)
        statistics = load_statistics(folder)
        generator = generator.to(self._device)
        sets = self._read_sets(folder)
        wanted = self._backend_of(card.name)
        place = Place(wanted, folder, self._device, self._triton_address)
        model = LoadedModel(
            name=card.name,
            sha256=sha256,
            card=card,
            generator=generator,
            statistics=statistics,
            directions=sets.directions,
            flows=sets.flows,
            units=sets.units,
            perceptual=self._perceptual(folder, card),
            codes=CodeBook(generator, statistics),
            runtime=open_runtime(generator, card, place),
            encoder=cast(Encoder, load_encoder(folder).to(self._device)) if card.encoder else None,
            parts=self._parts(folder, card),
        )
        with self._guard:
            self._loaded[folder] = sha256, model
            self._loaded.move_to_end(folder)
            while self._crowded():
                self._forget()
            MODELS_LOADED.set(len(self._loaded))
        return model

    def _crowded(self) -> bool:
        used = sum(model.size_bytes for _, model in self._loaded.values())
        return len(self._loaded) > self._capacity or (used > self._memory_bytes and len(self._loaded) > 1)

    def _forget(self) -> None:
        """The model that was used longest ago."""
        folder, (_, forgotten) = self._loaded.popitem(last=False)
        if folder != self._repo / LENDER:  # whose network others see with
            self._features.pop(folder, None)
        if forgotten.runtime is not None:
            forgotten.runtime.close()

    def _perceptual(self, folder: Path, card: Card) -> PerceptualDistance | None:
        """Sees with the model's own feature network, or with the lent one."""
        for source in (folder, self._repo / LENDER):
            if card.channels == 3 and (source / feature_network.RECORD).is_file():
                with self._guard:
                    if source not in self._features:
                        network = FeatureNetwork.load(source).to(self._device)
                        self._features[source] = PerceptualDistance(network)
                    return self._features[source]
        return None

    def _parts(self, folder: Path, card: Card) -> PartsNetwork | None:
        """The model's own network of parts; models of the same world are lent the shipped one."""
        for source in (folder, self._repo / LENDER):
            known = source == folder or (card.training or {}).get("world") == WORLD
            if known and card.channels == 3 and (source / parts_network.RECORD).is_file():
                return PartsNetwork.load(source)
        return None

    def _imported(self, tenant: str, name: str) -> ModelRow:
        try:
            return self._store.get_model(tenant, name)
        except NotFound:
            raise UnknownModel(f"There is no model {name[:64]!r}.") from None
