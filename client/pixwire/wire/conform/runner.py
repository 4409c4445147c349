"""Runs cases one after another against a server and says how each ended."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from .cases import Case
from .subject import Subject, finally_clean
from .verdicts import Failure, Skip, Unreachable, Violation

Verdict = Literal["passed", "failed", "skipped"]
_PATIENCE: Final = 12
"""A whole case may take this many times the deadline of one answer (a slow case: more)."""
_SLOW_SECONDS: Final = 300.0
_LOST: Final = 3
"""After so many cases in a row that cannot even connect the run is given up."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a case ended. `violated`: the requirements that were broken, as far as they are known; `message`: what
    happened, or why it was skipped."""

    case: Case
    verdict: Verdict
    seconds: float
    message: str = ""
    violated: tuple[str, ...] = ()


class Tested(Protocol):
    """What cases are run against: a server, or the bench of a client."""

    deadline: float

    async def drop(self) -> None:
        """Close what a case left open."""


async def run_case(subject: Tested, case: Case) -> Outcome:
    """One case, its connections closed at the end. Raises Unreachable."""
    start = time.perf_counter()
    limit = subject.deadline * _PATIENCE + (_SLOW_SECONDS if case.slow else 0)

    def outcome(verdict: Verdict, message: str = "", violated: tuple[str, ...] = ()) -> Outcome:
        return Outcome(case, verdict, time.perf_counter() - start, message, violated)

    try:
        async with asyncio.timeout(limit):
            await case.run(subject)
    except Skip as reason:
        return outcome("skipped", str(reason))
    except Violation as violation:
        ids = (violation.requirement,) if violation.requirement else case.ids[:1]
        return outcome("failed", str(violation), ids)
    except Failure as failure:
        cause = failure.__cause__
        ids = (cause.requirement,) if isinstance(cause, Violation) and cause.requirement else case.ids[:1]
        return outcome("failed", str(failure), ids)
    except TimeoutError:
        return outcome("failed", f"it took more than {limit:g} s", case.ids[:1])
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        # What came does not even have the shape that the case reads: the judge did not catch it, but it is wrong.
        return outcome("failed", f"an answer has another shape than SPEC.md says: {error!r}", case.ids[:1])
    finally:
        await subject.drop()
    return outcome("passed")


async def run(
    subject: Subject, cases: Sequence[Case], on_outcome: Callable[[Outcome], None] = lambda outcome: None
) -> list[Outcome]:
    """All cases; every job is cancelled at the end. Raises Unreachable when the server cannot be reached (any more)."""
    outcomes: list[Outcome] = []
    lost = 0
    async with finally_clean(subject):
        for case in cases:
            try:
                outcome = await run_case(subject, case)
                lost = 0
            except Unreachable as error:
                lost += 1
                if lost == _LOST or not outcomes:
                    raise
                outcome = Outcome(case, "failed", 0.0, f"no connection: {error}", case.ids[:1])
            outcomes.append(outcome)
            on_outcome(outcome)
    return outcomes
