"""A capture against the specification: the vectors, clean sessions, and one scene for each rule of the ledgers."""

import json
from typing import Any

import pytest
from hypothesis import strategies as st
from wire_bytes import (
    HELLO,
    PARAMS,
    STATUS,
    SUBMIT,
    VECTORS,
    WELCOME,
    after_handshake,
    announcement,
    capture,
    frame,
    given,
    sessions,
    state,
    streams_of_bytes,
    vectors,
)

from pixwire.wire.annotate import Side
from pixwire.wire.capture import Capture, Chunk
from pixwire.wire.lint import Finding, lint
from pixwire_protocol.header import pack_header
from pixwire_protocol.limits import Limits
from pixwire_protocol.messages import (
    Auth,
    AuthOk,
    Credit,
    Data,
    Event,
    Fetch,
    GoAway,
    Hello,
    Ping,
    Pong,
    Preview,
    Reset,
    Result,
    Status,
    Submit,
    Watch,
    Welcome,
)
from pixwire_protocol.registry import PREFACE, ErrorCode


def ids(findings: list[Finding], side: Side | None = None) -> list[str]:
    return [f"{found.side} {found.requirements[0]}" for found in findings if side in (None, found.side)]


# ---------------------------------------------------------------------- the vectors

# What a frame breaks besides: in which order a receiver looks, or what it owes the sender.
ABOUT_RECEIVERS = {"PXW-FRM-020", "PXW-FRM-021", "PXW-CON-017", "PXW-CON-010", "PXW-EXT-005"}
# Cases in which nobody did wrong: versions that do not meet, requests that cross a GOAWAY.
NOBODY = ("VERSION_UNSUPPORTED", "DRAINING")


def peer_said(case: dict[str, Any]) -> list[tuple[Side, bytes]]:
    """What both sides said before the bytes of a case (protocol/vectors/README.md)."""
    server = case["side"] == "server"
    limits = Limits(**{name: value for name, value in case.get("limits", {}).items() if name != "small_data_run"})
    auth = tuple(case.get("auth", ("bearer",) if case["state"] == "authenticating" else ()))
    features = tuple(case.get("features", ("preview",)))
    hello = PREFACE + frame(
        Hello(agent="v", features=() if server else features, limits=Limits() if server else limits)
    )
    welcome = PREFACE + frame(Welcome("v", "s", "e", limits=limits if server else Limits(), auth=auth))
    said: list[tuple[Side, bytes]] = []
    if case["state"] == "start":
        return [] if server else [("C", hello)]
    if case["state"] == "preface":
        return [("C", PREFACE), ("S", PREFACE)] if server else [("C", hello), ("S", PREFACE)]
    said = [("C", hello), ("S", welcome)]
    if case["state"] == "ready" and auth:
        said += [("C", frame(Auth("bearer", "t"))), ("S", frame(AuthOk("p")))]
    return said


def judged(case: dict[str, Any]) -> list[Finding]:
    peer: Side = "C" if case["side"] == "server" else "S"
    own: Side = "S" if peer == "C" else "C"
    said = peer_said(case)
    for step in case.get("setup", []):
        ((kind, data),) = step.items()
        said.append((own if kind == "send" else peer, bytes.fromhex(data)))
    said.append((peer, bytes.fromhex(case["hex"])))
    return [found for found in lint(capture(*said)) if found.side == peer]


def _can_be_judged(case: dict[str, Any]) -> bool:
    """Whether somebody did wrong, by what is on the wire: limits that are declared, frames that have left."""
    expect = case["expect"]
    wrong = isinstance(expect, dict) and "error" in expect and expect["error"] not in NOBODY
    return wrong and "small_data_run" not in case.get("limits", {}) and "peer" not in case


FAULTS = [case for case in vectors() if _can_be_judged(case)]


def test_there_are_many_vectors_of_faults() -> None:
    assert len(FAULTS) > 400


