"""A relay on loopback in front of a server, which can be told to be a bad network or a bad server.

`pass`: what a network should do. `stall`: connections are taken and stay silent, until the mode changes.
`reset`: connections break. `error`: every request gets 503. A new mode breaks the connections of the old
one, so that no request of before is answered after.
"""

import contextlib
import socket
import struct
import threading
from typing import Literal, Self
from urllib.parse import urlsplit

Mode = Literal["pass", "stall", "reset", "error"]
BUSY = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
PIECE = 65536


class FaultProxy:
    """Relays to the HTTP address `target` from `url`, between `__enter__` and `__exit__`."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._turn = threading.Lock()
        self._mode: Mode = "pass"
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests_refused = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.set("pass")

    def set(self, mode: Mode) -> None:
        with self._turn:
            self._mode, broken, self._open = mode, self._open, set()
        for connection in broken:
            _break(connection)

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:  # closed
                return
            with self._turn:
                mode = self._mode
                self._open.add(caller)
            if mode != "pass":
                self.requests_refused += 1
            match mode:
                case "pass":
                    threading.Thread(target=self._relay, args=(caller,), daemon=True).start()
                case "error":
                    threading.Thread(target=self._refuse, args=(caller,), daemon=True).start()
                case "reset":
                    self._drop(caller)
                case "stall":
                    pass  # it stays open, and nobody reads it

    def _relay(self, caller: socket.socket) -> None:
        try:
            server = socket.create_connection(self._target)
        except OSError:
            self._drop(caller)
            return
        with self._turn:
            self._open.add(server)
        back = threading.Thread(target=self._pump, args=(server, caller), daemon=True)
        back.start()
        self._pump(caller, server)
        back.join()
        self._drop(caller)
        self._drop(server)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(PIECE):
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)

    def _refuse(self, caller: socket.socket) -> None:
        """Answer 503 once the request has come: what is cut off would look like a broken connection."""
        with contextlib.suppress(OSError):
            _read_request(caller)
            caller.sendall(BUSY)
            caller.shutdown(socket.SHUT_WR)
        with self._turn:
            self._open.discard(caller)
        caller.close()

    def _drop(self, connection: socket.socket) -> None:
        with self._turn:
            self._open.discard(connection)
        _break(connection)


def _break(connection: socket.socket) -> None:
    """Close with a reset, and wake whoever reads it."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RD)  # the other way would say goodbye first
    connection.close()


def _read_request(caller: socket.socket) -> None:
    head = b""
    while b"\r\n\r\n" not in head:
        piece = caller.recv(PIECE)
        if not piece:
            return
        head += piece
    fields, _, rest = head.partition(b"\r\n\r\n")
    lines = fields.lower().split(b"\r\n")
    length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")), 0)
    if b"expect: 100-continue" in lines:
        return  # the caller waits for an answer before it sends the body
    left = length - len(rest)
    while left > 0 and (piece := caller.recv(PIECE)):
        left -= len(piece)
