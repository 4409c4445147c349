"""The Wireshark dissector, run by tshark on captures of real connections; its names are the registry's."""

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgpack
import packet_capture
import protocol_pair as pair
import pytest

from pixwire_protocol.connection import Connection, Role, Settings
from pixwire_protocol.messages import Admin, Event, Fetch, Preview, Result, Submit
from pixwire_protocol.registry import PREFACE, FrameType

PROTOCOL = Path(__file__).parents[2] / "protocol"
DISSECTOR = PROTOCOL / "wireshark" / "pixwire.lua"
TSHARK = shutil.which("tshark")
needs_tshark = pytest.mark.skipif(TSHARK is None, reason="tshark is not installed (Debian: apt install tshark)")
IMAGE = bytes(range(256)) * 400  # 102,400 bytes: two DATA frames, some seventy packets


def dissect(path: Path, *fields: str, options: tuple[str, ...] = ()) -> list[dict[str, list[str]]]:
    """tshark's view: for each packet with PXW in it the values of the fields."""
    chosen = [word for field in fields for word in ("-e", field)]
    command = [
        str(TSHARK),
        "-X",
        f"lua_script:{DISSECTOR}",
        *options,
        "-r",
        str(path),
        "-Y",
        "pxw",
        "-T",
        "json",
        *chosen,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert "Lua Error" not in done.stderr + done.stdout, done.stderr + done.stdout
    packets: list[dict[str, Any]] = json.loads(done.stdout)
    return [packet["_source"].get("layers", {}) for packet in packets]


def column(packets: list[dict[str, list[str]]], field: str) -> list[str]:
    return [value for packet in packets for value in packet.get(field, [])]


def a_session() -> list[packet_capture.Segment]:
    """A job watched to its end, then its image fetched in two DATA frames; who said what, in order."""
    client = Connection(Role.CLIENT, Settings(agent="client", max_frame=65536))
    server = Connection(Role.SERVER, Settings(agent="server", server_id="s", epoch="e"))
    said: list[packet_capture.Segment] = []

    def carry() -> None:
        while client.has_output or server.has_output:
            for who, sender, receiver in (("C", client, server), ("S", server, client)):
                data = pair.drain(sender)
                if data:
                    said.extend(packet_capture.cut(who, data, 1400))
                    receiver.receive(data)

    carry()
    watching = client.open(Submit("job-1", "txt2img", pair.TAIL, watch=True, want=("progress", "preview")))
    carry()
    server.send(watching, Result({"job": "job-1", "kind": "txt2img", "state": "queued", "seq": 1}))
    carry()
    server.send(watching, Event({"job": "job-1", "event": "progress", "seq": 2, "step": 1, "steps": 8}))
    server.send(watching, Preview("job-1", 3, 1, 8, "image/jpeg", 16, 16, b"not really a picture"))
    carry()
    done = {"job": "job-1", "event": "state", "kind": "txt2img", "state": "succeeded", "seq": 2**33}
    server.send(watching, Event(done), end=True)
    carry()
    fetching = client.open(Fetch("job-1"))
    carry()
    server.send(fetching, Result({"job": "job-1", "artifact": 0, "length": len(IMAGE), "offset": 0}))
    server.send_data(fetching, IMAGE, end=True)
    carry()
    pausing = client.open(Admin("pause", reason="new disks"))
    carry()
    server.send(pausing, Result({"paused": True}), end=True)
    client.ping(b"12345678")
    carry()
    return said


def frames_of(segments: list[packet_capture.Segment]) -> list[pair.Seen]:
    """What our own parser sees in both directions, one direction after the other."""
    both = (b"".join(data for who, data in segments if who == side) for side in "CS")
    return [frame for data in both for frame in pair.cut_frames(data)]


@needs_tshark
def test_every_frame_of_a_connection_is_dissected_and_reassembled(tmp_path: Path) -> None:
    segments = a_session()
    capture = tmp_path / "session.pcap"
    packet_capture.write_pcap(capture, segments)
    packets = dissect(capture, "pxw.name", "pxw.stream", "pxw.tail_len", "pxw.type", "_ws.malformed", "pxw.bad_marker")
    seen = sorted(zip(*(column(packets, f"pxw.{name}") for name in ("stream", "type", "tail_len")), strict=True))
    expected = frames_of(segments)
    assert seen == sorted((str(f.stream), f"0x{f.type:02x}", str(len(f.tail))) for f in expected)
    names = column(packets, "pxw.name")
    assert {
        "HELLO",
        "WELCOME",
        "SUBMIT",
        "RESULT",
        "EVENT",
        "PREVIEW",
        "FETCH",
        "ADMIN",
        "DATA",
        "PING",
        "PONG",
    } <= set(names)
    assert names.count("DATA") == 2
    assert not column(packets, "_ws.malformed")
    assert not column(packets, "pxw.bad_marker")


@needs_tshark
def test_the_bytes_of_a_frame_in_many_packets_are_put_together(tmp_path: Path) -> None:
    capture = tmp_path / "session.pcap"
    packet_capture.write_pcap(capture, a_session())
    packets = dissect(capture, "pxw.tail", options=("-2", "-R", "pxw.name == DATA"))
    image = b"".join(bytes.fromhex(tail.replace(":", "")) for tail in column(packets, "pxw.tail"))
    assert IMAGE in image


@needs_tshark
def test_heads_can_be_filtered_by_job_state_and_number(tmp_path: Path) -> None:
    capture = tmp_path / "session.pcap"
    packet_capture.write_pcap(capture, a_session())
    packets = dissect(capture, "pxw.job", "pxw.state", "pxw.seq", "pxw.field", "_ws.col.Info")
    assert set(column(packets, "pxw.job")) == {"job-1"}
    assert column(packets, "pxw.state") == ["queued", "succeeded"]
    assert column(packets, "pxw.seq") == ["1", "2", "3", str(2**33)]
    assert 'kind: "txt2img"' in column(packets, "pxw.field")
    infos = column(packets, "_ws.col.Info")
    assert any('SUBMIT [1] END job="job-1"' in info for info in infos)
    assert any('ADMIN [5] END action="pause"' in info for info in infos)


@needs_tshark
def test_a_connection_captured_from_its_middle_is_found_on_the_registered_port(tmp_path: Path) -> None:
    capture = tmp_path / "middle.pcap"
    packet_capture.write_pcap(capture, [("C", pair.request(5, "job-9"))], server_port=7499)
    assert column(dissect(capture, "pxw.job"), "pxw.job") == ["job-9"]


@needs_tshark
def test_what_is_wrong_with_a_frame_is_said(tmp_path: Path) -> None:
    capture = tmp_path / "broken.pcap"
    wrong_lengths = pair.raw(FrameType.STATUS, 1, {"job": "j"}, flags=1, head_size=500)
    wrong_head = pair.raw(FrameType.STATUS, 3, msgpack.packb([1, 2]), flags=1)
    unknown = pair.raw(0x55, 5)
    said = [("C", PREFACE), ("C", wrong_lengths), ("C", wrong_head), ("C", unknown), ("C", b"GET / HTTP/1.1\r\n\r\n")]
    packet_capture.write_pcap(capture, said)
    found = dissect(capture, "pxw.bad_lengths", "pxw.bad_head", "pxw.unknown_type", "pxw.bad_marker")
    assert [sorted(packet) for packet in found] == [
        [],
        ["pxw.bad_lengths"],
        ["pxw.bad_head"],
        ["pxw.unknown_type"],
        ["pxw.bad_marker"],
    ]


@needs_tshark
def test_a_token_is_hidden_unless_somebody_asks(tmp_path: Path) -> None:
    capture = tmp_path / "secret.pcap"
    auth = pair.raw(FrameType.AUTH, 0, {"mechanism": "bearer", "token": "sesame-open"})
    packet_capture.write_pcap(capture, [("C", PREFACE + pair.HELLO), ("C", auth)])
    fields = ("pxw.field", "_ws.col.Info", "pxw.name")
    hidden = dissect(capture, *fields)
    assert column(hidden, "pxw.name") == ["HELLO", "AUTH"]
    assert "sesame" not in json.dumps(hidden)
    assert "token: (hidden)" in column(hidden, "pxw.field")
    shown = dissect(capture, *fields, options=("-o", "pxw.show_secrets:TRUE"))
    assert 'token: "sesame-open"' in column(shown, "pxw.field")


@needs_tshark
def test_every_form_of_msgpack_in_a_head_is_read(tmp_path: Path) -> None:
    capture = tmp_path / "forms.pcap"
    values = [
        0,
        127,
        128,
        256,
        65536,
        2**32,
        2**53 + 1,
        2**63 - 1,
        2**64 - 1,
        -(2**53) - 1,
        -(2**63),
        -1,
        -33,
        -200,
        -40000,
        -(2**40),
        1.5,
        True,
        None,
        "é\n",
        b"\x00\xff",
        [1, [2]],
        {"k": {}},
    ]
    long = ["x" * 40, "y" * 300, list(range(20)), {f"k{i}": i for i in range(20)}, b"z" * 300]
    head = {f"v{i}": value for i, value in enumerate([*values, *long])}
    packet_capture.write_pcap(capture, [("S", PREFACE), ("S", pair.raw(FrameType.RESULT, 1, head, flags=1))])
    packets = dissect(capture, "pxw.field", "pxw.bad_head")
    assert not column(packets, "pxw.bad_head")
    fields = dict(field.split(": ", 1) for field in column(packets, "pxw.field"))
    assert len(fields) == len(head)
    whole_numbers = {f"v{i}": str(value) for i, value in enumerate(values[:16])}
    assert {key: fields[key] for key in whole_numbers} == whole_numbers
    assert (fields["v16"], fields["v17"], fields["v18"]) == ("1.5", "true", "nil")
    assert fields["v21"] == "[1, [2]]"
    assert fields["v22"] == '{"k": {}}'


@needs_tshark
def test_a_number_that_a_filter_cannot_hold_is_no_other_number_there(tmp_path: Path) -> None:
    capture = tmp_path / "numbers.pcap"
    numbers = [-1, 2**40, 1.5, float("inf"), float("nan"), "5", True]
    said = [("C", pair.raw(FrameType.CREDIT, 1, {"n": n, "code": n, "seq": -1})) for n in numbers]
    said.append(("C", pair.raw(FrameType.CREDIT, 1, {"n": 2**31, "code": 0x100, "seq": 2**53 - 1})))
    packet_capture.write_pcap(capture, [("C", PREFACE), *said])
    packets = dissect(capture, "pxw.credit", "pxw.code", "pxw.seq")
    found = [column(packets, name) for name in ("pxw.credit", "pxw.code", "pxw.seq")]
    assert found == [[str(2**31)], ["0x0100"], [str(2**53 - 1)]]


def test_the_dissector_says_what_the_registry_says() -> None:
    spec = importlib.util.spec_from_file_location("dissector_tables", PROTOCOL / "dissector_tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.main([]) == 0