@pytest.mark.parametrize("case", FAULTS, ids=lambda case: case["id"])
def test_every_fault_of_the_vectors_is_found_and_named(case: dict[str, Any]) -> None:
    findings = judged(case)
    assert findings
    named = {name for found in findings for name in found.requirements}
    assert named & set(case["req"]) or _reworded(case, named)


@pytest.mark.parametrize("session", sessions(), ids=lambda session: session["id"])
def test_whole_sessions_are_without_fault(session: dict[str, Any]) -> None:
    said: list[tuple[Side, bytes]] = [
        ("C" if step["from"] == "client" else "S", bytes.fromhex(step["hex"])) for step in session["steps"]
    ]
    assert [found for found in lint(capture(*said)) if found.level == "error"] == []


def _reworded(case: dict[str, Any], named: set[str]) -> bool:
    """The vector names a rule about the receiver's order of looking, lint the rule that the sender broke."""
    return bool(ABOUT_RECEIVERS & set(case["req"])) and bool(named)


SESSIONS = json.loads((VECTORS / "sessions.json").read_text())


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session["id"])
def test_the_sessions_of_the_vectors_are_clean(session: dict[str, Any]) -> None:
    said: list[tuple[Side, bytes]] = [
        ("C" if step["from"] == "client" else "S", bytes.fromhex(step["hex"])) for step in session["steps"]
    ]
    errors = [found for found in lint(capture(*said)) if found.level == "error"]
    faults = [step for step in session["steps"] if "error" in json.dumps(step["expect"])]
    assert not errors or faults, errors


# ---------------------------------------------------------------------- the judge


def test_a_clean_session_has_no_finding() -> None:
    found = lint(
        after_handshake(
            ("C", SUBMIT + frame(Ping(b"12345678"))),
            ("S", frame(Pong(b"12345678")) + frame(Result(state()), 1, end=True)),
            ("C", frame(Fetch("j"), 3, end=True)),
            ("S", frame(announcement(4), 3) + frame(Data(b"abcd"), 3, end=True)),
            ("C", frame(Credit(4)) + frame(GoAway(0, 0))),
        )
    )
    assert found == []


@pytest.mark.req("PXW-FLW-003")
def test_data_beyond_credit_is_named_with_frame_and_offset() -> None:
    hello = PREFACE + frame(Hello(agent="c", limits=Limits(stream_window=1024, connection_window=1024)))
    data = frame(Data(bytes(1000)), 1)
    said = WELCOME + frame(announcement(5000), 1) + data + data
    (found,) = lint(
        capture(("C", hello), ("S", WELCOME), ("C", frame(Fetch("j"), 1, end=True)), ("S", said.removeprefix(WELCOME)))
    )
    assert found.requirements == ("PXW-FLW-001", "PXW-FLW-003")
    assert (found.side, found.frame, found.offset) == ("S", 4, len(said) - len(data))
    assert found.where == f"frame 4 (S, offset {len(said) - len(data)})"
    assert "exceeds the credit of 24 bytes" in found.text


def test_credit_that_passed_before_makes_the_same_data_right() -> None:
    hello = PREFACE + frame(Hello(agent="c", limits=Limits(stream_window=1024, connection_window=1024)))
    data = frame(Data(bytes(1000)), 1)
    credit = frame(Credit(1000), 1) + frame(Credit(1000))
    assert (
        lint(
            capture(
                ("C", hello),
                ("S", WELCOME),
                ("C", frame(Fetch("j"), 1, end=True)),
                ("S", frame(announcement(5000), 1) + data),
                ("C", credit),
                ("S", data),
            )
        )
        == []
    )


