"""Train the built-in models from nothing: `python -m generative.training --help`.

render    portraits with their factors, into RUN/dataset
features  the feature network, on those pictures, into RUN/features
parts     the parts network, on their part maps, into RUN/parts
start     a shipped or imported generator that a child is fine-tuned from, into RUN/start
warm      a generator that knows which picture belongs to which z, into RUN/warm
gan       the generator, into RUN/NAME; resumes by itself, stops cleanly on Ctrl-C and SIGTERM
score     Fréchet distance of a generator to unseen pictures, beside two controls
ship      the averaged generator as a model folder with card, statistics and pictures
encoder   an encoder for a model folder, written there with what was measured
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from generative.devices import pick
from generative.networks.feature_network import FeatureNetwork
from generative.networks.parts_network import PartsNetwork
from generative.networks.stylegan2 import Generator
from generative.store import load_model
from generative.training import loop, recipes, running
from generative.training.config import TrainingConfig
from generative.training.dataset import DatasetRecord, Portraits, render_dataset
from generative.training.encoder import EncoderProgress, EncoderTraining, StyleModel, train_encoder
from generative.training.encoder_journal import Journal
from generative.training.features import FeatureProgress, FeatureTraining, train_features
from generative.training.grid import sample_grid, write_png
from generative.training.part_maps import render_part_maps
from generative.training.parts import PartsProgress, PartsTraining, train_parts
from generative.training.score import Reference, load_average
from generative.training.ship import ship
from generative.training.ship_encoder import ship_encoder
from generative.training.ship_family import ship_family
from generative.training.warm_start import WarmProgress, WarmStart, warm_start

HELP = (
    "Train the built-in model from nothing: render, features, parts, warm, gan, score, ship, in this order; "
    "or one of another family: render, features, family, ship-family."
)
app = typer.Typer(help=HELP, no_args_is_help=True, add_completion=False, rich_markup_mode=None)
console = Console()

Run = Annotated[Path, typer.Option("--run", help="folder of the whole run")]
Settings = Annotated[list[str], typer.Option("--set", help="FIELD=VALUE of generative/training/config.py")]
Family = Annotated[recipes.Name, typer.Option("--name", help="a recipe of generative/training/recipes.py")]
FamilySettings = Annotated[list[str], typer.Option("--set", help="FIELD=VALUE of the recipe's configuration")]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto: cuda where there is one")]
Threads = Annotated[int, typer.Option(help="CPU threads; 0: all cores")]


@app.command()
def render(
    run: Run = Path("runs/portraits"),
    count: Annotated[int, typer.Option(help="pictures")] = 50_000,
    size: Annotated[int, typer.Option(help="pixels along an edge")] = 64,
    seed: int = 1,
    flat: Annotated[bool, typer.Option(help="one colour for each part, and lines between them")] = False,
    threads: Threads = 0,
) -> None:
    """Render portraits, or the rest of an interrupted rendering."""
    _use(threads)
    with _bar("rendering") as (bar, task):
        record = DatasetRecord(resolution=size, count=count, seed=seed, flat=flat)
        render_dataset(run / "dataset", record, lambda done: bar.update(task, completed=done, total=count))


@app.command()
def features(
    run: Run = Path("runs/portraits"),
    epochs: float = 4.0,
    held_out: Annotated[int, typer.Option(help="pictures kept for measuring")] = 5_000,
    start: Annotated[Path | None, typer.Option(help="folder of a network to begin with")] = None,
    rate: Annotated[float, typer.Option(help="largest learning rate")] = FeatureTraining.learning_rate,
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Train the feature network and print what it scores on unseen pictures; resumes by itself."""
    _use(threads)
    with _bar("features") as (bar, task):

        def report(p: FeatureProgress) -> None:
            note = f"rebuild {p.reconstruction:.3f}, factors {p.readout:.3f}"
            bar.update(task, completed=p.step, total=p.steps, note=note)

        network = train_features(
            Portraits(run / "dataset", held_out),
            FeatureTraining(epochs=epochs, learning_rate=rate, device=pick(device)),
            report,
            start=None if start is None else FeatureNetwork.load(start),
            checkpoint=run / "features.pt",
        )
    network.save(run / "features")
    console.print(_scores(network))


