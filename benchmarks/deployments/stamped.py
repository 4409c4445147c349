"""`pixwire serve`, whose jobs also tell at which second of the machine's clock they ended. Otherwise unchanged.

    python -m benchmarks.deployments.stamped --listen 127.0.0.1:0 ...

A status names durations (queue_ms, run_ms); to split an image's way they have to be laid beside the client's clock.
"""

import sys
from typing import Any

from pixwire_server.cli import main
from pixwire_server.jobs import outcomes


def _stamp(times: Any) -> Any:
    def stamped(self: Any, record: Any) -> dict[str, Any]:
        fields: dict[str, Any] = times(self, record)
        timings = fields["timings"]
        timings["ended_s"] = record.started_at + timings["run_ms"] / 1000
        return fields

    return stamped


if __name__ == "__main__":
    outcomes.Outcomes._times = _stamp(outcomes.Outcomes._times)  # type: ignore[method-assign]
    sys.exit(main())
