"""Receivers for tests: real servers on loopback, scripted down to the byte, and the certificates they show.

Deliveries are made to public names; `Net` is the resolver and the network in between, which leads connections
to "public" addresses to a server of the test, and keeps which addresses were connected to.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import trustme

from jobs.webhooks.delivery import Answer, Courier
from jobs.webhooks.target import Rules

PUBLIC = "93.184.216.34"
HOST = "hooks.example"
URL = f"https://{HOST}/x"
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Request:
    line: str
    headers: dict[str, str]
    body: bytes


async def read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:-2])
    given = dict(line.split(": ", 1) for line in head[1:-2])
    body = await reader.readexactly(int(headers["content-length"]))
    return Request(head[0], {name.lower(): value for name, value in given.items()}, body)


@dataclass
class Receiver:
    """Answers each request with the next of `answers` (raw bytes, or a script), the last for ever."""

    answers: Sequence[bytes | Script] = (b"HTTP/1.1 204 No Content\r\n\r\n",)
    requests: list[Request] = field(default_factory=list)
    port: int = 0

    @contextlib.asynccontextmanager
    async def serving(self, tls: ssl.SSLContext | None = None) -> AsyncIterator["Receiver"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            self.requests.append(await read_request(reader))
            answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(reader, writer)
        writer.close()


def status(code: int, **headers: str) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {code} X\r\n{lines}content-length: 0\r\n\r\n".encode()


async def headers_for_ever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A byte now and then: each keeps a naive timeout from running out."""
    writer.write(b"HTTP/1.1 200 OK\r\nx-endless: ")
    while True:
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.02)


async def many_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As fast as it goes, without end."""
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"x-more: " + b"a" * 1000 + b"\r\n")
        await writer.drain()


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


def body_of(size: int, count: Callable[[int], None]) -> Script:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n".encode())
        piece, sent = bytes(64 * 1024), 0
        while sent < size:
            writer.write(piece)
            await writer.drain()
            sent += len(piece)
            count(sent)

    return answer


@dataclass
class Net:
    """Names, and the ports of this machine behind public addresses."""

    names: dict[str, Sequence[str]] = field(default_factory=lambda: {HOST: [PUBLIC]})
    ports: dict[str, int] = field(default_factory=dict)
    resolved: list[str] = field(default_factory=list)
    connected: list[str] = field(default_factory=list)

    def resolve(self, host: str, port: int) -> Sequence[str]:
        self.resolved.append(host)
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return self.names[host]

    async def connect(
        self, host: str, port: int, **tls: object
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.connected.append(host)
        if host not in self.ports:
            raise ConnectionRefusedError
        return await asyncio.open_connection("127.0.0.1", self.ports[host], **tls)  # type: ignore[arg-type]

    def rules(self) -> Rules:
        return Rules("https://api.gans.example", resolve=self.resolve)


@dataclass
class Authority:
    """A certificate authority that the courier trusts."""

    ca: trustme.CA = field(default_factory=trustme.CA)

    def client(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.ca.configure_trust(context)
        return context

    def server(self, *names: str, expired: bool = False) -> ssl.SSLContext:
        end = datetime.now(UTC) - timedelta(days=1) if expired else None
        return _serving(self.ca.issue_cert(*names, not_after=end))


def self_signed(*names: str) -> ssl.SSLContext:
    """Of an authority that nobody knows."""
    return _serving(trustme.CA().issue_cert(*names))


def _serving(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@contextlib.contextmanager
def courier(net: Net, tls: ssl.SSLContext | None = None, *, total_s: float = 10.0) -> Iterator[Courier]:
    with ThreadPoolExecutor(2) as threads:
        yield Courier(net.rules(), threads, tls=tls, connect=net.connect, total_s=total_s)


async def deliver(net: Net, tls: ssl.SSLContext, url: str = URL, *, total_s: float = 10.0) -> Answer:
    with courier(net, tls, total_s=total_s) as one:
        return await one.deliver(url, {"webhook-id": "evt_1"}, b'{"a": 1}')
