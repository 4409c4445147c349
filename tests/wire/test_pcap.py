"""Packets -> connections: reassembly whatever the network did, and plain words for what is no PXW."""

import io
from collections.abc import Iterable
from itertools import pairwise

import dpkt  # type: ignore[import-untyped]
import pytest
from hypothesis import strategies as st
from wire_bytes import HELLO, STATUS, WELCOME, given

from pixwire.wire import tcp
from pixwire.wire.capture import Mark
from pixwire.wire.errors import InputError
from pixwire.wire.pcap import read_pcap
from pixwire.wire.tcp import Direction

CLIENT, SERVER = (b"\x7f\0\0\1", 40000), (b"\x7f\0\0\1", 7499)
FIN, SYN, RST, ACK = 1, 2, 4, 16
Packet = tuple[str, int, bytes, int]  # from, sequence relative to the SYN, data, flags


def packets(found: Iterable[Packet], *, start: int = 2**32 - 20, ipv6: bool = False) -> list[bytes]:
    made = []
    for side, sequence, data, flags in found:
        source, target = (CLIENT, SERVER) if side == "C" else (SERVER, CLIENT)
        tcp = dpkt.tcp.TCP(sport=source[1], dport=target[1], seq=(start + sequence) % 2**32, flags=flags, data=data)
        if ipv6:
            made.append(
                bytes(dpkt.ip6.IP6(src=b"\0" * 15 + b"\1", dst=b"\0" * 15 + b"\1", nxt=6, plen=len(tcp), data=tcp))
            )
        else:
            made.append(bytes(dpkt.ip.IP(src=source[0], dst=target[0], p=6, data=tcp)))
    return made


def pcap(raw: list[bytes], *, link: int = 101, ng: bool = False) -> bytes:
    file = io.BytesIO()
    writer = (dpkt.pcapng if ng else dpkt.pcap).Writer(file, linktype=link)
    for number, packet in enumerate(raw):
        writer.writepkt(packet, ts=100.0 + number)
    return file.getvalue()


SAID = HELLO + STATUS
PLAIN: list[Packet] = [
    ("C", 0, b"", SYN),
    ("S", 0, b"", SYN | ACK),
    ("C", 1, HELLO, ACK),
    ("S", 1, WELCOME, ACK),
    ("C", 1 + len(HELLO), STATUS, ACK),
    ("C", 1 + len(SAID), b"", FIN | ACK),
]


@pytest.mark.parametrize("ng", [False, True])
@pytest.mark.parametrize("ipv6", [False, True])
def test_a_session(ng: bool, ipv6: bool) -> None:
    capture = read_pcap(pcap(packets(PLAIN, ipv6=ipv6), ng=ng))
    (connection,) = capture.connections()
    assert connection.sent("C") == SAID
    assert connection.sent("S") == WELCOME
    assert [record.event for record in connection.records if isinstance(record, Mark)] == ["open", "eof"]


def test_link_layers() -> None:
    (raw,) = packets([("C", 1, HELLO, ACK)])
    ethernet = b"\0" * 12 + b"\x08\x00" + raw
    cooked = b"\0\0\0\1\0\6" + b"\0" * 8 + b"\x08\x00" + raw
    for link, packet in ((1, ethernet), (113, cooked), (0, b"\2\0\0\0" + raw)):
        assert read_pcap(pcap([packet], link=link)).connections()[0].sent("C") == HELLO, link


def test_without_a_syn_hello_tells_who_the_client_is() -> None:
    swapped = [("S" if side == "C" else "C", sequence, data, flags) for side, sequence, data, flags in PLAIN[2:5]]
    (connection,) = read_pcap(pcap(packets(swapped))).connections()
    assert connection.sent("C") == SAID
    assert connection.sent("S") == WELCOME


@given(st.data())
def test_reassembly_of_what_a_network_does(data: st.DataObject) -> None:
    said = data.draw(st.binary(min_size=1, max_size=80))
    bounds = sorted({0, len(said), *data.draw(st.lists(st.integers(0, len(said)), max_size=6))})
    pieces = [(start, said[start:end]) for start, end in pairwise(bounds)]
    again = data.draw(st.lists(st.sampled_from(pieces), max_size=4))  # retransmissions
    longer = [
        (start, said[start : start + size])
        for start, size in data.draw(st.lists(st.tuples(st.integers(0, len(said) - 1), st.integers(1, 30)), max_size=3))
    ]  # and others that overlap
    arrived = data.draw(st.permutations(pieces + again + longer))
    start = data.draw(st.sampled_from([0, 1000, 2**32 - 10, 2**32 - 1]))
    direction = Direction()
    direction.syn(start)
    got = b"".join(direction.segment((start + 1 + at) % 2**32, piece) for at, piece in arrived)
    assert got == said
    assert direction.missing == 0
    assert direction.fin((start + 1 + len(said)) % 2**32)


