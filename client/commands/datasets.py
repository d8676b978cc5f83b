"""`ganserve dataset` and `ganserve batch`: orders of many pictures, which run for hours."""

from pathlib import Path
from typing import Annotated, Any

import typer

from client.commands.create import Psi, run, told
from client.commands.options import URL, Json, Model, NoWait, Out, Url, notes, out, service, show_json
from client.errors import JobUnsuccessful
from client.progress import follow
from jobs.estimates import Estimate
from jobs.schemas import Status

app = typer.Typer()

_SHARE = "NAME:SHARE:DIRECTION=STRENGTH[,…]: a part of the samples, moved along directions."
_REQUIRE = (
    "NAME:SHARE:FACTOR=VALUE[,…]: a part whose pictures show it: glasses=yes, hair_color=grey, age=0.6.."
)
_FLOW = "NAME:SHARE:FLOW:ATTRIBUTE=VALUE[,…]: a part that a trained flow takes to these attributes."
_VARIANT = "NAME:DIRECTION=STRENGTH[,…]: one more picture of each sample."
Many = Annotated[list[str] | None, typer.Option(help=_VARIANT)]


@app.command()
def dataset(
    count: Annotated[int, typer.Option(help="Samples.")],
    model: Model = "portraits",
    seed: Annotated[int, typer.Option(help="Sample i has the seed SEED + i.")] = 0,
    psi: Psi = None,
    share: Annotated[list[str] | None, typer.Option(help=_SHARE)] = None,
    require: Annotated[list[str] | None, typer.Option(help=_REQUIRE)] = None,
    flow: Annotated[list[str] | None, typer.Option(help=_FLOW)] = None,
    variant: Many = None,
    attributes: Annotated[bool, typer.Option(help="Also what a network reads in each picture.")] = False,
    masks: Annotated[bool, typer.Option(help="Also the parts of each picture.")] = False,
    latents: Annotated[str, typer.Option(help="Also the latents: none, z, w, w+ or s.")] = "none",
    splits: Annotated[str, typer.Option(help='Such as "train=0.9,test=0.1".')] = "train=1",
    shard_size: Annotated[int | None, typer.Option(help="Samples of a shard.")] = None,
    prefix: Annotated[str | None, typer.Option(help="Folder in the bucket; without it the job's id.")] = None,
    bucket: Annotated[str | None, typer.Option(help="One of your own, in place of the service's.")] = None,
    format: Annotated[str, typer.Option("--format", help="png, jpeg or webp.")] = "png",
    quality: Annotated[int, typer.Option(help="Of jpeg and webp.")] = 90,
    size: Annotated[
        int | None, typer.Option(help="Pixels of the longer side; without it the model's.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell size, time and cost; make nothing.")
    ] = False,
    folder: Out = Path("out"),
    webhook: Annotated[str | None, typer.Option(help="Address to tell when it has ended.")] = None,
    no_wait: NoWait = False,
    as_json: Json = False,
    url: Url = URL,
) -> None:
    """Make a dataset in WebDataset shards. The manifest, a README and a sheet of samples are downloaded."""
    mix = [_share(text, "edits") for text in share or ()]
    mix += [_share(text, "require") for text in require or ()]
    mix += [_flow_share(text) for text in flow or ()]
    inputs: dict[str, Any] = {
        "count": count,
        "seed": seed,
        "mix": mix,
        "variants": [_variant(text) for text in variant or ()],
        "attributes": attributes,
        "masks": masks,
        "splits": {name: float(part) for name, part in _pairs(splits)},
    }
    chosen = {"psi": psi, "shard_size": shard_size, "prefix": prefix}
    inputs |= {name: value for name, value in chosen.items() if value is not None}
    output = {"format": format, "quality": quality, "latents": latents}
    output |= {n: value for n, value in {"size": size, "bucket": bucket}.items() if value is not None}
    request = {"kind": "dataset", "model": model, "input": inputs, "output": output}
    with service(url) as client:
        if dry_run:
            return _show(client.estimate(request), as_json)
        run(client, request | told(webhook), folder, no_wait=no_wait, as_json=as_json)


@app.command()
def batch(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="JSONL: custom_id and body.")],
    folder: Out = Path("out"),
    no_wait: NoWait = False,
    as_json: Json = False,
    url: Url = URL,
) -> None:
    """Hand in many jobs as one file, and download the results and the errors."""
    with service(url) as client:
        job = client.submit_batch(file)
        paths = []
        if not no_wait:
            job = follow(client, job.id, console=notes, label=f"batch {job.id}", quiet=as_json)
            paths = client.download(job, folder)
        if as_json:
            return show_json(job)
        out.print("\n".join(map(str, paths)) or job.id, highlight=False)
        if job.terminal and job.status != Status.SUCCEEDED:
            raise JobUnsuccessful(job)


def _show(found: Estimate, as_json: bool) -> None:
    if as_json:
        return show_json(found)
    basis = "as your own pictures of that format" if found.measured else "assumed"
    device = "not known yet: make some pictures first"
    if found.device_s is not None:
        device = f"{found.device_s:,.0f} device seconds"
    out.print(
        f"{found.samples:,} samples, {found.pictures:,} pictures in {found.shards:,} shards", highlight=False
    )
    out.print(f"{found.bytes / 1e6:,.0f} MB ({basis}), {device}", highlight=False)
    if found.price is not None:
        out.print(f"price {found.price:,.2f}", highlight=False)
    if found.refused:
        out.print(f"It would be refused: {found.refused}", highlight=False)


def _share(text: str, what: str) -> dict[str, Any]:
    """`glasses:0.5:glasses=2` -> {"name", "share", "edits"}; with `require` the factors."""
    parts = text.split(":")
    if len(parts) != 3:
        raise typer.BadParameter(f"{text!r} is not like NAME:SHARE:NAME=VALUE")
    name, share, wanted = parts
    told = _edits(wanted) if what == "edits" else {n: _required(v) for n, v in _pairs(wanted)}
    return {"name": name, "share": float(share), what: told}


def _flow_share(text: str) -> dict[str, Any]:
    """`smiling:0.5:looks:smile=0.8` -> {"name", "share", "flow"}."""
    parts = text.split(":")
    if len(parts) != 4:
        raise typer.BadParameter(f"{text!r} is not like NAME:SHARE:FLOW:ATTRIBUTE=VALUE")
    name, share, flow, wanted = parts
    values = {attribute: float(value) for attribute, value in _pairs(wanted)}
    return {"name": name, "share": float(share), "flow": {"name": flow, "set": values}}


def _required(text: str) -> Any:
    """yes, no, a range such as `0.2..0.8` with an end left out, or the name of a value."""
    if text in ("yes", "no"):
        return text == "yes"
    low, dots, high = text.partition("..")
    if not dots:
        return text
    return {end: float(value) for end, value in (("min", low), ("max", high)) if value}


def _variant(text: str) -> dict[str, Any]:
    name, _, edits = text.partition(":")
    return {"name": name, "edits": _edits(edits)}


def _edits(text: str) -> list[dict[str, Any]]:
    return [{"name": name, "strength": float(value)} for name, value in _pairs(text)]


def _pairs(text: str) -> list[tuple[str, str]]:
    """`a=1,b=2` -> [("a", "1"), ("b", "2")]."""
    found = [part.partition("=") for part in text.split(",")]
    if not all(equals and value for _, equals, value in found):
        raise typer.BadParameter(f"{text!r} is not like NAME=VALUE,…")
    return [(name, value) for name, _, value in found]
