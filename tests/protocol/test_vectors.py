"""The golden vectors, run by the runner that protocol/vectors/README.md gives to implementers."""

import hashlib
import json
import re
import struct
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from vector_endpoint import NAMES, PREFACE, Case, Endpoint, cut_frames

from pixwire_protocol.attachments import Attachment
from pixwire_protocol.messages import decode, encode
from pixwire_protocol.params import ParamError, fingerprint, parse
from pixwire_protocol.registry import ErrorCode

ROOT = Path(__file__).resolve().parents[2]
VECTORS = ROOT / "protocol" / "vectors"
IGNORABLE = bytes.fromhex("c10000009d00000000000000")
"""A frame that has no effect once the handshake is done."""
EVERY_CUT = 80
"""Vectors up to this many bytes are cut at every place, longer ones at the ends and at some places between."""

Run = Callable[[Case, Callable[[Case], Endpoint], Iterable[bytes]], str | None]


def load(name: str) -> list[Case]:
    cases: list[Case] = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
    return cases


FILES = sorted(path.stem for path in VECTORS.glob("*.json"))
FRAMES = [case for name in FILES if name not in ("params", "sessions") for case in load(name)]
PARAMS = load("params")
SESSIONS = load("sessions")


def readme_runner() -> Run:
    """`run` as the README has it: what implementers copy is what is tested here."""
    code = re.search(r"```python\n(.*?)```", (VECTORS / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    space: dict[str, Any] = {}
    exec(code[1], space)  # a file of this repository
    run: Run = space["run"]
    return run


RUN = readme_runner()


def cuts(data: bytes) -> Iterator[list[bytes]]:
    """Whole, byte by byte, and in two."""
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    last = len(data)
    places = range(1, last)
    if last > EVERY_CUT:
        places = sorted({*range(1, 30), *range(last - 10, last), *range(30, last, max(1, last // 16))})  # type: ignore[assignment]
    for place in places:
        yield [data[:place], data[place:]]


def ready_after(case: Case) -> bool:
    """Whether the handshake is done when the case is over, so that any frame may follow."""
    if case["state"] in ("start", "authenticating"):
        return False
    return not any(event.get("head", {}).get("auth") for event in case["expect"] if isinstance(event, dict))


@pytest.mark.req("PXW-FRM-010")
@pytest.mark.parametrize("case", FRAMES, ids=lambda case: case["id"])
def test_a_vector_holds_however_it_is_cut(case: Case) -> None:
    data = bytes.fromhex(case["hex"])
    for pieces in cuts(data):
        assert RUN(case, Endpoint, pieces) is None, [len(piece) for piece in pieces]
    if case.get("eof"):
        return
    failed = isinstance(case["expect"], dict) and case["expect"]["scope"] != "stream"
    for more in (IGNORABLE, IGNORABLE[:7]) if failed or ready_after(case) else (IGNORABLE[:3],):
        assert RUN(case, Endpoint, [data + more]) is None, more
        assert RUN(case, Endpoint, [data, more]) is None, more


@pytest.mark.parametrize("case", [case for case in FRAMES if case["encode"]], ids=lambda case: case["id"])
def test_a_canonical_vector_is_what_the_encoder_makes(case: Case) -> None:
    data = bytes.fromhex(case["hex"])
    again = b"".join(b"".join(encode(decode(frame), frame.stream, frame.flags & 1)) for _, frame in cut_frames(data))
    assert again == data


@pytest.mark.parametrize("case", PARAMS, ids=lambda case: case["id"])
def test_parameters(case: Case) -> None:
    tail, kind = bytes.fromhex(case["hex"]), case["kind"]
    attachments = [Attachment(**item) for item in case.get("attachments", [])]
    assert fingerprint(kind, tail, attachments) == case["fingerprint"]
    parts = [kind, *(part for item in sorted(attachments, key=lambda x: x.name) for part in (item.name, item.sha256))]
    hashed = b"".join(part.encode() + b"\0" for part in parts) + tail
    assert case["fingerprint"] == hashlib.sha256(hashed).hexdigest()
    want = case["expect"]
    if "error" in want:
        with pytest.raises(ParamError) as caught:
            parse(tail, kind, attachments)
        assert caught.value.field == want.get("field", caught.value.field)
        assert {"field", "value", "allowed"} <= set(caught.value.details)
    else:
        assert parse(tail, kind, attachments).to_map() == want["params"]


AUTOMATIC = {"HELLO", "WELCOME", "PONG", "CREDIT", "", "ERROR"}
"""What a side sends by itself, or (ERROR) in words of its own: not compared with the session's bytes."""


SIDES = [(session, side) for session in SESSIONS for side in session.get("sides", ("client", "server"))]


@pytest.mark.parametrize(("session", "side"), SIDES, ids=[f"{session['id']}-{side}" for session, side in SIDES])
def test_a_session_holds_at_both_ends(session: Case, side: str) -> None:
    asked = {"auth": session["auth"]} if "auth" in session else {}
    end = Endpoint({"side": side, "state": "start", "limits": session.get(f"{side}_limits", {})} | asked)
    for step in session["steps"]:
        data = bytes.fromhex(step["hex"])
        if step["from"] != side:
            got = [event for place in range(len(data)) for event in end.receive(data[place : place + 1])]
            assert len(got) == len(step["expect"]), got
            for want, found in zip(step["expect"], got, strict=True):
                assert matches(want, found), found
        elif data != PREFACE:
            end.sent_bytes()
            end.send(data)
            ((name, _),) = cut_frames(data)
            if name not in AUTOMATIC:
                assert end.sent_bytes() == data, step


def matches(want: Any, got: Any) -> bool:
    if isinstance(want, dict):
        return isinstance(got, dict) and all(key in got and matches(value, got[key]) for key, value in want.items())
    if isinstance(want, list):
        return isinstance(got, list) and len(want) == len(got) and all(map(matches, want, got))
    return bool(want == got)


# ------------------------------------------------------------------ the files themselves


def digest() -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(VECTORS.glob("*.json")))).hexdigest()


def test_vectors_are_frozen() -> None:
    """Changed on purpose? Put `VERSION DIGEST` on a new line of DIGESTS, and the change into the log of SPEC.md."""
    lines = [line.split() for line in (VECTORS / "DIGESTS").read_text(encoding="utf-8").splitlines()]
    assert lines[-1][1] == digest(), f"the vectors are {digest()}, DIGESTS ends with {lines[-1][1]}"
    log = (ROOT / "SPEC.md").read_text(encoding="utf-8").split("\n## ", 1)[0]
    for version, value in lines:
        rows = [row for row in log.splitlines() if row.startswith(f"| {version} |")]
        assert any(value[:12] in row for row in rows), f"SPEC.md's change log has no line {version} with {value[:12]}"


def test_ids_are_unique() -> None:
    ids = [case["id"] for case in [*FRAMES, *PARAMS, *SESSIONS]]
    assert sorted(ids) == sorted(set(ids))


REGISTRY = tomllib.loads((ROOT / "protocol" / "registry.toml").read_text(encoding="utf-8"))
MESSAGES = [entry["name"] for entry in REGISTRY["message"]]
CONNECTION_CODES = [
    entry["name"] for entry in REGISTRY["error"] if 0x0100 <= entry["code"] < 0x0300 and entry["name"] != "FORBIDDEN"
]
"""The codes that end a connection; FORBIDDEN may also answer a request."""


def names_in(case: Case) -> list[str]:
    """The frames in a case, as far as they are whole; the last of them is the one it is about."""
    data = bytes.fromhex(case["hex"])
    if data.startswith(PREFACE[:4]):
        data = data[8:]
    names = []
    while len(data) >= 12:
        word, kind, flags = struct.unpack_from("!IBB", data)
        names.append(NAMES.get((kind, flags & 1)) or NAMES.get(kind, ""))
        data = data[12 + (word & 0xFFFFFF) :]
    return names


def classes(case: Case) -> set[tuple[str, str]]:
    """(message, positive | negative | boundary) that a case is an example of."""
    names, expect = names_in(case), case["expect"]
    if isinstance(expect, list):
        seen = {event["type"] for event in expect if "type" in event} & set(names)
        # CREDIT is no event; what is ignored or skipped is no example of its message.
        seen |= {"CREDIT"} if "CREDIT" in names and "closed" not in str(expect) else set()
        found = {(name, "positive") for name in seen}
    else:
        found = {(names[-1], "negative")} if names else set()
    if "boundary" in case.get("tags", []):
        found |= {(name, "boundary") for name in names[-1:]}
    return found


COVERED = Counter(item for case in FRAMES for item in classes(case))


@pytest.mark.parametrize("kind", ["positive", "negative", "boundary"])
@pytest.mark.parametrize("name", MESSAGES)
def test_every_message_has_vectors_of_every_kind(name: str, kind: str) -> None:
    assert COVERED[name, kind], f"no {kind} vector is about {name}"


@pytest.mark.parametrize("name", CONNECTION_CODES)
def test_every_code_that_ends_a_connection_has_a_vector(name: str) -> None:
    code = ErrorCode[name]
    detected = [case["id"] for case in FRAMES if isinstance(case["expect"], dict) and case["expect"]["error"] == name]
    told = [
        case["id"]
        for case in FRAMES
        for event in (case["expect"] if isinstance(case["expect"], list) else [])
        if event.get("type") == "GOAWAY" and event.get("head", {}).get("code") == code
    ]
    assert told, f"no vector has a GOAWAY {name}"
    assert detected or name in SEEN_BY_PROGRAMS


SEEN_BY_PROGRAMS = {
    "HANDSHAKE_TIMEOUT", "IDLE_TIMEOUT", "SLOW_CONSUMER", "INTERNAL", "AUTH_FAILED", "AUTH_EXPIRED",
}  # fmt: skip
"""Codes that need a clock, a queue or a decision: received bytes alone never lead to them."""


def test_grease_is_among_the_vectors() -> None:
    assert sum("grease" in case.get("tags", []) for case in FRAMES) > 10


def test_the_runner_fits_on_a_page() -> None:
    code = re.search(r"```python\n(.*?)```", (VECTORS / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    assert len(code[1].splitlines()) < 40


def test_the_runner_sees_a_wrong_result() -> None:
    case = next(case for case in FRAMES if case["id"] == "ping-server")
    data = bytes.fromhex(case["hex"])
    assert RUN(case | {"expect": []}, Endpoint, [data]) is not None
    assert RUN(case | {"sends": []}, Endpoint, [data]) is not None
    assert RUN(case | {"expect": {"error": "BAD_HEAD", "scope": "connection"}}, Endpoint, [data]) is not None
    assert RUN(case | {"expect": {"error": "BAD_HEAD", "scope": "stream", "stream": 1}}, Endpoint, [data]) is not None
