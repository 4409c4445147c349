"""Which requirements the cases ask for, by the role they speak to, and why the others are not asked for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from .requirements import Requirement, requirements

Role = Literal["server", "client"]
_SUBJECT: Final = re.compile(r"^(.*?)\bMUST\b", re.DOTALL)
_EITHER: Final = re.compile(r"\b(receiver|sender|endpoint|side|decoder|program)\b")
_ONE: Final = re.compile(r"\b(server|client)\b")

_CLOCK = "asks for a clock of the other side"
_OPERATOR = "asks for another set-up of the server than the one under test"
_INSIDE = "cannot be seen from outside"
_TLS = "needs TLS set up for it; the tests of the implementation do that"
_RESTART = "needs a restart or a crash of the server"
_QUANTITY = "needs more load than a conformance run makes"

NOT_ASKED: Final[Mapping[Role, Mapping[str, str]]] = {
    "server": {
        "PXW-ADM-002": "a server may be able to do every action",
        "PXW-ADM-010": "needs a model folder on the server's machine",
        "PXW-AUT-013": _TLS,
        "PXW-AUT-014": _TLS,
        "PXW-AUT-015": "needs a token that expires",
        "PXW-AUT-017": _OPERATOR,
        "PXW-AUT-018": _INSIDE,
        "PXW-AUT-019": _INSIDE,
        "PXW-AUT-020": _INSIDE,
        "PXW-AUT-023": _OPERATOR,
        "PXW-AUT-021": "a server may have answered the first AUTH before it sees the second",
        "PXW-CON-020": _TLS,
        "PXW-DRN-006": _RESTART,
        "PXW-ERR-007": _INSIDE,
        "PXW-JOB-003": _RESTART,
        "PXW-JOB-007": _QUANTITY,
        "PXW-JOB-008": _QUANTITY,
        "PXW-JOB-009": "depends on the moment in which a progress event is dropped",
        "PXW-JOB-016": _CLOCK,
        "PXW-JOB-017": _CLOCK,
        "PXW-JOB-019": _CLOCK,
        "PXW-JOB-020": _CLOCK,
        "PXW-JOB-021": _CLOCK,
        "PXW-JOB-023": _QUANTITY,
        "PXW-JOB-027": _RESTART,
        "PXW-KAL-006": _CLOCK,
        "PXW-LIM-001": "other bounds on the rate of frames come first",
        "PXW-LIM-002": _QUANTITY,
        "PXW-LIM-005": _CLOCK,
        "PXW-LIM-011": _QUANTITY,
        "PXW-LIM-012": _OPERATOR,
        "PXW-LIM-013": _QUANTITY,
        "PXW-REQ-017": "images are equal only to within rounding",
        "PXW-SEC-001": _OPERATOR,
        "PXW-SEC-004": _INSIDE,
        "PXW-SEC-006": _INSIDE,
        "PXW-UPL-010": _RESTART,
        "PXW-UPL-012": _QUANTITY,
    },
    "client": {
        "PXW-AUT-008": "the command under test has no credentials",
        "PXW-AUT-010": "the command under test has no credentials",
        "PXW-AUT-016": "the command under test has no credentials",
        "PXW-AUT-020": "the command under test has no credentials",
        "PXW-CON-018": _TLS,
        "PXW-CON-019": _TLS,
        "PXW-CON-020": _TLS,
        "PXW-CON-021": _TLS,
        "PXW-CON-022": _TLS,
        "PXW-CON-023": "which versions a client speaks shows only when it is offered one of them",
        "PXW-CON-024": "the command is given a URL that it can serve",
        "PXW-DRN-009": "random by its nature",
        "PXW-DRN-013": "what a program reports to its user cannot be seen",
        "PXW-ERR-001": "a client sends no ERROR about requests",
        "PXW-ERR-007": _INSIDE,
        "PXW-FLW-003": "a client that consumes fast returns credit before its window can be exceeded",
        "PXW-FLW-004": "no DATA of a size that would show it",
        "PXW-FLW-009": "shows only in the sum of credit over many streams",
        "PXW-FLW-011": "the command makes one request at a time",
        "PXW-HSK-008": _CLOCK,
        "PXW-HSK-011": "a server may not name features that were not offered (PXW-HSK-010)",
        "PXW-KAL-002": "needs an upload that fills the network's buffers",
        "PXW-KAL-004": _CLOCK,
        "PXW-KAL-005": _CLOCK,
        "PXW-KAL-006": _CLOCK,
        "PXW-LIM-001": _QUANTITY,
        "PXW-LIM-005": _CLOCK,
        "PXW-SEC-002": "the command is given a URL that it can serve",
        "PXW-SEC-004": _INSIDE,
        "PXW-STR-014": "a client sends no ERROR on streams",
    },
}
"""Requirements for a role without a case, each with the reason. A test insists that the lists are complete and no
longer than they must be."""


def roles(requirement: Requirement) -> frozenset[Role]:
    """Whom the sentence speaks to: its subject is a server, a client, or either side."""
    found = _SUBJECT.match(requirement.text)
    subject = (found[1] if found else requirement.text).lower()
    one = _ONE.search(subject)
    if one is None or _EITHER.search(subject):
        return frozenset(("server", "client"))
    return frozenset(("server",)) if one[1] == "server" else frozenset(("client",))


@dataclass(frozen=True, slots=True)
class Coverage:
    """Of the requirements for a role: those that a case asks for, those that only the judge looks at, in every frame,
    the rest with a reason each ("" where nobody has given one)."""

    asked: tuple[str, ...]
    judged: tuple[str, ...]
    rest: Mapping[str, str]


def coverage(role: Role) -> Coverage:
    """What is asked of a role."""
    from .client import CLIENT
    from .client.judge import JUDGED as JUDGED_CLIENT
    from .judge import JUDGED as JUDGED_SERVER
    from .server import SERVER

    register, seen = (SERVER, JUDGED_SERVER) if role == "server" else (CLIENT, JUDGED_CLIENT)
    spoken = [name for name, requirement in requirements().items() if role in roles(requirement)]
    asked = {name for case in register.all() for name in case.ids}
    only_judged = set(seen) - asked
    rest = {name: NOT_ASKED[role].get(name, "") for name in spoken if name not in asked | only_judged}
    return Coverage(
        tuple(name for name in spoken if name in asked), tuple(name for name in spoken if name in only_judged), rest
    )
