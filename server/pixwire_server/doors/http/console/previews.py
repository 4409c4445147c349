"""Pictures of the jobs that run, for operators: of anybody's jobs, so the role admin is needed to see them.

A picture costs the engine a little, so each is asked for: a job is watched until its next picture has come, then left
alone until its turn comes again. So at most PER_TICK pictures are made at each tick however many jobs run and however
many operators look, and none when nobody does. Of each job the last picture is kept, once for all who look.
"""

import base64
from asyncio import Future
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from pixwire_protocol.registry import LIMITS
from pixwire_server.doors.http import sse
from pixwire_server.doors.ports import JobsPort
from pixwire_server.jobs import JobEvent, PreviewShown, Watch

PER_TICK: Final = 16
MOST: Final = 64
"""Jobs of which there are pictures: those that have run longest."""
MAX_BYTES: Final = LIMITS["preview_bytes"].default
"""A larger picture is left out, as on the wire."""
WANTED: Final = frozenset({"preview"})

Key = tuple[str, str]
"""Principal and id of a job."""


@dataclass(slots=True)
class _Subject:
    """A job that runs. `asked`: the tick at which its picture was asked for last; `watch`: while it is awaited."""

    asked: int = -1
    wish: "Future[Watch] | None" = None
    number: int = 0
    event: bytes = b""


class Previews:
    """The last picture of each job that runs. Lives in the event loop."""

    def __init__(self, jobs: JobsPort) -> None:
        self._jobs = jobs
        self._subjects: dict[Key, _Subject] = {}
        self._ticks = self._shown = 0

    def tick(self, running: Sequence[Key]) -> None:
        """Ask for pictures of those whose turn it is, and forget those that run no more."""
        now = running[:MOST]
        self.keep(now)
        self._ticks += 1
        idle = [key for key in now if self._subjects.setdefault(key, _Subject()).wish is None]
        idle.sort(key=lambda key: self._subjects[key].asked)  # stable: of equals the one that has run longest
        for key in idle[:PER_TICK]:
            self._ask(key, self._subjects[key])

    def keep(self, running: Collection[Key]) -> None:
        """Forget all jobs but these."""
        for key in self._subjects.keys() - set(running):
            _leave(self._subjects.pop(key))

    def since(self, mark: int, most: int) -> tuple[int, list[bytes]]:
        """The events with the pictures shown after `mark`, as many as have room in `most` bytes, and the mark that
        tells what was taken. The oldest come first; 0 is the mark of the beginning.
        """
        fresh = sorted((one for one in self._subjects.values() if one.number > mark), key=lambda one: one.number)
        taken: list[bytes] = []
        for one in fresh:
            most -= len(one.event)
            if taken and most < 0:
                break
            taken.append(one.event)
            mark = one.number
        return mark, taken

    def _ask(self, key: Key, subject: _Subject) -> None:
        subject.asked = self._ticks
        subject.wish = self._jobs.watch(*key, partial(self._hear, key, subject), WANTED)
        subject.wish.add_done_callback(partial(_check, subject))

    def _hear(self, key: Key, subject: _Subject, told: JobEvent) -> None:
        """The listener: a picture, or a state; of a job that has ended there is no more to come."""
        if not isinstance(told, PreviewShown):
            return
        _leave(subject)
        if len(told.image) <= MAX_BYTES:
            self._shown += 1
            subject.number, subject.event = self._shown, _event(key[0], told)


def _check(subject: _Subject, wish: "Future[Watch]") -> None:
    """The job may have gone before it could be watched."""
    if wish.cancelled() or wish.exception() is not None:
        if subject.wish is wish:
            subject.wish = None
    elif subject.wish is not wish:  # it was left before there was a watch
        wish.result().close()


def _leave(subject: _Subject) -> None:
    """Watch it no more."""
    wish, subject.wish = subject.wish, None
    if wish is not None and wish.done() and not wish.cancelled() and wish.exception() is None:
        wish.result().close()


def _event(principal: str, told: PreviewShown) -> bytes:
    return sse.event(
        "preview",
        {
            "principal": principal,
            "job": told.job,
            "step": told.step,
            "steps": told.steps,
            "media_type": told.media_type,
            "width": told.width,
            "height": told.height,
            "data": base64.b64encode(told.image).decode(),
        },
    )
