"""A device beside the CPU, on machines that have none.

Its tensors say that they are `elsewhere` and refuse the CPU's as company, as those of a GPU do; the CPU
computes them, so results have the CPU's bits. What runs on it has every constant, draw and copy on the right
device; `Reads` counts what it asks back from there, for which the queue of a GPU would have to run empty.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "elsewhere"
ATEN = torch.ops.aten
COPIES = (ATEN.copy_.default, ATEN._to_copy.default)
INDEXED = (ATEN.index.Tensor, ATEN.index_put_.default, ATEN.index_put.default)  # by the CPU's numbers, too
READS = (ATEN._local_scalar_dense.default, ATEN.nonzero.default, ATEN.equal.default)


class Elsewhere(Tensor):
    """A tensor there; `here` holds its numbers."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> "Elsewhere":
        made: Elsewhere = torch.Tensor._make_wrapper_subclass(
            cls,
            here.shape,
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            device=torch.device(NAME, 0),
            requires_grad=here.requires_grad,
        )
        made.here = here
        return made

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def new_tensor(self, data: Any, *, dtype: torch.dtype | None = None) -> Tensor:
        return torch.tensor(data, dtype=dtype or self.dtype, device=self.device)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


class Reads(TorchDispatchMode):
    """Lists the operations that bring numbers back from there."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if reads(func, _tensors((args, kwargs)), _tensors(result)):
            self.seen.append(str(func))
        return result


def reads(func: Any, given: list[Tensor], made: list[Tensor]) -> bool:
    """Whether an operation brings numbers back from there."""
    there = any(isinstance(t, Elsewhere) for t in given)
    return there and (func in READS or not all(isinstance(t, Elsewhere) for t in made))


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


class Recording(TorchDispatchMode):
    """Keeps the operations there, to do them again into the same tensors. Refuses what no GPU records:
    bringing numbers back, or along from the CPU.
    """

    def __init__(self) -> None:
        super().__init__()
        self._steps: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result, kwargs = func(*args, **(kwargs or {})), kwargs or {}
        given, made = _tensors((args, kwargs)), _tensors(result)
        arrives = any(isinstance(t, Elsewhere) for t in made)
        along = func in COPIES and arrives and not all(isinstance(t, Elsewhere) for t in given)
        if along or reads(func, given, made):
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        if any(isinstance(t, Elsewhere) for t in given + made):
            self._steps.append((func, args, kwargs, result))
        return result

    def launch(self) -> None:
        for func, args, kwargs, result in self._steps:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if isinstance(old, Elsewhere) and old.here.data_ptr() != new.here.data_ptr():
                    old.here.copy_(new.here)


def record(run: Callable[[], object]) -> Callable[[], None]:
    """As `workers.graphs.Recorder`."""
    run()
    with Recording() as recording:
        run()
    return recording.launch


def computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What an operation makes of tensors there, or of a device named in its arguments."""
    tensors = _tensors((args, kwargs))
    there = [t for t in tensors if isinstance(t, Elsewhere)]
    strangers = [t for t in tensors if not isinstance(t, Elsewhere) and t.ndim]
    if there and strangers and func not in COPIES + INDEXED:
        raise RuntimeError(f"{func}: tensors of the CPU among those {NAME}")
    given, named = tree_map_only(Elsewhere, lambda t: t.here, (args, kwargs))
    if func is ATEN.copy_.default:
        func(*given, **named)
        return args[0]
    goes = torch.device(kwargs["device"]) if kwargs.get("device") is not None else None
    if goes is not None:
        named = {**named, "device": torch.device("cpu")}
    result = func(*given, **named)
    if goes is not None and goes.type != NAME:
        return result
    wrapped = tree_map_only(Tensor, Elsewhere, result)
    return return_and_correct_aliasing(func, args, kwargs, wrapped) if there else wrapped


class Generator(torch.Generator):
    """Of draws there, which are the CPU's: torch has none for devices that Python made."""

    def __new__(cls, device: Any = "cpu") -> "Generator":
        return super().__new__(cls, "cpu" if torch.device(device).type == NAME else device)


class _Module:
    """What torch asks of a device's module."""

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def _is_in_bad_fork(self) -> bool:
        return False

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def manual_seed_all(self, seed: int) -> None:
        """Its draws are the CPU's."""

    def get_rng_state(self, device: Any = None) -> Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: Tensor, device: Any = None) -> None:
        torch.set_rng_state(state)

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float16, torch.bfloat16]


def _from_here(make: Any) -> Any:
    """`torch.tensor` builds below the dispatcher's Python and cannot wrap; so by way of the CPU."""

    def made(*args: Any, device: Any = None, **given: Any) -> Tensor:
        if device is None or torch.device(device).type != NAME:
            return make(*args, device=device, **given)
        return make(*args, **given).to(device)

    return made


_setup_privateuseone_for_python_backend(NAME, _Module())
_LIBRARY = torch.library.Library("_", "IMPL")
_LIBRARY.fallback(lambda func, *args, **kwargs: computed(func, args, kwargs), "PrivateUse1")
torch.tensor, torch.as_tensor = _from_here(torch.tensor), _from_here(torch.as_tensor)
