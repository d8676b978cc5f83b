"""Names of things: a prefix that says what it is, then a ULID or a content hash."""

from ulid import ULID


def new_job_id() -> str:
    """`job_` + ULID. Ids sort roughly by time, but only (created_at, id) is an order."""
    return f"job_{ULID()}"


def image_id(sha256: str) -> str:
    """`img_` + sha256 of the stored picture: the same picture is the same image."""
    return f"img_{sha256}"


def new_webhook_id() -> str:
    return f"whk_{ULID()}"


def new_delivery_id() -> str:
    return f"dlv_{ULID()}"


def new_event_id() -> str:
    """What a receiver tells repetitions by."""
    return f"evt_{ULID()}"
