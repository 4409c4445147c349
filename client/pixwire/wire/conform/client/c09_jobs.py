"""Sections 8 to 10, 14: what a client makes of events, states and errors."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from pixwire_protocol.registry import ErrorCode

from ..frames import BIT, Frame, frame, split_frames
from ..verdicts import Ended, Failure, Violation
from .actor import IMAGE, SECOND, Actor, PlayedJob
from .bench import Bench, Performance, skip_without_command
from .register import case

RETRY_MS = 300
ESCAPES = "\x1b]0;pwned\x07\x1b[31m\x9b1m"


@case("PXW-REQ-029", "PXW-JOB-005", "PXW-JOB-001")
async def strange_story(bench: Bench) -> None:
    """Unknown events, gaps in seq, a job that goes back to queued: the image arrives"""

    class Strange(Actor):
        async def story(self, stream: int, job: PlayedJob, want: Sequence[str] | None) -> None:
            if want is None:
                return
            await self.change(stream, job, "running")
            job.seq += 1
            await self.write(frame("EVENT", stream, {"event": "thinking", "job": job.job, "seq": job.seq, "x": [1]}))
            job.seq += 1_000_000
            await self.change(stream, job, "queued", attempt=1)
            await self.change(stream, job, "running", attempt=2)

    (await bench.play(Strange)).got()


@case("PXW-REQ-003", section="8.8")
async def known_already(bench: Bench) -> None:
    """A SUBMIT that is answered with duplicate and a job that is over already: the image arrives"""

    class Over(Actor):
        async def answer(self, stream: int, head: Any, **more: Any) -> None:
            job = self.stage.jobs[head["job"]]
            job.state, job.seq = "succeeded", 9
            await super().answer(stream, head, **{**more, "duplicate": True} if "duplicate" in more else more)

    (await bench.play(Over)).got()


@case("PXW-JOB-011")
async def jobs_that_fail(bench: Bench) -> None:
    """A job that failed, was cancelled or expired gives no image, and the client says so"""
    for state in ("failed", "cancelled", "expired"):
        (await bench.play(type("Ending", (Actor,), {"finish": state}))).failed()


class Refusing(Actor):
    """Answers every SUBMIT with this ERROR."""

    error: Mapping[str, Any] = {}

    async def on_submit(self, got: Frame) -> None:
        self.stage.submitted(got.head, got.tail)
        self.stage.submits.append(asyncio.get_running_loop().time())
        await self.write(frame("ERROR", got.stream, self.error, flags=BIT))


async def refused(bench: Bench, *more: type[Actor], **error: Any) -> Performance:
    """One run against a server that refuses."""
    return await bench.play(type("Refusal", (Refusing,), {"error": error}), *more)


def once(performance: Performance) -> None:
    """Fails when the client submitted again."""
    if len(performance.stage.submits) > 1:
        raise Failure(f"{len(performance.stage.submits)} SUBMIT came, although the first was answered with retry: no")
    performance.failed()


@case("PXW-ERR-002", "PXW-ERR-003", "PXW-ERR-006")
async def no_retry(bench: Bench) -> None:
    """The retry of the frame counts, not that of the registry or the message; an unknown one is "no\""""
    full = ErrorCode.QUEUE_FULL
    once(await refused(bench, code=int(full), name="QUEUE_FULL", retry="no", processed="no", message="retry: after"))
    once(await refused(bench, code=int(full), name="QUEUE_FULL", retry="perhaps", processed="no"))
    once(await refused(bench, code=int(ErrorCode.INVALID_ARGUMENT), processed="no", details={"field": "prompt"}))


@case("PXW-ERR-009", "PXW-ERR-010", "PXW-ERR-004")
async def unknown_error(bench: Bench) -> None:
    """A code nobody knows, and an unknown processed, are taken as an error like others"""
    once(await refused(bench, code=0xE777, name="ORG_EXAMPLE", retry="no", processed="partly", x_more=[1]))
    once(await refused(bench, code=0x0399, retry="no"))


