"""Detectors in the format of YuNet, small enough to be made in a test.

Its outputs are `cls`, `obj`, `bbox` and `kps` at strides of 8, 16 and 32 pixels, a row for each cell.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE, POOL = 64, 8  # pixels of the picture, and of the squares whose means the points follow from
WIDTHS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
STRIDE = 32  # of the cells that see faces
FEATURES = 3 * (SIDE // POOL) ** 2


def features(pixels: np.ndarray) -> np.ndarray:
    """(N, 64, 64, 3) RGB -> (N, 192), as the network sees them: means of squares, blue first."""
    blue_first = pixels[..., ::-1].transpose(0, 3, 1, 2).astype(np.float64)
    cells = SIDE // POOL
    return blue_first.reshape(-1, 3, cells, POOL, cells, POOL).mean(axis=(3, 5)).reshape(len(pixels), -1)


def save_detector(file: Path, faces: Mapping[int, tuple[float, np.ndarray]]) -> Path:
    """For every cell (of 2 by 2) that sees a face: the side of its box in pixels, and what makes its ten
    coordinates of the features and of 1, (193, 10).
    """
    nodes = [
        helper.make_node("AveragePool", ["input"], ["pool"], kernel_shape=[POOL, POOL], strides=[POOL, POOL]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
    ]
    tensors, outputs = [], []
    for name, width in WIDTHS.items():
        for stride in (8, 16, 32):
            out, cells = f"{name}_{stride}", (SIDE // stride) ** 2
            weight, bias = np.zeros((FEATURES, cells, width)), np.zeros((cells, width))
            for cell, (side, points) in faces.items() if stride == STRIDE else ():
                corner = np.tile([cell % 2, cell // 2], 5)  # cells count from their own corner
                weight[:, cell] = points[:-1] / STRIDE if name == "kps" else 0
                log_side = np.log(side / STRIDE)
                bias[cell] = {
                    "cls": 1, "obj": 1, "bbox": [0.5, 0.5, log_side, log_side],
                    "kps": points[-1] / STRIDE - corner,
                }[name]  # fmt: skip
            parts = {"w": weight.reshape(FEATURES, -1), "b": bias.ravel()}
            tensors += [numpy_helper.from_array(t.astype(np.float32), f"{out}_{n}") for n, t in parts.items()]
            tensors.append(numpy_helper.from_array(np.array([1, cells, width], np.int64), f"{out}_s"))
            nodes.append(helper.make_node("Gemm", ["flat", f"{out}_w", f"{out}_b"], [f"{out}_g"]))
            nodes.append(helper.make_node("Reshape", [f"{out}_g", f"{out}_s"], [out]))
            outputs.append(helper.make_tensor_value_info(out, TensorProto.FLOAT, [1, cells, width]))
    picture = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    graph = helper.make_graph(nodes, "faces", [picture], outputs, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=7), file)
    return file
