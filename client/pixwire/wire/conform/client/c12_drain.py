"""Section 12: GOAWAY, drain, and coming back."""

import asyncio
from collections.abc import Sequence
from typing import Any

from pixwire_protocol.registry import MAX_STREAM, ErrorCode

from ..frames import Frame, frame, ping
from ..verdicts import Ended, Failure
from .actor import PROBE, Actor, PlayedJob
from .bench import Bench
from .register import case

RECONNECT_MS = 300


def draining(last_stream: int, **more: Any) -> bytes:
    """GOAWAY DRAINING."""
    return frame("GOAWAY", 0, {"last_stream": last_stream, "code": int(ErrorCode.DRAINING), **more})


class Draining(Actor):
    """Says in the middle of the first watched stream that it is about to stop, twice, and finishes what is open."""

    async def on_pong(self, got: Frame) -> None:
        """The client has read the first GOAWAY."""
        if got.tail == PROBE:
            self.peer.judge.drained = True

    async def story(self, stream: int, job: PlayedJob, want: Sequence[str] | None) -> None:
        await self.write(draining(MAX_STREAM, grace_ms=60_000, reconnect_after_ms=0), ping(PROBE))
        await self.write(draining(stream, grace_ms=60_000, reconnect_after_ms=0))
        await super().story(stream, job, want)


@case("PXW-DRN-001", "PXW-DRN-004")
async def drain(bench: Bench) -> None:
    """GOAWAY in the middle of a job: the open stream is finished, no stream is opened behind it, the image arrives"""
    (await bench.play(Draining, Actor)).got()


@case("PXW-DRN-005", "PXW-DRN-008", "PXW-REQ-006")
async def not_processed(bench: Bench) -> None:
    """A stream above last_stream was not processed: the client may repeat it, not before reconnect_after_ms"""
    told: list[float] = []

    class Leaving(Actor):
        async def on_submit(self, got: Frame) -> None:
            self.stage.submitted(got.head, got.tail)
            told.append(asyncio.get_running_loop().time())
            await self.write(draining(0, reconnect_after_ms=RECONNECT_MS))
            self.peer.half_close()
            await self.peer.ended()
            raise Ended("done")

    class Again(Actor):
        async def perform(self) -> None:
            waited = asyncio.get_running_loop().time() - told[-1]
            if waited < RECONNECT_MS / 1000:
                raise Failure(f"the client came back after {waited * 1000:.0f} ms, it was told {RECONNECT_MS}")
            await super().perform()

    (await bench.play(Leaving, Again)).got_or_failed()


@case("PXW-CON-012", "PXW-ERR-010")
async def failed_connection(bench: Bench) -> None:
    """GOAWAY with an error code, also an unknown one, and ERROR on stream 0 are the end: nothing more is asked there"""
    for last in (
        frame("GOAWAY", 0, {"last_stream": 1, "code": int(ErrorCode.INTERNAL)}),
        frame("GOAWAY", 0, {"last_stream": 1, "code": 0x0999}),
        frame("ERROR", 0, {"code": int(ErrorCode.INTERNAL)}),
    ):

        class Failing(Actor):
            last: bytes

            async def on_submit(self, got: Frame) -> None:
                self.stage.submitted(got.head, got.tail)
                await self.write(self.last)
                self.peer.half_close()
                for more in await self.peer.ended():
                    if more.stream and more.name not in ("RESET", "CREDIT"):
                        raise Failure(f"behind the end of the connection the client sent {more}")
                raise Ended("done")

        (await bench.play(type("Failing", (Failing,), {"last": last}), Actor)).got_or_failed()


@case("PXW-CON-013", section="12.3")
async def closed_without_goaway(bench: Bench) -> None:
    """A connection that ends without GOAWAY behind the RESULT: the client finds its job again, or fails"""

    class Gone(Actor):
        async def story(self, stream: int, job: PlayedJob, want: Sequence[str] | None) -> None:
            self.peer.half_close()
            await self.peer.ended()
            raise Ended("done")

    (await bench.play(Gone, Actor)).got_or_failed()


@case("PXW-REQ-006", "PXW-CON-013")
async def submit_repeated(bench: Bench) -> None:
    """A connection that is cut before the RESULT: a repeated SUBMIT has the same id and the same bytes"""

    class Gone(Actor):
        async def on_submit(self, got: Frame) -> None:
            self.stage.submitted(got.head, got.tail)
            self.peer.cut()

    (await bench.play(Gone, Actor)).got_or_failed()
