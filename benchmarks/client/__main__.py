"""What the client costs, shell by shell: import time, one round trip, many at once.

    python -m benchmarks.client [--calls 3000] > client.json

The server is a process of its own that answers STATUS at once, so what is measured is the client and the socket. Each
figure is the median of its repetitions; `bare` is the same frames over a blocking socket without the client.
"""

import argparse
import asyncio
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pixwire
from pixwire_protocol import messages
from pixwire_protocol.connection import Connection
from pixwire_protocol.incoming import Ready, Received
from pixwire_protocol.settings import Settings
from pixwire_protocol.states import Role

REPETITIONS = 7
AT_ONCE = 32
IMPORTS = {
    "python": "pass",
    "pixwire": "import pixwire",
    "Client": "import pixwire; pixwire.Client",
    "connect": "import pixwire; pixwire.connect, pixwire.AsyncClient",
    "asyncio": "import asyncio",
}


def main() -> None:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=3000, help="round trips per repetition")
    calls = parser.parse_args().calls
    command = [sys.executable, "-m", "benchmarks.client.server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        try:
            figures = {
                "import_ms": {name: _import(code) for name, code in IMPORTS.items()},
                "round_trip_us": _round_trips(port, calls),
                "calls_per_second": _rates(port, calls),
            }
        finally:
            server.kill()
    print(json.dumps(figures, indent=2))


def _median(measure: Callable[[], float]) -> float:
    return round(statistics.median(measure() for _ in range(REPETITIONS)), 2)


def _import(code: str) -> float:
    def measure() -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return (time.perf_counter() - start) * 1000

    return _median(measure)


# --- one call after the other


def _round_trips(port: int, calls: int) -> dict[str, float]:
    url = f"pixwire://127.0.0.1:{port}"
    return {"bare": _bare(port, calls), "threads": _blocking(url, calls), **_loops(url, calls)}


def _bare(port: int, calls: int) -> float:
    connection = Connection(Role.CLIENT, Settings(agent="bare"))
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def until(kind: type) -> None:
            while True:
                while connection.has_output:
                    sock.sendall(b"".join(connection.data_to_send()))
                if any(isinstance(item, kind) for item in connection.receive(sock.recv(65536))):
                    return

        until(Ready)

        def measure() -> float:
            start = time.perf_counter()
            for _ in range(calls):
                connection.open(messages.Status("j"))
                until(Received)
            return (time.perf_counter() - start) / calls * 1e6

        return _median(measure)


def _blocking(url: str, calls: int) -> float:
    with pixwire.Client(url) as client:
        job = client.job("j")

        def measure() -> float:
            start = time.perf_counter()
            for _ in range(calls):
                job.status()
            return (time.perf_counter() - start) / calls * 1e6

        return _median(measure)


def _loops(url: str, calls: int) -> dict[str, float]:
    async def work() -> float:
        async with pixwire.connect(url) as client:
            job, times = client.job("j"), []
            for _ in range(REPETITIONS):
                start = time.perf_counter()
                for _ in range(calls):
                    await job.status()
                times.append((time.perf_counter() - start) / calls * 1e6)
            return round(statistics.median(times), 2)

    return _on_both(work)


# --- many at once


def _rates(port: int, calls: int) -> dict[str, float]:
    url = f"pixwire://127.0.0.1:{port}"

    async def work() -> float:
        async with pixwire.connect(url) as client:
            job, rates = client.job("j"), []

            async def some() -> None:
                for _ in range(calls // AT_ONCE):
                    await job.status()

            for _ in range(REPETITIONS):
                start = time.perf_counter()
                await asyncio.gather(*(some() for _ in range(AT_ONCE)))
                rates.append(calls // AT_ONCE * AT_ONCE / (time.perf_counter() - start))
            return round(statistics.median(rates))

    with pixwire.Client(url) as client, ThreadPoolExecutor(AT_ONCE) as pool:
        job = client.job("j")

        def measure() -> float:
            start = time.perf_counter()
            list(pool.map(lambda _: [job.status() for _ in range(calls // AT_ONCE)], range(AT_ONCE)))
            return calls // AT_ONCE * AT_ONCE / (time.perf_counter() - start)

        return {"threads": _median(measure), **_on_both(work)}


def _on_both(work: Callable[[], Any]) -> dict[str, float]:
    import uvloop

    found = {"asyncio": asyncio.run(work())}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found["uvloop"] = runner.run(work())
    return found


if __name__ == "__main__":
    main()
