"""A process is live while every loop in it comes round, and the port for operations says so."""

import json
import socket
import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from jobs.liveness import Liveness
from jobs.operations import Operations, serve
from jobs.settings import Settings


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def liveness(clock):
    return Liveness(10, clock)


def status(operations: Operations, path: str) -> tuple[int, dict]:
    code, _, body = operations.answer(path)
    return code, json.loads(body)


def test_a_loop_that_stops_ticking_turns_liveness_red_and_a_tick_turns_it_green(clock, liveness):
    poll, _ = liveness.loop("poll"), liveness.watch("engine", clock)
    operations = Operations("worker", liveness)

    clock.now += 10
    assert status(operations, "/healthz") == (200, {"status": "ok", "checks": {}})
    clock.now += 1
    assert status(operations, "/healthz") == (
        503,
        {"status": "stalled", "checks": {"poll": "silent for 11 s"}},
    )
    poll.tick()
    assert status(operations, "/healthz")[0] == 200


def test_one_silent_loop_is_enough(clock, liveness):
    frozen, alive = liveness.loop("engine"), liveness.loop("poll")
    clock.now += 60
    alive.tick()

    assert liveness.silent() == {"engine": 60}
    assert frozen.last_tick() == 1000


def test_readiness_names_what_is_missing(liveness):
    missing = {"worker": "starting"}
    operations = Operations("worker", liveness, lambda: missing)

    assert status(operations, "/readyz") == (503, {"status": "not ready", "checks": {"worker": "starting"}})
    missing.clear()
    assert status(operations, "/readyz") == (200, {"status": "ready", "checks": {}})


def test_metrics_say_which_process_it_is_and_how_old_its_loops_are(clock, liveness):
    liveness.loop("reaper")
    clock.now += 3
    text = Operations("reaper", liveness).answer("/metrics")[2].decode()

    samples = {
        (s.name, *s.labels.values()): s.value for f in text_string_to_metric_families(text) for s in f.samples
    }
    assert samples["ganserve_loop_age_seconds", "reaper"] == 3
    assert [name for name in samples if name[0] == "ganserve_build_info" and "reaper" in name]
    assert ("process_resident_memory_bytes",) in samples


def test_the_port_answers_over_http_and_only_where_one_is_set(liveness):
    assert serve(Operations("reaper", liveness), Settings()) is None

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = serve(Operations("reaper", liveness, lambda: {"x": "y"}), Settings(metrics_port=port))
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz?verbose", timeout=10) as reply:
            assert reply.status == 200 and json.load(reply)["status"] == "ok"
        for path, code in (("/readyz", 503), ("/secrets", 404)):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10)
            assert refused.value.code == code
            refused.value.close()
    finally:
        server.shutdown()
        server.server_close()
