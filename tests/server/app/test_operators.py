"""Operators through the whole server: roles by configuration, drain on request, uploads that a drain waits for."""

import asyncio
import hashlib
import io
import signal
from pathlib import Path

import msgpack  # type: ignore[import-untyped]  # it ships none
import pytest
from PIL import Image
from pki import Pki
from raw_client import RawClient
from running_server import RunningServer, StartServer
from toy_engine import ToyEngine

from pixwire_protocol.attachments import Attachment
from pixwire_protocol.connection import Received
from pixwire_protocol.messages import Admin, GoAway, Submit
from pixwire_protocol.overview import Overview
from pixwire_protocol.registry import ErrorCode
from pixwire_server import cli
from pixwire_server.doors.tokens import entry_for, parse_tokens

PARAMS = msgpack.packb({"prompt": "a red circle", "seed": 5})


def png() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((1024, 1024), 64).save(buffer, "PNG")
    return buffer.getvalue()


PICTURE = png()
"""Larger than the window of a stream."""
UPLOAD = Submit(
    "j",
    "img2img",
    PARAMS,
    attachments=(Attachment("image", len(PICTURE), hashlib.sha256(PICTURE).hexdigest(), "image/png"),),
)


async def goodbye(client: RawClient) -> GoAway:
    """The first word of a drain."""
    return await client.wait(
        lambda item: item.message if isinstance(item, Received) and isinstance(item.message, GoAway) else None
    )


# ---------------------------------------------------------------------- roles


async def test_a_token_and_a_name_in_the_configuration_give_the_role(start_server: StartServer, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.toml"
    people = ("boss", "chief", "alice")
    tokens.write_text("\n".join(entry_for(name, name, roles=["admin"] if name == "boss" else []) for name in people))
    server = start_server(tokens=str(tokens), admins=["chief"])
    for name, may in (("boss", True), ("chief", True), ("alice", False)):
        client = await server.connect(token=name)
        assert client.connection.roles == (("admin",) if may else ())
        (stream,) = await client.open(Admin("overview"))
        if may:
            assert Overview.from_map(await client.last(stream)).connections == 1
        else:
            assert (await client.error(stream)).code == ErrorCode.FORBIDDEN
        client.close()
        await client_gone(server)


async def client_gone(server: RunningServer) -> None:
    """Until the server knows that nobody is there: the next one would be counted with the last."""
    boss = await server.connect(token="boss")
    try:
        while True:
            (stream,) = await boss.open(Admin("overview"))
            if (await boss.last(stream))["connections"] == 1:
                break
    finally:
        boss.close()


async def test_a_certificate_whose_name_is_among_the_admins(start_server: StartServer, pki: Pki) -> None:
    files = {"tls_cert": str(pki.certificate), "tls_key": str(pki.key), "tls_client_ca": str(pki.ca)}
    server = start_server(listen="pixwires://127.0.0.1:0", admins="boss.example", **files)
    boss = await server.connect(tls=pki.client("boss.example"))
    (stream,) = await boss.open(Admin("pause"))
    assert await boss.last(stream) == {"paused": True}
    alice = await server.connect(tls=pki.client("alice.example"))
    submit, admin = await alice.open(Submit("j", "txt2img", PARAMS), Admin("resume"))
    assert (await alice.error(submit)).code == ErrorCode.PAUSED
    assert (await alice.error(admin)).code == ErrorCode.FORBIDDEN
    boss.close()
    alice.close()


async def test_a_name_among_the_admins_that_a_reload_does_not_take_away(
    start_server: StartServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(entry_for("chief", "chief"))
    server = start_server(tokens=str(tokens), admins=["chief"])
    client = await server.connect(token="chief")
    tokens.write_text(f"{entry_for('chief', 'chief')}\n{entry_for('alice', 'alice')}")
    server.signal(signal.SIGHUP)
    alice = await server.connect(token="chief")
    while "tokens read again: there are 2" not in caplog.text:  # noqa: ASYNC110 - a log tells nobody
        await asyncio.sleep(0)
    for one in (client, alice):
        (stream,) = await one.open(Admin("overview"))
        await one.last(stream)
        one.close()


def test_the_token_command_makes_operators(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["token", "boss", "--admin"]) == 0
    (entry,) = parse_tokens(capsys.readouterr().out, "t")
    assert (entry.principal, entry.roles) == ("boss", ("admin",))
    assert cli.main(["token", "alice"]) == 0
    (entry,) = parse_tokens(capsys.readouterr().out, "t")
    assert entry.roles == ()


# ---------------------------------------------------------------------- drain


async def test_a_drain_on_request_is_answered_and_is_one(
    start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    engine = ToyEngine(hold=True)
    server = start_server(engine)
    client = await server.connect()
    (watched,) = await client.open(Submit("j", "txt2img", PARAMS, watch=True, deliver=True))
    await engine.started.wait()
    (stream,) = await client.open(Admin("drain"))
    assert await client.last(stream) == {"draining": True}
    assert (await goodbye(client)).code == ErrorCode.DRAINING
    assert not server.exit.done()
    engine.finish(engine.tasks[0])
    while (await client.body(watched))["state"] != "succeeded":
        pass
    assert (await client.image(watched))[1] == b"toy image"
    client.close()
    assert await server.code() == 0
    assert "an operator: draining" in caplog.text


async def test_a_second_word_of_the_operator_after_a_drain_is_an_immediate_stop(start_server: StartServer) -> None:
    engine = ToyEngine(hold=True)
    server = start_server(engine)
    client = await server.connect()
    await client.open(Submit("j", "txt2img", PARAMS))
    await engine.started.wait()
    (stream,) = await client.open(Admin("drain"))
    await client.last(stream)
    await goodbye(client)
    server.signal(signal.SIGTERM)
    assert await server.code() == 128 + signal.SIGTERM
    client.close()


async def test_a_drain_without_running_jobs_waits_for_uploads(start_server: StartServer) -> None:
    """Whoever was let in may send everything: what is accepted then is there after the restart."""
    server = start_server(ToyEngine(hold=True), drain_grace_s=60.0)
    client = await server.connect()
    stream = await begin(client)
    server.signal()
    await goodbye(client)
    client.connection.send_data(stream, PICTURE[-1000:], end=True)
    await client.flush()
    assert (await client.last(stream))["state"] == "queued"
    client.close()
    assert await server.code() == 0
    again = start_server(ToyEngine())
    other = await again.connect()
    (stream,) = await other.open(UPLOAD)  # no byte is sent again
    body = await other.last(stream)
    assert (body["duplicate"], body["job"]) == (True, "j")
    other.close()


async def test_an_upload_that_does_not_go_on_is_waited_for_no_longer_than_the_grace(start_server: StartServer) -> None:
    server = start_server(ToyEngine(hold=True), drain_grace_s=0.2)
    client = await server.connect()
    stream = await begin(client)
    server.signal()
    error = await client.error(stream)
    assert (error.code, error.processed) == (ErrorCode.DRAINING, "no")
    assert "nothing was submitted" in error.message
    client.close()
    assert await server.code() == 0


async def begin(client: RawClient) -> int:
    """Send almost all of the upload; when it has left, credit has come: the server has stored a part of it."""
    (stream,) = await client.open(UPLOAD)
    client.connection.send_data(stream, PICTURE[:-1000])
    await client.flush()
    async with asyncio.timeout(20):
        while client.connection.unsent(stream):
            await client.read()
    return stream
