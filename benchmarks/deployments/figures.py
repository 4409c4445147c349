"""From outcomes to figures: the rounds of each deployment, summed up. Pure."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pixwire
import pixwire_protocol
import pixwire_server.doors
from benchmarks import measure
from benchmarks.load import Latencies
from benchmarks.measure import Summary

from . import applications, lines
from .outcomes import Kind, Outcome, Tally, latencies, overtaken
from .stands import DEPLOYMENTS

Rounds = list[dict[str, float]]


def under_load(outcomes: Sequence[Outcome], seconds: float) -> dict[str, float]:
    """A run under load: the counts of `Tally`, latencies of those that have an image, and how many were overtaken."""
    found = Latencies()
    for seconds_waited in latencies(outcomes):
        found.add(seconds_waited)
    row = Tally(outcomes, seconds).row()
    waits = {name: found.figures()[name] for name in ("p50_ms", "p95_ms", "max_ms")}
    return row | waits | {"overtaken": overtaken(outcomes)}


def summed(rounds: Mapping[str, Rounds]) -> dict[str, dict[str, Summary]]:
    """`measure.summarise` of those that ran."""
    return measure.summarise({name: of for name, of in rounds.items() if of})


def counts(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """How many ended how, of how many."""
    row = Tally(outcomes, 1.0).row()
    return {name: row[name] for name in (*map(str, Kind), "asked")}


def lines_of_code() -> dict[str, int]:
    """What an application comes to in each deployment, and what is behind PXW and behind HTTP."""
    here = Path(applications.__file__).parent
    also = {"embedded": ["pxw"]}  # it asks with the same function
    found = {}
    for one in DEPLOYMENTS:
        modules = [one.application, *also.get(one.application, [])]
        found[one.title] = lines.of_folders(*(here / f"{module}.py" for module in modules))
    doors, client = Path(pixwire_server.doors.__file__).parent, Path(pixwire.__file__).parent
    ours = [client / name for name in ("core", "aio", "sync", "net")]
    found["PXW itself"] = lines.of_folders(Path(pixwire_protocol.__file__).parent, *ours, *sorted(doors.glob("*.py")))
    found["HTTP door"] = lines.of_folders(*sorted((doors / "http").glob("*.py")))
    return found
