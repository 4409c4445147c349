"""The gate between the engine loop and the thread that loads models.

diffusers and transformers build a model with things of the whole process changed: torch's default number type, how
modules register parameters, how weights are initialized. Whoever computes in another thread at that moment would
compute something else. So a load holds the gate and the engine loop waits at it before each turn; the long part of a
load, the reading of the weights, changes nothing and is done with the gate open (`open_while_reading`).
"""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any


class Gate:
    """A lock that two threads get in turn: one that comes back at once does not overtake the one that waits."""

    def __init__(self) -> None:
        self._next = threading.Lock()
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._next:
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Let others pass while the holder does something harmless."""
        self._lock.release()
        try:
            yield
        finally:
            self.__enter__()


@contextlib.contextmanager
def open_while_reading(gate: Gate) -> Iterator[list[str]]:
    """Opens the gate, which the caller holds, whenever a library reads weights. Gives the names of weights that turn
    out to be missing in the files: transformers would make them up with no more than a warning.

    Rests on two private methods. Should a later version lack them, loads stop the engine loop for longer, and that is
    all.
    """
    from diffusers.models.modeling_utils import ModelMixin
    from transformers import PreTrainedModel

    missing: list[str] = []

    def reading(run: Callable[..., Any]) -> Any:
        @functools.wraps(run)
        def read(*args: Any, **kwargs: Any) -> Any:
            with gate.open():
                return run(*args, **kwargs)

        return read

    def finishing(run: Callable[..., Any]) -> Any:
        @functools.wraps(run)
        def finish(*args: Any, **kwargs: Any) -> Any:
            info = run(*args, **kwargs)
            missing.extend(sorted(getattr(info, "missing_keys", ())))
            return info

        return finish

    wraps = (
        (ModelMixin, "_load_pretrained_model", reading),
        (PreTrainedModel, "_load_pretrained_model", reading),
        (PreTrainedModel, "_finalize_model_loading", finishing),
    )
    with contextlib.ExitStack() as stack:
        for owner, name, wrapped in wraps:
            stack.enter_context(_replaced(owner, name, wrapped))
        yield missing


@contextlib.contextmanager
def _replaced(owner: Any, name: str, wrapped: Callable[[Callable[..., Any]], Any]) -> Iterator[None]:
    """A class method or static method replaced by its wrapped form for a while."""
    original = owner.__dict__.get(name)
    if not isinstance(original, classmethod | staticmethod):
        yield
        return
    setattr(owner, name, type(original)(wrapped(original.__func__)))
    try:
        yield
    finally:
        setattr(owner, name, original)