def test_long_transfers_do_not_make_credit_overflow() -> None:
    """CREDIT is judged by what is left of the window, not by what was ever granted."""
    hello = PREFACE + frame(Hello(agent="c", limits=Limits(max_frame=2**24 - 1, stream_window=2**24)))
    data, rounds = frame(Data(bytes(2**20)), 1), 40
    said: list[tuple[Side, bytes]] = [("C", hello), ("S", WELCOME), ("C", frame(Fetch("j"), 1, end=True))]
    said.append(("S", frame(announcement(2**40), 1)))
    for _ in range(rounds):
        said += [("S", data), ("C", frame(Credit(2**20), 1) + frame(Credit(2**20)))]
    big = frame(Credit(2**31 - 2**24 - 1), 1)
    assert lint(capture(*said, ("C", big))) == []
    assert ids(lint(capture(*said, ("C", big + big)))) == ["C PXW-FLW-006"]


def test_late_data_count_for_the_connection_until_credit_comes_back() -> None:
    hello = PREFACE + frame(Hello(agent="c", limits=Limits(stream_window=1024, connection_window=1024)))
    start: list[tuple[Side, bytes]] = [("C", hello), ("S", WELCOME), ("C", frame(Fetch("j"), 1, end=True))]
    start += [("S", frame(announcement(5000), 1)), ("C", frame(Reset(0), 1) + frame(Fetch("j"), 3, end=True))]
    late: list[tuple[Side, bytes]] = [("S", frame(Data(bytes(1000)), 1))]
    more: list[tuple[Side, bytes]] = [("S", frame(announcement(5000), 3) + frame(Data(bytes(1000)), 3))]
    assert ids(lint(capture(*start, *late, *more))) == ["S PXW-FLW-002"]
    assert ids(lint(capture(*start, *late, ("C", frame(Credit(1000))), *more))) == []


def test_judging_ends_where_the_connection_ends() -> None:
    found = lint(after_handshake(("C", b"\xc0" + STATUS + frame(Ping(b"12345678")) * 3)))
    assert ids(found) == ["C PXW-FRM-001"]


def test_what_a_client_sends_across_a_fatal_goaway_is_not_held_against_it() -> None:
    goaway = frame(GoAway(0, ErrorCode.EXCESSIVE_LOAD, "EXCESSIVE_LOAD"))
    assert lint(after_handshake(("S", goaway), ("C", STATUS + b"\xc0"))) == []


def test_who_goes_on_after_an_error_of_the_other_side_is_told() -> None:
    wrong, pong = frame(Reset(0), 5), frame(Pong(b"12345678"))
    start: list[tuple[Side, bytes]] = [("C", HELLO), ("S", WELCOME), ("C", frame(Ping(b"12345678")) + wrong)]
    assert ids(lint(capture(*start))) == ["C PXW-STR-005"]
    assert ids(lint(capture(*start, ("S", pong)))) == ["C PXW-STR-005", "S PXW-CON-010"]
    goaway = frame(GoAway(0, ErrorCode.STREAM_ID, "STREAM_ID"))
    assert ids(lint(capture(*start, ("S", pong + goaway)))) == ["C PXW-STR-005"]


def test_uploads() -> None:
    attachment = {"name": "image", "size": 4, "sha256": "0" * 64, "media_type": "image/png"}
    from pixwire_protocol.attachments import Attachment

    welcome = PREFACE + frame(Welcome("s", "s", "e", limits=Limits(max_upload=1000)))
    submit = frame(Submit("j", "img2img", PARAMS, attachments=(Attachment(**attachment),)), 1)  # type: ignore[arg-type]
    start: tuple[tuple[Side, bytes], ...] = (("C", HELLO), ("S", welcome), ("C", submit))
    right = (*start, ("C", frame(Data(b"abcd"), 1, end=True)), ("S", frame(Result(state()), 1, end=True)))
    early = (*start, ("S", frame(Result(state()), 1, end=True)), ("C", frame(Data(b"ab"), 1)))
    wrong = (*start, ("C", frame(Data(b"ab"), 1, end=True)))
    assert lint(capture(*right)) == []  # type: ignore[arg-type]
    assert lint(capture(*early)) == []  # type: ignore[arg-type]
    assert ids(lint(capture(*wrong))) == ["C PXW-UPL-003"]  # type: ignore[arg-type]


