"""Perceptual distances against plain squared error, judged by the truth of the world.

    python -m bench.perceptual [--discriminator RUN/gan/checkpoint.pt] [--plot docs/images/perceptual.png]

Limits: on every graded disturbance the perceptual distance must rise with the level; it must count factors
better than squared error does; and the factors that the network reads must forgive a shift that it cannot.
"""

import argparse
from pathlib import Path

import matplotlib
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from generative.losses import PerceptualDistance, between, unit
from generative.metrics.judging import (
    CHANGES,
    DISTURBANCES,
    Distance,
    Judge,
    Sitting,
    Trials,
    agreement,
    by_factors,
    fewer_changes,
    mean_squared,
    only_disturbed,
    same_person,
)
from generative.networks.feature_network import FeatureNetwork
from generative.networks.projected_discriminator import ProjectedDiscriminator
from generative.pixels import to_uint8
from generative.training.config import TrainingConfig
from generative.training.running import CONFIG
from generative.worlds.portraits import index

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

MODEL, SIZE = Path(__file__).parents[1] / "model_repo" / "portraits", 64
COLORS = {
    "squared error": "#9aa0ab",
    "perceptual": "#2f6fde",
    "factors read": "#2a9d78",
    "discriminator": "#e38b36",
}
SHOWN = ("smile", "glasses", "hair colour", "pose", "another person")

Graded = dict[str, dict[str, list[float]]]  # disturbance -> distance -> value of each level
Changed = dict[str, dict[str, float]]  # change -> distance -> value
Agreed = dict[str, dict[str, float]]  # choice -> distance -> share


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL, help="folder with a feature network")
    parser.add_argument("--discriminator", type=Path, help="checkpoint of a projected training")
    parser.add_argument("--plot", type=Path, help="PNG to draw")
    parser.add_argument("--count", type=int, default=100, help="pictures, and trials of each choice")
    options = parser.parse_args()
    torch.set_num_threads(1)
    distances: dict[str, Distance] = {"squared error": mean_squared}
    network = FeatureNetwork.load(options.model)
    distances |= {"perceptual": PerceptualDistance(network), "factors read": by_factors(network)}
    if options.discriminator:
        distances["discriminator"] = by_discriminator(options.discriminator)
    sitting = Sitting(options.count, SIZE, torch.Generator().manual_seed(1))
    judges = {name: Judge(distance, sitting) for name, distance in distances.items()}
    graded = {name: {d: judge.disturbed(name) for d, judge in judges.items()} for name in DISTURBANCES}
    changed = {name: {d: judge.changed(name) for d, judge in judges.items()} for name in CHANGES}
    agreed = {
        name: {d: agreement(f, trials) for d, f in distances.items()}
        for name, trials in choices(options.count).items()
    }
    report(graded, changed, agreed)
    if options.plot:
        draw(options.plot, sitting, graded, changed, agreed)
    return 0 if fine(graded, agreed) else 1


def by_discriminator(checkpoint: Path) -> Distance:
    """The same formula on the maps of a trained discriminator."""
    config = TrainingConfig.model_validate_json((checkpoint.parent / CONFIG).read_text())
    network = ProjectedDiscriminator(FeatureNetwork.load(config.features))
    network.load_state_dict(torch.load(checkpoint, weights_only=True)["discriminator"])
    network.eval()

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return between(unit(network.features(a)), unit(network.features(b)))

    return distance


def choices(count: int) -> dict[str, Trials]:
    """Forced choices by name."""
    rng = torch.Generator().manual_seed(2)
    trials = {f"{gap} factors fewer changed": fewer_changes(count, gap, SIZE, rng) for gap in (4, 8, 16)}
    trials["same person, another moment"] = same_person(count, SIZE, rng)
    for name, level, words in (
        ("blur", 0.6, "blur of 0.6 px"),
        ("noise", 0.05, "noise of 0.05"),
        ("shift", 1, "shift by 1 px"),
        ("JPEG", 70, "JPEG 70"),
    ):
        trials[f"{words}, not a changed face"] = only_disturbed(count, name, level, SIZE, rng)
    return trials


def fine(graded: Graded, agreed: Agreed) -> bool:
    rises = all(sorted(by["perceptual"]) == by["perceptual"] for by in graded.values())
    counted = [by for name, by in agreed.items() if name.endswith("fewer changed")]
    ours, plain = (sum(by[d] for by in counted) for d in ("perceptual", "squared error"))
    shifted = agreed["shift by 1 px, not a changed face"]
    return rises and ours > plain and shifted["factors read"] > shifted["squared error"]


