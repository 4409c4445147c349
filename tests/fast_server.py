"""`pixwire serve` for tests in which the model is not the point: the same server, with an engine that loads no torch.

    python fast_server.py FOLDER [options of `pixwire serve`]

Command line, doors, jobs, journal and store are the product's own, and so is the way to the engine: a process of its
own, the real messages over the real socket pair. The engine is the fast one of the crash tests, whose images are hashes
of the request and whose steps take `PIXWIRE_TEST_STEP_S` seconds; its model bears the name of the built-in one, so that
a server with the real engine can go on with the jobs. A start costs half a second of CPU, not five. FOLDER takes the
program that stands in for the engine's.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "faults"))

from crash_server import engine_wrapper

from pixwire_server import builtin_model
from pixwire_server.cli import main

if __name__ == "__main__":
    os.environ["PIXWIRE_TEST_MODEL"] = builtin_model.NAME
    sys.executable = engine_wrapper("fast", Path(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
