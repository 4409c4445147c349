"""Servers to be killed, each in a process of its own, forked from one that has everything imported.

    python crash_server.py

Reads one JSON object per line: {"number": of the order, "config": fields of ServerConfig, "jobs": fields of
JobsSettings, "restart": fields of RestartPolicy, "engine": "fast" or "real", "gate": path or null, "log": path}. For
each it forks a process that serves and prints {"number": ..., "pid": ..., "line": what a server prints when it is
ready}, and at its end, unless it is killed, {"number": ..., "code": its exit status}. SIGUSR1 makes it say how many
tasks, threads and objects it has.

The server is the product's own (`app.serve`, real engine process, real journal). What is added around it: it stops at
the gate between two of its steps (see `STAGES`), and its engine is started through a wrapper.
"""

import asyncio
import gc
import json
import os
import signal
import sys
import tempfile
import threading
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import gate
import uvloop

from pixwire_server import app, logs
from pixwire_server.config import ServerConfig
from pixwire_server.jobs import RestartPolicy
from pixwire_server.store import artifacts, journal, writer

HERE = Path(__file__).resolve().parent
ENGINES = {"fast": "fast_engine.py", "real": "real_engine.py"}


def stop_at_stages() -> None:
    """Let the server's threads stop at the gate where jobs pass from one stage to the next.

    submitting         in the transaction of a new job, before its commit: nobody was told
    accepted           committed, the client is not told yet
    image written      an image is on disk under its temporary name
    artifact written   all images have their names, the journal does not know yet
    recording          in the transaction of a job's end, before its commit
    result recorded    committed, the watchers are not told yet
    """
    committed: list[tuple[str, str]] = []  # of the transaction under way; the writer's thread only
    carry_out, update, deliver = writer._carry_out, journal._update, writer.GroupWriter._deliver
    write_whole, put = artifacts.write_whole, artifacts.ArtifactFiles._put

    def gated_carry_out(operations: list[Any], *rest: Any) -> list[Any]:
        results = carry_out(operations, *rest)
        for row in [operation.row for operation in operations if isinstance(operation, journal._Creation)]:
            gate.reach("submitting", row.job)
            committed.append(("accepted", row.job))
        return results

    def gated_update(row: Any, *rest: Any) -> Any:
        written = update(row, *rest)
        if written and row.finished_ms is not None:
            gate.reach("recording", row.job)
            committed.append(("result recorded", row.job))
        return written

    def gated_deliver(self: Any, outcomes: Any) -> None:
        for stage, job in committed:
            gate.reach(stage, job)
        committed.clear()
        deliver(self, outcomes)

    def gated_write(path: Path, data: bytes) -> None:
        write_whole(path, data)
        gate.reach("image written")

    def gated_put(self: Any, images: Any) -> Any:
        etags = put(self, images)
        gate.reach("artifact written")
        return etags

    writer._carry_out, journal._update = gated_carry_out, gated_update
    writer.GroupWriter._deliver = gated_deliver  # type: ignore[method-assign]
    artifacts.write_whole = gated_write
    artifacts.ArtifactFiles._put = gated_put  # type: ignore[method-assign]


def engine_wrapper(name: str, folder: Path) -> str:
    """A program that is called like Python with `-m pixwire_server.engine FD CONFIG` and runs another engine."""
    wrapper = folder / f"engine-{name}"
    if not wrapper.exists():
        wrapper.write_text(f'#!/bin/sh\nshift 2\nexec "{sys.executable}" "{HERE / ENGINES[name]}" "$@"\n')
        wrapper.chmod(0o700)
    return str(wrapper)


def serve(order: dict[str, Any], folder: Path) -> int:
    """One server, from its start to its end."""
    with open(order["log"], "ab") as log:
        os.dup2(log.fileno(), 2)
    if order["gate"] is not None:
        os.environ[gate.PLACE] = order["gate"]
        stop_at_stages()
    sys.executable = engine_wrapper(order["engine"], folder)
    settings_of = app.jobs_settings

    def jobs_settings(config: ServerConfig) -> Any:
        policy = RestartPolicy(**{"base_delay_s": 0.0, **order["restart"]})
        return replace(settings_of(config), store_retry_s=0.05, restart=policy, **order["jobs"])

    app.jobs_settings = jobs_settings

    def announce(line: str) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, count)
        say(number=order["number"], pid=os.getpid(), line=line)

    def count() -> None:
        """What a leak would add to."""
        gc.collect()
        tasks = sorted(str(task.get_coro()) for task in asyncio.all_tasks())
        say(number=order["number"], tasks=tasks, threads=threading.active_count(), objects=len(gc.get_objects()))

    config = ServerConfig(**order["config"])
    logs.configure(config.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(app.serve(config, announce))


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def child(order: dict[str, Any], folder: Path) -> None:
    """The forked process."""
    code = 70
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        code = serve(order, folder)
    except BaseException:
        traceback.print_exc()  # into the log
    finally:
        say(number=order["number"], code=code)
        os._exit(code)


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with tempfile.TemporaryDirectory() as folder:
        for line in sys.stdin:
            if not os.fork():
                child(json.loads(line), Path(folder))


if __name__ == "__main__":
    main()
