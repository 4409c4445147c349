"""`python -m pixwire_server` is `pixwire serve`."""

import sys

from pixwire_server.cli import main

if __name__ == "__main__":
    sys.exit(main())
