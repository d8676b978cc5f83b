"""Where the time of one batch goes, stage by stage.

    python -m generative.profiling MODEL [--backend torch|prepared|prepared-bf16|onnx] [--rows 4]
        [--out profile] [--repo FOLDER]

Writes for each stage, from z to the bytes of pictures, a trace that Perfetto and Chrome open
(`synthesis.json`) and torch's table of operators (`synthesis.txt`), and prints the seconds of the stages.
With py-spy installed it also writes `flame.svg`: five seconds of painting, with Python's stack.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from generative.backend import Backend
from generative.backends.onnx import open_onnx
from generative.backends.torch import PreparedBackend, TorchBackend
from generative.generator import Generator, StyleGenerator, sample_z
from generative.networks import stylegan2
from generative.store import load_model

REPO = Path(__file__).parents[1] / "model_repo"
BACKENDS = ("torch", "prepared", "prepared-bf16", "onnx")
SPY_S = 5.0
LINES = 25  # of a table
Stage = Callable[[], Tensor]


def main(arguments: Sequence[str]) -> int:
    given = _parser().parse_args(arguments)
    generator, _ = load_model(given.repo / given.model)
    backend = open_backend(given.backend, generator, given.repo / given.model)
    stages = stages_of(generator, backend, given.rows)
    if given.paint_s:
        return _paint(stages, given.paint_s)
    given.out.mkdir(parents=True, exist_ok=True)
    print(f"{given.model}, {given.rows} rows, {backend.name} on {backend.where}")
    for name, stage in stages.items():
        print(f"{name:12}{profiled(name, stage, given.out):10.4f} s   {given.out / name}.json")
    if shutil.which("py-spy"):
        _spy([*arguments, "--paint-s", str(SPY_S)], given.out / "flame.svg")
    return 0


def open_backend(name: str, generator: Generator, folder: Path) -> Backend:
    """Raises BackendError, ValueError."""
    if name == "onnx":
        return open_onnx(folder / "onnx")
    if name == "torch":
        return TorchBackend(generator)
    if not isinstance(generator, stylegan2.Generator):
        raise ValueError("only StyleGAN2 is prepared")
    return PreparedBackend(generator, torch.bfloat16 if name.endswith("bf16") else torch.float32)


def stages_of(generator: Generator, backend: Backend, N: int) -> dict[str, Stage]:
    """What a batch goes through, each stage with the inputs of the one before."""
    z = sample_z(range(N), generator)
    c = torch.eye(generator.c_dim)[torch.arange(N) % generator.c_dim] if generator.c_dim else None
    if not isinstance(generator, StyleGenerator):
        codes = {"z": z} | ({} if c is None else {"c": c})
        return {"generator": lambda: backend.paint(codes, "none", {})}
    psi = torch.full((N, generator.num_ws), 0.7)
    ws = backend.map(z, c, psi)
    styles = backend.styles(ws)
    return {
        "mapping": lambda: backend.map(z, c, psi),
        "styles": lambda: backend.styles(ws),
        "synthesis": lambda: backend.paint({"styles": styles}, "const", {}),
    }


def profiled(name: str, stage: Stage, out: Path) -> float:
    """Write a stage's trace and table; seconds of a run without the profiler, after one that warmed up."""
    stage()
    began = time.perf_counter()
    stage()
    seconds = time.perf_counter() - began
    activities = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities, record_shapes=True) as profile:
        stage()
    profile.export_chrome_trace(str(out / f"{name}.json"))
    averages = profile.key_averages(group_by_input_shape=True)
    table = averages.table(sort_by="self_cpu_time_total", row_limit=LINES)
    (out / f"{name}.txt").write_text(table + "\n")
    return seconds


def _paint(stages: dict[str, Stage], seconds: float) -> int:
    """Run the stages over and over, for a sampler outside."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for stage in stages.values():
            stage()
    return 0


def _spy(arguments: Sequence[str], svg: Path) -> None:
    command = [sys.executable, "-m", "generative.profiling", *arguments]
    done = subprocess.run(["py-spy", "record", "--output", svg, "--", *command], capture_output=True)
    print(f"py-spy: {svg}" if done.returncode == 0 else f"py-spy failed: {done.stderr.decode()[-200:]}")


def _parser() -> argparse.ArgumentParser:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(prog="ganserve profile", description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a name in the repository of models")
    parser.add_argument("--backend", choices=BACKENDS, default="torch")
    parser.add_argument("--rows", type=int, default=4, help="pictures in the batch")
    parser.add_argument("--out", type=Path, default=Path("profile"), help="folder for traces and tables")
    repo = os.environ.get("GANSERVE_MODEL_REPO", REPO)
    parser.add_argument("--repo", type=Path, default=Path(repo), help="the repository of models")
    parser.add_argument("--paint-s", type=float, default=0, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
