"""Files in a directory, handed out by the gateway through signed links that expire.

A file appears under its key complete or not at all: it is written beside it under another name, then linked
(which fails where something is) or moved into place.
"""

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

from jobs.blobs import CHUNK, check_key
from jobs.errors import BlobsUnavailable, Conflict, Forbidden, NotFound
from jobs.metrics import timed_blobs


class DirectoryBlobStore:
    def __init__(self, root: Path, public_url: str, secret: bytes) -> None:
        self.root = root
        self._public_url = public_url
        self._secret = secret

    def path(self, key: str) -> Path:
        """Where the object is. Raises NotFound."""
        path = self._place(key)
        if not path.is_file():
            raise NotFound(f"there is no object {key}")
        return path

    def _place(self, key: str) -> Path:
        return self.root / check_key(key)

    @timed_blobs("write")
    def write(self, key: str, data: bytes | Path, *, media_type: str, exclusive: bool = False) -> str:
        place = self._place(key)
        draft = place.parent / f".{secrets.token_hex(8)}"  # no key has such a name
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            sha256 = _copy(data, draft)
            if exclusive:
                _link(draft, place, sha256)
            else:
                os.replace(draft, place)
        except OSError as error:
            raise BlobsUnavailable(f"{key} could not be written: {error.strerror}") from error
        finally:
            draft.unlink(missing_ok=True)
        return sha256

    @timed_blobs("read")
    def read(self, key: str) -> bytes:
        return self.path(key).read_bytes()

    @timed_blobs("stream")
    def stream(self, key: str) -> Iterator[bytes]:
        return _pieces(self.path(key))

    def exists(self, key: str) -> bool:
        return self._place(key).is_file()

    @timed_blobs("size")
    def size(self, key: str) -> int:
        return self.path(key).stat().st_size

    @timed_blobs("list")
    def list(self, prefix: str) -> Iterator[str]:
        folder = self.root / check_key(prefix.rstrip("/"))
        for parent, _, names in os.walk(folder):
            for name in names:
                if not name.startswith("."):
                    yield (Path(parent) / name).relative_to(self.root).as_posix()

    @timed_blobs("delete")
    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            place = self._place(key)
            place.unlink(missing_ok=True)
            self._prune(place.parent)

    def _prune(self, folder: Path) -> None:
        """Remove folders that have become empty."""
        while folder != self.root:
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent

    def url(self, key: str, *, filename: str, media_type: str, ttl_s: int) -> tuple[str, float]:
        expires = int(time.time()) + ttl_s
        signature = self._sign(check_key(key), expires, filename, media_type)
        query = urlencode(
            {"expires": expires, "filename": filename, "type": media_type, "signature": signature}
        )
        return f"{self._public_url}/v1/blobs/{quote(key)}?{query}", float(expires)

    def verify(self, key: str, *, expires: int, filename: str, media_type: str, signature: str) -> None:
        """Raises Forbidden unless `url` made this link and it has not ended."""
        expected = self._sign(key, expires, filename, media_type)
        if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace")):
            raise Forbidden("the link is not one of ours", code="bad_signature")
        if expires < time.time():
            raise Forbidden("the link has ended; read the job again for a new one", code="link_expired")

    def _sign(self, key: str, expires: int, filename: str, media_type: str) -> str:
        # Lengths keep one field from running into the next.
        fields = [key, str(expires), filename, media_type]
        message = "".join(f"{len(field)}:{field}" for field in fields).encode("utf-8", "replace")
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()

    def ping(self) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BlobsUnavailable(f"the folder of files: {error.strerror}") from error
        if not os.access(self.root, os.W_OK):
            raise BlobsUnavailable("the folder of files cannot be written")


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            yield piece


def _copy(data: bytes | Path, draft: Path) -> str:
    """Write and flush a new file; returns its sha256."""
    digest = hashlib.sha256()
    with draft.open("xb") as file:
        for piece in _pieces(data) if isinstance(data, Path) else [data]:
            digest.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())  # a published row must not name a file that a power cut emptied
    return digest.hexdigest()


def _link(draft: Path, place: Path, sha256: str) -> None:
    try:
        os.link(draft, place)
    except FileExistsError:
        there = hashlib.sha256()
        for piece in _pieces(place):
            there.update(piece)
        if there.hexdigest() != sha256:
            raise Conflict(f"{place.name} is written already", code="blob_exists") from None
