"""What the headers of safetensors files tell without a weight being read: how large a model will be, and whether its
files are whole."""

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pixwire_server.engine.folder import ModelRefusedError, components

_MAX_HEADER = 100 << 20
_LENGTH = struct.Struct("<Q")
_FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
_SIZES: Mapping[str, int] = {
    "F64": 8,
    "I64": 8,
    "U64": 8,
    "F32": 4,
    "I32": 4,
    "U32": 4,
    "F16": 2,
    "BF16": 2,
    "I16": 2,
    "U16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}
DENOISERS = ("unet", "transformer", "transformer_2", "prior")


def variant(folder: Path, index: Mapping[str, Any]) -> str | None:
    """`fp16` when the denoiser exists as that variant only."""
    names = [path.name for part in DENOISERS if part in index for path in (folder / part).glob("*.safetensors")]
    return "fp16" if names and all(".fp16" in name for name in names) else None


def files(folder: Path, index: Mapping[str, Any]) -> dict[str, list[Path]]:
    """The weight files of each component that would be loaded."""
    wanted = variant(folder, index)
    found = {}
    for name in components(dict(index)):
        paths = sorted((folder / name).glob("*.safetensors"))
        chosen = [path for path in paths if (".fp16" in path.name) is (wanted is not None)]
        if paths:
            found[name] = chosen or paths
    return found


def size(folder: Path, index: Mapping[str, Any], width: int, denoiser_width: int | None = None) -> int:
    """Bytes that the model will have in memory, with floating point numbers of `width` bytes (those of the denoiser:
    `denoiser_width`). Raises ModelRefusedError for a file that is broken.
    """
    total = 0
    for name, paths in files(folder, index).items():
        floats = denoiser_width or width if name in DENOISERS else width
        for path in paths:
            total += sum(
                math.prod(tensor["shape"]) * (floats if tensor["dtype"] in _FLOATS else _SIZES.get(tensor["dtype"], 8))
                for tensor in header(path).values()
            )
    return total


def header(path: Path) -> dict[str, Any]:
    """Name -> dtype, shape and offsets of the tensors in a file that is whole. Raises ModelRefusedError."""
    try:
        length = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(_LENGTH.size)
            (size_,) = _LENGTH.unpack(start)
            if size_ > min(_MAX_HEADER, length):
                raise ValueError("it does not begin as such a file does")
            tensors: dict[str, Any] = json.loads(file.read(size_))
        tensors.pop("__metadata__", None)
        end = max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0)
    except (OSError, ValueError, TypeError, KeyError, struct.error) as error:
        raise ModelRefusedError(f"{path} is not a readable safetensors file ({error}); copy it anew") from error
    if _LENGTH.size + size_ + end > length:
        missing = _LENGTH.size + size_ + end - length
        raise ModelRefusedError(f"{path} is cut short: {missing} bytes are missing at its end; copy it anew")
    return tensors
