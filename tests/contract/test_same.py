"""The two shells are twins: the same names in the same order, the same arguments, as good as the same results."""

import inspect
import re
from typing import Any

import pytest

import pixwire
from pixwire.aio import client as aio_client
from pixwire.sync import client as sync_client

TWINS = [
    (pixwire.AsyncClient, pixwire.Client),
    (pixwire.AsyncJob, pixwire.Job),
    (pixwire.AsyncEvents, pixwire.Events),
]
RENAMED = {
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "aclose": "close",
}
"""What Python calls otherwise when it is awaited."""
OWN = {"__reduce__", "__del__", "__module__", "__doc__", "__init__", "__dict__", "__weakref__", "__repr__"}
OWN |= {"__await__"}  # what blocks has nothing to await
OWN |= {"__firstlineno__", "__static_attributes__"}  # of CPython 3.13
OWN |= {"__orig_bases__", "__parameters__"}  # of generic classes


def public(cls: type) -> list[str]:
    """What a user may call, in the order of the source."""
    return [name for name in vars(cls) if name not in OWN and (name.startswith("__") or not name.startswith("_"))]


@pytest.mark.parametrize(("asynchronous", "blocking"), TWINS, ids=lambda cls: cls.__name__)
def test_the_same_names_in_the_same_order(asynchronous: type, blocking: type) -> None:
    assert [RENAMED.get(name, name) for name in public(asynchronous)] == public(blocking)


def parameters(function: Any) -> list[tuple[str, Any, Any]]:
    found = inspect.signature(function).parameters.values()
    return [(one.name, one.kind, one.default) for one in found]


@pytest.mark.parametrize(("asynchronous", "blocking"), TWINS, ids=lambda cls: cls.__name__)
def test_the_same_arguments(asynchronous: type, blocking: type) -> None:
    for name in public(asynchronous):
        ours, theirs = getattr(asynchronous, name), getattr(blocking, RENAMED.get(name, name))
        if isinstance(ours, property):
            assert isinstance(theirs, property), name
        else:
            assert parameters(ours) == parameters(theirs), name
            assert ours.__doc__ is None or theirs.__doc__, name


def test_the_same_ways_to_connect() -> None:
    assert parameters(pixwire.connect) == parameters(pixwire.Client)


def test_the_same_annotations() -> None:
    """Apart from what is awaited: an AsyncJob here is a Job there."""
    for asynchronous, blocking in TWINS:
        for name in public(asynchronous):
            ours, theirs = getattr(asynchronous, name), getattr(blocking, RENAMED.get(name, name))
            if isinstance(ours, property):
                ours, theirs = ours.fget, theirs.fget
            assert spelled(ours) == spelled(theirs), name


def spelled(function: Any) -> str:
    """A signature without what makes the difference: where a class is, what is awaited."""
    text = re.sub(r"Async|pixwire\.(aio|sync)\.\w+\.", "", str(inspect.signature(function)))
    return text.replace("Outcome, None, None]", "Outcome, None]")


def test_every_argument_can_be_seen() -> None:
    """`help`, editors and notebooks show what `**arguments` stands for."""
    for cls in (pixwire.AsyncClient, pixwire.Client):
        shown = inspect.signature(cls.generate).parameters
        assert {"prompt", "count", "image", "style", "priority", "deadline", "tags", "adapters", "timeout"} <= set(
            shown
        )
        assert not any(one.kind is one.VAR_KEYWORD for one in shown.values())


def test_every_argument_is_explained() -> None:
    for module in (aio_client, sync_client):
        for cls in ("AsyncClient", "Client"):
            documented = getattr(getattr(module, cls, None), "generate", None)
            if documented is None:
                continue
            for name in inspect.signature(documented).parameters:
                told = name in ("self", "prompt") or name in str(documented.__doc__) or name.startswith("on_")
                assert told, f"{cls}.generate says nothing of {name}"
