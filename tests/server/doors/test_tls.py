"""TLS: who gets in, whose certificate is whose, what strangers hear, and that images leave a slow reader whole."""

import asyncio
import hashlib
import logging
import os
import ssl
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from door_scenes import PARAMS, answers, finished_job
from memory_jobs import MemoryJobs
from pki import Pki
from raw_client import Connect, OpenDoor, RawClient

from pixwire_protocol.connection import AuthNeeded
from pixwire_protocol.messages import Fetch, Status, Submit, Welcome
from pixwire_protocol.registry import ErrorCode
from pixwire_server.doors.address import TcpAddress
from pixwire_server.doors.auth import Identity
from pixwire_server.doors.tls import TlsError, TlsFiles, identity_of, server_context
from pixwire_server.doors.tokens import Tokens, entry_for

TLS = TcpAddress("127.0.0.1", 0, tls=True)


async def test_the_whole_handshake_and_a_job_over_tls(
    connect: Connect, open_door: OpenDoor, jobs: MemoryJobs, pki: Pki
) -> None:
    _, address = await open_door(TLS, tls=pki.server())
    assert address.url.startswith("pixwires://127.0.0.1:")
    client = await connect(address, tls=pki.client())
    assert client.tls is not None
    assert client.tls.tls.selected_alpn_protocol() == "pxw/1"
    assert client.tls.tls.version() == "TLSv1.3"
    assert isinstance(client.connection.peer, Welcome)
    assert client.connection.peer.principal == "anonymous"
    await finished_job(client, jobs, image=bytes(range(256)) * 5000)
    (stream,) = await client.open(Fetch(job="j"))
    assert (await client.image(stream))[1] == bytes(range(256)) * 5000


# ---------------------------------------------------------------------- buffers


@pytest.mark.req("PXW-FLW-011")
async def test_a_reader_that_stalls_gets_the_image_whole_although_its_file_was_let_go(
    connect: Connect, open_door: OpenDoor, jobs: MemoryJobs, pki: Pki
) -> None:
    """It gives credit for everything and reads nothing until the kernel is full; meanwhile others are served."""
    image = os.urandom(12 << 20)
    _, address = await open_door(TLS, tls=pki.server())
    stalled = await connect(address, tls=pki.client(), stream_window=16_000_000, connection_window=64_000_000)
    other = await connect(address, tls=pki.client())
    await finished_job(other, jobs, image=image)
    (stream,) = await stalled.open(Fetch(job="j"))
    await jobs.until(lambda: jobs.open_images == 1)
    for _ in range(50):
        await answers(other)
    assert jobs.open_images == 1
    announced, received = await stalled.image(stream, consume=False)
    assert announced["length"] == len(image)
    assert hashlib.sha256(received).digest() == hashlib.sha256(image).digest()
    await jobs.until(lambda: jobs.open_images == 0)
    assert jobs.read_from == 0


async def test_what_waits_for_a_stalled_reader_is_one_frame_and_is_counted(
    connect: Connect, open_door: OpenDoor, jobs: MemoryJobs, pki: Pki
) -> None:
    """The transport tells all it holds, and holds no more than one DATA frame encrypted."""
    door, address = await open_door(TLS, tls=pki.server())
    stalled = await connect(address, tls=pki.client(), stream_window=16_000_000, connection_window=64_000_000)
    await finished_job(stalled, jobs, image=os.urandom(12 << 20))
    (shell,) = door._reception.members
    await stalled.open(Fetch(job="j"))
    await jobs.until(lambda: jobs.open_images == 1)
    witness = await connect(address, tls=pki.client())
    largest = 0
    for _ in range(50):
        await answers(witness)
        largest = max(largest, shell._waiting_bytes())  # type: ignore[attr-defined]
    assert shell._clocks.paused  # type: ignore[attr-defined]
    assert 0 < largest <= 262_144 * 1.01 + 4096


