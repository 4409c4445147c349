"""pcap and pcapng -> a Capture of the PXW connections in it.

dpkt reads the files and the packets; the reassembly is in tcp.py. A connection counts as PXW when one side begins with
the preface, or when its server's port was named.
"""

import io
import struct
from dataclasses import dataclass, field
from typing import Any, Final

import dpkt  # type: ignore[import-untyped]

from pixwire_protocol.registry import MAGIC, PORT, PREFACE

from .annotate import Side
from .capture import EOF, GAP, OPEN, RESET, Capture, Chunk, Mark, Record
from .errors import InputError
from .tcp import Direction

_RAW: Final = (12, 14, 101, 228, 229)
_NULL: Final = (0, 108)
_IP: Final[Any] = (dpkt.ip.IP, dpkt.ip6.IP6)
_TCP: Final[Any] = dpkt.tcp.TCP
_HELLO, _WELCOME = b"\x01\x00", b"\x01\x01"
_ETHERNET, _SLL, _SLL2 = 1, 113, 276
_UNREADABLE: Final = (ValueError, struct.error, dpkt.Error, EOFError, AttributeError, IndexError, KeyError, TypeError)
"""What dpkt raises for bytes that are not what they say."""

Address = tuple[bytes, int]


@dataclass(slots=True)
class _Flow:
    """One TCP connection under reassembly."""

    number: int
    client: Address
    server: Address
    sure: bool
    directions: dict[Side, Direction] = field(default_factory=lambda: {"C": Direction(), "S": Direction()})
    first: dict[Side, bytes] = field(default_factory=lambda: {"C": b"", "S": b""})
    records: list[Record] = field(default_factory=list)
    over: bool = False


def read_pcap(data: bytes, port: int | None = None) -> Capture:
    """The PXW connections of a packet capture. Raises InputError when it cannot be read, or holds none."""
    flows = _Flows()
    start: float | None = None
    try:
        reader = dpkt.pcap.UniversalReader(io.BytesIO(data))
        link = reader.datalink()
        for when, packet in reader:
            start = when if start is None else start
            flows.packet(max(0, int((when - start) * 1e9)), _ip(link, packet))
    except _UNREADABLE as error:
        if not flows.flows:
            raise InputError(f"cannot read the packet capture: {error or type(error).__name__}") from None
        # a capture cut off in its last packet is as good as one that ends there
    return _chosen(flows.flows, port)


def _chosen(flows: list[_Flow], port: int | None) -> Capture:
    wanted = [flow for flow in flows if _is_pxw(flow, port)]
    if not wanted:
        ports = sorted({flow.server[1] for flow in flows})
        seen = f"{len(flows)} TCP connections (ports {', '.join(map(str, ports[:8]))})" if flows else "no TCP at all"
        hint = "name the server's port with --port to look at it anyway; TLS hides everything"
        raise InputError(f"no PXW in this packet capture: it holds {seen}, and none begins with the preface", hint)
    records: list[Record] = []
    for flow in wanted:
        _turn(flow)
        records += [*flow.records, *_gaps(flow)]
    records.sort(key=lambda record: record.t_ns)
    return Capture(tuple(records), {"source": "pcap"})


def _is_pxw(flow: _Flow, port: int | None) -> bool:
    if port is not None:
        return port in (flow.client[1], flow.server[1])
    return any(first.startswith(MAGIC) for first in flow.first.values())


def _turn(flow: _Flow) -> None:
    """Without a SYN it was a guess who the client is; HELLO and WELCOME know."""
    if flow.sure or not (_greets(flow.first["C"], _WELCOME) or _greets(flow.first["S"], _HELLO)):
        return
    swap: dict[Side, Side] = {"C": "S", "S": "C"}
    flow.records[:] = [_swapped(record, swap) for record in flow.records]
    flow.directions = {"C": flow.directions["S"], "S": flow.directions["C"]}


def _greets(first: bytes, kind: bytes) -> bool:
    at = len(PREFACE) + 4  # type and flags of the first frame
    return first.startswith(MAGIC) and first[at : at + 2] == kind


def _swapped(record: Record, swap: dict[Side, Side]) -> Record:
    if isinstance(record, Chunk):
        return Chunk(record.t_ns, record.conn, swap[record.side], record.data)
    return Mark(record.t_ns, record.conn, record.event, record.side and swap[record.side], record.detail)


def _gaps(flow: _Flow) -> list[Record]:
    last = flow.records[-1].t_ns if flow.records else 0
    return [
        Mark(
            last,
            flow.number,
            GAP,
            side,
            f"{direction.missing:,} bytes were not captured; {direction.behind:,} bytes behind them are left out",
        )
        for side, direction in flow.directions.items()
        if direction.missing
    ]


def _ip(link: int, packet: Any) -> Any:
    """The IP packet inside, or None."""
    try:
        if link == _ETHERNET:
            return dpkt.ethernet.Ethernet(packet).data
        if link == _SLL:
            return dpkt.sll.SLL(packet).data
        if link == _SLL2:
            return dpkt.sll2.SLL2(packet).data
        if link in _NULL:
            packet = packet[4:]
        elif link not in _RAW:
            raise InputError(f"packets of link type {link} are not understood")
        return dpkt.ip6.IP6(packet) if packet[:1] and packet[0] >> 4 == 6 else dpkt.ip.IP(packet)
    except _UNREADABLE:
        return None  # one strange packet is no end of the capture


class _Flows:
    def __init__(self) -> None:
        self.flows: list[_Flow] = []
        self._by_ends: dict[frozenset[Address], _Flow] = {}

    def packet(self, t_ns: int, ip: Any) -> None:
        tcp: Any = ip.data if isinstance(ip, _IP) else None
        if not isinstance(tcp, _TCP):
            return
        source, target = (bytes(ip.src), tcp.sport), (bytes(ip.dst), tcp.dport)
        syn, ack = bool(tcp.flags & dpkt.tcp.TH_SYN), bool(tcp.flags & dpkt.tcp.TH_ACK)
        flow = self._find(source, target, begins=syn and not ack, t_ns=t_ns)
        side: Side = "C" if source == flow.client else "S"
        direction = flow.directions[side]
        sequence = tcp.seq
        if syn:
            direction.syn(sequence)
            sequence = (sequence + 1) % (1 << 32)
        data = direction.segment(sequence, bytes(tcp.data)) if tcp.data else b""
        if data:
            if len(flow.first[side]) < 64:
                flow.first[side] += data[:64]
            flow.records.append(Chunk(t_ns, flow.number, side, data))
        behind = (sequence + len(tcp.data)) % (1 << 32)
        if tcp.flags & dpkt.tcp.TH_FIN and not direction.finished and direction.fin(behind):
            flow.records.append(Mark(t_ns, flow.number, EOF, side))
        if tcp.flags & dpkt.tcp.TH_RST and not flow.over:
            flow.over = True
            flow.records.append(Mark(t_ns, flow.number, RESET, side))

    def _find(self, source: Address, target: Address, *, begins: bool, t_ns: int) -> _Flow:
        ends = frozenset((source, target))
        found = self._by_ends.get(ends)
        # The same ports again: a new connection once the old one is over or has said something.
        if found is None or (begins and (found.over or found.first["C"])):
            server_first = not begins and source[1] == PORT
            client, server = (target, source) if server_first else (source, target)
            found = self._by_ends[ends] = _Flow(len(self.flows) + 1, client, server, begins)
            found.records.append(Mark(t_ns, found.number, OPEN))
            self.flows.append(found)
        return found
