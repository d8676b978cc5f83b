"""Configurations out of files, which may say anything, into configurations that can be built."""

import dataclasses
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from generative.checkpoints.errors import CheckpointError, some_of
from generative.families import NETWORKS

FIRST = "stylegan2"  # the network of files and cards from when there was one
Config = TypeVar("Config")


def read_config(config_type: type[Config], fields: Mapping[str, Any]) -> Config:
    """A configuration, a frozen dataclass, whose `__post_init__` refuses sizes that no network has.

    Raises:
        CheckpointError: `bad_config`.
    """
    known = {field.name for field in dataclasses.fields(config_type)}  # type: ignore[arg-type]
    if unknown := set(fields) - known:
        raise CheckpointError("bad_config", f"unknown fields: {some_of(str(name)[:100] for name in unknown)}")
    try:
        adapter: TypeAdapter[Config] = _adapter(config_type)  # type: ignore[arg-type]
        return adapter.validate_python(dict(fields))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
        raise CheckpointError("bad_config", problems) from None


def understand(described: Mapping[str, Any]) -> tuple[str, Any]:
    """The name of a network and its configuration, from what `generative.families.describe` made of them.

    Raises:
        CheckpointError: `unsupported_format` for a network that we do not know, `bad_config`.
    """
    fields = dict(described)
    name = fields.pop("network", FIRST)
    if not isinstance(name, str) or name not in NETWORKS:
        raise CheckpointError("unsupported_format", f"there is no network {str(name)[:100]!r}")
    return name, read_config(NETWORKS[name].config, fields)


@cache
def _adapter(config_type: type) -> TypeAdapter[Any]:
    return TypeAdapter(config_type)
