"""What every backend must do, whatever computes: one suite, and a real Triton server behind one of them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from generative.backend import Backend, BackendError
from generative.backends.onnx import CPU, open_onnx, providers
from generative.backends.torch import PreparedBackend, TorchBackend
from generative.backends.triton import Region, TritonRunner, open_triton
from generative.export.record import MAX_BATCH, read_record
from generative.generator import sample_z
from generative.store import load_model
from tests.exports import exported
from tests.families import tiny
from tests.servers import Unavailable
from tests.triton import private_triton

BACKENDS = ("torch", "prepared", "onnx", "triton")
LEVELS = 1  # by which bytes may differ: floats near the edge of a step round either way

pytestmark = pytest.mark.timeout(300)  # Triton starts within this on a busy machine


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def triton(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server."""
    try:
        with private_triton(repo, tmp_path_factory.mktemp("triton") / "log") as address:
            yield address
    except Unavailable as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module", params=BACKENDS)
def opened(request: pytest.FixtureRequest, repo: Path) -> Callable[[str], Backend]:
    """Opens a model on the backend under test."""

    def by_name(name: str) -> Backend:
        generator, _ = load_model(repo / name)
        if request.param == "onnx":
            return open_onnx(repo / name / "onnx")
        if request.param == "triton":
            return open_triton(repo / name / "triton", request.getfixturevalue("triton"))
        if request.param == "prepared":
            if name != "faces":
                pytest.skip("only StyleGAN2 is prepared")
            return PreparedBackend(generator, torch.float32)
        return TorchBackend(generator)

    return by_name


@pytest.fixture(scope="module")
def faces(opened: Callable[[str], Backend]) -> Backend:
    return opened("faces")


@pytest.fixture(scope="module")
def exact(repo: Path) -> TorchBackend:
    return TorchBackend(load_model(repo / "faces")[0])


def mapped(backend: Backend, N: int) -> torch.Tensor:
    z = sample_z(range(N), tiny("stylegan2"))
    psi = torch.linspace(0.3, 1, N)[:, None].expand(-1, 6).contiguous()
    return backend.map(z, torch.eye(3)[torch.arange(N) % 3], psi)


def differ(a: torch.Tensor, b: torch.Tensor) -> int:
    assert a.dtype == b.dtype == torch.uint8 and a.shape == b.shape
    return int((a.int() - b.int()).abs().max())


def test_every_path_gives_what_torch_gives(faces: Backend, exact: TorchBackend) -> None:
    ws = mapped(faces, 3)
    torch.testing.assert_close(ws, mapped(exact, 3), rtol=0, atol=2e-5)
    styles = faces.styles(ws)
    torch.testing.assert_close(styles, exact.styles(ws), rtol=0, atol=2e-5)
    rng = torch.Generator().manual_seed(0)
    noises = {n: torch.randn(3, 1, s, s, generator=rng) for n, s in tiny("stylegan2").noise_sizes.items()}
    for codes in ({"ws": ws}, {"styles": styles}):
        for noise, given in (("const", {}), ("none", {}), ("none", noises)):
            pictures = faces.paint(codes, noise, given)
            assert pictures.shape == (3, 16, 16, 3)
            assert differ(pictures, exact.paint(codes, noise, given)) <= LEVELS
    const, none = (faces.paint({"ws": ws}, noise, {}) for noise in ("const", "none"))
    assert differ(const, none) > 5


def test_a_family_without_w_is_painted_from_z(opened: Callable[[str], Backend], repo: Path) -> None:
    letters, exact = opened("letters"), TorchBackend(load_model(repo / "letters")[0])
    z = sample_z(range(3), tiny("eigengan"))
    for psi in (1.0, 0.5):
        pictures = letters.paint({"z": z}, "none", {}, psi)
        assert differ(pictures, exact.paint({"z": z}, "none", {}, psi)) <= LEVELS
    with pytest.raises(BackendError):
        letters.styles(torch.zeros(1, 6, 8))


@pytest.mark.parametrize("N", [1, 2, MAX_BATCH + 1])
def test_any_number_of_rows_is_painted_row_by_row(faces: Backend, exact: TorchBackend, N: int) -> None:
    ws = mapped(exact, N)
    pictures = faces.paint({"ws": ws}, "const", {})
    assert len(pictures) == N
    assert differ(pictures[-1:], exact.paint({"ws": ws[-1:]}, "const", {})) <= LEVELS


