"""The `ganserve` command. Each group of commands is a file in `client/commands`."""

import os
from typing import Annotated

import typer

from client.commands import (
    access,
    create,
    datasets,
    directions,
    discover,
    evaluate,
    jobs,
    local,
    models,
    webhooks,
)
from client.credentials import VARIABLE

app = typer.Typer(
    no_args_is_help=True,
    help="Deep generative models over HTTP: generate, invert and edit images, by job.",
    pretty_exceptions_show_locals=False,
)
app.add_typer(create.app)
app.add_typer(evaluate.app)
app.add_typer(datasets.app)
app.add_typer(discover.app)
app.add_typer(local.app)
app.add_typer(access.app)
app.add_typer(jobs.app, name="jobs")
app.add_typer(models.app, name="models")
app.add_typer(directions.app, name="directions")
app.add_typer(webhooks.app, name="webhooks")


@app.callback()
def given(
    api_key: Annotated[
        str,
        typer.Option(envvar=VARIABLE, show_envvar=True, help="Your API key, where the service asks for one."),
    ] = "",
) -> None:
    """What every command knows."""
    if api_key:
        os.environ[VARIABLE] = api_key


if __name__ == "__main__":
    app()
