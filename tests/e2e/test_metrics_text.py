"""What every process answers at /metrics is text that Prometheus' own checker has nothing to say against."""

import shutil
import subprocess

import httpx2 as httpx
import pytest

from .conftest import MODEL, finished


def test_the_metrics_of_every_process_pass_promtool(stack, client):
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("there is no promtool: install Debian's prometheus")
    request = {"kind": "generate", "model": MODEL, "input": {"source": {"seeds": [1]}}}
    finished(client, client.submit(request))  # so that every stage has something to tell

    for name in stack.processes:  # that run: others have been killed in earlier tests
        text = httpx.get(f"{stack.operations[name]}/metrics").text
        done = subprocess.run([program, "check", "metrics"], input=text, capture_output=True, text=True)
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
        assert "ganserve_build_info" in text
