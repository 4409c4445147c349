"""A server that is played to a client under test: one connection, right in everything unless a scenario says otherwise.

Scenarios subclass `Actor` and change one thing: what WELCOME says, what happens on a stream, how bytes are cut.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pixwire_protocol.heads import MESSAGES
from pixwire_protocol.registry import MAGIC, PREFACE, ErrorCode

from ..frames import BIT, Frame, frame, ping
from ..images import png
from ..peer import PREFACE_SIZE, Peer
from ..verdicts import Ended, Failure, Violation
from .judge import ClientJudge, is_fault

IMAGE: Final = png(64, 90)
SECOND: Final = png(64, 200)
PROBE: Final = b"conform?"
SECOND_PROBE: Final = b"conform!"
ClientPeer = Peer[ClientJudge]


@dataclass(slots=True)
class PlayedJob:
    """A job of the client: what it asked for, and how far it is."""

    job: str
    kind: str
    tail: bytes
    attachments: tuple[tuple[str, str], ...] = ()
    state: str = "queued"
    seq: int = 0


@dataclass(slots=True)
class Stage:
    """What all connections of one scenario share."""

    jobs: dict[str, PlayedJob] = field(default_factory=dict)
    submits: list[float] = field(default_factory=list)
    """When a SUBMIT came, in seconds of the loop's clock."""
    input_image: bytes = b""

    def submitted(self, head: Mapping[str, Any], tail: bytes) -> bool:
        """Note a SUBMIT; True when the job is new. Raises Violation when it repeats another one wrongly."""
        marks = tuple(sorted((item["name"], item["sha256"]) for item in head.get("attachments") or ()))
        known = self.jobs.get(head["job"])
        if known is None:
            self.jobs[head["job"]] = PlayedJob(head["job"], head["kind"], tail, marks)
            return True
        if (known.kind, known.tail, known.attachments) != (head["kind"], tail, marks):
            raise Violation("PXW-REQ-006", f"SUBMIT of {head['job']!r} was repeated with another kind or other bytes")
        return False


