"""Where a list goes on: a signed note of the last row seen, bound to list, tenant and filters for 24 h.

Signed (HMAC-SHA256), so that whatever comes back is either one that we gave for this very query or refused.
"""

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from api.problems import HttpProblem

LIFE_S = 24 * 3600
MAX_LENGTH = 512
_TAG = 16  # bytes of the signature that are kept


class Listed(Protocol):
    """A row of a list that is ordered by time."""

    @property
    def created_at(self) -> float: ...

    @property
    def id(self) -> str: ...


class Cursors:
    """Makes and reads cursors with one secret; `clock` gives epoch seconds."""

    def __init__(self, secret: bytes, clock: Callable[[], float] = time.time) -> None:
        self._secret, self._clock = secret, clock

    def make(self, scope: dict[str, Any], row: tuple[float, str]) -> str:
        """A cursor that goes on after `row` (created_at, id) of the query that `scope` describes."""
        note = json.dumps([int(self._clock()), *row], separators=(",", ":")).encode()
        return _encode(self._sign(scope, note) + note)

    def following(self, scope: dict[str, Any], rows: Sequence[Listed], limit: int) -> str | None:
        """The cursor behind a page of `limit` rows; None where no row was found beyond it."""
        if len(rows) <= limit:
            return None
        last = rows[limit - 1]
        return self.make(scope, (last.created_at, last.id))

    def read(self, scope: dict[str, Any], cursor: str) -> tuple[float, str]:
        """The row in `cursor`. Raises 400 `bad_cursor` unless it was made for this `scope`, lately."""
        if len(cursor) > MAX_LENGTH:
            raise _bad()
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise _bad() from None
        tag, note = raw[:_TAG], raw[_TAG:]
        # Base64 has several spellings of the same bytes; only ours is a cursor.
        if _encode(raw) != cursor or not hmac.compare_digest(tag, self._sign(scope, note)):
            raise _bad()
        made_at, created_at, job_id = json.loads(note)
        if self._clock() - made_at > LIFE_S:
            raise HttpProblem("bad_cursor", "The cursor is older than 24 h; start again from the first page.")
        return created_at, job_id

    def _sign(self, scope: dict[str, Any], note: bytes) -> bytes:
        bound = json.dumps(scope, sort_keys=True).encode()
        message = b"cursor\0" + len(bound).to_bytes(8, "big") + bound + note
        return hmac.digest(self._secret, message, hashlib.sha256)[:_TAG]


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _bad() -> HttpProblem:
    return HttpProblem("bad_cursor", "The cursor is not one that this list gave for these filters.")
