"""Section 7.5: a client that sends an image along. PIXWIRE_IMAGE names it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from pixwire_protocol.registry import ErrorCode

from ..frames import BIT, Frame, frame, ping
from ..verdicts import Ended, Failure
from .actor import PROBE, Actor
from .bench import Bench, Performance
from .register import case

ROOMY: Mapping[str, Any] = {"max_upload": 1 << 24, "min_ping_ms": 0}


async def uploaded(bench: Bench, *actors: type[Actor]) -> Performance:
    """One run with an image to send."""
    return await bench.play(*actors, upload=True)


class Taking(Actor):
    """Takes uploads and compares them with the file."""

    limits = ROOMY

    async def accept(self, stream: int) -> None:
        head, _tail, content = self.uploads[stream]
        if not head.get("attachments"):
            raise Failure("the job was submitted without its image (PIXWIRE_IMAGE)")
        if bytes(content) != self.stage.input_image:
            raise Failure(f"{len(content)} bytes were uploaded that are not those of PIXWIRE_IMAGE")
        await super().accept(stream)


@case("PXW-UPL-001", "PXW-UPL-002", level=3)
async def plain_upload(bench: Bench) -> None:
    """The attachment's bytes follow the SUBMIT as DATA, END on the last; the image arrives"""
    (await uploaded(bench, Taking)).got()


@case("PXW-FRM-003", level=3)
async def small_frames(bench: Bench) -> None:
    """A client that is told max_frame 4,096 sends no longer frame, also when it has credit for more"""

    class Small(Taking):
        limits: Mapping[str, Any] = {**ROOMY, "max_frame": 4096}

    (await uploaded(bench, Small)).got()


@case("PXW-FLW-001", "PXW-FLW-002", level=3)
async def small_windows(bench: Bench) -> None:
    """With the smallest windows and frames the client sends DATA only as far as its credit goes"""

    class Stingy(Taking):
        limits: Mapping[str, Any] = {**ROOMY, "stream_window": 1024, "connection_window": 1024, "max_frame": 4096}
        owed = 0

        async def grant(self, stream: int, size: int) -> None:
            self.owed += size
            if not self.peer.judge.windows[stream]:
                owed, self.owed = self.owed, 0
                await super().grant(stream, owed)

    (await uploaded(bench, Stingy)).got()


class Early(Actor, ABC):
    """Answers a SUBMIT before its bytes; none may come once the client has surely read the answer."""

    limits: Mapping[str, Any] = {**ROOMY, "stream_window": 1024}

    async def on_submit(self, got: Frame) -> None:
        await self.early(got)
        await self.write(ping(PROBE))

    @abstractmethod
    async def early(self, got: Frame) -> None:
        """The answer."""

    async def on_pong(self, got: Frame) -> None:
        """From here on the client knows."""
        if got.tail == PROBE:
            self.known = True

    async def on_data(self, got: Frame) -> None:
        if getattr(self, "known", False):
            raise Failure(f"{got} came behind the answer")
        await self.write(frame("CREDIT", 0, {"n": len(got.tail)}))


@case("PXW-UPL-007", level=3)
async def early_answers(bench: Bench) -> None:
    """An early RESULT is as good as a late one, an early ERROR ends the request; no DATA come behind either"""

    class Known(Early):
        async def early(self, got: Frame) -> None:
            self.stage.submitted(got.head, got.tail)
            await self.answer(got.stream, got.head, duplicate=True)

    class Refusing(Early):
        async def early(self, got: Frame) -> None:
            code = ErrorCode.INVALID_ARGUMENT
            details: dict[str, Any] = {"field": "attachments[0].media_type"}
            head = {"code": int(code), "name": code.name, "retry": "no", "processed": "no", "details": details}
            await self.write(frame("ERROR", got.stream, head, flags=BIT))

    (await uploaded(bench, Known)).got()
    (await uploaded(bench, Refusing)).failed()


@case("PXW-UPL-016", level=3)
async def too_large(bench: Bench) -> None:
    """An image larger than max_upload is not announced"""

    class Narrow(Actor):
        limits: Mapping[str, Any] = {"max_upload": 10, "min_ping_ms": 0}

        async def on_submit(self, got: Frame) -> None:
            sizes = [item["size"] for item in got.head.get("attachments") or ()]
            if any(size > 10 for size in sizes):
                raise Failure(f"attachments of {sizes} bytes were announced, max_upload is 10")
            raise Ended("done")

    class Without(Narrow):
        limits: Mapping[str, Any] = {"min_ping_ms": 0}

    (await uploaded(bench, Narrow)).failed()
    (await uploaded(bench, Without)).failed()
