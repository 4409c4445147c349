"""Stops a process of a server at a named moment of its life, until a test lets it go on or kills it.

For the processes under test: `reach` tells the test's gatekeeper (a Unix socket, see `gatekeeper.py`) where this
process is and waits for the answer. Without a gatekeeper it does nothing.
"""

import json
import os
import socket

PLACE = "PIXWIRE_TEST_GATE"
"""Environment variable: path of the gatekeeper's socket."""


def reach(stage: str, subject: str = "") -> None:
    """This thread has come to `stage` with `subject` (a job id or a prompt). Blocks; any thread."""
    place = os.environ.get(PLACE)
    if place is None:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as gate:
        try:
            gate.connect(place)
            gate.sendall(json.dumps({"stage": stage, "subject": subject, "pid": os.getpid()}).encode() + b"\n")
            gate.recv(1)
        except OSError:
            pass  # the gatekeeper has gone home
