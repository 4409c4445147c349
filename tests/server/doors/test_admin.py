"""ADMIN at the door: who has the role, and what is passed on."""

import ssl
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from door_scenes import answers
from memory_jobs import MemoryJobs
from pki import Pki
from raw_client import Connect, OpenDoor, RawClient

from pixwire_protocol.connection import AuthNeeded, Received
from pixwire_protocol.messages import Admin, Auth, AuthOk, Welcome, encode
from pixwire_protocol.registry import ErrorCode, Flag
from pixwire_server.doors.address import TcpAddress, UnixAddress
from pixwire_server.doors.auth import Guard, Identity, Refused
from pixwire_server.doors.tokens import Tokens, entry_for
from pixwire_server.jobs import AdminCommand, RequestError

BOSS, ALICE = "boss-token", "alice-token"


@pytest.fixture
def list_of_tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.toml"
    path.write_text("\n".join([entry_for("boss", BOSS, roles=["admin"]), entry_for("alice", ALICE)]))
    return path


async def enter(connect: Connect, address: object, token: str) -> tuple[RawClient, Sequence[str]]:
    """A client that has shown this token, and the roles that AUTH_OK gave it."""
    client = await connect(address, handshake=False)
    await client.authenticate(token)
    given = await client.wait(
        lambda item: item.message if isinstance(item, Received) and isinstance(item.message, AuthOk) else None
    )
    return client, tuple(given.roles)


async def forbidden(client: RawClient) -> None:
    (stream,) = await client.open(Admin("pause"))
    error = await client.error(stream)
    assert (error.code, error.details) == (ErrorCode.FORBIDDEN, {"field": "action", "value": "pause"})
    assert "role admin" in error.message


# ---------------------------------------------------------------------- who has the role


@pytest.mark.req("PXW-ADM-001")
async def test_a_token_with_the_role_may_and_one_without_may_not(
    connect: Connect, open_door: OpenDoor, list_of_tokens: Path, jobs: MemoryJobs, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "pixwire_server.doors")
    _, address = await open_door(tokens=Tokens(list_of_tokens))
    boss, roles = await enter(connect, address, BOSS)
    assert roles == ("admin",)
    (stream,) = await boss.open(Admin("pause", reason="lunch"))
    assert await boss.last(stream) == {"paused": True}
    assert jobs.admin.asked == [(AdminCommand("pause", reason="lunch"), "boss")]
    alice, roles = await enter(connect, address, ALICE)
    assert roles == ()
    for _ in range(3):
        await forbidden(alice)
    assert len(jobs.admin.asked) == 1
    await answers(alice)
    assert caplog.text.count("'alice' asked for pause and does not have the role admin") == 1


@pytest.mark.req("PXW-AUT-022")
async def test_a_welcome_that_asks_nobody_tells_the_role_of_local_programs(
    connect: Connect, open_door: OpenDoor, tmp_path: Path, jobs: MemoryJobs
) -> None:
    for place in (TcpAddress("127.0.0.1", 0), UnixAddress(str(tmp_path / "s"))):
        _, address = await open_door(place)
        client = await connect(address)
        assert isinstance(client.connection.peer, Welcome)
        assert tuple(client.connection.peer.roles) == ("admin",)
        (stream,) = await client.open(Admin("resume"))
        await client.last(stream)
    assert [by for _, by in jobs.admin.asked] == ["anonymous", "anonymous"]


@pytest.mark.req("PXW-AUT-023")
async def test_through_a_listener_for_other_machines_nobody_is_admin_unproved(
    connect: Connect, open_door: OpenDoor, jobs: MemoryJobs
) -> None:
    """Whoever connects, also from this machine: the listener counts, for a proxy may stand behind it."""
    _, address = await open_door(TcpAddress("0.0.0.0", 0))
    client = await connect(replace(address, host="127.0.0.1"))
    assert isinstance(client.connection.peer, Welcome)
    assert tuple(client.connection.peer.roles) == ()
    await forbidden(client)
    assert jobs.admin.asked == []


@pytest.mark.req("PXW-ADM-001")
async def test_before_the_token_there_is_no_role(
    connect: Connect, open_door: OpenDoor, list_of_tokens: Path, jobs: MemoryJobs
) -> None:
    _, address = await open_door(tokens=Tokens(list_of_tokens), linger_s=0.1)
    client = await connect(address, handshake=False)
    await client.flush()
    needed = await client.wait(lambda item: item if isinstance(item, AuthNeeded) else None)
    assert tuple(needed.peer.roles) == ()
    await client.send_bytes(b"".join(encode(Admin("drain"), 1, Flag.END)))
    assert (await client.failure()).code == ErrorCode.AUTH_REQUIRED
    await client.closed()
    assert jobs.admin.asked == []


async def test_a_renewal_may_give_a_role(connect: Connect, open_door: OpenDoor, list_of_tokens: Path) -> None:
    list_of_tokens.write_text("\n".join([entry_for("alice", ALICE), entry_for("alice", BOSS, roles=["admin"])]))
    _, address = await open_door(tokens=Tokens(list_of_tokens))
    client, roles = await enter(connect, address, ALICE)
    assert roles == ()
    await forbidden(client)
    client.connection.authenticate("bearer", BOSS)
    (stream,) = await client.open(Admin("pause"))
    assert await client.last(stream) == {"paused": True}
    assert client.connection.roles == ("admin",)


