"""The child process of `pixwire.embedded`: the server, and a thread that ends it when the parent is gone.

    python -m pixwire.embedding_child LIFELINE FOLDER ARGUMENTS...

LIFELINE is the reading end of a pipe that nobody ever writes to. However the parent ends, the pipe ends with it. Then
nobody is left to wait for anything: FOLDER, which was made for this server, is removed, and the process kills itself.
"""

import os
import runpy
import shutil
import signal
import sys
import threading


def main() -> None:
    """Runs the server as `python -m pixwire_server ARGUMENTS` would."""
    lifeline, folder = int(sys.argv[1]), sys.argv[2]
    os.set_inheritable(lifeline, False)  # the engine, a child of this process, has no use for it
    threading.Thread(target=_watch, args=(lifeline, folder), name="lifeline", daemon=True).start()
    sys.argv = ["pixwire-server", *sys.argv[3:]]
    runpy.run_module("pixwire_server", run_name="__main__", alter_sys=True)


def _watch(lifeline: int, folder: str) -> None:
    while os.read(lifeline, 1):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
