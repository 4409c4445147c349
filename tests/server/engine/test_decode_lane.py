"""Decodes in a stream of their own: the order of what a GPU is told, with a device that only takes notes."""

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pixwire_server.engine import decode_lane
from pixwire_server.engine.decode_lane import DecodeLane
from pixwire_server.engine.request import Request


class NotedCuda:
    """In place of torch.cuda: writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.main = NotedStream("main", self.told)

    def current_stream(self, device: Any) -> "NotedStream":
        return self.main

    def Stream(self, device: Any) -> "NotedStream":  # noqa: N802  # torch's name
        self.told.append("new stream")
        return NotedStream("side", self.told)

    @contextlib.contextmanager
    def stream(self, stream: "NotedStream") -> Iterator[None]:
        self.told.append(f"into {stream.name}")
        yield
        self.told.append("back")


class NotedStream:
    def __init__(self, name: str, told: list[str]) -> None:
        self.name, self.told = name, told

    def wait_stream(self, other: "NotedStream") -> None:
        self.told.append(f"{self.name} waits for {other.name}")

    def record_event(self) -> Any:
        self.told.append(f"mark in {self.name}")
        return SimpleNamespace(synchronize=lambda: self.told.append("reader waits for the mark"))


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> NotedCuda:
    noted = NotedCuda()
    monkeypatch.setattr(decode_lane, "_cuda", noted)
    latents = SimpleNamespace(
        device=torch.device("cuda"), record_stream=lambda stream: noted.told.append(f"latents in {stream.name}")
    )
    monkeypatch.setattr(decode_lane, "_tensors", lambda group: [latents])
    return noted


def _call(handle: int, *, parked: object = None, run: object = None) -> Any:
    request = Request(handle, {})
    request.parked = parked  # type: ignore[assignment]
    return SimpleNamespace(request=request, run=run, arguments={})


def test_the_picture_is_waited_for_by_its_reader_and_by_nobody_else(cuda: NotedCuda) -> None:
    call = _call(1)
    with DecodeLane().taken([call]):
        cuda.told.append("decode")
        call.request.end()
    assert cuda.told == [
        "new stream",
        "side waits for main",
        "latents in side",
        "into side",
        "decode",
        "mark in side",
        "back",
    ]
    call.request.result = [_picture()]
    assert call.request.images.shape == (1, 3, 2, 2)
    assert cuda.told[-1] == "reader waits for the mark"


def test_a_request_that_goes_on_makes_the_common_stream_wait(cuda: NotedCuda) -> None:
    ended, goes_on = _call(1), _call(2, parked=object())
    with DecodeLane().taken([ended, goes_on]):
        ended.request.end()
    assert cuda.told[-1] == "main waits for side"
    goes_on.request.end()
    assert cuda.told.count("mark in side") == 1


def test_what_a_failed_request_left_under_way_is_waited_for(cuda: NotedCuda) -> None:
    """Nobody reads its images, and the memory of its model may be given away now."""
    call = _call(1)
    with DecodeLane().taken([call]):
        call.request.error = ValueError("no")
    assert cuda.told[-1] == "main waits for side"


def test_there_is_one_stream_for_a_device(cuda: NotedCuda) -> None:
    lane = DecodeLane()
    for handle in (1, 2):
        with lane.taken([_call(handle)]):
            pass
    assert cuda.told.count("into side") == 2
    assert cuda.told.count("new stream") == 1


def test_a_module_that_is_carried_to_the_device_stays_in_the_common_stream(cuda: NotedCuda) -> None:
    class Carried:
        _hf_hook = object()

        def decode(self) -> None: ...

    with DecodeLane().taken([_call(1, run=Carried().decode)]):
        cuda.told.append("decode")
    assert cuda.told == ["decode"]


def test_on_a_cpu_nothing_is_told_to_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    noted = NotedCuda()
    monkeypatch.setattr(decode_lane, "_cuda", noted)
    call = _call(1)
    call.arguments = {"z": _picture()}
    with DecodeLane().taken([call]):
        call.request.end()
    assert noted.told == []


def _picture() -> Any:
    return torch.zeros(1, 3, 2, 2)
