"""What SPEC.md derives from its own requirements and from the error codes: sections 10.3 and 15, for spec_tables.py.

Roles come from the sentences ("A server ...", "A client ..."; anything else speaks to both). Levels and options are the
table LEVELS; an id that is in none of its rows belongs to L0.
"""

import itertools
import re
from collections.abc import Iterable, Mapping
from typing import Any

ITEM = re.compile(r"^- \*\*\[(?P<id>PXW-[A-Z]{3}-\d{3})\]\*\* (?P<text>.*?)(?=\n- |\n\n|\Z)", re.DOTALL | re.MULTILINE)
SUBJECT = re.compile(r"\b[Aa]n? (?:\w+ )?(server|client)\b")
NUMBERS = re.compile(r"([A-Z]{3})-(\d{3})(?:\.\.(\d{3}))?")

# Level or option -> its ids, ranges included.
LEVELS: Mapping[str, str] = {
    "L0": "",
    "L1": "REQ-010..012 REQ-029 REQ-045 REQ-046 JOB-005..009 DRN-013",
    "L2": "FLW-001..013 KAL-002 LIM-003 LIM-009 REQ-013 REQ-021..027 REQ-038 JOB-012 JOB-015 JOB-020 JOB-021 "
    "SEC-003 DRN-012",
    "L3": "UPL-001..017 REQ-039 REQ-040 REQ-044 JOB-022..028 ADM-001..012 AUT-022 AUT-023",
    "LIST": "REQ-032..036 REQ-043",
    "AUTH": "AUT-001..004 AUT-006..012 AUT-015..021",
    "TLS": "CON-018..022 AUT-013 AUT-014",
}

# Code -> where it appears (section 10.3), and what a client program does about it.
ACTIONS: Mapping[str, tuple[str, str]] = {
    "NO_ERROR": ("R G", "Nothing: it ended in order. After G connect when there is more to do."),
    "PROTOCOL_ERROR": ("R G", "Report a defect. R: the stream is over. G: connect; repeat what was open at most once."),
    "FRAME_TOO_LARGE": ("G", "Report a defect: the `max_frame` of WELCOME was not kept."),
    "BAD_HEAD": ("R G", "Report a defect."),
    "UNKNOWN_CRITICAL": (
        "E R G",
        "Repeat without the field that `crit` names, or tell the caller that it cannot be done.",
    ),
    "FLOW_CONTROL": ("G", "Report a defect in the accounting of credit."),
    "STREAM_ID": ("G", "Report a defect."),
    "VERSION_UNSUPPORTED": (
        "G",
        "Stop; tell the user which versions the preface named. (No frame says it: section 3.2.)",
    ),
    "HANDSHAKE_TIMEOUT": ("G", "Connect."),
    "IDLE_TIMEOUT": ("G", "Connect; send PING in time (section 12.1)."),
    "EXCESSIVE_LOAD": ("G", "Connect, later and slower: section 11.1 was not kept, or the server is full."),
    "SLOW_CONSUMER": ("G", "Connect, read faster, or ask for less (`want`)."),
    "INTERNAL": ("E R G", "Repeat the same request a few times with the back-off, then report it."),
    "AUTH_REQUIRED": ("G", "Stop; ask the user for credentials."),
    "AUTH_FAILED": ("G", "Stop; these credentials never work here."),
    "AUTH_EXPIRED": ("G", "Get new credentials, connect, go on."),
    "FORBIDDEN": ("E G", "Tell the caller; another principal may be allowed to."),
    "INVALID_ARGUMENT": ("E J", "Tell the caller `field`, `value`, `allowed`; the request has to change."),
    "UNKNOWN_FRAME": ("E R", "The peer is older: do without that type of frame."),
    "JOB_NOT_FOUND": ("E", "Tell the caller. Of a job that was accepted: the server lost it (DRN-011)."),
    "JOB_CONFLICT": ("E", "Choose another job id; this one is another request's."),
    "JOB_EXPIRED": ("E", "Tell the caller: it ran, its results are gone. A new id runs it again."),
    "ARTIFACT_NOT_FOUND": ("E", "The job has fewer artifacts, or has not succeeded: look at its status."),
    "ARTIFACT_CHANGED": ("E", "Throw the bytes away, fetch from offset 0 without `etag`."),
    "OFFSET_OUT_OF_RANGE": ("E", "Compare with `size`: there are more bytes here than there."),
    "UNSUPPORTED": ("E", "Tell the caller; `allowed` lists what the server can do."),
    "UPLOAD_STALLED": ("E", "Send the SUBMIT again, from the first byte, on this connection."),
    "QUEUE_FULL": ("E", "Wait `retry_after_ms` and send the same again."),
    "RATE_LIMITED": ("E", "Wait `retry_after_ms` and send the same again; open streams more slowly."),
    "QUOTA_EXCEEDED": ("E", "Wait `retry_after_ms` and send the same again, or let own jobs finish first."),
    "PAUSED": ("E", "Wait `retry_after_ms` and send the same again; the message says why, and perhaps how long."),
    "DRAINING": ("E R G", "Connect as section 12.3 says and send the same there."),
    "TOO_MANY_STREAMS": ("E", "Send it again when one of the open streams has ended."),
    "CANCELLED": ("J", "Tell the caller: it was cancelled."),
    "DEADLINE_EXCEEDED": (
        "E J",
        "E: tell the caller `eta_ms`: ask for less, or allow more time. J: tell the caller; it was too slow.",
    ),
    "WORKER_LOST": ("J", "The same parameters may work under a new job id."),
    "OUT_OF_MEMORY": ("J", "Ask for a smaller image or fewer of them, under a new job id."),
    "CONTENT_REJECTED": ("J", "Tell the caller; the request has to change."),
    "PIPELINE_ERROR": ("J", "Tell the caller; the message is for them."),
}


