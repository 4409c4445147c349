"""Frames without a connection, and two connections without a socket."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from benchmarks.guard.counting import Counter
from benchmarks.guard.scenario import Moved, Scenario, Stage
from pixwire_protocol.connection import Connection, Role, Settings
from pixwire_protocol.incoming import Received
from pixwire_protocol.messages import Data, Event, Fetch, Message, Result, Status, Submit, encode
from pixwire_protocol.params import GenerateParams

TIMES = 32
JOB = "0123456789abcdef0123456789abcdef"
CHUNK = 256 * 1024
IMAGE = 1024 * 1024
STATUS = {
    "job": JOB, "kind": "txt2img", "state": "running", "seq": 3, "attempt": 1, "step": 2, "steps": 20,
    "submitted_ms": 1_700_000_000_000, "started_ms": 1_700_000_000_100,
}  # fmt: skip
PIXELS = bytes(IMAGE)
PICTURE = {
    "artifact": 0, "etag": "e", "size": IMAGE, "media_type": "image/png", "width": 1, "height": 1, "seed": 1,
}  # fmt: skip
DONE = {**STATUS, "state": "succeeded", "step": 20, "finished_ms": 1_700_000_001_000, "artifacts": [PICTURE]}
ANNOUNCED = {**PICTURE, "job": JOB, "offset": 0, "length": IMAGE}
PROGRESS = {"event": "progress", "job": JOB, "seq": 3, "step": 2, "steps": 20}


def submit() -> Submit:
    """As the client's, with ordinary parameters."""
    return Submit(job=JOB, kind="txt2img", tail=GenerateParams(prompt="a red circle", seed=1, steps=12).pack())


FRAMES: dict[str, Callable[[], Message]] = {
    "SUBMIT": submit,
    "STATUS": lambda: Status(JOB),
    "RESULT": lambda: Result(STATUS),
    "EVENT progress": lambda: Event(PROGRESS),
    "FETCH": lambda: Fetch(JOB),
    "DATA of 256 KiB": lambda: Data(bytes(CHUNK)),
}


class Pair:
    """A client's and a server's connection, joined; the handshake is done."""

    def __init__(self) -> None:
        self.client = Connection(Role.CLIENT, Settings(agent="guard"))
        self.server = Connection(Role.SERVER, Settings(agent="guard", server_id="guard", epoch="1"))
        self.moved = Moved()
        for _ in range(2):
            self.to_server()
            self.to_client()

    def to_server(self) -> list[Any]:
        return self._move(self.client, self.server)

    def to_client(self) -> list[Any]:
        return self._move(self.server, self.client)

    def _move(self, sender: Connection, receiver: Connection) -> list[Any]:
        found: list[Any] = []
        while sender.has_output:
            buffers = sender.data_to_send()
            data = b"".join(buffers)
            self.moved.bytes += len(data)
            self.moved.writes += 1
            found += receiver.receive(data)
        return found


def status(pair: Pair) -> None:
    """A question and its answer."""
    pair.client.open(Status(JOB))
    (asked,) = pair.to_server()
    assert isinstance(asked, Received)
    pair.server.send(asked.stream, Result(STATUS), end=True)
    (answered,) = pair.to_client()
    assert answered.end


def follow(pair: Pair) -> None:
    """A submit and the twenty events of its steps."""
    pair.client.open(replace(submit(), watch=True))
    (asked,) = pair.to_server()
    pair.server.send(asked.stream, Result(STATUS))
    pair.to_client()
    for _ in range(20):
        pair.server.send(asked.stream, Event(PROGRESS))
        pair.to_client()
    pair.server.send(asked.stream, Event({**STATUS, "event": "state"}), end=True)
    (last,) = pair.to_client()
    assert last.end


def fetch(pair: Pair) -> None:
    """An image of 1 MiB, with credit given back."""
    stream = pair.client.open(Fetch(JOB))
    (asked,) = pair.to_server()
    pair.server.send(asked.stream, Result(ANNOUNCED))
    pair.server.send_data(asked.stream, PIXELS, end=True)
    received = 0
    while received < IMAGE:
        for item in pair.to_client():
            if isinstance(item.message, Data):
                received += len(item.message.tail)
                pair.client.consumed(stream, len(item.message.tail))
        pair.to_server()


@contextmanager
def _encode(make: Callable[[], Message]) -> Iterator[Stage]:
    message = make()
    moved = Moved()

    def work() -> None:
        for _ in range(TIMES):
            moved.bytes += sum(map(len, encode(message, 1)))

    yield Stage(work, TIMES, moved)


@contextmanager
def _exchange(one: Callable[[Pair], None], times: int) -> Iterator[Stage]:
    pair = Pair()

    def work() -> None:
        for _ in range(times):
            one(pair)

    yield Stage(work, times, pair.moved)


def scenarios() -> Iterator[Scenario]:
    """Encoding of each hot frame, then exchanges: both sides."""
    for name, make in FRAMES.items():

        def prepare(counter: Counter, make: Callable[[], Message] = make) -> Any:
            return _encode(make)

        yield Scenario(f"protocol: encode {name}", prepare, memory=False)
    yield Scenario("protocol: STATUS, both sides", lambda counter: _exchange(status, TIMES), memory=False)
    yield Scenario("protocol: SUBMIT and 20 events, both sides", lambda counter: _exchange(follow, 4), memory=False)
    yield Scenario("protocol: FETCH of 1 MiB, both sides", lambda counter: _exchange(fetch, 1))
