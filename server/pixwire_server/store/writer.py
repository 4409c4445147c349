"""Group commit: one thread that owns the writing connection and turns whatever waits into one transaction.

A flush to disk costs the same for one row and for a hundred, so the operations that arrive while a commit runs share
the next one. What one turn of the event loop asks for is handed over at its end, as one: while that turn still runs the
thread could not have the interpreter's lock anyway, and would make the loop fight for it. Of a batch everybody is told
in one turn of the loop, after a single wake-up.
"""

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from typing import Any, Protocol, TypeVar, cast

from .errors import StoreUnavailableError, from_sqlite

_log = logging.getLogger(__name__)

MAX_BATCH = 512
"""Operations per transaction: bounds how long the first of them waits for the last."""

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], Any]


class Joint(Protocol):
    """An operation of which several are carried out in fewer statements than one by one. Each statement lets go of the
    interpreter's lock, and while the event loop is busy it takes up to a switch interval to get it back.
    """

    def __call__(self, connection: sqlite3.Connection) -> Any: ...

    def with_others(self, others: "Sequence[Any]", connection: sqlite3.Connection) -> list[Any]:
        """Carry out this one and these of its class, after it; their results in this order."""
        ...


Told = Callable[[Any, BaseException | None], None]
"""Called with the result of an operation whose transaction is on disk, or else with why nothing of it was kept."""
Ticket = tuple[Operation, Told]
Outcome = tuple[Told, Any, BaseException | None]


class GroupWriter:
    """Runs operations in order inside group-committed transactions. Call it from the loop's thread.

    Whoever asked hears of an operation after its commit. When a transaction fails, those who asked for its operations
    get a StoreError and nothing of them is kept.
    """

    def __init__(self, connection: sqlite3.Connection, loop: asyncio.AbstractEventLoop) -> None:
        self.commits = 0
        self.operations = 0
        self._connection = connection
        self._loop = loop
        self._gathered: list[Ticket] = []  # in this turn of the loop
        self._queue: queue.SimpleQueue[list[Ticket] | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="pixwire-journal", daemon=True)
        self._thread.start()

    def submit(self, operation: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Run `operation` on the connection, in the order of the calls; its result or error arrives with the commit."""
        future: asyncio.Future[T] = self._loop.create_future()
        self.enter(operation, partial(_settle, future))
        return future

    def enter(self, operation: Operation, told: Told) -> None:
        """As `submit`; `told` is called in the very turn in which the loop hears of the commit, and must not raise.

        At once when no more operations are taken.
        """
        if self._closed:
            told(None, StoreUnavailableError("the journal is closed"))
            return
        if not self._gathered:
            self._loop.call_soon(self._hand_over)
        self._gathered.append((operation, told))

    def refuse(self) -> None:
        """Take no more operations; those that wait are still committed. May be called again."""
        if not self._closed:
            self._closed = True
            self._hand_over()
            self._queue.put(None)

    def join(self) -> None:
        """Wait until all is committed and close the connection; after `refuse`. Blocks: not for the loop's thread."""
        self._thread.join()
        self._connection.close()

    def _hand_over(self) -> None:
        if self._gathered:
            gathered, self._gathered = self._gathered, []
            self._queue.put(gathered)

    def _run(self) -> None:
        more = True
        while more:
            batch, more = self._take()
            for begin in range(0, len(batch), MAX_BATCH):
                self._deliver(self._commit(batch[begin : begin + MAX_BATCH]))

    def _take(self) -> tuple[list[Ticket], bool]:
        """Wait for operations, then take all that have come meanwhile; False when there will be no more."""
        batch: list[Ticket] = []
        gathered = self._queue.get()
        while gathered is not None:
            batch += gathered
            if len(batch) >= MAX_BATCH:
                return batch, True
            try:
                gathered = self._queue.get_nowait()
            except queue.Empty:
                return batch, True
        return batch, False

    def _commit(self, batch: list[Ticket]) -> list[Outcome]:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            results = _carry_out([operation for operation, _ in batch], connection)
            connection.execute("COMMIT")
        except Exception as error:
            with contextlib.suppress(sqlite3.Error):
                connection.rollback()
            if len(batch) > 1 and not isinstance(error, sqlite3.OperationalError):
                # one bad row must not take its neighbours along
                return [outcome for ticket in batch for outcome in self._commit([ticket])]
            _log.error("journal: %d operations were not committed: %s", len(batch), error)
            refusal = from_sqlite(error) if isinstance(error, sqlite3.Error) else error
            return [(told, None, refusal) for _, told in batch]
        self.commits += 1
        self.operations += len(batch)
        return [(told, result, None) for (_, told), result in zip(batch, results, strict=True)]

    def _deliver(self, outcomes: list[Outcome]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(_tell, outcomes)


def _carry_out(operations: list[Operation], connection: sqlite3.Connection) -> list[Any]:
    """All of them in their order, neighbours of a kind together where that is possible."""
    if len(operations) == 1:
        return [operations[0](connection)]
    results: list[Any] = []
    for kind, run in groupby(operations, type):
        first, *others = run
        if others and hasattr(kind, "with_others"):
            results += cast("Joint", first).with_others(others, connection)
        else:
            results += [operation(connection) for operation in (first, *others)]
    return results


def _tell(outcomes: list[Outcome]) -> None:
    for told, result, error in outcomes:
        try:
            told(result, error)
        except Exception:
            _log.exception("journal: somebody who was told of a commit failed")


def _settle(future: asyncio.Future[T], result: T, error: BaseException | None) -> None:
    if future.done():
        return  # cancelled by whoever asked; the work was done all the same
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
