"""Every line of a process is one JSON object with the same fields, whoever logs, and holds no secret."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.logs import without_secrets

ROOT = Path(__file__).parents[2]

PROGRAM = """
import logging, sys, threading, warnings
import structlog
from jobs import tracing
from jobs.logs import set_up_logs
from jobs.settings import Settings

set_up_logs(Settings(log_format=sys.argv[1]), "reaper")
with structlog.contextvars.bound_contextvars(job="job_1", tenant="acme"), tracing.span("work"):
    structlog.get_logger("ours").info("done", count=3)
    logging.getLogger("celery.worker").warning("lost %s\\nand more", "redis://user:hunter2@host")
logging.getLogger("botocore").info("GET https://bucket/key?X-Amz-Signature=abc")
logging.getLogger("ours").debug("unseen")
warnings.warn("old ways")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("ours").exception("failed")
thread = threading.Thread(target=lambda: {}["missing"])
thread.start()
thread.join()
raise ValueError("the end")
"""


def lines_of(format: str) -> list[str]:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, format], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 1 and ran.stderr == ""
    return ran.stdout.splitlines()


def test_all_that_a_process_says_is_json_with_its_context():
    lines = [json.loads(line) for line in lines_of("json")]

    assert all({"timestamp", "level", "logger", "event", "process"} <= set(line) for line in lines)
    done, lost, warned, failed, thread, end = lines
    assert (done["event"], done["count"], done["job"], done["tenant"]) == ("done", 3, "job_1", "acme")
    assert len(done["trace_id"]) == 32 and len(done["span_id"]) == 16
    assert (
        lost["trace_id"] == done["trace_id"] and lost["job"] == "job_1" and lost["logger"] == "celery.worker"
    )
    assert lost["event"] == "lost redis://user:***@host\nand more"
    assert "old ways" in warned["event"] and "job" not in warned
    assert "ZeroDivisionError" in failed["exception"] and failed["level"] == "error"
    assert "KeyError" in thread["exception"] and thread["level"] == "critical"
    assert "ValueError: the end" in end["exception"]


def test_people_at_a_terminal_get_text():
    lines = lines_of("console")

    assert "done" in lines[0] and "job=job_1" in lines[0]
    with pytest.raises(json.JSONDecodeError):
        json.loads(lines[0])


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("key sgk_live_k3yid_0aZbigSecret0 used", "key sgk_live_k3yid_*** used"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_***"),
        ("/v1/blobs/a?expires=1&signature=abcdef&type=x", "/v1/blobs/a?expires=1&signature=***&type=x"),
        ("https://s3/x?X-Amz-Credential=AK%2F1&X-Amz-Signature=ff", "https://s3/x?X-Amz-Credential=***&X-Amz-Signature=***"),
        ("postgresql://user:pa55@db/name", "postgresql://user:***@db/name"),
        ("rediss://:pa55@cache:6380/0", "rediss://:***@cache:6380/0"),
        ('"Authorization": "Bearer sgk_x_y_z"', '"Authorization": "Bearer ***"'),
        ("took 3 s, job_01ABC ended", "took 3 s, job_01ABC ended"),
        ("http://127.0.0.1:8000/v1/jobs", "http://127.0.0.1:8000/v1/jobs"),
    ],
)  # fmt: skip
def test_secrets_are_struck_out(line, shown):
    assert without_secrets(line) == shown


def test_striking_out_leaves_json_whole():
    text = json.dumps({"url": "https://x?signature=abc", "next": 'say "secret=x"', "n": 1})
    assert json.loads(without_secrets(text))["n"] == 1


def test_errors_of_the_database_do_not_show_what_callers_wrote(tmp_path):
    from sqlalchemy import text
    from sqlalchemy.exc import OperationalError

    from jobs.store import connect

    engine = connect(f"sqlite:///{tmp_path}/x.db")
    with engine.connect() as connection, pytest.raises(OperationalError) as raised:
        connection.execute(text("SELECT :prompt FROM nowhere"), {"prompt": "a private wish"})
    engine.dispose()
    assert "private wish" not in str(raised.value)


def test_a_stream_that_is_no_terminal_gets_json_by_default():
    program = (
        "import logging; from jobs.logs import set_up_logs; from jobs.settings import Settings;"
        "set_up_logs(Settings(), 'worker'); logging.getLogger('x').info('hello')"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert json.loads(ran.stdout)["event"] == "hello"


def test_errors_of_a_request_do_not_show_what_callers_wrote():
    from pydantic import ValidationError

    from jobs.schemas import request_adapter

    with pytest.raises(ValidationError) as raised:
        request_adapter.validate_json('{"kind": "generate", "model": "m", "metadata": "a private wish"}')
    assert "metadata" in str(raised.value) and "private wish" not in str(raised.value)
