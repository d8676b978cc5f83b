"""`ganserve world`: portraits of the built-in world as files, with the truth about them.

render   one picture, or an album: pictures, part maps, depth, normals, and a table of factors and captions
plate    the picture of the world in the docs: portraits, their truth, and one head from all sides
"""

from pathlib import Path
from typing import Annotated, Any, get_args

import torch
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from generative.devices import pick
from generative.worlds import plate as plates
from generative.worlds.album import SHEET, TABLE, Request, Truth, write_album
from generative.worlds.png import write_image, write_pixels
from generative.worlds.portraits import render as render_portraits

app = typer.Typer(
    help="The built-in world of toy portraits.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
console = Console()
Out = Annotated[Path, typer.Option(help="a folder; for one portrait also a .png file")]


@app.command()
def render(
    out: Out,
    n: Annotated[int, typer.Option(help="how many heads", min=1)] = 1,
    size: Annotated[int, typer.Option(help="pixels of a side", min=1)] = 64,
    seed: Annotated[int, typer.Option(help="the same seed and number draw the same people")] = 0,
    independent: Annotated[
        bool, typer.Option("--independent", help="draw all factors independently")
    ] = False,
    truth: Annotated[str, typer.Option(help="parts,depth,normals, some of them, or none")] = "parts",
    views: Annotated[int, typer.Option(help="views of each head, from exact cameras", min=1)] = 1,
    arc: Annotated[float, typer.Option(help="degrees that the views span; 360 is a full turn")] = 120.0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: cuda where there is one")] = "auto",
) -> None:
    """Write portraits, the truth about them, and a table of their factors and captions (parquet)."""
    torch.set_num_threads(1)  # small tensors: more threads only wait for one another
    values = {"heads": n, "size": size, "seed": seed, "independent": independent, "views": views, "arc": arc}
    request = _request(values | {"truth": _truth(truth)})
    device = pick(device)
    if out.suffix == ".png":
        if n * views != 1:
            raise typer.BadParameter("a .png file holds one portrait: name a folder for more")
        write_image(out, render_portraits(request.factors().to(device), size).image[0].cpu())
        return
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("rendering", total=n)
        try:
            write_album(out, request, device, lambda done: bar.update(task, completed=done))
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
    console.print(f"{n * views} pictures in {out}, with {TABLE} and {SHEET}")


@app.command()
def plate(
    out: Annotated[Path, typer.Option(help="a .png file")] = Path("docs/images/world.png"),
    seed: int = 6,
) -> None:
    """Draw the picture of the world in the docs."""
    torch.set_num_threads(1)
    write_pixels(out, plates.plate(seed))
    console.print(f"wrote {out}")


def _truth(words: str) -> tuple[str, ...]:
    """The kinds of truth of a list with commas, in one order."""
    chosen = set() if words == "none" else set(words.split(","))
    if not chosen <= set(get_args(Truth)):
        raise typer.BadParameter(f"--truth: {words!r} is not none, nor of {','.join(get_args(Truth))}")
    return tuple(kind for kind in get_args(Truth) if kind in chosen)


def _request(values: dict[str, Any]) -> Request:
    try:
        return Request.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise typer.BadParameter(f"--{first['loc'][0]}: {first['msg']}") from error


if __name__ == "__main__":
    app(prog_name="ganserve world")