@app.command()
def parts(
    run: Run = Path("runs/portraits"),
    images: Annotated[int, typer.Option(help="pictures of all steps")] = PartsTraining.images,
    pictures: Annotated[int, typer.Option(help="distinct pictures to learn from")] = 40_000,
    held_out: Annotated[int, typer.Option(help="pictures kept for measuring")] = 5_000,
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Train the parts network and print its overlap with the truth on unseen pictures; resumes by itself."""
    _use(threads)
    portraits = Portraits(run / "dataset", held_out)
    count = min(held_out + pictures, portraits.record.done)
    with _bar("part maps") as (bar, task):

        def painted(done: int) -> None:
            bar.update(task, completed=done, total=count)

        maps = render_part_maps(portraits, count, painted, pick(device))
    with _bar("parts") as (bar, task):

        def report(p: PartsProgress) -> None:
            note = f"loss {p.loss:.3f}, right {p.accuracy:.1%}"
            bar.update(task, completed=p.images, total=p.total, note=note)

        settings = PartsTraining(images=images, device=pick(device))
        network = train_parts(portraits, maps, settings, report, checkpoint=run / "parts.pt")
    network.save(run / "parts")
    console.print(_overlaps(network))


@app.command()
def warm(
    run: Run = Path("runs/portraits"),
    images: Annotated[int, typer.Option(help="pictures to learn from")] = WarmStart.images,
    set_: Settings = [],  # noqa: B006
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Teach a generator which picture belongs to which z, before it meets a discriminator."""
    _use(threads)
    config = _config(run, run / "warm", {}, set_)
    portraits = Portraits(config.dataset, config.held_out)
    generator = Generator(config.generator(portraits.resolution))
    features = FeatureNetwork.load(run / "features")
    with _bar("warm start") as (bar, task):

        def report(p: WarmProgress) -> None:
            note = f"pixels {p.pixels:.3f}, perceptual {p.perceptual:.3f}"
            bar.update(task, completed=p.images, total=p.total, note=note)

        settings = WarmStart(images=images, device=pick(device))
        average = warm_start(generator, features, portraits, settings, report, run / "warm.pt")
    loop.write_start(run / "warm", config, average, images)


@app.command()
def start(
    model: Annotated[Path, typer.Argument(help="folder of the model that a child is fine-tuned from")],
    run: Run = Path("runs/portraits"),
    set_: Settings = [],  # noqa: B006
) -> None:
    """Make a model folder the start of a training, RUN/start: `gan --set init=RUN/start/checkpoint.pt`."""
    generator, card = load_model(model)
    if not isinstance(generator, Generator):
        raise typer.BadParameter(f"{model} is of the family {generator.family}, not stylegan2")
    own = {name: value for name, value in card.architecture.items() if name in TrainingConfig.model_fields}
    config = _config(run, run / "start", own, set_)
    loop.write_start(run / "start", config, generator, card.images_seen or 0)


@app.command()
def gan(
    run: Run = Path("runs/portraits"),
    name: Annotated[str, typer.Option(help="folder of this training in the run")] = "gan",
    set_: Settings = [],  # noqa: B006
    discriminator: Annotated[str, typer.Option(help="projected or plain")] = "projected",
    resume: Annotated[bool, typer.Option(help="go on from the checkpoint in the folder")] = True,
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Train a generator. All settings: `generative/training/config.py`."""
    _use(threads)
    folder = run / name
    if not resume and (folder / running.CHECKPOINT).exists():
        raise typer.BadParameter(f"{folder} holds a checkpoint; take another --name, or resume it")
    config = _config(run, folder, _recipe(run, discriminator), [*set_, f"device={pick(device)}"])
    with _reporting() as report:
        loop.train(config, folder, report)


@app.command()
def score(
    checkpoint: Annotated[list[Path], typer.Argument(help="checkpoint.pt of a training")],
    run: Run = Path("runs/portraits"),
    count: Annotated[int, typer.Option(help="samples, and unseen pictures")] = 5_000,
    picture: Annotated[Path | None, typer.Option(help="PNG to write: a row of samples of each")] = None,
    threads: Threads = 0,
) -> None:
    """Fréchet distances in the run's feature network; smaller is better."""
    _use(threads)
    network = FeatureNetwork.load(run / "features")
    reference = Reference(network, Portraits(run / "dataset", held_out=count))
    table = Table("pictures", "Fréchet distance")
    table.add_row("renders (the floor)", f"{reference.floor():.4f}")
    table.add_row("renders with 5 % noise", f"{reference.noisy():.4f}")
    generators = [load_average(path) for path in checkpoint]
    for path, generator in zip(checkpoint, generators, strict=True):
        table.add_row(str(path), f"{reference.distance(generator):.4f}")
    console.print(table)
    if picture is not None:
        write_png(picture, torch.cat([sample_grid(g, rows=1) for g in generators], dim=1), scale=2)


@app.command("ship")
def ship_model(
    out: Annotated[Path, typer.Option(help="model folder")] = Path("model_repo/portraits"),
    run: Run = Path("runs/portraits"),
    name: str = "gan",
    threads: Threads = 0,
) -> None:
    """Write the model folder that the service loads."""
    _use(threads)
    ship(run, run / name / running.CHECKPOINT, out)
    console.print(f"wrote {out}")


@app.command()
def family(
    name: Family,
    run: Run = Path("runs/portraits"),
    features: Annotated[Path | None, typer.Option(help="folder of the feature network; RUN/features")] = None,
    set_: FamilySettings = [],  # noqa: B006
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Train a generator of another family, as `generative/training/recipes.py` says."""
    _use(threads)
    folder = run / name
    values = {"dataset": run / "dataset", "features": features or run / "features"} | recipes.RECIPES[name]
    if (folder / running.CONFIG).exists():
        values = recipes.read_config(folder).model_dump()
    config = recipes.configure(values | _settings([*set_, f"device={pick(device)}"]))
    with _reporting() as report:
        running.train(recipes.trainer(config), folder, report)


@app.command("ship-family")
def ship_other(
    name: Family,
    out: Annotated[Path | None, typer.Option(help="model folder; model_repo/portraits-NAME")] = None,
    run: Run = Path("runs/portraits"),
    count: Annotated[int, typer.Option(help="samples, and renders, of the Fréchet distance")] = 5_000,
    threads: Threads = 0,
) -> None:
    """Write the model folder of another family that the service loads."""
    _use(threads)
    out = out or Path("model_repo") / f"portraits-{name}"
    ship_family(run / name, out, count)
    console.print(f"wrote {out}")


@app.command()
def encoder(
    model: Annotated[Path, typer.Option(help="folder of the model")] = Path("model_repo/portraits"),
    run: Run = Path("runs/portraits"),
    set_: Annotated[list[str], typer.Option("--set", help="FIELD=VALUE of EncoderTraining")] = [],  # noqa: B006
    held_out: Annotated[int, typer.Option(help="pictures kept for looking at")] = 5_000,
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Train an encoder on the run's pictures and a model's samples; resumes by itself."""
    _use(threads)
    settings = EncoderTraining.model_validate(
        {"device": pick(device)} | dict(setting.split("=", 1) for setting in set_)
    )
    subject, portraits = StyleModel.load(model), Portraits(run / "dataset", held_out)
    journal = Journal(run / "encoder", subject.generator, portraits.rows(torch.arange(32))[0])
    with _bar("encoder") as (bar, task):

        def report(p: EncoderProgress) -> None:
            note = ", ".join(f"{name} {loss:.3f}" for name, loss in p.losses.items())
            bar.update(task, completed=p.images, total=p.total, note=note)
            journal.note(p)

        checkpoint = run / "encoder" / running.CHECKPOINT
        trained = train_encoder(subject, portraits, settings, report, checkpoint)
    ship_encoder(model, trained, settings.model_dump())
    console.print(f"wrote {model}")


def _use(threads: int) -> None:
    if threads:
        torch.set_num_threads(threads)


def _recipe(run: Path, discriminator: str) -> dict[str, Any]:
    """Settings that go together."""
    recipe: dict[str, Any] = {"discriminator": discriminator}
    recipe["loss"] = "hinge" if discriminator == "projected" else "logistic"
    if (run / "warm" / running.CHECKPOINT).exists():
        recipe |= {"init": run / "warm" / running.CHECKPOINT, "head_start": 1_600}
        recipe |= {"pairing": 3.0, "mapping_boost": 4.0, "mixing": 0.3, "ada_ramp": 200_000}
    return recipe


def _config(run: Path, folder: Path, recipe: dict[str, Any], settings: list[str]) -> TrainingConfig:
    """The config of the folder if it has one, else the recipe; then what the command line says."""
    values: dict[str, Any] = {"dataset": run / "dataset", "features": run / "features"} | recipe
    if (folder / running.CONFIG).exists():
        values = TrainingConfig.model_validate_json((folder / running.CONFIG).read_text()).model_dump()
    return TrainingConfig.model_validate(values | _settings(settings))


def _settings(words: list[str]) -> dict[str, str | None]:
    """Of the form FIELD=VALUE."""
    pairs = [word.partition("=") for word in words]
    return {field: None if value == "none" else value for field, _, value in pairs}


@contextmanager
def _reporting() -> Iterator[running.Callback]:
    """A bar that shows progress; what it gives stops the training when a signal has come."""
    with _stop_signals() as stopped, _bar("training") as (bar, task):

        def report(p: running.Progress) -> None:
            losses = f"G {p.generator:.2f}, D {p.discriminator:.2f}"
            note = f"{p.images_per_s} images/s, {losses}, p {p.probability:.2f}"
            bar.update(task, completed=p.images, total=p.total, note=note)
            if stopped():
                raise running.StopTraining

        yield report


@contextmanager
def _stop_signals() -> Iterator[Callable[[], bool]]:
    """Gives a function that tells if SIGTERM or SIGINT has come, instead of ending the process."""
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _bar:
    """A progress bar with a note; entering gives the bar and its task."""

    def __init__(self, title: str) -> None:
        columns = (
            BarColumn(),
            "{task.completed}/{task.total}",
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self.bar, self.title = Progress(TextColumn(title), *columns, console=console), title

    def __enter__(self) -> tuple[Progress, Any]:
        self.bar.start()
        return self.bar, self.bar.add_task(self.title, total=None, note="")

    def __exit__(self, *_error: object) -> None:
        self.bar.stop()


def _scores(network: FeatureNetwork) -> Table:
    table = Table("factor", "kind", "R² or accuracy")
    for r in network.record.readouts:
        table.add_row(r.name, r.kind, "" if r.score is None else f"{r.score:.4f}")
    return table


def _overlaps(network: PartsNetwork) -> Table:
    table = Table("part", "intersection over union")
    for part, iou in network.record.iou.items():
        table.add_row(part, f"{iou:.3f}")
    table.add_row("mean", f"{network.record.mean_iou:.3f}", style="bold")
    return table


if __name__ == "__main__":
    app()
