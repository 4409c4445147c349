"""A toy engine that holds its tasks and knows what else it is told."""

import asyncio

from toy_engine import STATS, ToyEngine

from pixwire_server.engine import api


class HeldEngine(ToyEngine):
    """`cancelled` is set when a task was cancelled, `watched` when somebody wants to see previews."""

    def __init__(self) -> None:
        super().__init__(hold=True)
        self.cancelled = asyncio.Event()
        self.watched = asyncio.Event()

    def send(self, command: api.Command) -> None:
        super().send(command)
        if isinstance(command, api.Cancel):
            asyncio.get_running_loop().call_soon(self.report, api.Cancelled(command.handle, 0, STATS))
            self.cancelled.set()
        elif isinstance(command, api.SetPreviews) and command.on:
            self.watched.set()

    async def wait(self, event: asyncio.Event) -> None:
        """Until `event`, one of this engine's; a bound for a hang, never a measure."""
        async with asyncio.timeout(10):
            await event.wait()
        event.clear()

    def report(self, report: api.Report) -> None:
        """Say something to the server."""
        self._report(report)

    def preview(self, step: int, steps: int = 4) -> None:
        """A picture of the first task on the way."""
        self.report(api.PreviewReady(self.tasks[0].handle, step, steps, "image/jpeg", 8, 8, b"picture %d" % step))

    def fail(self, kind: str, message: str) -> None:
        """The latest task fails."""
        self.report(api.Failed(self.tasks[-1].handle, kind, message))
