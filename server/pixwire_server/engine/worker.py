"""One thread beside the engine loop, for what takes long: its outcomes come back to the loop's own turn."""

import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pixwire_server.engine.device import without_locals

Done = Callable[[Any], None]
"""Gets what the work returned, or the exception it raised."""


class Worker:
    """Runs one piece of work after the other. `wake` is called from its thread when there is an outcome."""

    def __init__(self, wake: Callable[[], None] = lambda: None) -> None:
        self._wake = wake
        self._thread = ThreadPoolExecutor(1, "loader")
        self._outcomes: queue.SimpleQueue[tuple[Done, Any]] = queue.SimpleQueue()

    def run(self, work: Callable[[], Any], done: Done = lambda outcome: None) -> None:
        """Do `work` in the thread; `done` is called by `deliver`."""

        def job() -> None:
            try:
                outcome = work()
            except Exception as error:
                outcome = without_locals(error)
            self._outcomes.put((done, outcome))
            self._wake()

        self._thread.submit(job)

    def deliver(self) -> None:
        """Hand out the outcomes that have come in; belongs to the engine thread."""
        while True:
            try:
                done, outcome = self._outcomes.get_nowait()
            except queue.Empty:
                return
            done(outcome)

    def wait(self) -> None:
        """Return when everything begun so far is done; for tests and the end."""
        self._thread.submit(lambda: None).result()

    def close(self) -> None:
        """Begin nothing more; what runs ends with the process."""
        self._thread.shutdown(wait=False, cancel_futures=True)
