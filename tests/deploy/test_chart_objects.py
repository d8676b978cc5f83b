"""Every object of the chart is one that Kubernetes takes, in two versions, with no field unknown to it."""

import json
import subprocess
import sys
import tarfile
from collections import Counter
from functools import cache

import kubernetes_validate
import pytest
from jsonschema import Draft202012Validator

from tests.deploy.crds import SPECS
from tests.deploy.given import CHART, ROOT, Object, only, pods, rendered, values_of

VERSIONS = ("1.33", "1.37")


def is_custom(thing: Object) -> bool:
    return thing["apiVersion"].split("/")[0].endswith((".coreos.com", "keda.sh"))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_strictly_valid(chart, version, monkeypatch):
    """Of all sets of values; what they have in common is looked at once, and a schema is read once."""
    monkeypatch.setattr(
        kubernetes_validate.utils, "schema_contents", cache(kubernetes_validate.utils.schema_contents)
    )
    distinct = {json.dumps(thing) for found in chart.values() for thing in found if not is_custom(thing)}

    for text in sorted(distinct):
        kubernetes_validate.validate(json.loads(text), version, strict=True)


def test_a_misspelt_field_would_be_seen(chart):
    """The test above can fail."""
    thing = only(chart["default"], "Deployment", "api")
    wrong = json.loads(json.dumps(thing).replace("imagePullPolicy", "imagePullPolice"))

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


def test_every_custom_resource_fits_its_schema(objects):
    for thing in filter(is_custom, objects):
        schema = SPECS[thing["apiVersion"], thing["kind"]]
        Draft202012Validator.check_schema(schema)
        Draft202012Validator(schema).validate(thing["spec"])
        assert set(thing) == {"apiVersion", "kind", "metadata", "spec"}


def test_tenants_buckets_are_mounted_where_they_are_written_to_or_signed_for(chart):
    for part in ("api", "worker", "dispatcher"):
        for name, wanted in (("external", True), ("default", False)):
            [(_, pod)] = pods([only(chart[name], "Deployment", part)])
            [container] = pod["containers"]
            paths = {mount["mountPath"] for mount in container["volumeMounts"]}
            told = {variable["name"]: variable.get("value") for variable in container["env"]}
            assert ("/etc/ganserve/buckets" in paths) == wanted
            assert told.get("GANSERVE_BUCKETS") == ("/etc/ganserve/buckets/buckets.toml" if wanted else None)
            secrets = [v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v]
            assert secrets == ["ganserve-buckets"] * wanted


def test_no_two_objects_share_a_name(objects):
    names = Counter((thing["kind"], thing["metadata"]["name"]) for thing in objects)

    assert [name for name, count in names.items() if count > 1] == []


def test_every_object_is_in_the_namespace_of_the_release(objects):
    assert {thing["metadata"]["namespace"] for thing in objects} == {"prod"}


def test_selectors_match_the_pods_that_they_mean(objects):
    labels = {
        workload["metadata"]["name"]: workload["spec"]["template"]["metadata"]["labels"]
        for workload, _ in pods(objects)
    }
    selectors = [
        thing["spec"]["selector"].get("matchLabels", thing["spec"]["selector"])
        for thing in objects
        if thing["kind"] in ("Deployment", "StatefulSet", "Service", "PodDisruptionBudget", "PodMonitor")
    ]

    for selector in selectors:
        assert [name for name, found in labels.items() if selector.items() <= found.items()], selector


def test_ports_that_are_named_exist(objects):
    """A Service, a monitor, a probe or a policy that names a port no container has would fail in silence."""
    ports = {
        port["name"]
        for _, spec in pods(objects)
        for container in spec["containers"]
        for port in container.get("ports", [])
    }
    text = [thing["spec"] for thing in objects if thing["kind"] in ("Service", "NetworkPolicy")]
    named = {value for value in _values(text, "targetPort") + _values(text, "port") if isinstance(value, str)}

    assert named <= ports


def _values(tree: object, key: str) -> list[object]:
    if isinstance(tree, dict):
        found = [tree[key]] if key in tree else []
        return found + [value for branch in tree.values() for value in _values(branch, key)]
    if isinstance(tree, list):
        return [value for branch in tree for value in _values(branch, key)]
    return []


def test_optional_parts_are_there_only_where_they_are_wanted(chart):
    kinds = {
        name: {(thing["kind"], thing["metadata"]["name"]) for thing in found} for name, found in chart.items()
    }

    assert ("ScaledObject", "demo-ganserve-worker") in kinds["gpu"]
    assert ("Deployment", "demo-ganserve-triton") in kinds["triton"]
    assert ("StatefulSet", "demo-ganserve-redis") in kinds["minimal"]
    assert ("Ingress", "demo-ganserve-api") in kinds["external"]
    assert not {kind for kind, _ in kinds["default"]} & {
        "ScaledObject",
        "StatefulSet",
        "Ingress",
        "ServiceMonitor",
    }
    assert ("Deployment", "demo-ganserve-dispatcher") not in kinds["minimal"]


def test_where_policies_are_off_there_are_none():
    (answer,) = rendered([values_of("default") | {"networkPolicy": {"enabled": False}}])

    assert [thing for thing in answer["objects"] if thing["kind"] == "NetworkPolicy"] == []


def test_the_chart_holds_the_rules_and_the_dashboard_of_deploy():
    assert (CHART / "files" / "alerts.yaml").resolve() == ROOT / "deploy" / "prometheus" / "alerts.yaml"
    assert (CHART / "files" / "dashboard.json").resolve() == ROOT / "deploy" / "grafana" / "ganserve.json"


def test_a_package_of_the_chart_holds_the_files_behind_the_links(tmp_path):
    """What is installed from an archive, or a registry, has no repository beside it."""
    code = "import helm_python, sys; helm_python.package(sys.argv[1], destination=sys.argv[2])"
    subprocess.run([sys.executable, "-c", code, CHART, tmp_path], check=True, capture_output=True)
    (archive,) = tmp_path.glob("ganserve-*.tgz")

    with tarfile.open(archive) as package:
        rules = package.extractfile("ganserve/files/alerts.yaml").read()
    assert rules == (ROOT / "deploy" / "prometheus" / "alerts.yaml").read_bytes()


def test_helm_finds_nothing_to_say_against_the_chart():
    code = (
        "import helm_python, json, sys\n"
        "json.dump(helm_python.lint(sys.argv[1], json.load(sys.stdin)), sys.stdout, default=str)"
    )
    values = json.dumps(values_of("gpu"))
    done = subprocess.run([sys.executable, "-c", code, CHART], input=values, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert [message for message in json.loads(done.stdout)["messages"] if "icon" not in str(message)] == []
