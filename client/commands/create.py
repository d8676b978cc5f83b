"""`ganserve generate | invert | edit`: submit one job, follow it, download what it made."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from client.commands.options import URL, Json, Model, NoWait, Out, Url, notes, out, service, show_json
from client.errors import JobUnsuccessful
from client.progress import follow
from client.sync import Client
from jobs.schemas import JobView, Status

app = typer.Typer()

Seeds = Annotated[str | None, typer.Option(help='Seeds such as "0-15,99".')]
Psi = Annotated[float | None, typer.Option(help="Truncation: 1 is none, 0 the average picture.")]
Class = Annotated[str | None, typer.Option("--class", help="Index or name, for models with classes.")]
Format = Annotated[str, typer.Option("--format", help="png, jpeg, webp or npz.")]
Method = Annotated[
    str | None, typer.Option(help="hybrid, projector, encoder, pti, ...: docs/inversion.md lists them.")
]
Space = Annotated[str | None, typer.Option(help="z, w, w+, s, p, p+ or features; without it the method's.")]
Steps = Annotated[int | None, typer.Option(help="Optimisation steps; without it the method's.")]
Latents = Annotated[str, typer.Option(help="Also the latents, in this space: none, z, w, w+, s, p or p+.")]
Webhook = Annotated[str | None, typer.Option(help="Address to tell when the job has ended.")]
Pictures = Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="Pictures to upload.")]


@app.command()
def generate(
    seeds: Seeds = "0",
    model: Model = "portraits",
    psi: Psi = None,
    class_: Class = None,
    lod: Annotated[float | None, typer.Option(help="Levels of detail to leave out.")] = None,
    cutoff: Annotated[int | None, typer.Option(help="Truncate only the first layers.")] = None,
    noise: Annotated[str, typer.Option(help="const, random or none.")] = "const",
    frames: Annotated[int, typer.Option(help="Interpolate between the seeds: frames of the film.")] = 0,
    film: Annotated[str, typer.Option(help="mp4 or webp.")] = "mp4",
    loop: Annotated[bool, typer.Option(help="The film returns to its start.")] = False,
    grid: Annotated[bool, typer.Option(help="Also one picture with all of them.")] = False,
    latents: Latents = "none",
    format: Format = "png",
    folder: Out = Path("out"),
    webhook: Webhook = None,
    no_wait: NoWait = False,
    as_json: Json = False,
    url: Url = URL,
) -> None:
    """Make pictures from seeds, or a film on the way between them."""
    inputs: dict[str, Any] = {"source": {"seeds": seeds}, "noise": noise} | _sampling(psi, class_)
    inputs |= {"cutoff": cutoff} if cutoff is not None else {}
    inputs |= {"lod": lod} if lod is not None else {}
    inputs |= {"interpolate": {"frames": frames, "loop": loop}} if frames else {}
    output = {"grid": grid, "film": film, "latents": latents, "format": format}
    request = {"kind": "generate", "model": model, "input": inputs, "output": output}
    with service(url) as client:
        run(client, request | told(webhook), folder, no_wait=no_wait, as_json=as_json)


@app.command()
def invert(
    pictures: Pictures,
    model: Model = "portraits",
    method: Method = None,
    space: Space = None,
    steps: Steps = None,
    class_: Class = None,
    align: Annotated[str | None, typer.Option(help="Look for the face: auto or ffhq.")] = None,
    restore: Annotated[
        str | None,
        typer.Option(help="What is wrong with them: gray, noise, downsample:4, jpeg:10 (factor, quality)."),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Picture: white where they are to be painted anew."),
    ] = None,
    target: Annotated[float | None, typer.Option(help="Stop at this perceptual distance.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the search.")] = 0,
    folder: Out = Path("out"),
    webhook: Webhook = None,
    no_wait: NoWait = False,
    as_json: Json = False,
    url: Url = URL,
) -> None:
    """Find the latents of pictures, or restore them."""
    with service(url) as client:
        images = [client.upload_image(path).id for path in pictures]
        inputs: dict[str, Any] = {"images": images, "seed": seed}
        inputs |= {"align": align} if align is not None else {}
        inputs |= _inversion(method, space, steps) | _sampling(None, class_)
        inputs |= {"stop": {"perceptual": target}} if target is not None else {}
        if mask is not None:
            inputs["degradation"] = {"type": "mask", "image": client.upload_image(mask).id}
        elif restore is not None:
            inputs["degradation"] = _degradation(restore)
        request = {"kind": "invert", "model": model, "input": inputs}
        run(client, request | told(webhook), folder, no_wait=no_wait, as_json=as_json)


@app.command()
def edit(
    direction: Annotated[
        list[str] | None, typer.Option("--direction", "-d", help="NAME or NAME=STRENGTH.")
    ] = None,
    op: Annotated[
        list[str] | None,
        typer.Option(help="An operation as JSON, after the directions; @FILE has one, or a list of them."),
    ] = None,
    seeds: Seeds = None,
    image: Annotated[list[Path] | None, typer.Option(exists=True, dir_okay=False)] = None,
    artifact: Annotated[str | None, typer.Option(help="JOB/NAME: latents of an earlier job.")] = None,
    part: Annotated[
        list[str] | None, typer.Option(help="Edit these parts of the picture alone: hair, skin, ...")
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Picture: white where to edit, and nowhere else."),
    ] = None,
    sweep: Annotated[str | None, typer.Option(help='Strengths of the first operation: "-3,0,3".')] = None,
    model: Model = "portraits",
    psi: Psi = None,
    class_: Class = None,
    method: Method = None,
    steps: Steps = None,
    format: Format = "png",
    folder: Out = Path("out"),
    webhook: Webhook = None,
    no_wait: NoWait = False,
    as_json: Json = False,
    url: Url = URL,
) -> None:
    """Edit pictures: along directions, or by any operation of docs/edits.md. Give one of --seeds, --image,
    --artifact."""
    with service(url) as client:
        operations = [*map(_direction, direction or ()), *(o for text in op or () for o in _operations(text))]
        if not operations:
            raise ValueError("give --direction or --op")
        where = _mask(client, part, mask)
        if where is not None:
            operations = [{"op": "region", "mask": where, "operations": operations}]
        inputs: dict[str, Any] = {
            "source": _source(client, seeds, image, artifact),
            "operations": operations,
        } | _sampling(psi, class_)
        inputs |= {"inversion": said} if (said := _inversion(method, None, steps)) else {}
        inputs |= {"sweep": _sweep(sweep, where is not None)} if sweep else {}
        request = {"kind": "edit", "model": model, "input": inputs, "output": {"format": format}}
        run(client, request | told(webhook), folder, no_wait=no_wait, as_json=as_json)


def _sampling(psi: float | None, class_: str | None) -> dict[str, Any]:
    """What was said of truncation and class; the service knows what holds otherwise."""
    said: dict[str, Any] = {} if psi is None else {"psi": psi}
    return said if class_ is None else said | {"class": int(class_) if class_.isdigit() else class_}


def _inversion(method: str | None, space: str | None, steps: int | None) -> dict[str, Any]:
    """What was said of how to invert."""
    return {n: v for n, v in {"method": method, "space": space, "steps": steps}.items() if v is not None}


def _degradation(text: str) -> dict[str, Any]:
    """`jpeg:10` -> {"type": "jpeg", "quality": 10}."""
    kind, _, number = text.partition(":")
    names = {"downsample": "factor", "jpeg": "quality"}
    if not number:
        return {"type": kind}
    if kind not in names or not number.isdigit():
        raise typer.BadParameter(f"{text!r} is not like gray, noise, downsample:4 or jpeg:10")
    return {"type": kind, names[kind]: int(number)}


def told(webhook: str | None) -> dict[str, Any]:
    """The part of a request that says whom to tell."""
    return {"webhook": {"url": webhook}} if webhook else {}


def run(
    client: Client,
    request: dict[str, Any],
    folder: Path,
    *,
    no_wait: bool,
    as_json: bool,
    show_result: bool = True,
) -> JobView:
    """Submit, follow, download, print. JobUnsuccessful unless it succeeded."""
    job = client.submit(request)
    if not no_wait:
        job = follow(client, job.id, console=notes, label=f"{job.kind} {job.id}", quiet=as_json)
        paths = client.download(job, folder)
    if as_json:
        show_json(job)
    elif no_wait:
        out.print(job.id)
    else:
        _report(job, paths, show_result)
    if job.terminal and job.status != Status.SUCCEEDED:
        raise JobUnsuccessful(job)
    return job


def _report(job: JobView, paths: list[Path], show_result: bool) -> None:
    for path in paths:
        out.print(str(path), highlight=False)
    if job.result and show_result:
        notes.print_json(json.dumps(job.result))


def _source(
    client: Client, seeds: str | None, images: list[Path] | None, artifact: str | None
) -> dict[str, Any]:
    if sum(map(bool, (seeds, images, artifact))) != 1:
        raise ValueError("give one of --seeds, --image, --artifact")
    if seeds:
        return {"seeds": seeds}
    if images:
        return {"images": [client.upload_image(path).id for path in images]}
    job, slash, name = (artifact or "").partition("/")
    if not slash:
        raise ValueError("--artifact is written JOB/NAME")
    return {"artifact": {"job": job, "name": name}}


def _direction(text: str) -> dict[str, Any]:
    name, _, strength = text.partition("=")
    return {"op": "direction", "name": name} | ({"strength": float(strength)} if strength else {})


def _operations(text: str) -> list[dict[str, Any]]:
    """JSON, or `@` and the name of a file with it."""
    found = json.loads(Path(text[1:]).read_text() if text.startswith("@") else text)
    return found if isinstance(found, list) else [found]


def _mask(client: Client, parts: list[str] | None, picture: Path | None) -> dict[str, Any] | None:
    if parts and picture is not None:
        raise ValueError("give --part or --mask, not both")
    if picture is not None:
        return {"image": client.upload_image(picture).id}
    return {"parts": parts} if parts else None


def _sweep(text: str, in_region: bool) -> dict[str, Any]:
    strengths = {"strengths": [float(strength) for strength in text.split(",")]}
    return strengths | ({"inside": 0} if in_region else {})