def test_the_longer_of_two_segments_at_one_place_is_kept() -> None:
    direction = Direction()
    direction.syn(0)
    assert direction.segment(5, b"ab") + direction.segment(5, b"abcd") + direction.segment(5, b"a") == b""
    assert direction.segment(1, b"wxyz") == b"wxyzabcd"


class Counted(bytes):
    """Bytes that count how often their length is asked for."""

    asked = 0

    def __len__(self) -> int:
        Counted.asked += 1
        return super().__len__()


def test_what_waits_behind_a_lost_segment_is_not_looked_through_for_each_new_one() -> None:
    direction = Direction()
    direction.syn(0)
    Counted.asked = 0
    count = 500
    for number in range(count):
        assert direction.segment(2 + number, Counted(b"x")) == b""
    assert direction.segment(1, b"a") == b"a" + b"x" * count
    assert Counted.asked < 20 * count


def test_a_lost_segment_that_comes_late_is_taken_however_much_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "_HELD", 4)
    direction = Direction()
    direction.syn(0)
    assert direction.segment(5, b"5678") + direction.segment(9, b"too much") == b""
    assert direction.segment(1, b"1234") == b"12345678"
    assert (direction.missing, direction.behind) == (0, 0)


def test_a_strange_packet_is_no_end_of_the_capture() -> None:
    cut_label = b"\0" * 12 + b"\x88\x47\0\0\x01\xff"  # MPLS, and nothing behind the label
    ethernet = [b"\0" * 12 + b"\x08\x00" + packet for packet in packets(PLAIN)]
    (connection,) = read_pcap(pcap([cut_label, *ethernet[:3], cut_label, *ethernet[3:]], link=1)).connections()
    assert connection.sent("C") == SAID


def test_a_hole_is_told_and_nothing_behind_it_is_made_up() -> None:
    found = [*PLAIN[:4], ("C", 1 + len(HELLO) + 5, STATUS[5:], ACK)]
    (connection,) = read_pcap(pcap(packets(found))).connections()
    assert connection.sent("C") == HELLO
    (gap,) = [record for record in connection.records if isinstance(record, Mark) and record.event == "gap"]
    assert gap.detail is not None
    assert gap.detail.startswith("5 bytes were not captured")


def test_a_reset_is_told_once() -> None:
    found = [*PLAIN[:4], ("S", 1 + len(WELCOME), b"", RST), ("S", 1 + len(WELCOME), b"", RST)]
    (connection,) = read_pcap(pcap(packets(found))).connections()
    assert [r.event for r in connection.records if isinstance(r, Mark)] == ["open", "reset"]


def test_a_capture_cut_off_in_a_packet_is_read_up_to_there() -> None:
    data = pcap(packets(PLAIN))
    (connection,) = read_pcap(data[: len(data) - 70]).connections()
    assert connection.sent("C").startswith(HELLO)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pcap(packets([("C", 1, b"GET / HTTP/1.1", ACK)])), r"no PXW .* 1 TCP connections \(ports 7499\)"),
        (pcap([]), "no TCP at all"),
        (pcap([b"\x60" + b"\0" * 8, b""]), "no TCP at all"),
        (b"\xd4\xc3\xb2\xa1" + b"\0" * 4, "cannot read the packet capture"),
    ],
)
def test_captures_without_pxw(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_pcap(data)


def test_a_port_makes_any_connection_readable() -> None:
    data = pcap(packets([("C", 1, b"GET / HTTP/1.1", ACK)]))
    assert read_pcap(data, port=7499).connections()[0].sent("C") == b"GET / HTTP/1.1"


@given(st.binary())
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for magic in (b"\xd4\xc3\xb2\xa1\2\0\4\0\0\0\0\0\0\0\0\0\xff\xff\0\0\x65\0\0\0", b"\x0a\x0d\x0d\x0a"):
        try:
            read_pcap(magic + data)
        except InputError:
            continue
