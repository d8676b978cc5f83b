"""What these tests share: the chart's sets of values, rendered, and small ways to look at them."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "ganserve"
SETS = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))

Object = dict[str, Any]


def values_of(name: str) -> Object:
    values: Object = yaml.safe_load((CHART / "ci" / f"{name}-values.yaml").read_text())
    return values


def rendered(sets: Sequence[Object]) -> list[Object]:
    """For each set of values `{"objects": […]}` or `{"error": "…"}`."""
    program = Path(__file__).with_name("rendering.py")
    done = subprocess.run(
        [sys.executable, program, CHART], input=json.dumps(sets), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answers: list[Object] = json.loads(done.stdout)
    return answers


def pod_spec(thing: Object) -> Object | None:
    """The pod that a workload makes."""
    template = thing.get("spec", {}).get("template", {})
    return template.get("spec") if thing["kind"] in ("Deployment", "StatefulSet", "Job") else None


def pods(objects: Sequence[Object]) -> Iterator[tuple[Object, Object]]:
    """(workload, pod spec) of all."""
    for thing in objects:
        if spec := pod_spec(thing):
            yield thing, spec


def part(thing: Object) -> str:
    """The component: api, worker, …"""
    return str(thing["metadata"]["labels"]["app.kubernetes.io/component"])


def only(objects: Sequence[Object], kind: str, of: str) -> Object:
    """The one object of that kind and component."""
    (found,) = [thing for thing in objects if thing["kind"] == kind and part(thing) == of]
    return found
