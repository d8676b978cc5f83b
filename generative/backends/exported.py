"""What backends that run exported graphs share: which graph serves which path, and with what inputs."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from generative.backend import BackendError
from generative.export.record import Export
from generative.generator import Noise
from generative.pixels import to_uint8

Array = np.ndarray[Any, Any]
NOISE = "noise."  # prefix of the names of noise inputs of graphs


class Runner(Protocol):
    """Runs graphs by name."""

    @property
    def where(self) -> str: ...

    def run(self, graph: str, inputs: Mapping[str, Array]) -> Array:
        """Raises BackendError, MemoryError."""

    def unload(self) -> None: ...


class ExportedBackend:
    """A backend over the graphs of an export, which a runner runs."""

    def __init__(self, name: str, record: Export, runner: Runner) -> None:
        self.name, self._record, self._runner = name, record, runner

    @property
    def where(self) -> str:
        return f"{self._runner.where}, {self._record.precision}"

    def map(self, z: Tensor, c: Tensor | None, psi: Tensor) -> Tensor:
        return self._run("mapping", {"z": z, "psi": psi} | ({} if c is None else {"c": c}))

    def styles(self, ws: Tensor) -> Tensor:
        return self._run("styles", {"ws": ws})

    def paint(
        self, codes: Mapping[str, Tensor], noise: Noise, noises: Mapping[str, Tensor], psi: float = 1.0
    ) -> Tensor:
        if "z" in codes:
            rows = torch.full((len(codes["z"]),), psi, dtype=torch.float64)
            images = self._run("generator", {**codes, "psi": rows})
        else:
            styles = codes["styles"] if "styles" in codes else self.styles(codes["ws"])
            given = {NOISE + name: value for name, value in noises.items()}
            images = self._run(self._synthesis(noise, given), {"styles": styles, **given})
        if self._record.output == "uint8":
            return images
        return to_uint8(images, self._record.pixel_gain, self._record.pixel_offset)

    def unload(self) -> None:
        self._runner.unload()

    def _synthesis(self, noise: Noise, given: Mapping[str, Tensor]) -> str:
        if not given:
            const = noise == "const" and "synthesis_const" in self._record.graphs
            return "synthesis_const" if const else "synthesis_none"
        known = self._record.graphs.get("synthesis_given")
        if known is None or {port.name for port in known.inputs} != {"styles", *given}:
            raise BackendError("the export takes noise for every layer or for none")
        return "synthesis_given"

    def _run(self, graph: str, given: Mapping[str, Tensor]) -> Tensor:
        """Raises BackendError for a graph that was not exported, ValueError for wrong shapes."""
        if graph not in self._record.graphs:
            raise BackendError(f"the export has no graph {graph!r}")
        inputs = {}
        for port in self._record.graphs[graph].inputs:
            if port.name not in given or tuple(given[port.name].shape[1:]) != port.shape:
                found = tuple(given[port.name].shape) if port.name in given else "nothing"
                raise ValueError(f"{port.name} must be (N, {', '.join(map(str, port.shape))}), got {found}")
            inputs[port.name] = np.ascontiguousarray(given[port.name].cpu().numpy(), dtype=port.dtype)
        return torch.from_numpy(self._runner.run(graph, inputs))