class Actor:
    """Plays one connection. `images` are the job's artifacts, `limits` and `more` go into WELCOME."""

    images: Sequence[bytes] = (IMAGE,)
    limits: Mapping[str, Any] = {"min_ping_ms": 0}
    more: Mapping[str, Any] = {}
    chunk: int = 16384
    steps: int = 2
    finish: str = "succeeded"

    def __init__(self, stage: Stage, peer: ClientPeer) -> None:
        self.stage = stage
        self.peer = peer
        self.hello: dict[str, Any] = {}
        self.queues: dict[int, deque[tuple[bool, bytes, bool]]] = {}
        """What waits for credit, by stream: whether it is DATA (else a finished frame), the bytes, END."""
        self.uploads: dict[int, tuple[dict[str, Any], bytes, bytearray]] = {}
        self.violation: Failure | None = None
        self.frames: list[str] = []
        """Names of what the client sent, in order."""

    # ------------------------------------------------------------------ life

    async def run(self) -> None:
        """Serve until the connection ends. What the client does wrong is kept in `violation`."""
        try:
            await self.perform()
        except Ended as end:
            if "behind" in str(end):
                self.violation = Violation("PXW-CON-015", f"the client broke off in the middle of a frame: {end}")
        except Failure as failure:
            self.violation = failure
        finally:
            self.peer.cut()

    async def perform(self) -> None:
        """Greet, then answer what comes."""
        await self.greet()
        while True:
            await self.take(await self.peer.receive())

    async def greet(self) -> None:
        """Both prefaces, HELLO and WELCOME."""
        await self.read_preface()
        await self.write(PREFACE)
        await self.read_hello()
        await self.say_welcome()

    async def read_preface(self) -> None:
        """The client's first bytes."""
        preface = await self.peer.exactly(PREFACE_SIZE)
        if preface[:4] != MAGIC:
            raise Violation("PXW-CON-001", f"the first bytes are {preface.hex(' ')}, not a preface")
        if preface[6:] != b"\0\0":
            raise Violation("PXW-CON-007", f"the preface ends in {preface[6:].hex(' ')}")
        if not preface[4] <= 1 <= preface[5]:
            raise Failure(f"the client speaks versions {preface[4]} to {preface[5]}, not 1")

    async def read_hello(self) -> None:
        """The client's first frame."""
        first = await self.peer.receive()
        if first.name != "HELLO":
            raise Ended("the client left")
        self.hello = first.head

    async def say_welcome(self) -> None:
        """WELCOME. What has come before it, the client sent without waiting."""
        ahead = self.peer.ahead
        if ahead and ahead[4:5] != bytes([MESSAGES["GOAWAY"].type]):
            raise Violation("PXW-HSK-002", f"{len(ahead)} bytes came behind HELLO, before WELCOME")
        self.peer.judge.declare(self.limits)
        await self.write(frame("WELCOME", 0, self.welcome()))

    def welcome(self) -> dict[str, Any]:
        """The head of WELCOME."""
        who = {"agent": "pixwire-conform", "server_id": "conform", "epoch": "e-1"}
        features = [name for name in self.hello.get("features") or () if name == "preview"]
        return {**who, "features": features, "durable": "disk", "limits": dict(self.limits), **self.more}

    async def write(self, *parts: bytes) -> None:
        """Send bytes to the client."""
        await self.peer.send(*parts)

    # ------------------------------------------------------------------ requests

    async def take(self, got: Frame) -> None:
        """One frame of the client."""
        self.frames.append(got.name)
        handler = getattr(self, f"on_{got.name.lower()}", None)
        if handler is not None:
            await handler(got)

    async def on_ping(self, got: Frame) -> None:
        """PONG."""
        await self.write(frame("PONG", 0, None, got.tail))

    async def on_goaway(self, got: Frame) -> None:
        """A client that gives up, or leaves."""
        if is_fault(got.head["code"]):
            raise Failure(f"the client ended the connection: {got}")

    async def on_error(self, got: Frame) -> None:
        """The same on stream 0."""
        if not got.stream:
            raise Failure(f"the client ended the connection: {got}")

    async def on_reset(self, got: Frame) -> None:
        """The client no longer listens there."""
        self.queues.pop(got.stream, None)

    async def on_credit(self, got: Frame) -> None:
        """More DATA may go."""
        await self.pump()

    async def on_submit(self, got: Frame) -> None:
        """Accept the job, once its attachments are here."""
        head = got.head
        self.stage.submits.append(asyncio.get_running_loop().time())
        self.uploads[got.stream] = (head, got.tail, bytearray())
        if not head.get("attachments"):
            await self.accept(got.stream)

    async def on_data(self, got: Frame) -> None:
        """Bytes of attachments; their credit goes back at once."""
        if got.stream not in self.uploads:
            return
        self.uploads[got.stream][2].extend(got.tail)
        if got.tail:
            await self.grant(got.stream, len(got.tail))
        if got.end:
            await self.accept(got.stream)

    async def grant(self, stream: int, size: int) -> None:
        """Give credit back."""
        await self.write(frame("CREDIT", stream, {"n": size}), frame("CREDIT", 0, {"n": size}))

    async def accept(self, stream: int) -> None:
        """RESULT of a SUBMIT, and what follows on its stream."""
        head, tail, _content = self.uploads.pop(stream)
        new = self.stage.submitted(head, tail)
        await self.answer(stream, head, duplicate=not new)

    async def answer(self, stream: int, head: Mapping[str, Any], **more: Any) -> None:
        """RESULT with the status map; a watched stream goes on."""
        job = self.stage.jobs[head["job"]]
        watch, deliver = head.get("watch") is True, head.get("deliver") is True
        job.seq = max(job.seq, 1)
        if not (watch or deliver):
            await self.write(frame("RESULT", stream, {**self.status(job), **more}, flags=BIT))
            return
        over = job.state not in ("queued", "running")
        end = over and not (deliver and job.state == "succeeded")
        await self.write(frame("RESULT", stream, {**self.status(job), **more}, flags=BIT if end else 0))
        if not over:
            await self.story(stream, job, tuple(head.get("want") or ()) if watch else None)
            await self.terminal(stream, job, deliver=deliver)
        if deliver and job.state == "succeeded":
            await self.deliver(stream, job)

    async def story(self, stream: int, job: PlayedJob, want: Sequence[str] | None) -> None:
        """Events up to the terminal one; `want` None: only that one was asked for."""
        if want is None:
            return
        await self.change(stream, job, "running")
        if "progress" in want:
            job.seq += 1
            body = {"job": job.job, "seq": job.seq, "event": "progress", "step": 1, "steps": self.steps, "attempt": 1}
            await self.write(frame("EVENT", stream, body))

    async def change(self, stream: int, job: PlayedJob, state: str, *, end: bool = False, **more: Any) -> None:
        """A state EVENT."""
        job.state = state
        job.seq += 1
        body = {**self.status(job), "event": "state", **more}
        await self.write(frame("EVENT", stream, body, flags=BIT if end else 0))

    async def terminal(self, stream: int, job: PlayedJob, *, deliver: bool) -> None:
        """The terminal EVENT."""
        await self.change(stream, job, self.finish, end=not deliver or self.finish != "succeeded")

    def status(self, job: PlayedJob) -> dict[str, Any]:
        """The status map now."""
        body = {"job": job.job, "kind": job.kind, "state": job.state, "seq": job.seq, "attempt": 1, "step": 0}
        body |= {"steps": self.steps, "seed": 7}
        if job.state == "succeeded":
            body["artifacts"] = [self.facts(index) for index in range(len(self.images))]
        if job.state in ("failed", "cancelled", "expired"):
            code = ErrorCode.CANCELLED if job.state == "cancelled" else ErrorCode.PIPELINE_ERROR
            body["error"] = {"code": int(code), "name": code.name, "message": f"it has {job.state}", "retry": "no"}
        return body

    def facts(self, index: int) -> dict[str, Any]:
        """What a status map says about an artifact."""
        data = self.images[index]
        etag = hashlib.sha256(data).hexdigest()
        known = {"artifact": index, "etag": etag, "size": len(data), "media_type": "image/png"}
        return {**known, "width": 64, "height": 64, "seed": 7 + index}

    async def on_status(self, got: Frame) -> None:
        """The job as it is; each question takes it one state further."""
        job = self.stage.jobs.get(got.head["job"])
        if job is None:
            await self.unknown(got)
            return
        if job.state in ("queued", "running"):
            job.state = "running" if job.state == "queued" else self.finish
            job.seq += 1
        await self.write(frame("RESULT", got.stream, self.status(job), flags=BIT))

    async def unknown(self, got: Frame) -> None:
        """JOB_NOT_FOUND."""
        code = ErrorCode.JOB_NOT_FOUND
        await self.write(frame("ERROR", got.stream, {"code": int(code), "name": code.name, "processed": "no"}))

    async def on_watch(self, got: Frame) -> None:
        """RESULT, then as for SUBMIT."""
        if got.head["job"] not in self.stage.jobs:
            await self.unknown(got)
        else:
            await self.answer(got.stream, {**got.head, "watch": True})

    async def on_cancel(self, got: Frame) -> None:
        """The job is over."""
        job = self.stage.jobs.get(got.head["job"])
        if job is None:
            await self.unknown(got)
            return
        job.state = "cancelled" if job.state in ("queued", "running") else job.state
        await self.write(frame("RESULT", got.stream, self.status(job), flags=BIT))

    async def on_list(self, got: Frame) -> None:
        """One model, no jobs."""
        what = got.head["what"]
        model = {"name": "conform", "default": True, "pipeline": "none", "kinds": ["txt2img", "img2img"]}
        model |= {"attachments": ["image"], "media_types": ["image/png"]}
        model |= {"defaults": {"steps": 2, "guidance_scale": 1.0, "width": 64, "height": 64}}
        model |= {"limits": dict.fromkeys(("size_multiple", "max_width", "max_height", "max_steps", "max_count"), 64)}
        model |= {"state": "loaded", "adapters": [], "pinned": True, "device": "cpu", "dtype": "float32"}
        body = {"what": what, "models": [model]} if what == "models" else {"what": what, "jobs": []}
        await self.write(frame("RESULT", got.stream, body, flags=BIT))

    # ------------------------------------------------------------------ artifacts

    async def on_fetch(self, got: Frame) -> None:
        """An artifact or a part of it."""
        head = got.head
        index, offset = head.get("artifact", 0), head.get("offset", 0)
        job = self.stage.jobs.get(head["job"])
        if job is None or job.state != "succeeded" or index >= len(self.images):
            await self.unknown(got)
            return
        facts = self.facts(index)
        if head.get("etag") not in (None, facts["etag"]):
            code = ErrorCode.ARTIFACT_CHANGED
            await self.write(frame("ERROR", got.stream, {"code": int(code), "name": code.name, "processed": "no"}))
            return
        data = self.images[index][offset:]
        length = min(len(data), head.get("length", len(data)))
        await self.announce(got.stream, job, facts, offset, data[:length], last=True)

    async def deliver(self, stream: int, job: PlayedJob) -> None:
        """All artifacts."""
        for index, data in enumerate(self.images):
            await self.announce(stream, job, self.facts(index), 0, data, last=index == len(self.images) - 1)

    async def announce(
        self, stream: int, job: PlayedJob, facts: Mapping[str, Any], offset: int, data: bytes, *, last: bool
    ) -> None:
        """RESULT, and DATA as credit allows."""
        told = {"job": job.job, **facts, "offset": offset, "length": len(data)}
        announcement = frame("RESULT", stream, told, flags=BIT if last and not data else 0)
        queue = self.queues.setdefault(stream, deque())
        if queue:
            queue.append((False, announcement, False))
        else:
            await self.write(announcement)
        if data:
            queue.append((True, data, last))
        await self.pump()

    async def pump(self) -> None:
        """Send what the client has credit for. Announcements behind DATA wait in the same queue."""
        judge = self.peer.judge
        limits = self.hello.get("limits") or {}
        for stream, queue in list(self.queues.items()):
            while queue:
                is_data, data, end = queue[0]
                if not is_data:
                    await self.write(data)
                    queue.popleft()
                    continue
                size = min(len(data), self.chunk, judge.window_of(stream), limits.get("max_frame", 262144))
                if not size:
                    break
                rest = data[size:]
                judge.took(stream, size)
                await self.write(frame("DATA", stream, None, data[:size], flags=BIT if end and not rest else 0))
                if rest:
                    queue[0] = (True, rest, end)
                else:
                    queue.popleft()
            if not queue:
                self.queues.pop(stream, None)

    # ------------------------------------------------------------------ for scenarios that do something wrong

    async def connection_dies(self, bad: bytes, *codes: ErrorCode, probe: bool = True) -> None:
        """Send offending bytes; the client ends the connection with one of these codes, and does not answer a PING."""
        await self.write(bad, ping(PROBE) if probe else b"")
        await self.peer.failed(*codes)

    async def stream_dies(self, stream: int, bad: bytes, *codes: ErrorCode) -> None:
        """The client resets the stream with one of these codes, or ends the connection with it."""
        await self.write(bad, ping(PROBE))
        wanted = " or ".join(code.name for code in codes)
        while True:
            got = await self.peer.receive()
            if (got.name == "RESET" and got.stream == stream) or (got.name == "GOAWAY" and is_fault(got.head["code"])):
                if got.head["code"] not in codes:
                    raise Failure(f"RESET or GOAWAY {wanted} was expected, {got} came")
                return
            if got.name == "PONG" and got.tail == PROBE:
                await self.write(ping(SECOND_PROBE))  # control frames may overtake a RESET, but not twice
            elif got.name == "PONG" and got.tail == SECOND_PROBE:
                raise Failure(f"RESET or GOAWAY {wanted} was expected, but the client goes on")
