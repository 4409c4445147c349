"""Many images, a few at a time, without a thread for each: one waits for whichever is done first."""

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from queue import SimpleQueue
from time import monotonic as now
from typing import TYPE_CHECKING, Any

from ..core import requests
from ..core.calls import Call
from ..core.drafts import draft
from ..core.many import Outcome, check_concurrency, request_of, wait_before_again
from ..errors import PixwireError
from ..image import Image
from .mailbox import Mailbox, heard
from .reading import read

if TYPE_CHECKING:
    from .several import AnyLink


@dataclass(slots=True, eq=False)
class _Going:
    """One request under way, or waiting to be made again at `again_at`."""

    index: int
    request: dict[str, Any]
    order: requests.JobOrder
    since: float
    tries: int = 0
    again_at: float = 0.0


class Batch:
    """The requests of one `generate_many`."""

    def __init__(
        self,
        link: "AnyLink",
        prompts: Iterable[str | Mapping[str, Any]],
        concurrency: int,
        timeout: float | None,
        common: Mapping[str, Any],
    ) -> None:
        check_concurrency(concurrency)
        self._link = link
        self._requests = enumerate(request_of(item, common) for item in prompts)
        self._concurrency = concurrency
        self._timeout = timeout
        self._bell: SimpleQueue[Mailbox[Any]] = SimpleQueue()
        self._running: dict[Mailbox[list[Image]], tuple[_Going, Call[list[Image]]]] = {}
        self._waiting: list[_Going] = []

    def run(self) -> Generator[Outcome, None, None]:
        """The outcomes, as they come. Closing it ends the waiting for what is under way."""
        try:
            while True:
                yield from self._fill()
                if not (self._running or self._waiting):
                    return
                outcome = self._next()
                if outcome is not None:
                    yield outcome
        finally:
            for box, (_, call) in self._running.items():
                self._link.release(call, box)

    def _fill(self) -> Generator[Outcome, None, None]:
        """Starts what there is room for; yields what fails at once."""
        while len(self._running) + len(self._waiting) < self._concurrency:
            index, request = next(self._requests, (0, None))
            if request is None:
                return
            since = now()
            try:
                order = read(draft(**{"count": None, **request}), self._timeout)
                self._start(_Going(index, request, order, since))
            except PixwireError as error:
                yield Outcome(index, request, error=error)

    def _start(self, going: _Going) -> None:
        going.tries += 1
        call = requests.generate(going.order, ())
        box: Mailbox[list[Image]] = Mailbox(bell=self._bell)
        self._running[box] = going, call
        try:
            self._link.start(call, self._timeout, box, going.since)
        except PixwireError:  # anything else (Ctrl-C) ends the batch, which then releases what may have begun
            del self._running[box]
            raise

    def _next(self) -> Outcome | None:
        """Waits until a request is done, or one is to be made again."""
        soonest = min((going.again_at for going in self._waiting), default=None)
        box = heard(self._bell, None if soonest is None else max(0.0, soonest - now()))
        if box is None:
            return self._again()
        box.take()
        if not box.done or box not in self._running:
            return None
        going, _ = self._running.pop(box)
        try:
            return Outcome(going.index, going.request, tuple(box.outcome))
        except PixwireError as error:
            return self._failed(going, error)

    def _again(self) -> Outcome | None:
        going = min(self._waiting, key=lambda going: going.again_at)
        self._waiting.remove(going)
        try:
            self._start(going)
        except PixwireError as error:
            return Outcome(going.index, going.request, error=error)
        return None

    def _failed(self, going: _Going, error: PixwireError) -> Outcome | None:
        left = None if self._timeout is None else going.since + self._timeout - now()
        wait = wait_before_again(error, going.tries, left)
        if wait is None:
            return Outcome(going.index, going.request, error=error)
        going.again_at = now() + wait
        self._waiting.append(going)
        return None
