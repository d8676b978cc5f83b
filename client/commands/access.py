"""`ganserve keys … | tenants … | usage`: who may use the service, and how much of it is used.

The first two work on the database itself, in a child process, so they need no key and no running gateway.
"""

import os
from pathlib import Path

import typer
from rich.table import Table

from client import up
from client.commands.local import PASS_ON, run_module
from client.commands.options import URL, Json, Url, out, service, show_json
from jobs.usage import Meter

app = typer.Typer()
PEPPER = "GANSERVE_KEY_PEPPER"


@app.command(context_settings=PASS_ON, add_help_option=False)
def keys(context: typer.Context) -> None:
    """API keys: create, list, revoke, rotate."""
    _administer("keys", context.args)


@app.command(context_settings=PASS_ON, add_help_option=False)
def tenants(context: typer.Context) -> None:
    """Tenants: create, list, limits, suspend, resume."""
    _administer("tenants", context.args)


@app.command()
def usage(as_json: Json = False, url: Url = URL) -> None:
    """What the tenant of your key uses now and has used today, and how much it may."""
    with service(url) as client:
        found = client.usage()
    if as_json:
        return show_json(found)
    table = Table(found.tenant, "used", "limit", box=None)
    for name in ("jobs", "images_today", "device_s_today", "stored_bytes"):
        meter: Meter = getattr(found, name)
        table.add_row(name.replace("_", " "), f"{meter.used:,}", _limit(meter.limit))
    table.add_row("images per job", "", _limit(found.images_per_job))
    table.add_row("requests per minute", "", _limit(found.requests_per_minute))
    out.print(table)
    out.print(f"today ends {found.resets_at}", highlight=False)


def _limit(value: float | None) -> str:
    return "none" if value is None else f"{value:,}"


def _administer(group: str, arguments: list[str]) -> None:
    """With the pepper that `ganserve up` made and keeps, where the environment names none."""
    if PEPPER not in os.environ and "GANSERVE_DATABASE_URL" not in os.environ:
        folder = Path(os.environ.get("GANSERVE_WORK_DIR", "var")).absolute()
        up.make_folders(folder)
        os.environ[PEPPER] = up.secret(folder, "key_pepper")
    run_module("jobs.admin", [group, *arguments])
