"""`ganserve keys | tenants | up --auth`: what runs in a child, and with what."""

import os
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client import up
from client.cli import app
from client.supervisor import UpError

Ran = list[tuple[str, list[str], str | None]]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ran:
    """What was run, with which pepper."""
    calls: Ran = []
    for name in list(os.environ):
        if name.startswith("GANSERVE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GANSERVE_KEY_PEPPER", "")  # so that what the command sets is undone
    monkeypatch.delenv("GANSERVE_KEY_PEPPER")
    monkeypatch.setenv("GANSERVE_WORK_DIR", str(tmp_path / "var"))

    def run(module: str, arguments: list[str]) -> None:
        calls.append((module, arguments, os.environ.get("GANSERVE_KEY_PEPPER")))

    monkeypatch.setattr("client.commands.access.run_module", run)
    return calls


def test_keys_and_tenants_are_a_childs_work_with_every_argument(ran: Ran) -> None:
    for command in (
        ["keys", "create", "--scope", "admin"],
        ["tenants", "list", "--json"],
        ["keys", "--help"],
    ):
        assert CliRunner().invoke(app, command).exit_code == 0
    assert [(module, arguments) for module, arguments, _ in ran] == [
        ("jobs.admin", ["keys", "create", "--scope", "admin"]),
        ("jobs.admin", ["tenants", "list", "--json"]),
        ("jobs.admin", ["keys", "--help"]),
    ]


def test_the_pepper_is_the_one_that_up_keeps(ran: Ran, tmp_path: Path) -> None:
    CliRunner().invoke(app, ["keys", "list"])
    [(_, _, pepper)] = ran
    folder = tmp_path / "var"
    assert pepper is not None and len(pepper) >= 32
    environment = up.environment_for(folder, "127.0.0.1", 8000)
    assert environment["GANSERVE_KEY_PEPPER"] == pepper == up.secret(folder, "key_pepper")
    assert stat.S_IMODE((folder / "secrets" / "key_pepper").stat().st_mode) == 0o600


def test_a_deployments_own_pepper_and_database_stay(
    ran: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANSERVE_DATABASE_URL", "postgresql://somewhere/else")
    CliRunner().invoke(app, ["keys", "list"])
    monkeypatch.setenv("GANSERVE_KEY_PEPPER", "given")
    CliRunner().invoke(app, ["keys", "list"])
    assert [pepper for *_, pepper in ran] == [None, "given"]  # the child says that it lacks one
    assert not (tmp_path / "var").exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.7", "gpu-box"])
def test_up_without_keys_refuses_an_address_that_others_reach(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GANSERVE_AUTH", raising=False)
    with pytest.raises(UpError, match="--auth keys"):
        up.refuse_unsafe(host)
    monkeypatch.setenv("GANSERVE_AUTH", "keys")
    up.refuse_unsafe(host)
    up.refuse_unsafe("127.0.0.1")


def test_up_passes_on_what_auth_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GANSERVE_AUTH", "open")
    seen = []
    monkeypatch.setattr(up, "up", lambda **_: seen.append(os.environ["GANSERVE_AUTH"]) or 0)
    assert CliRunner().invoke(app, ["up", "--auth", "keys", "--var", str(tmp_path)]).exit_code == 0
    assert CliRunner().invoke(app, ["up", "--auth", "maybe"]).exit_code == 2
    assert seen == ["keys"]
