"""The process itself: `python -m jobs.dispatcher`, killed at any moment and told to end."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from sqlalchemy import update

from client import verify_webhook
from jobs.migrate import migrate
from jobs.settings import Settings
from jobs.store import open_store
from jobs.store.deliveries import LEASE_S
from jobs.store.tables import deliveries
from jobs.webhooks.signing import signer_of
from tests.jobs.given import TENANT, submit
from tests.servers import wait_until

ROOT = Path(__file__).parents[3]
JOBS = 60


class Receiver(ThreadingHTTPServer):
    """Takes its time, so that there are attempts under way at any moment."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: list[tuple[dict[str, str], bytes]] = []


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        body = self.rfile.read(length)
        if len(body) < length:  # its sender was killed meanwhile: no receiver would take that for a request
            return
        time.sleep(0.05)
        self.server.got.append((dict(self.headers.items()), body))
        try:
            self.send_response(204)
            self.end_headers()
        except ConnectionError:
            pass

    def log_message(self, format, *args):
        pass


@pytest.fixture
def receiver():
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def settings(tmp_path):
    found = Settings(work_dir=tmp_path, url_secret="u" * 32)
    migrate(found.database_url)
    return found


@pytest.fixture
def dispatcher(tmp_path):
    """Starts one; whatever is left at the end is killed."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GANSERVE_")}
    environment = inherited | {
        "GANSERVE_WORK_DIR": str(tmp_path),
        "GANSERVE_URL_SECRET": "u" * 32,
        "GANSERVE_WEBHOOK_LOOPBACK": "true",
        "GANSERVE_WEBHOOK_CONCURRENCY": "8",
        "GANSERVE_WEBHOOK_POLL_S": "0.05",
        "PYTHONPATH": str(ROOT),
    }
    started = []

    def start():
        with (tmp_path / "log").open("ab") as log:
            command = [sys.executable, "-m", "jobs.dispatcher"]
            started.append(
                subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT)
            )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_kills_at_any_moment_lose_no_event_and_sigterm_ends_what_is_under_way(settings, receiver, dispatcher):
    store, chance = open_store(settings), random.Random(7)
    url = f"http://127.0.0.1:{receiver.server_address[1]}/"
    endpoint = store.webhooks.add(TENANT, url=url, events=["finished"], description="")
    for _ in range(JOBS):
        store.cancel(TENANT, submit(store).id)

    for _ in range(3):
        before = len(receiver.got)
        process = dispatcher()
        wait_until(lambda before=before: len(receiver.got) > before + 2, "a delivery")
        time.sleep(chance.random() / 10)
        process.kill()
        process.wait()
        with store.database.write() as connection:  # the leases of the dead one run out
            values = {"next_at": deliveries.c.next_at - LEASE_S}
            connection.execute(update(deliveries).where(deliveries.c.status == "pending").values(values))
    last = dispatcher()
    wait_until(lambda: store.webhooks.waiting()[0] == 0, "the last delivery")
    last.send_signal(signal.SIGTERM)

    assert last.wait(15) == 0
    log = store.webhooks.deliveries(TENANT, endpoint.id, limit=200)
    secret = signer_of(settings).secret(endpoint.salt)
    assert all(verify_webhook(headers, body, secret) for headers, body in receiver.got)
    ids = [headers["webhook-id"] for headers, _ in receiver.got]
    assert {row.status for row in log} == {"succeeded"} and len(log) == JOBS
    assert set(ids) == {row.event_id for row in log}  # every one, and nothing else
    assert len(ids) - len(set(ids)) <= 3 * 2  # at most what each of the dead had under way
    store.close()
