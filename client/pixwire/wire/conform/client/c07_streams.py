"""Section 7 from a client's side: the grammar of a stream, its end, how many, and credit."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from pixwire_protocol.registry import LIMITS, ErrorCode

from ..frames import BIT, Frame, credit, frame, ping, reset
from ..images import png
from ..verdicts import Ended, Failure, Skip
from .actor import IMAGE, PROBE, SECOND, Actor, PlayedJob
from .bench import Bench
from .register import case


class Disturbing(Actor, ABC):
    """Sends something on the first stream that stays open behind its first RESULT, and judges what the client does."""

    codes: tuple[ErrorCode, ...] = (ErrorCode.PROTOCOL_ERROR,)

    @abstractmethod
    def bad(self, stream: int, job: PlayedJob) -> bytes:
        """The offending frames."""

    async def story(self, stream: int, job: PlayedJob, want: Sequence[str] | None) -> None:
        await self.stream_dies(stream, self.bad(stream, job), *self.codes)
        raise Ended("done")

    async def announce(self, stream: int, job: PlayedJob, *rest: Any, **more: Any) -> None:
        await super().announce(stream, job, *rest, **more)
        await self.stream_dies(stream, self.bad(stream, job), *self.codes)
        raise Ended("done")


async def disturbed(bench: Bench, actor: type[Actor]) -> None:
    """One run; the client need not get an image, but must not claim to have another one."""
    (await bench.play(actor, Actor)).got_or_failed()


@case("PXW-STR-013")
async def grammar(bench: Bench) -> None:
    """Frames that the grammar does not allow are a PROTOCOL_ERROR: DATA without announcement, END too early"""

    class DataFirst(Disturbing):
        def bad(self, stream: int, job: PlayedJob) -> bytes:
            return frame("DATA", stream, None, b"xxxx") * (1 if job.state != "succeeded" else 0) or frame(
                "EVENT", stream, {**self.status(job), "event": "state"}
            )

    class Early(Disturbing):
        def bad(self, stream: int, job: PlayedJob) -> bytes:
            if job.state == "succeeded":
                return frame("EVENT", stream, {**self.status(job), "event": "state"}, flags=BIT)
            return frame(
                "EVENT", stream, {**self.status(job), "state": "running", "seq": 9, "event": "state"}, flags=BIT
            )

    await disturbed(bench, DataFirst)
    await disturbed(bench, Early)


@case("PXW-REQ-027")
async def wrong_length(bench: Bench) -> None:
    """END before the announced bytes have come, or bytes beyond them, make no image"""

    class Short(Actor):
        async def announce(
            self, stream: int, job: PlayedJob, facts: Any, offset: int, data: bytes, *, last: bool
        ) -> None:
            told = {"job": job.job, **facts, "offset": offset, "length": len(data)}
            await self.write(frame("RESULT", stream, told))
            await self.stream_dies(stream, frame("DATA", stream, None, data[:-1], flags=BIT), ErrorCode.PROTOCOL_ERROR)
            raise Ended("done")

    class Long(Actor):
        async def announce(
            self, stream: int, job: PlayedJob, facts: Any, offset: int, data: bytes, *, last: bool
        ) -> None:
            told = {"job": job.job, **facts, "offset": offset, "length": len(data)}
            await self.write(frame("RESULT", stream, told))
            more = frame("DATA", stream, None, data + b"x", flags=BIT)
            await self.stream_dies(stream, more, ErrorCode.PROTOCOL_ERROR)
            raise Ended("done")

    await disturbed(bench, Short)
    await disturbed(bench, Long)


@case("PXW-REQ-038", section="8.16", level=2)
async def wrong_announcement(bench: Bench) -> None:
    """An announcement of another artifact, of another offset or of another length than is due is a violation"""

    class Wrong(Actor):
        wrong: Mapping[str, int] = {}

        async def announce(
            self, stream: int, job: PlayedJob, facts: Any, offset: int, data: bytes, *, last: bool
        ) -> None:
            told = {"job": job.job, **facts, "offset": offset, "length": len(data), **self.wrong}
            await self.stream_dies(stream, frame("RESULT", stream, told), ErrorCode.PROTOCOL_ERROR)
            raise Ended("done")

    size = len(IMAGE)
    for wrong in ({"artifact": 1}, {"offset": 1, "length": size - 1}, {"length": size + 1}, {"length": size - 1}):
        await disturbed(bench, type("Wrong", (Wrong,), {"wrong": wrong}))


@case("PXW-REQ-037", section="8.16")
async def malformed_bodies(bench: Bench) -> None:
    """A field that every client uses is missing or of a wrong type: a state, the length of an announcement"""

    class Stateless(Disturbing):
        codes = (ErrorCode.PROTOCOL_ERROR, ErrorCode.BAD_HEAD)
        state: Mapping[str, Any] = {}

        def bad(self, stream: int, job: PlayedJob) -> bytes:
            body = {**self.status(job), "seq": 9, "event": "state"}
            del body["state"]
            return frame("EVENT", stream, {**body, **self.state})

    class Lengthless(Actor):
        async def announce(
            self, stream: int, job: PlayedJob, facts: Any, offset: int, data: bytes, *, last: bool
        ) -> None:
            told = frame("RESULT", stream, {"job": job.job, **facts, "offset": offset})
            await self.stream_dies(stream, told, ErrorCode.PROTOCOL_ERROR, ErrorCode.BAD_HEAD)
            raise Ended("done")

    await disturbed(bench, Stateless)
    await disturbed(bench, type("Stateless", (Stateless,), {"state": {"state": 5}}))
    await disturbed(bench, Lengthless)


@case("PXW-FLW-013")
async def empty_data(bench: Bench) -> None:
    """DATA with neither bytes nor END is a PROTOCOL_ERROR"""

    class Empty(Actor):
        async def announce(
            self, stream: int, job: PlayedJob, facts: Any, offset: int, data: bytes, *, last: bool
        ) -> None:
            told = {"job": job.job, **facts, "offset": offset, "length": len(data)}
            await self.write(frame("RESULT", stream, told))
            await self.connection_dies(frame("DATA", stream), ErrorCode.PROTOCOL_ERROR)
            raise Ended("done")

    await disturbed(bench, Empty)


@case("PXW-EXT-006")
async def unknown_type(bench: Bench) -> None:
    """An unknown type on an open stream is answered with RESET UNKNOWN_FRAME"""

    class Unknown(Disturbing):
        codes = (ErrorCode.UNKNOWN_FRAME,)

        def bad(self, stream: int, job: PlayedJob) -> bytes:
            return frame(0x3F, stream, b"\xc1", b"?")

    await disturbed(bench, Unknown)


@case("PXW-EXT-002")
async def critical(bench: Bench) -> None:
    """crit with an unknown key in an EVENT, RESULT or CREDIT of a stream is answered with RESET UNKNOWN_CRITICAL"""

    class Critical(Disturbing):
        codes = (ErrorCode.UNKNOWN_CRITICAL,)

        def bad(self, stream: int, job: PlayedJob) -> bytes:
            if job.state == "succeeded":
                return frame("CREDIT", stream, {"n": 1, "crit": ["x_y"]})
            return frame("EVENT", stream, {"event": "state", "crit": ["x_y"], **self.status(job)})

    await disturbed(bench, Critical)


@case("PXW-STR-015", "PXW-STR-016")
async def reset_by_the_server(bench: Bench) -> None:
    """RESET of the stream: the client takes it as its end, and does not answer it"""

    class Resetting(Actor):
        async def story(self, stream: int, job: PlayedJob, want: Sequence[str] | None) -> None:
            await self.reset_and_listen(stream)

        async def announce(self, stream: int, *rest: Any, **more: Any) -> None:
            await self.reset_and_listen(stream)

        async def reset_and_listen(self, stream: int) -> None:
            await self.write(reset(stream, ErrorCode.INTERNAL), ping(PROBE))
            while (got := await self.peer.receive()).tail != PROBE:
                if got.stream == stream and got.name in ("RESET", "ERROR"):
                    raise Failure(f"the RESET was answered with {got}")
            raise Ended("done")

    await disturbed(bench, Resetting)


@case("PXW-STR-017", "PXW-FLW-010", "PXW-STR-022")
async def late_frames(bench: Bench) -> None:
    """Frames on a stream that has ended are ignored: CREDIT, RESET, unknown types, heads that are no map"""

    class Late(Actor):
        async def write(self, *parts: bytes) -> None:
            await super().write(*parts)
            if self.peer.judge.last_stream and self.peer.judge.last_stream not in self.peer.judge.open:
                stream = self.peer.judge.last_stream
                late = credit(1, stream) + reset(stream) + frame(0x3F, stream) + frame("EVENT", stream, b"\xc1")
                await self.peer.send_raw(late)

    (await bench.play(Late)).got()


@case("PXW-STR-019")
async def one_stream(bench: Bench) -> None:
    """With max_streams 1 the client never has two streams open"""

    class Narrow(Actor):
        limits: Mapping[str, Any] = {"max_streams": 1, "min_ping_ms": 0}

    (await bench.play(Narrow)).got()


@case("PXW-KAL-001", "PXW-KAL-003")
async def pings(bench: Bench) -> None:
    """PING at any moment is answered with the same bytes, a PONG that answers nothing is ignored"""

    class Asking(Actor):
        asked = 0

        async def write(self, *parts: bytes) -> None:
            await super().write(*parts)
            if self.peer.judge.welcomed and self.asked < 8:
                self.asked += 1
                await self.peer.send_raw(ping(bytes([self.asked]) * 8) + frame("PONG", 0, None, b"nobody??"))

        async def on_pong(self, got: Frame) -> None:
            self.answered = getattr(self, "answered", 0) + 1
            if got.tail != bytes([self.answered]) * 8:
                raise Failure(f"PONG {self.answered} carries {got.tail.hex(' ')}")

    performance = await bench.play(Asking)
    performance.got()
    actor = performance.actors[0]
    if not getattr(actor, "answered", 0):
        raise Failure(f"none of {actor.asked} PINGs was answered")  # type: ignore[attr-defined]


@case("PXW-FLW-007", "PXW-FLW-008", level=2)
async def credit_returned(bench: Bench) -> None:
    """An image larger than both windows arrives: the client returns credit, on the stream and on the connection"""
    large = png(16) + bytes(6 << 20)

    class Large(Actor):
        images = (large,)
        chunk = 65536

        async def announce(self, *arguments: Any, **more: Any) -> None:
            limits = self.hello.get("limits") or {}
            for name in ("stream_window", "connection_window"):
                if limits.get(name, LIMITS[name].default) >= len(large):
                    raise Skip(f"the client's {name} of {limits[name]} is larger than the largest image made here")
            await super().announce(*arguments, **more)

    (await bench.play(Large)).got(large)


@case("PXW-FLW-008", section="7.4", level=2)
async def tiny_data(bench: Bench) -> None:
    """DATA of a few bytes each, and PING between them: the image arrives"""

    class Tiny(Actor):
        chunk = 7

    (await bench.play(Tiny)).got()


@case("PXW-REQ-026", section="8.14", level=2)
async def several_artifacts(bench: Bench) -> None:
    """Two artifacts, and an empty one behind them: the client takes the first and does not stumble over the others"""

    class Several(Actor):
        images = (IMAGE, SECOND, b"")

    (await bench.play(Several)).got()


@case("PXW-SEC-003", level=2)
async def enormous(bench: Bench) -> None:
    """An announcement of 2^62 bytes: the client refuses it and does not claim an image"""

    class Enormous(Actor):
        async def announce(self, stream: int, job: PlayedJob, facts: Any, *rest: Any, **more: Any) -> None:
            told = {"job": job.job, **facts, "size": 2**62, "offset": 0, "length": 2**62}
            await self.write(frame("RESULT", stream, told))
            while True:
                got = await self.peer.receive()
                if got.name in ("RESET", "GOAWAY"):
                    raise Ended("done")

    (await bench.play(Enormous)).failed()


@case("PXW-LIM-003", level=2)
async def small_data_flood(bench: Bench) -> None:
    """More tiny DATA in a row than small_data_run are EXCESSIVE_LOAD"""
    run = LIMITS["small_data_run"].default

    class Flooding(Actor):
        async def announce(self, stream: int, job: PlayedJob, facts: Any, *rest: Any, **more: Any) -> None:
            told = {"job": job.job, **facts, "size": 2 * run, "offset": 0, "length": 2 * run}
            await self.write(frame("RESULT", stream, told))
            await self.connection_dies(frame("DATA", stream, None, b"x") * (run + 1), ErrorCode.EXCESSIVE_LOAD)
            raise Ended("done")

    await disturbed(bench, Flooding)
