"""The wrong port: strangers hear nothing, are gone quickly, and leave one line in the log that says what they were."""

import asyncio
import logging

import pytest
from pki import Pki
from raw_client import Connect, OpenDoor

from pixwire_protocol.registry import PREFACE
from pixwire_server.doors.address import TcpAddress

TLS = TcpAddress("127.0.0.1", 0, tls=True)


@pytest.mark.req("PXW-CON-004")
@pytest.mark.parametrize(
    ("first", "says"),
    [
        (PREFACE, "a cleartext PXW preface on a TLS port"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "an HTTP request on a TLS port"),
        (b"SSH-2.0-OpenSSH_9\r\n", "an SSH greeting on a TLS port"),
        (b"\x16\x05\x00", "no PXW preface but 16 05 00 on a TLS port"),
    ],
    ids=["pxw", "http", "ssh", "almost"],
)
async def test_what_is_no_tls_is_closed_without_a_byte_and_with_a_line(
    connect: Connect, open_door: OpenDoor, pki: Pki, first: bytes, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    door, address = await open_door(TLS, tls=pki.server())
    for pieces in ([first], [first[:1], first[1:]]):
        stranger = await connect(address, handshake=False)
        for piece in pieces:
            await stranger.send_bytes(piece)
        await stranger.closed()
        assert stranger.received_bytes == 0
    lines = [record.getMessage() for record in caplog.records if "closed, " in record.getMessage()]
    assert len(lines) == 2
    assert lines[0].endswith(says)
    assert door.connections == 0


@pytest.mark.req("PXW-CON-004")
@pytest.mark.parametrize(
    ("first", "says"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "a TLS client hello on a cleartext port"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "an HTTP request on a cleartext port"),
        (b"\x00\x01", "no PXW preface but 00 01 on a cleartext port"),
    ],
    ids=["tls", "http", "other"],
)
async def test_strangers_on_a_cleartext_port_are_named_in_one_line(
    connect: Connect, open_door: OpenDoor, first: bytes, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    _, address = await open_door(linger_s=0.1)
    stranger = await connect(address, handshake=False)
    await stranger.send_bytes(first)
    await stranger.closed()
    assert stranger.received_bytes == 0
    (line,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO]
    assert line.endswith(f"closed, {says}")


async def test_a_real_tls_client_on_a_cleartext_port_only_sees_the_end(
    connect: Connect, open_door: OpenDoor, pki: Pki
) -> None:
    _, address = await open_door(linger_s=0.1)
    with pytest.raises((EOFError, ConnectionResetError)):
        await connect(address, tls=pki.client())


@pytest.mark.req("PXW-HSK-008")
@pytest.mark.parametrize("said", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01"], ids=["nothing", "a byte", "a half hello"])
async def test_a_tls_handshake_has_the_deadline_of_all_handshakes(
    connect: Connect, open_door: OpenDoor, pki: Pki, said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    door, address = await open_door(TLS, tls=pki.server(), handshake_timeout_s=0.1)
    slow = await connect(address, handshake=False)
    if said:
        await slow.send_bytes(said)
    await slow.closed()
    assert slow.received_bytes == 0
    assert "the TLS handshake took too long" in caplog.text
    assert door.connections == 0


async def test_a_drain_closes_who_has_not_shaken_hands(connect: Connect, open_door: OpenDoor, pki: Pki) -> None:
    door, address = await open_door(TLS, tls=pki.server())
    silent = await connect(address, handshake=False)
    ready = await connect(address, tls=pki.client())
    door.begin_drain(5.0)
    await silent.closed()
    finishing = asyncio.create_task(door.finish(5.0))
    await ready.closed()
    ready.close()
    await finishing
    assert door.connections == 0
