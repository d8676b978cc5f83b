"""A real Triton server with exported graphs, for an interpreter whose environment has nvidia-pytriton.

    python triton_server.py REPOSITORY HTTP_PORT GRPC_PORT METRICS_PORT

The wheel's server has the Python backend alone, so ONNX Runtime runs each graph inside of a model of that
backend; names, shapes, batching, and the wire are Triton's. Prints "ready", and ends when its input does.
"""

import re
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(uint8)": np.uint8}
RUNTIME = onnxruntime.SessionOptions()
RUNTIME.intra_op_num_threads = 1
PORT = re.compile(r'name: "([^"]+)" data_type: \w+ dims: \[([\d, ]+)\]')


def main(repository: Path, http: int, grpc: int, metrics: int) -> None:
    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=http,
        grpc_address="127.0.0.1",
        grpc_port=grpc,
        metrics_port=metrics,
        log_verbose=0,
    )
    with Triton(config=config) as triton:
        for path in sorted(repository.glob("*/config.pbtxt")):
            bind(triton, path.parent)
        triton.run()
        print("ready", flush=True)
        sys.stdin.read()


def bind(triton: Triton, folder: Path) -> None:
    """Serve the graph of a folder under its name."""
    session = onnxruntime.InferenceSession(
        folder / "1" / "model.onnx", RUNTIME, providers=["CPUExecutionProvider"]
    )
    shapes = dict(PORT.findall((folder / "config.pbtxt").read_text()))
    sides = {name: tuple(map(int, dims.split(","))) for name, dims in shapes.items()}
    flat = {port.name for port in session.get_inputs() if len(port.shape) == 1}
    output = session.get_outputs()[0]

    @batch
    def infer(**given: np.ndarray) -> dict[str, np.ndarray]:
        inputs = {name: value[:, 0] if name in flat else value for name, value in given.items()}
        return {output.name: session.run(None, inputs)[0]}

    triton.bind(
        model_name=folder.name,
        infer_func=infer,
        inputs=[Tensor(name=p.name, dtype=TYPES[p.type], shape=sides[p.name]) for p in session.get_inputs()],
        outputs=[Tensor(name=output.name, dtype=TYPES[output.type], shape=sides[output.name])],
        config=ModelConfig(max_batch_size=32, batcher=DynamicBatcher(max_queue_delay_microseconds=2000)),
        strict=True,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
