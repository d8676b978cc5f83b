"""Settings: read from GANSERVE_* variables, and refused rather than guessed."""

import pytest
from pydantic import ValidationError

from jobs.settings import read_settings


def test_a_misspelt_variable_is_refused_with_a_hint(monkeypatch):
    monkeypatch.setenv("GANSERVE_LEASE_SECONDS", "5")

    with pytest.raises(ValueError, match=r"GANSERVE_LEASE_SECONDS is not a setting.*GANSERVE_LEASE_S"):
        read_settings()


def test_variables_are_read_and_typed(monkeypatch):
    monkeypatch.setenv("GANSERVE_LEASE_S", "4")
    monkeypatch.setenv("GANSERVE_HEARTBEAT_S", "1.5")
    monkeypatch.setenv("GANSERVE_S3_SECRET_KEY", "hidden")

    found = read_settings()

    assert (found.lease_s, found.heartbeat_s) == (4, 1.5)
    assert "hidden" not in repr(found)


def test_everything_is_in_the_work_folder_unless_told_otherwise(tmp_path):
    found = read_settings(work_dir=tmp_path)

    assert found.database_url == f"sqlite:///{tmp_path}/ganserve.db"
    assert found.blob_url == f"file://{tmp_path}/blobs"


@pytest.mark.parametrize(
    "given",
    [
        {"port": 70000},
        {"lease_s": 10, "heartbeat_s": 6},
        {"broker_url": "amqp://localhost"},
        {"url_secret": "short"},
        {"max_queued": 0},
        {"unknown": 1},
        {"log_level": "loud"},
    ],
)
def test_settings_that_cannot_work_are_refused(given):
    with pytest.raises(ValidationError):
        read_settings(**given)


@pytest.mark.parametrize(
    "url, celery, redis",
    [
        ("redis://host:6379/1", "redis://host:6379/1", "redis://host:6379/1"),
        (
            "redis+socket:///run/r.sock",
            "redis+socket:///run/r.sock?virtual_host=0",
            "unix:///run/r.sock?db=0",
        ),
        ("unix:///run/r.sock?db=3", "redis+socket:///run/r.sock?virtual_host=3", "unix:///run/r.sock?db=3"),
    ],
)
def test_the_broker_is_written_as_each_library_wants_it(url, celery, redis):
    found = read_settings(broker_url=url)

    assert (found.celery_broker_url(), found.redis_url()) == (celery, redis)


def test_links_need_a_secret():
    with pytest.raises(ValueError, match="GANSERVE_URL_SECRET"):
        read_settings().secret()
    assert read_settings(url_secret="x" * 32).secret() == b"x" * 32
