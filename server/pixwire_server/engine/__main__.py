"""`python -m pixwire_server.engine`: started by `process.EngineProcess`, not by hand."""

import sys

from pixwire_server.engine.child import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
