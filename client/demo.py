"""`make demo`: start the service, make, invert and edit portraits over HTTP, print the times, stop.

The picture that is inverted is rendered here, from a seed that the training never used: the model has not
seen it.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx2 as httpx
from rich.console import Console
from rich.table import Table

from client.errors import ClientError, JobUnsuccessful
from client.progress import follow
from client.sync import Client
from client.up import ROOT
from jobs.schemas import JobView, Output, Status

T = TypeVar("T")
MODEL = "portraits"
UNSEEN_SEED = 4_000_000_007  # training draws its seeds from below 2^31
STEPS = 200
DIRECTIONS = ("smile", "yaw", "hair_length", "background")
SIZE = 128  # pixels to look at; the model's 64 are resized
PASSED_ON = (
    "GANSERVE_MODEL_REPO",
    "GANSERVE_DEVICE",
    "GANSERVE_THREADS",
    "GANSERVE_MAX_BATCH",
    "GANSERVE_METRICS_PORT",
)
READY_WITHIN_S = 180.0
STOP_WITHIN_S = 60.0


@dataclass
class Demo:
    """The steps, and what each took."""

    client: Client
    folder: Path
    console: Console
    rows: list[tuple[str, float, str]] = field(default_factory=list)

    def timed(self, name: str, step: Callable[[], T], told: Callable[[T], str] = str) -> T:
        """Take a step, and note how long it took and what is `told` of its result."""
        start = time.perf_counter()
        result = step()
        self.rows.append((name, time.perf_counter() - start, told(result)))
        return result

    def job(self, kind: str, label: str, inputs: dict[str, Any], output: dict[str, Any]) -> JobView:
        """Run one job to its end, with a bar. JobUnsuccessful unless it succeeded."""
        job = self.client.submit({"kind": kind, "model": MODEL, "input": inputs, "output": output})
        job = follow(self.client, job.id, console=self.console, label=label)
        if job.status != Status.SUCCEEDED:
            raise JobUnsuccessful(job)
        return job

    def keep(self, job: JobView, output: Output, name: str) -> None:
        """Download one output as `name`."""
        [path] = self.client.download(job, self.folder, names=(output.name,))
        path.replace(self.folder / name)

    def portraits(self) -> str:
        start = time.perf_counter()
        inputs = {"source": {"seeds": "0-15"}, "psi": 0.7}
        job = self.job("generate", "16 portraits", inputs, {"grid": True, "size": SIZE})
        rate = 16 / (time.perf_counter() - start)
        self.keep(job, the(job, "grid"), "portraits.png")
        return f"portraits.png: {rate:.1f} a second, loading included"

    def inversion(self, picture: Path) -> JobView:
        image = self.client.upload_image(picture)
        inputs = {"images": [image.id], "steps": STEPS}
        job = self.job("invert", "inversion", inputs, {"latents": "w+", "size": SIZE})
        self.keep(job, the(job, "comparison"), "inversion.png")
        return job

    def edits(self, inverted: JobView) -> str:
        latents = {"artifact": {"job": inverted.id, "name": the(inverted, "latents").name}}
        for name in DIRECTIONS:
            inputs = {
                "source": latents,
                "operations": [{"op": "direction", "name": name}],
                "sweep": {"strengths": [-3, -2, -1, 0, 1, 2, 3]},
            }
            job = self.job("edit", f"edit {name}", inputs, {"size": SIZE})
            self.keep(job, the(job, "strip"), f"edit_{name}.png")
        return f"edit_*.png: {len(DIRECTIONS)} directions, 7 strengths each"

    def film(self) -> str:
        inputs = {"source": {"seeds": "3,7,12"}, "interpolate": {"frames": 72, "loop": True}}
        job = self.job("generate", "film", inputs, {"film": "mp4", "size": SIZE})
        film = the(job, "film")
        self.keep(job, film, f"film{Path(film.name).suffix}")
        return f"film{Path(film.name).suffix}: 72 frames"

    def run(self) -> None:
        self.timed("16 portraits", self.portraits)
        picture = self.folder / "unseen.png"
        self.timed("render an unseen portrait", lambda: render(picture))
        inverted = self.timed("invert it", lambda: self.inversion(picture), quality)
        self.timed("edit it", lambda: self.edits(inverted))
        self.timed("film between three seeds", self.film)


def the(job: JobView, role: str) -> Output:
    """The first output of that role."""
    return next(output for output in job.outputs if output.role == role)


def quality(job: JobView) -> str:
    [image] = (job.result or {})["images"]
    return f"inversion.png: {image['psnr_db']:.1f} dB, perceptual {image['perceptual']:.3f}, {STEPS} steps"


def render(path: Path) -> str:
    """One portrait of the built-in world, in a child process, for this one loads no torch."""
    options = ["--seed", str(UNSEEN_SEED), "--size", "64", "--out", str(path)]
    subprocess.run([sys.executable, "-m", "generative.worlds", "render", *options], cwd=ROOT, check=True)
    return f"{path.name}: seed {UNSEEN_SEED}"


@contextmanager
def service(var: Path, console: Console) -> Iterator[str]:
    """`ganserve up` on a free port; its address. It is stopped as Ctrl-C would, and must stop cleanly."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "client.cli", "up", "--var", str(var), "--port", str(port)]
    child = subprocess.Popen(command, cwd=ROOT, env=own_environment(), start_new_session=True)
    try:
        with console.status("starting the service"):
            wait_until_ready(child, url)
        yield url
    finally:
        child.send_signal(signal.SIGINT)
        code = child.wait(STOP_WITHIN_S)
    if code:
        raise RuntimeError(f"the service ended with exit code {code}")


def own_environment() -> dict[str, str]:
    """Ours, without what would lead the service to another database, broker or store than its own."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GANSERVE_") or name in PASSED_ON
    }


def wait_until_ready(child: subprocess.Popen[bytes], url: str) -> None:
    end = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < end:
        if child.poll() is not None:
            raise RuntimeError(f"the service ended with exit code {child.returncode}")
        try:
            if httpx.get(f"{url}/readyz", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise RuntimeError(f"the service was not ready in {READY_WITHIN_S:g} s")


def run(folder: Path) -> int:
    """The whole demonstration into `folder`; the exit code. On failure the service's files are kept."""
    console = Console(highlight=False, soft_wrap=True)
    folder.mkdir(parents=True, exist_ok=True)
    var = Path(tempfile.mkdtemp(prefix="ganserve-demo-"))
    start = time.perf_counter()
    try:
        with service(var, console) as url, Client(url) as client:
            demo = Demo(client, folder, console)
            demo.rows.append(("start the service", time.perf_counter() - start, url))
            demo.run()
    except (ClientError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        console.print(f"the demonstration failed: {error}\nlogs: {var / 'logs'}", style="red", markup=False)
        return 1
    shutil.rmtree(var)
    console.print(table(demo.rows, time.perf_counter() - start))
    console.print(f"the pictures are in {folder.resolve()}")
    return 0


def table(rows: list[tuple[str, float, str]], total_s: float) -> Table:
    result = Table("step", "seconds", "result", box=None, header_style="bold")
    for name, seconds, detail in rows:
        result.add_row(name, f"{seconds:.1f}", detail)
    result.add_row("all, with the stop", f"{total_s:.1f}", "")
    result.columns[1].justify = "right"
    result.columns[0].no_wrap = result.columns[1].no_wrap = True
    return result
