"""Why a checkpoint was refused. There is one exception; its `code` is part of the HTTP contract.

| code | meaning |
|---|---|
| `unsupported_format` | not a checkpoint of a format that we read |
| `too_large` | the file, or what it declares, is over a limit |
| `truncated` | the file ends too early |
| `malformed` | broken pickle or stream |
| `bad_container` | a zip or safetensors file that contradicts itself |
| `unsafe_pickle` | the pickle asks for something outside the allow-list of its format |
| `bad_tensor` | a tensor that reaches outside its storage |
| `unsupported_dtype` | numbers of a type that no supported format uses |
| `non_finite` | NaN or infinity among the weights |
| `bad_config` | the configuration is impossible, or disagrees with the weights |
| `missing_keys`, `unexpected_keys`, `wrong_shapes` | the weights do not fit the architecture |
"""

from collections.abc import Iterable
from typing import Literal

Code = Literal[
    "unsupported_format",
    "too_large",
    "truncated",
    "malformed",
    "bad_container",
    "unsafe_pickle",
    "bad_tensor",
    "unsupported_dtype",
    "non_finite",
    "bad_config",
    "missing_keys",
    "unexpected_keys",
    "wrong_shapes",
]

NAMES_SHOWN = 20


class CheckpointError(ValueError):
    """A checkpoint that cannot be imported, with a stable `code`."""

    def __init__(self, code: Code, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def some_of(names: Iterable[str]) -> str:
    """At most 20 names, and how many more there are."""
    ordered = sorted(names)
    shown = ", ".join(ordered[:NAMES_SHOWN])
    more = len(ordered) - NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
