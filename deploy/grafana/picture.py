"""`python deploy/grafana/picture.py OUT.png`: the dashboard with real data, drawn without Grafana.

Starts the service with `ganserve up` and a Prometheus that scrapes its four processes, works it for a minute
and a half (jobs, a dataset, a batch, webhooks that fail now and then, bad requests), asks Prometheus every
expression of the dashboard, and draws the panels. Prints which stayed empty; fails if an expression does.
"""

import itertools
import json
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2 as httpx
import matplotlib

from client import Client, ClientError
from client.demo import own_environment, wait_until_ready

matplotlib.use("Agg")
import matplotlib.pyplot as plt

DASHBOARD = Path(__file__).with_name("ganserve.json")
WORK_S = 90
STEP_S = 2
WINDOW = "15s"  # for $__rate_interval
COLUMNS = 6


def free_ports(count: int) -> int:
    """The first of `count` free ports in a row."""
    for first in range(9500, 60000, count):
        with suppress(OSError), ExitStack() as stack:
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
    raise RuntimeError("no free ports")


@contextmanager
def service(folder: Path, port: int) -> Iterator[str]:
    """`ganserve up`, with the metrics of its processes on the four ports after its own."""
    environment = own_environment() | {
        "GANSERVE_WORK_DIR": str(folder),
        "GANSERVE_PORT": str(port),
        "GANSERVE_METRICS_PORT": str(port + 1),
    }
    command = [sys.executable, "-c", "from client.cli import app; app()", "up"]
    child = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        wait_until_ready(child, f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        child.terminate()
        child.wait(60)


@contextmanager
def prometheus(folder: Path, port: int, targets: list[str]) -> Iterator[str]:
    config = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [{"job_name": "ganserve", "static_configs": [{"targets": targets}]}],
    }
    (folder / "prometheus.yaml").write_text(json.dumps(config))
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    child = subprocess.Popen(command)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        child.terminate()
        child.wait(30)


class Receiver(BaseHTTPRequestHandler):
    """Takes webhooks; every fifth answer is an error."""

    answers = itertools.cycle([200, 200, 200, 200, 500])

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(next(self.answers))
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing is written."""


@contextmanager
def receiver() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/hook"
    server.shutdown()


def work(url: str, hook: str, seed: int, end: float) -> None:
    """What one caller does until `end`."""
    draw = random.Random(seed)
    with Client(url) as client:
        webhook = {"url": hook, "events": ["started", "finished"]}
        first = client.submit(
            {"kind": "generate", "model": "portraits", "input": {"source": {"seeds": "0-3"}}}
        )
        first = client.wait(first.id)
        picture = client.download(first, Path(tempfile.mkdtemp()))[0]
        image = client.upload_image(picture)
        tasks: list[Callable[[], Any]] = [
            lambda: generate(client, draw, webhook),
            lambda: generate(client, draw, webhook),
            lambda: invert(client, image.id, draw),
            lambda: client.jobs(limit=20),
            lambda: client.get("job_" + "0" * 26),
            lambda: client.submit({"kind": "generate", "model": "nobody"}),
        ]
        while time.time() < end:
            with suppress(ClientError):
                draw.choice(tasks)()


def order(url: str) -> None:
    """A dataset and a batch, which take most of the time that is shown."""
    asked = {"kind": "generate", "model": "portraits", "input": {"source": {"seeds": "0-3"}}}
    lines = [{"custom_id": str(n), "body": asked} for n in range(100)]
    wanted = {"count": 3000, "shard_size": 100, "prefix": "faces"}
    with Client(url) as client:
        client.submit({"kind": "dataset", "model": "portraits", "input": wanted})
        client.submit_batch("\n".join(map(json.dumps, lines)).encode())


def generate(client: Client, draw: random.Random, webhook: dict[str, Any]) -> None:
    start = draw.randrange(10**6)
    seeds = f"{start}-{start + draw.randrange(48)}"
    asked = {"kind": "generate", "model": "portraits", "input": {"source": {"seeds": seeds}}}
    job = client.submit(asked | {"webhook": webhook, "priority": draw.choice(["high", "normal", "low"])})
    for _ in client.stream(job.id):
        pass


def invert(client: Client, image: str, draw: random.Random) -> None:
    steps = draw.randrange(20, 80)
    job = client.submit(
        {"kind": "invert", "model": "portraits", "input": {"images": [image], "steps": steps}}
    )
    if draw.random() < 0.3:
        client.cancel(job.id)
    else:
        client.wait(job.id)


Lines = list[tuple[str, list[float], list[float]]]


def ask(prometheus: str, expression: str, start: float, end: float) -> list[dict[str, Any]]:
    query = expression.replace("$namespace", ".*").replace("$__rate_interval", WINDOW)
    parameters = {"query": query, "start": start, "end": end, "step": STEP_S}
    answer = httpx.get(f"{prometheus}/api/v1/query_range", params=parameters).json()
    if answer["status"] != "success":
        raise RuntimeError(f"{query}: {answer['error']}")
    return list(answer["data"]["result"])


def legend(template: str, labels: dict[str, str]) -> str:
    for name, value in labels.items():
        template = template.replace("{{" + name + "}}", value)
    return template


def lines_of(panel: dict[str, Any], prometheus: str, start: float, end: float) -> Lines:
    """(legend, seconds since the start, values) of everything a panel shows."""
    return [
        (
            legend(target["legendFormat"], found["metric"]),
            [at - start for at, _ in found["values"]],
            [float(value) for _, value in found["values"]],
        )
        for target in panel["targets"]
        for found in ask(prometheus, target["expr"], start, end)
    ]


def draw(panels: list[tuple[str, str, Lines]], out: Path) -> None:
    rows = -(-len(panels) // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(4 * COLUMNS, 2.6 * rows), squeeze=False)
    for axis, (title, unit, lines) in itertools.zip_longest(axes.flat, panels, fillvalue=("", "", [])):
        axis.set_title(f"{title} [{unit}]" if unit else title, fontsize=9)
        axis.tick_params(labelsize=7)
        for name, seconds, values in lines:
            axis.plot(seconds, values, label=name, linewidth=1)
        if any(name for name, _, _ in lines):
            axis.legend(fontsize=5, ncols=2)
        if not lines:
            axis.text(0.5, 0.5, "no data" if title else "", ha="center", transform=axis.transAxes)
    figure.tight_layout()
    figure.savefig(out, dpi=80)


def main(out: Path) -> None:
    shown = [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]
    port = free_ports(6)
    targets = [f"127.0.0.1:{port + offset}" for offset in (1, 2, 3, 4)]
    folder = Path(tempfile.mkdtemp(prefix="ganserve-dashboard-"))
    with service(folder / "var", port) as url, receiver() as hook:
        with prometheus(folder, port + 5, targets) as source:
            start = time.time()
            order(url)
            callers = [
                threading.Thread(target=work, args=(url, hook, seed, start + WORK_S)) for seed in range(4)
            ]
            for caller in callers:
                caller.start()
            for caller in callers:
                caller.join()
            end = time.time()
            panels = [
                (
                    panel["title"],
                    panel["fieldConfig"]["defaults"]["unit"],
                    lines_of(panel, source, start, end),
                )
                for panel in shown
            ]
    draw(panels, out)
    print(f"{out}: {len(panels)} panels; without data: {[title for title, _, lines in panels if not lines]}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
