"""`python -m pixwire` is the command `pixwire`."""

import sys

from .cli import main

sys.exit(main())