def report(graded: Graded, changed: Changed, agreed: Agreed) -> None:
    names = list(next(iter(agreed.values())))
    console, kinds = Console(), "distance between strangers = 1"
    table = Table("disturbance", "level", *names, title=kinds, box=None)
    for name, by in graded.items():
        for i, level in enumerate(DISTURBANCES[name].levels):
            table.add_row(name, f"{level:g}", *(f"{by[d][i]:.3f}" for d in names))
    console.print(table)
    table = Table("one change", *names, title=kinds, box=None)
    for name, values in changed.items():
        table.add_row(name, *(f"{values[d]:.3f}" for d in names))
    console.print(table)
    table = Table("which is nearer?", *names, title="agreement with the truth", box=None)
    for name, values in agreed.items():
        table.add_row(name, *(f"{values[d]:.0%}" for d in names))
    mean = {d: sum(values[d] for values in agreed.values()) / len(agreed) for d in names}
    table.add_row("mean", *(f"{mean[d]:.0%}" for d in names), style="bold")
    console.print(table)


def draw(path: Path, sitting: Sitting, graded: Graded, changed: Changed, agreed: Agreed) -> None:
    """Examples, curves of the disturbances, single changes, and forced choices."""
    style = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10}
    with plt.rc_context(style):
        figure = plt.figure(figsize=(11, 9.6), layout="constrained")
        top, middle, low = figure.subfigures(3, 1, height_ratios=(1.25, 2.5, 4.6))
        _examples(top, sitting)
        _curves(middle, graded)
        left, right = low.subplots(1, 2)
        _dots(left, changed)
        _bars(right, agreed)
        figure.savefig(path, dpi=110)
        plt.close(figure)


def _examples(figure: SubFigure, sitting: Sitting) -> None:
    bare = sitting.people[:, [index("beard"), index("hat"), index("glasses")]].sum(1) == 0
    row = int(bare.float().argmax())
    image = sitting.images[row : row + 1]
    pictures = {"reference": image}
    for name, disturbance in DISTURBANCES.items():
        level = disturbance.levels[3]
        pictures[f"{name} {level:g}"] = disturbance.apply(image, level)
    pictures |= {name: sitting.changed(name)[row : row + 1] for name in SHOWN}
    for axes, (name, picture) in zip(figure.subplots(1, len(pictures)), pictures.items(), strict=True):
        axes.imshow(to_uint8(picture)[0].numpy(), interpolation="nearest")
        axes.set_title(name, fontsize=9)
        axes.axis("off")


def _curves(figure: SubFigure, graded: Graded) -> None:
    panels = figure.subplots(1, len(graded), sharey=True)
    for axes, (name, by) in zip(panels, graded.items(), strict=True):
        levels = DISTURBANCES[name].levels
        for distance, values in by.items():
            axes.plot(values, "o-", color=COLORS[distance], lw=1.8, ms=4, label=distance)
        axes.set_title(name, loc="left", weight="bold")
        axes.set_xticks(range(len(levels)), [f"{level:g}" for level in levels])
        axes.set_xlabel(DISTURBANCES[name].unit)
        axes.grid(axis="y", alpha=0.25)
        axes.set_ylim(bottom=0)
    panels[0].set_ylabel("distance (strangers = 1)")
    panels[0].legend(frameon=False)


def _dots(axes: Axes, changed: Changed) -> None:
    names = sorted(changed, key=lambda name: changed[name]["squared error"])
    for y, name in enumerate(names):
        values = changed[name]
        axes.plot([min(values.values()), max(values.values())], [y, y], color="#d8dbe0", lw=2, zorder=1)
        for distance, value in values.items():
            axes.scatter(value, y, s=42, color=COLORS[distance], zorder=2)
    axes.set_xscale("log")
    axes.set_xticks((0.001, 0.01, 0.1, 1), ("0.001", "0.01", "0.1", "1"))
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("distance (strangers = 1)")
    axes.grid(axis="x", alpha=0.25)
    axes.set_title("One change to a portrait", loc="left", weight="bold")


def _bars(axes: Axes, agreed: Agreed) -> None:
    names, thick = list(agreed)[::-1], 0.8 / len(next(iter(agreed.values())))
    for i, distance in enumerate(next(iter(agreed.values()))):
        places = [y + 0.4 - thick * (i + 0.5) for y in range(len(names))]
        axes.barh(places, [agreed[n][distance] for n in names], thick * 0.9, color=COLORS[distance])
    axes.axvline(0.5, color="#444", lw=1, ls=":")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlim(0, 1)
    axes.set_xticks((0, 0.25, 0.5, 0.75, 1), ("0", "25 %", "a coin", "75 %", "100 %"))
    axes.set_title("Which is nearer? Agreement with the truth", loc="left", weight="bold")


if __name__ == "__main__":
    raise SystemExit(main())
