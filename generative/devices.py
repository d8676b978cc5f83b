"""Which device to compute on."""

import torch


def pick(name: str) -> str:
    """`auto` is cuda where there is one, else cpu; any other name is itself."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name
