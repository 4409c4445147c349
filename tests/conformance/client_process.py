"""Runs clients, each in a process of its own that is forked from this one: everything is imported once.

python client_process.py SOCKET       prints a line when it listens; see client_launcher.py
"""

import contextlib
import io
import json
import os
import signal
import socket
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import client_mutants  # noqa: F401 - imported before the fork
import python_client


def serve_one(link: socket.socket) -> None:
    order = json.loads(link.makefile("rb").readline())
    for name in [name for name in os.environ if name.startswith("PIXWIRE_")]:
        del os.environ[name]
    os.environ.update(order["environ"])
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            code = python_client.run(order["mutant"])
        except BaseException:
            traceback.print_exc()
            code = 70
    link.sendall(f"{code}\n{output.getvalue()}".encode())


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(sys.argv[1])
        listener.listen()
        print("listening", flush=True)
        while True:
            link, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                try:
                    serve_one(link)
                finally:
                    os._exit(0)
            link.close()


if __name__ == "__main__":
    main()
