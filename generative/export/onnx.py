"""Generators as ONNX: traced, written with their weights in one file beside, and checked against torch.

    <folder>/mapping.onnx, styles.onnx, synthesis_const.onnx, ...   the graphs of `generative.export.graphs`
    <folder>/weights.bin                                            what they share, once
    <folder>/export.json                                            `generative.export.record`

The exporter is the one by tracing (`dynamo=False`), which takes tenths of a second where the other takes
minutes. What tracing may get wrong, a batch size that became a constant, the check would find: it runs every
graph at batch sizes that were not traced.
"""

import io
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from generative.export.graphs import Graph, Options, example, graphs
from generative.export.record import WEIGHTS, Error, Export, GraphFile, Port, write_record
from generative.generator import Generator

OPSET, BF16_OPSET = 18, 22  # the first in which convolutions take bfloat16
TRACED, BATCHES = 2, (1, 3)  # rows: what is traced, what is checked
SMALL = 1024  # bytes: constants up to this stay in the graph

LIMITS = {"fp32": 1.0, "fp16": 4.0, "bf16": 16.0}  # mean difference in levels beyond which nothing is kept
TIMED = 3  # pictures by turns, for the rate


class ExportFailed(Exception):
    """The graph does not compute what the network computes."""


def export_onnx(generator: Generator, name: str, sha256: str, folder: Path, options: Options) -> Export:
    """Write a generator's graphs, check them, write the record last.

    Raises:
        ExportFailed: if a graph differs from torch by more than `LIMITS`; nothing is recorded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = graphs(generator, options)
    shared = SharedWeights(folder)
    for graph in found:
        shared.save(traced(generator, graph, options), folder / f"{graph.name}.onnx")
    shared.close()
    reference = {graph.name: graph for graph in graphs(generator, Options(output=options.output))}
    files, provider, rates = {}, "torch", {}
    for graph in found:
        runner = open_runner(folder / f"{graph.name}.onnx", graph)
        provider = "torch" if isinstance(runner, InTorch) else runner.provider
        error = measured(generator, graph, reference[graph.name], runner, options)
        files[graph.name] = described(generator, graph, error)
        if graph.name in ("synthesis_const", "generator") and not isinstance(runner, InTorch):
            rates = pictures_per_s(generator, graph, reference[graph.name], runner)
    record = Export(
        target="onnx",
        model=name,
        model_sha256=sha256,
        precision=options.precision,
        output=options.output,
        upsampling=options.upsampling,
        opset=opset_of(options),
        checked_with=provider,
        checked_batches=BATCHES,
        pictures_per_s=rates,
        pixel_gain=generator.pixel_gain,
        pixel_offset=generator.pixel_offset,
        graphs=files,
    )
    write_record(folder, record)
    return record


def opset_of(options: Options) -> int:
    return BF16_OPSET if options.precision == "bf16" else OPSET


@torch.no_grad()
def traced(generator: Generator, graph: Graph, options: Options) -> onnx.ModelProto:
    """The graph with its weights, batch axis free."""
    inputs = tuple(example(generator, graph, TRACED).values())
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's age, and constants of the trace, which are checked
        torch.onnx.export(
            graph.module.eval(),
            inputs,
            file,  # type: ignore[arg-type]
            dynamo=False,
            do_constant_folding=options.precision == "fp32",  # others break it
            opset_version=OPSET,
            input_names=list(graph.inputs),
            output_names=[graph.output],
            dynamic_axes={name: {0: "N"} for name in (*graph.inputs, graph.output)},
        )
    model = onnx.load_model_from_string(file.getvalue())
    if options.precision == "bf16":
        model.opset_import[0].version = BF16_OPSET
        correct_casts(model)
    return model


def correct_casts(model: onnx.ModelProto) -> None:
    """Some casts to bfloat16 come out with torch's number for it, 15, which in ONNX is complex128."""
    for node in model.graph.node:
        if node.op_type == "Cast" and node.attribute[0].i == onnx.TensorProto.COMPLEX128:
            node.attribute[0].i = onnx.TensorProto.BFLOAT16


