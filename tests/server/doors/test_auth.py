"""Who a client is: tokens over AUTH, renewal, expiry, withdrawal, and that nobody sees another one's jobs."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from door_scenes import PARAMS, answers
from memory_jobs import MemoryJobs
from raw_client import Connect, OpenDoor, RawClient

from pixwire_protocol.connection import AuthNeeded, Received
from pixwire_protocol.messages import Auth, AuthOk, Cancel, Fetch, GoAway, List, Status, Submit, Watch, Welcome, encode
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.status import JobState
from pixwire_server.doors.auth import ANONYMOUS, Guard, Identity, Refused
from pixwire_server.doors.tokens import Tokens, entry_for

ALICE, ALICE_TOO, BOB, OVER = "alice-token", "alice-token-2", "bob-token", "over-token"


@pytest.fixture
def list_of_tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.toml"
    past = datetime(2020, 1, 1, tzinfo=UTC)
    entries = [entry_for("alice", ALICE), entry_for("alice", ALICE_TOO), entry_for("bob", BOB)]
    path.write_text("\n".join([*entries, entry_for("carol", OVER, past)]))
    return path


@pytest.fixture
def tokens(list_of_tokens: Path) -> Tokens:
    return Tokens(list_of_tokens)


@pytest.fixture
async def enter(connect: Connect, open_door: OpenDoor, tokens: Tokens) -> "Callable[..., object]":
    """Connects with a token to one door that wants tokens."""
    _, address = await open_door(tokens=tokens)

    async def make(token: str) -> RawClient:
        client = await connect(address, handshake=False)
        await client.authenticate(token)
        return client

    return make


async def auth_ok(client: RawClient) -> AuthOk:
    def choose(item: object) -> AuthOk | None:
        message = item.message if isinstance(item, Received) else None
        return message if isinstance(message, AuthOk) else None

    return await client.wait(choose)


# ---------------------------------------------------------------------- on the wire


@pytest.mark.req("PXW-AUT-006")
async def test_a_welcome_asks_for_a_token_and_names_nobody(
    connect: Connect, open_door: OpenDoor, tokens: Tokens
) -> None:
    _, address = await open_door(tokens=tokens)
    client = await connect(address, handshake=False)
    await client.flush()
    needed = await client.wait(lambda item: item if isinstance(item, AuthNeeded) else None)
    assert (tuple(needed.peer.auth), needed.peer.principal) == (("bearer",), None)
    client.connection.authenticate("bearer", ALICE)
    await client.ready()
    assert client.connection.principal == "alice"
    await answers(client)


async def test_without_tokens_everybody_is_anonymous(client: RawClient) -> None:
    welcome = client.connection.peer
    assert isinstance(welcome, Welcome)
    assert (tuple(welcome.auth), welcome.principal) == ((), ANONYMOUS)


@pytest.mark.req("PXW-REQ-018")
async def test_one_principal_never_sees_the_jobs_of_another(enter: Connect, jobs: MemoryJobs) -> None:
    alice, bob = await enter(ALICE), await enter(BOB)
    (stream,) = await alice.open(Submit(job="j", kind="txt2img", tail=PARAMS))
    await alice.last(stream)
    jobs.change("j", JobState.SUCCEEDED, b"picture", principal="alice")
    streams = await bob.open(Status(job="j"), Watch(job="j"), Cancel(job="j"), Fetch(job="j"))
    for stream in streams:
        error = await bob.error(stream)
        assert (error.code, error.name) == (ErrorCode.JOB_NOT_FOUND, "JOB_NOT_FOUND")
    (mine,) = await bob.open(Submit(job="j", kind="txt2img", tail=PARAMS))
    assert (await bob.last(mine))["duplicate"] is False
    for client, state in ((alice, "succeeded"), (bob, "queued")):
        (listed,) = await client.open(List(what="jobs"))
        assert [(job["job"], job["state"]) for job in (await client.last(listed))["jobs"]] == [("j", state)]
    again = await enter(ALICE_TOO)
    (fetch,) = await again.open(Fetch(job="j"))
    assert (await again.image(fetch))[1] == b"picture"


@pytest.mark.req("PXW-AUT-007")
@pytest.mark.parametrize(
    ("mechanism", "token", "code"),
    [
        ("bearer", "wrong", ErrorCode.AUTH_FAILED),
        ("bearer", ALICE[:-1], ErrorCode.AUTH_FAILED),
        ("bearer", ALICE + "x", ErrorCode.AUTH_FAILED),
        ("basic", ALICE, ErrorCode.AUTH_FAILED),
        pytest.param("bearer", OVER, ErrorCode.AUTH_EXPIRED, marks=pytest.mark.req("PXW-AUT-015")),
    ],
)
async def test_wrong_credentials_end_the_connection(
    connect: Connect, open_door: OpenDoor, tokens: Tokens, mechanism: str, token: str, code: ErrorCode
) -> None:
    _, address = await open_door(tokens=tokens, linger_s=0.1)
    client = await connect(address, handshake=False)
    await client.flush()
    await client.wait(lambda item: item if isinstance(item, AuthNeeded) else None)
    await client.send_bytes(b"".join(encode(Auth(mechanism=mechanism, token=token))))
    assert (await client.failure()).code == code
    await client.closed()


@pytest.mark.req("PXW-AUT-001")
async def test_nothing_is_served_before_the_token(
    connect: Connect, open_door: OpenDoor, tokens: Tokens, jobs: MemoryJobs
) -> None:
    _, address = await open_door(tokens=tokens, linger_s=0.1)
    client = await connect(address, handshake=False)
    hello = b"".join(client.connection.data_to_send())
    await client.send_bytes(hello + b"".join(encode(Submit(job="j", kind="txt2img", tail=PARAMS), 1, 1)))
    assert (await client.failure()).code == ErrorCode.AUTH_REQUIRED
    await client.closed()
    assert jobs.submits == 0


@pytest.mark.req("PXW-HSK-008")
async def test_the_deadline_of_the_handshake_holds_until_the_token_is_there(
    connect: Connect, open_door: OpenDoor, tokens: Tokens
) -> None:
    _, address = await open_door(tokens=tokens, handshake_timeout_s=0.2, linger_s=0.1)
    client = await connect(address, handshake=False)
    await client.flush()
    await client.wait(lambda item: item if isinstance(item, AuthNeeded) else None)
    assert (await client.failure()).code == ErrorCode.HANDSHAKE_TIMEOUT
    await client.closed()


@pytest.mark.req("PXW-AUT-005")
async def test_a_token_where_none_is_asked_for_is_against_the_protocol(client: RawClient) -> None:
    await client.send_bytes(b"".join(encode(Auth(mechanism="bearer", token=ALICE))))
    assert (await client.failure()).code == ErrorCode.PROTOCOL_ERROR


# ---------------------------------------------------------------------- renewal, expiry, withdrawal


@pytest.mark.req("PXW-AUT-011")
async def test_a_renewal_is_answered_and_nothing_else_changes(enter: Connect, jobs: MemoryJobs) -> None:
    client = await enter(ALICE)
    (stream,) = await client.open(Submit(job="j", kind="txt2img", tail=PARAMS, watch=True))
    await client.body(stream)
    client.connection.authenticate("bearer", ALICE_TOO)
    await client.flush()
    assert (await auth_ok(client)).principal == "alice"
    jobs.change("j", JobState.CANCELLED, principal="alice")
    assert (await client.last(stream))["state"] == "cancelled"


@pytest.mark.req("PXW-AUT-012")
@pytest.mark.parametrize("token", [BOB, "wrong"])
async def test_a_renewal_of_another_principal_ends_the_connection_and_what_came_behind_it_is_not_done(
    enter: Connect, jobs: MemoryJobs, token: str
) -> None:
    client = await enter(ALICE)
    client.connection.authenticate("bearer", token)
    client.connection.open(Submit(job="late", kind="txt2img", tail=PARAMS))
    await client.flush()
    assert (await client.failure()).code == ErrorCode.AUTH_FAILED
    await client.closed()
    assert jobs.submits == 0


@pytest.mark.req("PXW-AUT-015")
async def test_credentials_that_run_out_end_the_connection_unless_they_are_renewed(
    connect: Connect,
    open_door: OpenDoor,
    list_of_tokens: Path,
    jobs: MemoryJobs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The clock on the wall stands still until the test moves it; the server looks at it every 50 ms."""
    wall = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("pixwire_server.doors.tcp.time", SimpleNamespace(time=lambda: wall.now))
    monkeypatch.setattr("pixwire_server.doors.clocks.CREDENTIALS_EVERY_S", 0.05)
    end = datetime.fromtimestamp(1010, UTC)
    list_of_tokens.write_text("\n".join([entry_for("alice", "short", end), entry_for("alice", "long")]))
    _, address = await open_door(tokens=Tokens(list_of_tokens), linger_s=0.1)
    ends, renews = [await connect(address, handshake=False) for _ in range(2)]
    for client in (ends, renews):
        await client.authenticate("short")
        assert (await auth_ok(client)).expires_ms == 10_000
    renews.connection.authenticate("bearer", "long")
    await renews.flush()
    assert (await auth_ok(renews)).expires_ms is None
    (stream,) = await ends.open(Submit(job="j", kind="txt2img", tail=PARAMS, watch=True))
    await ends.body(stream)
    wall.now = 1010.0
    assert (await ends.failure()).code == ErrorCode.AUTH_EXPIRED
    await ends.closed()
    assert jobs.open_watches == 0
    await answers(renews)


