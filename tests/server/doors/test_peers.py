"""How many may come, in all and from one address; who is counted together; what the log says of it."""

import logging

import pytest

from pixwire_server.doors.peers import TOLD, Headcount, Peer, peer_of
from pixwire_server.doors.strangers import describe, may_be_tls


@pytest.mark.req("PXW-LIM-012")
@pytest.mark.parametrize(
    ("peername", "name", "block"),
    [
        (("192.0.2.7", 1234), "192.0.2.7:1234", "192.0.2.7"),
        (("::ffff:192.0.2.7", 1234, 0, 0), "[::ffff:192.0.2.7]:1234", "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 1, 0, 0), "[2001:db8:1:2:3:4:5:6]:1", "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 1, 0, 2), "[fe80::1%eth0]:1", "fe80::/64"),
        (("127.0.0.1", 1), "127.0.0.1:1", None),
        (("127.8.8.8", 1), "127.8.8.8:1", None),
        (("::1", 1, 0, 0), "[::1]:1", None),
        (("::ffff:127.0.0.1", 1, 0, 0), "[::ffff:127.0.0.1]:1", None),
        ("", "a local program", None),
        (None, "a local program", None),
    ],
)
def test_whose_connections_are_counted_together(peername: object, name: str, block: str | None) -> None:
    assert peer_of(peername) == Peer(name, block)


def test_loopback_counts_when_it_is_not_spared() -> None:
    assert peer_of(("127.0.0.1", 1), spare_loopback=False).block == "127.0.0.1"
    assert peer_of("", spare_loopback=False).block is None


@pytest.mark.req("PXW-LIM-012")
def test_one_address_fills_its_share_and_nobody_elses() -> None:
    count = Headcount(max_connections=10, max_per_address=2)
    mine, other, local = Peer("m", "m"), Peer("o", "o"), Peer("l")
    assert [count.enter(mine) for _ in range(2)] == [None, None]
    refusal = count.enter(mine)
    assert refusal is not None
    assert "2 connections from m are open (max_connections_per_address)" in refusal.why
    assert count.enter(other) is None
    assert all(count.enter(local) is None for _ in range(5))
    count.leave(mine, refusal)
    assert count.enter(mine) is not None  # a refused one had no seat to give
    count.leave(mine, None)
    assert count.enter(mine) is None


@pytest.mark.req("PXW-LIM-011")
def test_beyond_the_number_in_all_everybody_is_refused_and_only_some_are_told() -> None:
    count = Headcount(max_connections=3, max_per_address=100)
    assert all(count.enter(Peer("l")) is None for _ in range(3))
    refusals = [count.enter(Peer("x", f"192.0.2.{n}")) for n in range(TOLD + 5)]
    assert [refusal is not None and refusal.tell for refusal in refusals] == [True] * TOLD + [False] * 5
    for refusal in refusals:
        count.leave(Peer("x", "x"), refusal)
    assert (count.seated, count.told) == (3, 0)
    again = count.enter(Peer("l"))
    assert again is not None
    assert again.tell


def test_a_flood_of_refused_connections_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    count = Headcount(max_connections=1, max_per_address=1)
    count.enter(Peer("a", "a"))
    for _ in range(5000):
        count.enter(Peer("a", "a"))
    assert [record.getMessage().rsplit("; ", 1)[1].split()[0] for record in caplog.records] == [
        "1",
        "10",
        "100",
        "1000",
    ]
    count.leave(Peer("a", "a"), None)
    count.enter(Peer("a", "a"))
    count.enter(Peer("a", "a"))
    assert len(caplog.records) == 5  # it begins anew


@pytest.mark.parametrize(
    ("first", "what"),
    [
        (b"", "nothing"),
        (b"\x16\x03\x01\x00", "a TLS client hello"),
        (b"\x89PXW\x01", "a cleartext PXW preface"),
        (b"GET /", "an HTTP request"),
        (b"PRI * HTTP/2.0", "an HTTP/2 request"),
        (b"SSH-2.0", "an SSH greeting"),
        (b"GETAWAY", "no PXW preface but 47 45 54 41 57 41 59"),
        (b"\x00" * 16, "no PXW preface but 00 00 00 00 00 00 00 00"),
    ],
)
def test_first_bytes_are_called_what_they_are(first: bytes, what: str) -> None:
    assert describe(first) == what


def test_the_first_two_bytes_tell_tls() -> None:
    assert [may_be_tls(first) for first in (b"\x16", b"\x16\x03", b"\x16\x03\x01", b"\x15", b"\x16\x02", b"G")] == [
        *[True] * 3,
        *[False] * 3,
    ]
