"""Running out of memory: how to tell, and what to say."""

import torch

from jobs.errors import JobFailed


class EngineOutOfMemory(JobFailed):
    """The work does not fit into the device's memory, even in smaller batches."""

    code = "out_of_memory"


def is_out_of_memory(error: BaseException) -> bool:
    """torch has a class for CUDA only; its CPU allocator raises a RuntimeError."""
    cpu = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    return cpu or isinstance(error, torch.OutOfMemoryError | MemoryError)
