"""What operators may do: see the server, take no new jobs for a while, stop, end anybody's jobs, run failed ones again,
load and unload models (SPEC 8.19).

The door lets only those in who have the role; everything that changes something leaves a line in the log that says who
did what.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from pixwire_protocol.registry import ErrorCode

from .clock import Clock
from .errors import RequestError, invalid, translate
from .futures import fail, give, resolved, unheard
from .intake import Intake
from .model_admin import ModelAdmin
from .overview import Mood, Overlook
from .record import Record
from .requeue import Requeue
from .table import JobTable

_log = logging.getLogger(__name__)

PAUSED_RETRY_MS = 5_000
"""When a client may ask again while the operator takes no new jobs."""
BATCH = 50
"""Jobs that are cancelled before others get their turn."""

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AdminCommand:
    """One ADMIN request; which fields an action needs is said where it is carried out."""

    action: str
    job: str | None = None
    principal: str | None = None
    model: str | None = None
    path: str | None = None
    reason: str = ""
    limit: int = 50


class Admin:
    """Carries out commands. Lives in the event loop.

    `on_drain` and `connections` come from the program around: how to stop, and how many are connected.
    """

    def __init__(
        self,
        table: JobTable,
        intake: Intake,
        clock: Clock,
        overlook: Overlook,
        requeue: Requeue,
        models: ModelAdmin,
        cancel: Callable[[Record, str], asyncio.Future[Any]],
        draining: Callable[[], bool],
    ) -> None:
        self.on_drain: Callable[[], None] | None = None
        self.connections: Callable[[], int] = lambda: 0
        self._table = table
        self._intake = intake
        self._clock = clock
        self._overlook = overlook
        self._requeue = requeue
        self._models = models
        self._cancel_job = cancel
        self._draining = draining
        self._began = clock.monotonic()
        self._paused: str | None = None  # the reason
        self._work: set[asyncio.Task[Body]] = set()

    def perform(self, command: AdminCommand, by: str) -> asyncio.Future[Body]:
        """Carry `command` out for the principal `by`; the future holds the body of the answer.

        Raises RequestError at once, or sets it on the future. Cancelling the future gives up the answer only.
        """
        if command.action == "overview":
            return resolved(self._look(command))
        action = _ACTIONS.get(command.action)
        if action is None:
            allowed = ["overview", *_ACTIONS]
            message = f"action: {command.action!r} is not known here; use one of {', '.join(allowed)}"
            raise invalid("action", command.action, allowed, message)
        return self._run(action(self, command, by), command, by)

    def refusal(self) -> RequestError | None:
        """Why no new job is taken, if the operator said so."""
        if self._paused is None:
            return None
        why = f": {self._paused}" if self._paused else ""
        message = f"the operator takes no new jobs for now{why}; submit the job again later, with the same id"
        return RequestError(ErrorCode.PAUSED, message, retry_after_ms=PAUSED_RETRY_MS)

    def engine_lost(self) -> None:
        """The engine is gone: who waits for it is told."""
        self._models.lost()

    async def close(self) -> None:
        """Give up what is under way."""
        for task in self._work:
            task.cancel()
        if self._work:
            await asyncio.wait(self._work)

    # ------------------------------------------------------------------------------------------- actions

    def _look(self, command: AdminCommand) -> Body:
        uptime_s = self._clock.monotonic() - self._began
        mood = Mood(self._paused, self._draining(), uptime_s, self.connections())
        return self._overlook.look(mood, command.limit).to_map()

    async def _pause(self, command: AdminCommand, by: str) -> Body:
        """Until `resume`, or the end of this process; jobs that were accepted run on."""
        self._paused = command.reason
        return {"paused": True}

    async def _resume(self, command: AdminCommand, by: str) -> Body:
        self._paused = None
        return {"paused": False}

    async def _drain(self, command: AdminCommand, by: str) -> Body:
        if self.on_drain is None:
            raise RequestError(ErrorCode.UNSUPPORTED, "drain: this server can be stopped by its operating system only")
        # Later, so that the answer is on its way before the connections begin to close.
        asyncio.get_running_loop().call_soon(self.on_drain)
        return {"draining": True}

    async def _cancel(self, command: AdminCommand, by: str) -> Body:
        """One job (of the caller, unless a principal is named), or all that a principal has."""
        reason = f"cancelled by an operator{f': {command.reason}' if command.reason else ''}"
        if command.job is not None:
            record = await self._intake.find(command.principal or by, command.job)
            return {"cancelled": await self._end([record], reason)}
        if command.principal is None:
            message = "job: cancel needs the id of a job, or a principal whose jobs are all to end"
            raise invalid("job", None, "the id of a job, or a principal", message)
        return {"cancelled": await self._end(await self._jobs_of(command.principal), reason)}

    async def _requeue_job(self, command: AdminCommand, by: str) -> Body:
        job = _needed(command, "job")
        if self._draining():
            raise RequestError(ErrorCode.DRAINING, "requeue: the server is stopping; ask its successor")
        return {"job": await self._requeue.again(command.principal or by, job)}

    async def _load(self, command: AdminCommand, by: str) -> Body:
        return {"model": await self._models.load(_needed(command, "model"))}

    async def _unload(self, command: AdminCommand, by: str) -> Body:
        return {"model": await self._models.unload(_needed(command, "model"))}

    async def _add_model(self, command: AdminCommand, by: str) -> Body:
        return {"model": await self._models.add(_needed(command, "model"), _needed(command, "path"))}

    async def _remove_model(self, command: AdminCommand, by: str) -> Body:
        return {"model": await self._models.remove(_needed(command, "model"))}

    # ------------------------------------------------------------------------------------------- details

    async def _jobs_of(self, principal: str) -> list[Record]:
        """Its jobs that have not ended, those included whose acceptance is being written."""
        pending = [one.kept for (owner, _), one in self._intake.pending.items() if owner == principal]
        if pending:
            await asyncio.wait(pending)
        return [record for (owner, _), record in self._table.live.items() if owner == principal]

    async def _end(self, records: list[Record], reason: str) -> int:
        """End them; the answer is how many had not ended, and had not been told to, before."""
        wishes: list[asyncio.Future[Any]] = []
        for number, record in enumerate(records):
            if number % BATCH == BATCH - 1:
                await asyncio.sleep(0)  # others get their turn
            job = record.job
            if not job.state.terminal and record.settling is None and job.cancel_reason is None:
                wishes.append(self._cancel_job(record, reason))
        for wish in wishes:
            await wish
        return len(wishes)

    def _run(self, work: Coroutine[Any, Any, Body], command: AdminCommand, by: str) -> asyncio.Future[Body]:
        """Carry `work` out to its end, whoever gives up waiting for it, and say so in the log."""
        answer: asyncio.Future[Body] = asyncio.get_running_loop().create_future()
        task = asyncio.get_running_loop().create_task(work)

        def done(task: asyncio.Task[Body]) -> None:
            self._work.discard(task)
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            _audit(command, by, error if error is not None else task.result())
            if task.cancelled():
                answer.cancel()
            elif error is not None:
                fail(answer, translate(error))
            else:
                give(answer, task.result())

        self._work.add(task)
        task.add_done_callback(done)
        return unheard(answer)


_WANTED = {"job": "the id of a job", "model": "the name of a model", "path": "a folder on the server"}

_Action = Callable[[Admin, AdminCommand, str], Coroutine[Any, Any, Body]]
_ACTIONS: Mapping[str, _Action] = {
    "pause": Admin._pause,
    "resume": Admin._resume,
    "drain": Admin._drain,
    "cancel": Admin._cancel,
    "requeue": Admin._requeue_job,
    "load": Admin._load,
    "unload": Admin._unload,
    "add_model": Admin._add_model,
    "remove_model": Admin._remove_model,
}


def _needed(command: AdminCommand, field: str) -> str:
    """The value of a field without which the action means nothing."""
    value: str | None = getattr(command, field)
    if value is None:
        raise invalid(field, None, _WANTED[field], f"{field}: {command.action} needs {_WANTED[field]}")
    return value


def _audit(command: AdminCommand, by: str, outcome: Body | BaseException) -> None:
    """One line; everything that a client chose is quoted, so that it can fake no other."""
    values = {
        "job": command.job,
        "principal": command.principal,
        "model": command.model,
        "path": command.path,
        "reason": command.reason or None,
    }
    what = "".join(f" {name}={value!r}" for name, value in values.items() if value is not None)
    if isinstance(outcome, RequestError):
        _log.info("admin: %r asked for %s%s: refused, %s", by, command.action, what, outcome.code.name)
    elif isinstance(outcome, BaseException):
        _log.info("admin: %r asked for %s%s: not carried out", by, command.action, what)
    else:
        told = {name: value for name, value in outcome.items() if name != "model"}
        _log.info("admin: %r did %s%s%s", by, command.action, what, f": {told}" if told else "")