@pytest.mark.req("PXW-AUT-012")
async def test_a_token_that_is_taken_off_the_list_ends_its_connections_and_no_others(
    connect: Connect, open_door: OpenDoor, list_of_tokens: Path
) -> None:
    tokens = Tokens(list_of_tokens)
    door, address = await open_door(tokens=tokens, linger_s=0.1)
    alice, bob, silent = [await connect(address, handshake=False) for _ in range(3)]
    await alice.authenticate(ALICE)
    await bob.authenticate(BOB)
    await silent.flush()
    await silent.wait(lambda item: item if isinstance(item, AuthNeeded) else None)
    list_of_tokens.write_text(entry_for("bob", BOB))
    tokens.reload()
    door.recheck()
    assert (await alice.failure()).code == ErrorCode.AUTH_FAILED
    await alice.closed()
    await answers(bob)
    silent.connection.authenticate("bearer", BOB)
    await silent.ready()


@pytest.mark.req("PXW-AUT-020")
@pytest.mark.req("PXW-AUT-019")
async def test_no_log_line_holds_a_token(
    enter: Connect, connect: Connect, open_door: OpenDoor, tokens: Tokens, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    _, address = await open_door(tokens=tokens, linger_s=0.1)
    await enter(ALICE)
    wrong = await connect(address, handshake=False)
    await wrong.flush()
    await wrong.wait(lambda item: item if isinstance(item, AuthNeeded) else None)
    wrong.connection.authenticate("bearer", "mistyped-secret")
    await wrong.flush()
    failure = await wrong.failure()
    broken = await connect(address, handshake=False)
    hello = b"".join(broken.connection.data_to_send())
    await broken.send_bytes(hello + b"".join(encode(Auth(mechanism="bearer", token="long-secret" * 250))))
    await broken.failure()
    assert "the credentials are wrong" in caplog.text
    for secret in (ALICE, "mistyped-secret", "long-secret"):
        assert secret not in caplog.text
        assert secret not in failure.message


async def test_a_drain_refuses_who_has_shown_no_token(connect: Connect, open_door: OpenDoor, tokens: Tokens) -> None:
    door, address = await open_door(tokens=tokens, linger_s=0.1)
    client = await connect(address, handshake=False)
    await client.flush()
    await client.wait(lambda item: item if isinstance(item, AuthNeeded) else None)
    door.begin_drain(5.0)
    goodbye = await client.wait(
        lambda item: item.message if isinstance(item, Received) and isinstance(item.message, GoAway) else None
    )
    assert goodbye.code == ErrorCode.DRAINING
    await client.closed()


# ---------------------------------------------------------------------- the guard itself


def test_a_guard_keeps_no_token_and_judges_by_the_time_it_is_given(list_of_tokens: Path) -> None:
    list_of_tokens.write_text(entry_for("alice", ALICE, datetime.fromtimestamp(1000, UTC)))
    tokens = Tokens(list_of_tokens)
    guard = Guard(tokens)
    assert guard.check(Auth("bearer", ALICE), 999.0) == Identity("alice", 1000.0)
    assert guard.recheck(999.9) is None
    expired = guard.recheck(1000.0)
    assert isinstance(expired, Refused)
    assert expired.code == ErrorCode.AUTH_EXPIRED
    list_of_tokens.write_text(entry_for("alice", ALICE, datetime.fromtimestamp(2000, UTC)))
    tokens.reload()
    assert guard.recheck(1500.0) is None  # the operator gave it more time
    assert guard.identity == Identity("alice", 2000.0)
    list_of_tokens.write_text(entry_for("mallory", ALICE))
    tokens.reload()
    withdrawn = guard.recheck(1500.0)
    assert withdrawn is not None
    assert withdrawn.code == ErrorCode.AUTH_FAILED


def test_an_identity_tells_the_time_it_has_left() -> None:
    assert Identity("a").left_ms(5.0) is None
    assert Identity("a", 7.5).left_ms(5.0) == 2500
    assert Identity("a", 7.5).left_ms(9.0) == 0


def test_a_certificate_stands_in_for_a_token(tokens: Tokens) -> None:
    guard = Guard(tokens, Identity("spiffe://x/alice", 100.0))
    assert guard.mechanisms == ()
    assert guard.recheck(99.0) is None
    assert guard.recheck(100.0) is not None
    assert Guard(tokens).mechanisms == ("bearer",)
