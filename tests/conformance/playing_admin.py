"""What operators can do to the jobs that play themselves: everything but draining and adding models."""

import asyncio
from asyncio import Future
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pixwire_protocol.admin import AdminResult, admin_problem
from pixwire_protocol.messages import Admin
from pixwire_protocol.overview import (
    CostOverview,
    EngineOverview,
    JobOverview,
    ModelOverview,
    Overview,
    PrincipalOverview,
    QueueOverview,
)
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.status import JobState
from pixwire_server.jobs import AdminCommand, RequestError

if TYPE_CHECKING:
    from playing_jobs import PlayingJobs

AGAIN = (JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED)


class PlayingAdmin:
    """Satisfies `AdminPort`."""

    def __init__(self, jobs: "PlayingJobs") -> None:
        self.paused: str | None = None
        self._jobs = jobs

    def perform(self, command: AdminCommand, by: str) -> "Future[Mapping[str, Any]]":
        problem = admin_problem(Admin(**{name: getattr(command, name) for name in command.__slots__}))
        if problem is not None:
            raise wrong(problem[0], problem[1], problem[2])
        action = getattr(self, f"_{command.action}", None)
        if action is None:
            raise RequestError(ErrorCode.UNSUPPORTED, f"{command.action} cannot be played")
        future: Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        future.set_result(action(command, command.principal or by))
        return future

    # ------------------------------------------------------------------ actions

    def _overview(self, command: AdminCommand, principal: str) -> Mapping[str, Any]:
        live = [key for key, job in self._jobs.jobs.items() if not job.status.state.terminal]
        running = [self._entry(*key) for key in live if self._state(key) is JobState.RUNNING]
        waiting = [self._entry(*key) for key in live if self._state(key) is JobState.QUEUED]
        view = Overview(
            paused=self.paused is not None,
            draining=False,
            uptime_ms=1,
            connections=1,
            queue=QueueOverview(0, len(waiting), 0, 0, 1000),
            running=tuple(running),
            waiting=tuple(waiting[: command.limit]),
            engine=EngineOverview("ready", 0, len(running), 0, 1, 0.0),
            models=tuple(ModelOverview(model.name, "loaded") for model in self._jobs.models()),
            principals=tuple(PrincipalOverview(name, 0, 1) for name in {whose for whose, _ in live}),
            cost=CostOverview(1.0),
            reason=self.paused,
        )
        return view.to_map()

    def _pause(self, command: AdminCommand, principal: str) -> Mapping[str, Any]:
        self.paused = command.reason
        return AdminResult(paused=True).to_map()

    def _resume(self, command: AdminCommand, principal: str) -> Mapping[str, Any]:
        self.paused = None
        return AdminResult(paused=False).to_map()

    def _cancel(self, command: AdminCommand, principal: str) -> Mapping[str, Any]:
        if command.job is None:
            keys = [key for key in self._jobs.jobs if key[0] == principal]
        else:
            self._jobs._find(principal, command.job)
            keys = [(principal, command.job)]
        live = [key for key in keys if not self._state(key).terminal]
        for whose, job in live:
            self._jobs.cancel(whose, job, command.reason)
        return AdminResult(cancelled=len(live)).to_map()

    def _requeue(self, command: AdminCommand, principal: str) -> Mapping[str, Any]:
        job = command.job or ""
        if self._jobs._find(principal, job).status.state not in AGAIN:
            raise wrong("job", str(self._state((principal, job))), " or ".join(AGAIN))
        made = f"{job}.again"
        if (principal, made) not in self._jobs.jobs:
            self._jobs.accept(self._jobs.requests[principal, job].renamed(made))
        return AdminResult(job=made).to_map()

    def _load(self, command: AdminCommand, principal: str) -> Mapping[str, Any]:
        for model in self._jobs.models():
            if model.name == command.model:
                return AdminResult(model=model).to_map()
        raise wrong("model", command.model, ", ".join(model.name for model in self._jobs.models()))

    _unload = _load

    # ------------------------------------------------------------------ inside

    def _state(self, key: tuple[str, str]) -> JobState:
        return self._jobs.jobs[key].status.state

    def _entry(self, principal: str, job: str) -> JobOverview:
        status = self._jobs.jobs[principal, job].status
        model = self._jobs.models()[0].name
        return JobOverview(
            job=job,
            principal=principal,
            kind=status.kind,
            model=model,
            state=status.state.value,
            step=status.step,
            steps=status.steps,
            age_ms=0,
            priority=status.priority,
            tags=status.tags,
        )


def wrong(field: str, value: Any, allowed: str) -> RequestError:
    details = {"field": field, "value": value, "allowed": allowed}
    return RequestError(ErrorCode.INVALID_ARGUMENT, f"{field} must be {allowed}", details)
