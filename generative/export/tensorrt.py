"""How to build TensorRT engines of ONNX graphs: explicit shapes, one command for each graph.

Engines belong to one kind of GPU and one version of TensorRT, and take minutes to build: so they are built
when a model is deployed, never at its first request. `build` does it where `trtexec` and a GPU are; elsewhere
the recipe is all there is, and `Missing` says why.

    <folder>/*.onnx, weights.bin, export.json   the graphs
    <folder>/build.json                         the shapes, by graph and input
    <folder>/build.sh                           runs trtexec for each graph: writes *.plan
    <folder>/<model>-<graph>/config.pbtxt       for Triton's TensorRT backend
"""

import json
import shlex
import shutil
import subprocess
from pathlib import Path

from generative.export.record import MAX_BATCH, Export, GraphFile, write_record
from generative.export.triton import config

ROWS = {"min": 1, "opt": 8, "max": MAX_BATCH}


class Missing(Exception):
    """What it takes to build engines is not here."""


def write_recipe(record: Export, folder: Path) -> Export:
    """Write what builds the engines of the graphs in `folder`, and record it there."""
    written = record.model_copy(update={"target": "tensorrt", "pictures_per_s": {}})
    shapes = {name: profiles(graph) for name, graph in record.graphs.items()}
    (folder / "build.json").write_text(json.dumps(shapes, indent=1) + "\n")
    lines = [shlex.join(command(record, name, graph)) for name, graph in record.graphs.items()]
    script = folder / "build.sh"
    script.write_text('#!/bin/sh\nset -eu\ncd "$(dirname "$0")"\n' + "\n".join(lines) + "\n")
    script.chmod(0o755)
    for name, graph in record.graphs.items():
        model = f"{record.model}-{name}"
        (folder / model).mkdir(exist_ok=True)
        (folder / model / "config.pbtxt").write_text(config(model, graph, backend="tensorrt"))
    write_record(folder, written)
    return written


def profiles(graph: GraphFile) -> dict[str, dict[str, list[int]]]:
    """The shape of every input at the fewest, the usual and the most rows."""
    return {port.name: {end: [rows, *port.shape] for end, rows in ROWS.items()} for port in graph.inputs}


def command(record: Export, name: str, graph: GraphFile) -> list[str]:
    shapes = profiles(graph)
    flags = []
    for end in ROWS:
        parts = (f"{port}:{'x'.join(map(str, ends[end]))}" for port, ends in shapes.items())
        flags.append(f"--{end}Shapes={','.join(parts)}")
    plan = f"--saveEngine={record.model}-{name}/1/model.plan"
    typed = ["--stronglyTyped", "--noTF32"]  # as the graph says, nothing else
    return ["trtexec", f"--onnx={graph.file}", plan, *typed, *flags, "--skipInference"]


def build(folder: Path) -> None:
    """Run the recipe. Raises Missing where there is no trtexec or no GPU."""
    absent = [f"the program {name}" for name in ("trtexec", "nvidia-smi") if shutil.which(name) is None]
    if absent:
        raise Missing(
            f"no engine was built: {' and '.join(absent)} cannot be found. The recipe is complete: run "
            f"{folder / 'build.sh'} where TensorRT and the GPU that will serve are"
        )
    for model in folder.glob("*/config.pbtxt"):
        (model.parent / "1").mkdir(exist_ok=True)
    subprocess.run([folder / "build.sh"], check=True)
