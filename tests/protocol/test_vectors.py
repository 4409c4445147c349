"""The golden vectors, run by the runner that protocol/vectors/README.md gives to implementers."""

import hashlib
import json
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import msgpack
import pytest

from pixwire_protocol.connection import Closed, Connection, Failed, Ready, Received, Role, Settings
from pixwire_protocol.header import Frame
from pixwire_protocol.messages import decode, encode
from pixwire_protocol.params import ParamError, fingerprint, parse
from pixwire_protocol.registry import ErrorCode

ROOT = Path(__file__).resolve().parents[2]
VECTORS = ROOT / "protocol" / "vectors"
PREFACE = bytes.fromhex("8950585701010000")
FROM_CLIENT = PREFACE + bytes.fromhex("c100000f0100000f0000000081a56167656e74a7766563746f7273")
FROM_SERVER = PREFACE + bytes.fromhex(
    "c1000023010100230000000083a56167656e74a7766563746f7273a97365727665725f6964a173a565706f6368a165"
)
IGNORABLE = bytes.fromhex("c10000009d00000000000000")
"""A frame that has no effect once the handshake is done."""
EVERY_CUT = 80
"""Vectors up to this many bytes are cut at every place, longer ones at the ends and at some places between."""

Case = dict[str, Any]
Run = Callable[[Case, Callable[[Case], "Endpoint"], Iterable[bytes]], str | None]


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
NAMES = {
    (0x01, 0): "HELLO", (0x01, 1): "WELCOME", (0x04, 0): "PING", (0x04, 1): "PONG",
    0x05: "ERROR", 0x06: "GOAWAY", 0x07: "RESET", 0x10: "SUBMIT", 0x11: "STATUS", 0x12: "CANCEL", 0x13: "WATCH",
    0x20: "FETCH", 0x21: "DATA", 0x22: "CREDIT", 0x30: "RESULT", 0x31: "EVENT", 0x32: "PREVIEW",
}  # fmt: skip
REQUESTS = ("SUBMIT", "STATUS", "CANCEL", "WATCH", "FETCH")


def cut_frames(data: bytes) -> Iterator[tuple[str, Frame]]:
    """The frames in well-formed bytes, cut without the package's own parser."""
    while data:
        word, kind, flags, head_len, stream = struct.unpack_from("!IBBHI", data)
        end = 12 + (word & 0xFFFFFF)
        assert word >> 24 == 0xC1
        assert end <= len(data)
        name = NAMES.get((kind, flags & 1)) or NAMES.get(kind, "")
        yield name, Frame(kind, flags, stream, data[12 : 12 + head_len], data[12 + head_len : end])
        data = data[end:]


def plain(value: Any) -> Any:
    """A value as JSON would have it."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return int(value) if isinstance(value, IntEnum) else value


def event(stream: int, message: Any, end: bool) -> Case:
    name = type(message).__name__.upper()
    head = plain(message)
    tail = bytes(head.pop("tail", head.pop("payload", b"")) or b"")
    head.pop("placed", None)
    return {"type": name, "stream": stream, "end": end, "head": head.pop("body", head), "tail": tail.hex()}


class Endpoint:
    """A Connection with the four methods that the runner wants."""

    def __init__(self, case: Case) -> None:
        self.role = Role(case["side"])
        options = dict(case.get("limits", {}))
        if "features" in case:
            options["features"] = tuple(case["features"])
        self.connection = Connection(self.role, Settings(agent="vectors", server_id="s", epoch="e", **options))
        peer = FROM_CLIENT if self.role is Role.SERVER else FROM_SERVER
        received = {"start": b"", "preface": PREFACE, "ready": peer}[case["state"]]
        assert not any("failed" in event for event in self.receive(received))

    def receive(self, data: bytes) -> list[Case]:
        return self._events(self.connection.receive(data))

    def eof(self) -> list[Case]:
        return self._events(self.connection.receive_eof())

    @staticmethod
    def _events(incoming: Iterable[Any]) -> list[Case]:
        events: list[Case] = []
        for item in incoming:
            match item:
                case Ready(peer):
                    events.append(event(0, peer, False))
                case Received(stream, message, end):
                    events.append(event(stream, message, end))
                case Closed(clean):
                    events.append({"closed": "clean" if clean else "broken"})
                case Failed(error):
                    events.append({"failed": error.code.name})
        return events

    def send(self, data: bytes) -> None:
        """As an application would; handshake and PONG are the connection's own affair, CREDIT comes of consuming."""
        ((name, frame),) = cut_frames(data)
        if name in ("HELLO", "WELCOME", "PONG", ""):
            return
        message: Any = decode(frame)
        end = bool(frame.flags & 1)
        match name:
            case "PING":
                self.connection.ping(message.payload)
            case "CREDIT":
                if frame.stream:  # the connection's credit comes with it
                    self.connection.consumed(frame.stream, message.n)
            case "RESET":
                self.connection.reset(frame.stream, message.code)
            case "GOAWAY":
                times = {"grace_ms": message.grace_ms, "reconnect_after_ms": message.reconnect_after_ms}
                self.connection.goaway(message.code, message.message, last_stream=message.last_stream, **times)
            case "ERROR":
                words = {"retry": message.retry, "processed": message.processed}
                self.connection.send_error(frame.stream, message.code, message.message, **words)
            case "DATA":
                self.connection.send_data(frame.stream, bytes(message.tail), end)
            case _ if name in REQUESTS:
                assert self.connection.open(message) == frame.stream
            case _:
                assert self.connection.send(frame.stream, message, end)

    def sent_bytes(self) -> bytes:
        out = b""
        while self.connection.has_output:
            out += b"".join(self.connection.data_to_send())
        return out

    def sent(self) -> list[Case]:
        data = self.sent_bytes()
        frames: list[Case] = []
        if data.startswith(b"\x89"):
            frames.append({"preface": data[:8].hex()})
            data = data[8:]
        for name, frame in cut_frames(data):
            head = msgpack.unpackb(frame.head) if frame.head else {}
            sent = {"type": name, "stream": frame.stream, "end": bool(frame.flags & 1), "head": head}
            sent["tail"] = bytes(frame.tail).hex()
            if name in ("ERROR", "RESET", "GOAWAY"):
                sent["name"] = ErrorCode(head["code"]).name
            frames.append(sent)
        return frames


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


