"""Configurations out of files, which may say anything, into configurations that can be built."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from generative.checkpoints.errors import CheckpointError, some_of
from generative.networks.stylegan2 import StyleGAN2Config

MAX_RESOLUTION = 4096
MAX_MAPPING_LAYERS = 64
MAX_WIDTH = 16384  # of latents, labels and layers

_ADAPTER = TypeAdapter(StyleGAN2Config)


def read_config(fields: Mapping[str, Any]) -> StyleGAN2Config:
    """Check names, types and sizes, so that building the network neither fails nor fills the memory.

    Raises:
        CheckpointError: `bad_config`.
    """
    known = {field.name for field in dataclasses.fields(StyleGAN2Config)}
    if unknown := set(fields) - known:
        raise CheckpointError("bad_config", f"unknown fields: {some_of(unknown)}")
    try:
        config = _ADAPTER.validate_python(dict(fields))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
        raise CheckpointError("bad_config", problems) from None
    _check_sizes(config)
    return config


def _check_sizes(config: StyleGAN2Config) -> None:
    widths = [config.z_dim, config.w_dim, config.img_channels, config.channel_max]
    widths += [channels for _, channels in config.channels or ()]
    possible = (
        config.img_resolution <= MAX_RESOLUTION
        and 1 <= config.mapping_layers <= MAX_MAPPING_LAYERS
        and all(1 <= width <= MAX_WIDTH for width in widths)
        and 0 <= config.c_dim <= MAX_WIDTH
        and config.img_resolution <= config.channel_base <= MAX_WIDTH * MAX_RESOLUTION
        and len(config.resample_filter) == 4  # what the padding of the networks is made for
        and all(0 <= tap <= 1000 for tap in config.resample_filter)
        and any(config.resample_filter)
        and 0 <= config.num_fp16_res <= 16
        and 0 <= config.w_avg_beta <= 1
        and 0 < config.mapping_lr_multiplier <= 1000
        and (config.conv_clamp is None or 0 < config.conv_clamp <= 1e9)
    )
    if not possible:
        raise CheckpointError("bad_config", "a size or factor in the configuration that no network has")
