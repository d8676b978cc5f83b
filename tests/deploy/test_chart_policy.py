"""What every pod of the chart must have, whatever the values: our own policy, beside what is accepted."""

import json
import math
import re

import pytest

from jobs.settings import PREFIX, Settings
from tests.deploy.given import only, part, pods, values_of

OWN = {"api", "worker", "reaper", "dispatcher", "migrate"}  # the parts that run this repository's code
SECRET = {
    "database_url",
    "broker_url",
    "url_secret",
    "key_pepper",
    "webhook_secret",
    "s3_access_key",
    "s3_secret_key",
}
SAFE_VOLUMES = {"emptyDir", "persistentVolumeClaim", "secret"}


def containers(objects):
    return [(workload, container) for workload, spec in pods(objects) for container in spec["containers"]]


def environment(container):
    return {entry["name"]: entry for entry in container.get("env", [])}


def test_pods_meet_the_restricted_profile(objects):
    """Pod Security Standards, restricted; and the file system of the image cannot be written."""
    for _, spec in pods(objects):
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(spec)
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for volume in spec.get("volumes", []):
            assert set(volume) - {"name"} <= SAFE_VOLUMES
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert all("hostPort" not in port for port in container.get("ports", []))


def test_no_pod_gets_a_token_of_the_cluster(objects):
    accounts = {thing["metadata"]["name"]: thing for thing in objects if thing["kind"] == "ServiceAccount"}

    for workload, spec in pods(objects):
        assert spec["automountServiceAccountToken"] is False
        assert accounts[spec["serviceAccountName"]]["automountServiceAccountToken"] is False
        assert spec["serviceAccountName"] == workload["metadata"]["name"]


def test_every_container_has_requests_and_limits(objects):
    for _, container in containers(objects):
        for kind in ("requests", "limits"):
            assert {"cpu", "memory", "ephemeral-storage"} <= set(container["resources"][kind])


def test_folders_that_can_be_written_have_a_size_within_the_limit(objects):
    def mebibytes(size):
        number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", size).groups()
        return int(number) * (1024 if unit == "Gi" else 1)

    for _, spec in pods(objects):
        folders = [volume["emptyDir"] for volume in spec.get("volumes", []) if "emptyDir" in volume]
        on_disk = [mebibytes(folder["sizeLimit"]) for folder in folders if folder.get("medium") != "Memory"]
        limit = mebibytes(spec["containers"][0]["resources"]["limits"]["ephemeral-storage"])
        assert sum(on_disk) <= limit


def test_every_server_has_its_three_probes(objects):
    for workload, container in containers(objects):
        probes = {"startupProbe", "livenessProbe", "readinessProbe"} & set(container)
        assert len(probes) == (0 if workload["kind"] == "Job" else 3), part(workload)


def test_our_processes_are_alive_by_progress_not_by_being_there(objects):
    for workload, container in containers(objects):
        if part(workload) in OWN - {"migrate"}:
            assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
            assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_images_are_named_by_digest_or_by_a_tag_that_says_a_version(objects):
    for _, container in containers(objects):
        image = container["image"]
        name = image.rsplit("/", 1)[-1]
        assert re.search(r"@sha256:[0-9a-f]{64}$", image) or re.search(r":.*\d", name), image
        assert not image.endswith(":latest")


def test_only_sets_that_say_so_take_images_by_tag(chart):
    for name, objects in chart.items():
        by_tag = [
            container["image"] for _, container in containers(objects) if "@sha256:" not in container["image"]
        ]
        assert not by_tag or values_of(name)["images"]["allowTags"]


def test_no_secret_is_in_a_manifest(objects):
    """Secrets come from one Secret that is there already; none is made, none is written out."""
    assert not [thing for thing in objects if thing["kind"] == "Secret"]
    for _, container in containers(objects):
        for name, entry in environment(container).items():
            if name.removeprefix(PREFIX).lower() in SECRET or name.endswith(("PASSWORD", "TOKEN", "AUTH")):
                assert ("valueFrom" in entry) != (name == "GANSERVE_AUTH"), name
        assert not re.search(r"[a-z]+://[^/\s]+:[^/\s]+@", json.dumps(container)), "credentials in an address"


def test_a_process_gets_only_the_secrets_that_it_needs(chart):
    objects = chart["default"]
    got = {
        part(workload): {
            entry["valueFrom"]["secretKeyRef"]["key"] for entry in container["env"] if "valueFrom" in entry
        }
        for workload, container in containers(objects)
    }
    s3 = {"s3-access-key", "s3-secret-key"}

    assert got == {
        "api": {"database-url", "broker-url", "url-secret", "key-pepper", "webhook-secret"} | s3,
        "worker": {"database-url", "broker-url"} | s3,
        "reaper": {"database-url", "broker-url"} | s3,
        "dispatcher": {"database-url", "webhook-secret"} | s3,
        "migrate": {"database-url"},
    }


def test_with_the_clouds_identity_no_keys_of_the_store_are_asked_for(chart):
    assert "s3-access-key" not in json.dumps(chart["external"])


