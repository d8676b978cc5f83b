"""What inversion finds of unseen portraits, by each method in each of its spaces, and what it restores.

    python -m bench.inversion_study

Measures what is missing in the run's folder, then writes tables and pictures into docs/inversion.md and
docs/images/. It may be stopped at any time, and goes on when it is started again; with `--only`, just the
records whose names hold that, such as `inversion/hybrid-w+` or `grey/`.
"""

import argparse
import time
from pathlib import Path

import torch

from bench.inversion_study import measuring, plots, tables
from bench.inversion_study.records import Records
from bench.inversion_study.subjects import LIMIT, Model
from bench.page import fill

ROOT = Path(__file__).parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path.home() / "runs/inversion", help="folder of the run")
    parser.add_argument("--model", type=Path, default=ROOT / "model_repo/portraits")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", default="", help="part of the names of what is measured")
    parser.add_argument("--limit", type=int, default=LIMIT, help="portraits at most")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/inversion.md")
    parser.add_argument("--no-page", action="store_true", help="only measure")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, records = Model.load(options.model, options.device), Records(options.run)
    measuring.measure_references(model, records)
    for first, variant, damage in measuring.plan(options.limit):
        what = measuring.name(model, variant, damage or "inversion")
        began = time.perf_counter()
        if options.only in what and measuring.measure(model, records, first, variant, damage):
            print(f"{what} {first}: {time.perf_counter() - began:.0f} s", flush=True)
    if not options.no_page:
        fill(options.page, tables.tables(model, records))
        plots.draw(options.page.parent / "images", model, records)


if __name__ == "__main__":
    main()
