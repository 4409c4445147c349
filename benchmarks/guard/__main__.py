"""Fail when a hot path has become heavier by more than a fifth: `python -m benchmarks.guard`.

    python -m benchmarks.guard                     # compare with benchmarks/guard/expected.json; status 1 if worse
    python -m benchmarks.guard --update            # what was found is what is expected from now on
    python -m benchmarks.guard --only "server:"    # scenarios whose names contain this

Nothing is timed: bytecode instructions of our own code, calls, bytes, writes and peak memory of one operation are
counted, which are the same on a fast and on a slow, a busy and an idle machine. Instructions and calls are those of one
minor version of Python; under another one only bytes, writes and memory are compared.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.guard import client, compare, engine, protocol, scenario, scheduler, server

EXPECTED = Path(__file__).with_name("expected.json")
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
OF_ONE_PYTHON = ("instructions", "calls")
GROUPS = (protocol.scenarios, server.scenarios, client.scenarios, scheduler.scenarios, engine.scenarios)

Table = Mapping[str, Mapping[str, float]]


def find(scenarios: Sequence[scenario.Scenario]) -> dict[str, dict[str, float]]:
    """The figures of all, rounded as they are recorded."""
    found: dict[str, dict[str, float]] = {}
    with record.bar("guard", len(scenarios)) as done:
        for one in scenarios:
            found[one.name] = {name: round(value, 2) for name, value in scenario.measure(one).items()}
            done()
    return found


def expected(path: Path, only: str = "") -> tuple[str, dict[str, dict[str, float]]]:
    """The version of Python and the figures. Raises SystemExit with a text when there are none."""
    try:
        data: dict[str, Any] = json.loads(path.read_text())
        return str(data["python"]), {name: row for name, row in data["figures"].items() if only in name}
    except FileNotFoundError:
        raise SystemExit(f"there is no {path}; make it with --update") from None
    except (ValueError, KeyError, AttributeError) as error:
        raise SystemExit(f"{path} is not what --update writes ({error!r}); make it anew with --update") from None


def comparable(figures: Table, python: str) -> dict[str, dict[str, float]]:
    """What may be compared with figures of that Python."""
    hidden = () if python == PYTHON else OF_ONE_PYTHON
    return {name: {key: value for key, value in row.items() if key not in hidden} for name, row in figures.items()}


def judge(python: str, before: Table, found: Table, *, everything: bool) -> int:
    """Print what changed, or all; the exit status."""
    lines = compare.compare(comparable(before, python), comparable(found, python))
    failed = compare.bad(lines)
    shown = lines if everything else [line for line in lines if line.judgement is not compare.Judgement.SAME]
    if shown:
        record.show("hot paths against the expected figures, for one operation", compare.rows(shown))
    if python != PYTHON:
        print(f"expected figures are of Python {python}, this is {PYTHON}: instructions and calls are not compared")
    if failed:
        paths = len({line.scenario for line in failed})
        print(f"{paths} of {len(found)} paths are heavier by more than {compare.LIMIT:.0%}, or gone.")
        print("Is that worth it? Then: python -m benchmarks.guard --update, and say so in the commit.")
        return 1
    print(f"{len(found)} paths, {len(lines)} figures: none is more than {compare.LIMIT:.0%} above what is expected")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help="record what is found")
    parser.add_argument("--only", default="", metavar="TEXT", help="scenarios whose names contain this")
    parser.add_argument("--all", action="store_true", help="show every figure, not only those that changed")
    parser.add_argument("--expected", type=Path, default=EXPECTED, metavar="FILE")
    options = parser.parse_args(arguments)
    scenarios = [one for one in scenario.every(*GROUPS) if options.only in one.name]
    if not scenarios:
        raise SystemExit(f"no scenario's name contains {options.only!r}")
    if options.update:
        found: Table = find(scenarios)
        if options.only:  # the others stay
            python, others = expected(options.expected)
            if python != PYTHON:
                raise SystemExit(f"{options.expected} is of Python {python}, this is {PYTHON}: update all of it")
            found = others | dict(found)
        record.write_json(options.expected, {"python": PYTHON, "figures": found})
        return 0
    python, before = expected(options.expected, options.only)
    return judge(python, before, find(scenarios), everything=options.all)


if __name__ == "__main__":
    sys.exit(main())
