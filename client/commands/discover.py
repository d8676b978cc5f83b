"""`ganserve discover`: find directions, flows or units in a model, follow the job, download what it shows."""

from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer

from client.calls import discovery
from client.commands.create import Webhook, run, told
from client.commands.options import URL, Json, Model, NoWait, Out, Url, service
from jobs.discovery import AnyDiscovery

app = typer.Typer()

METHODS = {
    name: schema
    for schema in get_args(AnyDiscovery)
    for name in get_args(schema.model_fields["method"].annotation)
}
TEXTS = ("layers", "layer")  # which may look like numbers


@app.command()
def discover(
    method: Annotated[
        str, typer.Argument(help="sefa, ganspace, interfacegan, …: docs/directions.md lists them.")
    ],
    name: Annotated[str, typer.Argument(help="Of the set to be.")],
    given: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FIELD=VALUE]…", help="The method's fields: factor=smile samples=2000."),
    ] = None,
    model: Model = "portraits",
    timeout: Annotated[int | None, typer.Option(help="Seconds that the job may run.")] = None,
    folder: Out = Path("out"),
    webhook: Webhook = None,
    no_wait: NoWait = False,
    as_json: Json = False,
    url: Url = URL,
) -> None:
    """Find directions of a model. Lists are written with commas: attributes=smile,glasses."""
    if method not in METHODS:
        raise typer.BadParameter(f"methods are {', '.join(METHODS)}, not {method!r}")
    fields = dict(_field(method, text) for text in given or ())
    request = discovery(model, method, name, fields) | told(webhook)
    request |= {"timeout_s": timeout} if timeout is not None else {}
    with service(url) as client:
        run(client, request, folder, no_wait=no_wait, as_json=as_json)


def _field(method: str, text: str) -> tuple[str, Any]:
    """`samples=2000` -> ("samples", 2000), by what the method's field takes."""
    field, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r} is not like FIELD=VALUE")
    known = METHODS[method].model_fields.get(field)
    if known is not None and get_origin(known.annotation) is tuple:
        return field, value.split(",")
    return field, value if field in TEXTS else _number(value)


def _number(value: str) -> int | float | str:
    """The number that a text is, or the text."""
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value
