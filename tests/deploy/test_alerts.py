"""The alert rules: read by Prometheus' own tool, each seen to fire and to stay quiet, each with a page."""

import re
import shutil
import subprocess

import pytest
import yaml

from tests.deploy import metric_names
from tests.deploy.given import ROOT, only

RULES = ROOT / "deploy" / "prometheus" / "alerts.yaml"
LABELS_OF_A_SCRAPE = {"instance", "namespace", "le"}


def rules():
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


UP = {
    process: (f'ganserve_build_info{{process="{process}", instance="{process}"}}', "1x120")
    for process in ("gateway", "worker", "reaper")
}
BUCKETS = ("0.1", "1", "10", "+Inf")


def histogram(name, labels, per_bucket):
    """Cumulative buckets that grow by these numbers each minute."""
    return [
        (f'{name}_bucket{{le="{le}"{labels}}}', f"0+{count}x120")
        for le, count in zip(BUCKETS, per_bucket, strict=True)
    ]


def counter(name, per_minute):
    return (name, f"0+{per_minute}x120")


def gauge(name, value):
    return (name, f"{value}x120")


FULL = [gauge("ganserve_worker_slots", 16), gauge("ganserve_worker_jobs_running", 16)]

# For each alert: what Prometheus saw when it fires, and the nearest thing at which it does not.
# Two hours, a sample a minute; looked at after one hour.
CASES = {
    "GanserveGatewayMissing": ([UP["worker"]], [UP["gateway"]]),
    "GanserveWorkersMissing": (
        [UP["gateway"], gauge('ganserve_queue_jobs{lane="1-normal.fast"}', 3)],
        [UP["worker"], gauge('ganserve_queue_jobs{lane="1-normal.fast"}', 3)],
    ),
    "GanserveReaperMissing": ([UP["gateway"]], [UP["reaper"]]),
    "GanserveDispatcherMissing": (
        [('ganserve_build_info{process="dispatcher"}', "1x20 stale")],
        [UP["gateway"]],  # none was ever there
    ),
    "GanserveLoopSilent": (
        [gauge('ganserve_loop_age_seconds{process="worker", loop="poll", instance="w"}', 61)],
        [gauge('ganserve_loop_age_seconds{process="worker", loop="poll", instance="w"}', 59)],
    ),
    "GanserveDrainSlow": (
        [gauge('ganserve_worker_draining{instance="w"}', 1)],
        [("ganserve_worker_draining{instance='w'}", "0x57 1x1 0x60")],
    ),
    "GanserveQueueOld": (
        [gauge("ganserve_queue_oldest_seconds", 601)],
        [gauge("ganserve_queue_oldest_seconds", 600)],
    ),
    "GanserveQueueFull": (
        [counter('ganserve_http_problems_total{code="queue_full"}', 1)],
        [counter('ganserve_http_problems_total{code="not_found"}', 100)],
    ),
    "GanserveSlotsBusy": (
        [*FULL, gauge("ganserve_queue_oldest_seconds", 61)],
        [*FULL, gauge("ganserve_queue_oldest_seconds", 5)],
    ),
    "GanserveDatabaseAway": ([UP["gateway"]], [UP["gateway"], gauge("ganserve_jobs_running", 0)]),
    "GanserveDatabaseErrors": (
        [counter("ganserve_database_errors_total", 12)],
        [counter("ganserve_database_errors_total", 3)],
    ),
    "GanserveDatabaseSlow": (
        histogram("ganserve_database_seconds", ', mode="write"', (50, 90, 100, 100)),
        histogram("ganserve_database_seconds", ', mode="write"', (90, 100, 100, 100)),
    ),
    "GanserveBrokerAway": (
        [counter('ganserve_sends_total{outcome="failed"}', 6)],
        [counter('ganserve_sends_total{outcome="sent"}', 600)],
    ),
    "GanserveObjectsFailing": (
        [counter('ganserve_blob_errors_total{operation="write"}', 6)],
        [counter('ganserve_blob_errors_total{operation="write"}', 1)],
    ),
    "GanserveJobsFailing": (
        [
            counter('ganserve_job_run_seconds_count{kind="invert", outcome="failed"}', 2),
            counter('ganserve_job_run_seconds_count{kind="invert", outcome="succeeded"}', 8),
        ],
        [
            counter('ganserve_job_run_seconds_count{kind="invert", outcome="failed"}', 1),
            counter('ganserve_job_run_seconds_count{kind="invert", outcome="succeeded"}', 99),
        ],
    ),
    "GanserveShardsStalled": (
        [
            gauge('ganserve_parts{kind="dataset", state="waiting"}', 3),
            counter('ganserve_images_total{kind="dataset"}', 0),
            counter('ganserve_images_total{kind="generate"}', 9),
        ],
        [
            gauge('ganserve_parts{kind="dataset", state="waiting"}', 3),
            counter('ganserve_images_total{kind="dataset"}', 1),
        ],
    ),
    "GanserveWorkersDying": (
        [counter('ganserve_reaper_actions_total{action="requeued"}', 1)],
        [counter('ganserve_reaper_actions_total{action="sent"}', 100)],
    ),
    "GanserveHeartbeatsFailing": (
        [
            counter('ganserve_lease_renewals_total{outcome="failed"}', 2),
            counter('ganserve_lease_renewals_total{outcome="ok"}', 10),
        ],
        [counter('ganserve_lease_renewals_total{outcome="ok"}', 10)],
    ),
    "GanserveReaperFailing": (
        [counter('ganserve_reaper_failures_total{action="sent"}', 1)],
        [counter('ganserve_reaper_failures_total{action="sent"}', 0)],
    ),
    "GanserveDeviceMemory": (
        [
            gauge('ganserve_device_memory_bytes{state="reserved", instance="w"}', 96),
            gauge('ganserve_device_memory_bytes{state="total", instance="w"}', 100),
        ],
        [
            gauge('ganserve_device_memory_bytes{state="reserved", instance="w"}', 90),
            gauge('ganserve_device_memory_bytes{state="total", instance="w"}', 100),
        ],
    ),
    "GanserveHttpErrors": (
        [
            counter('ganserve_http_request_seconds_count{status="503"}', 2),
            counter('ganserve_http_request_seconds_count{status="200"}', 98),
        ],
        [
            counter('ganserve_http_request_seconds_count{status="404"}', 50),
            counter('ganserve_http_request_seconds_count{status="200"}', 50),
            counter('ganserve_http_request_seconds_count{status="500"}', 0),
        ],
    ),
    "GanserveSubmitSlow": (
        histogram("ganserve_submit_seconds", "", (50, 100, 100, 100)),
        histogram("ganserve_submit_seconds", "", (100, 100, 100, 100)),
    ),
    "GanserveWebhooksLate": (
        [gauge("ganserve_webhook_oldest_due_seconds", 301)],
        [gauge("ganserve_webhook_oldest_due_seconds", 299)],
    ),
    "GanserveWebhooksDisabled": (
        [counter('ganserve_webhooks_disabled_total{reason="gone"}', 1)],
        [counter('ganserve_webhooks_disabled_total{reason="gone"}', 0)],
    ),
}  # fmt: skip


