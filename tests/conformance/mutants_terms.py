"""Defects of a server in priorities, deadlines, tags, adapters and what operators may do."""

from dataclasses import replace
from typing import Any

import playing_jobs
from mutation import mutant
from patching import around
from playing_admin import PlayingAdmin
from playing_jobs import PlayingJobs

from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.status import JobState
from pixwire_server.doors.auth import Identity
from pixwire_server.doors.replies import Replies
from pixwire_server.jobs import RequestError, Terms

# ---------------------------------------------------------------------- deadlines, tags


@mutant("PXW-REQ-040")
def forgets_the_tags() -> None:
    def bare(old: Any, self: PlayingJobs, request: Any) -> Any:
        return old(self, replace(request, terms=replace(request.terms, tags=())))

    around(PlayingJobs, "accept", bare)


@mutant("PXW-REQ-039")
def the_last_terms_count() -> None:
    def known(old: Any, self: PlayingJobs, request: Any) -> Any:
        answer = old(self, request)
        job = self.jobs.get((request.principal, request.job))
        if job is not None:
            job.status = replace(job.status, priority=request.terms.priority)
        return answer

    around(PlayingJobs, "_known", known)


@mutant("PXW-REQ-007")
def terms_in_the_fingerprint() -> None:
    playing_jobs.marks = lambda request: f"{request.terms}{request.tail!r}"


@mutant("PXW-REQ-043")
def lists_whatever_the_tag() -> None:
    around(PlayingJobs, "list_jobs", lambda old, self, *arguments: old(self, *arguments[:4]))


@mutant("PXW-REQ-043")
def lists_similar_tags() -> None:
    def similar(old: Any, self: PlayingJobs, *arguments: Any) -> Any:
        page = old(self, *arguments[:4]).result()
        tag = arguments[4] or ""
        return playing_jobs.done(replace(page, jobs=tuple(job for job in page.jobs if tag in " ".join(job.tags))))

    around(PlayingJobs, "list_jobs", similar)


@mutant("PXW-JOB-024")
def overdue_jobs_are_cancelled() -> None:
    around(PlayingJobs, "end", lambda old, self, *words: old(self, *words[:2], JobState.CANCELLED, *words[3:]))


@mutant("PXW-JOB-026")
def runs_for_ever() -> None:
    def patient(old: Any, self: PlayingJobs, request: Any, name: str) -> None:
        if name != "run_timeout_ms":
            old(self, request, name)

    around(PlayingJobs, "_later", patient)


@mutant("PXW-JOB-025")
def waits_for_ever() -> None:
    def patient(old: Any, self: PlayingJobs, request: Any, name: str) -> None:
        if name != "queue_ttl_ms":
            old(self, request, name)

    around(PlayingJobs, "_later", patient)


@mutant("PXW-JOB-028")
def does_not_say_which_time_was_over() -> None:
    around(playing_jobs, "expired", lambda old, text: old("too late"))


@mutant("PXW-JOB-028")
def expired_like_cancelled() -> None:
    playing_jobs.expired = lambda text: playing_jobs.CANCELLED


@mutant("PXW-JOB-022")
def terminal_with_a_deadline() -> None:
    def still(old: Any, self: PlayingJobs, principal: str, job: str, state: Any, error: Any) -> None:
        found = self._find(principal, job)
        old(self, principal, job, state, error)
        found.status = replace(found.status, deadline_ms=5)

    around(PlayingJobs, "end", still)


@mutant("PXW-REQ-044")
def refused_as_if_it_had_run() -> None:
    def fail(old: Any, self: Replies, stream: int, error: RequestError, *rest: Any) -> None:
        old(self, stream, error, "yes" if error.code is ErrorCode.DEADLINE_EXCEEDED else None)

    around(Replies, "fail", fail)


