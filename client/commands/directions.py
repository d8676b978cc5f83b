"""`ganserve directions …`: the directions of a model, and files of more of them."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from client.commands.options import URL, Json, Model, NoWait, Url, notes, out, service, show_json
from client.errors import JobUnsuccessful
from client.progress import follow
from jobs.schemas import Status

app = typer.Typer(no_args_is_help=True, help="Directions of a model, and files of more of them.")

File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A .npy, .npz, .pt or .pkl file.")]
Space = Literal["z", "w", "w+"]
FIELDS = ("set", "name", "type", "space", "layers", "unit", "range", "proposed_name")


@app.command("list")
def list_(model: Model = "portraits", as_json: Json = False, url: Url = URL) -> None:
    """The directions along which `edit` can move, by set."""
    with service(url) as client:
        found = client.directions(model)
    if as_json:
        return show_json(found)
    table = Table(*FIELDS, box=None)
    for direction in found:
        table.add_row(*(_text(direction.get(field)) for field in FIELDS))
    out.print(table)


@app.command("import")
def import_(
    file: File,
    name: Annotated[str, typer.Option(help="What to call the set.")],
    model: Model = "portraits",
    space: Annotated[Space | None, typer.Option(help="Of the vectors, where the file does not say.")] = None,
    first: Annotated[int | None, typer.Option(help="Coordinates of z that a matrix is for.")] = None,
    licence: Annotated[str | None, typer.Option(help="The licence that the file came under.")] = None,
    no_wait: NoWait = False,
    as_json: Json = False,
    url: Url = URL,
) -> None:
    """Upload a file of directions as its authors publish it. Nothing in the file is run."""
    said = {"space": space, "first": first, "licence": licence}
    fields = {word: str(value) for word, value in said.items() if value is not None}
    with service(url) as client:
        job = client.import_directions(file, model=model, name=name, **fields)
        if not no_wait:
            job = follow(client, job.id, console=notes, label=f"import {name}", quiet=as_json)
        if as_json:
            show_json(job)
        else:
            out.print(f"{job.id}  {job.status}")
        if job.terminal and job.status != Status.SUCCEEDED:
            raise JobUnsuccessful(job)


@app.command()
def delete(
    name: Annotated[str, typer.Argument(metavar="SET")], model: Model = "portraits", url: Url = URL
) -> None:
    """Remove a set that was found or imported."""
    with service(url) as client:
        client.delete_directions(model, name)


def _text(value: Any) -> str:
    return "" if value is None else " ".join(map(str, value)) if isinstance(value, list) else str(value)
