"""Writes what two Connections say to each other as a TCP capture that tshark reads."""

from collections.abc import Iterable
from pathlib import Path

import dpkt

CLIENT, SERVER = (b"\x7f\x00\x00\x01", 40000), (b"\x7f\x00\x00\x02", 34567)
Segment = tuple[str, bytes]
"""Who sends ("C" or "S"), and the bytes."""


def cut(who: str, data: bytes, size: int) -> list[Segment]:
    """The bytes as segments of at most `size` bytes."""
    return [(who, data[start : start + size]) for start in range(0, len(data), size)]


def write_pcap(path: Path, segments: Iterable[Segment], server_port: int = SERVER[1]) -> None:
    """One TCP connection in Ethernet frames, from its SYN to its FIN, one packet for each segment."""
    ends = {"C": (CLIENT, (SERVER[0], server_port)), "S": ((SERVER[0], server_port), CLIENT)}
    sequence = {"C": 1000, "S": 5000}
    syn, ack, fin = dpkt.tcp.TH_SYN, dpkt.tcp.TH_ACK, dpkt.tcp.TH_FIN
    packets = [("C", b"", syn), ("S", b"", syn | ack), ("C", b"", ack)]
    packets += [(who, data, ack) for who, data in segments]
    packets += [("C", b"", fin | ack), ("S", b"", fin | ack)]
    with path.open("wb") as file:
        writer = dpkt.pcap.Writer(file)
        for number, (who, data, flags) in enumerate(packets):
            (source, source_port), (target, target_port) = ends[who]
            other = sequence["S" if who == "C" else "C"]
            acknowledged = other if flags & ack else 0
            tcp = dpkt.tcp.TCP(sport=source_port, dport=target_port, seq=sequence[who], ack=acknowledged, flags=flags)
            tcp.data = data
            ip = dpkt.ip.IP(src=source, dst=target, p=dpkt.ip.IP_PROTO_TCP, data=tcp)
            ip.len = len(ip)
            frame = dpkt.ethernet.Ethernet(type=dpkt.ethernet.ETH_TYPE_IP, data=ip)
            writer.writepkt(frame, ts=1_000_000 + number / 1000)
            sequence[who] += len(data) + (1 if flags & (syn | fin) else 0)
