"""A Triton model repository out of ONNX graphs: a model for each graph, batched by the server.

    <repository>/<model>-<graph>/config.pbtxt
    <repository>/<model>-<graph>/1/model.onnx

Graphs hold their weights here: Triton loads each model by itself. Batches grow in the server up to
`MAX_BATCH` rows and are never split, so larger requests are the client's to cut.
"""

from pathlib import Path

import onnx

from generative.export.record import MAX_BATCH, Export, GraphFile, Port, write_record

DELAY_US = 2000  # how long a request may wait for company
QUEUE = 1024  # requests that may wait; more are refused
PROTOBUF_LIMIT = 2**31  # bytes of one graph with its weights
TYPES = {"float32": "TYPE_FP32", "float64": "TYPE_FP64", "uint8": "TYPE_UINT8"}


class TooLarge(Exception):
    """The graph and its weights do not fit into one file."""


def write_repository(record: Export, graphs: Path, repository: Path, folder: Path) -> Export:
    """Make Triton models of the ONNX export in `graphs`, and record them in `folder`.

    Raises:
        TooLarge: for a graph of 2 GiB and more.
    """
    models = {}
    for name, graph in record.graphs.items():
        model = f"{record.model}-{name}"
        _write(graphs / graph.file, repository / model, config(model, graph))
        models[name] = graph.model_copy(update={"file": model})
    written = record.model_copy(update={"target": "triton", "graphs": models, "pictures_per_s": {}})
    folder.mkdir(parents=True, exist_ok=True)
    write_record(folder, written)
    return written


def _write(source: Path, place: Path, text: str) -> None:
    loaded = onnx.load_model(source)
    if loaded.ByteSize() >= PROTOBUF_LIMIT:
        raise TooLarge(f"{source.name} with its weights has {loaded.ByteSize()} bytes: the limit is 2 GiB")
    (place / "1").mkdir(parents=True, exist_ok=True)
    part = place / "1" / "model.onnx.part"
    onnx.save_model(loaded, part)
    part.replace(place / "1" / "model.onnx")
    (place / "config.pbtxt").write_text(text)


def config(model: str, graph: GraphFile, backend: str = "onnxruntime") -> str:
    """The text of `config.pbtxt`. Both ends of what the server may batch are tried before it is ready."""
    ports = "\n".join(f"  {{ {_port(port)} }}," for port in graph.inputs).rstrip(",")
    return f"""name: "{model}"
backend: "{backend}"
max_batch_size: {MAX_BATCH}
input [
{ports}
]
output [
  {{ {_port(graph.output)} }}
]
dynamic_batching {{
  max_queue_delay_microseconds: {DELAY_US}
  default_queue_policy {{ max_queue_size: {QUEUE} }}
}}
{_warmup(graph, 1)}
{_warmup(graph, MAX_BATCH)}
"""


def _port(port: Port) -> str:
    return (
        f'name: "{port.name}" data_type: {TYPES[port.dtype]} dims: {list(port.shape) or [1]}{_reshape(port)}'
    )


def _reshape(port: Port) -> str:
    """psi (N,) has no axis but the batch, which Triton writes as one number that is reshaped away."""
    return "" if port.shape else " reshape { shape: [ ] }"


def _warmup(graph: GraphFile, rows: int) -> str:
    inputs = "\n".join(
        f'  inputs {{ key: "{port.name}" value {{ data_type: {TYPES[port.dtype]}'
        f" dims: {list(port.shape) or [1]} zero_data: true }} }}"
        for port in graph.inputs
    )
    return f'model_warmup {{\n  name: "{rows}" batch_size: {rows}\n{inputs}\n}}'
