"""`python -m pixwire.wire.conform`."""

import sys

from .cli import run_alone

if __name__ == "__main__":
    sys.exit(run_alone(sys.argv[1:]))