def ids_of(text: str) -> list[str]:
    """AREA-NNN and AREA-NNN..MMM, written out."""
    return [
        f"{area}-{number:03}"
        for area, first, last in NUMBERS.findall(text)
        for number in range(int(first), int(last or first) + 1)
    ]


def roles(sentence: str) -> tuple[str, ...]:
    """Whom a requirement binds."""
    found = SUBJECT.search(sentence.partition("MUST")[0])
    return (found[1],) if found else ("server", "client")


def shorten(names: Iterable[str]) -> str:
    """Ids as the table shows them: runs of three and more as "FRM-001 to FRM-009"."""
    parts = []
    ordered = sorted((name[:3], int(name[4:])) for name in names)
    for _, group in itertools.groupby(enumerate(ordered), lambda pair: (pair[1][0], pair[1][1] - pair[0])):
        run = [f"{area}-{number:03}" for _, (area, number) in group]
        parts += [f"{run[0]} to {run[-1]}"] if len(run) > 2 else run
    return ", ".join(parts)


def conformance(spec: str) -> list[list[str]]:
    """Rows of the table in section 15: level, ids for a server, ids for a client."""
    level_of = {name: level for level, text in LEVELS.items() for name in ids_of(text)}
    bound: dict[str, dict[str, list[str]]] = {level: {"server": [], "client": []} for level in LEVELS}
    for found in ITEM.finditer(spec):
        name = found["id"].removeprefix("PXW-")
        for role in roles(found["text"]):
            bound[level_of.get(name, "L0")][role].append(name)
    return [[level, shorten(row["server"]), shorten(row["client"])] for level, row in bound.items()]


def actions(registry: Mapping[str, Any]) -> list[list[str]]:
    """Rows of the table in section 10.3. KeyError when a code has no row in ACTIONS."""
    return [
        [entry["name"], ACTIONS[entry["name"]][0], entry["retry"], entry["processed"], ACTIONS[entry["name"]][1]]
        for entry in registry["error"]
    ]