def test_a_capture_that_ends_inside_a_frame_is_a_warning() -> None:
    (found,) = lint(after_handshake(("C", STATUS[:-1])))
    assert (found.level, found.requirements) == ("warning", ("PXW-CON-015",))


def test_connections_are_judged_each_for_itself() -> None:
    one = after_handshake(("C", b"\xc0\xc0")).records
    two = [Chunk(record.t_ns, 2, record.side, record.data) for record in one if isinstance(record, Chunk)]
    found = lint(Capture((*one, *two)))
    assert [item.conn for item in found] == [1, 2]
    assert found[1].where.startswith("connection 2, ")


@given(st.lists(st.tuples(st.sampled_from(["C", "S"]), streams_of_bytes), max_size=5))
def test_any_bytes_can_be_judged(said: list[tuple[Side, bytes]]) -> None:
    for found in lint(capture(*said)):
        assert found.requirements
        assert 0 <= found.offset <= sum(len(data) for side, data in said if side == found.side)


# ---------------------------------------------------------------------- the ledgers

WATCH = frame(Watch("j"), 1, end=True)
FOLLOWED = frame(Result(state()), 1)
PREVIEW = frame(Preview("j", 9, 1, 2, "image/png", 8, 8, b"x"), 1)
PROGRESS = frame(Event({"job": "j", "seq": 2, "event": "progress", "step": 1, "steps": 2, "attempt": 1}), 1)
TIMESTEPS = frame(
    Event({"job": "j", "seq": 2, "event": "progress", "step": 1, "steps": 2, "attempt": 1, "timesteps": [9]}), 1
)
FETCH = frame(Fetch("j"), 1, end=True)
NUL = b"\0"
ODD_KEY = pack_header(0x11, 1, 1, 10, 0) + b"\x82\xa3job\xa1a\xa1A\xc0"
KEY_TWICE = pack_header(0x11, 1, 1, 13, 0) + b"\x82\xa3job\xa1a\xa3job\xa1b"

