"""What operators see: the overview every second and, for those who want it, samples of the last minutes, passes, and
pictures of what is being made. A client that reads slowly is told less often, and finds the latest then.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from pixwire_server.doors.http import sse
from pixwire_server.doors.http.console.history import COLUMNS, EVERY_S, History
from pixwire_server.doors.http.console.previews import Key, Previews
from pixwire_server.doors.http.follow import Follow
from pixwire_server.doors.ports import JobsPort

TICK_S: Final = 0.25
"""How often there may be news while somebody looks."""
WAITING: Final = 50
"""Jobs that an overview shows of each kind."""
PREVIEW_BYTES: Final = 1 << 20
"""About so many bytes of pictures at a time: what a client that reads slowly costs at most."""
SAMPLES, PASSES, PREVIEW = "samples", "passes", "preview"
WANTS: Final = (SAMPLES, PASSES, PREVIEW)

Look = Callable[[int], Mapping[str, Any]]
"""Looks at the server now, at so many jobs: the body of ADMIN `overview` (SPEC 8.19)."""


class Feed:
    """Samples the server every second from `start` to `stop`. While somebody looks, also puts the overview together,
    once for all of them, and asks for pictures when one of them wants to see some.
    """

    def __init__(self, jobs: JobsPort, look: Look) -> None:
        self.history = History()
        self.overview = b""
        """The latest one, as an event."""
        self.previews = Previews(jobs)
        self._look = look
        self._viewers: dict[Follow, Viewer] = {}
        self._running: tuple[Key, ...] = ()
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to sample. May be called again."""
        if self._timer is None:
            self._arm()

    def stop(self) -> None:
        """Sample no more, and ask for no pictures."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.previews.keep(())

    @contextmanager
    def viewing(self, follow: Follow, want: frozenset[str]) -> Iterator["Viewer"]:
        """Somebody looks; `follow` is nudged when there may be news."""
        viewer = Viewer(self, want)
        self._see()
        self._viewers[follow] = viewer
        self._hurry()
        try:
            yield viewer
        finally:
            del self._viewers[follow]
            if not self._watched:
                self.previews.keep(())

    @property
    def _watched(self) -> bool:
        return any(PREVIEW in viewer.want for viewer in self._viewers.values())

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TICK_S if self._viewers else EVERY_S, self._tick)

    def _hurry(self) -> None:
        """Somebody looks: the next tick comes soon, and however many come, none puts it off."""
        if self._timer is not None and self._timer.when() > asyncio.get_running_loop().time() + TICK_S:
            self._timer.cancel()
            self._arm()

    def _tick(self) -> None:
        self._arm()
        now = asyncio.get_running_loop().time()
        if now >= self._due:
            self._due = now + EVERY_S if now > self._due + EVERY_S else self._due + EVERY_S  # none is made up for
            self.history.sample(self._see() if self._viewers else self._look(1))
        if self._watched:
            self.previews.tick(self._running)
        for follow in self._viewers:
            follow.nudge()

    def _see(self) -> Mapping[str, Any]:
        now = self._look(WAITING)
        self._running = tuple((job["principal"], job["job"]) for job in now["running"])
        self.overview = sse.event("overview", now)
        return now


class Viewer:
    """What one client has been told."""

    def __init__(self, feed: Feed, want: frozenset[str]) -> None:
        self.want = want
        self._feed = feed
        self._overview: bytes | None = None
        self._samples = self._passes = self._previews = 0

    def news(self) -> bytes:
        """All that is new since the last call; empty when nothing is."""
        feed, parts = self._feed, []
        if SAMPLES in self.want:
            self._samples, samples = feed.history.samples_since(self._samples)
            if samples:
                parts.append(sse.event(SAMPLES, {"columns": COLUMNS, "samples": samples}))
        if PASSES in self.want:
            self._passes, passes = feed.history.passes_since(self._passes)
            if passes:
                parts.append(sse.event(PASSES, {"passes": passes}))
        if feed.overview is not self._overview:  # after the passes that its jobs were in, before pictures of its jobs
            self._overview = feed.overview
            parts.append(feed.overview)
        if PREVIEW in self.want:
            self._previews, events = feed.previews.since(self._previews, PREVIEW_BYTES)
            parts += events
        return b"".join(parts)
