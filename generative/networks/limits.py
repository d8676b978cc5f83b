"""What no network of the field exceeds: configurations come out of files, which may say anything.

Configurations call these in `__post_init__`, so that building a network neither fails nor fills the memory.
"""

MAX_RESOLUTION = 4096
MAX_WIDTH = 16384  # of latents, labels and layers
MAX_LAYERS = 64


def check_resolution(img_resolution: int) -> None:
    """Raises ValueError unless it is a power of two, at least 4 and at most 4096."""
    if not 4 <= img_resolution <= MAX_RESOLUTION or img_resolution & (img_resolution - 1):
        raise ValueError(
            f"resolution must be a power of two from 4 to {MAX_RESOLUTION}, got {img_resolution}"
        )


def check_widths(**widths: int) -> None:
    """Raises ValueError for one that is not from 1 to 16384."""
    for name, width in widths.items():
        if not 1 <= width <= MAX_WIDTH:
            raise ValueError(f"{name} must be from 1 to {MAX_WIDTH}, got {width}")


def check_layers(layers: int) -> None:
    """Raises ValueError unless it is from 1 to 64."""
    if not 1 <= layers <= MAX_LAYERS:
        raise ValueError(f"a network has 1 to {MAX_LAYERS} layers, got {layers}")
