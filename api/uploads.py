"""A file that a caller sends, raw or as multipart/form-data, streamed to a temporary file of ours.

Nothing is kept in memory but one chunk, and no name that the caller gives ever becomes a path. A multipart
body has one part with a file, called `file`, and a few short fields.
"""

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool

from api.body import chunks, media_type
from api.problems import HttpProblem, invalid
from jobs.errors import BadCheckpoint, BlobsUnavailable

F = TypeVar("F", bound=BaseModel)

MAX_FIELDS = 8
MAX_FIELD_BYTES = 4096
FLUSH_BYTES = 1024 * 1024
OCTETS = "application/octet-stream"
UNSAID = ("", OCTETS, "application/zip", "application/x-zip-compressed")
OVERHEAD_BYTES = 64 * 1024  # what multipart may add to the file itself


@dataclass
class Upload:
    path: Path  # gone when the request ends
    media_type: str  # as the caller says: lower case, "" if not said
    sha256: str = ""
    size: int = 0
    fields: dict[str, str] = field(default_factory=dict)


@contextlib.asynccontextmanager
async def received(request: Request, *, limit: int, folder: Path) -> AsyncIterator[Upload]:
    """The file in the body of `request`, at most `limit` bytes. Raises 400, 408, 413 and 415 problems."""
    sink = await run_in_threadpool(Sink, folder, limit)
    try:
        kind, parameters = media_type(request)
        if kind == "multipart/form-data":
            form = Form(parameters.get("boundary", ""), sink)
            await _fill(request, form, sink, limit + OVERHEAD_BYTES)
            yield await run_in_threadpool(sink.close, form.file_type, form.finished())
        else:
            await _fill(request, sink, sink, limit)
            yield await run_in_threadpool(sink.close, kind, {})
    finally:
        await run_in_threadpool(sink.remove)


def only_fields(upload: Upload, *known: str) -> dict[str, str]:
    """The form's fields. Raises 422 if there is another than `known`."""
    unknown = [
        {"loc": ("body", name), "msg": "this form takes no such field", "type": "extra_forbidden"}
        for name in upload.fields
        if name not in known
    ]
    if unknown:
        raise invalid(unknown)
    return upload.fields


def check_hash(upload: Upload, declared: str | None) -> None:
    """Raises 422 `hash_mismatch` if the caller said what the file's sha256 is, and it is not."""
    if declared is not None and declared != upload.sha256:
        raise HttpProblem("hash_mismatch", f"The sha256 of the file that arrived is {upload.sha256}.")


def form_of(form: type[F], in_query: Mapping[str, str | None], upload: Upload) -> F:
    """What goes with a file, by the query or, which wins, by fields of the form. Raises 422."""
    given = {name: value for name, value in in_query.items() if value is not None} | upload.fields
    try:
        return form.model_validate(given)
    except ValidationError as error:
        raise invalid(error.errors(include_input=False)) from None


def refuse_unlike(upload: Upload, start: re.Pattern[bytes], what: str, kinds: str) -> None:
    """Raises 415 or BadCheckpoint for a file that says that it is something else, is empty, or begins
    otherwise. what: its name in messages; kinds: the files that may be sent.
    """
    if upload.media_type not in UNSAID:
        raise HttpProblem("unsupported_media_type", f"Send the {what} as {OCTETS}.")
    if upload.size == 0:
        raise BadCheckpoint("The file is empty.")
    with upload.path.open("rb") as file:
        head = file.read(16)
    if not start.match(head):
        raise HttpProblem("unsupported_media_type", f"This is no {kinds} file.")


async def _fill(request: Request, target: "Form | Sink", sink: "Sink", limit: int) -> None:
    async for chunk in chunks(request, limit):
        target.write(chunk)
        if sink.pending >= FLUSH_BYTES:
            await run_in_threadpool(sink.flush)


