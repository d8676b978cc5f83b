"""`python -m generative.metrics`: evaluate a model folder without a service.

The tables of docs/portraits.md come from here, with `--count 10000 --markdown`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, get_args

import cv2
import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from generative.editing.files import load_directions
from generative.losses import PerceptualDistance
from generative.metrics.changes import Edit
from generative.metrics.evaluation import Evaluation, Metric, Plan, evaluate
from generative.metrics.examiner import Examiner, plain_run
from generative.metrics.extractors import ShippedFeatures, open_extractor
from generative.metrics.pictures import PictureSet, Renders
from generative.networks.feature_network import FeatureNetwork
from generative.store import load_model

app = typer.Typer(add_completion=False, rich_markup_mode=None)
notes = Console(stderr=True)
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


class Folder:
    """Pictures in a folder, in the order of their names: their middle squares, in one size."""

    def __init__(self, folder: Path, side: int) -> None:
        self._files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        self._side = side

    def __len__(self) -> int:
        return len(self._files)

    def pictures(self, rows: Sequence[int]) -> Tensor:
        """(n, side, side, 3) uint8."""
        return torch.from_numpy(np.stack([self._read(self._files[row]) for row in rows]))

    def _read(self, path: Path) -> np.ndarray:
        pixels = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
        if pixels is None:
            raise ValueError(f"{path} is not a picture")
        height, width = pixels.shape[:2]
        edge = min(height, width)
        top, left = (height - edge) // 2, (width - edge) // 2
        how = cv2.INTER_AREA if edge > self._side else cv2.INTER_LANCZOS4
        return cv2.resize(
            pixels[top : top + edge, left : left + edge], (self._side, self._side), interpolation=how
        )


@app.command()
def main(
    model: Annotated[Path, typer.Option(help="model folder")] = Path("model_repo/portraits"),
    metrics: Annotated[
        str, typer.Option(help="of fid, kid, pr, ppl, factors, identity")
    ] = "fid,kid,pr,factors",
    count: Annotated[int, typer.Option(min=16, help="samples, and renders")] = 10_000,
    reference: Annotated[Path | None, typer.Option(help="folder of pictures, in place of renders")] = None,
    extractor: Annotated[str, typer.Option(help="shipped, inception=FILE or clip=FILE")] = "shipped",
    features: Annotated[Path | None, typer.Option(help="folder of the feature network; the model's")] = None,
    psi: Annotated[float, typer.Option(help="truncation; 1 is none")] = 1.0,
    seed: Annotated[int, typer.Option(help="of samples, renders and subsets")] = 0,
    edit: Annotated[
        list[str] | None, typer.Option(help="for identity: DIRECTION or DIRECTION=STRENGTH")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="tables; without it JSON")] = False,
    sheet: Annotated[Path | None, typer.Option(help="PNG: samples, and what is nearest to them")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    threads: Annotated[int, typer.Option(help="CPU threads; small tensors gain little from more")] = 1,
) -> None:
    """Fréchet and kernel distances, precision and recall, path length, factors, identity."""
    torch.set_num_threads(threads)
    plan = Plan(_metrics(metrics), count, seed, psi, edits=_edits(edit or [], model))
    examiner = _examiner(model, features or model, extractor, device)
    side = examiner.img_resolution
    pictures: PictureSet = Renders(count, side, seed) if reference is None else Folder(reference, side)
    with Progress(console=notes) as bar:
        task = bar.add_task("evaluating", total=1.0)
        found = evaluate(
            examiner,
            plan,
            pictures,
            plain_run(examiner),
            lambda share, message: bar.update(task, completed=share, description=message),
        )
    print(found.report.markdown() if markdown else json.dumps(found.report.plain(), indent=1))
    if sheet is not None:
        _write(sheet, found)


def _metrics(text: str) -> tuple[Metric, ...]:
    known = {name: name for name in get_args(Metric)}
    if unknown := [name for name in text.split(",") if name not in known]:
        raise typer.BadParameter(f"metrics are {', '.join(known)}, not {unknown[0]!r}")
    return tuple(known[name] for name in text.split(","))


def _edits(texts: Sequence[str], model: Path) -> tuple[Edit, ...]:
    known, found = load_directions(model), []
    for text in texts:
        name, _, strength = text.partition("=")
        if name not in known:
            raise typer.BadParameter(f"the model has no direction {name!r}")
        found.append(Edit(known[name], float(strength or 1)))
    return tuple(found)


def _examiner(model: Path, features: Path, extractor: str, device: str) -> Examiner:
    """All that looks, on the device. The shipped network reads factors whatever the features come from."""
    chosen = open_extractor(extractor, features, device)
    if isinstance(chosen, ShippedFeatures):
        reader = chosen.network
    else:
        reader = FeatureNetwork.load(features).to(device)
    reader.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # twice as fast on a CPU
    return Examiner(load_model(model)[0].to(device), chosen, reader, PerceptualDistance(reader))


def _write(path: Path, found: Evaluation) -> None:
    if found.sheet is None:
        raise typer.BadParameter("these metrics compare no pictures, so there is no sheet")
    rows, columns, height, width = found.sheet.shape[:4]
    pixels = found.sheet.permute(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3).numpy()
    if not cv2.imwrite(str(path), pixels[..., ::-1]):
        raise typer.BadParameter(f"cannot write {path}")


if __name__ == "__main__":
    app()