@pytest.mark.req("PXW-LIM-005")
async def test_a_tls_reader_that_takes_nothing_is_cut(
    connect: Connect, open_door: OpenDoor, jobs: MemoryJobs, pki: Pki
) -> None:
    _, address = await open_door(TLS, tls=pki.server(), write_stall_s=0.2)
    client = await connect(address, tls=pki.client(), stream_window=16_000_000, connection_window=64_000_000)
    await finished_job(client, jobs, image=bytes(16 << 20))
    await client.open(Fetch(job="j"))
    await jobs.until(lambda: jobs.open_images == 1)
    await jobs.until(lambda: jobs.open_images == 0)


async def test_a_client_that_ends_its_half_gets_its_answers_and_a_farewell(
    connect: Connect, open_door: OpenDoor, jobs: MemoryJobs, pki: Pki
) -> None:
    """close_notify is the end of the client's byte stream, not of the server's."""
    _, address = await open_door(TLS, tls=pki.server())
    client = await connect(address, tls=pki.client(), stream_window=1 << 20)
    await finished_job(client, jobs, image=b"x" * 500_000)
    jobs.hold = True
    submitted, fetched = await client.open(Submit(job="k", kind="txt2img", tail=PARAMS), Fetch(job="j"))
    assert client.tls is not None
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.tls.unwrap()
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(client.sock, client.tls._leaving.read())
    client.shut = True
    assert len((await client.image(fetched, consume=False))[1]) == 500_000
    jobs.commit()
    assert (await client.body(submitted))["state"] == "queued"
    await client.closed()


async def test_a_client_that_vanishes_leaves_nothing(
    connect: Connect, open_door: OpenDoor, jobs: MemoryJobs, pki: Pki
) -> None:
    door, address = await open_door(TLS, tls=pki.server())
    client, other = [await connect(address, tls=pki.client(), stream_window=65536) for _ in range(2)]
    await finished_job(client, jobs)
    await client.open(Fetch(job="j"), Submit(job="k", kind="txt2img", tail=PARAMS, watch=True))
    await jobs.until(lambda: (jobs.open_images, jobs.open_watches) == (1, 1))
    client.reset()
    await jobs.until(lambda: (jobs.open_images, jobs.open_watches) == (0, 0))
    await answers(other)
    assert door.connections == 1


async def test_damaged_tls_ends_the_connection_only(
    connect: Connect, open_door: OpenDoor, pki: Pki, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    _, address = await open_door(TLS, tls=pki.server())
    bad, good = [await connect(address, tls=pki.client()) for _ in range(2)]
    assert bad.tls is not None
    record = bytearray(bad.tls.encrypt(b"x" * 100))
    record[-1] ^= 1
    bad.tls, tls = None, bad.tls
    await bad.send_bytes(bytes(record))
    while not bad.eof:
        try:
            bad.eof = not await asyncio.get_running_loop().sock_recv(bad.sock, 65536)
        except ConnectionResetError:
            bad.eof = True
    assert tls is not None
    assert "broke TLS" in caplog.text
    await answers(good)


# ---------------------------------------------------------------------- who may


@pytest.mark.req("PXW-CON-019")
@pytest.mark.parametrize("alpn", [(), ("h2", "http/1.1")], ids=["none", "other"])
async def test_without_the_alpn_name_the_connection_is_closed(
    connect: Connect, open_door: OpenDoor, pki: Pki, alpn: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    _, address = await open_door(TLS, tls=pki.server())
    client = await connect(address, tls=pki.client(alpn=alpn), handshake=False)
    await client.closed()
    assert client.connection.peer is None
    assert "a TLS client that does not offer ALPN pxw/1" in caplog.text


@pytest.mark.req("PXW-CON-020")
async def test_older_tls_is_refused_and_1_2_is_not(connect: Connect, open_door: OpenDoor, pki: Pki) -> None:
    _, address = await open_door(TLS, tls=pki.server())
    context = pki.client()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    client = await connect(address, tls=context)
    assert client.tls is not None
    assert client.tls.tls.version() == "TLSv1.2"
    await answers(client)
    assert pki.server().minimum_version is ssl.TLSVersion.TLSv1_2
    old = pki.client()
    with warnings.catch_warnings(action="ignore"):  # Python warns of what this test is about
        old.minimum_version = ssl.TLSVersion.TLSv1_1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, EOFError)):
        await connect(address, tls=old)