@case("PXW-ERR-005", "PXW-REQ-006")
async def retry_later(bench: Bench) -> None:
    """With retry: after the client comes back not before retry_after_ms, with the same bytes, or not at all"""

    class Later(Refusing):
        error: Mapping[str, Any] = {
            "code": int(ErrorCode.QUEUE_FULL),
            "name": "QUEUE_FULL",
            "retry": "after",
            "retry_after_ms": RETRY_MS,
            "processed": "no",
        }

        async def on_submit(self, got: Frame) -> None:
            if self.stage.submits:
                await Actor.on_submit(self, got)
                waited = self.stage.submits[1] - self.stage.submits[0]
                if waited < RETRY_MS / 1000:
                    raise Failure(f"the client came back after {waited * 1000:.0f} ms, it was told {RETRY_MS}")
            else:
                await super().on_submit(got)

    (await bench.play(Later)).got_or_failed()


@case("PXW-ERR-011", slow=True)
async def never_better(bench: Bench) -> None:
    """A server that always answers INTERNAL with retry: same_id: the client gives up after a while"""
    skip_without_command(bench)
    (await refused(bench, code=int(ErrorCode.INTERNAL), name="INTERNAL", retry="same_id")).failed()


@case("PXW-SEC-006")
async def escapes(bench: Bench) -> None:
    """Control characters in messages and names do not reach the terminal"""
    skip_without_command(bench)
    performance = await refused(bench, code=0x0399, name="X", retry="no", message=f"no{ESCAPES}")
    if b"\x1b" in performance.output or b"\x07" in performance.output:
        raise Failure(f"the client printed them: {performance.output[-200:]!r}")


class Cutting(Actor):
    """Ends the connection in the middle of the image, behind the first bytes of it."""

    chunk = 20

    async def write(self, *parts: bytes) -> None:
        await super().write(*parts)
        if any(sent.name == "DATA" for part in parts for sent in split_frames(part)):
            self.peer.half_close()
            await self.peer.ended()
            raise Ended("done")


@case("PXW-CON-013", "PXW-DRN-012", level=2)
async def cut_in_the_image(bench: Bench) -> None:
    """A connection that is cut in the middle of an image: the client goes on where it may, or fails; no broken file"""

    class Continuing(Actor):
        async def on_fetch(self, got: Frame) -> None:
            if got.head.get("offset") and not got.head.get("etag"):
                raise Violation("PXW-DRN-012", f"{got} continues at {got.head['offset']} without the etag")
            await super().on_fetch(got)

    (await bench.play(Cutting, Continuing)).got_or_failed()


@case("PXW-JOB-015", level=2)
async def other_bytes_later(bench: Bench) -> None:
    """Bytes of two etags are never joined: after a cut the artifact is another one"""

    class Changed(Actor):
        images = (SECOND,)

    (await bench.play(Cutting, Changed)).got_or_failed(IMAGE, SECOND)


@case("PXW-CON-015", level=2)
async def last_byte_missing(bench: Bench) -> None:
    """The byte stream ends one byte before the last DATA frame is complete: that frame never counts"""

    class Short(Actor):
        async def write(self, *parts: bytes) -> None:
            if any(part[4] == 0x21 and part[5] & BIT for part in parts if part[:1] == b"\xc1"):
                await self.peer.send_raw(b"".join(parts)[:-1])
                self.peer.half_close()
            else:
                await super().write(*parts)

    (await bench.play(Short, Actor)).got_or_failed()


@case("PXW-REQ-018", "PXW-DRN-011", section="12.3")
async def lost_job(bench: Bench) -> None:
    """A job that is JOB_NOT_FOUND although its RESULT had come is not submitted anew"""

    class Accepting(Actor):
        async def answer(self, stream: int, head: Any, **more: Any) -> None:
            await self.write(frame("RESULT", stream, {**self.status(self.stage.jobs[head["job"]]), "seq": 1}))
            self.peer.cut()

    class Forgetful(Actor):
        async def on_submit(self, got: Frame) -> None:
            raise Failure("the job was submitted anew")

        async def on_watch(self, got: Frame) -> None:
            await self.unknown(got)

        on_status = on_fetch = on_watch

    (await bench.play(Accepting, Forgetful)).failed()
