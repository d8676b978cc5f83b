"""Every network as graphs: equal to torch at batch sizes that were never traced, and to official codes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import generative.export.onnx as module
from generative.checkpoints.nvlabs import config_from_kwargs
from generative.export.graphs import NOISE, Graph, Options, example, graphs
from generative.export.onnx import ExportFailed, error_of, export_onnx
from generative.export.record import WEIGHTS, read_record
from generative.families import GENERATORS
from generative.generator import Generator, StyleGenerator
from generative.networks.stylegan2 import Generator as StyleGAN2
from generative.pixels import to_uint8
from tests.families import tiny

SHARED = Path(__file__).parents[4] / "shared" / "conformance" / "generators" / "stylegan2_ada"
KEPT = Path(__file__).parents[1] / "conformance" / "stylegan2_ada" / "orig_gray_r16"


def run(folder: Path, graph: str, inputs: dict[str, np.ndarray]) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / f"{graph}.onnx", providers=["CPUExecutionProvider"])
    [answer] = session.run(None, inputs)
    return answer


def given(generator: Generator, names: tuple[str, ...], N: int) -> dict[str, np.ndarray]:
    graph = Graph("", torch.nn.Identity(), names, "")
    return {name: t.numpy() for name, t in example(generator, graph, N, seed=7).items()}


@pytest.mark.parametrize("name", sorted(GENERATORS))
def test_a_network_gives_the_same_pictures_as_a_graph(name: str, tmp_path: Path) -> None:
    generator = tiny(name)
    record = export_onnx(generator, name, "sha", tmp_path, Options(output="float"))
    assert read_record(tmp_path) == record and record.checked_with == "CPUExecutionProvider"
    for file in record.graphs.values():
        assert file.error.relative is not None and file.error.relative < 2e-5

    N = 5  # neither traced nor checked by the export
    if isinstance(generator, StyleGenerator):
        inputs = given(generator, ("z", *(["c"] if generator.c_dim else []), "psi"), N)
        ws = run(tmp_path, "mapping", inputs)
        ours = run(tmp_path, "synthesis_none", {"styles": run(tmp_path, "styles", {"ws": ws})})
        exact = generator.synthesize(torch.from_numpy(ws), "none")
    else:
        psi = ["psi"] if generator.psi_acts_on == "z" else []
        inputs = given(generator, ("z", *(["c"] if generator.c_dim else []), *psi), N)
        ours = run(tmp_path, "generator", inputs)
        tensors = {key: torch.from_numpy(value) for key, value in inputs.items()}
        exact = generator(tensors["z"], tensors.get("c"), tensors.get("psi", 1.0))
    assert error_of(torch.from_numpy(ours), exact, None).relative < 2e-5


@pytest.mark.parametrize("name", ["stylegan2", "stylegan", "alae"])
def test_noise_that_is_given_is_the_noise_of_the_picture(name: str, tmp_path: Path) -> None:
    generator = tiny(name)
    assert isinstance(generator, StyleGenerator)
    export_onnx(generator, name, "sha", tmp_path, Options(output="float"))
    noises = tuple(NOISE + layer for layer in generator.noise_sizes)
    inputs = given(generator, ("styles", *noises), 3)
    ours = run(tmp_path, "synthesis_given", inputs)
    styles = generator.split_styles(torch.from_numpy(inputs["styles"]))
    maps = {key.removeprefix(NOISE): torch.from_numpy(v) for key, v in inputs.items() if key != "styles"}
    exact = generator.synthesize_styles(styles, "none", maps)
    assert error_of(torch.from_numpy(ours), exact, None).relative < 2e-5
    assert float((generator.synthesize_styles(styles, "none") - exact).abs().max()) > 1e-2


def test_bytes_are_those_of_torch_where_the_float_is_not_on_the_edge_of_a_step(tmp_path: Path) -> None:
    generator = tiny("stylegan2")
    assert isinstance(generator, StyleGenerator)
    record = export_onnx(generator, "tiny", "sha", tmp_path, Options())
    port = record.graphs["synthesis_const"].output
    assert (port.dtype, port.shape) == ("uint8", (16, 16, 3))
    inputs = given(generator, ("styles",), 4)
    styles = generator.split_styles(torch.from_numpy(inputs["styles"]))
    exact = to_uint8(generator.synthesize_styles(styles))
    difference = np.abs(run(tmp_path, "synthesis_const", inputs).astype(int) - exact.numpy())
    assert difference.max() <= 1 and (difference > 0).mean() < 1e-3


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("name", ["dcgan", "stylegan2", "stylegan3", "biggan_deep_hf"])
def test_less_precision_is_written_down_with_its_error(name: str, precision: str, tmp_path: Path) -> None:
    record = export_onnx(tiny(name), name, "sha", tmp_path, Options(precision, "float"))
    pictures = record.graphs.get("generator") or record.graphs["synthesis_none"]
    assert pictures.error.mean_levels is not None
    assert 0 < pictures.error.mean_levels < {"fp16": 0.1, "bf16": 1.0}[precision]
    assert record.checked_with == ("torch" if precision == "bf16" else "CPUExecutionProvider")


def test_graphs_of_one_model_share_their_weights(tmp_path: Path) -> None:
    generator = tiny("stylegan2")
    export_onnx(generator, "tiny", "sha", tmp_path, Options())
    stored = sum(value.nbytes for value in generator.state_dict().values())
    assert (tmp_path / WEIGHTS).stat().st_size < 1.2 * stored


def test_both_ways_of_upsampling_are_one_function() -> None:
    generator = tiny("stylegan2")
    pictures = []
    for upsampling in ("transposed", "polyphase"):
        options = replace(Options(output="float"), upsampling=upsampling)
        graph = next(g for g in graphs(generator, options) if g.name == "synthesis_const")
        pictures.append(graph.module(*example(generator, graph, 2).values()))
    assert error_of(*pictures, gain=None).relative < 1e-5


def test_a_graph_that_computes_something_else_is_refused_and_not_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = module.traced

    def wrong(generator, graph, options):
        model = right(generator, graph, options)
        for tensor in model.graph.initializer:
            if len(tensor.dims) == 4 and tensor.raw_data:
                tensor.raw_data = bytes(len(tensor.raw_data))
        return model

    monkeypatch.setattr(module, "traced", wrong)
    with pytest.raises(ExportFailed, match="differs from torch"):
        export_onnx(tiny("dcgan"), "tiny", "sha", tmp_path, Options())
    assert not (tmp_path / "export.json").exists()


@pytest.mark.parametrize("folder", [KEPT, SHARED / "uncond_r64"], ids=lambda p: p.name)
def test_a_graph_agrees_with_the_official_code(folder: Path, tmp_path: Path) -> None:
    if not folder.exists():
        pytest.skip("the conformance vectors do not lie beside the repository")
    generator = StyleGAN2(
        config_from_kwargs(json.loads((folder / "config.json").read_text())["G_init_kwargs"])
    )
    weights = {k: torch.from_numpy(v) for k, v in np.load(folder / "weights.npz").items()}
    generator.load_state_dict({k[6:]: v for k, v in weights.items() if k.startswith("G_ema.")})
    generator.eval().requires_grad_(False)
    export_onnx(generator, "official", "sha", tmp_path, Options(output="float"))
    wplus = np.load(folder / "inputs.npz")["wplus"]
    expected = np.load(folder / "outputs.npz")["img_wplus_const"]
    noise = "const" if generator.noise_sizes else "none"
    ours = run(tmp_path, f"synthesis_{noise}", {"styles": run(tmp_path, "styles", {"ws": wplus})})
    assert np.abs(ours - expected).max() / np.abs(expected).max() < 1e-5