async def test_a_token_that_loses_its_role_ends_the_connections_that_had_it(
    connect: Connect, open_door: OpenDoor, list_of_tokens: Path, jobs: MemoryJobs
) -> None:
    tokens = Tokens(list_of_tokens)
    door, address = await open_door(tokens=tokens, linger_s=0.1)
    boss, _ = await enter(connect, address, BOSS)
    alice, _ = await enter(connect, address, ALICE)
    list_of_tokens.write_text("\n".join([entry_for("boss", BOSS), entry_for("alice", ALICE, roles=["admin"])]))
    tokens.reload()
    door.recheck()
    failure = await boss.failure()
    assert (failure.code, "lost a role" in failure.message) == (ErrorCode.AUTH_FAILED, True)
    await forbidden(alice)  # she was not told of hers
    alice.connection.authenticate("bearer", ALICE)
    (stream,) = await alice.open(Admin("pause"))
    await alice.last(stream)
    again, roles = await enter(connect, address, BOSS)
    assert roles == ()
    await forbidden(again)


@pytest.mark.parametrize(("name", "code"), [("boss.example", None), ("alice.example", ErrorCode.FORBIDDEN)])
async def test_a_certificate_has_the_role_when_its_name_is_among_the_admins(
    open_door: OpenDoor, pki: Pki, jobs: MemoryJobs, name: str, code: ErrorCode | None
) -> None:
    server = pki.server(client_ca=True)
    _, address = await open_door(
        TcpAddress("127.0.0.1", 0, tls=True), tls=server, admins=frozenset({"boss.example", "anonymous"})
    )
    client = await RawClient.connect(address, tls=pki.client(name))
    await client.ready()
    (stream,) = await client.open(Admin("pause"))
    if code is None:
        assert await client.last(stream) == {"paused": True}
        assert jobs.admin.asked == [(AdminCommand("pause"), name)]
    else:
        assert (await client.error(stream)).code == code
    client.close()


async def test_who_is_not_asked_gets_no_role_where_others_are(open_door: OpenDoor, pki: Pki, connect: Connect) -> None:
    """A server that knows clients by certificates, and a cleartext address for this machine beside."""
    context: ssl.SSLContext = pki.server(client_ca=True)
    _, address = await open_door(TcpAddress("127.0.0.1", 0), tls=context, admins=frozenset({"anonymous"}))
    await forbidden(await connect(address))


# ---------------------------------------------------------------------- the guard itself


def test_admins_by_configuration_need_a_proof(list_of_tokens: Path) -> None:
    admins = frozenset({"alice", "anonymous"})
    assert Guard(None, admins=admins).identity == Identity("anonymous")
    assert Guard(None, Identity("alice", 5.0), admins=admins).identity == Identity("alice", 5.0, ("admin",))
    assert Guard(None, Identity("bob"), admins=admins).identity == Identity("bob")
    guard = Guard(Tokens(list_of_tokens), admins=admins, local=True)
    assert guard.identity is None
    refused = guard.check(_auth("wrong"), 0.0)
    assert isinstance(refused, Refused)
    assert guard.check(_auth(ALICE), 0.0) == Identity("alice", None, ("admin",))
    assert guard.recheck(0.0) is None
    assert guard.identity == Identity("alice", None, ("admin",))


def _auth(token: str) -> Auth:
    return Auth("bearer", token)


# ---------------------------------------------------------------------- what is passed on


async def test_every_field_reaches_the_jobs_and_refusals_come_back(client: RawClient, jobs: MemoryJobs) -> None:
    request = Admin("cancel", job="j", principal="p", model="m", path="/x", reason="r", limit=7)
    (stream,) = await client.open(request)
    await client.last(stream)
    assert jobs.admin.asked == [(AdminCommand("cancel", "j", "p", "m", "/x", "r", 7), "anonymous")]
    jobs.admin.refuse = RequestError(ErrorCode.JOB_NOT_FOUND, "there is none", {"field": "job", "value": "j"})
    (stream,) = await client.open(Admin("cancel", job="j"))
    error = await client.error(stream)
    assert (error.code, error.message, error.details) == (
        ErrorCode.JOB_NOT_FOUND,
        "there is none",
        {"field": "job", "value": "j"},
    )


async def test_an_action_that_does_not_exist_is_refused_with_those_that_do(client: RawClient, jobs: MemoryJobs) -> None:
    raw = b"".join(encode(Admin("pause"), 1, Flag.END)).replace(b"pause", b"pausa")
    await client.send_bytes(raw)
    client.connection.open(Admin("resume"))  # takes stream 1: its answer is that of the bytes above
    error = await client.error(1)
    assert error.code == ErrorCode.INVALID_ARGUMENT
    assert error.details is not None
    assert error.details["field"] == "action"
    assert "overview" in str(error.details["allowed"])
    assert jobs.admin.asked == []


async def test_an_answer_that_is_too_large_for_the_client_is_said_to_be(connect: Connect, jobs: MemoryJobs) -> None:
    small = await connect(max_frame=16_384)
    jobs.admin.body = {"waiting": ["x" * 100] * 1000}
    (stream,) = await small.open(Admin("overview"))
    error = await small.error(stream)
    assert error.code == ErrorCode.UNSUPPORTED
    await answers(small)
