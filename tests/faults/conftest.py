"""What the crash tests share."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the helpers beside this file; tests are no package

from crashing import Nursery


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """Where servers come from; those that are left are killed."""
    made = Nursery()
    yield made
    made.close()
