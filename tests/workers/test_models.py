import gc
import shutil
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from generative.cards import About
from generative.checkpoints.errors import CheckpointError
from generative.editing.files import save_directions
from generative.editing.unit_table import UnitTable
from generative.generator import StyleGenerator
from generative.networks.feature_network import FeatureNetwork, FeatureRecord, Readout
from generative.networks.stylegan2 import Generator, StyleGAN2Config
from generative.spaces import Space
from generative.store import save_model
from jobs.blobs.memory import MemoryBlobStore
from jobs.errors import NotFound, UnknownModel
from jobs.settings import Settings
from jobs.store import DirectionSetRow, ModelRow
from workers import shelf as module
from workers.context import Context
from workers.models import LoadedModel, Models, placed
from workers.work.painting import Paint, map_z
from workers.work.sources import Truncation, from_seeds, mapping_inputs

SHIPPED, NAMES = (
    Path(__file__).parents[2] / "model_repo",
    ("portraits", "portraits-dcgan", "portraits-eigengan"),
)


def save(folder: Path, seed: int = 0, channels: int = 3) -> str:
    """A tiny random model; returns its sha256."""
    torch.manual_seed(seed)
    config = StyleGAN2Config(
        img_resolution=8,
        img_channels=channels,
        z_dim=8,
        w_dim=8,
        mapping_layers=1,
        channel_base=64,
        channel_max=8,
    )
    return save_model(folder, Generator(config).eval(), About(name=folder.name)).sha256


