"""`python -m pixwire_server.engine`: started by `process.EngineProcess`, not by hand."""

import logging
import os
import sys

from pixwire_server.engine.child import main

if __name__ == "__main__":
    status = main(sys.argv[1:])
    # Everything that was reported has been sent. An interpreter with torch in it takes a second of CPU to take itself
    # apart, which frees nothing that the end of the process does not.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(status)
