"""The server under test: how cases connect to it, get jobs from it, and leave nothing behind."""

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pixwire_protocol.registry import LIMITS, PREFACE, ErrorCode
from pixwire_protocol.status import JobState

from ..errors import WireError
from ..transport import Target, TlsOptions, open_wire, parse_target
from .frames import GREETING, Frame, code_name, frame, hello, pack
from .judge import ServerJudge
from .peer import PREFACE_SIZE, Peer
from .verdicts import Failure, Skip, Unreachable

PROMPT: Final = "a red circle on a blue background"
KIND: Final = "txt2img"
EDGE: Final = 64
"""Pixels of the smallest image that is asked for, as far as the model agrees."""
_GUESSES: Final[tuple[dict[str, Any], ...]] = ({"width": EDGE, "height": EDGE, "steps": 1}, {"steps": 1}, {})


ServerPeer = Peer[ServerJudge]
"""A connection to the server under test."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A job that has succeeded: its id and the artifacts of its status map."""

    job: str
    artifacts: tuple[Mapping[str, Any], ...]
    terminal: Mapping[str, Any]

    @property
    def first(self) -> Mapping[str, Any]:
        """Artifact 0."""
        return self.artifacts[0]


@dataclass(slots=True)
class Subject:
    """One server. `deadline`: seconds to wait for any single answer."""

    target: Target
    tls: TlsOptions
    token: str | None = field(default=None, repr=False)
    deadline: float = 10.0
    drain_command: tuple[str, ...] = ()
    """What makes the server begin its orderly end."""
    operate: bool = False
    """Whether the server may be paused for a moment."""
    welcome: dict[str, Any] = field(default_factory=dict)
    """The head of the last WELCOME."""
    roles: tuple[str, ...] = ()
    """What the last connection may do, as WELCOME or AUTH_OK said."""
    models: list[dict[str, Any]] | None = None
    _jobs: list[str] = field(default_factory=list)
    _peers: list[ServerPeer] = field(default_factory=list)
    _tiny: dict[str, Any] | None = None
    _finished: Finished | None = None
    _run: str = field(default_factory=lambda: os.urandom(4).hex())
    _count: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    @classmethod
    def at(cls, url: str, tls: TlsOptions | None = None, **more: Any) -> "Subject":
        """The server at this URL. Raises InputError."""
        return cls(parse_target(url), tls or TlsOptions(), **more)

    # ------------------------------------------------------------------ connections

    async def connect(self) -> ServerPeer:
        """A transport connection; nothing is sent."""
        try:
            wire = await open_wire(self.target, self.tls, timeout=self.deadline)
        except WireError as error:
            raise Unreachable(str(error)) from error
        peer = Peer(wire, self.deadline, ServerJudge())
        self._peers.append(peer)
        return peer

    async def greet(self, peer: ServerPeer, **fields: Any) -> dict[str, Any]:
        """Preface, HELLO with these fields, WELCOME; AUTH when the server asks for it."""
        await peer.send_raw(GREETING)
        await peer.send(hello(**fields))
        await self.prefaced(peer)
        return await self.welcomed(peer)

    async def prefaced(self, peer: ServerPeer) -> None:
        """Read the server's preface, which must choose version 1."""
        preface = await peer.exactly(PREFACE_SIZE)
        if preface != PREFACE:
            raise Failure(f"the server's preface is {preface.hex(' ')}, not {PREFACE.hex(' ')}")

    async def welcomed(self, peer: ServerPeer) -> dict[str, Any]:
        """Read WELCOME and say who we are, if that is asked."""
        answer = await peer.receive()
        if answer.name != "WELCOME":
            raise Failure(f"WELCOME was expected, {answer} came")
        peer.welcome = self.welcome = answer.head
        last = await self.authenticate(peer) if peer.welcome.get("auth") else answer
        self.roles = tuple(last.head.get("roles") or ())
        return peer.welcome

    async def authenticate(self, peer: ServerPeer) -> Frame:
        """AUTH with the token of the command line, and its AUTH_OK. Raises Skip without one."""
        await peer.send(frame("AUTH", 0, {"mechanism": "bearer", "token": self.needed_token()}))
        return await peer.named("AUTH_OK")

    def needed_token(self) -> str:
        """The token; Skip without."""
        if self.token is None:
            raise Skip(f"the server asks for authentication ({self.welcome.get('auth')}); give --token")
        return self.token

    async def ready(self, **fields: Any) -> ServerPeer:
        """A connection that is READY."""
        peer = await self.connect()
        await self.greet(peer, **fields)
        return peer

    async def begin_drain(self) -> None:
        """Have the server begin its orderly end. Raises Skip when nobody said how."""
        if not self.drain_command:
            raise Skip("the server is not to be stopped; give --drain COMMAND to ask for its orderly end")
        try:
            process = await asyncio.create_subprocess_exec(*self.drain_command)
        except OSError as error:
            raise Skip(f"{self.drain_command[0]} cannot be started: {error.strerror or error}") from None
        if await process.wait():
            raise Skip(f"{self.drain_command[0]} failed")

    async def quiet(self, peer: ServerPeer) -> list[Frame]:
        """Everything that comes before the answers to a PING and a request that are sent now, in this order.

        Control frames may overtake answers, so either of the two alone would not show that nothing comes.
        """
        before = await peer.fence()
        stream = peer.stream()
        await peer.send(frame("STATUS", stream, {"job": f"conform-{self._run}-none"}))
        answer = await peer.on(stream)
        if answer.name != "ERROR" or answer.head["code"] != ErrorCode.JOB_NOT_FOUND:
            raise Failure(f"STATUS of a job that does not exist was answered with {answer}")
        before += peer.inbox
        peer.inbox.clear()
        return before

    async def drop(self) -> None:
        """Close every connection that a case left."""
        peers, self._peers = self._peers, []
        for peer in peers:
            peer.cut()

    async def alive(self) -> None:
        """The server still serves a new connection."""
        peer = await self.ready()
        await peer.fence()
        peer.cut()

    # ------------------------------------------------------------------ jobs

    def job_id(self, *, used: bool = True) -> str:
        """A fresh job id; with `used` it is cancelled at the end of the run."""
        job = f"conform-{self._run}-{next(self._count)}"
        if used:
            self._jobs.append(job)
        return job

    async def tiny(self) -> dict[str, Any]:
        """The parameters of the smallest job the server takes."""
        if self._tiny is None:
            await self.learn_models()
            if self.model is not None and KIND not in self.model["kinds"]:
                raise Skip(f"the model does not do {KIND}, which is what is asked for here: {self.model['kinds']}")
            self._tiny = self._from_models() or await self._guess()
        return dict(self._tiny)

    async def tail(self, **more: Any) -> bytes:
        """The packed parameters of a tiny job, with these changes (None: left out)."""
        params = {"prompt": PROMPT, **await self.tiny(), "seed": 7, **more}
        return pack({name: value for name, value in params.items() if value is not None})

    async def long_tail(self) -> bytes:
        """The packed parameters of a job that takes as long as the model allows for a small image."""
        await self.tiny()
        most = self.model["limits"]["max_steps"] if self.model is not None else 50
        return await self.tail(steps=most)

    async def learn_models(self) -> None:
        """LIST models, if the server knows LIST."""
        if self.models is not None:
            return
        peer = await self.ready()
        stream = peer.stream()
        await peer.send(frame("LIST", stream, {"what": "models"}))
        answer = await peer.on(stream)
        peer.cut()
        self.models = answer.head.get("models", []) if answer.name == "RESULT" else []

    @property
    def model(self) -> Mapping[str, Any] | None:
        """The entry of the default model in LIST."""
        models = self.models or []
        return next((model for model in models if model.get("default")), models[0] if models else None)

    def _from_models(self) -> dict[str, Any] | None:
        model = self.model
        if model is None:
            return None
        multiple = model["limits"]["size_multiple"]
        edge = min(-(-EDGE // multiple) * multiple, model["limits"]["max_width"], model["limits"]["max_height"])
        return {"width": edge, "height": edge, "steps": 1}

    async def _guess(self) -> dict[str, Any]:
        for guess in _GUESSES:
            peer = await self.ready()
            stream = peer.stream()
            tail = pack({"prompt": PROMPT, **guess, "seed": 7})
            await peer.send(frame("SUBMIT", stream, {"job": self.job_id(), "kind": KIND}, tail))
            answer = await peer.on(stream)
            peer.cut()
            if answer.name == "RESULT":
                return guess
        raise Skip(f"no parameters were found that the server takes; it says {answer}")

    async def submit(self, peer: ServerPeer, job: str | None = None, tail: bytes | None = None, **head: Any) -> int:
        """Send SUBMIT of a tiny job; returns its stream."""
        stream = peer.stream()
        await peer.send(await self.submit_frame(stream, job, tail, **head))
        return stream

    async def submit_frame(self, stream: int, job: str | None = None, tail: bytes | None = None, **head: Any) -> bytes:
        """The SUBMIT."""
        fields = {"job": job or self.job_id(), "kind": KIND, **head}
        return frame("SUBMIT", stream, fields, tail if tail is not None else await self.tail())

    async def accepted(self, peer: ServerPeer, stream: int) -> dict[str, Any]:
        """The status map that answers a SUBMIT. A full server is no fault: Skip."""
        answer = await peer.on(stream)
        if answer.name == "ERROR" and 0x0400 <= answer.head["code"] < 0x0500:
            raise Skip(f"the server has no room: {answer}")
        if answer.name != "RESULT":
            raise Failure(f"a SUBMIT was not accepted: {answer}")
        return answer.head

    async def ask(self, peer: ServerPeer, name: str, job: str, **head: Any) -> Frame:
        """A request about a job, and its first answer."""
        stream = peer.stream()
        await peer.send(frame(name, stream, {"job": job, **head}))
        return await peer.on(stream)

    async def follow(self, peer: ServerPeer, stream: int) -> tuple[list[Frame], dict[str, Any]]:
        """Events of a watched stream up to the terminal state: all of them, and the terminal status map."""
        events: list[Frame] = []
        while True:
            answer = await peer.on(stream)
            events.append(answer)
            if answer.name == "ERROR":
                raise Failure(f"a watched stream ended with {answer}")
            if answer.name == "EVENT" and answer.head.get("event") == "state" and terminal(answer.head):
                return events, answer.head

    async def finished(self) -> Finished:
        """A job that has succeeded, the same for all cases. Raises Skip when jobs do not succeed here."""
        if self._finished is None:
            peer = await self.ready()
            job = self.job_id()
            count = 2 if self.model is None or self.model["limits"]["max_count"] > 1 else 1
            stream = await self.submit(peer, job, await self.tail(count=count), watch=True)
            status = await self.accepted(peer, stream)
            if not terminal(status):
                _, status = await self.follow(peer, stream)
            peer.cut()
            if status["state"] != JobState.SUCCEEDED:
                why = code_name((status.get("error") or {}).get("code"))
                raise Skip(f"a job was needed that succeeds; it is {status['state']} ({why})")
            self._finished = Finished(job, tuple(status["artifacts"]), status)
        return self._finished

    async def unknown_to_server(self, job: str) -> None:
        """Fails when the server knows the job."""
        peer = await self.ready()
        answer = await self.ask(peer, "STATUS", job)
        if answer.name != "ERROR" or answer.head["code"] != ErrorCode.JOB_NOT_FOUND:
            raise Failure(f"a SUBMIT that must not count was processed: STATUS says {answer}")
        peer.cut()

    async def clean_up(self) -> list[str]:
        """Cancel every job of this run that may still be going on; returns the ids of those that could not be."""
        jobs, self._jobs = self._jobs, []
        left: list[str] = []
        if not jobs:
            return left
        peer = await self.ready()
        for job in jobs:
            answer = await self.ask(peer, "CANCEL", job, reason="end of a conformance run")
            if answer.name == "ERROR" and answer.head["code"] not in (ErrorCode.JOB_NOT_FOUND, ErrorCode.JOB_EXPIRED):
                left.append(job)
        peer.cut()
        return left


def terminal(status: Mapping[str, Any]) -> bool:
    """Whether a status map shows a job that is over."""
    return JobState(status["state"]).terminal


@contextlib.asynccontextmanager
async def finally_clean(subject: Subject) -> AsyncIterator[Subject]:
    """The subject, whose connections are closed and whose jobs are cancelled whatever happens."""
    try:
        yield subject
    finally:
        await subject.drop()
        with contextlib.suppress(Exception):  # whatever a server under test makes of it, the verdicts stand
            await subject.clean_up()
        await subject.drop()


def said(answer: Frame, *codes: ErrorCode) -> Mapping[str, Any]:
    """The head of an answer that must be ERROR with one of these codes."""
    wanted = " or ".join(code.name for code in codes)
    if answer.name != "ERROR" or answer.head.get("code") not in codes:
        raise Failure(f"ERROR {wanted} was expected, {answer} came")
    return answer.head


def check(holds: bool, text: str) -> None:
    """Fails with the text unless it holds."""
    if not holds:
        raise Failure(text)


def declared(peer: ServerPeer, limit: str) -> int:
    """A limit of the connection's WELCOME, or its default."""
    limits = peer.welcome.get("limits")
    value = limits.get(limit) if isinstance(limits, dict) else None
    return value if type(value) is int else LIMITS[limit].default


async def refused(dying: Awaitable[object], what: str) -> None:
    """Awaits the end of a connection; a failure names `what` was sent."""
    try:
        await dying
    except Failure as error:
        raise Failure(f"{what}: {error}") from error
