"""What it gains to compute side by side on a core each, against one after the other on all cores.

Forward passes by how many rows are asked for at once, and steps of inversions by how many run together.

    OMP_WAIT_POLICY=PASSIVE python -m bench.crew [--turns 5]

Both engines take turns in one run, and the medians are told. The large pictures are of random weights.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from bench.inversion import MODEL, posed, searching, seconds
from generative.backends.torch import PreparedBackend
from generative.batch import Tensors
from generative.generator import StyleGenerator
from generative.inversion.search import Search
from generative.networks.stylegan2 import Generator, StyleGAN2Config
from generative.spaces import Space
from generative.store import load_model
from workers.blocks import Op, Subject
from workers.engine import Engine
from workers.runtimes import Elsewhere, Runtime
from workers.work.painting import Paint

ROWS = {64: (1, 2, 4, 8, 16, 32, 64), 256: (1, 2, 4, 8)}
JOBS, STEPS = (1, 2, 4, 8, 16), 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    turns = parser.parse_args().turns
    portraits, console = load_model(MODEL)[0], Console(width=110)
    assert isinstance(portraits, Generator)
    with Engine(crew=1) as plain, Engine() as crew:
        table = Table(
            "what", "at once", "all cores", "a core each", "gain", title=f"{torch.get_num_threads()} cores"
        )
        for name, subject, op in ways(portraits):
            for rows in ROWS[subject.generator.img_resolution]:
                asked = partial(paint, subject, op, rows)
                row(table, name, rows, measured(asked, plain, crew, turns))
        search = searching(MODEL, "cpu", Space.W_PLUS)
        problems = posed(search, max(JOBS), STEPS)
        for count in JOBS:
            both = measured(partial(invert, search, problems[:count]), plain, crew, turns)
            row(table, "steps of inversions, 64 px", count, [s / STEPS for s in both])
    console.print(table)


def ways(portraits: Generator) -> list[tuple[str, Subject, Op]]:
    """Names, networks and operations."""
    large = Generator(StyleGAN2Config(256, channel_base=16384)).eval().requires_grad_(False)
    paint = Paint("const")
    found: list[tuple[str, Subject, Op]] = [
        ("portraits, 64 px", Subject(portraits), paint),
        ("StyleGAN2, 256 px", Subject(large), paint),
    ]
    for dtype, name in ((torch.float32, "prepared"), (torch.bfloat16, "prepared-bf16")):
        there = Subject(Runtime(portraits, PreparedBackend(portraits, dtype)))
        found.append((f"portraits, {name}", there, Elsewhere(paint)))
    return found


def paint(subject: Subject, op: Op, rows: int, engine: Engine) -> float:
    """Seconds for so many rows."""
    generator = subject.generator
    given = generator.generator if isinstance(generator, Runtime) else generator
    assert isinstance(given, StyleGenerator)
    inputs: Mapping[str, Tensor] = {
        "z": torch.randn(rows, given.z_dim),
        "psi": torch.ones(rows, given.num_ws),
    }
    began = time.perf_counter()
    engine.forward(subject, op, inputs).result()
    return time.perf_counter() - began


def invert(search: Search, problems: Sequence[Tensors], engine: Engine) -> float:
    """Seconds for all steps of jobs of one picture each."""
    return seconds([partial(engine.optimise, search, problem) for problem in problems], len(problems))


def measured(asked: Callable[[Engine], float], plain: Engine, crew: Engine, turns: int) -> list[float]:
    """Median seconds of both; what is new to an engine is tried out before."""
    asked(plain), asked(crew)
    times = [(asked(plain), asked(crew)) for _ in range(turns)]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def row(table: Table, name: str, count: int, both: list[float]) -> None:
    plain, crew = both
    table.add_row(name, str(count), *(f"{count / s:.1f}/s" for s in both), f"{plain / crew:.2f}")


if __name__ == "__main__":
    main()
