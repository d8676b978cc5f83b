"""A job's progress as a bar on standard error, fed by its event stream."""

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from client.events import Event
from client.sync import Client
from jobs.schemas import JobView


def follow(client: Client, job_id: str, *, console: Console, label: str, quiet: bool = False) -> JobView:
    """Show the job's way to its end; return the finished job, however it ended."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=quiet) as bar:
        task = bar.add_task(label, total=1.0, note="queued")
        for event in client.stream(job_id):
            _show(bar, task, event)
            if event.type == "end":
                job = event.job()
    return job


def _show(bar: Progress, task: TaskID, event: Event) -> None:
    if event.type == "status":
        bar.update(task, note=event.data["status"])
    elif event.type == "progress":
        bar.update(task, completed=event.data["value"], note=_note(event))
    elif event.type == "end":
        succeeded = event.data["status"] == "succeeded"
        bar.update(task, completed=1.0 if succeeded else None, note=event.data["status"])


def _note(event: Event) -> str:
    step, steps, message = (event.data.get(name) for name in ("step", "steps", "message"))
    return "  ".join(filter(None, (f"{step}/{steps}" if step is not None else "", message or "")))
