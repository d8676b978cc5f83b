"""Every setting of the service, read once from `GANSERVE_*` environment variables.

A `GANSERVE_*` variable that is no setting is refused: a misspelt one would otherwise be ignored in silence.
Sizes are in bytes and durations in seconds.
"""

import difflib
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "GANSERVE_"
DEFAULT_TENANT = "default"  # everybody's, where no keys are asked for
CALLERS_OWN = ("GANSERVE_API_KEY",)  # variables that the client reads, in an environment that may be the same
BACKENDS = ("auto", "torch", "prepared", "prepared-bf16", "onnx", "triton")
MiB = 1024 * 1024


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    # Where things are. The defaults are one folder on one machine.
    work_dir: Path = Path("var")
    database_url: str = Field(
        default_factory=lambda known: f"sqlite:///{known['work_dir'].absolute()}/ganserve.db"
    )
    """`sqlite:////absolute/path` or `postgresql://user:password@host/name`."""
    broker_url: str = "redis://127.0.0.1:6379/0"
    """Redis: `redis://`, `rediss://`, or `redis+socket:///path` for a unix socket."""
    blob_url: str = Field(default_factory=lambda known: (known["work_dir"].absolute() / "blobs").as_uri())
    """`file:///absolute/path` or `s3://bucket/prefix`."""
    model_repo: Path = Path(__file__).parents[1] / "model_repo"

    # Object storage, for an s3:// blob_url. Credentials left out are looked for as boto3 does.
    s3_endpoint: str | None = None
    s3_public_endpoint: str | None = None
    """What callers can reach, where it differs; download links are signed for it."""
    s3_region: str = "us-east-1"
    s3_access_key: str | None = None
    s3_secret_key: SecretStr | None = None

    buckets: Path | None = None
    """TOML file of tenants' own buckets, which datasets can be written to."""

    # The gateway.
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    public_url: str = "http://127.0.0.1:8000"
    """How callers reach the gateway; links start with it."""
    url_secret: SecretStr | None = None
    """Signs download links and list cursors: at least 32 characters, the same in every replica."""
    url_ttl_s: int = Field(default=900, ge=1, le=7 * 86400)
    max_queued: int = Field(default=1000, ge=1)
    """Jobs of a tenant that may wait; more are refused with 429."""
    max_upload_bytes: int = Field(default=32 * MiB, ge=1)
    """One picture."""
    max_checkpoint_bytes: int = Field(default=2048 * MiB, ge=1)
    max_body_bytes: int = Field(default=MiB, ge=1)
    """One JSON body."""

    max_batch_bytes: int = Field(default=64 * MiB, ge=1)
    """One JSONL body of a batch."""

    # Who may come in, and how much a tenant may use unless its own limits say otherwise.
    auth: Literal["open", "keys"] = "open"
    """open: whoever reaches the gateway is the tenant `default`, so it listens on loopback only."""
    key_pepper: SecretStr | None = None
    """What keys are digested with: at least 32 characters, the same in every replica."""
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Further names that the Host header may have, with commas between; `*`: any."""
    max_jobs: int | None = Field(default=None, ge=1)
    """Queued and running at a time."""
    max_images_per_job: int | None = Field(default=None, ge=1)
    max_images_per_day: int | None = Field(default=None, ge=1)
    max_device_s_per_day: float | None = Field(default=None, gt=0)
    max_bytes: int | None = Field(default=None, ge=1)
    """Outputs, images and imported models."""
    max_requests_per_minute: int | None = Field(default=None, ge=1)
    """Of each key."""

    device_hour_price: float | None = Field(default=None, ge=0)
    """What an hour of a device costs: estimates tell it."""

    # How a job lives.
    lease_s: float = Field(default=30, gt=0)
    heartbeat_s: float = Field(default=10, gt=0)
    reaper_s: float = Field(default=5, gt=0)
    stall_s: float = Field(default=120, gt=0)
    """A job whose work has not moved for so long loses its lease."""
    checkpoint_s: float = Field(default=5, gt=0)
    max_attempts: int = Field(default=3, ge=1)
    """Attempts that end by the job's own fault."""
    max_losses: int = Field(default=10, ge=1)
    """Attempts that end by the worker's: drain, crash, lost node."""
    artifact_ttl_s: float = Field(default=7 * 86400, gt=0)
    leftovers_s: float = Field(default=86400, gt=0)
    """After a job's end, before files that it wrote and did not publish are removed."""

    # Webhooks.
    webhook_secret: SecretStr | None = None
    """What signs webhooks is derived from it, at least 32 characters; left out: from `url_secret`."""
    webhook_loopback: bool = False
    """For development: webhooks may go to this machine, by http and to any port."""
    webhook_concurrency: int = Field(default=32, ge=1, le=1000)
    """Attempts that one dispatcher makes at a time."""
    webhook_poll_s: float = Field(default=1, gt=0)
    webhook_log_s: float = Field(default=30 * 86400, gt=0)
    """Deliveries are forgotten so long after their end."""

    # The worker.
    device: str = "auto"
    slots: int = Field(default=16, ge=1)
    """Jobs that one worker process holds at a time."""
    shard_slots: int = Field(default=2, ge=1)
    """Of those: how many may make shards of datasets; the others are kept free for whoever waits."""
    threads: int | None = Field(default=None, ge=1)
    """Cores that the engine uses; left out: those that torch chooses, as far as the container has them."""
    max_batch: int = Field(default=32, ge=1, le=1024)
    cuda_graphs: bool = False
    """Whether blocks that come again and again are recorded, and launched as a whole."""
    backend: str = "auto"
    """Where pictures are painted: one of `BACKENDS`, then exceptions: `auto,portraits=onnx`."""
    model_memory_bytes: int = Field(default=4096 * MiB, ge=1)
    """What loaded models may hold: those used longest ago leave, the last one used stays."""
    model_disk_bytes: int = Field(default=4096 * MiB, ge=1)
    """What the files of imported models may take in `work_dir`."""
    triton_address: str | None = None
    """`host:port` of a Triton server's gRPC."""
    loss_weights: Path | None = None
    """Folder with the weights of LPIPS and ArcFace, which do not come with the service."""
    landmark_model: Path | None = None
    """ONNX file of a YuNet face detector, for the alignment `ffhq` without landmarks."""
    preload: str = ""
    """Names of shipped models, separated by commas: loaded before the first job is taken."""

    # What operators see of every process.
    metrics_port: int = Field(default=0, ge=0, le=65535)
    """Metrics and health, apart from what callers reach; 0: no such port."""
    metrics_host: str = "127.0.0.1"
    liveness_s: float = Field(default=90, gt=0)
    """A process with a loop that has been silent for so long is not live."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "console"] = "auto"
    """auto: console on a terminal, else JSON."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.heartbeat_s > self.lease_s / 2:
            raise ValueError("heartbeat_s must be at most half of lease_s, or one late beat loses the lease")
        return self

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split(cls, hosts: Any) -> Any:
        if isinstance(hosts, str):
            return tuple(host.strip().lower() for host in hosts.split(",") if host.strip())
        return hosts

    @field_validator("backend")
    @classmethod
    def _backends(cls, text: str) -> str:
        for part in text.split(","):
            if (name := part.rpartition("=")[2].strip()) not in BACKENDS:
                raise ValueError(f"{name!r} is no backend: take one of {', '.join(BACKENDS)}")
        return text

    @field_validator("url_secret", "webhook_secret", "key_pepper")
    @classmethod
    def _long(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(secret.get_secret_value()) < 32:
            raise ValueError("a secret needs at least 32 characters")
        return secret

    @field_validator("broker_url")
    @classmethod
    def _redis(cls, url: str) -> str:
        if urlsplit(url).scheme not in ("redis", "rediss", "redis+socket", "unix"):
            raise ValueError("broker_url starts with redis://, rediss:// or redis+socket:///")
        return url

    @field_validator("public_url")
    @classmethod
    def _no_slash(cls, url: str) -> str:
        return url.rstrip("/")

    def backend_of(self, model: str) -> str:
        """What `backend` says of a model: by its name, or of all."""
        parts = [part.strip().rpartition("=") for part in self.backend.split(",")]
        said = {name.strip(): backend.strip() for name, _, backend in parts}
        return said.get(model, said.get("", "auto"))

    def secret(self) -> bytes:
        """The signing secret. Raises ValueError when there is none."""
        if self.url_secret is None:
            raise ValueError(f"{PREFIX}URL_SECRET is not set: it signs links and must be the same everywhere")
        return self.url_secret.get_secret_value().encode()

    def pepper(self) -> bytes:
        """What keys are digested with. Raises ValueError when there is none."""
        if self.key_pepper is None:
            raise ValueError(f"{PREFIX}KEY_PEPPER is not set: keys are digested with it")
        return self.key_pepper.get_secret_value().encode()

    def celery_broker_url(self) -> str:
        """The broker as Celery writes it: a unix socket is `redis+socket:///path?virtual_host=N`."""
        return _socket_url(self.broker_url, scheme="redis+socket", database="virtual_host")

    def redis_url(self) -> str:
        """The broker as redis-py writes it: a unix socket is `unix:///path?db=N`."""
        return _socket_url(self.broker_url, scheme="unix", database="db")


def _socket_url(url: str, *, scheme: str, database: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("redis+socket", "unix"):
        return url
    query = parse_qs(parts.query)
    number = (query.get("db") or query.get("virtual_host") or ["0"])[0]
    return f"{scheme}://{parts.path}?{database}={number}"


def refuse_unknown(environment: Mapping[str, str]) -> None:
    """Raises ValueError if a `GANSERVE_*` variable is no setting."""
    names = {PREFIX + name.upper() for name in Settings.model_fields} | set(CALLERS_OWN)
    for name in environment:
        if name.upper().startswith(PREFIX) and name.upper() not in names:
            close = difflib.get_close_matches(name.upper(), names, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise ValueError(f"{name} is not a setting{hint}")


def read_settings(**given: Any) -> Settings:
    """The environment's settings, with `given` ones in their place. Raises ValueError on any bad one."""
    refuse_unknown(os.environ)
    return Settings(**given)


@cache
def settings() -> Settings:
    """The settings of this process; tests call `settings.cache_clear()` after changing the environment."""
    return read_settings()
