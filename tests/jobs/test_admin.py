"""`python -m jobs.admin`: keys and tenants from a command line, before there is anything else."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from jobs.access import read_key
from jobs.admin import app
from jobs.settings import read_settings, settings
from jobs.store import open_store
from jobs.store.access import Access

PEPPER = "a pepper of the tests, long enough"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command, on a database that is not there yet."""
    monkeypatch.setenv("GANSERVE_DATABASE_URL", f"sqlite:///{tmp_path}/new/ganserve.db")
    monkeypatch.setenv("GANSERVE_KEY_PEPPER", PEPPER)
    settings.cache_clear()
    yield lambda *arguments: CliRunner().invoke(app, list(arguments))
    settings.cache_clear()


Run = Callable[..., Result]


def found(key: str) -> Any:
    store = open_store(read_settings())
    access, parts = Access(store.database, PEPPER.encode()), read_key(key)
    assert parts is not None
    try:
        lookup = access.look_up(parts.id)
        assert access.holds_key(lookup, parts)
        return lookup
    finally:
        store.close()


def test_the_first_key_is_made_before_anything_else_is(run: Run) -> None:
    result = run("keys", "create", "--name", "ci")
    assert result.exit_code == 0, result.output
    [key] = result.stdout.split()  # alone, so that a script can take it
    lookup = found(key)
    assert lookup.row.name == "ci" and lookup.scopes == {"jobs:read", "jobs:write"}
    assert key not in run("keys", "list").output and read_key(key).id in run("keys", "list").stdout


def test_a_key_has_the_scopes_life_and_environment_that_are_asked_for(run: Run) -> None:
    options = ("--scope", "admin", "--scope", "jobs:read", "--expires", "90d", "--env", "test", "--json")
    made = json.loads(run("keys", "create", *options).stdout)
    assert made["key"].startswith(f"sgk_test_{made['id']}_")
    assert made["scopes"] == ["admin", "jobs:read"]
    assert made["expires_at"] - made["created_at"] == pytest.approx(90 * 86400)


def test_rotating_and_revoking(run: Run) -> None:
    old = run("keys", "create").stdout.strip()
    new = run("keys", "rotate", read_key(old).id, "--overlap", "1h").stdout.strip()
    assert not found(old).expired and found(old).row.successor == read_key(new).id
    assert run("keys", "revoke", read_key(old).id).exit_code == 0
    assert found(old).revoked and not found(new).revoked
    listed = json.loads(run("keys", "list", "--json").stdout)
    assert [row["id"] for row in listed] == [read_key(old).id, read_key(new).id]
    assert "digest" not in listed[0]
    assert "revoked" in run("keys", "list").stdout


def test_tenants_and_their_limits(run: Run) -> None:
    assert run("tenants", "create", "acme", "--jobs", "5", "--device-s-per-day", "1.5").exit_code == 0
    run("tenants", "limits", "acme", "--jobs", "none", "--bytes", "1000000000000")
    run("tenants", "suspend", "acme")
    [row] = json.loads(run("tenants", "list", "--json").stdout)
    assert row["quotas"]["max_jobs"] is None and row["quotas"]["max_bytes"] == 10**12
    assert row["quotas"]["max_device_s_per_day"] == 1.5 and row["suspended_at"] is not None
    assert "suspended" in run("tenants", "list").stdout
    run("tenants", "resume", "acme")
    assert json.loads(run("tenants", "list", "--json").stdout)[0]["suspended_at"] is None
    key = run("keys", "create", "--tenant", "acme").stdout.strip()
    assert found(key).row.tenant == "acme"


@pytest.mark.parametrize(
    "arguments",
    [
        ("keys", "create", "--tenant", "nobody"),
        ("keys", "create", "--scope", "root"),
        ("keys", "create", "--expires", "soon"),
        ("keys", "create", "--env", "NOT OK"),
        ("keys", "revoke", "nothing"),
        ("keys", "rotate", "nothing"),
        ("tenants", "create", "Not a name"),
        ("tenants", "limits", "nobody", "--jobs", "1"),
        ("tenants", "limits", "nobody", "--jobs", "many"),
        ("tenants", "suspend", "nobody"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_is_refused_in_words(run: Run, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2 and result.stderr.strip()
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert not result.stdout.strip()


def test_keys_need_a_pepper(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GANSERVE_KEY_PEPPER")
    settings.cache_clear()
    result = run("keys", "create")
    assert result.exit_code == 2 and "GANSERVE_KEY_PEPPER" in result.stderr


def test_a_database_that_is_away_is_exit_code_3(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANSERVE_DATABASE_URL", "postgresql://nobody@127.0.0.1:9/none")
    settings.cache_clear()
    result = run("keys", "list")
    assert result.exit_code == 3 and "did not answer" in result.stderr


def test_it_is_a_module_to_run() -> None:
    command = [sys.executable, "-m", "jobs.admin", "keys", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "revoke" in done.stdout and "rotate" in done.stdout
