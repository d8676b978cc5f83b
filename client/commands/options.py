"""What the commands share: options, how errors end a command, how results are printed.

Exit codes: 0 done; 1 the job did not succeed; 2 wrong usage, or the service refused the request; 3 the
service is out of reach or failing.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ValidationError
from rich.console import Console

from client.errors import ApiError, Broken, Busy, ClientError, JobUnsuccessful, StillRunning, Unreachable
from client.sync import DEFAULT_URL, Client

Url = Annotated[str, typer.Option("--url", envvar="GANSERVE_PUBLIC_URL", help="Where the service is.")]
Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON, and no progress.")]
Model = Annotated[str, typer.Option("--model", "-m", help="Name of the model.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the outputs.", file_okay=False)]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Print the queued job and return.")]

URL = DEFAULT_URL
out = Console(soft_wrap=True)
notes = Console(stderr=True)


@contextmanager
def service(url: str) -> Iterator[Client]:
    """A client whose errors end the command with a message and the exit code of their kind."""
    try:
        with Client(url) as client:
            yield client
    except ValidationError as error:
        for problem in error.errors():
            say(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}")
        raise typer.Exit(2) from None
    except (OSError, ValueError) as error:
        say(str(error))
        raise typer.Exit(2) from None
    except ClientError as error:
        _explain(error)
        raise typer.Exit(exit_code(error)) from None


def exit_code(error: ClientError) -> int:
    if isinstance(error, JobUnsuccessful | StillRunning):
        return 1
    return 3 if isinstance(error, Unreachable | Busy | Broken) else 2


def say(text: str) -> None:
    """A line of bad news, as it is: brackets in it are no markup."""
    notes.print(text, style="red", markup=False, highlight=False)


def _explain(error: ClientError) -> None:
    say(str(error))
    if isinstance(error, ApiError):
        for problem in error.errors:
            say(f"  {problem.get('path')}: {problem.get('message')}")
    if isinstance(error, Unreachable):
        say("Is it running? `ganserve up` starts it.")


def show_json(value: Any) -> None:
    """One JSON document on standard output."""
    if isinstance(value, list):
        value = [item.model_dump(mode="json") if isinstance(item, BaseModel) else item for item in value]
    elif isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
