"""What Triton and TensorRT get beside the graphs, and what the command refuses."""

import json
import stat
import subprocess
from pathlib import Path

import onnx
import pytest

from generative.export import __main__ as command
from generative.export.record import MAX_BATCH, read_record
from tests.exports import exported


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("models"))


def test_triton_gets_a_model_for_each_graph_with_its_weights_inside(repo: Path) -> None:
    record = read_record(repo / "faces" / "triton")
    assert {graph.file for graph in record.graphs.values()} == {f"faces-{name}" for name in record.graphs}
    for graph in record.graphs.values():
        model = onnx.load_model(repo / graph.file / "1" / "model.onnx", load_external_data=False)
        assert not any(tensor.external_data for tensor in model.graph.initializer)
        assert [i.name for i in model.graph.input] == [port.name for port in graph.inputs]


def test_its_configurations_are_ones_that_triton_reads(repo: Path) -> None:
    service = pytest.importorskip("tritonclient.grpc.model_config_pb2", reason="no tritonclient")
    from google.protobuf import text_format

    found = sorted(repo.glob("*/config.pbtxt"))
    assert len(found) == 6
    for path in found:
        config = text_format.Parse(path.read_text(), service.ModelConfig())
        assert config.name == path.parent.name and config.max_batch_size == MAX_BATCH
        assert config.HasField("dynamic_batching")
        assert [warmup.batch_size for warmup in config.model_warmup] == [1, MAX_BATCH]
    letters = text_format.Parse(
        (repo / "letters-generator" / "config.pbtxt").read_text(), service.ModelConfig()
    )
    psi = next(port for port in letters.input if port.name == "psi")
    assert list(psi.dims) == [1] and list(psi.reshape.shape) == []  # (N,) in the graph


def test_the_recipe_for_engines_is_written_where_none_can_be_built(
    repo: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert command.main(["faces", "--to", "tensorrt", "--repo", str(repo)]) == command.REFUSED
    assert "trtexec and the program nvidia-smi cannot be found" in capsys.readouterr().err
    folder = repo / "faces" / "tensorrt"
    record = read_record(folder)
    assert (record.precision, record.upsampling) == ("fp16", "polyphase")
    shapes = json.loads((folder / "build.json").read_text())
    assert shapes["mapping"]["z"] == {"min": [1, 8], "opt": [8, 8], "max": [MAX_BATCH, 8]}
    assert set(shapes) == set(record.graphs)


def test_the_recipe_gives_the_builder_every_shape_of_every_input(repo: Path, tmp_path: Path) -> None:
    command.main(["faces", "--to", "tensorrt", "--repo", str(repo)])
    seen = tmp_path / "seen"
    builder = tmp_path / "trtexec"
    builder.write_text(f'#!/bin/sh\necho "$@" >> {seen}\n')
    builder.chmod(builder.stat().st_mode | stat.S_IEXEC)
    script = repo / "faces" / "tensorrt" / "build.sh"
    subprocess.run([script], check=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    calls = seen.read_text().splitlines()
    assert len(calls) == len(read_record(script.parent).graphs)
    given = next(call for call in calls if "synthesis_given" in call)
    for shape in ("styles:1x", "noise.b4.conv1:8x1x4x4", f"noise.b16.conv1:{MAX_BATCH}x1x16x16"):
        assert shape in given


def test_a_model_that_is_not_there_is_refused(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["nobody", "--to", "onnx", "--repo", str(repo)]) == command.REFUSED
    assert "no model 'nobody'" in capsys.readouterr().err
