"""Encryption, tokens and uploads through the whole server, and the files being read again while it runs."""

import asyncio
import hashlib
import io
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import msgpack  # type: ignore[import-untyped]  # it ships none
import pytest
from PIL import Image
from pki import Pki
from running_server import StartServer
from toy_engine import ToyEngine

from pixwire_protocol.attachments import Attachment
from pixwire_protocol.messages import List, Status, Submit, Welcome
from pixwire_protocol.registry import ErrorCode
from pixwire_server import cli
from pixwire_server.doors.tokens import entry_for, parse_tokens

PARENT = f"00-{'1' * 32}-{'2' * 16}-01"
PARAMS = msgpack.packb({"prompt": "a red circle", "seed": 5})


@pytest.fixture
def secure(pki: Pki, tmp_path: Path) -> dict[str, object]:
    """Options of a server that speaks TLS and wants tokens of alice or bob."""
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(f"{entry_for('alice', 'a-token')}\n{entry_for('bob', 'b-token')}\n")
    return {
        "listen": "pixwires://127.0.0.1:0",
        "tls_cert": str(pki.certificate),
        "tls_key": str(pki.key),
        "tokens": str(tokens),
    }


def png(size: int = 64) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), "teal").save(buffer, "PNG")
    return buffer.getvalue()


async def test_tls_tokens_and_an_upload_through_the_whole_server(
    start_server: StartServer, secure: dict[str, object], pki: Pki
) -> None:
    server = start_server(ToyEngine(), **secure)
    assert (await server.listening()).startswith("pixwires://127.0.0.1:")
    alice = await server.connect(token="a-token", tls=pki.client())
    assert alice.connection.principal == "alice"
    picture = png()
    image = Attachment("image", len(picture), hashlib.sha256(picture).hexdigest(), "image/png")
    (stream,) = await alice.open(
        Submit(
            "j",
            "img2img",
            PARAMS,
            attachments=(image,),
            watch=True,
            deliver=True,
            traceparent=f"00-{'1' * 32}-{'2' * 16}-01",
        )
    )
    alice.connection.send_data(stream, picture, end=True)
    await alice.flush()
    while (body := await alice.body(stream))["state"] != "succeeded":
        pass
    assert body["traceparent"] == PARENT
    assert (await alice.image(stream))[1] == b"toy image"
    (task,) = server.engine.tasks
    assert task.kind == "img2img"
    assert [Path(given.path).read_bytes() for given in task.inputs] == [picture]
    bob = await server.connect(token="b-token", tls=pki.client())
    status, listed = await bob.open(Status("j"), List(what="jobs"))
    assert (await bob.error(status)).code == ErrorCode.JOB_NOT_FOUND
    assert (await bob.last(listed))["jobs"] == []
    (models,) = await bob.open(List(what="models"))
    (model,) = (await bob.last(models))["models"]
    assert (model["name"], model["kinds"]) == ("toy", ["txt2img", "img2img"])
    alice.close()
    bob.close()
    server.signal()
    assert await server.code() == 0


async def test_a_welcome_tells_the_limits_of_the_configuration(start_server: StartServer) -> None:
    server = start_server(max_upload_bytes=1_000_000, retain_s=60.0, dedupe_s=120.0, stream_rate=500)
    client = await server.connect()
    peer = client.connection.peer
    assert isinstance(peer, Welcome)
    limits = peer.limits
    assert (limits.max_upload, limits.retain_ms, limits.dedupe_ms) == (1_000_000, 60_000, 120_000)
    assert (limits.stream_rate, peer.principal, tuple(peer.auth)) == (500, "anonymous", ())
    client.close()


