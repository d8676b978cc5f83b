"""The pictures of the page: one person edited by every method, and what every edit moves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from torch import Tensor

from bench.editing_study.editors import Way
from bench.editing_study.people import FACTORS
from bench.editing_study.records import Records
from bench.editing_study.tables import scores

matplotlib.use("Agg")
from matplotlib import pyplot as plt

STYLE: Any = {"font.size": 8, "axes.titlesize": 9, "axes.spines.top": False, "axes.spines.right": False}
COLUMNS = 3  # of matrices


def draw(folder: Path, ways: Sequence[Way], before: Tensor, records: Records) -> None:
    """before: (H, W, 3) uint8, the person as he is."""
    with plt.rc_context(STYLE):
        _people(folder / "editing_methods.png", ways, before, records)
        _matrices(folder / "editing_rescoring.png", ways, records)


def _people(path: Path, ways: Sequence[Way], before: Tensor, records: Records) -> None:
    """A row for each method, a column for each factor."""
    white = np.full_like(before.numpy(), 255)
    rows = []
    for way in ways:
        edited = [records.pictures(way, factor) for factor in FACTORS]
        tiles = [before.numpy(), *(white if e is None else e[0].numpy() for e in edited)]
        rows.append(np.concatenate(tiles, axis=1))
    sheet = np.concatenate(rows)
    H, W, _ = sheet.shape
    figure, axes = plt.subplots(figsize=(W / 55 + 1.4, H / 55 + 0.4), layout="constrained")
    axes.imshow(sheet, interpolation="nearest")
    names = ["before", *(factor.replace("_", " ") for factor in FACTORS)]
    axes.set_xticks([W / len(names) * (i + 0.5) for i in range(len(names))], names)
    labels = [f"{method.replace(', ', chr(10))}, {space.upper()}" for method, space in ways]
    axes.set_yticks([H / len(ways) * (i + 0.5) for i in range(len(ways))], labels)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def _matrices(path: Path, ways: Sequence[Way], records: Records) -> None:
    """Rows: edits of the factors. Columns: all factors, those first, by how far they move."""
    count = -(-len(ways) // COLUMNS)
    figure, panels = plt.subplots(
        count,
        COLUMNS,
        figsize=(5.2 * COLUMNS, 2.3 * count + 0.8),
        layout="constrained",
        sharex=True,
        sharey=True,
    )
    image = None
    for axes, way in zip(panels.flat, ways, strict=False):
        found = scores(way, records)
        names = [*FACTORS, *(n for n in next(iter(found.values())).moves if n not in FACTORS)]
        table = [[found[f].moves[n] if f in found else np.nan for n in names] for f in FACTORS]
        image = axes.imshow(table, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
        axes.set_title(f"{way[0]}, {way[1].upper()}")
        axes.set_xticks(range(len(names)), [n.replace("_", " ") for n in names], rotation=90)
        axes.set_yticks(range(len(FACTORS)), [f.replace("_", " ") for f in FACTORS])
    for axes in panels.flat[len(ways) :]:
        axes.set_visible(False)
    if image is not None:
        figure.colorbar(
            image, ax=panels, shrink=0.5, label="moved: deviations; of categories the share that changes"
        )
    figure.savefig(path, dpi=90)
    plt.close(figure)
