"""How good the foretold ends are: `python -m benchmarks.scheduling.eta`.

Every job is foretold its end when it arrives, from the residents, the queue in the order of urgency and the cost model
as it is then. Shown: quantiles of actual / foretold time, for the jobs that were finished; and of single passes.
"""

import argparse

from pixwire_server.scheduling import forecast

from .__main__ import MACHINES
from .ours import Ours, resident
from .simulator import Pass, replay
from .traces import KINDS, MOST_ROWS, Job, draw


class Foretelling(Ours):
    """The same policy, which also notes what it foretells."""

    def __init__(self) -> None:
        super().__init__()
        self.foretold: dict[int, float] = {}

    def arrive(self, job: Job) -> None:
        super().arrive(job)
        residents = [resident(run, job.arrived) for run in self.runs]
        order = sorted(self.queue, key=lambda entry: (entry.priority, entry.due))
        ends = forecast.etas(self.model, residents, order, job.arrived, MOST_ROWS)
        self.foretold[job.key] = ends[job.key] - job.arrived

    def done(self, one: Pass, stage: str, rows: int, seconds: float, now: float) -> None:
        super().done(one, stage, rows, seconds, now)
        for run in one.members:
            if not run.stage:
                self.model.finished(self.foretold[run.job.key], now - run.job.arrived)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=400, help="a trace")
    options = parser.parse_args()
    print("| machine | trace | p10 | p50 | p90 | passes p10 | p50 | p90 |\n|---|---|---|---|---|---|---|---|")
    for name, make in MACHINES.items():
        for kind in KINDS:
            policy, host = Foretelling(), make()
            replay(draw(kind, host, options.jobs, seed=200), host, policy, seed=200)
            cells = [policy.model.job_errors(), policy.model.errors()]
            figures = " | ".join(f"{one.p10:.2f} | {one.p50:.2f} | {one.p90:.2f}" for one in cells)
            print(f"| {name} | {kind.name} | {figures} |")


if __name__ == "__main__":
    main()