@pytest.mark.req("PXW-AUT-013")
@pytest.mark.parametrize(
    ("certificate", "principal"),
    [
        (
            {
                "subject": ((("commonName", "cn"),),),
                "subjectAltName": (("DNS", "d.example"), ("URI", "spiffe://x/a"), ("URI", "spiffe://x/b")),
            },
            "spiffe://x/a",
        ),
        (
            {
                "subject": ((("commonName", "cn"),),),
                "subjectAltName": (("email", "a@b"), ("DNS", "d.example"), ("DNS", "e.example")),
            },
            "d.example",
        ),
        ({"subject": ((("organizationName", "o"),), (("commonName", "cn"),))}, "cn"),
    ],
)
def test_the_name_in_a_certificate(certificate: dict[str, object], principal: str) -> None:
    assert identity_of(certificate) == Identity(principal)


def test_a_certificate_ends_when_it_says() -> None:
    certificate = {"subject": ((("commonName", "cn"),),), "notAfter": "Jan  1 00:00:00 2027 GMT"}
    assert identity_of(certificate).expires == datetime(2027, 1, 1, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("certificate", [{"subject": ()}, {"subject": ((("commonName", "x" * 257),),)}])
def test_a_certificate_without_a_usable_name_is_refused(certificate: dict[str, object]) -> None:
    with pytest.raises(TlsError):
        identity_of(certificate)


@pytest.mark.req("PXW-AUT-013")
@pytest.mark.req("PXW-REQ-018")
async def test_clients_are_who_their_certificates_say(
    connect: Connect, open_door: OpenDoor, jobs: MemoryJobs, pki: Pki
) -> None:
    _, address = await open_door(TLS, tls=pki.server(client_ca=True))
    alice = await connect(address, tls=pki.client("alice.example"))
    bob = await connect(address, tls=pki.client(common_name="bob"))
    for client, principal in ((alice, "alice.example"), (bob, "bob")):
        peer = client.connection.peer
        assert isinstance(peer, Welcome)
        assert (peer.principal, tuple(peer.auth)) == (principal, ())
    (stream,) = await alice.open(Submit(job="j", kind="txt2img", tail=PARAMS))
    await alice.last(stream)
    assert ("alice.example", "j") in jobs.jobs
    (stream,) = await bob.open(Status(job="j"))
    assert (await bob.error(stream)).code == ErrorCode.JOB_NOT_FOUND


async def read_to_the_end(client: RawClient) -> None:
    """In TLS 1.3 the client hears only after its own handshake what the server thinks of its certificate."""
    while not client.eof:
        await client.read()
    raise EOFError


@pytest.mark.req("PXW-AUT-014")
@pytest.mark.parametrize("who", ["nobody", "a stranger", "an expired one"])
async def test_without_a_good_certificate_nobody_gets_in(
    connect: Connect, open_door: OpenDoor, pki: Pki, who: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    door, address = await open_door(TLS, tls=pki.server(client_ca=True), linger_s=0.1)
    context = {
        "nobody": lambda: pki.client(),
        "a stranger": lambda: pki.client(common_name="alice", authority=pki.stranger),
        "an expired one": lambda: pki.client(common_name="alice", not_after=datetime.now(UTC) - timedelta(days=1)),
    }[who]()
    with pytest.raises((ssl.SSLError, EOFError, ConnectionResetError)):
        await read_to_the_end(await connect(address, tls=context, handshake=False))
    assert "the TLS handshake failed" in caplog.text
    good = await connect(address, tls=pki.client(common_name="alice"))
    await answers(good)
    async with asyncio.timeout(10):
        while door.connections > 1:  # noqa: ASYNC110 - nothing tells when the server has given up waiting
            await asyncio.sleep(0)


@pytest.mark.req("PXW-AUT-014")
async def test_a_client_hears_why_its_certificate_does_not_do_although_it_has_spoken_already(
    connect: Connect, open_door: OpenDoor, pki: Pki
) -> None:
    """In TLS 1.3 the client speaks before it hears; a reset would take the server's alert away from it."""
    _, address = await open_door(TLS, tls=pki.server(client_ca=True), linger_s=0.1)
    client = await connect(address, tls=pki.client(), handshake=False)
    await client.send_bytes(bytes(100_000))
    with pytest.raises(ssl.SSLError, match=r"(?i)certificate.required"):
        await read_to_the_end(client)


async def test_with_tokens_a_certificate_is_one_way_in_and_a_token_the_other(
    connect: Connect, open_door: OpenDoor, pki: Pki, tmp_path: Path
) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(entry_for("alice", "secret"))
    _, address = await open_door(TLS, tls=pki.server(client_ca=True, needed=False), tokens=Tokens(path))
    certified = await connect(address, tls=pki.client(common_name="bob"))
    assert certified.connection.principal == "bob"
    other = await connect(address, tls=pki.client(), handshake=False)
    await other.flush()
    await other.wait(lambda item: item if isinstance(item, AuthNeeded) else None)
    other.connection.authenticate("bearer", "secret")
    await other.ready()
    assert other.connection.principal == "alice"
    await answers(other)


async def test_a_new_certificate_holds_for_new_connections(
    connect: Connect, open_door: OpenDoor, pki: Pki, tmp_path: Path
) -> None:
    door, address = await open_door(TLS, tls=pki.server())
    before = await connect(address, tls=pki.client())
    renewed = Pki(tmp_path)
    door.use_tls(renewed.server())
    after = await connect(address, tls=renewed.client())
    await answers(before)
    await answers(after)
    with pytest.raises(ssl.SSLError):
        await connect(address, tls=pki.client())


@pytest.mark.req("PXW-LIM-011")
async def test_who_has_not_shaken_hands_has_a_seat_and_the_refused_hear_why(
    connect: Connect, open_door: OpenDoor, pki: Pki
) -> None:
    door, address = await open_door(TLS, tls=pki.server(), max_connections=1, linger_s=0.1)
    silent = await connect(address, handshake=False)
    refused = await connect(address, tls=pki.client(), handshake=False)
    await refused.flush()
    assert (await refused.failure()).code == ErrorCode.EXCESSIVE_LOAD
    await refused.closed()
    silent.close()
    refused.close()
    async with asyncio.timeout(10):
        while door.connections:  # noqa: ASYNC110 - nothing tells when the server has noticed
            await asyncio.sleep(0)
    await answers(await connect(address, tls=pki.client()))


# ---------------------------------------------------------------------- files


def test_files_that_cannot_be_used_are_named(pki: Pki, tmp_path: Path) -> None:
    other = Pki(tmp_path)
    nothing, noise = tmp_path / "none.pem", tmp_path / "noise.pem"
    noise.write_text("noise")
    for files, says in (
        (TlsFiles(nothing, pki.key), "none.pem cannot be read: No such file"),
        (TlsFiles(noise, pki.key), r"noise.pem holds no certificate in PEM form"),
        (TlsFiles(pki.certificate, other.key), "is not the key of the certificate in .*"),
        (TlsFiles(pki.key, pki.certificate), "holds no certificate in PEM form"),
        (TlsFiles(pki.certificate, pki.certificate), "holds no private key in PEM form"),
        (TlsFiles(pki.certificate, pki.key, noise), "noise.pem holds no certificates"),
    ):
        with pytest.raises(TlsError, match=says):
            server_context(files, certificates_needed=True)


def test_a_key_with_a_password_is_refused_and_nobody_is_asked(pki: Pki, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(pki.key.read_bytes(), None)
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"x"),
        )
    )
    with pytest.raises(TlsError, match="protected by a password"):
        server_context(TlsFiles(pki.certificate, locked), certificates_needed=True)