@mutant("PXW-REQ-044")
def keeps_what_it_refused() -> None:
    def keep(old: Any, self: PlayingJobs, terms: Terms, steps: int) -> None:
        try:
            old(self, terms, steps)
        except RequestError:
            request = self.latest  # type: ignore[attr-defined]
            self.accept(replace(request, terms=Terms()))
            raise

    def note(old: Any, self: PlayingJobs, request: Any) -> Any:
        self.latest = request  # type: ignore[attr-defined]
        return old(self, request)

    around(PlayingJobs, "_check_terms", keep)
    around(PlayingJobs, "_checked", note)


# ---------------------------------------------------------------------- adapters, plain pixels


@mutant("PXW-REQ-041")
def any_adapter_will_do() -> None:
    playing_jobs.OUR_MODEL = replace(playing_jobs.OUR_MODEL, adapters=("sketch", "conform/none"))


@mutant("PXW-REQ-042")
def pixels_with_padding() -> None:
    def padded(old: Any, self: PlayingJobs, job: str, state: Any, *images: bytes, **named: Any) -> None:
        old(self, job, state, *(image + b"\0" for image in images), **named)

    around(PlayingJobs, "change", padded)


# ---------------------------------------------------------------------- operators


@mutant("PXW-ADM-001", token=True)
def everybody_is_an_operator() -> None:
    Identity.is_admin = property(lambda self: True)  # type: ignore[method-assign, assignment]


@mutant("PXW-ADM-003")
def cancels_without_a_target() -> None:
    def lax(old: Any, self: PlayingAdmin, command: Any, by: str) -> Any:
        return old(self, replace(command, principal=command.principal or by), by)

    around(PlayingAdmin, "perform", lax)


@mutant("PXW-ADM-004")
def pauses_nothing() -> None:
    around(PlayingJobs, "_check_terms", lambda old, self, terms, steps: None)


@mutant("PXW-ADM-005")
def paused_for_known_jobs_too() -> None:
    def known(old: Any, self: PlayingJobs, request: Any) -> Any:
        self._check_terms(Terms(), 0)
        return old(self, request)

    around(PlayingJobs, "_known", known)


@mutant("PXW-ADM-006")
def counts_what_had_ended() -> None:
    def generous(old: Any, self: PlayingAdmin, *arguments: Any) -> Any:
        return dict(old(self, *arguments)) | {"cancelled": 1}

    around(PlayingAdmin, "_cancel", generous)


@mutant("PXW-ADM-007")
def requeues_with_other_terms() -> None:
    around(playing_jobs.Request, "renamed", lambda old, self, job: replace(old(self, job), terms=Terms()))


@mutant("PXW-ADM-008")
def requeues_anything() -> None:
    import playing_admin

    playing_admin.AGAIN = tuple(JobState)


@mutant("PXW-ADM-009")
def requeues_again_and_again() -> None:
    def counted(old: Any, self: PlayingAdmin, command: Any, principal: str) -> Any:
        self.asked = getattr(self, "asked", 0) + 1  # type: ignore[attr-defined]
        body = old(self, command, principal)
        return body if self.asked == 2 else {"job": f"{body['job']}{self.asked}"}  # type: ignore[attr-defined]

    around(PlayingAdmin, "_requeue", counted)


@mutant("PXW-ADM-011")
def loads_what_it_does_not_have() -> None:
    around(PlayingAdmin, "_load", lambda old, self, *arguments: {"model": self._jobs.models()[0].to_map()})
    PlayingAdmin._unload = PlayingAdmin._load  # type: ignore[method-assign]
    PlayingAdmin._remove_model = PlayingAdmin._load  # type: ignore[attr-defined]


@mutant("PXW-ADM-012")
def shows_prompts() -> None:
    def talkative(old: Any, self: PlayingAdmin, *arguments: Any) -> Any:
        return dict(old(self, *arguments)) | {"x_params": [job.params for job in self._jobs.jobs.values()]}

    around(PlayingAdmin, "_overview", talkative)
