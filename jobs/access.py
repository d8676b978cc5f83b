"""API keys: what one looks like, what it may do, and what is kept of it.

    sgk_<environment>_<id>_<secret>        for example sgk_live_3fKq9ZtW2bXa_… (43 more characters)

The secret is 32 random bytes in base62. It is shown once; the database keeps HMAC-SHA256(pepper, key), which
is enough: a secret of 256 random bits cannot be searched for, so nothing slow is needed. `sgk_` makes a key
that was published by accident findable.
"""

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

ID_LENGTH = 12
SECRET_BYTES = 32
SECRET_LENGTH = 43  # digits of base 62 for 256 bits
MIN_PEPPER = 32  # characters

_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_KEY = re.compile(rf"sgk_([a-z0-9]{{1,16}})_([0-9A-Za-z]{{{ID_LENGTH}}})_([0-9A-Za-z]{{{SECRET_LENGTH}}})")


class Scope(StrEnum):
    """What a key may do, within its tenant."""

    JOBS_READ = "jobs:read"  # jobs, images, models, usage
    JOBS_WRITE = "jobs:write"  # submit, cancel, retry, delete; upload images
    MODELS_ADMIN = "models:admin"  # import models
    ADMIN = "admin"  # everything, and what belongs to the tenant as a whole


ALL_SCOPES = frozenset(Scope)


def granted(scopes: Iterable[str]) -> frozenset[Scope]:
    """What `scopes` amount to: `admin` is all of them."""
    given = frozenset(map(Scope, scopes))
    return ALL_SCOPES if Scope.ADMIN in given else given


class Key(NamedTuple):
    environment: str
    id: str
    secret: str

    @property
    def text(self) -> str:
        return f"sgk_{self.environment}_{self.id}_{self.secret}"


def new_key(environment: str) -> Key:
    """Raises ValueError for an environment that is not 1 to 16 small letters and digits."""
    number = int.from_bytes(secrets.token_bytes(SECRET_BYTES))
    key = Key(environment, "".join(secrets.choice(_DIGITS) for _ in range(ID_LENGTH)), _base62(number))
    if read_key(key.text) is None:
        raise ValueError("an environment is 1 to 16 small letters and digits, such as live or test")
    return key


def read_key(text: str) -> Key | None:
    """The parts of a key; None for what cannot be one."""
    found = _KEY.fullmatch(text)
    return Key(*found.groups()) if found else None


def digest(pepper: bytes, key: Key) -> str:
    """What the database keeps of a key, in hex."""
    return hmac.digest(pepper, key.text.encode(), hashlib.sha256).hex()


def matches(pepper: bytes, key: Key, kept: str) -> bool:
    """Whether `kept` is the digest of `key`, in a time that tells nothing."""
    return hmac.compare_digest(digest(pepper, key), kept)


def _base62(number: int) -> str:
    digits = []
    for _ in range(SECRET_LENGTH):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
