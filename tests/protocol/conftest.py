"""Settings shared by the protocol's tests: the helpers beside this file, and Hypothesis without clocks."""

import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))  # the helpers beside this file; tests are no package

# deadline: the machine may be busy; derandomize: a failure is the same failure the next time.
settings.register_profile(
    "protocol", deadline=None, derandomize=True, max_examples=100, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("protocol")
