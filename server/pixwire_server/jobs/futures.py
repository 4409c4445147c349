"""Futures without tasks: an answer that needs no coroutine should not pay for one."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

A = TypeVar("A")
B = TypeVar("B")


class Answer(asyncio.Future[A]):
    """A future that somebody can hear of at once, without the turn of the loop that callbacks of a future cost.

    Everything else is as with every future: it can be awaited, cancelled, and have callbacks.
    """

    _hear: "Callable[[Answer[A]], None] | None" = None

    def hear(self, heard: "Callable[[Answer[A]], None]") -> None:
        """Call `heard` with this future as soon as it is given or refused; now, if it is done. One listener at most.

        Who cancels it is the one who waits, so of that nobody is told.
        """
        if self.done():
            heard(self)
        else:
            self._hear = heard

    def give(self, value: A) -> None:
        """Resolve it, unless whoever waits for it has given up."""
        if not self.done():
            self.set_result(value)
            if self._hear is not None:
                self._hear(self)

    def refuse(self, error: BaseException) -> None:
        """Fail it, unless whoever waits for it has given up."""
        if not self.done():
            self.set_exception(error)
            if self._hear is not None:
                self._hear(self)


def resolved(value: A) -> asyncio.Future[A]:
    """A future that is done."""
    future: asyncio.Future[A] = asyncio.get_running_loop().create_future()
    future.set_result(value)
    return future


def give(future: asyncio.Future[A], value: A) -> None:
    """Resolve `future`, unless whoever waits for it has given up."""
    if not future.done():
        future.set_result(value)


def fail(future: asyncio.Future[Any], error: BaseException) -> None:
    """Fail `future`, unless whoever waits for it has given up."""
    if not future.done():
        future.set_exception(error)


def then(
    source: asyncio.Future[A],
    convert: Callable[[A], B],
    translate: Callable[[BaseException], BaseException] = lambda error: error,
) -> Answer[B]:
    """What `convert` makes of the result of `source`; errors of `source` (translated) and of `convert` are passed on.

    Done at once when `source` is. Cancelling the returned future leaves `source` alone.
    """
    target: Answer[B] = Answer()

    def done(future: asyncio.Future[A]) -> None:
        if future.cancelled():
            target.cancel()
        elif (error := future.exception()) is not None:
            target.refuse(translate(error))
        elif not target.done():
            try:
                converted = convert(future.result())
            except Exception as refused:
                target.refuse(refused)
            else:
                target.give(converted)

    _when_done(source, done)
    return target


def chain(source: asyncio.Future[A], following: Callable[[A], asyncio.Future[B]]) -> asyncio.Future[B]:
    """As `then`, for a `following` that answers with a future of its own."""
    target: asyncio.Future[B] = asyncio.get_running_loop().create_future()

    def done(future: asyncio.Future[Any], last: bool) -> None:
        if future.cancelled():
            target.cancel()
        elif (error := future.exception()) is not None:
            fail(target, error)
        elif last:
            give(target, future.result())
        else:
            _when_done(future.result(), lambda second: done(second, True))

    _when_done(then(source, following), lambda first: done(first, False))
    return target


def unheard(future: asyncio.Future[A]) -> asyncio.Future[A]:
    """The same future, whose failure is no accident when nobody asks for it."""
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future


def _when_done(future: asyncio.Future[A], callback: Callable[[asyncio.Future[A]], None]) -> None:
    if future.done():
        callback(future)
    else:
        future.add_done_callback(callback)
