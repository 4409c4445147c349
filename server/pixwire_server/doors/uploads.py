"""Attachments on their way in: DATA of a submit's stream goes to Jobs, and credit back when the bytes are stored.

A client has never more under way than its stream's window, so that is all this server holds of an upload: what came
before Jobs was ready for it, and what Jobs has not written yet.
"""

import asyncio
from asyncio import Future
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from pixwire_protocol.header import Buffer
from pixwire_protocol.registry import ErrorCode
from pixwire_server.doors.replies import Replies
from pixwire_server.jobs import RequestError, Submitted, Upload

Begun = Submitted | Upload
Answer = Callable[[Submitted], None]


class Uploads:
    """The uploads of one connection.

    They share its window: while one waits for the disk, the others may lack credit.
    """

    def __init__(self, replies: Replies, stall_s: float) -> None:
        self.replies = replies
        self.stall_s = stall_s
        self.unwritten = 0
        """Bytes received and not stored."""
        self.settled_at = 0.0
        """When `unwritten` became 0 for the last time."""

    def begin(self, stream: int, begun: "Future[Any]", answer: Answer) -> None:
        """The submit of `stream` waits for its attachments; `answer` is called when it is accepted."""
        StreamUpload(self, stream, begun, answer).start()

    def receive(self, stream: int, data: Buffer, end: bool) -> None:
        """The next bytes of the stream's attachments."""
        upload = self.replies.held(stream)
        if isinstance(upload, StreamUpload):
            self.replies.guard(stream, upload.take, data, end)
        else:  # answered or refused in this very batch
            self.replies.consumed(stream, len(data))

    def note_unwritten(self, change: int) -> None:
        """So many bytes more wait to be stored (or fewer)."""
        self.unwritten += change
        if not self.unwritten:
            self.settled_at = asyncio.get_running_loop().time()


class StreamUpload:
    """The upload of one stream, which holds it until it is answered. Given up when the stream ends before."""

    def __init__(self, uploads: Uploads, stream: int, begun: "Future[Any]", answer: Answer) -> None:
        self._uploads = uploads
        self._replies = uploads.replies
        self._stream = stream
        self._begun = begun
        self._answer = answer
        self._loop = asyncio.get_running_loop()
        self._port: Upload | None = None
        self._early: list[Buffer] = []  # what came before Jobs was ready
        self._complete = False  # all bytes are here
        self._over = False
        self._heard = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._replies.hold(self._stream, self)
        self._replies.when_done(self._stream, self._begun, self._on_begun)

    def take(self, data: Buffer, end: bool) -> None:
        """The next bytes; `end`: the last ones."""
        if self._over:
            self._replies.consumed(self._stream, len(data))
            return
        self._heard = self._loop.time()
        self._complete = end
        if self._port is None:
            self._early.append(data)
        else:
            self._write(self._port, [data])

    def close(self) -> None:
        """The stream is over or answered: nothing was submitted, unless everything was here already."""
        self._over = True
        self._early.clear()
        if self._timer is not None:
            self._timer.cancel()
        if self._port is None:
            self._begun.add_done_callback(_abort)
        elif not self._complete:
            self._port.abort()

    # ------------------------------------------------------------------ Jobs

    def _on_begun(self, begun: Begun) -> None:
        early, self._early = self._early, []
        if isinstance(begun, Submitted):  # the answer gives the credit of all unread bytes back
            self._over = True
            self._answer(begun)
            return
        self._port = begun
        self._heard = self._loop.time()
        self._timer = self._loop.call_at(self._heard + self._uploads.stall_s, self._check)
        self._write(begun, early)

    def _write(self, port: Upload, pieces: Iterable[Buffer]) -> None:
        for data in pieces:
            size = len(data)
            if size:  # the last DATA may be empty
                self._uploads.note_unwritten(size)
                port.write(data).add_done_callback(partial(self._on_written, size))
        if self._complete:
            self._replies.when_done(self._stream, port.finish(), self._answer)

    def _on_written(self, size: int, written: "Future[None]") -> None:
        """The bytes are stored: the client may send as many more."""
        self._uploads.note_unwritten(-size)
        if written.cancelled() or written.exception() is not None:
            if not self._over:
                self._replies.when_done(self._stream, written, lambda _: None)  # tells the client why
        else:
            self._replies.consumed(self._stream, size)

    # ------------------------------------------------------------------ time

    def _check(self) -> None:
        """Whether the client could send and did not. Our own disk being slow is not its fault."""
        now, stall_s = self._loop.time(), self._uploads.stall_s
        if self._complete:
            return
        quiet_since = now if self._uploads.unwritten else max(self._heard, self._uploads.settled_at)
        if now >= quiet_since + stall_s:
            why = f"no byte of the attachments has come for {stall_s:g} s; nothing was submitted"
            self._replies.fail(self._stream, RequestError(ErrorCode.UPLOAD_STALLED, why))
        else:
            self._timer = self._loop.call_at(quiet_since + stall_s, self._check)


def _abort(begun: "Future[Any]") -> None:
    """The stream was over before Jobs was ready for its bytes."""
    if not begun.cancelled() and begun.exception() is None and not isinstance(begun.result(), Submitted):
        begun.result().abort()
