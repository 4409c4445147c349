"""Servers to be tested, each in a process of its own: the real door over `PlayingJobs`, as it is or with one defect.

    python door_process.py FOLDER

Reads one JSON object per line: {"mutant": name or null, "settings": {...}, "token": bool,
"unix": bool, "tls": PEM file or null}. For each it forks a process
(everything is imported once) that applies the mutant, serves on a free port and prints {"url": ..., "pid": ...}.
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "server" / "doors"))

import server_mutants
import uvloop
from playing_jobs import PlayingJobs

from pixwire_server.doors.address import TcpAddress, UnixAddress
from pixwire_server.doors.door import Door
from pixwire_server.doors.listeners import bind_all
from pixwire_server.doors.settings import DoorSettings
from pixwire_server.doors.tls import TlsFiles, server_context
from pixwire_server.doors.tokens import Tokens, entry_for

TOKEN = "conformance-token-of-alice"
GRACE_S = 10.0


async def serve(order: dict[str, Any]) -> None:
    """One server, until SIGKILL; SIGTERM drains it."""
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory(dir=sys.argv[1]) as folder:
        settings = DoorSettings("door-under-test", "server-1", "epoch-1", **order["settings"])
        jobs = PlayingJobs(Path(folder))
        jobs.max_upload = settings.max_upload
        tokens = None
        if order["token"]:
            file = Path(folder) / "tokens"
            carol = entry_for("carol", TOKEN + "-carol", roles=["admin"])
            file.write_text("\n".join([entry_for("alice", TOKEN), entry_for("bob", TOKEN + "-bob"), carol]))
            tokens = Tokens(file)
        tls = None
        if order["tls"]:
            files = TlsFiles(Path(order["tls"]), Path(order["tls"]))
            tls = server_context(files, certificates_needed=False)
        door = Door(jobs, settings, tokens, tls)
        address = UnixAddress(f"{folder}/s") if order["unix"] else TcpAddress("127.0.0.1", 0, tls is not None)
        (listener,) = await bind_all([address])
        await door.open([listener])
        stop = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        print(json.dumps({"url": listener.address.url, "pid": os.getpid()}), flush=True)
        await stop.wait()
        door.begin_drain(GRACE_S)
        await asyncio.sleep(GRACE_S)


def run_child(order: dict[str, Any]) -> None:
    """The forked process. What goes wrong before the server is there is the answer."""
    try:
        if order["mutant"] is not None:
            server_mutants.apply(order["mutant"])
        uvloop.run(serve(order))
    except Exception as error:
        print(json.dumps({"error": repr(error)}), flush=True)
        raise
    finally:
        os._exit(0)


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        if os.fork() == 0:
            run_child(json.loads(line))


if __name__ == "__main__":
    main()
