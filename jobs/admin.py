"""`python -m jobs.admin keys | tenants …`: who may use the service, and how much.

Works on the database itself, so also before there is any key and while no gateway runs; `ganserve keys` and
`ganserve tenants` are the same. A new key is alone on standard output; everything said about it is on
standard error. Exit codes: 0 done; 2 refused; 3 the database does not answer.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from jobs.access import Key, Scope
from jobs.errors import GanserveError, Transient
from jobs.migrate import migrate
from jobs.settings import DEFAULT_TENANT, settings
from jobs.store import open_store
from jobs.store.access import Access, KeyRow, TenantRow

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False)
keys = typer.Typer(no_args_is_help=True, help="API keys.")
tenants = typer.Typer(no_args_is_help=True, help="Tenants and how much they may use.")
app.add_typer(keys, name="keys")
app.add_typer(tenants, name="tenants")
out = Console(soft_wrap=True)
notes = Console(stderr=True, soft_wrap=True, highlight=False)


def duration(text: str) -> float:
    """`90d`, `24h`, `30m`, `45s` -> seconds."""
    found = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if not found:
        raise typer.BadParameter(f"{text!r}: write 45s, 30m, 24h or 90d")
    return int(found[1]) * _UNITS_S[found[2]]


def limit(text: str) -> float | None:
    """A number; `none` leaves it to the settings."""
    if text == "none":
        return None
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r}: write a number, or none") from None


Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
TenantOption = Annotated[str, typer.Option("--tenant", "-t", help="Whose key.")]
KeyId = Annotated[str, typer.Argument(metavar="ID", help="Of the key: the third part of it.")]
TenantName = Annotated[str, typer.Argument(metavar="TENANT")]
Limit = Annotated[str | None, typer.Option(help="A number, or none: what the settings say.")]


@contextmanager
def access() -> Iterator[Access]:
    """On the database that the settings name; errors end the command."""
    try:
        chosen = settings()
        if chosen.database_url.startswith("sqlite"):
            migrate(chosen.database_url)  # it may be the first to come
        store = open_store(chosen)
        try:
            yield Access(store.database, chosen.pepper())
        finally:
            store.close()
    except Transient as error:
        notes.print(f"{error}: is it there, and migrated?", style="red", markup=False)
        raise typer.Exit(3) from None
    except (GanserveError, ValueError) as error:
        notes.print(str(error), style="red", markup=False)
        raise typer.Exit(2) from None


# --- keys ------------------------------------------------------------------------------------------------


@keys.command("create")
def create_key(
    tenant: TenantOption = DEFAULT_TENANT,
    scope: Annotated[
        list[Scope], typer.Option("--scope", "-s", help="What it may do; may be given more than once.")
    ] = [Scope.JOBS_READ, Scope.JOBS_WRITE],  # noqa: B006
    name: Annotated[str, typer.Option(help="What it is for.")] = "",
    environment: Annotated[str, typer.Option("--env", help="Part of the key: live, test …")] = "live",
    expires: Annotated[float | None, typer.Option(parser=duration, metavar="90d", help="Its life.")] = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it, this once."""
    with access() as store:
        row, key = store.create_key(tenant, scope, name=name, environment=environment, life_s=expires)
        _show_new(row, key, as_json)


@keys.command("list")
def list_keys(
    tenant: Annotated[str | None, typer.Option("--tenant", "-t", help="Only this one's.")] = None,
    as_json: Json = False,
) -> None:
    """All keys, without their secrets."""
    with access() as store:
        rows = store.keys(tenant)
    if as_json:
        return _json([asdict(row) for row in rows])
    table = Table("id", "env", "tenant", "name", "scopes", "created", "last used", "state", box=None)
    for row in rows:
        scopes, times = " ".join(row.scopes), (_date(row.created_at), _date(row.last_used_at))
        table.add_row(row.id, row.environment, row.tenant, row.name, scopes, *times, _state(row))
    table.columns[0].no_wrap = True  # `revoke` and `rotate` want it whole
    out.print(table)


