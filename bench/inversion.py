"""Inversion jobs together: 1 to 16 jobs of one picture each on one engine, against one job after the other.

    python -m bench.inversion [--device cuda] [--steps 100]

Jobs that search in the same space of the same model take their steps as one batch. They are started at once,
in threads of their own, as a worker has them. Both ways run in turn, and the shorter of two tries counts.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from generative.batch import Tensors
from generative.inversion.codes import CodeBook
from generative.inversion.search import RAMP, Search, SearchOptions
from generative.losses import PerceptualDistance
from generative.networks.feature_network import FeatureNetwork
from generative.spaces import Space
from generative.store import load_model, load_statistics
from generative.worlds import portraits
from workers.engine import Engine

MODEL = Path(__file__).parents[1] / "model_repo" / "portraits"
COMPANIES = (1, 2, 4, 8, 16)
TRIES = 2

Job = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--space", default="w+", choices=[space.value for space in Space])
    parser.add_argument("--steps", type=int, default=10, help="of each job")
    options = parser.parse_args()
    torch.set_num_threads(1)
    search = searching(options.model, options.device, Space(options.space))
    problems = posed(search, max(COMPANIES), options.steps)
    title = f"{options.steps} steps in {options.space.upper()}, {options.device}: images inverted a minute"
    table = Table("jobs", "one after the other", "together", "ratio", "ms a step and picture", title=title)
    with Engine(options.device) as engine:
        jobs = [partial(engine.optimise, search, problem) for problem in problems]
        jobs[0]()  # kernels are chosen and memory is taken in the first run
        for count in COMPANIES:
            apart, together = measured(jobs[:count])
            per_step = 1e3 * together / count / options.steps
            row = 60 * count / apart, 60 * count / together, apart / together, per_step
            table.add_row(
                str(count), *(f"{x:.{digits}f}" for x, digits in zip(row, (0, 0, 2, 1), strict=True))
            )
    Console().print(table)


def searching(folder: Path, device: str, space: Space) -> Search:
    generator = load_model(folder)[0].to(device)
    distance = PerceptualDistance(FeatureNetwork.load(folder)).to(device)
    return Search(generator, CodeBook(generator, load_statistics(folder)).get(space), distance)


def posed(search: Search, count: int, steps: int) -> list[Tensors]:
    """One unseen portrait for each job."""
    factors = portraits.sample(count, torch.Generator().manual_seed(1))
    images = portraits.render(factors, search.generator.img_resolution).image
    options = [SearchOptions(steps=steps, schedule=RAMP, seed=seed) for seed in range(count)]
    return [search.problems(image[None], o) for image, o in zip(images, options, strict=True)]


def measured(jobs: Sequence[Job]) -> tuple[float, float]:
    """Seconds for all, one after the other and together: the shorter of some tries, since others use the
    machine too.
    """
    tries = [(seconds(jobs, 1), seconds(jobs, len(jobs))) for _ in range(TRIES)]
    return min(apart for apart, _ in tries), min(together for _, together in tries)


def seconds(jobs: Sequence[Job], at_once: int) -> float:
    with ThreadPoolExecutor(at_once) as threads:
        began = time.perf_counter()
        for done in [threads.submit(job) for job in jobs]:
            done.result()
        return time.perf_counter() - began


if __name__ == "__main__":
    main()
