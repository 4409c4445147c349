"""Prompt embeddings by text: the same prompt is encoded once."""

import contextlib
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import torch
from torch.utils import _pytree as pytree

_PLAIN = (bool, int, float, str, type(None), torch.dtype, torch.device)


def memo_key(arguments: Mapping[str, Any]) -> Hashable | None:
    """A key for these arguments of `encode_prompt`; None when one of them is not plain (embeddings passed in)."""
    try:
        return tuple((name, _freeze(value)) for name, value in sorted(arguments.items()))
    except TypeError:
        return None


def _freeze(value: Any) -> Hashable:
    if isinstance(value, _PLAIN):
        return (type(value).__name__, value)
    if isinstance(value, list | tuple):
        return (type(value).__name__, tuple(_freeze(item) for item in value))
    if isinstance(value, dict):
        return tuple((key, _freeze(value[key])) for key in sorted(value))
    raise TypeError(f"{type(value).__name__} is not part of a key")


class EncodeCache:
    """Least recently used answers of `encode_prompt`, bounded by the bytes of their tensors.

    Answers go in and out as copies of their tensors: a pipeline may write into what it got.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self.hits = 0
        self.misses = 0
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self.pending: set[Hashable] = set()

    @contextlib.contextmanager
    def encoding(self, key: Hashable) -> Iterator[None]:
        """While it lasts, `key` is in `pending`: somebody is about to remember its answer, or to fail."""
        self.pending.add(key)
        try:
            yield
        finally:
            self.pending.discard(key)

    def get(self, key: Hashable) -> tuple[Any] | None:
        """The answer in a one-element tuple, or None."""
        entry = self._entries.get(key)
        if entry is None:
            self.misses += 1
            return None
        self.hits += 1
        self._entries.move_to_end(key)
        return (_copy(entry[0]),)

    def put(self, key: Hashable, answer: Any) -> None:
        """Remember an answer; one larger than the whole cache is not."""
        size = sum(leaf.nbytes for leaf in pytree.tree_leaves(answer) if isinstance(leaf, torch.Tensor))
        if size > self.max_bytes:
            return
        self.bytes += size - self._entries.pop(key, (None, 0))[1]
        self._entries[key] = (_copy(answer), size)
        while self.bytes > self.max_bytes:
            _, (_, dropped) = self._entries.popitem(last=False)
            self.bytes -= dropped


def _copy(answer: Any) -> Any:
    return pytree.tree_map(lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf, answer)
