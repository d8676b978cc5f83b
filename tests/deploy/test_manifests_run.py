"""The chart's processes, started here as their manifests say: same commands, same variables, same probes.

What a cluster would add is replaced: secrets by values for a private PostgreSQL, Redis and S3, ports by free
ones on loopback, the GPU by the CPU. What is left is what the chart claims: that these commands with these
variables make a service that does a job, that each process answers its probes and ends in its grace period.
"""

import os
import re
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import httpx2 as httpx
import pytest

from client import Client
from tests.deploy.given import CHART, ROOT, only
from tests.servers import wait_until

pytestmark = pytest.mark.e2e
PARTS = ("api", "reaper", "dispatcher", "worker")
STARTS_S = 120


class Release:
    """The processes of the chart's default values."""

    def __init__(self, objects, folder: Path, secrets, places, ports):
        self.objects, self.folder, self.secrets, self.places, self.ports = (
            objects,
            folder,
            secrets,
            places,
            ports,
        )
        self.processes = {}

    def pod(self, name):
        kind = "Job" if name == "migrate" else "Deployment"
        return only(self.objects, kind, name)["spec"]["template"]["spec"]

    def environment(self, name):
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("GANSERVE_")}
        (container,) = self.pod(name)["containers"]
        written = {
            entry["name"]: entry["value"] if "value" in entry else self.secret(entry)
            for entry in container["env"]
            if entry["name"] != "HOME"
        }
        own = {"GANSERVE_WORK_DIR": str(self.folder / name), "GANSERVE_METRICS_PORT": str(self.ports[name])}
        here = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        return inherited | written | self.places | own | here

    def secret(self, entry):
        return self.secrets[entry["valueFrom"]["secretKeyRef"]["key"]]

    def command(self, name):
        (container,) = self.pod(name)["containers"]
        assert container["command"][0] == "python"
        return [sys.executable, *container["command"][1:]]

    def run(self, name, command):
        """A program in the container of `name`; what it printed."""
        done = subprocess.run(command, env=self.environment(name), cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, name):
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                self.command(name), env=self.environment(name), cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
            )

    def probe(self, name, which):
        (container,) = self.pod(name)["containers"]
        asked = container[which]["httpGet"]
        port = self.places["GANSERVE_PORT"] if asked["port"] == "http" else self.ports[name]
        try:
            return httpx.get(f"http://127.0.0.1:{port}{asked['path']}", timeout=5).status_code
        except httpx.TransportError:
            return None

    def log(self, name):
        return (self.folder / f"{name}.log").read_text(errors="replace")[-3000:]

    def close(self):
        for process in self.processes.values():
            process.kill()
            process.wait()


def free_ports(count):
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@pytest.fixture(scope="module")
def release(chart, tmp_path_factory, postgres, redis_server, s3_server):
    port, *others = free_ports(len(PARTS) + 2)
    secrets = {
        "database-url": postgres.create("manifests"),
        "broker-url": f"{redis_server.url}?virtual_host=3",
        "s3-access-key": s3_server.access_key,
        "s3-secret-key": s3_server.secret_key,
        **{name: name[0] * 40 for name in ("url-secret", "key-pepper", "webhook-secret")},
    }
    places = {
        "GANSERVE_HOST": "127.0.0.1",
        "GANSERVE_METRICS_HOST": "127.0.0.1",
        "GANSERVE_PORT": str(port),
        "GANSERVE_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "GANSERVE_BLOB_URL": f"s3://{s3_server.bucket}/manifests",
        "GANSERVE_S3_ENDPOINT": s3_server.endpoint,
        "GANSERVE_DEVICE": "cpu",
    }
    ports = dict(zip((*PARTS, "migrate"), others, strict=True))
    made = Release(chart["default"], tmp_path_factory.mktemp("release"), secrets, places, ports)
    try:
        made.run("migrate", made.command("migrate"))
        for name in PARTS:
            made.start(name)
        for name in PARTS:
            wait_until(
                lambda name=name: (
                    made.probe(name, "readinessProbe") == 200 or made.processes[name].poll() is not None
                ),
                f"the readiness of {name}",
                STARTS_S,
            )
            assert made.processes[name].poll() is None, made.log(name)
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def key(release):
    """Made as the chart's notes say."""
    (line,) = re.findall(
        r"-- python (-m jobs\.admin .+)$", (CHART / "templates" / "NOTES.txt").read_text(), re.M
    )
    printed = release.run("api", [sys.executable, *line.split()])
    return re.search(r"sgk_\w+", printed)[0]


def test_every_process_answers_its_probes(release):
    for name in PARTS:
        for which in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert release.probe(name, which) == 200, f"{which} of {name}: {release.log(name)}"


def test_without_a_key_nothing_is_told(release):
    assert httpx.get(f"{release.places['GANSERVE_PUBLIC_URL']}/v1/jobs").status_code == 401


def test_metrics_are_on_their_own_port_only(release):
    for name in PARTS:
        assert "ganserve_build_info" in httpx.get(f"http://127.0.0.1:{release.ports[name]}/metrics").text
    assert httpx.get(f"{release.places['GANSERVE_PUBLIC_URL']}/metrics").status_code in (401, 404)


def test_a_job_is_done(release, key, tmp_path):
    with Client(release.places["GANSERVE_PUBLIC_URL"], api_key=key) as client:
        job = client.submit({"kind": "generate", "model": "portraits", "input": {"source": {"seeds": [7]}}})
        done = client.wait(job.id, timeout_s=90)
        (picture,) = client.download(done, tmp_path)

    assert picture.read_bytes().startswith(b"\x89PNG")


def test_every_process_ends_within_its_grace_period(release):
    """The last test: they are gone afterwards."""
    for process in release.processes.values():
        process.terminate()
    for name in PARTS:
        code = release.processes[name].wait(release.pod(name)["terminationGracePeriodSeconds"])
        assert code == 0, f"{name}: {release.log(name)}"
