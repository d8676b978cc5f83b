"""`python deploy/grafana/dashboard.py`: writes ganserve.json, the dashboard, from the panels listed here.

An expression names metrics of docs/metrics.md. Two things are added to it: to every metric the namespace that
is chosen at the top of the dashboard; and Grafana's own choice of window for `[rate]`.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("ganserve.json")
METRIC = re.compile(r"\b((?:ganserve|process)_[a-z_]+)(\{)?")
SCOPE = 'namespace=~"$namespace"'
SOURCE = {"type": "prometheus", "uid": "${source}"}
WIDTH, HEIGHT = 24, 8  # Grafana's grid; one row of panels


@dataclass(frozen=True)
class Panel:
    """A graph over time, or a number when `kind` is `stat`. `lines` are (legend, expression)."""

    title: str
    unit: str
    lines: tuple[tuple[str, str], ...]
    kind: str = "timeseries"
    note: str = ""
    stacked: bool = False


def quantiles(metric: str, by: str = "") -> tuple[tuple[str, str], ...]:
    """Median and tail of a histogram, by its label `by`."""
    labels, legend = (f"le, {by}", f" {{{{{by}}}}}") if by else ("le", "")
    return tuple(
        (
            f"p{share}{legend}",
            f"histogram_quantile(0.{share}, sum by ({labels}) (rate({metric}_bucket[rate])))",
        )
        for share in ("50", "95", "99")
    )


ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "At a glance",
        (
            Panel("Waiting", "short", (("", "sum(max by (lane) (ganserve_queue_jobs))"),), "stat"),
            Panel("Running", "short", (("", "max(ganserve_jobs_running)"),), "stat"),
            Panel("Oldest waits", "s", (("", "max(ganserve_queue_oldest_seconds)"),), "stat"),
            Panel("Workers", "short", (("", 'count(ganserve_build_info{process="worker"})'),), "stat"),
            Panel(
                "Slots taken",
                "percentunit",
                (("", "sum(ganserve_worker_jobs_running) / sum(ganserve_worker_slots)"),),
                "stat",
            ),
            Panel("Pictures a second", "short", (("", "sum(rate(ganserve_images_total[rate]))"),), "stat"),
        ),
    ),
    (
        "Queue",
        (
            Panel(
                "Jobs that wait",
                "short",
                (("{{lane}}", "max by (lane) (ganserve_queue_jobs)"),),
                note="By lane; lanes are served in their order.",
                stacked=True,
            ),
            Panel("Age of the oldest", "s", (("oldest", "max(ganserve_queue_oldest_seconds)"),)),
            Panel(
                "Load against slots",
                "short",
                (
                    (
                        "waiting + running",
                        "sum(max by (lane) (ganserve_queue_jobs)) + max(ganserve_jobs_running)",
                    ),
                    ("slots", "sum(ganserve_worker_slots)"),
                ),
                note="What the autoscaler compares.",
            ),
            Panel("Queued to claimed", "s", quantiles("ganserve_job_queue_seconds", "kind")),
        ),
    ),
    (
        "Jobs",
        (
            Panel(
                "Submitted",
                "cps",
                (("{{kind}}", "sum by (kind) (rate(ganserve_jobs_submitted_total[rate]))"),),
            ),
            Panel(
                "Attempts that ended",
                "cps",
                (
                    (
                        "{{kind}} {{outcome}}",
                        "sum by (kind, outcome) (rate(ganserve_job_run_seconds_count[rate]))",
                    ),
                ),
                note="`released`: drained or tried again; `lost`: the lease was gone.",
            ),
            Panel("Claimed to ended", "s", quantiles("ganserve_job_run_seconds", "kind")),
            Panel("Pictures", "cps", (("{{kind}}", "sum by (kind) (rate(ganserve_images_total[rate]))"),)),
        ),
    ),
    (
        "Datasets and batches",
        (
            Panel(
                "Shards",
                "short",
                (("{{state}}", 'max by (state) (ganserve_parts{kind="dataset"})'),),
                note="Of datasets that are not over. `held`: others wait before, or it is paused.",
                stacked=True,
            ),
            Panel(
                "Lines",
                "short",
                (("{{state}}", 'max by (state) (ganserve_parts{kind="batch"})'),),
                note="Of batches that are not over.",
                stacked=True,
            ),
            Panel(
                "Into shards",
                "cps",
                (("pictures", 'sum(rate(ganserve_images_total{kind="dataset"}[rate]))'),),
            ),
            Panel(
                "A shard",
                "s",
                tuple(
                    (
                        f"p{share}",
                        f"histogram_quantile(0.{share}, sum by (le)"
                        ' (rate(ganserve_job_run_seconds_bucket{kind="shard"}[rate])))',
                    )
                    for share in ("50", "95", "99")
                ),
                note="Claimed to ended.",
            ),
            Panel(
                "Shards that ended",
                "cps",
                (
                    (
                        "{{outcome}}",
                        'sum by (outcome) (rate(ganserve_job_run_seconds_count{kind="shard"}[rate]))',
                    ),
                ),
            ),
        ),
    ),
    (
        "Engine",
        (
            Panel(
                "Rows in a batch",
                "short",
                (
                    (
                        "{{work}}",
                        "sum by (work) (rate(ganserve_engine_batch_rows_sum[rate]))"
                        " / sum by (work) (rate(ganserve_engine_batch_rows_count[rate]))",
                    ),
                ),
                note="Mean of what was wanted.",
            ),
            Panel(
                "Padding",
                "percentunit",
                (
                    (
                        "{{work}}",
                        'sum by (work) (rate(ganserve_engine_rows_total{rows="padding"}[rate]))'
                        " / sum by (work) (rate(ganserve_engine_rows_total[rate]))",
                    ),
                ),
                note="Rows computed for nothing, to fill a block.",
            ),
            Panel("One step", "s", quantiles("ganserve_engine_step_seconds", "work")),
            Panel("Wait for the engine", "s", quantiles("ganserve_engine_wait_seconds", "work")),
            Panel(
                "In the engine",
                "short",
                (("{{work}}", "sum by (work) (ganserve_engine_waiting)"),),
                stacked=True,
            ),
            Panel(
                "Engine busy",
                "percentunit",
                (("{{instance}}", "sum by (instance) (rate(ganserve_engine_step_seconds_sum[rate]))"),),
            ),
            Panel(
                "Device time",
                "percentunit",
                (("{{kind}}", "sum by (kind) (rate(ganserve_device_seconds_total[rate]))"),),
            ),
            Panel(
                "Device memory",
                "bytes",
                (("{{instance}} {{state}}", "max by (instance, state) (ganserve_device_memory_bytes)"),),
                note="Of CUDA devices; empty on the CPU.",
            ),
            Panel(
                "Other backends",
                "ops",
                (
                    ("{{backend}}", "sum by (backend) (rate(ganserve_backend_blocks_total[rate]))"),
                    (
                        "torch for {{backend}}: {{reason}}",
                        "sum by (backend, reason) (rate(ganserve_backend_fallbacks_total[rate]))",
                    ),
                ),
                note="Blocks that they did, and those that torch did in their place.",
            ),
            Panel(
                "CUDA graphs",
                "ops",
                (("{{outcome}}", "sum by (outcome) (rate(ganserve_engine_graphs_total[rate]))"),),
                note="Blocks launched as recorded; kinds that were recorded, refused or found to differ.",
            ),
            Panel(
                "Models",
                "short",
                (
                    ("in memory, {{instance}}", "sum by (instance) (ganserve_models_loaded)"),
                    ("loaded a minute", "60 * sum(rate(ganserve_model_load_seconds_count[rate]))"),
                ),
            ),
        ),
    ),
    (
        "Leases and attempts",
        (
            Panel(
                "Heartbeats",
                "cps",
                (("{{outcome}}", "sum by (outcome) (rate(ganserve_lease_renewals_total[rate]))"),),
            ),
            Panel(
                "Claims", "cps", (("{{outcome}}", "sum by (outcome) (rate(ganserve_claims_total[rate]))"),)
            ),
            Panel(
                "Lost and resumed",
                "cps",
                (
                    ("leases lost", "sum(rate(ganserve_leases_lost_total[rate]))"),
                    ("claimed again {{kind}}", "sum by (kind) (rate(ganserve_job_losses_total[rate]))"),
                    ("resumed {{kind}}", "sum by (kind) (rate(ganserve_jobs_resumed_total[rate]))"),
                ),
            ),
            Panel(
                "Reaper",
                "cps",
                (("{{action}}", "sum by (action) (rate(ganserve_reaper_actions_total[rate]))"),),
            ),
        ),
    ),
    (
        "Gateway",
        (
            Panel(
                "Requests",
                "reqps",
                (("{{status}}", "sum by (status) (rate(ganserve_http_request_seconds_count[rate]))"),),
                stacked=True,
            ),
            Panel(
                "Answer time",
                "s",
                quantiles("ganserve_http_request_seconds"),
                note="Long polls and event streams count with the time that they waited.",
            ),
            Panel("Submitting a job", "s", quantiles("ganserve_submit_seconds")),
            Panel(
                "Problems", "cps", (("{{code}}", "sum by (code) (rate(ganserve_http_problems_total[rate]))"),)
            ),
            Panel("Open streams", "short", (("{{instance}}", "sum by (instance) (ganserve_http_streams)"),)),
            Panel(
                "Messages to workers",
                "cps",
                (("{{outcome}}", "sum by (outcome) (rate(ganserve_sends_total[rate]))"),),
            ),
        ),
    ),
    (
        "Storage",
        (
            Panel("Transactions", "s", quantiles("ganserve_database_seconds", "mode")),
            Panel("Object store", "s", quantiles("ganserve_blob_seconds", "operation")),
            Panel(
                "Errors",
                "cps",
                (
                    ("database", "sum(rate(ganserve_database_errors_total[rate]))"),
                    ("objects {{operation}}", "sum by (operation) (rate(ganserve_blob_errors_total[rate]))"),
                    ("uploads again", "sum(rate(ganserve_upload_retries_total[rate]))"),
                ),
            ),
            Panel("Written", "Bps", (("bytes", "sum(rate(ganserve_artifact_bytes_total[rate]))"),)),
            Panel(
                "Encode and upload",
                "s",
                (
                    *((f"encode {name}", line) for name, line in quantiles("ganserve_encode_seconds")),
                    *((f"upload {name}", line) for name, line in quantiles("ganserve_upload_seconds")),
                ),
            ),
            Panel("Checkpoints", "s", quantiles("ganserve_checkpoint_seconds", "outcome")),
        ),
    ),
    (
        "Webhooks",
        (
            Panel(
                "Deliveries",
                "cps",
                (("{{outcome}}", "sum by (outcome) (rate(ganserve_webhook_attempts_total[rate]))"),),
            ),
            Panel("Receivers' answer time", "s", quantiles("ganserve_webhook_attempt_seconds")),
            Panel("Pending", "short", (("pending", "max(ganserve_webhook_pending)"),)),
            Panel("Oldest that is due", "s", (("late by", "max(ganserve_webhook_oldest_due_seconds)"),)),
        ),
    ),
    (
        "Processes",
        (
            Panel(
                "Silence of loops",
                "s",
                (("{{instance}} {{loop}}", "max by (instance, loop) (ganserve_loop_age_seconds)"),),
                note="At GANSERVE_LIVENESS_S the process is started again.",
            ),
            Panel(
                "CPU",
                "percentunit",
                (
                    (
                        "{{instance}}",
                        "rate(process_cpu_seconds_total[rate]) and on (instance) ganserve_build_info",
                    ),
                ),
            ),
            Panel(
                "Memory",
                "bytes",
                (
                    (
                        "{{instance}}",
                        "process_resident_memory_bytes and on (instance) ganserve_build_info",
                    ),
                ),
            ),
            Panel("Reaper's round", "s", quantiles("ganserve_reaper_tick_seconds")),
            Panel(
                "Given up or dropped",
                "cps",
                (
                    (
                        "live events {{outcome}}",
                        'sum by (outcome) (rate(ganserve_live_events_total{outcome!="sent"}[rate]))',
                    ),
                    ("spans", "sum(rate(ganserve_spans_dropped_total[rate]))"),
                    ("rate limits not asked", "sum(rate(ganserve_rate_limit_skipped_total[rate]))"),
                    ("reaper {{action}}", "sum by (action) (rate(ganserve_reaper_failures_total[rate]))"),
                ),
                note="Callers see less of a job while it runs, or are limited less. Nothing is lost.",
            ),
        ),
    ),
)


def scoped(expression: str) -> str:
    """The expression as Grafana gets it."""
    named = METRIC.sub(
        lambda found: f"{found[1]}{{{SCOPE}, " if found[2] else f"{found[1]}{{{SCOPE}}}", expression
    )
    return named.replace("[rate]", "[$__rate_interval]")


def panel(given: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    custom = {"stacking": {"mode": "normal"}, "fillOpacity": 20} if given.stacked else {}
    return {
        "id": number,
        "type": given.kind,
        "title": given.title,
        "description": given.note,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": given.unit, "min": 0, "custom": custom}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + at), "expr": scoped(line), "legendFormat": legend, "datasource": SOURCE}
            for at, (legend, line) in enumerate(given.lines)
        ],
    }


def placed() -> Iterator[dict[str, Any]]:
    """Every row's title and its panels, four or six beside each other."""
    number, top = 0, 0
    for title, panels in ROWS:
        number += 1
        yield {"id": number, "type": "row", "title": title, "collapsed": False, "panels": [],
               "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1}}  # fmt: skip
        top += 1
        across, height = (6, 4) if panels[0].kind == "stat" else (4, HEIGHT)
        width = WIDTH // across
        for at, given in enumerate(panels):
            number += 1
            place = {"x": at % across * width, "y": top + at // across * height, "w": width, "h": height}
            yield panel(given, number, place)
        top += -(-len(panels) // across) * height


def dashboard() -> dict[str, Any]:
    namespaces = "label_values(ganserve_build_info, namespace)"
    return {
        "uid": "ganserve",
        "title": "ganserve",
        "tags": ["ganserve"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {"name": "source", "label": "Source", "type": "datasource", "query": "prometheus"},
                {
                    "name": "namespace",
                    "label": "Namespace",
                    "type": "query",
                    "datasource": SOURCE,
                    "query": {"query": namespaces, "refId": "namespace"},
                    "refresh": 2,
                    "includeAll": True,
                    "allValue": ".*",  # also where there are no namespaces, as under compose
                    "current": {"text": "All", "value": "$__all"},
                },
            ]
        },
        "panels": list(placed()),
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n")