class Library:
    """The part of the job store that knows imported models, and directions."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], ModelRow] = {}
        self.sets: list[tuple[str, DirectionSetRow]] = []

    def get_model(self, tenant: str, name: str) -> ModelRow:
        try:
            return self.rows[tenant, name]
        except KeyError:
            raise NotFound from None

    def list_directions(self, tenant: str, model: str) -> list[DirectionSetRow]:
        return [row for owner, row in self.sets if (owner, row.model) == (tenant, model)]


@pytest.fixture
def library() -> Library:
    return Library()


@pytest.fixture
def blobs() -> MemoryBlobStore:
    return MemoryBlobStore()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return tmp_path / "repo"


@pytest.fixture
def open_models(
    tmp_path: Path, repo: Path, library: Library, blobs: MemoryBlobStore
) -> Callable[..., Models]:
    def opened(memory_bytes: int = 2**30, **given: object) -> Models:
        settings = Settings(
            model_repo=repo, work_dir=tmp_path / "work", url_secret="x" * 32, model_memory_bytes=memory_bytes
        )
        return Models(settings, library, blobs, **given)

    return opened


def publish(folder: Path, library: Library, blobs: MemoryBlobStore, tenant: str = "default") -> ModelRow:
    """Import a model folder as the import job does."""
    prefix = f"t/{tenant}/m/{folder.name}/abc/"
    for path in folder.rglob("*"):
        if path.is_file():
            key = prefix + path.relative_to(folder).as_posix()
            blobs.write(key, path, media_type="application/octet-stream")
    row = ModelRow(folder.name, "abc", prefix, {})
    library.rows[tenant, folder.name] = row
    return row


def test_a_shipped_model_is_loaded_ready_to_paint(open_models: Callable[..., Models], repo: Path) -> None:
    sha256 = save(repo / "tiny")
    model = open_models().get("default", "tiny")
    assert (model.name, model.sha256, model.card.resolution) == ("tiny", sha256, 8)
    assert not model.generator.training and not any(p.requires_grad for p in model.generator.parameters())
    assert model.codes.get(Space.W).spread == pytest.approx(model.statistics.total_std)
    assert "sefa_0" in model.directions
    assert model.perceptual is None


def test_a_model_is_loaded_once_however_many_ask_at_a_time(
    open_models: Callable[..., Models], repo: Path
) -> None:
    save(repo / "tiny")
    models = open_models()
    barrier = threading.Barrier(8)

    def ask() -> object:
        barrier.wait(30)
        return models.get("default", "tiny")

    with ThreadPoolExecutor(8) as pool:
        found = {id(future.result()) for future in [pool.submit(ask) for _ in range(8)]}
    assert len(found) == 1


def test_the_model_used_longest_ago_is_forgotten_first(
    open_models: Callable[..., Models], repo: Path
) -> None:
    for name in ("a", "b", "c"):
        save(repo / name)
    models = open_models(capacity=2)
    a, b = models.get("t", "a"), models.get("t", "b")
    assert models.get("t", "a") is a
    models.get("t", "c")  # b goes
    assert models.get("t", "a") is a
    assert models.get("t", "b") is not b


@pytest.mark.skipif(not SHIPPED.exists(), reason="model_repo is not there")
def test_of_real_models_those_used_longest_ago_leave_when_the_memory_is_full(
    configured: Settings, context: Context
) -> None:
    wanted = configured.model_copy(update={"model_repo": SHIPPED, "backend": "portraits=prepared"})

    def painted(models: Models, name: str) -> tuple[LoadedModel, bytes]:
        model = models.get("t", name)
        codes = mapping_inputs(model, from_seeds([1, 2], model.generator), Truncation())
        if isinstance(model.generator, StyleGenerator):
            codes = {"ws": context.engine.forward(*placed(model, map_z), codes).result(60)}
        return model, context.engine.forward(*placed(model, Paint()), codes).result(60).numpy().tobytes()

    ample = Models(wanted, context.store, context.blobs)
    pictures = {name: painted(ample, name) for name in NAMES}
    sizes = [model.size_bytes for model, _ in pictures.values()]
    tight = wanted.model_copy(update={"model_memory_bytes": sum(sizes) - 1})
    models = Models(tight, context.store, context.blobs)
    portraits, dcgan = (models.get("t", name) for name in NAMES[:2])
    gone = weakref.ref(dcgan.generator)
    assert painted(models, NAMES[1])[1] == pictures[NAMES[1]][1]
    assert models.get("t", NAMES[0]) is portraits  # used last
    del dcgan
    assert painted(models, NAMES[2])[1] == pictures[NAMES[2]][1]  # one too many
    gc.collect()
    assert gone() is None and models.get("t", NAMES[0]) is portraits
    for name in (*NAMES, *NAMES):  # they take turns, and come back as they were
        assert painted(models, name)[1] == pictures[name][1]


def test_a_model_larger_than_the_memory_stays_until_another_is_asked_for(
    open_models: Callable[..., Models], repo: Path
) -> None:
    for name in ("a", "b"):
        save(repo / name)
    models = open_models(memory_bytes=1)
    a = models.get("t", "a")
    assert models.get("t", "a") is a
    models.get("t", "b")
    assert models.get("t", "a") is not a


def test_a_shipped_model_that_was_replaced_is_loaded_anew(
    open_models: Callable[..., Models], repo: Path
) -> None:
    save(repo / "tiny", seed=0)
    models = open_models()
    old = models.get("t", "tiny")
    new_sha256 = save(repo / "tiny", seed=1)
    assert models.get("t", "tiny").sha256 == new_sha256 != old.sha256


def test_a_name_that_nobody_knows_is_an_unknown_model(open_models: Callable[..., Models]) -> None:
    with pytest.raises(UnknownModel, match="no model 'nothing'"):
        open_models().get("t", "nothing")


def test_an_imported_model_is_fetched_once_and_survives_a_restart_without_the_blobs(
    open_models: Callable[..., Models], tmp_path: Path, library: Library, blobs: MemoryBlobStore
) -> None:
    sha256 = save(tmp_path / "mine")
    row = publish(tmp_path / "mine", library, blobs)
    assert open_models().get("default", "mine").sha256 == sha256
    blobs.delete(list(blobs.list(row.prefix)))
    assert open_models().get("default", "mine").sha256 == sha256


def test_an_imported_model_belongs_to_its_tenant(
    open_models: Callable[..., Models], tmp_path: Path, library: Library, blobs: MemoryBlobStore
) -> None:
    save(tmp_path / "mine")
    publish(tmp_path / "mine", library, blobs, tenant="one")
    models = open_models()
    models.get("one", "mine")
    with pytest.raises(UnknownModel):
        models.get("two", "mine")


def test_an_interrupted_fetch_leaves_nothing_that_looks_like_a_model(
    open_models: Callable[..., Models],
    tmp_path: Path,
    library: Library,
    blobs: MemoryBlobStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save(tmp_path / "mine")
    publish(tmp_path / "mine", library, blobs)
    real = module.fetch

    def break_off(blobs: MemoryBlobStore, key: str, path: Path) -> None:
        real(blobs, key, path)
        if path.name == "weights.safetensors":
            raise ConnectionError("the network is gone")

    monkeypatch.setattr(module, "fetch", break_off)
    models = open_models()
    with pytest.raises(ConnectionError):
        models.get("default", "mine")
    monkeypatch.undo()
    models.get("default", "mine")


def test_files_that_are_gone_make_an_unknown_model(
    open_models: Callable[..., Models], library: Library
) -> None:
    library.rows["default", "mine"] = ModelRow("mine", "abc", "t/default/m/mine/abc/", {})
    with pytest.raises(UnknownModel, match="are gone"):
        open_models().get("default", "mine")


def test_weights_that_are_not_those_of_the_card_are_refused(
    open_models: Callable[..., Models], tmp_path: Path, repo: Path
) -> None:
    save(repo / "tiny", seed=0)
    save(tmp_path / "other", seed=1)
    shutil.copy(tmp_path / "other" / "weights.safetensors", repo / "tiny")
    with pytest.raises(CheckpointError):
        open_models().get("t", "tiny")


def test_colour_models_without_a_feature_network_share_the_lent_one(
    open_models: Callable[..., Models], repo: Path
) -> None:
    for name, channels in (("portraits", 3), ("other", 3), ("grey", 1)):
        save(repo / name, channels=channels)
    FeatureNetwork(
        FeatureRecord(resolution=8, channels=(4, 4), readouts=(Readout(name="smile", kind="continuous"),))
    ).save(repo / "portraits")
    models = open_models()
    assert models.get("t", "other").perceptual is models.get("t", "portraits").perceptual is not None
    assert models.get("t", "grey").perceptual is None


def test_units_that_a_tenant_found_are_the_tenants_alone(
    open_models: Callable[..., Models], repo: Path, library: Library, blobs: MemoryBlobStore, tmp_path: Path
) -> None:
    sha256 = save(repo / "tiny")
    table = UnitTable("mine", "b4.conv", 4, ("hat",), torch.rand(1, 8), torch.rand(8), torch.rand(1, 8))
    save_directions(tmp_path, "mine", "dissect", [table])
    for path in (tmp_path / "directions").iterdir():
        blobs.write(f"t/default/d/{path.name}", path, media_type="application/octet-stream")
    library.sets = [("default", DirectionSetRow("tiny", "mine", sha256, "t/default/d/", 1, []))]
    models = open_models()
    assert torch.equal(models.get("default", "tiny").units["mine"].iou, table.iou)
    assert not models.get("other", "tiny").units