@keys.command()
def revoke(key: KeyId) -> None:
    """End a key; gateways refuse it within seconds."""
    with access() as store:
        row = store.revoke(key)
    notes.print(f"{row.id} of {row.tenant} is revoked")


@keys.command()
def rotate(
    key: KeyId,
    overlap: Annotated[
        float, typer.Option(parser=duration, metavar="24h", help="The old one's rest.")
    ] = "24h",  # type: ignore[assignment]
    as_json: Json = False,
) -> None:
    """Make the successor of a key, which itself stays good for a while, and print it."""
    with access() as store:
        row, made = store.rotate(key, overlap)
        _show_new(row, made, as_json)
    notes.print(f"{key} ends in {overlap:g} s")


def _show_new(row: KeyRow, key: Key, as_json: bool) -> None:
    if as_json:
        return _json(asdict(row) | {"key": key.text})
    notes.print(f"{row.id} of {row.tenant}: {', '.join(row.scopes)}. It is shown only now:")
    print(key.text)


def _state(row: KeyRow) -> str:
    if row.revoked_at is not None:
        return f"revoked {_date(row.revoked_at)}"
    if row.expires_at is None:
        return "valid"
    over = row.expires_at < datetime.now(UTC).timestamp()
    successor = f", then {row.successor}" if row.successor and not over else ""
    return f"{'expired' if over else 'valid until'} {_date(row.expires_at)}{successor}"


# --- tenants ---------------------------------------------------------------------------------------------


@tenants.command("create")
def create_tenant(
    tenant: TenantName,
    jobs: Limit = None,
    images_per_job: Limit = None,
    images_per_day: Limit = None,
    device_s_per_day: Limit = None,
    bytes: Limit = None,
    requests_per_minute: Limit = None,
) -> None:
    """Make a tenant."""
    given = _limits(jobs, images_per_job, images_per_day, device_s_per_day, bytes, requests_per_minute)
    with access() as store:
        _show_tenants([store.create_tenant(tenant, given)])


@tenants.command("list")
def list_tenants(as_json: Json = False) -> None:
    """All tenants and their limits; an empty one is that of the settings."""
    with access() as store:
        rows = store.tenants()
    if as_json:
        return _json([asdict(row) for row in rows])
    _show_tenants(rows)


@tenants.command()
def limits(
    tenant: TenantName,
    jobs: Limit = None,
    images_per_job: Limit = None,
    images_per_day: Limit = None,
    device_s_per_day: Limit = None,
    bytes: Limit = None,
    requests_per_minute: Limit = None,
) -> None:
    """Change some of a tenant's limits."""
    given = _limits(jobs, images_per_job, images_per_day, device_s_per_day, bytes, requests_per_minute)
    with access() as store:
        _show_tenants([store.set_limits(tenant, given)])


@tenants.command()
def suspend(tenant: TenantName) -> None:
    """Refuse all keys of a tenant. What is queued still runs."""
    with access() as store:
        _show_tenants([store.suspend(tenant)])


@tenants.command()
def resume(tenant: TenantName) -> None:
    """Take a suspended tenant's keys again."""
    with access() as store:
        _show_tenants([store.resume(tenant)])


def _limits(
    jobs: str | None,
    images_per_job: str | None,
    images_per_day: str | None,
    device_s_per_day: str | None,
    bytes: str | None,
    requests_per_minute: str | None,
) -> Mapping[str, float | None]:
    given = {f"max_{name}": text for name, text in locals().items()}
    return {name: limit(text) for name, text in given.items() if text is not None}


def _show_tenants(rows: Sequence[TenantRow]) -> None:
    columns = "tenant", "jobs", "images/job", "images/day", "device s/day", "bytes", "requests/min", "state"
    table = Table(*columns, box=None)
    for row in rows:
        shown = ["" if value is None else f"{value:,}" for value in asdict(row.quotas).values()]
        state = "active" if row.suspended_at is None else f"suspended {_date(row.suspended_at)}"
        table.add_row(row.tenant, *shown, state)
    out.print(table)


def _date(at: float | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")


def _json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


if __name__ == "__main__":
    app(prog_name="ganserve")
