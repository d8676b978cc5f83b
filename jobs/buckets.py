"""Tenants' own buckets, which datasets can be written to, as the operator names them in a TOML file:

[acme]
tenants = ["acme"]
bucket = "acme-training"
prefix = "faces"
endpoint = "https://s3.acme.example"
region = "eu-central-1"
access_key_file = "/run/secrets/acme/access_key"
secret_key_file = "/run/secrets/acme/secret_key"
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from jobs.cards import did_you_mean
from jobs.errors import UnknownBucket
from jobs.words import KEY, Name


class Bucket(BaseModel):
    """An entry of the file. Without files of keys, boto3 looks for credentials in its usual places."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenants: Annotated[tuple[str, ...], Field(min_length=1)]
    """Who may write there."""
    bucket: Annotated[str, Field(min_length=3, max_length=63)]
    prefix: Annotated[str, Field(pattern=rf"^({KEY})?$")] = ""
    endpoint: str | None = None
    public_endpoint: str | None = None
    region: str = "us-east-1"
    access_key_file: Path | None = None
    secret_key_file: Path | None = None

    @model_validator(mode="after")
    def _both_keys(self) -> "Bucket":
        if (self.access_key_file is None) != (self.secret_key_file is None):
            raise ValueError("give access_key_file and secret_key_file, or neither")
        return self


Buckets = Mapping[str, Bucket]
_file: TypeAdapter[dict[Name, Bucket]] = TypeAdapter(dict[Name, Bucket])


def read_buckets(path: Path | None) -> Buckets:
    """By name; none without a file. Raises ValueError that says what is wrong with the file."""
    if path is None:
        return {}
    try:
        return _file.validate_python(tomllib.loads(path.read_text()))
    except (OSError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise ValueError(f"the file of buckets, {path}: {error}") from error


def names_of(buckets: Buckets, tenant: str) -> list[str]:
    """Those that the tenant may use."""
    return sorted(name for name, bucket in buckets.items() if tenant in bucket.tenants)


def refuse_unknown(buckets: Buckets, tenant: str, name: str) -> None:
    """Raises UnknownBucket for one that is not there, or not the tenant's."""
    known = names_of(buckets, tenant)
    if name not in known:
        hint = did_you_mean(name, known)
        raise UnknownBucket(f"You have no bucket {name!r}.{hint} GET /v1/usage lists yours.")
