"""ONNX Runtime: the graphs of `generative.export.onnx`, each loaded at its first use.

Providers, the best that is there first: TensorRT, CUDA, OpenVINO, CPU. TensorRT's is taken only where its
engines were built before (a cache beside the graphs), for building takes minutes.
"""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from generative.backend import BackendError
from generative.backends.exported import Array, ExportedBackend
from generative.export.record import Export, read_record

PROVIDERS = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "OpenVINOExecutionProvider")
CPU = "CPUExecutionProvider"
ENGINES = "engines"  # folder of TensorRT's cache
FULL = ("Failed to allocate memory", "bad_alloc", "out of memory", "OutOfMemory")


def open_onnx(folder: Path, device: torch.device | str = "cpu") -> ExportedBackend:
    """The export in a folder, on a device. Raises BackendError."""
    try:
        record = read_record(folder)
    except (FileNotFoundError, ValueError) as error:
        raise BackendError(f"{folder} holds no export") from error
    return ExportedBackend("onnx", record, OnnxRunner(folder, record, torch.device(device)))


def providers(available: list[str], device: torch.device, engines: Path) -> list[Any]:
    """What to offer ONNX Runtime, best first; it falls from one to the next for each operator."""
    wanted: list[Any] = []
    for name in PROVIDERS:
        if name not in available or (device.type == "cpu") != (name == "OpenVINOExecutionProvider"):
            continue
        if name == "TensorrtExecutionProvider":
            if engines.is_dir():
                cache = {"trt_engine_cache_enable": True, "trt_engine_cache_path": str(engines)}
                wanted.append((name, {"device_id": device.index or 0, **cache}))
        elif name == "CUDAExecutionProvider":
            # Blocks have few shapes, so an arena that grows by what is asked for does not fragment.
            grow = {"arena_extend_strategy": "kSameAsRequested"}
            wanted.append((name, {"device_id": device.index or 0, **grow}))
        else:
            wanted.append(name)
    return [*wanted, CPU]


class OnnxRunner:
    """Sessions by graph. May be called from any thread; runs one graph at a time."""

    def __init__(self, folder: Path, record: Export, device: torch.device) -> None:
        self._folder, self._record, self._device = folder, record, device
        self._sessions: dict[str, Any] = {}
        self._guard = threading.Lock()
        self._runtime = _imported()
        offered = providers(self._runtime.get_available_providers(), device, folder / ENGINES)
        self._providers = offered
        self.where = offered[0] if isinstance(offered[0], str) else offered[0][0]

    def run(self, graph: str, inputs: Mapping[str, Array]) -> Array:
        with self._guard:
            session = self._answered(lambda: self._session(graph))
            [answer] = self._answered(lambda: session.run(None, dict(inputs)))
        found: Array = answer
        return found

    def unload(self) -> None:
        """An arena never shrinks; with its session it goes."""
        with self._guard:
            self._sessions.clear()

    def _session(self, graph: str) -> Any:
        if graph not in self._sessions:
            options = self._runtime.SessionOptions()
            options.log_severity_level = 3
            options.intra_op_num_threads = torch.get_num_threads()
            # Threads that spin after their work would take the cores from torch's.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            path = self._folder / self._record.graphs[graph].file
            session = self._runtime.InferenceSession(path, options, providers=self._providers)
            self.where = session.get_providers()[0]
            self._sessions[graph] = session
        return self._sessions[graph]

    def _answered(self, call: Callable[[], Any]) -> Any:
        """Its errors as ours. ONNX Runtime has a class for each status, and memory is none of them."""
        try:
            return call()
        except Exception as error:
            if any(words in str(error) for words in FULL):
                raise MemoryError(str(error)[:200]) from error
            raise BackendError(f"ONNX Runtime: {str(error)[:200]}") from error


def _imported() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendError("onnxruntime is not installed: the extra `runtimes`") from error
    return onnxruntime
