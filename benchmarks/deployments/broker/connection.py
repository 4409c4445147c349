"""Both ends of the broker's wire: a length and a msgpack map; every call has a number, answers come in any order."""

import asyncio
import contextlib
import itertools
import struct
from typing import Any, Self

import msgpack  # type: ignore[import-untyped]

HEAD = struct.Struct("!I")


async def read(reader: asyncio.StreamReader) -> dict[str, Any]:
    """The next message. Raises ConnectionError at the end."""
    try:
        (length,) = HEAD.unpack(await reader.readexactly(HEAD.size))
        message: dict[str, Any] = msgpack.unpackb(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, OSError) as error:
        raise ConnectionResetError("the broker's connection ended") from error
    return message


def write(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    """One message, without waiting: they are small, and there are few."""
    data: bytes = msgpack.packb(message)
    writer.write(HEAD.pack(len(data)) + data)


class Broker:
    """A client of the broker: of the application or of the worker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._gone = False
        self._reading = asyncio.ensure_future(self._read(reader))

    @classmethod
    async def connect(cls, address: str) -> Self:
        """address: HOST:PORT. Raises ConnectionError."""
        host, _, port = address.rpartition(":")
        try:
            return cls(*await asyncio.open_connection(host, int(port)))
        except OSError as error:
            raise ConnectionRefusedError(str(error)) from None

    async def call(self, do: str, **fields: Any) -> dict[str, Any]:
        """Its answer. Raises ConnectionError when the broker is gone."""
        if self._gone:
            raise ConnectionResetError("the broker is gone")
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        write(self._writer, {"do": do, "number": number, **fields})
        try:
            told: dict[str, Any] = await answer
            return told
        finally:
            del self._waiting[number]

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                message = await read(reader)
                waiting = self._waiting.get(message["number"])
                if waiting is not None and not waiting.done():
                    waiting.set_result(message)
        except ConnectionError as error:
            self._gone = True
            self._writer.close()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(ConnectionResetError(str(error)))

    async def close(self) -> None:
        self._reading.cancel()
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
