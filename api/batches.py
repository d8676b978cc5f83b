"""From a caller's JSONL to a recorded batch: every line is parsed and checked before any is recorded."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Request
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from api.body import chunks, media_type, parse_json
from api.problems import MAX_ERRORS, HttpProblem, invalid, problem
from api.submission import Desk
from jobs.batches import MAX_LINES, BatchInput
from jobs.cards import Card
from jobs.catalog import Catalog
from jobs.errors import BadRequest, Conflict, LimitExceeded
from jobs.fit import pictures
from jobs.schemas import BatchRequest, EditRequest, GenerateRequest, InvertRequest, JobRequest, Kind
from jobs.store import JobRow
from jobs.words import Strict, printable

TYPES = ("application/jsonl", "application/x-ndjson", "application/octet-stream")
AT_ONCE = 500  # lines of one transaction
MIXED = "mixed"  # in place of the model's name where lines name several
CustomId = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(printable)]
Body = Annotated[GenerateRequest | InvertRequest | EditRequest, Field(discriminator="kind")]


class Line(Strict):
    """One job of a batch. `custom_id` is what its results are known by."""

    custom_id: CustomId
    body: Body


_line: TypeAdapter[Line] = TypeAdapter(Line)


async def jsonl_body(request: Request) -> bytes:
    """Dependency: the bytes of a JSONL body."""
    if media_type(request)[0] not in TYPES:
        raise HttpProblem("unsupported_media_type", f"Send {TYPES[0]}: a JSON object in each line.")
    limit: int = request.app.state.settings.max_batch_bytes
    return b"".join([chunk async for chunk in chunks(request, limit)])


class RememberedCards(Catalog):
    """The cards as they are now, each read once."""

    def __init__(self, catalog: Catalog) -> None:
        self._from, self._cards = catalog, dict[str, Card]()

    def get(self, tenant: str, name: str) -> Card:
        if name not in self._cards:
            self._cards[name] = self._from.get(tenant, name)
        return self._cards[name]


@dataclass(frozen=True)
class BatchDesk:
    """Where batches are handed in. Its methods block."""

    desk: Desk

    def submit(self, tenant: str, raw: bytes, key: str | None) -> tuple[JobRow, bool]:
        """The batch in `raw` and True; or, for a key used with the same file, that batch and False."""
        requests = self._requests(tenant, raw)
        models = {request.model for request in requests}
        batch = BatchRequest(
            kind=Kind.BATCH,
            model=models.pop() if len(models) == 1 else MIXED,
            input=BatchInput(lines=len(requests), pictures=sum(map(pictures, requests))),
        )
        desk = replace(self.desk, catalog=RememberedCards(self.desk.catalog))
        asked, body_hash = desk.asked(tenant, requests), hashlib.sha256(raw).hexdigest()
        row, created = desk.record(tenant, batch, key, body_hash=body_hash, asked=asked)
        store = desk.store
        if created:
            for first in range(0, len(requests), AT_ONCE):
                store.add_lines(tenant, row.id, first, requests[first : first + AT_ONCE])
            store.tend(tenant, row.id)
        return store.get(tenant, row.id), created

    def _requests(self, tenant: str, raw: bytes) -> list[JobRequest]:
        """Raises a 422 problem that names the lines which cannot be taken."""
        desk = replace(self.desk, catalog=RememberedCards(self.desk.catalog))
        requests, errors, seen = [], [], set[str]()
        for number, text in _lines(raw):
            if number > MAX_LINES:
                raise LimitExceeded(f"A batch has at most {MAX_LINES} lines.")
            try:
                requests.append(_checked(desk, tenant, text, seen))
            except (HttpProblem, BadRequest, Conflict) as error:
                errors.append({"loc": (f"line {number}",), "msg": problem(error).detail, "type": "line"})
                if len(errors) == MAX_ERRORS:
                    break
        if errors:
            raise invalid(errors)
        if not requests:
            raise HttpProblem("invalid_request", "The batch is empty: send a JSON object in each line.")
        return requests


def _lines(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """(number from 1, text); empty lines are no lines."""
    kept = (text for text in raw.split(b"\n") if text.strip())
    yield from enumerate(kept, 1)


def _checked(desk: Desk, tenant: str, text: bytes, seen: set[str]) -> JobRequest:
    parse_json(text)
    try:
        line = _line.validate_json(text)
    except ValidationError as error:
        raise invalid(error.errors(include_input=False)) from None
    if line.custom_id in seen:
        raise BadRequest(f"custom_id {line.custom_id[:40]!r} is there twice")
    seen.add(line.custom_id)
    if line.body.webhook is not None:
        raise BadRequest("a line has no webhook of its own: the batch tells of its end")
    told = line.body.metadata | {"custom_id": line.custom_id}
    return desk.checked(tenant, line.body.model_copy(update={"metadata": told}))
