"""The hex examples of SPEC.md: what they say is what the bytes are, in both directions.

A block begins with ```pxw. Each example in it is

    C SUBMIT stream=1 END            who sends, the frame, its stream, END if it is set
    head {"job": "j-01"}             the head as JSON (absent: no head)
    tail {"prompt": "x"} | 89 50     the tail: one msgpack map as JSON, or raw bytes (absent: no tail)
    hex  c1 00 ...                   the bytes; further lines are indented

A block ```pxw session is one whole connection.
"""

import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import pytest

from pixwire_protocol.connection import Connection, Failed, Ready, Role, Settings
from pixwire_protocol.header import Frame
from pixwire_protocol.messages import (
    Auth,
    AuthOk,
    Data,
    Event,
    Preview,
    Request,
    Result,
    Welcome,
    decode,
    encode,
)
from pixwire_protocol.registry import PREFACE, ErrorCode

ROOT = Path(__file__).resolve().parents[2]
SPEC = (ROOT / "SPEC.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```pxw(?P<kind> session)?\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)
TITLE = re.compile(r"(?P<side>[CS]) (?P<name>[A-Z_]+)(?: stream=(?P<stream>\d+)(?P<end> END)?)?")
ACKS = ("WELCOME", "AUTH_OK", "PONG")
TYPES = {
    "HELLO": 0x01, "WELCOME": 0x01, "AUTH": 0x02, "AUTH_OK": 0x02, "PING": 0x04, "PONG": 0x04, "ERROR": 0x05,
    "GOAWAY": 0x06, "RESET": 0x07, "SUBMIT": 0x10, "STATUS": 0x11, "CANCEL": 0x12, "WATCH": 0x13, "LIST": 0x15,
    "ADMIN": 0x16,
    "FETCH": 0x20, "DATA": 0x21, "CREDIT": 0x22, "RESULT": 0x30, "EVENT": 0x31, "PREVIEW": 0x32,
}  # fmt: skip


@dataclass(frozen=True)
class Example:
    """One example as it is written."""

    side: str
    name: str
    stream: int
    end: bool
    head: Any
    tail: bytes
    data: bytes


def read_example(text: str) -> Example:
    lines = text.split("\n")
    title = TITLE.fullmatch(lines[0])
    assert title is not None, f"not an example: {lines[0]!r}"
    parts: dict[str, str] = {}
    key = ""
    for line in lines[1:]:
        word, _, rest = line.partition(" ")
        key = word or key
        assert key in ("head", "tail", "hex"), f"unknown line {line!r}"
        parts[key] = f"{parts.get(key, '')} {rest}"
    tail = parts.get("tail", "").strip()
    return Example(
        side=title["side"],
        name=title["name"],
        stream=int(title["stream"] or 0),
        end=bool(title["end"]),
        head=json.loads(parts["head"]) if "head" in parts else None,
        tail=msgpack.packb(json.loads(tail)) if tail.startswith("{") else bytes.fromhex(tail),
        data=bytes.fromhex(parts["hex"]),
    )


def read_block(body: str) -> list[Example]:
    return [read_example(part) for part in body.strip("\n").split("\n\n")]


BLOCKS = [(bool(found["kind"]), read_block(found["body"])) for found in BLOCK.finditer(SPEC)]
EXAMPLES = [example for _, block in BLOCKS for example in block]
FRAMES = [example for example in EXAMPLES if example.name != "PREFACE"]
SESSIONS = [block for whole, block in BLOCKS if whole]


def name(example: Example) -> str:
    return f"{example.side}-{example.name}-{example.stream}"


def cut(data: bytes) -> Frame:
    word, kind, flags, head_len, stream = struct.unpack_from("!IBBHI", data)
    assert word == 0xC1000000 | len(data) - 12
    return Frame(kind, flags, stream, data[12 : 12 + head_len], data[12 + head_len :])


@pytest.mark.req("PXW-FRM-001")
@pytest.mark.parametrize("example", FRAMES, ids=name)
def test_the_bytes_are_what_the_text_says(example: Example) -> None:
    """With msgpack and struct alone, so that a mistake of the codec cannot hide itself."""
    frame = cut(example.data)
    assert frame.type == TYPES[example.name]
    assert frame.flags == int(example.end or example.name in ACKS)
    assert frame.stream == example.stream
    assert (msgpack.unpackb(frame.head) if frame.head else None) == example.head
    assert frame.tail == example.tail


@pytest.mark.req("PXW-FRM-001")
@pytest.mark.parametrize("example", FRAMES, ids=name)
def test_the_codec_decodes_and_encodes_the_example(example: Example) -> None:
    frame = cut(example.data)
    message = decode(frame)
    assert type(message).__name__.upper() == example.name.replace("_", "")
    assert b"".join(encode(message, frame.stream, frame.flags & 1)) == example.data


@pytest.mark.parametrize("example", FRAMES, ids=name)
def test_code_and_name_belong_together(example: Example) -> None:
    heads = [example.head or {}, (example.head or {}).get("error", {})]
    assert all(head["name"] == ErrorCode(head["code"]).name for head in heads if "code" in head)


SILENT = ("PREFACE", "CREDIT")
"""What a Connection does not report."""


@pytest.mark.parametrize("session", SESSIONS)
@pytest.mark.parametrize("role", Role)
def test_the_worked_session_is_legal_at_both_ends(session: list[Example], role: Role) -> None:
    asked = any(example.name == "AUTH" for example in session) and role is Role.SERVER
    auth = ("bearer",) if asked else ()
    connection = Connection(role, Settings(agent="a", auth=auth, connection_window=4194304, stream_window=1048576))
    us = "C" if role is Role.CLIENT else "S"
    received: list[str] = []
    for example in session:
        if example.side != us:
            incoming = connection.receive(example.data)
            assert not any(isinstance(item, Failed) for item in incoming), (example, incoming)
            received += [name for name in map(reported, incoming) if name]
        elif example.name != "PREFACE":
            do(connection, example)
        while connection.has_output:
            connection.data_to_send()
    # A server that asks for AUTH does not report the HELLO.
    wanted = [x.name.replace("_", "") for x in session if x.side != us and x.name not in SILENT]
    assert received == wanted[asked:]
    assert connection.open_streams == 0 or role is Role.SERVER  # a server's ERROR is not replayed here


def reported(item: Any) -> str | None:
    """The name of the frame in an item; Ready after AUTH_OK tells nothing new."""
    if isinstance(item, Ready) and isinstance(item.peer, Welcome) and item.peer.auth:
        return None
    return type(getattr(item, "message", getattr(item, "peer", None))).__name__.upper()


def do(connection: Connection, example: Example) -> None:
    """What a program calls to send the frame."""
    message = decode(cut(example.data))
    match message:
        case Auth():
            connection.authenticate(message.mechanism, message.token)
        case AuthOk():
            connection.accept_auth(message.principal, expires_ms=message.expires_ms, roles=tuple(message.roles))
        case Data():
            connection.send_data(example.stream, example.tail, example.end)
        case Result() | Event() | Preview():
            assert connection.send(example.stream, message, example.end)
        case _ if isinstance(message, Request):
            assert connection.open(message) == example.stream


def test_every_message_has_an_example_and_there_is_a_session() -> None:
    assert {example.name for example in EXAMPLES} == {*TYPES, "PREFACE"}
    assert SESSIONS
    assert {example.side for example in SESSIONS[0]} == {"C", "S"}
    assert all(example.data == PREFACE for example in EXAMPLES if example.name == "PREFACE")
