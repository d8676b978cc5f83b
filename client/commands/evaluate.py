"""`ganserve evaluate`: how good a model's samples are, as a table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from client.commands.create import run
from client.commands.options import URL, Json, NoWait, Out, Url, out, service
from client.sync import Client

app = typer.Typer()

Name = Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model.")]
Metrics = Annotated[str, typer.Option(help="Of fid, kid, pr, ppl, factors, identity.")]
Count = Annotated[int, typer.Option(help="Samples, and renders of the world.")]
Image = Annotated[
    list[Path] | None,
    typer.Option(exists=True, dir_okay=False, help="Compare with these pictures; at least 16."),
]
Earlier = Annotated[str | None, typer.Option("--job", help="Compare with the pictures of this job.")]
Sampling = Annotated[str, typer.Option(help="Path length: w or z, full or end: SPACE-SAMPLING.")]
Edits = Annotated[list[str] | None, typer.Option(help="For identity: DIRECTION or DIRECTION=STRENGTH.")]
LARGEST = 12  # factors in the table

TITLES = {
    "fid": "Fréchet",
    "kid": "kernel",
    "kid_std": "±",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "factors": "factors",
}


@app.command()
def evaluate(
    model: Name = "portraits",
    metrics: Metrics = "fid,kid,pr,factors",
    count: Count = 2000,
    image: Image = None,
    job: Earlier = None,
    psi: Annotated[float, typer.Option(help="Truncation: 1 is none, 0 the average picture.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Samples have this seed and those that follow.")] = 0,
    path: Sampling = "w-full",
    edit: Edits = None,
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds that the job may run.")] = 3600,
    folder: Out = Path("out"),
    no_wait: NoWait = False,
    as_json: Json = False,
    url: Url = URL,
) -> None:
    """Compare a model's samples with renders of its world, or with pictures."""
    space, _, sampling = path.partition("-")
    with service(url) as client:
        inputs: dict[str, Any] = {
            "metrics": metrics.split(","),
            "count": count,
            "reference": _reference(client, image, job),
            "psi": psi,
            "seed": seed,
            "path": {"space": space, "sampling": sampling},
            "edits": [_step(text) for text in edit or []],
        }
        request = {"kind": "evaluate", "model": model, "input": inputs, "timeout_s": timeout_s}
        ended = run(client, request, folder, no_wait=no_wait, as_json=as_json, show_result=False)
        if ended.result and not as_json:
            show(ended.result)


def show(result: Mapping[str, Any]) -> None:
    """The numbers of an evaluation, as tables."""
    sets = result.get("sets", [])
    if sets:
        out.print(_scores(result, sets))
    if path := result.get("ppl"):
        out.print(f"perceptual path length ({path['space']}, {path['sampling']}): {_text(path['length'])}")
    if factors := result.get("factors"):
        out.print(_factors(factors))
    for change in result.get("identity", []):
        out.print(f"identity kept, {change['change']}: {_text(change['consistency'])}")


def _scores(result: Mapping[str, Any], sets: list[dict[str, Any]]) -> Table:
    named = [name for name in TITLES if name in sets[0]]
    reference = result["reference"]
    table = Table(f"against {reference['count']} {reference['kind']}", box=None)
    for name in named:
        table.add_column(TITLES[name], justify="right")
    for row in sets:
        table.add_row(row["name"], *(_text(row[name]) for name in named))
    return table


def _factors(factors: list[dict[str, Any]]) -> Table:
    """Those that are furthest off."""
    table = Table("factor", box=None)
    for title in ("distance", "floor"):
        table.add_column(title, justify="right")
    for factor in sorted(factors, key=lambda f: -f["distance"])[:LARGEST]:
        floor = factor.get("floor")
        table.add_row(factor["name"], _text(factor["distance"]), "" if floor is None else _text(floor))
    return table


def _text(value: float) -> str:
    return f"{value:.4g}"


def _step(text: str) -> dict[str, Any]:
    name, _, strength = text.partition("=")
    return {"name": name} | ({"strength": float(strength)} if strength else {})


def _reference(client: Client, images: list[Path] | None, job: str | None) -> str | dict[str, Any]:
    if images and job:
        raise ValueError("give --image or --job, not both")
    if images:
        return {"images": [client.upload_image(path).id for path in images]}
    return {"job": job} if job else "world"
