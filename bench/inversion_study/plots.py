"""The pictures of the page: portraits found again, with a smile, the race of two methods, and restoration.

Axis letters: N pictures, H W pixels.
"""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from torch import Tensor

from bench.inversion_study.measuring import BATCH, LONGER, name
from bench.inversion_study.methods import Variant
from bench.inversion_study.records import Records
from bench.inversion_study.restoration import DAMAGES
from bench.inversion_study.subjects import Model
from bench.inversion_study.tables import curve

matplotlib.use("Agg")
from matplotlib import pyplot as plt

ROWS, SIDE = 3, 64
SHOWN = (
    Variant("encoder", "w+"),
    Variant("hybrid", "w"),
    Variant("hybrid", "w+"),
    Variant("hybrid", "s"),
    Variant("hybrid", "features"),
    Variant("in_domain", "w+"),
    Variant("projector", "w"),
    Variant("projector", "w+"),
    Variant("pulse", "p+"),
    Variant("stylespace", "s"),
    Variant("ii2s", "w+"),
    Variant("pti", "w"),
)
STYLE: Any = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10}
RACERS = {
    Variant("projector", "w"): ("#9aa0ab", "-"),
    Variant("projector", "w+"): ("#9aa0ab", "--"),
    Variant("hybrid", "w"): ("#2f6fde", "-"),
    Variant("hybrid", "w+"): ("#2f6fde", "--"),
    Variant("hybrid", "w", LONGER): ("#e38b36", "-"),
    Variant("hybrid", "w+", LONGER): ("#e38b36", "--"),
}
OURS = Variant("hybrid", "w+"), Variant("hybrid", "w")


def draw(folder: Path, model: Model, records: Records) -> None:
    with plt.rc_context(STYLE):
        _found(folder / "inversion_methods.png", model, records)
        _race(folder / "inversion_race.png", model, records)
        _restored(folder / "inversion_restoration.png", model, records)


def _found(path: Path, model: Model, records: Records) -> None:
    """A column for each method; a row of portraits that were found, and below it the same with a smile."""
    columns = {"portrait": [records.pictures("reference/truth", "found"), None]}
    for variant in SHOWN:
        what = name(model, variant)
        if (found := records.pictures(what, "found")) is not None:
            columns[f"{variant.method}\n{variant.place}"] = [found, records.pictures(what, "smiling")]
    strips = [
        np.concatenate([_picture(pair[k], i) for pair in columns.values()], axis=1)
        for i in range(ROWS)
        for k in (0, 1)
    ]
    _sheet(path, np.concatenate(strips), list(columns), ["found", "smile +2"] * ROWS)


def _restored(path: Path, model: Model, records: Records) -> None:
    """Rows: truth, what is seen, the first classical remedy, `OURS`; two portraits for each damage."""
    rows: list[list[np.ndarray]] = [[] for _ in range(3 + len(OURS))]
    for damage, what in DAMAGES.items():
        folder, remedy = damage.replace(" ", "_"), next(iter(what.baselines)).replace(" ", "_")
        places = ["reference/truth", f"{folder}/observed", f"{folder}/{remedy}"]
        places += [name(model, variant, damage) for variant in OURS]
        found = [records.pictures(place, "found") for place in places]
        for row, pictures in zip(rows, found, strict=True):
            row += [_picture(pictures, i) for i in range(2)]
    sheet = np.concatenate([np.concatenate(row, axis=1) for row in rows], axis=0)
    _sheet(path, sheet, list(DAMAGES), ["truth", "given", "classical", "hybrid, W+", "hybrid, W"])


def _picture(pictures: Tensor | None, i: int) -> np.ndarray:
    """One of pictures (N, H, W, 3), or white."""
    return np.full((SIDE, SIDE, 3), 255, np.uint8) if pictures is None else pictures[i].numpy()


def _sheet(path: Path, sheet: np.ndarray, columns: list[str], rows: list[str]) -> None:
    """A sheet (H, W, 3) at twice its size, with words above and beside its equal columns and rows."""
    H, W, _ = sheet.shape
    figure, axes = plt.subplots(figsize=(W / 50 + 0.6, H / 50 + 0.5), layout="constrained")
    axes.imshow(sheet, interpolation="nearest")
    axes.set_xticks([W / len(columns) * (i + 0.5) for i in range(len(columns))], columns, fontsize=8)
    axes.set_yticks([H / len(rows) * (i + 0.5) for i in range(len(rows))], rows, fontsize=8)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _race(path: Path, model: Model, records: Records) -> None:
    """Losses by evaluations of the generator, over the portraits that all have run with."""
    shared = min(records.next_batch(name(model, variant)) for variant in RACERS) or BATCH
    figure, panels = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
    for axes, loss in zip(panels, ("perceptual", "pixel + perceptual"), strict=True):
        for variant, (color, line) in RACERS.items():
            if (record := records.get(name(model, variant), below=shared)) is not None:
                values = curve(record, loss)
                longer = ", 200 steps at 0.2" if variant.changes else ""
                words = f"{variant.method} in {variant.place}{longer}"
                axes.plot(range(1, len(values) + 1), values, line, color=color, lw=1.8, label=words)
        axes.set(xscale="log", yscale="log", title=loss, xlabel="evaluations of the generator")
        axes.grid(alpha=0.25)
    panels[0].set_ylabel("loss, mean over the portraits")
    handles, words = panels[0].get_legend_handles_labels()
    figure.legend(handles, words, frameon=False, loc="outside right upper")
    figure.savefig(path, dpi=110)
    plt.close(figure)
