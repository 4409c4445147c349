"""The list of jobs, from one server or several, newest first: which page is asked for next, which job is next. Pure."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from pixwire_protocol.status import JobSummary

from .calls import Call
from .requests import JobPage, jobs

PAGE = 100  # jobs that one request asks for


@dataclass(slots=True, eq=False)
class Source:
    """One server's part: what came of it and was not told yet, and where the next page begins."""

    home: str | None
    after: str | None = None
    over: bool = False
    waiting: deque[JobSummary] = field(default_factory=deque)


class Listing:
    """At most `limit` jobs of the servers `homes`, those in one of `states` and with the `tag`."""

    def __init__(
        self, homes: Sequence[str | None], limit: int | None, states: tuple[str, ...], tag: str | None
    ) -> None:
        self._sources = [Source(home) for home in homes]
        self._left = limit
        self._filter = states, tag

    def next(self) -> JobSummary | Source | None:
        """The next job; or a source that has to be asked first (`request`, `feed`); None: there are no more."""
        if self._left is not None and self._left <= 0:
            return None
        for source in self._sources:
            if not source.waiting and not source.over:
                return source
        youngest = min(
            (one for one in self._sources if one.waiting), key=lambda one: one.waiting[0].age_ms, default=None
        )
        if youngest is None:
            return None
        if self._left is not None:
            self._left -= 1
        return youngest.waiting.popleft()

    def request(self, source: Source) -> Call[JobPage]:
        """What to ask its server. Raises InvalidArgument for a limit, state or tag that cannot be."""
        limit = PAGE if self._left is None else min(self._left, PAGE)
        return jobs(limit, source.after, *self._filter, home=source.home)

    def feed(self, source: Source, page: JobPage) -> None:
        """What it answered."""
        source.waiting.extend(page.jobs)
        source.after, source.over = page.next, page.next is None
