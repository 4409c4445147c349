"""A user at the wire: sees every event as it was sent. Nothing is mended or hidden, as a client library would."""

import asyncio
import hashlib
from collections import defaultdict
from pathlib import Path
from typing import Any

from pixwire_protocol.attachments import Attachment
from pixwire_protocol.connection import Connection, Incoming, Ready, Received, Role, Settings
from pixwire_protocol.messages import Cancel, Data, Error, Event, Fetch, List, Preview, Result, Status, Submit, Watch
from pixwire_protocol.params import GenerateParams

TERMINAL = {"succeeded", "failed", "cancelled", "expired"}
CHUNK = 1 << 16


class GoneError(Exception):
    """The connection is gone: the server died."""


class RefusedError(Exception):
    """The server answered ERROR; `error` is that message."""

    def __init__(self, error: Error) -> None:
        super().__init__(f"{error.code}: {error.message}")
        self.error = error


class WireUser:
    """One connection. One task may use a stream; any number of tasks the connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._connection = Connection(Role.CLIENT, Settings(agent="crash-tests"))
        self._inboxes: dict[int, asyncio.Queue[Received | None]] = defaultdict(asyncio.Queue)
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gone = False
        self._task = asyncio.create_task(self._receive())

    @classmethod
    async def connect(cls, path: Path) -> "WireUser":
        """Raises GoneError when nobody listens, or the server dies meanwhile."""
        try:
            user = cls(*await asyncio.open_unix_connection(path))
        except OSError as error:
            raise GoneError from error
        try:
            user._flush()
            await user._ready
        except BaseException:
            await user.close()
            raise
        return user

    async def close(self) -> None:
        """Leave without a word."""
        self._task.cancel()
        await asyncio.wait([self._task])
        self._writer.transport.abort()

    # what users ask

    async def submit(
        self, job: str, prompt: str, picture: bytes | None = None, terms: dict[str, Any] | None = None, **options: Any
    ) -> dict[str, Any]:
        """The status map; returns when the job is on disk. `picture`: a PNG file to begin with; `terms`: how a job
        without one is to be treated.
        """
        tail = GenerateParams(prompt, **options).pack()
        if picture is None:
            return await self._ask(Submit(job=job, kind="txt2img", tail=tail, **(terms or {})))
        stream = self.begin_upload(job, tail, picture)
        self._connection.send_data(stream, picture, end=True)
        self._flush()
        return await self._body(stream)

    def begin_upload(self, job: str, tail: bytes, picture: bytes) -> int:
        """Announce a picture and send nothing of it; the stream."""
        announced = Attachment("image", len(picture), hashlib.sha256(picture).hexdigest(), "image/png")
        return self._open(Submit(job=job, kind="img2img", tail=tail, attachments=(announced,)))

    def send_part(self, stream: int, part: bytes) -> None:
        """Some of the bytes, and more will come."""
        self._connection.send_data(stream, part)
        self._flush()

    async def status(self, job: str) -> dict[str, Any]:
        return await self._ask(Status(job=job))

    async def cancel(self, job: str) -> dict[str, Any]:
        return await self._ask(Cancel(job=job))

    async def listed(self) -> list[dict[str, Any]]:
        """All jobs, from all pages."""
        jobs: list[dict[str, Any]] = []
        after = None
        while True:
            page = await self._ask(List(what="jobs", limit=100, after=after))
            jobs += page["jobs"]
            after = page.get("next")
            if after is None:
                return jobs

    async def fetch(self, job: str, artifact: int = 0) -> bytes:
        """The whole image."""
        stream = self._open(Fetch(job=job, artifact=artifact))
        length = (await self._body(stream))["length"]
        data = bytearray()
        while len(data) < length:
            message = (await self._next(stream)).message
            assert isinstance(message, Data), message
            data += message.tail
            self._connection.consumed(stream, len(message.tail))
            self._flush()
        return bytes(data)

    async def watch(self, job: str, after_seq: int = 0) -> "Watching":
        """Follow a job with all its events."""
        stream = self._open(Watch(job=job, after_seq=after_seq, want=("progress", "preview")))
        received = await self._next(stream)
        return Watching(self, stream, _body(received), received.end)

    # how they are asked

    async def _ask(self, request: Any) -> dict[str, Any]:
        return await self._body(self._open(request))

    def _open(self, request: Any) -> int:
        if self._gone:
            raise GoneError
        stream = self._connection.open(request)
        self._flush()
        return stream

    async def _body(self, stream: int) -> dict[str, Any]:
        return _body(await self._next(stream))

    async def _next(self, stream: int) -> Received:
        if self._gone and self._inboxes[stream].empty():
            raise GoneError
        received = await self._inboxes[stream].get()
        if received is None:
            raise GoneError
        return received

    def _flush(self) -> None:
        while buffers := self._connection.data_to_send():
            self._writer.writelines(buffers)

    async def _receive(self) -> None:
        try:
            while data := await self._reader.read(CHUNK):
                for item in self._connection.receive(data):
                    self._sort(item)
                self._flush()
        except OSError:
            pass
        finally:
            self._gone = True
            if not self._ready.done():
                self._ready.set_exception(GoneError())
            for inbox in self._inboxes.values():
                inbox.put_nowait(None)

    def _sort(self, item: Incoming) -> None:
        if isinstance(item, Ready):
            self._ready.set_result(None)
        elif isinstance(item, Received) and item.stream:
            self._inboxes[item.stream].put_nowait(item)


class Watching:
    """The events of one job on one connection. `snapshot` is the first answer; `over` when there will be no event."""

    def __init__(self, user: WireUser, stream: int, snapshot: dict[str, Any], over: bool) -> None:
        self._user = user
        self._stream = stream
        self.snapshot = snapshot
        self.over = over

    async def next(self) -> dict[str, Any]:
        """The next event: a status map with its event and seq, a progress, or the head of a preview."""
        received = await self._user._next(self._stream)
        self.over = received.end
        if isinstance(received.message, Preview):
            return {"event": "preview", "seq": received.message.seq}
        return _body(received)


def _body(received: Received) -> dict[str, Any]:
    message = received.message
    if isinstance(message, Error):
        raise RefusedError(message)
    assert isinstance(message, Result | Event), message
    return message.body