@pytest.mark.req("PXW-FRM-010")
@pytest.mark.parametrize("case", FRAMES, ids=lambda case: case["id"])
def test_a_vector_holds_however_it_is_cut(case: Case) -> None:
    data = bytes.fromhex(case["hex"])
    for pieces in cuts(data):
        assert RUN(case, Endpoint, pieces) is None, [len(piece) for piece in pieces]
    if case.get("eof"):
        return
    failed = isinstance(case["expect"], dict) and case["expect"]["scope"] != "stream"
    for more in (b"\xc1\x00\x00",) if case["state"] == "start" and not failed else (IGNORABLE, IGNORABLE[:7]):
        assert RUN(case, Endpoint, [data + more]) is None, more
        assert RUN(case, Endpoint, [data, more]) is None, more


@pytest.mark.parametrize("case", [case for case in FRAMES if case["encode"]], ids=lambda case: case["id"])
def test_a_canonical_vector_is_what_the_encoder_makes(case: Case) -> None:
    data = bytes.fromhex(case["hex"])
    again = b"".join(b"".join(encode(decode(frame), frame.stream, frame.flags & 1)) for _, frame in cut_frames(data))
    assert again == data


@pytest.mark.parametrize("case", PARAMS, ids=lambda case: case["id"])
def test_parameters(case: Case) -> None:
    tail = bytes.fromhex(case["hex"])
    assert fingerprint(case["kind"], tail) == case["fingerprint"]
    assert case["fingerprint"] == hashlib.sha256(case["kind"].encode() + b"\0" + tail).hexdigest()
    want = case["expect"]
    if "error" in want:
        with pytest.raises(ParamError) as caught:
            parse(tail)
        assert caught.value.field == want.get("field", caught.value.field)
        assert {"field", "value", "allowed"} <= set(caught.value.details)
    else:
        assert parse(tail).to_map() == want["params"]


AUTOMATIC = {"HELLO", "WELCOME", "PONG", "CREDIT", "", "ERROR"}
"""What a side sends by itself, or (ERROR) in words of its own: not compared with the session's bytes."""


SIDES = [(session, side) for session in SESSIONS for side in session.get("sides", ("client", "server"))]


@pytest.mark.parametrize(("session", "side"), SIDES, ids=[f"{session['id']}-{side}" for session, side in SIDES])
def test_a_session_holds_at_both_ends(session: Case, side: str) -> None:
    options = session.get(f"{side}_limits", {})
    end = Endpoint({"side": side, "state": "start", "limits": options})
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


def test_ids_are_unique_and_every_message_has_a_vector() -> None:
    cases = [*FRAMES, *PARAMS, *SESSIONS]
    ids = [case["id"] for case in cases]
    assert len(set(ids)) == len(ids)
    events = [event for case in FRAMES if isinstance(case["expect"], list) for event in case["expect"]]
    seen = {event["type"] for event in events if "type" in event} | {"CREDIT"}
    assert seen == set(NAMES.values())


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
