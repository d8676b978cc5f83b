"""`ganserve up | demo | train | export | profile | world`: what runs on this machine, in child processes."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from client import demo as demonstration
from client import up as supervision

app = typer.Typer()
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
ROOT = Path(__file__).parents[2]


Host = Annotated[str, typer.Option(envvar="GANSERVE_HOST", help="Address to listen on.")]
Port = Annotated[
    int | None, typer.Option(envvar="GANSERVE_PORT", help="Without it 8000, or the next that is free.")
]
Auth = Annotated[
    Literal["open", "keys"] | None,
    typer.Option(envvar="GANSERVE_AUTH", help="keys: calls need an API key (`ganserve keys create`)."),
]
Var = Annotated[
    Path, typer.Option(envvar="GANSERVE_WORK_DIR", help="Folder for everything it keeps.", file_okay=False)
]


@app.command()
def up(host: Host = "127.0.0.1", port: Port = None, var: Var = Path("var"), auth: Auth = None) -> None:
    """Run the whole service on this machine until Ctrl-C."""
    if auth is not None:
        os.environ["GANSERVE_AUTH"] = auth
    raise typer.Exit(supervision.up(var=var, host=host, port=port))


@app.command()
def demo(
    folder: Annotated[Path, typer.Option("--out", "-o", help="Folder for the pictures.")] = Path("demo"),
) -> None:
    """Start the service, make, invert and edit portraits over HTTP, print the times, stop."""
    raise typer.Exit(demonstration.run(folder))


@app.command(context_settings=PASS_ON, add_help_option=False)
def train(context: typer.Context) -> None:
    """Train a generator; the arguments are those of `python -m generative.training`."""
    run_module("generative.training", context.args)


@app.command(context_settings=PASS_ON, add_help_option=False)
def export(context: typer.Context) -> None:
    """Write a model for ONNX Runtime, Triton or TensorRT; the arguments are those of
    `python -m generative.export`.
    """
    run_module("generative.export", context.args)


@app.command(context_settings=PASS_ON, add_help_option=False)
def profile(context: typer.Context) -> None:
    """Trace one batch, stage by stage; the arguments are those of `python -m generative.profiling`."""
    run_module("generative.profiling", context.args)


@app.command(context_settings=PASS_ON, add_help_option=False)
def world(context: typer.Context) -> None:
    """Render the built-in world; the arguments are those of `python -m generative.worlds`."""
    run_module("generative.worlds", context.args)


def run_module(module: str, arguments: list[str]) -> None:
    """Run `python -m module` in a child process, for this one loads no torch; end with its exit code."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    child = subprocess.Popen(
        [sys.executable, "-m", module, *arguments], env=os.environ | {"PYTHONPATH": path}
    )
    while True:
        try:
            raise typer.Exit(child.wait())
        except KeyboardInterrupt:
            continue  # Ctrl-C reaches the child as well; it ends in its own way
