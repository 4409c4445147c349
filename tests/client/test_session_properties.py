"""Whatever happens in whatever order: every call gets its own answer or an error, exactly once."""

import hashlib
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from session_pair import Pair, Split, artifact, generate

from pixwire.core import requests
from pixwire.core.calls import Call
from pixwire.errors import ConnectionLost, RequestTimeout
from pixwire_protocol import messages

MAX_STREAMS = 3
WINDOW = 4096


def image_bytes(job: str, index: int) -> bytes:
    """The image that belongs to a job and to no other; some are larger than the window."""
    seed = hashlib.sha256(f"{job}/{index}".encode()).digest()
    return seed * (1 + seed[0] * 2)


def image_count(job: str) -> int:
    return 1 + int(job) % 3


class Life(RuleBasedStateMachine):
    """A client that asks and gives up, a server that answers whom it likes, and bytes that travel in pieces."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair(window=WINDOW, max_streams=MAX_STREAMS, idle_ms=3_600_000)
        self.calls: dict[str, Call[Any]] = {}
        self.begun: dict[str, float] = {}
        self.given_up: set[str] = set()
        self.stages: dict[int, str] = {}

    # --- the client

    @rule(kind=st.sampled_from(["generate", "images", "status", "fetch"]), timeout=st.sampled_from([None, 5.0]))
    def ask(self, kind: str, timeout: float | None) -> None:
        job = str(len(self.calls))
        make = {
            "generate": generate,
            "images": requests.deliver,
            "status": requests.status,
            "fetch": lambda job: requests.fetch(job, 0),
        }
        self.calls[job] = self.pair.begin(make[kind](job), timeout)
        self.begun[job] = self.pair.now

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(sorted(self.calls)))
        if not self.calls[job].done:
            self.given_up.add(job)
        self.pair.abandon(self.calls[job])

    @rule(seconds=st.sampled_from([1.0, 3.0]))
    def wait(self, seconds: float) -> None:
        self.pair.now += seconds
        self.pair.heard(self.pair.session.handle_timeout(self.pair.now))

    # --- the wire

    @rule()
    def deliver_requests(self) -> None:
        self.pair.to_server()

    @rule(sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=5))
    def deliver_answers(self, sizes: list[int]) -> None:
        def split(data: bytes) -> list[bytes]:
            pieces, position, turn = [], 0, 0
            while position < len(data):
                size = sizes[turn % len(sizes)]
                pieces.append(data[position : position + size])
                position, turn = position + size, turn + 1
            return pieces

        self.move(split)

    def move(self, split: Split) -> None:
        self.pair.to_client(split)

    # --- the server

    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        streams = [stream for stream in self.pair.requests if self.stages.get(stream) != "over"]
        if streams:
            self.answer_one(data.draw(st.sampled_from(streams)), data.draw(st.booleans()))

    def answer_one(self, stream: int, at_once: bool) -> None:
        request = self.pair.requests[stream]
        job, stage = request.job, self.stages.get(stream, "asked")
        images = [image_bytes(job, index) for index in range(image_count(job))]
        if self.pair.server.unsent(stream) or not self.open_at_server(stream):
            return
        match request, stage:
            case messages.Status(), _:
                self.pair.answer(stream, "running", end=True)
                self.stages[stream] = "over"
            case messages.Fetch(), _:
                self.pair.image(stream, 0, images[0])
                self.stages[stream] = "over"
            case _, "asked" if not at_once:
                self.pair.answer(stream, "queued")
                self.stages[stream] = "running"
            case _, "asked":
                self.pair.answer(stream, "succeeded", artifacts=[artifact(i, d) for i, d in enumerate(images)])
                for index, data in enumerate(images):
                    self.pair.image(stream, index, data, end=index == len(images) - 1)
                self.stages[stream] = "over"
            case _:
                self.pair.succeed(stream, images)
                self.stages[stream] = "over"

    def open_at_server(self, stream: int) -> bool:
        return not any(s == stream and isinstance(m, messages.Reset) for s, m in self.pair.messages)

    # --- what must always hold

    @invariant()
    def nobody_broke_the_protocol(self) -> None:
        assert not self.pair.faults
        assert self.pair.channel is not None

    @invariant()
    def every_call_is_finished_at_most_once_and_rightly(self) -> None:
        finished = self.pair.finished()
        assert len(finished) == len(set(map(id, finished)))
        for job, call in self.calls.items():
            if job in self.given_up:
                assert call not in finished
            elif call.done:
                assert call in finished
                self.check(job, call)

    def check(self, job: str, call: Call[Any]) -> None:
        if call.error is not None:
            assert isinstance(call.error, RequestTimeout)
            assert self.begun[job] + call.error.timeout <= self.pair.now
        elif call.operation in ("generate", "images"):
            assert [image.bytes for image in call.outcome] == [image_bytes(job, i) for i in range(image_count(job))]
            assert {image.job for image in call.outcome} == {job}
        elif call.operation == "image":
            assert call.outcome.bytes == image_bytes(job, 0)
        else:
            assert call.outcome.job == job

    def teardown(self) -> None:
        """The server answers everything that is left; then the connection ends."""
        for _ in range(20 * len(self.calls)):
            self.pair.pump()
            for stream in list(self.pair.requests):
                if self.stages.get(stream) != "over":
                    self.answer_one(stream, False)
        self.pair.pump()
        for job, call in self.calls.items():
            assert call.done, job
        self.every_call_is_finished_at_most_once_and_rightly()
        self.nobody_broke_the_protocol()
        last = self.pair.begin(requests.status("999"))
        self.pair.close()
        assert isinstance(last.error, ConnectionLost)
        assert self.pair.session.next_deadline(self.pair.now) is None


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