async def test_sighup_reads_tokens_and_certificates_again_and_keeps_the_old_ones_when_they_are_bad(
    start_server: StartServer, secure: dict[str, object], pki: Pki, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    renewed = Pki(tmp_path)
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    certificate.write_bytes(pki.certificate.read_bytes())
    key.write_bytes(pki.key.read_bytes())
    server = start_server(ToyEngine(), **(secure | {"tls_cert": str(certificate), "tls_key": str(key)}))
    alice = await server.connect(token="a-token", tls=pki.client())
    bob = await server.connect(token="b-token", tls=pki.client())
    tokens = Path(str(secure["tokens"]))
    tokens.write_text("[[token]]\nprincipal = 7\n")
    certificate.write_text("rubbish")
    server.signal(signal.SIGHUP)
    async with asyncio.timeout(10):
        while "certificate of before stays in use" not in caplog.text:  # noqa: ASYNC110 - a log tells nobody
            await asyncio.sleep(0)
    assert f"{tokens}, line 1: principal must be" in caplog.text
    again = await server.connect(token="a-token", tls=pki.client())
    tokens.write_text(entry_for("bob", "b-token"))
    certificate.write_bytes(renewed.certificate.read_bytes())
    key.write_bytes(renewed.key.read_bytes())
    server.signal(signal.SIGHUP)
    for client in (alice, again):
        assert (await client.failure()).code == ErrorCode.AUTH_FAILED
        client.close()
    (stream,) = await bob.open(Status("none"))
    assert (await bob.error(stream)).code == ErrorCode.JOB_NOT_FOUND
    with pytest.raises(ssl.SSLError):
        await server.connect(tls=pki.client())
    other = await server.connect(token="b-token", tls=renewed.client())
    for client in (bob, other):
        client.close()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("tokens", "[[token]]\nprincipal = 7\n", "line 1: principal must be"),
        ("tls_key", "rubbish", "holds no private key"),
        ("tls_client_ca", "rubbish", "holds no certificates"),
    ],
)
async def test_files_that_cannot_be_used_stop_the_start_with_one_line(
    start_server: StartServer,
    secure: dict[str, object],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: str,
    says: str,
) -> None:
    bad = tmp_path / "bad"
    bad.write_text(content)
    server = start_server(ToyEngine(), **(secure | {name: str(bad)}))
    assert await server.code() == 1
    error = capsys.readouterr().err
    assert error.startswith("pixwire serve: ")
    assert says in error
    assert len(error.splitlines()) == 1
    assert not server.engine.spawned.is_set()


# ---------------------------------------------------------------------- the command that makes tokens


def test_the_token_command_prints_the_token_once_and_its_entry_apart(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["token", "alice", "--days", "30"]) == 0
    output = capsys.readouterr()
    token = output.err.strip()
    assert token.startswith("pxw_")
    assert token not in output.out
    (entry,) = parse_tokens(output.out, "t")
    assert entry.principal == "alice"
    assert entry.digest == hashlib.sha256(token.encode()).digest()
    assert entry.expires is not None


@pytest.mark.parametrize(
    "arguments", [["alice", "--days", "0"], ["alice", "--days", "x"], ["a\nb"], ["\udcff"], [""], ["x" * 257], []]
)
def test_the_token_command_refuses_what_no_entry_can_hold(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["token", *arguments])
    assert caught.value.code == 2
    assert capsys.readouterr().out == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize(
    ("streams", "says"),
    [
        (">/dev/full", "pixwire token: the entry cannot be written: No space left on device; no token was made\n"),
        (">&-", "pixwire token: stdout takes the entry and stderr the token, and one of them is closed; open both\n"),
        ("2>&-", ""),
    ],
)
def test_a_token_is_made_only_when_its_entry_and_itself_can_be_told(streams: str, says: str) -> None:
    command = f"{sys.executable} -m pixwire_server token alice {streams}"
    found = subprocess.run(["sh", "-c", command], check=False, capture_output=True, text=True)
    assert (found.returncode, found.stdout, found.stderr) == (1, "", says)


def test_the_module_is_the_command() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "pixwire_server", "token", "--help"], check=False, capture_output=True, text=True
    )
    assert found.returncode == 0
    assert "PRINCIPAL" in found.stdout
