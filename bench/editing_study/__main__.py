"""What editing moves, by each method: the wanted factor, and all others.

    python -m bench.editing_study

Measures what is missing in the run's folder, then writes tables into docs/editing.md and pictures into
docs/images/. It may be stopped at any time, and goes on when it is started again.
"""

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor

from bench.editing_study import measuring, plots, tables
from bench.editing_study.editors import NAMELESS_WAYS, Editor, Finder, Way
from bench.editing_study.people import FACTORS, Model, People, columns, mixed
from bench.editing_study.records import Records
from bench.page import fill
from generative.metrics.dci import dci
from generative.p_space import to_p

ROOT = Path(__file__).parents[2]
SAMPLES, TRIED, JUDGED, MIXED = 10_000, 32, 96, 4000
SPACES = ("z", "w", "w+", "s", "p")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path.home() / "runs/editing", help="folder of the run")
    parser.add_argument("--model", type=Path, default=ROOT / "model_repo/portraits")
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--only", default="", help="part of the names of the methods to be measured")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/editing.md")
    parser.add_argument("--no-page", action="store_true", help="only measure")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, records = Model.load(options.model), Records(options.run)
    samples = records.people("samples", lambda: People.draw(model, range(options.samples)))
    people = People.draw(model, range(options.samples, options.samples + TRIED + JUDGED))
    rng = torch.Generator().manual_seed(0)
    layered = records.people("mixed", lambda: mixed(model, samples[:MIXED], rng))
    finder = Finder(model, samples, layered)
    measure_edits(model, finder, people, records, options.only)
    measure_spaces(model, samples, layered, records)
    if not options.no_page:
        ways = list(finder.ways)
        fill(options.page, tables.tables(ways, SPACES, records))
        shown = people[TRIED:]
        plots.draw(options.page.parent / "images", ways, model.paint({"ws": shown.ws[:1]})[0], records)


def measure_edits(model: Model, finder: Finder, people: People, records: Records, only: str) -> None:
    trial, judged = people[:TRIED], people[TRIED:]
    shared: dict[Way, list[measuring.Trial]] = {}

    def chosen(way: Way, factor: str) -> Editor:
        candidates = finder.ways[way](factor)
        if len(candidates) == 1:
            return candidates[0]
        if way not in NAMELESS_WAYS:
            return measuring.best(measuring.tried(model, trial, candidates), factor)
        if way not in shared:
            shared[way] = measuring.tried(model, trial, candidates)
        return measuring.best(shared[way], factor)

    for way in finder.ways:
        for factor in FACTORS:
            if only not in way[0] or records.get(way, factor) is not None:
                continue
            began, editor = time.perf_counter(), chosen(way, factor)
            lacking = judged.without(model.readouts[factor])
            score = measuring.score(model, lacking, editor, factor, people.seen.features)
            records.put(way, factor, score, model.paint(editor.move(judged[:1], score.strength)))
            said = f"moves {score.moves[factor]:.2f}, {score.ratio(factor):.1f} times any other"
            print(f"{way} {factor}: {said}, {time.perf_counter() - began:.0f} s", flush=True)


def measure_spaces(model: Model, samples: People, layered: People, records: Records) -> None:
    for space in SPACES:
        if records.note(f"dci-{space}") is not None:
            continue
        people = layered if space in ("w+", "s") else samples
        latents = _latents(model, people, space)
        found = dci(latents, columns(people.seen, model.readouts))
        numbers = {name: getattr(found, name) for name in tables.MARKS} | {"dimensions": latents.shape[1]}
        records.note(f"dci-{space}", numbers)
        print(f"{space}: {numbers}", flush=True)


@torch.no_grad()
def _latents(model: Model, people: People, space: str) -> Tensor:
    w = people.ws[:, 0]
    return {
        "z": lambda: people.z,
        "w": lambda: w,
        "p": lambda: to_p(w),
        "w+": lambda: people.ws.flatten(1),
        "s": lambda: model.generator.style_rows(people.ws),
    }[space]()


if __name__ == "__main__":
    main()
