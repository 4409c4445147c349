"""Connections break whenever they like: every call still gets its own right answer, and every job is made once."""

import hashlib
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from session_pair import Pair, artifact, generate, order

from pixwire.core import requests
from pixwire.core.calls import Call
from pixwire.core.resume import MOST_TRIES
from pixwire.errors import ConnectionLost
from pixwire_protocol import messages
from pixwire_protocol.registry import ErrorCode

WINDOW = 2048


def images_of(job: str) -> list[bytes]:
    """What a job makes; some images are larger than the window."""
    count = 1 + int(job) % 3
    return [hashlib.sha256(f"{job}/{i}".encode()).digest() * (1 + 90 * (i % 2)) for i in range(count)]


class Mending(RuleBasedStateMachine):
    """A client, a server that remembers its jobs, and a network that breaks."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair(mend=True, window=WINDOW, idle_ms=3_600_000, patience=1e6, max_streams=4)
        self.calls: dict[str, Call[Any]] = {}
        self.given_up: set[str] = set()
        self.made: dict[str, bytes] = {}
        self.answered: set[int] = set()
        self.wire = bytearray()
        self.losses = 0
        self.seen = self.pair.channel

    # --- the client

    @rule(kind=st.sampled_from(["generate", "submit", "wait"]))
    def ask(self, kind: str) -> None:
        job = str(len(self.calls))
        if kind == "wait":
            self.made[job] = b""
        make = {
            "generate": generate,
            "submit": lambda job: requests.submit(order(job)),
            "wait": lambda job: requests.deliver(job),
        }
        self.calls[job] = self.pair.begin(make[kind](job))

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(sorted(self.calls)))
        if not self.calls[job].done:
            self.given_up.add(job)
        self.pair.abandon(self.calls[job])

    # --- the network

    @rule()
    def to_server(self) -> None:
        self.pair.to_server()

    @rule(count=st.integers(1, 3000))
    def to_client(self, count: int) -> None:
        self.notice()
        if self.pair.channel is None:
            return
        while self.pair.server.has_output:
            self.wire += b"".join(self.pair.server.data_to_send())
        self.pair.feed(bytes(self.wire[:count]))
        del self.wire[:count]

    def notice(self) -> None:
        """What was under way on another connection than the present one is lost."""
        if self.pair.channel is not self.seen:
            self.seen = self.pair.channel
            self.wire.clear()
            self.answered.clear()

    @precondition(lambda self: self.losses < MOST_TRIES - 2)
    @rule(how=st.sampled_from(["break", "end", "goaway"]))
    def breaks(self, how: str) -> None:
        if self.pair.channel is None:
            return
        self.losses += 1
        if how == "goaway":
            self.pair.server.goaway(ErrorCode.DRAINING, "restart", last_stream=0, reconnect_after_ms=500)
            self.to_client(1 << 20)
        if self.pair.channel is not None:  # it may have nothing left to do after the goodbye
            (self.pair.eof if how == "end" else self.pair.lose)()
        self.pair.requests.clear()

    @rule(seconds=st.sampled_from([0.01, 1.0, 11.0]))
    def waits(self, seconds: float) -> None:
        end = self.pair.now + seconds
        while (due := self.pair.session.next_deadline(self.pair.now)) is not None and due <= end:
            self.pair.now = max(due, self.pair.now)
            self.pair.heard(self.pair.session.handle_timeout(self.pair.now))
        self.pair.now = end

    # --- the server

    @rule(data=st.data())
    def answers(self, data: st.DataObject) -> None:
        self.notice()
        open_streams = sorted(set(self.pair.requests) - self.answered)
        if open_streams:
            self.answer(data.draw(st.sampled_from(open_streams)))

    def answer(self, stream: int) -> None:
        self.answered.add(stream)
        request = self.pair.requests[stream]
        images = images_of(request.job)
        infos = [artifact(index, image) for index, image in enumerate(images)]
        if isinstance(request, messages.Submit):
            made = self.made.setdefault(request.job, bytes(request.tail))
            assert made == bytes(request.tail)
        if isinstance(request, messages.Fetch):
            image = images[request.artifact]
            assert request.etag in (None, infos[request.artifact]["etag"])
            assert request.offset == 0 or request.etag is not None
            head = {"job": request.job, "offset": request.offset, "length": len(image) - request.offset}
            self.pair.server.send(stream, messages.Result({**head, **infos[request.artifact]}))
            self.pair.server.send_data(stream, memoryview(image)[request.offset :], True)
            return
        self.pair.answer(stream, "succeeded", seq=7, artifacts=infos, end=not request.deliver)
        if request.deliver:
            for index, image in enumerate(images):
                self.pair.image(stream, index, image, end=index == len(images) - 1)

    # --- what must always hold

    @invariant()
    def nobody_broke_the_protocol(self) -> None:
        assert not self.pair.faults
        assert self.pair.over is None

    @invariant()
    def every_answer_is_right_and_told_once(self) -> None:
        finished = self.pair.finished()
        assert len(finished) == len(set(map(id, finished)))
        for job, call in self.calls.items():
            assert (call in finished) == (call.done and job not in self.given_up)
            if call in finished and call.operation == "submit":
                assert call.outcome.job == job
            elif call in finished:
                assert [image.bytes for image in call.outcome] == images_of(job)
            heard = [event.seq for event in self.pair.emitted(call)]
            assert heard == sorted(set(heard))

    def teardown(self) -> None:
        """The network is good from now on, and the server answers all."""
        for _ in range(30 * (len(self.calls) + 1)):
            self.waits(9.0)  # longer than any wait for a connection, and shorter than a handshake may take
            self.to_server()
            self.notice()
            for stream in sorted(set(self.pair.requests) - self.answered):
                self.answer(stream)
            self.to_client(1 << 20)
        for job, call in self.calls.items():
            assert call.done, job
        self.every_answer_is_right_and_told_once()
        self.nobody_broke_the_protocol()
        last = self.pair.begin(requests.status("999"))
        self.pair.close()
        assert isinstance(last.error, ConnectionLost)
        assert self.pair.session.next_deadline(self.pair.now) is None


TestMending = Mending.TestCase
TestMending.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
