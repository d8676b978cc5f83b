"""compose.yaml: what the compose specification allows, and what we ask of every service."""

import importlib.util
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from jobs.settings import PREFIX, Settings
from tests.deploy.given import ROOT
from tests.deploy.test_alerts import promtool

DEPLOY = ROOT / "deploy"
VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)(:?[-?][^}]*)?\}")
OURS = {"api", "worker", "reaper", "dispatcher", "migrate", "bucket"}
ONCE = {"migrate", "bucket"}


def compose(name="compose.yaml"):
    return yaml.safe_load((DEPLOY / name).read_text())


def services():
    return compose()["services"]


def example():
    lines = (DEPLOY / "env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def filled(text):
    """As compose would fill it in."""
    return VARIABLE.sub(
        lambda found: "f" * 64 if example()[found[1]] == "secret" else example()[found[1]] or "x", text
    )


@pytest.mark.parametrize("name", ["compose.yaml", "compose.gpu.yaml"])
def test_it_meets_the_specification(name):
    tool = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*tool, DEPLOY / name], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


def test_every_variable_is_in_the_example_and_no_other():
    used = {name for name, _ in VARIABLE.findall((DEPLOY / "compose.yaml").read_text())}

    assert used == set(example())


def test_every_service_is_hardened():
    for name, service in services().items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service and "network_mode" not in service, name
        if name != "postgres":  # gives its volume to its own user, then becomes it
            assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"]), name


def test_every_service_has_limits_and_a_check_of_its_health():
    for name, service in services().items():
        assert {"cpus", "memory"} <= set(service["deploy"]["resources"]["limits"]), name
        assert ("healthcheck" in service) == (name not in ONCE), name


def test_no_secret_is_written_down():
    text = (DEPLOY / "compose.yaml").read_text()

    for line in text.splitlines():
        if re.search(r"(PASSWORD|SECRET|TOKEN|PEPPER|AUTH)\w*:", line) and "GANSERVE_AUTH" not in line:
            assert "${" in line, line
    assert not re.search(r"://[^/\s$]*:[^/\s$]+@", VARIABLE.sub("$", text))


def test_secrets_have_no_default():
    for name, fallback in VARIABLE.findall((DEPLOY / "compose.yaml").read_text()):
        if example()[name] == "secret" and name != "TRITON_TOKEN":  # of a profile that is off
            assert fallback == ":?", name


def test_the_new_environment_has_secrets_of_its_own(tmp_path):
    for name in ("new_env.py", "env.example"):
        shutil.copy(DEPLOY / name, tmp_path)
    subprocess.run([sys.executable, tmp_path / "new_env.py"], check=True)
    path = tmp_path / ".env"
    made = dict(line.split("=", 1) for line in path.read_text().splitlines() if line and line[0] != "#")

    secrets = [made[name] for name, value in example().items() if value == "secret"]
    assert len(set(secrets)) == len(secrets) >= 8
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in secrets)
    assert path.stat().st_mode & 0o077 == 0
    assert {name: value for name, value in made.items() if example()[name] != "secret"} == {
        name: value for name, value in example().items() if value != "secret"
    }
    assert subprocess.run([sys.executable, tmp_path / "new_env.py"], capture_output=True).returncode == 1


def test_no_image_is_latest():
    images = [value for name, value in example().items() if name.endswith("_IMAGE") and value]

    assert all(":" in image and not image.endswith(":latest") for image in images)


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_processes_would_start_with_these_settings(name, monkeypatch):
    environment = {key: filled(str(value)) for key, value in services()[name]["environment"].items()}
    names = {key for key in environment if key.startswith(PREFIX)}
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    chosen = Settings()

    assert names <= {PREFIX + field.upper() for field in Settings.model_fields}
    assert chosen.database_url == f"postgresql://ganserve:{'f' * 64}@postgres/ganserve"


def test_only_loopback_of_the_host_listens():
    ports = [port for service in services().values() for port in service.get("ports", [])]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_workers_have_no_way_out_and_the_dispatcher_has():
    assert compose()["networks"]["data"] == {"internal": True}
    assert services()["worker"]["networks"] == ["data"]
    assert services()["reaper"]["networks"] == ["data"]
    assert "out" in services()["dispatcher"]["networks"]


def test_redis_keeps_a_log_evicts_nothing_and_asks_for_a_password():
    command = services()["redis"]["command"]

    assert {"--appendonly yes", "--maxmemory-policy noeviction"} <= set(command)
    assert any("${REDIS_PASSWORD:?}" in part and "-flushall" in part for part in command)


def test_everything_waits_for_the_migration_and_the_bucket():
    for name in OURS - ONCE:
        waits = services()[name]["depends_on"]
        assert waits["migrate"]["condition"] == "service_completed_successfully"
        assert waits["bucket"]["condition"] == "service_completed_successfully"


def test_a_worker_has_time_to_drain():
    """20 s, two checkpoints of the default 5 s, and 10 s."""
    checkpoint_s = Settings.model_fields["checkpoint_s"].default

    assert services()["worker"]["stop_grace_period"] == f"{20 + 2 * checkpoint_s + 10}s"


def test_what_is_mounted_is_there():
    for service in services().values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert not source.startswith(".") or (DEPLOY / source).exists(), source


def test_prometheus_reads_its_configuration():
    done = promtool("check", "config", DEPLOY / "prometheus" / "prometheus.yaml")

    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_scrapes_every_process_of_ours():
    (jobs, _) = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())["scrape_configs"]
    (found,) = jobs["dns_sd_configs"]

    assert set(found["names"]) == OURS - ONCE
    assert str(found["port"]) == compose()["x-settings"]["GANSERVE_METRICS_PORT"]


def test_grafana_finds_its_source_and_its_dashboard():
    folder = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((folder / "dashboards" / "ganserve.yaml").read_text())["providers"]
    mounted = {volume.split(":")[1] for volume in services()["grafana"]["volumes"]}

    assert source["url"] == "http://prometheus:9090"
    assert f"{provider['options']['path']}/ganserve.json" in mounted


def test_the_bucket_is_made_once(s3_server):
    spec = importlib.util.spec_from_file_location("make_bucket", DEPLOY / "make_bucket.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    given = Settings(
        blob_url="s3://fresh/objects",
        s3_endpoint=s3_server.endpoint,
        s3_access_key=s3_server.access_key,
        s3_secret_key=s3_server.secret_key,
    )

    assert [module.make_bucket(given), module.make_bucket(given)] == [True, False]
