"""Triton: the models of `generative.export.triton` on a server, by gRPC.

The server batches and never splits, so what is larger than it takes is cut here. On one host pictures come
through shared memory, if the server lets its callers register it; if not, they come with the message.
"""

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from generative.backend import BackendError
from generative.backends.exported import Array, ExportedBackend
from generative.export.record import MAX_BATCH, Export, read_record

TIMEOUT_S = 60.0  # of one call: what waits longer counts as lost
LOOPBACK = ("localhost", "127.0.0.1", "::1")
TYPES = {"float32": "FP32", "float64": "FP64", "uint8": "UINT8"}


def open_triton(folder: Path, address: str) -> ExportedBackend:
    """The export that the record in a folder speaks of, served at `host:port`. Raises BackendError."""
    try:
        record = read_record(folder)
    except (FileNotFoundError, ValueError) as error:
        raise BackendError(f"{folder} holds no export") from error
    return ExportedBackend("triton", record, TritonRunner(record, address))


class TritonRunner:
    """One connection, opened at the first call and again after an error."""

    def __init__(self, record: Export, address: str, timeout_s: float = TIMEOUT_S) -> None:
        self._record, self._address, self._timeout_s = record, address, timeout_s
        self._client: Any = None
        self._grpc = _imported()
        local = urlsplit(f"//{address}").hostname in LOOPBACK
        self._shared = local and Path("/dev/shm").is_dir()
        self.where = f"triton at {address}"

    def run(self, graph: str, inputs: Mapping[str, Array]) -> Array:
        rows = len(next(iter(inputs.values())))
        parts = []
        for first in range(0, rows, MAX_BATCH):
            parts.append(self._part(graph, {n: a[first : first + MAX_BATCH] for n, a in inputs.items()}))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def unload(self) -> None:
        """Close the connection; what the server holds is the server's."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _part(self, graph: str, inputs: Mapping[str, Array]) -> Array:
        try:
            if self._client is None:
                self._client = self._grpc.InferenceServerClient(self._address)
            return self._infer(graph, inputs)
        except self._grpc.InferenceServerException as error:
            self.unload()
            raise BackendError(f"{self.where}: {error.message()[:200]}") from error

    def _infer(self, graph: str, inputs: Mapping[str, Array]) -> Array:
        file = self._record.graphs[graph]
        rows = len(next(iter(inputs.values())))
        shape = (rows, *file.output.shape)
        size = int(np.prod(shape)) * np.dtype(file.output.dtype).itemsize
        asked = []
        for port in file.inputs:
            # Triton writes (N,) as (N, 1).
            value = inputs[port.name] if port.shape else inputs[port.name][:, None]
            asked.append(self._grpc.InferInput(port.name, list(value.shape), TYPES[port.dtype]))
            asked[-1].set_data_from_numpy(value)
        wanted = self._grpc.InferRequestedOutput(file.output.name)
        with self._region(size) as region:
            if region is not None:
                wanted.set_shared_memory(region.name, size)
            answer = self._client.infer(file.file, asked, outputs=[wanted], client_timeout=self._timeout_s)
            if region is not None:
                return np.frombuffer(region.read(size), file.output.dtype).reshape(shape)
        found = answer.as_numpy(file.output.name)
        if found is None or found.shape != shape:
            got = "nothing" if found is None else found.shape
            raise BackendError(f"{file.file} on {self.where} gave {got}, not {shape}")
        array: Array = found.copy()  # what comes with the message is read-only
        return array

    @contextmanager
    def _region(self, size: int) -> "Iterator[Region | None]":
        """Memory that the server writes the answer into; None where it must come with the message."""
        if not self._shared:
            yield None
            return
        region = Region(size)
        try:
            try:
                self._client.register_system_shared_memory(region.name, f"/{region.name}", size)
            except self._grpc.InferenceServerException:  # the server keeps this to those who have its token
                self._shared = False
                yield None
                return
            try:
                yield region
            finally:
                self._client.unregister_system_shared_memory(region.name)
        finally:
            region.close()


class Region:
    """A file in /dev/shm, which both processes map."""

    def __init__(self, size: int) -> None:
        self.name = f"ganserve-{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self._path = Path("/dev/shm") / self.name
        self._path.touch(mode=0o600)
        os.truncate(self._path, size)

    def read(self, size: int) -> bytearray:
        with self._path.open("rb") as file:
            return bytearray(file.read(size))

    def close(self) -> None:
        self._path.unlink(missing_ok=True)


def _imported() -> Any:
    try:
        import tritonclient.grpc
        import tritonclient.utils
    except ImportError as error:
        raise BackendError("tritonclient is not installed: the extra `runtimes`") from error
    return tritonclient.grpc
