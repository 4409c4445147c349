"""The hub: unmodified pipelines run side by side, one forward pass at a time.

Every request runs its pipeline in a greenlet of one thread. A call of a heavy module parks the greenlet and comes
back here; when all residents are parked, `tick` chooses calls that can share a pass, runs it, hands everybody their
rows and lets them run on to their next call. Threads would not do: tokenizers shared between them race.

The whole of it runs under `no_grad`: pipelines enter and leave it themselves, in interleaved order, and would restore
the wrong mode for each other if it were ever on. For the same reason nothing here may enter `autocast`.
"""

import contextlib
import itertools
import time
from collections.abc import Callable
from typing import Any, Protocol

import torch
from greenlet import greenlet  # type: ignore[import-untyped]  # it ships none

from pixwire_server.engine.decode_lane import DecodeLane
from pixwire_server.engine.device import without_locals
from pixwire_server.engine.encode_cache import EncodeCache
from pixwire_server.engine.passes import PassRunner
from pixwire_server.engine.request import ENDED, Call, Request, RequestCancelled, StepMoment
from pixwire_server.engine.stopwatch import Stopwatch
from pixwire_server.engine.tally import Tally
from pixwire_server.engine.view import make_view, take_apart
from pixwire_server.scheduling.composition import DECODE, ENCODE, Streak, Waiting, choose
from pixwire_server.scheduling.ranking import level

ENCODE_CACHE_BYTES = 256 << 20


class Observer(Protocol):
    """Hears what happens to requests. Called on the hub's thread; must not call the hub back."""

    def stepped(self, request: Request, moment: StepMoment) -> None:
        """`request.step` of `request.steps` is done. Raising fails the request."""

    def left(self, request: Request) -> None:
        """The request holds no denoise place any more: all steps done, or it ended before. Once per request."""

    def ended(self, request: Request) -> None:
        """The request is over; `result`, `error` or `cancelled` is set. After `left`, once per request."""


class Hub:
    """Residents and their passes. One thread only; no method waits for anything but computation."""

    def __init__(
        self,
        pipeline: Any,
        runner: PassRunner,
        observer: Observer,
        *,
        encode_cache_bytes: int = ENCODE_CACHE_BYTES,
        tally: Tally | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.runner = runner
        self.encode_cache = EncodeCache(encode_cache_bytes)
        self._pipeline = pipeline
        self._observer = observer
        self._tally = tally or Tally()
        self._clock = clock
        self._residents: dict[int, tuple[Request, greenlet]] = {}
        self._orders = itertools.count()
        self._streak = Streak()
        self._decodes = DecodeLane()

    @property
    def resident(self) -> int:
        """Requests that have not ended."""
        return len(self._residents)

    @property
    def parked(self) -> int:
        """Requests that wait for a pass. Between ticks: all of them."""
        return sum(request.parked is not None for request, _ in self._residents.values())

    def submit(self, request: Request) -> None:
        """Make `request` resident and run it up to its first parked call. Raises ValueError for a handle in use."""
        if request.handle in self._residents:
            raise ValueError(f"handle {request.handle} is in use")
        thread = greenlet(self._run)
        self._residents[request.handle] = (request, thread)
        with torch.no_grad():
            self._let_run(request, thread, request)

    def cancel(self, handle: int) -> None:
        """End a request where it is parked: its next pass is never computed. Unknown handles are ignored."""
        if handle not in self._residents:
            return
        request, thread = self._residents[handle]
        request.cancelled = True
        request.parked = None
        with torch.no_grad():
            thread.throw(RequestCancelled)
        self._settle(request, thread)

    def tick(self) -> bool:
        """Run one pass. False when nothing is parked, that is, when there are no residents."""
        begin, now = time.perf_counter(), self._clock()
        calls = [request.parked for request, _ in self._residents.values() if request.parked is not None]
        waiting = [self._waiting(call, now) for call in calls]
        group = [calls[index] for index in choose(waiting, self._streak, now)]
        if not group:
            return False
        self._streak = self._streak.then(group[0].stage)
        lane = self._decodes.taken(group) if group[0].stage == DECODE else contextlib.nullcontext()
        with torch.no_grad(), lane:
            self.runner.run(group)
            for call in group:
                request, thread = self._residents[call.request.handle]
                request.parked = None
                if call.stage == ENCODE and not call.arguments:
                    self._let_encode(call, thread)
                else:
                    self._let_run(request, thread)
        self._tally.turned(time.perf_counter() - begin)
        return True

    def _waiting(self, call: Call, now: float) -> Waiting:
        """What the choice of the next pass looks at."""
        standing, signature, cap = call.request.standing, call.signature, self.runner.cap(call)
        urgency = level(standing.priority, standing.due, now)
        knee = self._tally.knee(call, cap)
        return Waiting(call.order, call.stage, signature.key, signature.rows, cap, urgency, standing.due, knee)

    def _let_encode(self, call: Call, thread: greenlet) -> None:
        """The request encodes its text itself: measured from outside, unless somebody has encoded it meanwhile or its
        text encoders park in their turn.
        """
        known, watch = self.encode_cache.hits, Stopwatch()
        self._let_run(call.request, thread)
        watch.stop()
        parked = call.request.parked
        if self.encode_cache.hits == known and (parked is None or parked.stage != ENCODE):
            self._tally.seen(call, [call], 1, watch)

    # ------------------------------------------------------------------------------ greenlets

    def _let_run(self, request: Request, thread: greenlet, *arguments: Any) -> None:
        thread.switch(*arguments)
        self._settle(request, thread)

    def _settle(self, request: Request, thread: greenlet) -> None:
        """After control came back: has the request ended?"""
        if not thread.dead:
            return
        if request.error is not None:
            without_locals(request.error)
        del self._residents[request.handle]
        request.clock.enter(ENDED)
        request.end()
        self._leave(request)
        self._observer.ended(request)

    def _run(self, request: Request) -> None:
        """The body of a request's greenlet."""
        view = None
        try:
            view = make_view(
                self._pipeline if request.pipeline is None else request.pipeline,
                request,
                self._park,
                self._stepped,
                self.encode_cache,
                ragged=not self.runner.exact,
            )
            request.result = view(**request.arguments)
        except RequestCancelled:
            request.cancelled = True
        except Exception as error:
            request.error = error
        finally:
            take_apart(view)

    def _park(self, call: Call) -> Any:
        """Called in a request's greenlet: wait for the hub to run `call`; return its result or raise its error."""
        request = call.request
        if request.cancelled:
            raise RequestCancelled
        request.clock.enter(call.stage)
        if call.stage == DECODE:
            self._leave(request)
        call.order = next(self._orders)
        request.parked = call
        greenlet.getcurrent().parent.switch()
        if call.error is not None:
            raise call.error
        return call.result

    def _stepped(self, request: Request, moment: StepMoment) -> None:
        self._observer.stepped(request, moment)
        if request.step == request.steps:
            request.clock.enter(DECODE)
            self._leave(request)

    def _leave(self, request: Request) -> None:
        if request.holds_place:
            request.holds_place = False
            self._observer.left(request)
