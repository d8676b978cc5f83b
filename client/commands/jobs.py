"""`ganserve jobs …`: look at jobs and steer them."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from client.commands.options import URL, Json, Out, Url, notes, out, service, show_json
from client.errors import JobUnsuccessful
from client.progress import follow
from jobs.schemas import JobView, Status

app = typer.Typer(no_args_is_help=True, help="Look at jobs and steer them.")

Id = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job.")]


@app.command("list")
def list_(
    status: Annotated[list[str] | None, typer.Option(help="Only these; may be given more than once.")] = None,
    kind: Annotated[str | None, typer.Option()] = None,
    model: Annotated[str | None, typer.Option("--model", "-m")] = None,
    limit: Annotated[int, typer.Option(min=1)] = 20,
    as_json: Json = False,
    url: Url = URL,
) -> None:
    """The newest jobs."""
    chosen = {"status": status, "kind": kind, "model": model}
    with service(url) as client:
        found = client.jobs(limit=limit, **{name: value for name, value in chosen.items() if value})
    if as_json:
        return show_json(found)
    table = Table("job", "kind", "model", "status", "progress", "created", box=None)
    table.columns[0].no_wrap = True
    for job in found:
        table.add_row(
            job.id, job.kind, job.model, job.status, f"{job.progress.value:.0%}", job.created_at[:19]
        )
    out.print(table)


@app.command()
def get(job_id: Id, as_json: Json = False, url: Url = URL) -> None:
    """One job, with its outputs."""
    with service(url) as client:
        show(client.get(job_id), as_json)


@app.command()
def wait(job_id: Id, as_json: Json = False, url: Url = URL) -> None:
    """Follow a job to its end. Exit code 1 unless it succeeded."""
    with service(url) as client:
        job = follow(client, job_id, console=notes, label=job_id, quiet=as_json)
        show(job, as_json)
        if job.status != Status.SUCCEEDED:
            raise JobUnsuccessful(job)


@app.command()
def download(job_id: Id, folder: Out = Path("out"), url: Url = URL) -> None:
    """Write a job's outputs into a folder."""
    with service(url) as client:
        for path in client.download(client.get(job_id), folder):
            out.print(str(path), highlight=False)


@app.command()
def cancel(job_id: Id, as_json: Json = False, url: Url = URL) -> None:
    """Cancel a job: at once while it is queued, at the next step while it runs."""
    with service(url) as client:
        show(client.cancel(job_id), as_json)


@app.command()
def retry(job_id: Id, as_json: Json = False, url: Url = URL) -> None:
    """Queue a job again that failed, expired or was canceled."""
    with service(url) as client:
        show(client.retry(job_id), as_json)


@app.command()
def pause(job_id: Id, as_json: Json = False, url: Url = URL) -> None:
    """Begin no further shard of a dataset; those under way end."""
    with service(url) as client:
        show(client.pause(job_id), as_json)


@app.command()
def resume(job_id: Id, as_json: Json = False, url: Url = URL) -> None:
    """Go on with a dataset that was paused."""
    with service(url) as client:
        show(client.resume(job_id), as_json)


@app.command()
def extend(
    job_id: Id,
    count: Annotated[int, typer.Argument(min=1, help="Samples more.")],
    as_json: Json = False,
    url: Url = URL,
) -> None:
    """Make a dataset longer; what it has stays as it is."""
    with service(url) as client:
        show(client.extend(job_id, count), as_json)


@app.command()
def delete(job_id: Id, url: Url = URL) -> None:
    """Remove a finished job and its outputs."""
    with service(url) as client:
        client.delete(job_id)


def show(job: JobView, as_json: bool) -> None:
    if as_json:
        return show_json(job)
    out.print(f"{job.id}  {job.kind}  {job.model}  [bold]{job.status}[/]  {job.progress.value:.0%}")
    if job.error:
        out.print(f"{job.error.code}: {job.error.detail}", highlight=False)
    for output in job.outputs:
        out.print(f"  {output.name}  {output.role}  {output.size_bytes} B", highlight=False)
