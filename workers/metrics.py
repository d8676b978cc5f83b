"""What a worker process measures. Base units; no tenant, job or model names as labels."""

from collections.abc import Iterator

import torch
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from jobs.metrics import LONG_S, REGISTRY, SHORT_S

ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

SLOTS = Gauge("ganserve_worker_slots", "Jobs that this process holds at most.", registry=REGISTRY)
JOBS_RUNNING = Gauge(
    "ganserve_worker_jobs_running", "Jobs that this process holds.", ("kind",), registry=REGISTRY
)
DRAINING = Gauge("ganserve_worker_draining", "1 once this process was told to end.", registry=REGISTRY)
CLAIMS = Counter("ganserve_claims", "Messages taken from the broker.", ("outcome",), registry=REGISTRY)
QUEUE_SECONDS = Histogram(
    "ganserve_job_queue_seconds", "From queued to claimed.", ("kind",), buckets=LONG_S, registry=REGISTRY
)
JOB_SECONDS = Histogram(
    "ganserve_job_run_seconds",
    "From claim to end of an attempt.",
    ("kind", "outcome"),
    buckets=LONG_S,
    registry=REGISTRY,
)
LOSSES = Counter(
    "ganserve_job_losses",
    "Claims of a job that a worker had given up before.",
    ("kind",),
    registry=REGISTRY,
)
RESUMED = Counter(
    "ganserve_jobs_resumed", "Attempts that went on from a checkpoint.", ("kind",), registry=REGISTRY
)
LEASE_RENEWALS = Counter("ganserve_lease_renewals", "Heartbeats.", ("outcome",), registry=REGISTRY)
LEASES_LOST = Counter(
    "ganserve_leases_lost", "Attempts given up because the lease was lost.", registry=REGISTRY
)
DEVICE_SECONDS = Counter(
    "ganserve_device_seconds", "Device time that jobs used.", ("kind",), registry=REGISTRY
)
STEP_SECONDS = Histogram(
    "ganserve_engine_step_seconds", "One unit of device work.", ("work",), buckets=SHORT_S, registry=REGISTRY
)
BATCH_ROWS = Histogram(
    "ganserve_engine_batch_rows", "Wanted rows in one unit.", ("work",), buckets=ROWS, registry=REGISTRY
)
ENGINE_ROWS = Counter("ganserve_engine_rows", "Rows computed.", ("work", "rows"), registry=REGISTRY)
WAIT_SECONDS = Histogram(
    "ganserve_engine_wait_seconds",
    "Handed to the engine to first computed.",
    ("work",),
    buckets=SHORT_S,
    registry=REGISTRY,
)
WAITING = Gauge(
    "ganserve_engine_waiting", "Requests and optimisations that the engine has.", ("work",), registry=REGISTRY
)
LOAD_SECONDS = Histogram(
    "ganserve_model_load_seconds", "One model, folder to device.", buckets=LONG_S, registry=REGISTRY
)
MODELS_LOADED = Gauge("ganserve_models_loaded", "Models in memory.", registry=REGISTRY)
BACKEND_BLOCKS = Counter(
    "ganserve_backend_blocks", "Blocks of plain forward work.", ("backend",), registry=REGISTRY
)
GRAPHS = Counter(
    "ganserve_engine_graphs",
    "Kinds of blocks that were recorded, refused or found to differ, and blocks launched as recorded.",
    ("outcome",),
    registry=REGISTRY,
)
BACKEND_FALLBACKS = Counter(
    "ganserve_backend_fallbacks",
    "Times that torch did what a backend should have done.",
    ("backend", "reason"),
    registry=REGISTRY,
)
IMAGES = Counter("ganserve_images", "Pictures made.", ("kind",), registry=REGISTRY)
ENCODE_SECONDS = Histogram(
    "ganserve_encode_seconds", "One file, pixels to bytes.", buckets=SHORT_S, registry=REGISTRY
)
UPLOAD_SECONDS = Histogram(
    "ganserve_upload_seconds", "One file to object storage.", buckets=SHORT_S, registry=REGISTRY
)
UPLOAD_RETRIES = Counter("ganserve_upload_retries", "Uploads that had to be tried again.", registry=REGISTRY)
ARTIFACT_BYTES = Counter("ganserve_artifact_bytes", "Bytes written to object storage.", registry=REGISTRY)
CHECKPOINT_SECONDS = Histogram(
    "ganserve_checkpoint_seconds",
    "Saving the state of a job.",
    ("outcome",),
    buckets=SHORT_S,
    registry=REGISTRY,
)


class DeviceMemory(Collector):
    """Of the current CUDA device, asked at each scrape; nothing where torch has not begun to use one."""

    def collect(self) -> Iterator[Metric]:
        memory = GaugeMetricFamily("ganserve_device_memory_bytes", "Of a CUDA device.", labels=("state",))
        if torch.cuda.is_initialized():
            memory.add_metric(("allocated",), torch.cuda.memory_allocated())
            memory.add_metric(("reserved",), torch.cuda.memory_reserved())
            memory.add_metric(("total",), torch.cuda.mem_get_info()[1])
        yield memory


REGISTRY.register(DeviceMemory())