SCENES: list[tuple[str, list[tuple[Side, bytes]], list[str]]] = [
    ("reserved bytes", [("C", PREFACE[:6] + b"\1\0")], ["C PXW-CON-007"]),
    ("odd key", [("C", HELLO), ("S", WELCOME), ("C", ODD_KEY)],
     ["C PXW-MSG-004"]),
    ("key twice", [("C", HELLO), ("S", WELCOME), ("C", KEY_TWICE)],
     ["C PXW-MSG-017"]),
    ("before WELCOME", [("C", HELLO + STATUS), ("S", WELCOME)], ["C PXW-HSK-002"]),
    ("after its end", [("C", HELLO), ("S", WELCOME), ("C", STATUS),
                       ("S", frame(Result(state()), 1, end=True) + frame(Result(state(seq=2)), 1, end=True))],
     ["S PXW-STR-011"]),
    ("client may reset and credit behind its request", [("C", HELLO), ("S", WELCOME), ("C", FETCH),
     ("S", frame(announcement(1), 1)), ("C", frame(Credit(1), 1) + frame(Reset(0), 1))], []),
    ("after a fatal GOAWAY", [("C", HELLO), ("S", WELCOME), ("S", frame(GoAway(0, 256)) + frame(Ping(NUL * 8)))],
     ["S PXW-CON-010"]),
    ("too much data", [("C", HELLO), ("S", WELCOME), ("C", FETCH),
                       ("S", frame(announcement(2), 1) + frame(Data(b"abc"), 1, end=True))], ["S PXW-REQ-025"]),
    ("too little data", [("C", HELLO), ("S", WELCOME), ("C", FETCH),
                         ("S", frame(announcement(4), 1) + frame(Data(b"abc"), 1, end=True))], ["S PXW-REQ-025"]),
    ("unwanted", [("C", HELLO), ("S", WELCOME), ("C", WATCH), ("S", FOLLOWED + PROGRESS + PREVIEW)],
     ["S PXW-REQ-011", "S PXW-REQ-011"]),
    ("wanted", [("C", HELLO), ("S", WELCOME), ("C", frame(Watch("j", want=("progress", "preview")), 1, end=True)),
                ("S", FOLLOWED + PROGRESS + PREVIEW)], []),
    ("timesteps", [("C", HELLO), ("S", WELCOME), ("C", frame(Watch("j", want=("progress",)), 1, end=True)),
                   ("S", FOLLOWED + TIMESTEPS)], ["S PXW-REQ-045"]),
    ("timesteps wanted", [("C", HELLO), ("S", WELCOME),
                          ("C", frame(Watch("j", want=("progress", "timesteps")), 1, end=True)),
                          ("S", FOLLOWED + TIMESTEPS)], []),
    ("seq", [("C", HELLO), ("S", WELCOME), ("C", frame(Watch("j", want=("progress",)), 1, end=True)),
             ("S", FOLLOWED + PROGRESS + PROGRESS)], ["S PXW-JOB-006"]),
    ("wrong PONG", [("C", HELLO), ("S", WELCOME), ("C", frame(Ping(b"12345678"))), ("S", frame(Pong(b"87654321")))],
     ["S PXW-KAL-001", "C PXW-KAL-001"]),
    ("PING passed over", [("C", HELLO), ("S", WELCOME), ("C", frame(Ping(b"1" * 8)) + frame(Ping(b"2" * 8))),
                          ("S", frame(Pong(b"2" * 8)))], ["C PXW-KAL-001"]),
    ("request after GOAWAY was received", [("C", HELLO), ("S", WELCOME),
     ("S", frame(GoAway(2**31 - 1, 1027)) + frame(Ping(NUL * 8))), ("C", frame(Pong(NUL * 8)) + STATUS)],
     ["C PXW-DRN-001"]),
    ("request that may cross GOAWAY", [("C", HELLO), ("S", WELCOME), ("S", frame(GoAway(2**31 - 1, 1027))),
                                       ("C", STATUS), ("S", frame(Result(state()), 1, end=True))], []),
    ("answer above last_stream", [("C", HELLO), ("S", WELCOME), ("S", frame(GoAway(0, 1027))), ("C", STATUS),
                                  ("S", frame(Result(state()), 1, end=True))], ["S PXW-DRN-002"]),
    ("too many streams", [("C", HELLO), ("S", PREFACE + frame(Welcome("s", "s", "e", limits=Limits(max_streams=1)))),
                          ("C", STATUS + frame(Status("j"), 3, end=True))], ["C PXW-STR-019"]),
    ("one after the other", [("C", HELLO), ("S", PREFACE + frame(Welcome("s", "s", "e", limits=Limits(max_streams=1)))),
                             ("C", STATUS), ("S", frame(Result(state()), 1, end=True)),
                             ("C", frame(Status("j"), 3, end=True))], []),
]  # fmt: skip


@pytest.mark.parametrize(("said", "expected"), [scene[1:] for scene in SCENES], ids=[scene[0] for scene in SCENES])
def test_rules_for_senders(said: list[tuple[Side, bytes]], expected: list[str]) -> None:
    assert ids(lint(capture(*said))) == expected


def test_too_many_pings_by_the_times_of_the_capture() -> None:
    burst = Limits()
    chunks = [Chunk(1, 1, "C", HELLO), Chunk(2, 1, "S", WELCOME)]
    for number in range(400):
        payload = number.to_bytes(8)
        chunks += [Chunk(3 + number, 1, "C", frame(Ping(payload))), Chunk(3 + number, 1, "S", frame(Pong(payload)))]
    found = lint(Capture(tuple(chunks)))
    assert burst.min_ping_ms
    assert {item.requirements[0] for item in found} == {"PXW-KAL-006"}
    assert {item.level for item in found} == {"warning"}
    slow = [Chunk(chunk.t_ns * burst.min_ping_ms * 1_000_000, 1, chunk.side, chunk.data) for chunk in chunks]
    assert lint(Capture(tuple(slow))) == []