def unit_test(alert, seen, fires):
    """A test in promtool's form: how many instances of the alert fire after an hour."""
    return {
        "name": f"{alert} {'fires' if fires else 'stays quiet'}",
        "interval": "1m",
        "input_series": [{"series": series, "values": values} for series, values in seen],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{alert}", alertstate="firing"}}) or vector(0)',
                "eval_time": "1h",
                "exp_samples": [{"labels": "{}", "value": int(fires)}],
            }
        ],
    }


def promtool(*arguments):
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("there is no promtool: install Debian's prometheus")
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)


def test_the_rules_are_valid():
    done = promtool("check", "rules", RULES)

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_fires_when_it_should_and_not_before(tmp_path):
    assert set(CASES) == set(rules())
    tests = [
        unit_test(alert, seen, fires)
        for alert, both in CASES.items()
        for seen, fires in zip(both, (True, False), strict=True)
    ]
    path = tmp_path / "alerts_test.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "2m", "tests": tests}))

    done = promtool("test", "rules", path)

    assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_expectation_would_be_seen(tmp_path):
    """The test above can fail."""
    quiet = CASES["GanserveQueueOld"][1]
    path = tmp_path / "wrong.yaml"
    test = unit_test("GanserveQueueOld", quiet, fires=True)
    path.write_text(
        yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]})
    )

    assert promtool("test", "rules", path).returncode != 0


def test_rules_use_metrics_and_labels_that_there_are():
    documented = metric_names.documented()
    labels = set().union(*(labels for _, labels in documented.values())) | LABELS_OF_A_SCRAPE

    for alert, rule in rules().items():
        assert metric_names.used(rule["expr"]) <= metric_names.series(), alert
        assert metric_names.labels_used(rule["expr"]) <= labels, alert


def test_every_alert_says_how_bad_it_is_and_what_it_is():
    for alert, rule in rules().items():
        assert alert.startswith("Ganserve")
        assert rule["labels"]["severity"] in ("critical", "warning", "info"), alert
        assert set(rule["annotations"]) == {"summary", "description"}, alert


def test_every_alert_has_a_section_that_says_what_to_do():
    page = (ROOT / "docs" / "operations.md").read_text()
    sections = re.findall(r"^### (Ganserve\w+)$", page, flags=re.MULTILINE)

    assert sections == list(rules())


def test_the_chart_installs_these_rules(chart):
    rule = only(chart["gpu"], "PrometheusRule", "alerts")

    assert rule["spec"]["groups"] == yaml.safe_load(RULES.read_text())["groups"]
