"""Uploads and downloads together, cut, answered and reset anywhere: nothing is lost and all books are right.

Two Connections and the bytes between them. Every frame that leaves is read by an outsider who keeps books of its own.
"""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from protocol_pair import STATUS, Seen, cut_frames, drain, submit
from upload_pair import attachment

from pixwire_protocol import messages as m
from pixwire_protocol.connection import Connection, Incoming, Received, Role, Settings, State
from pixwire_protocol.registry import ErrorCode, FrameType

WINDOWS = st.integers(1024, 6000)
choice = st.integers(0, 50)


@dataclass
class Upload:
    """One stream as the test knows it."""

    size: int
    watch: bool
    given: bytearray = field(default_factory=bytearray)
    ended: bool = False
    got: bytearray = field(default_factory=bytearray)
    complete: bool = False
    consumed: int = 0
    answered: bool = False
    """The server has answered, with whatever."""
    told: bool = False
    """The client has seen the answer, or has reset the stream."""


class Wire:
    """Bytes on their way in one direction; arrived() gives what came in any portions."""

    def __init__(self) -> None:
        self.data = bytearray()

    def take(self, count: int) -> bytes:
        part = bytes(self.data[:count])
        del self.data[:count]
        return part


class Uploads(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        server = Settings(agent="s", stream_window=2048, connection_window=5000, max_streams=1024, data_chunk=1500)
        client = Settings(agent="c", stream_window=3000, connection_window=4000, data_chunk=1400)
        self.client = Connection(Role.CLIENT, client)
        self.server = Connection(Role.SERVER, server)
        self.up, self.down = Wire(), Wire()
        self.uploads: dict[int, Upload] = {}
        self.fetches: dict[int, int] = {}
        # The outsider's books, of what the client may send: from the frames it sent and those that reached it.
        self.window = 5000
        self.windows: dict[int, int] = {}
        self.server.receive(drain(self.client))
        self.client.receive(drain(self.server))
        assert self.client.state is self.server.state is State.READY

    # ------------------------------------------------------------------ what the programs do

    @rule(
        sizes=st.lists(st.integers(1, 4000), min_size=1, max_size=3),
        watch=st.booleans(),
        at_once=st.integers(0, 5000),
        arrives=st.integers(0, 5000),
    )
    def open_upload(self, sizes: list[int], watch: bool, at_once: int, arrives: int) -> None:
        if self.client.draining:
            return
        files = tuple(attachment(f"a{i}", size) for i, size in enumerate(sizes))
        stream = self.client.open(submit(attachments=files, watch=watch))
        self.uploads[stream] = Upload(sum(sizes), watch)
        self.give(len(self.uploads) - 1, at_once, True, stream)
        while len(self.up.data) < arrives and self.client.has_output:
            self.leave_client()
        self.at_server(self.server.receive(self.up.take(arrives)))

    @rule()
    def open_fetch(self) -> None:
        """Other traffic, in the other direction."""
        if not self.client.draining:
            self.fetches[self.client.open(m.Fetch("j"))] = 0

    def some(self, number: int, wanted: Any) -> tuple[int, Upload] | None:
        found = [(stream, upload) for stream, upload in self.uploads.items() if wanted(upload)]
        return found[number % len(found)] if found else None

    @rule(number=choice, size=st.integers(0, 5000), end=st.booleans())
    def give(self, number: int, size: int, end: bool, stream: int = 0) -> None:
        found = (stream, self.uploads[stream]) if stream else self.some(number, lambda upload: not upload.ended)
        if found is None:
            return
        stream, upload = found
        size = min(size, upload.size - len(upload.given))
        end = end and len(upload.given) + size == upload.size
        piece = bytes((stream + position) % 251 for position in range(len(upload.given), len(upload.given) + size))
        taken = self.client.send_data(stream, piece, end=end)
        assert taken is not upload.told
        if taken:
            upload.given += piece
            upload.ended = end

    @rule(number=choice, share=st.integers(1, 3))
    def consume(self, number: int, share: int) -> None:
        found = self.some(number, lambda upload: len(upload.got) > upload.consumed)
        if found is not None:
            stream, upload = found
            part = -(-(len(upload.got) - upload.consumed) // share)
            upload.consumed += part
            self.server.consumed(stream, part)

    @rule(number=choice, how=st.sampled_from(["result", "error", "reset"]))
    def answer(self, number: int, how: str) -> None:
        found = self.some(number, lambda upload: not upload.answered)
        if found is None or self.server._machine.streams.get(found[0]) is None:
            return
        stream, upload = found
        match how:
            case "result":
                assert self.server.send(stream, m.Result(STATUS), end=not upload.watch)
            case "error":
                assert self.server.send_error(stream, ErrorCode.QUEUE_FULL, "full")
            case "reset":
                assert self.server.reset(stream)
        upload.answered = True
        upload.consumed = len(upload.got)

    @rule(number=choice)
    def end_watch(self, number: int) -> None:
        found = self.some(number, lambda upload: upload.answered and upload.watch)
        if found is not None and self.server._machine.streams.get(found[0]) is not None:
            self.server.send_error(found[0], ErrorCode.INTERNAL, "enough")

    @rule(number=choice)
    def give_up(self, number: int) -> None:
        found = self.some(number, lambda upload: not upload.told)
        if found is not None:
            self.client.reset(found[0])
            found[1].told = True
            assert self.client.unsent(found[0]) == 0

    @rule(number=choice, size=st.integers(0, 4000))
    def serve_fetch(self, number: int, size: int) -> None:
        known = [stream for stream in self.fetches if self.server._machine.streams.get(stream) is not None]
        if known:
            stream = known[number % len(known)]
            if self.server._machine.streams[stream].state == 0:  # OPEN
                self.server.send(stream, m.Result({"length": size}), end=not size)
                if size:
                    self.server.send_data(stream, bytes(size), end=True)

    @precondition(lambda self: not self.server.draining)
    @rule()
    def drain_server(self) -> None:
        if len(self.uploads) > 4:
            self.server.goaway(ErrorCode.DRAINING)

    # ------------------------------------------------------------------ what the wire does

    @rule(count=st.integers(1, 6000))
    def upwards(self, count: int) -> None:
        self.leave_client()
        self.at_server(self.server.receive(self.up.take(count)))

    @rule(count=st.integers(1, 6000), piece=st.integers(1, 200))
    def upwards_in_pieces(self, count: int, piece: int) -> None:
        self.leave_client()
        data = self.up.take(count)
        for start in range(0, len(data), piece):
            rest = data[start : start + piece]
            while rest:
                place = self.server.get_buffer()
                part = min(len(place), len(rest))
                place[:part] = rest[:part]
                self.at_server(self.server.buffer_updated(part))
                rest = rest[part:]

    @rule(count=st.integers(1, 6000))
    def downwards(self, count: int) -> None:
        self.leave_server()
        data = self.down.take(count)
        self.at_client(self.client.receive(data))

    def leave_client(self) -> None:
        data = b"".join(self.client.data_to_send())
        for frame in cut_frames(data):
            if frame.type == FrameType.DATA:
                self.on_sent(frame)
        self.up.data += data

    def on_sent(self, frame: Seen) -> None:
        upload = self.uploads[frame.stream]
        assert not upload.told, "DATA after the answer was seen"
        size = len(frame.tail)
        self.window -= size
        self.windows[frame.stream] = self.windows.get(frame.stream, 2048) - size
        assert self.window >= 0
        assert self.windows[frame.stream] >= 0

    def leave_server(self) -> None:
        self.down.data += b"".join(self.server.data_to_send())

    def at_server(self, incoming: list[Incoming]) -> None:
        for item in incoming:
            assert isinstance(item, Received), item
            upload = self.uploads.get(item.stream)
            if upload is None:
                continue
            if isinstance(item.message, m.Data):
                assert not upload.answered
                assert not upload.complete
                upload.got += item.message.tail
                upload.complete = item.end
            elif isinstance(item.message, m.Reset):
                upload.answered = True
                upload.consumed = len(upload.got)

    def at_client(self, incoming: list[Incoming]) -> None:
        for item in incoming:
            assert isinstance(item, Received), item
            if item.stream in self.uploads:
                self.uploads[item.stream].told = True
            elif item.stream and isinstance(item.message, m.Data) and not item.end:
                self.client.consumed(item.stream, len(item.message.tail))
        # Credit is no event: the outsider reads it from the books of the client, which were checked when it was spent.
        self.window = self.client._machine.outbox.window.available
        for stream in self.windows:
            found = self.client._machine.streams.get(stream)
            if found is not None and found.send is not None:
                self.windows[stream] = found.send.available

    # ------------------------------------------------------------------ what always holds

    @invariant()
    def both_are_well(self) -> None:
        assert self.client.state in (State.READY, State.DRAINING)
        assert self.server.state in (State.READY, State.DRAINING)

    @invariant()
    def what_came_is_what_was_given(self) -> None:
        for upload in self.uploads.values():
            assert upload.given.startswith(upload.got)
            if upload.complete:
                assert len(upload.got) == upload.size

    @invariant()
    def windows_add_up(self) -> None:
        """At the receiver always; between the two when nothing is under way."""
        for side in (self.server, self.client):
            window = side._machine.window
            held = sum(s.receive.outstanding for s in side._machine.streams.values() if s.receive is not None)
            assert window.outstanding == held
            assert window.available + window.unreturned + window.outstanding == window.size

    def settle(self) -> None:
        while True:
            self.leave_client()
            self.leave_server()
            if not self.up.data and not self.down.data:
                return
            self.at_server(self.server.receive(self.up.take(1 << 30)))
            self.at_client(self.client.receive(self.down.take(1 << 30)))

    def teardown(self) -> None:
        """Everything can be brought to an end, and then no credit is missing on either side."""
        self.settle()
        for stream, upload in self.uploads.items():
            if self.server._machine.streams.get(stream) is not None and not upload.answered:
                self.server.consumed(stream, len(upload.got) - upload.consumed)
                assert self.server.send(stream, m.Result(STATUS), end=not upload.watch)
        self.settle()
        for stream, upload in self.uploads.items():
            if upload.watch and self.server._machine.streams.get(stream) is not None:
                self.server.send_error(stream, ErrorCode.INTERNAL, "enough")
        for stream in self.fetches:
            self.client.reset(stream)
        self.settle()
        assert self.client.open_streams == self.server.open_streams == 0
        for sender, receiver in ((self.client, self.server), (self.server, self.client)):
            window = receiver._machine.window
            assert window.outstanding == 0
            assert sender._machine.outbox.window.available + window.unreturned == window.size
        assert not self.client.has_output
        assert not self.server.has_output


TestUploads = Uploads.TestCase
TestUploads.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, derandomize=True, phases=[Phase.generate]
)