def test_every_variable_is_a_setting(objects):
    settings = {PREFIX + name.upper() for name in Settings.model_fields}

    for workload, container in containers(objects):
        names = [entry["name"] for entry in container.get("env", [])]
        assert len(names) == len(set(names)), part(workload)
        assert {name for name in names if name.startswith(PREFIX)} <= settings


def test_the_values_of_variables_are_valid_settings(objects, monkeypatch):
    """The processes would start: the settings accept what the chart gives them."""
    stand_in = {
        "database-url": "postgresql://user@database/ganserve",
        "broker-url": "redis://broker:6379/0",
    }
    for workload, container in containers(objects):
        if part(workload) not in OWN:
            continue
        with monkeypatch.context() as patch:
            for name, entry in environment(container).items():
                key = entry.get("valueFrom", {}).get("secretKeyRef", {}).get("key")
                patch.setenv(name, entry["value"] if key is None else stand_in.get(key, "x" * 32))
            chosen = Settings()
        assert chosen.work_dir.as_posix() == "/var/lib/ganserve"
        assert chosen.metrics_port == 9464


def test_the_gateway_asks_for_keys(objects):
    (container,) = [container for workload, container in containers(objects) if part(workload) == "api"]

    assert environment(container)["GANSERVE_AUTH"]["value"] == "keys"


@pytest.mark.parametrize("name", ["default", "gpu"])
def test_a_worker_has_time_to_drain(chart, name):
    """20 s, two checkpoints and 10 s; nothing before SIGTERM, which is the signal to drain."""
    worker = only(chart[name], "Deployment", "worker")["spec"]["template"]["spec"]
    checkpoint_s = values_of(name).get("settings", {}).get("checkpoint_s", 5)

    assert worker["terminationGracePeriodSeconds"] == 20 + math.ceil(2 * checkpoint_s) + 10
    assert "lifecycle" not in worker["containers"][0]


def test_a_worker_owns_one_gpu_or_says_that_it_takes_the_cpu(chart):
    for name, objects in chart.items():
        worker = only(objects, "Deployment", "worker")["spec"]["template"]["spec"]["containers"][0]
        device = environment(worker)["GANSERVE_DEVICE"]["value"]
        assert (device == "cuda") == (worker["resources"]["limits"].get("nvidia.com/gpu") == 1)
        assert (device == "cpu") == (name == "minimal")


def test_the_slots_of_celery_are_those_of_the_settings(objects):
    worker = only(objects, "Deployment", "worker")["spec"]["template"]["spec"]["containers"][0]
    command = worker["command"]

    assert command[command.index("-c") + 1] == environment(worker)["GANSERVE_SLOTS"]["value"]
    assert command[command.index("-P") + 1] == "threads"


def test_processes_start_as_number_one_and_get_the_signal_themselves(objects):
    """A shell in front would keep SIGTERM to itself."""
    for _, container in containers(objects):
        assert container["command"][0] in ("python", "redis-server", "tritonserver")


def test_every_deployment_has_a_budget_that_lets_nodes_be_drained(objects):
    budgets = {part(thing): thing["spec"] for thing in objects if thing["kind"] == "PodDisruptionBudget"}
    deployments = {part(thing) for thing in objects if thing["kind"] == "Deployment"}

    assert set(budgets) == deployments
    assert all(budget["maxUnavailable"] == 1 for budget in budgets.values())


def test_what_scales_by_itself_has_no_fixed_number(chart):
    assert "replicas" not in only(chart["gpu"], "Deployment", "worker")["spec"]
    assert "replicas" not in only(chart["default"], "Deployment", "api")["spec"]
    assert only(chart["minimal"], "Deployment", "api")["spec"]["replicas"] == 1


def test_the_migration_runs_before_everything_else(objects):
    job = only(objects, "Job", "migrate")
    account = only(objects, "ServiceAccount", "migrate")

    hooks = [thing["metadata"]["annotations"] for thing in (account, job)]
    assert {hook["helm.sh/hook"] for hook in hooks} == {"pre-install,pre-upgrade"}
    assert int(hooks[0]["helm.sh/hook-weight"]) < int(hooks[1]["helm.sh/hook-weight"])
    assert [thing for thing in objects if "helm.sh/hook" in thing["metadata"].get("annotations", {})] == [
        thing for thing in objects if part(thing) == "migrate" and thing["kind"] in ("Job", "ServiceAccount")
    ]


def test_triton_keeps_what_can_change_it_behind_a_token(chart):
    triton = only(chart["triton"], "Deployment", "triton")["spec"]["template"]["spec"]["containers"][0]
    restricted = [arg for arg in triton["args"] if "restricted" in arg]

    assert "--model-control-mode=explicit" in triton["args"]
    assert len(restricted) == 2
    for arg in restricted:
        assert {"model-repository", "shared-memory", "logging"} <= set(re.split("[=,:]", arg))
        assert arg.endswith("=$(TRITON_TOKEN)")
    assert only(chart["triton"], "Service", "triton")["spec"]["type"] == "ClusterIP"