def test_rows_of_a_wrong_shape_are_refused(faces: Backend) -> None:
    with pytest.raises(ValueError):
        faces.paint({"ws": torch.zeros(2, 6, 9)}, "const", {})


def test_after_it_was_unloaded_it_paints_the_same(faces: Backend, exact: TorchBackend) -> None:
    ws = mapped(exact, 2)
    before = faces.paint({"ws": ws}, "const", {})
    faces.unload()
    faces.unload()
    assert torch.equal(faces.paint({"ws": ws}, "const", {}), before)


def test_it_says_what_it_is_and_where(faces: Backend) -> None:
    assert faces.name in BACKENDS
    assert faces.where.startswith({"onnx": CPU, "triton": "triton at "}.get(faces.name, "cpu"))


# --- what only some can do ---------------------------------------------------------------------------------


def test_a_server_that_is_not_there_is_an_error_that_names_it(repo: Path) -> None:
    backend = open_triton(repo / "faces" / "triton", "127.0.0.1:9")
    with pytest.raises(BackendError, match=r"triton at 127\.0\.0\.1:9"):
        backend.styles(torch.zeros(1, 6, 8))


def test_a_folder_without_an_export_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="holds no export"):
        open_onnx(tmp_path)


def test_noise_for_some_layers_only_is_left_to_torch(repo: Path) -> None:
    backend = open_onnx(repo / "faces" / "onnx")
    with pytest.raises(BackendError, match="every layer or for none"):
        backend.paint({"styles": torch.zeros(1, 48)}, "none", {"b4.conv1": torch.zeros(1, 1, 4, 4)})


def test_memory_that_is_short_is_told_apart(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = open_onnx(repo / "faces" / "onnx")

    class Full:
        def run(self, *_: object) -> None:
            raise RuntimeError("[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer")

    monkeypatch.setattr(backend._runner, "_session", lambda graph: Full())
    with pytest.raises(MemoryError):
        backend.styles(torch.zeros(1, 6, 8))


def test_providers_are_offered_best_first_and_tensorrt_with_its_engines_only(tmp_path: Path) -> None:
    every = ["CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"]
    cuda = torch.device("cuda", 1)

    def names(available: list[str], device: torch.device, engines: Path) -> list[str]:
        return [p if isinstance(p, str) else p[0] for p in providers(available, device, engines)]

    assert names(every, cuda, tmp_path / "none") == ["CUDAExecutionProvider", CPU]
    assert names(every, cuda, tmp_path)[0] == "TensorrtExecutionProvider"
    assert names(every, torch.device("cpu"), tmp_path) == [CPU]
    openvino = ["OpenVINOExecutionProvider", CPU]
    assert names(openvino, torch.device("cpu"), tmp_path) == openvino
    assert all(p[1]["device_id"] == 1 for p in providers(every, cuda, tmp_path)[:-1])


def test_shared_memory_is_a_private_file_that_goes_away() -> None:
    region = Region(12)
    try:
        assert region.read(12) == bytes(12)
        assert region._path.stat().st_mode & 0o077 == 0
    finally:
        region.close()
    assert not region._path.exists()


def test_pictures_come_through_shared_memory_where_the_server_allows_it(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTriton keeps registering to those with its token, so a stand-in plays the server here."""
    record = read_record(repo / "faces" / "triton")
    runner = TritonRunner(record, "localhost:1")
    calls: list[str] = []

    class Server:
        def register_system_shared_memory(self, name: str, key: str, size: int) -> None:
            calls.append("register")
            self.path = Path("/dev/shm") / key.lstrip("/")

        def infer(self, model: str, asked: object, **_: object) -> None:
            calls.append(model)
            self.path.write_bytes(bytes([7]) * (16 * 16 * 3))

        def unregister_system_shared_memory(self, name: str) -> None:
            calls.append("unregister")

    monkeypatch.setattr(runner, "_client", Server())
    styles = torch.zeros(1, record.graphs["synthesis_none"].inputs[0].shape[0]).numpy()
    assert (runner.run("synthesis_none", {"styles": styles}) == 7).all()
    assert calls == ["register", "faces-synthesis_none", "unregister"]
