"""What a worker process tells Prometheus. Base units; no tenant, job or model names as labels."""

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000)

JOBS_RUNNING = Gauge("ganserve_worker_jobs_running", "Jobs that this process holds", ["kind"])
JOB_SECONDS = Histogram(
    "ganserve_job_run_seconds", "From claim to end of an attempt", ["kind", "outcome"], buckets=_SECONDS
)
QUEUE_SECONDS = Histogram("ganserve_job_queue_seconds", "From queued to claimed", ["kind"], buckets=_SECONDS)
DEVICE_SECONDS = Counter("ganserve_device_seconds_total", "Device time that jobs used", ["kind"])
ENGINE_SECONDS = Counter("ganserve_engine_seconds_total", "Time that the engine computed", ["work"])
ENGINE_ROWS = Counter(
    "ganserve_engine_rows_total", "Rows that it computed, wanted or padding", ["work", "rows"]
)
IMAGES = Counter("ganserve_images_total", "Pictures made", ["kind"])
ARTIFACT_BYTES = Counter("ganserve_artifact_bytes_total", "Bytes written to object storage")
UPLOAD_RETRIES = Counter("ganserve_upload_retries_total", "Uploads that had to be tried again")
LEASES_LOST = Counter("ganserve_leases_lost_total", "Attempts given up because the lease was lost")
