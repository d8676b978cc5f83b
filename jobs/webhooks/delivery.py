"""One attempt to deliver: a POST to an address that was checked, bounded in time and in bytes.

Plain asyncio, TLS and h11, not an HTTP client library: the connection goes to an IP address that has just
been checked, with the name in SNI and Host only, and there is nothing to switch off (redirects, proxies and
credentials of the environment, cookies, retries, decompression). From resolving to the last byte an attempt
takes at most `TOTAL_S`; at most `MAX_READ` bytes of the answer are read, and none of them is kept.
"""

import asyncio
import contextlib
import email.utils
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from enum import StrEnum

import h11

from jobs.errors import BadWebhook, ForbiddenAddress, UnresolvedHost
from jobs.webhooks.addresses import Address
from jobs.webhooks.target import Rules, Target

TOTAL_S = 10.0
CONNECT_S = 4.0  # one address; a host may have several
MAX_ADDRESSES = 4  # that are tried
BODY_S = 1.0  # for the rest of an answer, once its status is known
MAX_READ = 64 * 1024
MAX_HEAD = 32 * 1024
_CHUNK = 8 * 1024

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[..., Awaitable[Streams]]
"""`asyncio.open_connection(host, port, ssl=, server_hostname=)`."""


class Outcome(StrEnum):
    """How an attempt ended; every value but the first is the error code of the delivery log."""

    SUCCEEDED = "succeeded"  # 2xx
    REFUSED = "status"  # any other status
    GONE = "gone"  # 410: the receiver wants no more
    REDIRECT = "redirect"  # 3xx: never followed
    FORBIDDEN = "forbidden_address"  # the host leads to an address that is not public
    BAD_WEBHOOK = "bad_webhook"  # the URL is not allowed any more: the rules have changed
    DNS = "dns"  # the host has no address
    CONNECTION = "connection"  # refused, unreachable or cut
    TLS = "tls"  # certificate or handshake
    TIMEOUT = "timeout"
    BAD_ANSWER = "bad_answer"  # not HTTP, or a head of more than 32 KiB
    DELETED = "deleted"  # not sent: the job or the output is no longer there
    DISABLED = "disabled"  # not sent: the endpoint was disabled in the meantime
    LOST = "lost"  # not sent: dispatchers died of it, as often as it may be tried
    INTERNAL = "internal_error"  # ours

    @property
    def sent(self) -> bool:
        """Something was tried that tells of the receiver."""
        return self not in (Outcome.DELETED, Outcome.DISABLED, Outcome.LOST, Outcome.INTERNAL)

    @property
    def final(self) -> bool:
        """Trying again cannot help."""
        return self in (
            Outcome.SUCCEEDED,
            Outcome.GONE,
            Outcome.DELETED,
            Outcome.DISABLED,
            Outcome.LOST,
        )


@dataclass(frozen=True)
class Answer:
    outcome: Outcome
    status: int | None = None
    retry_after_s: float | None = None
    duration_ms: int = field(default=0, compare=False)


def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # whatever the machine's OpenSSL would still speak
    return context


class Courier:
    """Makes attempts, any number at a time. `threads` wait for the resolver."""

    def __init__(
        self,
        rules: Rules,
        threads: Executor,
        *,
        tls: ssl.SSLContext | None = None,
        connect: Connect = asyncio.open_connection,
        total_s: float = TOTAL_S,
    ) -> None:
        self._rules, self._threads, self._connect, self._total_s = rules, threads, connect, total_s
        self._tls = tls or _tls()

    async def deliver(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """POST `body` to `url`. Raises nothing that the receiver could cause."""
        began = time.monotonic()
        answer = await self._bounded(url, headers, body)
        return replace(answer, duration_ms=round(1000 * (time.monotonic() - began)))

    async def _bounded(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        try:
            async with asyncio.timeout(self._total_s):
                return await self._attempt(url, headers, body)
        except TimeoutError:
            return Answer(Outcome.TIMEOUT)
        except UnresolvedHost:
            return Answer(Outcome.DNS)
        except ForbiddenAddress:
            return Answer(Outcome.FORBIDDEN)
        except BadWebhook:
            return Answer(Outcome.BAD_WEBHOOK)
        except ssl.SSLError:
            return Answer(Outcome.TLS)
        except OSError:
            return Answer(Outcome.CONNECTION)
        except h11.RemoteProtocolError:
            return Answer(Outcome.BAD_ANSWER)

    async def _attempt(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        target = self._rules.target(url)
        loop = asyncio.get_running_loop()
        addresses = await loop.run_in_executor(self._threads, self._rules.addresses, target)
        reader, writer = await self._open(target, addresses)
        try:
            return await _exchange(reader, writer, target, headers, body)
        finally:
            writer.transport.abort()

    async def _open(self, target: Target, addresses: tuple[Address, ...]) -> Streams:
        """A connection to the first of `addresses` that takes one."""
        secure = {"ssl": self._tls, "server_hostname": target.host} if target.scheme == "https" else {}
        failure: OSError = ConnectionError("no address")
        for address in addresses[:MAX_ADDRESSES]:
            try:
                async with asyncio.timeout(CONNECT_S):
                    return await self._connect(str(address), target.port, **secure)
            except ssl.SSLError:
                raise
            except OSError as error:  # TimeoutError is one
                failure = error
        raise failure


async def _exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    target: Target,
    headers: Mapping[str, str],
    body: bytes,
) -> Answer:
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
    fixed = {"Host": target.authority, "Content-Length": str(len(body)), "Connection": "close"}
    head = h11.Request(method="POST", target=target.path, headers=list((fixed | dict(headers)).items()))
    for event in (head, h11.Data(data=body), h11.EndOfMessage()):
        writer.write(http.send(event) or b"")
    with contextlib.suppress(ConnectionError):  # it may have answered before it read everything
        await writer.drain()
    incoming = _Incoming(http, reader)
    while isinstance(answer := await incoming.next(), h11.InformationalResponse):
        pass
    if not isinstance(answer, h11.Response):
        raise h11.RemoteProtocolError("closed without an answer")
    with contextlib.suppress(TimeoutError, OSError, h11.RemoteProtocolError):
        async with asyncio.timeout(BODY_S):  # the status has told; the rest is politeness
            while isinstance(await incoming.next(), h11.Data):
                pass
    return Answer(_outcome(answer.status_code), answer.status_code, _retry_after_s(answer))


class _Incoming:
    """The events of an answer, from at most `MAX_READ` bytes."""

    def __init__(self, http: h11.Connection, reader: asyncio.StreamReader) -> None:
        self._http, self._reader, self._left = http, reader, MAX_READ

    async def next(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if not self._left:
                raise h11.RemoteProtocolError("the answer is too long")
            received = await self._reader.read(min(_CHUNK, self._left))
            self._left -= len(received)
            self._http.receive_data(received)
        return event


def _outcome(status: int) -> Outcome:
    if 200 <= status < 300:
        return Outcome.SUCCEEDED
    if status == 410:
        return Outcome.GONE
    return Outcome.REDIRECT if 300 <= status < 400 else Outcome.REFUSED


def _retry_after_s(answer: h11.Response) -> float | None:
    """The `Retry-After` of a 429 or 503: seconds, or a date. None when there is none that can be read."""
    if answer.status_code not in (429, 503):
        return None
    text = next((value for name, value in answer.headers if name == b"retry-after"), b"").decode("latin-1")
    if text.isascii() and text.isdigit():
        return float(text[:9])
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    return None
