"""The `ganserve` command. Each group of commands is a file in `client/commands`."""

import typer

from client.commands import create, evaluate, jobs, local, models

app = typer.Typer(
    no_args_is_help=True,
    help="Deep generative models over HTTP: generate, invert and edit images, by job.",
    pretty_exceptions_show_locals=False,
)
app.add_typer(create.app)
app.add_typer(evaluate.app)
app.add_typer(local.app)
app.add_typer(jobs.app, name="jobs")
app.add_typer(models.app, name="models")

if __name__ == "__main__":
    app()
