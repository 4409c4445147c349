"""What a GPU does to the process that uses it: its memory is given back late, runs out in several words, and after some
errors it answers this process no more."""

import gc
import traceback
from typing import Any

import torch

_cuda: Any = torch.cuda

_FULL = (
    "can't allocate memory",  # torch, of the host
    "CUDA error: out of memory",  # the driver, of what does not go through torch's allocator: streams, events, kernels
    "_STATUS_ALLOC_FAILED",  # cuBLAS, older cuDNN
    "_DEVICE_ALLOCATION_FAILED",  # cuDNN
)
"""In plain RuntimeErrors, or in AcceleratorErrors, which are RuntimeErrors but no OutOfMemoryErrors."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device or the host ran out of memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _FULL)


def is_lost() -> bool:
    """Whether every later call of the GPU fails in this process, as after an illegal access or failed assertion there.

    Asks the device instead of knowing the errors: there are many of them, and libraries give them words of their own.
    Waits for all work under way.
    """
    if not _cuda.is_initialized():
        return False
    try:
        _cuda.synchronize()
    except Exception:
        return True
    return False


def free_memory() -> None:
    """Give back the memory of what nobody refers to any more: modules refer to each other in circles."""
    gc.collect()
    _cuda.empty_cache()  # does nothing before the first use of a GPU


def without_locals(error: Exception) -> Exception:
    """The error, whose traceback keeps no variables alive: those of a pass are tensors, those of a load whole models,
    and error and frames refer to each other, so that they would stay until the garbage collector comes by."""
    known: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in known:
        known.add(id(link))
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__
    return error
