"""The broker: a queue in SQLite (WAL, synchronous=FULL: what was acknowledged survives a crash and a power cut).

    python -m benchmarks.deployments.broker.queue FILE [--port PORT]

publish (id, body) -> accepted | refused          pull -> id, body
done (id, image, started, ended)                 wait (id) -> image | unknown

A pulled message is leased to the connection that pulled it. When that ends, or the broker starts anew, the message is
pulled again, in its old place. A message that was pulled `MOST_TRIES` times in vain is answered with an empty image.
"""

import argparse
import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]

from .connection import read, write

LIMIT = 1000
"""Messages that may wait; as many as pixwire's queue takes."""
MOST_TRIES = 3
SCHEMA = """
CREATE TABLE IF NOT EXISTS message (
    position INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, body BLOB, tries INTEGER DEFAULT 0, result BLOB
)
"""


class Store:
    """The messages on disk. Every method that changes something returns when it is there."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute(SCHEMA)

    def add(self, name: str, body: Any) -> None:
        """Idempotent: the same id is the same message."""
        self._db.execute("INSERT OR IGNORE INTO message (id, body) VALUES (?, ?)", (name, msgpack.packb(body)))

    def known(self, name: str) -> bool:
        return self._db.execute("SELECT 1 FROM message WHERE id = ?", (name,)).fetchone() is not None

    def open(self) -> Iterator[tuple[str, int]]:
        """Messages without a result, and how often each was tried; the oldest first."""
        yield from self._db.execute("SELECT id, tries FROM message WHERE result IS NULL ORDER BY position")

    def try_again(self, name: str) -> Any:
        """Its body; that it is tried is noted."""
        self._db.execute("UPDATE message SET tries = tries + 1 WHERE id = ?", (name,))
        return msgpack.unpackb(self._db.execute("SELECT body FROM message WHERE id = ?", (name,)).fetchone()[0])

    def finish(self, name: str, result: dict[str, Any]) -> None:
        """The first result counts: a worker that was given up may come back with another one."""
        packed = msgpack.packb(result)
        self._db.execute("UPDATE message SET result = ? WHERE id = ? AND result IS NULL", (packed, name))

    def result(self, name: str) -> dict[str, Any] | None:
        row = self._db.execute("SELECT result FROM message WHERE id = ?", (name,)).fetchone()
        return None if row is None or row[0] is None else msgpack.unpackb(row[0])


class Queue:
    """Who waits for what. One event loop; a commit takes a fraction of a millisecond, and is made in it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tries = dict(store.open())
        self._free = dict.fromkeys(self._tries)  # an ordered set: the oldest first
        self._leased: dict[asyncio.StreamWriter, dict[str, None]] = {}
        self._pulling: list[tuple[asyncio.StreamWriter, int]] = []
        self._waiting: dict[str, list[tuple[asyncio.StreamWriter, int]]] = {}
        self._answers: dict[str, Callable[..., None]] = {
            "publish": self._publish,
            "pull": self._pull,
            "done": self._done,
            "wait": self._wait,
        }

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        self._leased[writer] = {}
        try:
            while True:
                message = await read(reader)
                self._answers[message.pop("do")](writer, **message)
                self._hand_out()
        except ConnectionError:
            self._pulling = [one for one in self._pulling if one[0] is not writer]
            self._free = self._leased.pop(writer) | self._free
            self._hand_out()
        finally:
            writer.close()

    def _publish(self, writer: asyncio.StreamWriter, number: int, id: str, body: Any) -> None:  # noqa: A002
        accepted = time.monotonic()
        if not self._store.known(id):
            if len(self._free) >= LIMIT:
                write(writer, {"number": number, "refused": f"{LIMIT} messages wait"})
                return
            self._store.add(id, body)
            self._free[id] = None
            self._tries[id] = 0
        write(writer, {"number": number, "accepted": accepted})

    def _pull(self, writer: asyncio.StreamWriter, number: int) -> None:
        self._pulling.append((writer, number))

    def _done(self, writer: asyncio.StreamWriter, number: int, id: str, **result: Any) -> None:  # noqa: A002
        self._leased[writer].pop(id, None)
        self._finish(id, result)
        write(writer, {"number": number})

    def _wait(self, writer: asyncio.StreamWriter, number: int, id: str) -> None:  # noqa: A002
        result = self._store.result(id)
        if not self._store.known(id):
            write(writer, {"number": number, "unknown": id})
        elif result is None:
            self._waiting.setdefault(id, []).append((writer, number))
        else:
            write(writer, {"number": number, **result})

    def _hand_out(self) -> None:
        while self._pulling and self._free:
            name = next(iter(self._free))
            del self._free[name]
            if self._tries[name] >= MOST_TRIES:
                self._finish(name, {"image": b"", "started": 0.0, "ended": 0.0})
                continue
            self._tries[name] += 1
            writer, number = self._pulling.pop(0)
            self._leased[writer][name] = None
            write(writer, {"number": number, "id": name, "body": self._store.try_again(name)})

    def _finish(self, name: str, result: dict[str, Any]) -> None:
        self._store.finish(name, result)
        self._tries.pop(name, None)
        stored = self._store.result(name)
        for writer, number in self._waiting.pop(name, []):
            if not writer.is_closing():
                write(writer, {"number": number, **(stored or result)})


async def main(path: Path, port: int) -> None:
    queue = Queue(Store(path))
    server = await asyncio.start_server(queue.serve, "127.0.0.1", port)
    print(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.file, arguments.port))
