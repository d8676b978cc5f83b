"""The parts of a storm: its schedule is a function of the seed, and its proxy is as bad as it says."""

import http.server
import socket
import threading

import httpx2 as httpx
import pytest

from tests.chaos.proxy import FaultProxy
from tests.chaos.schedule import ANYWHERE, DISPATCHER, LASTS_S, POSTGRES, S3, SMALL_DISK, draw


def test_a_seed_draws_the_same_faults_each_time_and_another_seed_others():
    assert draw(1, ANYWHERE, 20) == draw(1, ANYWHERE, 20) != draw(2, ANYWHERE, 20)


def test_each_kind_comes_before_any_comes_again():
    kinds = [fault.kind for fault in draw(3, ANYWHERE, 2 * len(ANYWHERE))]
    assert set(kinds[: len(ANYWHERE)]) == set(ANYWHERE) == set(kinds[len(ANYWHERE) :])


def test_each_fault_of_the_list_can_be_drawn():
    assert {*ANYWHERE, *POSTGRES, *S3, *SMALL_DISK, *DISPATCHER} == set(LASTS_S)


@pytest.fixture
def origin():
    class Page(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def proxy(origin):
    with FaultProxy(origin) as proxy:
        yield proxy


@pytest.fixture
def http_client():
    # A connection of its own for each request: the break of an idle one may come after its next request.
    with httpx.Client(timeout=20, limits=httpx.Limits(max_keepalive_connections=0)) as client:
        yield client


def test_it_relays(proxy, http_client):
    body = bytes(300_000)
    for _ in range(3):
        assert http_client.post(proxy.url, content=body).content == body


def test_it_answers_503(proxy, http_client):
    assert http_client.post(proxy.url, content=b"x").status_code == 200
    proxy.set("error")
    assert http_client.post(proxy.url, content=bytes(300_000)).status_code == 503
    proxy.set("pass")
    assert http_client.post(proxy.url, content=b"x").status_code == 200


def test_it_resets_connections(proxy, http_client):
    proxy.set("reset")
    with pytest.raises(httpx.TransportError):
        http_client.post(proxy.url, content=b"x")


def test_it_is_silent_until_the_mode_changes(proxy):
    proxy.set("stall")
    host, _, port = proxy.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=0.2) as caller:
        caller.sendall(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        with pytest.raises(TimeoutError):
            caller.recv(1)
        proxy.set("pass")
        caller.settimeout(20)
        with pytest.raises(ConnectionError):
            caller.recv(1)