class SharedWeights:
    """The file that holds the weights of several graphs, each content once."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / WEIGHTS).open("wb")
        self._places: dict[bytes, tuple[int, int]] = {}

    def save(self, model: onnx.ModelProto, path: Path) -> None:
        """Move the large constants of a graph into the shared file, and write what is left."""
        for tensor in model.graph.initializer:
            raw = numpy_helper.to_array(tensor).tobytes() if not tensor.raw_data else tensor.raw_data
            if len(raw) > SMALL:
                tensor.raw_data = raw
                onnx.external_data_helper.set_external_data(tensor, WEIGHTS, *self._place(raw))
                tensor.ClearField("raw_data")
        onnx.save_model(model, path)
        onnx.checker.check_model(path)

    def _place(self, raw: bytes) -> tuple[int, int]:
        if raw not in self._places:
            self._file.write(b"\0" * (-self._file.tell() % 64))  # aligned, so that it can be mapped
            self._places[raw] = (self._file.tell(), len(raw))
            self._file.write(raw)
        self._file.flush()
        return self._places[raw]

    def close(self) -> None:
        self._file.close()


class InTorch:
    """Runs a module where ONNX Runtime lacks the operators: bfloat16 on CPUs."""

    def __init__(self, graph: Graph) -> None:
        self._module = graph.module

    def run(self, inputs: dict[str, Tensor]) -> Tensor:
        with torch.no_grad():
            answer: Tensor = self._module(*inputs.values())
        return answer


class InRuntime:
    """Runs a file with ONNX Runtime on the CPU."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        self.provider = "CPUExecutionProvider"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = torch.get_num_threads()
        self._session = onnxruntime.InferenceSession(path, options, providers=[self.provider])

    def run(self, inputs: dict[str, Tensor]) -> Tensor:
        [answer] = self._session.run(None, {name: t.numpy() for name, t in inputs.items()})
        return torch.from_numpy(answer)


def open_runner(path: Path, graph: Graph) -> InTorch | InRuntime:
    from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoSuchOperator

    try:
        return InRuntime(path)
    except NoSuchOperator:
        return InTorch(graph)


def measured(
    generator: Generator, graph: Graph, reference: Graph, runner: InTorch | InRuntime, options: Options
) -> Error:
    """The largest error over the batch sizes. Raises ExportFailed."""
    errors = []
    for N in BATCHES:
        inputs = example(generator, graph, N, seed=N)
        ours, exact = runner.run(inputs), InTorch(reference).run(inputs)
        if ours.shape != exact.shape or ours.dtype != exact.dtype:
            raise ExportFailed(f"{graph.name} gives {tuple(ours.shape)} of {ours.dtype} for {N} rows")
        errors.append(error_of(ours, exact, generator.pixel_gain if graph.output == "images" else None))
    worst = Error(**{key: _worst(errors, key) for key in Error.model_fields})
    off = worst.mean_levels if graph.output == "images" else (worst.relative or 0) * 127.5
    if not (off is not None and off <= LIMITS[options.precision]):
        raise ExportFailed(f"{graph.name} differs from torch: {worst.model_dump(exclude_none=True)}")
    return worst


def _worst(errors: list[Error], key: str) -> float | None:
    values = [value for error in errors if (value := getattr(error, key)) is not None]
    return max(values) if values else None


def error_of(ours: Tensor, exact: Tensor, gain: float | None) -> Error:
    """`gain`: levels for a unit, of pictures as floats."""
    difference = (ours.double() - exact.double()).abs()
    if exact.dtype == torch.uint8:
        return Error(mean_levels=float(difference.mean()), max_levels=float(difference.max()))
    relative = float(difference.max() / exact.double().abs().max().clamp(min=1e-12))
    if gain is None:
        return Error(relative=relative)
    levels = difference * gain
    return Error(relative=relative, mean_levels=float(levels.mean()), max_levels=float(levels.max()))


def described(generator: Generator, graph: Graph, error: Error) -> GraphFile:
    inputs = example(generator, graph, 1)
    with torch.no_grad():
        output = graph.module(*inputs.values())
    ports = tuple(_port(name, value) for name, value in inputs.items())
    return GraphFile(file=f"{graph.name}.onnx", inputs=ports, output=_port(graph.output, output), error=error)


def _port(name: str, value: Tensor) -> Port:
    dtype: np.dtype[Any] = value.numpy().dtype
    return Port(name=name, dtype=dtype.name, shape=tuple(value.shape[1:]))


def pictures_per_s(
    generator: Generator, graph: Graph, reference: Graph, runner: InTorch | InRuntime
) -> dict[str, float]:
    """Torch in float32 as jobs run it without the export, and the export: by turns, the best of each."""
    inputs = example(generator, graph, 1)
    best = {"torch": float("inf"), "onnx": float("inf")}
    turns = {"torch": InTorch(reference), "onnx": runner}
    for _ in range(TIMED + 1):
        for name, it in turns.items():
            began = time.perf_counter()
            it.run(inputs)
            best[name] = min(best[name], time.perf_counter() - began)
    return {name: round(1 / seconds, 3) for name, seconds in best.items()}
