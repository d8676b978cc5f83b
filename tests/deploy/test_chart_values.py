"""The chart's values: all described, checked by a strict schema, and in step with the service's settings."""

import copy
import importlib.util
import json

import pytest
import yaml

from jobs.settings import Settings
from tests.deploy.given import CHART, ROOT, rendered, values_of
from tests.deploy.test_chart_policy import SECRET

# Settings that are the chart's own business, by why they are.
OWNED = {
    *(
        "work_dir",
        "host",
        "port",
        "public_url",
        "blob_url",
        "metrics_host",
        "metrics_port",
        "log_format",
    ),  # its shape
    *("auth", "device", "triton_address", "buckets"),  # follow from other values
    "webhook_loopback",  # never in a cluster
}


def load_readme():
    spec = importlib.util.spec_from_file_location("chart_readme", ROOT / "helm" / "readme.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def schema():
    return json.loads((CHART / "values.schema.json").read_text())


def leaves(tree, path=()):
    if isinstance(tree, dict) and tree:
        for key, branch in tree.items():
            yield from leaves(branch, (*path, key))
    else:
        yield path


def test_the_readme_is_made_of_the_values():
    assert (CHART / "README.md").read_text() == load_readme().readme(), "run: python helm/readme.py"


def test_every_value_is_described():
    text = (CHART / "values.yaml").read_text()
    described = {path for path, _ in load_readme().described(text)}
    undescribed = [
        path
        for path in leaves(yaml.safe_load(text))
        if not any(path[:length] in described for length in range(1, len(path) + 1))
    ]

    assert undescribed == []


def test_every_setting_is_a_value_a_secret_or_the_charts_own():
    """A new setting has to be given its place here, or nobody could set it in a cluster."""
    offered = set(schema()["properties"]["settings"]["properties"])

    assert offered | SECRET | OWNED == set(Settings.model_fields)
    assert not offered & (SECRET | OWNED)


def test_every_mapping_of_the_schema_refuses_what_it_does_not_know():
    def open_ones(tree, path=""):
        if isinstance(tree, dict):
            if "properties" in tree and tree.get("additionalProperties") is not False:
                yield path
            for key, branch in tree.items():
                yield from open_ones(branch, f"{path}/{key}")

    assert list(open_ones(schema())) == []


def test_the_schema_knows_every_value_and_no_other():
    def known(tree):
        if "$ref" in tree:
            tree = schema()["$defs"][tree["$ref"].rsplit("/", 1)[1]]
        return {key: known(branch) for key, branch in tree.get("properties", {}).items()}

    def compare(values, names, path):
        free = {"podSelector", "namespaceSelector", "ipBlock"}  # of peers, which are lists
        optional = set(names) - set(values) - free
        assert set(values) <= set(names) or not names, path
        assert not optional or path in ((), ("settings",)), (path, optional)
        for key, value in values.items():
            if isinstance(value, dict) and names.get(key):
                compare(value, names[key], (*path, key))

    compare(yaml.safe_load((CHART / "values.yaml").read_text()), known(schema()), ())


def changed(path, value):
    values = copy.deepcopy(values_of("default"))
    place = values
    for key in path[:-1]:
        place = place.setdefault(key, {})
    place[path[-1]] = value
    return values


REFUSED = {
    "no address": (("publicUrl",), "", "publicUrl"),
    "address without a scheme": (("publicUrl",), "ganserve.example", "publicUrl"),
    "address with a slash at its end": (("publicUrl",), "https://ganserve.example/", "publicUrl"),
    "no bucket": (("blobUrl",), "", "blobUrl"),
    "a folder for objects": (("blobUrl",), "file:///objects", "blobUrl"),
    "no digest": (("images", "worker"), {"digest": ""}, "images.worker.digest is required"),
    "a tag alone": (("images", "api"), {"tag": "0.1.0"}, "images.api.digest is required"),
    "latest": (("images", "api"), {"tag": "latest"}, "images/api/tag"),
    "a digest cut short": (("images", "api"), {"digest": "sha256:abc"}, "images/api/digest"),
    "a misspelt value": (("worker", "replica"), 3, "replica"),
    "a misspelt setting": (("settings", "lease"), 30, "lease"),
    "a secret among the settings": (("settings", "url_secret"), "x" * 32, "url_secret"),
    "the database among the settings": (("settings", "database_url"), "postgresql://a:b@c/d", "database_url"),
    "open access": (("settings", "auth"), "open", "auth"),
    "zero slots": (("settings", "slots"), 0, "slots"),
    "resources without memory": (("reaper", "resources"), {"limits": {"memory": None}}, "memory"),
    "autoscaling without Prometheus": (("worker", "autoscaling"), {"enabled": True}, "prometheus.address"),
    "Triton without its volume": (("triton",), {"enabled": True}, "existingClaim is required"),
    "an Ingress without a host": (("ingress",), {"enabled": True}, "ingress.host is required"),
    "a range that is none": (("networkPolicy", "webhooks", "clusterRanges"), ["ten"], "clusterRanges"),
}  # fmt: skip


@pytest.fixture(scope="module")
def refusals():
    pytest.importorskip("helm_python", reason="helm-python-sdk is not installed")
    triton = {"images": {"triton": {"digest": "sha256:" + "0" * 64}}}
    sets = [changed(path, value) for path, value, _ in REFUSED.values()]
    for values in sets:
        values["images"].setdefault("triton", triton["images"]["triton"])
    return dict(zip(REFUSED, rendered(sets), strict=True))


@pytest.mark.parametrize("name", REFUSED)
def test_the_chart_refuses(refusals, name):
    assert REFUSED[name][2] in refusals[name].get("error", ""), refusals[name].get("error", "it was rendered")
