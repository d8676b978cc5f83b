"""Plots that jobs hand out, drawn with matplotlib's object interface: no global state, safe in any thread."""

import io
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from generative.metrics.report import FactorScore

INK, FAINT, PAPER = "#26313d", "#d9dee4", "#fbfbfa"
COLOURS = ("#2f6db3", "#d9663a", "#3c9a6b", "#9a5aa8", "#c2a12e", "#4aa6b5", "#b5486b", "#6b7280")
KINDS = {
    "continuous": (COLOURS[0], "Wasserstein distance, in standard deviations"),
    "discrete": (COLOURS[1], "total variation"),
}


def loss_curves(curves: Sequence[Sequence[float]], title: str) -> bytes:
    """A PNG of one curve for each picture, on a logarithmic axis, each ended by a dot and its last value."""
    figure = Figure(figsize=(7.2, 4.2), dpi=120, facecolor=PAPER, layout="constrained")
    axes = figure.subplots()
    for index, curve in enumerate(curves):
        colour = COLOURS[index % len(COLOURS)]
        axes.plot(range(1, len(curve) + 1), curve, color=colour, linewidth=1.6, label=f"picture {index}")
        axes.plot(len(curve), curve[-1], "o", color=colour, markersize=4)
    if len(curves) == 1:
        end = len(curves[0]), curves[0][-1]
        axes.annotate(f"{end[1]:.3g}", end, (-4, 9), textcoords="offset points", color=COLOURS[0], ha="right")
    elif len(curves) <= len(COLOURS):
        axes.legend(frameon=False, labelcolor=INK, fontsize=9)
    axes.set_yscale("log")
    _dress(axes, title, "step", "loss")
    return _png(figure)


def factor_bars(factors: Sequence[FactorScore], title: str) -> bytes:
    """A PNG of one bar for each factor, the largest distance on top; a tick shows the floor of renders."""
    ordered = sorted(factors, key=lambda factor: factor.distance)
    figure = Figure(figsize=(7.2, 1.3 + 0.235 * len(ordered)), dpi=120, facecolor=PAPER, layout="constrained")
    axes = figure.subplots()
    names = [factor.name.replace("_", " ") for factor in ordered]
    places = range(len(ordered))
    for kind, (colour, label) in KINDS.items():
        own = [i for i in places if (ordered[i].kind == "continuous") == (kind == "continuous")]
        axes.barh(own, [ordered[i].distance for i in own], color=colour, height=0.62, label=label)
    floors = [(i, floor) for i in places if (floor := ordered[i].floor) is not None]
    if floors:
        rows, values = zip(*floors, strict=True)
        axes.plot(
            values, rows, "|", color=INK, markersize=9, markeredgewidth=1.6, label="renders (the floor)"
        )
    axes.set_yticks(places, names)
    axes.set_ylim(-0.7, len(ordered) - 0.3)
    axes.set_xlim(left=0)
    _dress(axes, title, "distance from the reference", "")
    axes.grid(visible=False, axis="y")
    axes.legend(frameon=False, labelcolor=INK, fontsize=9, loc="lower right")
    return _png(figure)


def layer_bars(rises: Sequence[float], together: float, chosen: Sequence[int], title: str) -> bytes:
    """A PNG of one bar for each layer, in another colour where it is chosen, and a line for all together."""
    figure = Figure(figsize=(7.2, 4.2), dpi=120, facecolor=PAPER, layout="constrained")
    axes = figure.subplots()
    colours = [COLOURS[1] if layer in chosen else COLOURS[0] for layer in range(len(rises))]
    axes.bar(range(len(rises)), rises, color=colours, width=0.7)
    axes.axhline(together, color=INK, linewidth=1.2, linestyle="--", label="all layers together")
    axes.set_xticks(range(len(rises)))
    _dress(axes, title, "layer", "rise")
    axes.grid(visible=False, axis="x")
    axes.legend(frameon=False, labelcolor=INK, fontsize=9)
    return _png(figure)


def part_bars(counts: Mapping[str, Mapping[str, int]], title: str) -> bytes:
    """A PNG of how many units of each layer go with each part: {layer: {part: units}}, one bar each."""
    parts = list(next(iter(counts.values())))
    figure = Figure(figsize=(7.2, 4.2), dpi=120, facecolor=PAPER, layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(counts)
    for i, (layer, found) in enumerate(counts.items()):
        places = [p + (i + 0.5) * width - 0.4 for p in range(len(parts))]
        colour = COLOURS[i % len(COLOURS)]
        axes.bar(places, [found[part] for part in parts], width * 0.9, color=colour, label=layer)
    axes.set_xticks(range(len(parts)), parts, rotation=45, ha="right")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    _dress(axes, title, "", "units")
    axes.grid(visible=False, axis="x")
    axes.legend(frameon=False, labelcolor=INK, fontsize=9)
    return _png(figure)


def histograms(counts: Mapping[str, Mapping[str, int]], edges: Sequence[float], title: str) -> bytes:
    """A PNG of small histograms, one for each name: of values by name, or of the bins between `edges`."""
    columns = 5
    rows = -(-len(counts) // columns)
    figure = Figure(figsize=(11, 1.6 * rows + 0.6), dpi=110, facecolor=PAPER, layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, (name, found) in zip(grid, counts.items(), strict=False):
        _histogram(axes, found, edges)
        axes.set_title(name.replace("_", " "), color=INK, fontsize=9, loc="left")
    for axes in grid[len(counts) :]:
        axes.set_visible(False)
    figure.suptitle(title, color=INK, fontsize=12, x=0.01, ha="left")
    return _png(figure)


def _histogram(axes: Axes, found: Mapping[str, int], edges: Sequence[float]) -> None:
    if all(value.isdigit() for value in found):
        bins = sorted((int(value), count) for value, count in found.items())
        axes.bar(
            [edges[i] for i, _ in bins],
            [n for _, n in bins],
            edges[1] - edges[0],
            align="edge",
            color=COLOURS[0],
        )
    else:
        axes.bar(list(found), list(found.values()), color=COLOURS[1])
    axes.set_facecolor(PAPER)
    axes.set_yticks([])
    axes.tick_params(colors=INK, length=0, labelsize=7)
    for side in axes.spines.values():
        side.set_visible(False)


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    FigureCanvasAgg(figure).print_png(out, metadata={"Software": None})
    return out.getvalue()


def _dress(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, color=INK, fontsize=12, loc="left", pad=12)
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.set_facecolor(PAPER)
    axes.grid(color=FAINT, linewidth=0.7, which="both", alpha=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, which="both", length=0, labelsize=9)
    for side in axes.spines.values():
        side.set_visible(False)
