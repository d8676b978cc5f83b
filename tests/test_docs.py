"""The reference pages cannot rot: every setting, field of a job and metric is on its page, and no other."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

import jobs.reaper
import jobs.webhooks.metrics
import workers.metrics  # noqa: F401
from api.metrics import Metrics
from generative.checkpoints.importing import FORMATS
from generative.export.graphs import Options
from generative.export.graphs import graphs as exported_graphs
from generative.families import ENCODERS, GENERATORS, NETWORKS
from jobs import editing, schemas
from jobs.discovery import AnyDiscovery
from jobs.lanes import LANES
from jobs.metrics import REGISTRY, Process
from jobs.settings import PREFIX, Settings
from tests.families import tiny

ROOT = Path(__file__).parents[1]
INPUTS = {
    "generate": schemas.GenerateInput,
    "invert": schemas.InvertInput,
    "edit": schemas.EditInput,
    "evaluate": schemas.EvaluateInput,
    "import": schemas.ImportInput,
    "dataset": schemas.DatasetInput,
    "shard": schemas.ShardInput,
    "batch": schemas.BatchInput,
    "summary": schemas.SummaryInput,
    "output": schemas.OutputOptions,
}


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def section(text: str, title: str) -> str:
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_every_setting_is_documented_and_no_other():
    documented = set(re.findall(r"`(GANSERVE_[A-Z0-9_]+)`", page("settings.md")))

    assert documented == {PREFIX + name.upper() for name in Settings.model_fields}


def test_every_kind_of_job_has_a_section():
    titles = re.findall(r"^## (.+)$", page("jobs.md"), flags=re.MULTILINE)

    assert set(titles) == {kind.value for kind in schemas.Kind} | {"output"}


@pytest.mark.parametrize("title", INPUTS)
def test_every_input_of_a_job_is_documented(title):
    fields = {field.alias or name for name, field in INPUTS[title].model_fields.items()}
    named = set(re.findall(r"`([a-z0-9_]+)`", section(page("jobs.md"), title)))

    assert fields <= named


def test_every_code_of_a_failed_job_is_documented():
    sources = [path.read_text() for part in ("workers", "jobs/store") for path in (ROOT / part).rglob("*.py")]
    raised = r'(?:JobFailed\([^\n]*|JobError\(\s*|UnsupportedByModel\([^\n]*)code="(\w+)"|_fail\("(\w+)"'
    codes = {one or other for source in sources for one, other in re.findall(raised, source)}

    assert {"no_face", "missing_weights", "timeout", "worker_lost"} <= codes
    assert codes <= set(re.findall(r"^\| `(\w+)`", page("errors.md"), re.MULTILINE))


def test_every_input_of_every_method_of_discovery_is_documented():
    fields = {f.alias or n for schema in get_args(AnyDiscovery) for n, f in schema.model_fields.items()}
    named = set(re.findall(r"`([a-z0-9_]+)`", section(page("jobs.md"), "discover")))

    assert fields <= named


def test_every_operation_of_edits_and_all_its_fields_are_documented():
    operations = get_args(editing.AnyOperation)
    words = set(re.findall(r'[`"]([a-z0-9_]+)[`"]', page("edits.md")))
    ops = {get_args(operation.model_fields["op"].annotation)[0] for operation in operations}
    schemas_of = (*operations, editing.Mask, editing.Box, editing.Channel)

    assert ops <= words
    assert {field.alias or name for s in schemas_of for name, field in s.model_fields.items()} <= words
    assert all(part in page("edits.md").replace("\n", " ") for part in editing.PARTS)


def test_every_field_around_the_input_is_documented():
    envelope = page("jobs.md").split("\n## ")[0]

    assert set(schemas.GenerateRequest.model_fields) <= set(re.findall(r"`([a-z0-9_]+)`", envelope))


def exported(collectors: Iterable[Any]) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Name, as it is scraped: type and labels."""
    found = {}
    for family, labels in families(collectors):
        suffix = "_total" if family.type == "counter" else ""
        found[family.name + suffix] = family.type, tuple(labels)
    return found


def families(collectors: Iterable[Any]) -> Iterator[tuple[Any, Iterable[str]]]:
    for collector in collectors:
        for family in collector.collect():
            yield family, getattr(collector, "_labelnames", None) or getattr(family, "_labelnames", ())


def documented_metrics() -> dict[str, tuple[str, tuple[str, ...]]]:
    rows = re.findall(
        r"^\| `([a-z_]+)` \| (counter|gauge|histogram) \| (.*?) \|", page("metrics.md"), re.MULTILINE
    )
    return {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


class AnyQueue:
    """One job in every lane."""

    def depths(self) -> dict[str, int]:
        return dict.fromkeys(LANES, 1)

    def oldest_queued_s(self) -> float:
        return 1.0

    def parts_under_way(self) -> dict[tuple[str, str], int]:
        return {("dataset", "held"): 1}

    def running(self) -> int:
        return 1

    def waiting(self) -> tuple[int, float]:
        return 1, 1.0


def test_every_metric_is_documented_with_its_type_and_labels_and_no_other():
    registries = (REGISTRY, Metrics(AnyQueue()).registry)
    waiting = jobs.webhooks.metrics.Waiting(AnyQueue())
    collectors = [Process("worker"), waiting, *(c for r in registries for c in r._collector_to_names)]

    assert documented_metrics() == exported(collectors)


def test_every_label_of_a_metric_is_explained():
    labels = {label for _, labels in documented_metrics().values() for label in labels}
    explained = section(page("metrics.md"), "Values of labels")

    named = set(re.findall(r"^\| `(\w+)`", explained, re.MULTILINE))
    assert labels - named == {"version", "code", "status"}  # what they hold is said elsewhere


def test_the_readme_shows_pictures_and_pages_that_exist():
    readme = (ROOT / "README.md").read_text()
    links = [link for link in re.findall(r"\]\(([^)]+)\)", readme) if "://" not in link]

    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_network_and_format_of_checkpoints_is_documented():
    words = set(re.findall(r"`([a-z0-9_-]+)`", page("checkpoints.md")))

    assert set(NETWORKS) <= words
    assert {known.name for known in FORMATS} <= words


def test_what_each_network_can_do_is_documented():
    table = page("checkpoints.md").split("## What each family can do")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| `")]
    said = {name: row[1:] for row in rows for name in re.findall(r"`([a-z0-9_]+)`", row[0])}

    assert set(said) == set(GENERATORS)
    for name, (spaces, psi, classes, lods, encoder) in said.items():
        network = tiny(name)
        listed = re.split(r"[:]", spaces)[0].replace(" ", "").split(",")
        assert tuple(listed) == tuple(space.value for space in network.spaces), name
        assert psi.split()[0].strip(",") == {"none": "nothing"}.get(
            network.psi_acts_on, network.psi_acts_on
        ), name
        assert bool(classes.strip()) <= hasattr(network.config, "c_dim"), name
        assert bool(lods.strip()) == (network.max_lod > 0), name
        assert set(re.findall(r"`(\w+)`", encoder)) <= set(ENCODERS), name


def test_what_is_exported_of_each_network_is_documented():
    rows = re.findall(r"^\| `(\w+)` \| (`.*`) \|", section(page("runtimes.md"), "Families"), re.MULTILINE)
    said = {name: re.findall(r"`(\w+)`", graphs) for name, graphs in rows}

    assert set(said) == set(GENERATORS)
    for name, listed in said.items():
        assert listed == [graph.name for graph in exported_graphs(tiny(name), Options())], name