class Sink:
    """Bytes on their way to a temporary file; `flush` and `close` touch the disk, `write` does not."""

    def __init__(self, folder: Path, limit: int) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=folder, prefix="upload-")
        except OSError as error:
            raise BlobsUnavailable("There is no room for uploads at the moment.") from error
        self.path, self._file = Path(name), os.fdopen(handle, "wb")
        self._limit, self._hash, self._chunks = limit, hashlib.sha256(), list[bytes]()
        self.size = self.pending = 0

    def write(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self.pending += len(chunk)
        if self.size > self._limit:
            raise HttpProblem("payload_too_large", f"The file is larger than {self._limit} bytes.")
        self._chunks.append(chunk)

    def flush(self) -> None:
        data = b"".join(self._chunks)
        self._chunks, self.pending = [], 0
        self._hash.update(data)
        try:
            self._file.write(data)
        except OSError as error:
            raise BlobsUnavailable("There is no room for uploads at the moment.") from error

    def close(self, kind: str, fields: dict[str, str]) -> Upload:
        self.flush()
        try:
            self._file.close()
        except OSError as error:
            raise BlobsUnavailable("There is no room for uploads at the moment.") from error
        return Upload(self.path, kind, self._hash.hexdigest(), self.size, fields)

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        self.path.unlink(missing_ok=True)


class Form:
    """The parts of a multipart/form-data body: `file` goes to the sink, the rest to `fields`."""

    def __init__(self, boundary: str, sink: Sink) -> None:
        if not boundary:
            raise HttpProblem("malformed_request", "The Content-Type has no multipart boundary.")
        self.file_type = ""
        self._sink, self._fields, self._parts, self._ended = sink, dict[str, bytearray](), 0, False
        self._name, self._has_file = "", False
        self._header, self._headers = (bytearray(), bytearray()), dict[bytes, bytes]()
        callbacks: Any = {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._keep_header,
            "on_headers_finished": self._name_part,
            "on_part_data": self._take,
            "on_end": self._end,
        }
        try:
            self._parser = MultipartParser(boundary.encode("latin-1"), callbacks)
        except FormParserError:
            raise HttpProblem("malformed_request", "The multipart boundary is too long.") from None

    def write(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise HttpProblem("malformed_request", "The body is not well-formed multipart.") from None

    def finished(self) -> dict[str, str]:
        """The fields. Raises 400 unless the body came to its end and had a file."""
        if not self._ended:
            raise HttpProblem("malformed_request", "The multipart body breaks off.")
        if not self._has_file:
            raise HttpProblem("malformed_request", "The multipart body has no part called 'file'.")
        try:
            return {name: value.decode() for name, value in self._fields.items()}
        except UnicodeDecodeError:
            raise HttpProblem("malformed_request", "A field is not UTF-8.") from None

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_FIELDS + 1:
            raise HttpProblem("payload_too_large", f"At most {MAX_FIELDS} fields beside the file.")
        self._headers = {}

    def _keep_header(self) -> None:
        name, value = self._header
        self._headers[bytes(name).lower()] = bytes(value)
        self._header = (bytearray(), bytearray())

    def _name_part(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        self._name = options.get(b"name", b"").decode("latin-1")
        if not self._name or self._name in self._fields or (self._name == "file" and self._has_file):
            raise HttpProblem("malformed_request", "A part has no name, or the name of another part.")
        if self._name == "file":
            self._has_file = True
            kind, _ = parse_options_header(self._headers.get(b"content-type"))
            self.file_type = kind.decode("latin-1")
        else:
            self._fields[self._name] = bytearray()

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._name == "file":
            self._sink.write(data[start:end])
            return
        value = self._fields[self._name]
        value.extend(data[start:end])
        if len(value) > MAX_FIELD_BYTES:
            raise HttpProblem("payload_too_large", f"A field is longer than {MAX_FIELD_BYTES} bytes.")

    def _end(self) -> None:
        self._ended = True
