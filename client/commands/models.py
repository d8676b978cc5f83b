"""`ganserve models …`: what there is to run, and how more comes in."""

import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from client.commands.local import run_module
from client.commands.options import URL, Json, NoWait, Url, notes, out, service, show_json
from client.errors import JobUnsuccessful
from client.packing import packed
from client.progress import follow
from jobs.schemas import Status

app = typer.Typer(no_args_is_help=True, help="What there is to run, and how more comes in.")

Name = Annotated[str, typer.Argument(metavar="MODEL")]
Checkpoint = Annotated[
    Path, typer.Argument(metavar="PATH", exists=True, help="A file, or a folder of files.")
]
Classes = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, help="A text file: the name of each class on a line."),
]
Format = Literal["ganserve", "nvlabs-state-dict", "rosinality"]


@app.command("list")
def list_(as_json: Json = False, url: Url = URL) -> None:
    """The models."""
    with service(url) as client:
        found = client.models()
    if as_json:
        return show_json(found)
    table = Table("model", "family", "resolution", "spaces", "licence", box=None)
    for card in found:
        spaces = " ".join(card.get("spaces", []))
        table.add_row(
            *(str(card.get(k, "")) for k in ("name", "family", "resolution")), spaces, card.get("licence")
        )
    out.print(table)


@app.command()
def show(name: Name, url: Url = URL) -> None:
    """A model's card, as JSON."""
    with service(url) as client:
        show_json(client.model(name))


@app.command()
def directions(name: Name, as_json: Json = False, url: Url = URL) -> None:
    """The directions along which `edit` can move."""
    with service(url) as client:
        found = client.directions(name)
    if as_json:
        return show_json(found)
    fields = ("name", "space", "layers", "unit", "method")
    table = Table(*fields, box=None)
    for direction in found:
        table.add_row(*(_text(direction.get(field)) for field in fields))
    out.print(table)


def _text(value: Any) -> str:
    return "" if value is None else " ".join(map(str, value)) if isinstance(value, list) else str(value)


@app.command("import")
def import_(
    file: Checkpoint,
    name: Annotated[str, typer.Option(help="What to call the model.")],
    licence: Annotated[str | None, typer.Option(help="The licence that the file came under.")] = None,
    classes: Classes = None,
    no_wait: NoWait = False,
    as_json: Json = False,
    url: Url = URL,
) -> None:
    """Upload a checkpoint of any family and convert it. Nothing in the file is run."""
    with service(url) as client:
        job = client.import_model(file, name=name, licence=licence, classes=classes)
        if not no_wait:
            job = follow(client, job.id, console=notes, label=f"import {name}", quiet=as_json)
        if as_json:
            show_json(job)
        else:
            out.print(f"{job.id}  {job.status}")
        if job.terminal and job.status != Status.SUCCEEDED:
            raise JobUnsuccessful(job)


@app.command()
def inspect(file: Checkpoint) -> None:
    """Say what a checkpoint holds, or why it is refused: without a service, and nothing in it is run."""
    with packed(file) as sent:
        run_module("generative.convert", ["inspect", str(sent)])


@app.command()
def export(
    name: Name,
    target: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")],
    format: Annotated[Format, typer.Option(help="ganserve is safetensors; the others are for StyleGAN2.")],
    url: Url = URL,
) -> None:
    """Write a model's weights to a file that other programs read."""
    if format == "ganserve":
        with service(url) as client:
            client.download_weights(name, target)
        return
    with tempfile.TemporaryDirectory(prefix="ganserve-") as place:
        with service(url) as client:
            weights = client.download_weights(name, Path(place) / "weights.safetensors")
        run_module("generative.convert", ["export", str(weights), str(target), "--format", format])
