"""The commands that talk to a server, against a real door, and what they say about servers that are none."""

import asyncio
import hashlib
import json
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from memory_jobs import MemoryJobs
from pki import Pki
from test_proxy import IMAGE
from wire_bytes import HELLO, PARAMS, STATUS, TOKEN, frame

from pixwire.cli.exits import ExitCode
from pixwire.wire.capture import Capture, dump, parse
from pixwire.wire.commands.connect import connect
from pixwire.wire.commands.grease import grease
from pixwire.wire.commands.ping import PingOptions, ping
from pixwire.wire.commands.replay import ReplayOptions, replay
from pixwire.wire.commands.send import SendOptions, send
from pixwire.wire.diff import DiffOptions
from pixwire.wire.errors import InputError, WireError
from pixwire.wire.proxy import Proxy
from pixwire.wire.replaying import Changes
from pixwire.wire.screen import Screen
from pixwire.wire.talk import TalkOptions
from pixwire.wire.transport import TlsOptions, open_wire
from pixwire_protocol.messages import Submit
from pixwire_protocol.status import JobState
from pixwire_server.doors.address import UnixAddress

OpenDoor = Callable[..., Awaitable[str]]
Stranger = Callable[[bytes | None], Awaitable[str]]
SUBMIT = '{"type": "SUBMIT", "head": {"job": "j", "kind": "txt2img", "watch": true}, "tail": {"prompt": "a star"}}'
LONG = 20.0  # a bound for a hang, never a measure


def talk(url: str, timeout: float = LONG, **more: Any) -> TalkOptions:
    """Options with a bound for a hang."""
    return TalkOptions(url, timeout=timeout, **more)


@pytest.fixture
def screen() -> Screen:
    return Screen(as_json=True)


def printed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.toml"
    path.write_text(f'[[token]]\nprincipal = "alice"\nsha256 = "{hashlib.sha256(TOKEN.encode()).hexdigest()}"\n')
    return path


# ---------------------------------------------------------------------- connect


async def test_connect(url: str, screen: Screen, capsys: pytest.CaptureFixture[str]) -> None:
    assert await connect(talk(url), screen) == 0
    (facts,) = printed(capsys)
    assert facts["url"] == url
    assert (facts["agent"], facts["server_id"], facts["epoch"]) == ("door-under-test", "server-1", "epoch-1")
    assert facts["limits"]["max_frame"] == 262144
    assert (facts["principal"], facts["roles"]) == ("anonymous", ["admin"])
    assert (facts["auth"], facts["tls"]) == ([], None)
    assert facts["rtt_ms"] > 0
    await connect(talk(url), Screen(as_json=False))
    text = capsys.readouterr().out
    assert "none needed, principal anonymous, roles admin" in text
    assert "262,144 bytes" in text


async def test_connect_over_a_unix_socket(open_door: OpenDoor, tmp_path: Path, screen: Screen) -> None:
    url = await open_door(UnixAddress(str(tmp_path / "s.sock")))
    assert await connect(talk(url), screen) == 0


async def test_connect_with_tls_tells_the_certificate(
    open_door: OpenDoor, pki: Pki, capsys: pytest.CaptureFixture[str]
) -> None:
    url = await open_door(tls=pki.server())
    await connect(talk(url, tls=TlsOptions(ca=pki.ca)), Screen(as_json=True))
    tls = printed(capsys)[0]["tls"]
    assert tls["version"] in ("TLSv1.2", "TLSv1.3")
    assert tls["alpn"] == "pxw/1"
    assert tls["verified"]
    assert "DNS:localhost" in tls["names"]
    assert len(tls["fingerprint"]) == 64
    await connect(talk(url, tls=TlsOptions(insecure=True)), Screen(as_json=False))
    assert f"certificate NOT verified, sha256 {tls['fingerprint']}" in capsys.readouterr().out


@pytest.mark.req("PXW-CON-019")
async def test_a_tls_server_that_does_not_choose_pxw(pki: Pki, screen: Screen) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.certificate, pki.key)  # and no ALPN

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b""
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    url = f"pixwires://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with pytest.raises(WireError, match="not for PXW/1: offered the ALPN name 'pxw/1' it chose nothing"):
        await connect(talk(url, tls=TlsOptions(ca=pki.ca)), screen)
    wire = await open_wire(url, TlsOptions(ca=pki.ca, alpn=()))
    assert wire.tls is not None
    assert wire.tls.alpn is None
    await wire.close()
    server.close()


async def test_tokens(open_door: OpenDoor, tokens: Path, capsys: pytest.CaptureFixture[str], screen: Screen) -> None:
    url = await open_door(tokens=tokens)
    await connect(talk(url, token=TOKEN), screen)
    facts = printed(capsys)[0]
    assert (facts["auth"], facts["authenticated"], facts["principal"]) == (["bearer"], True, "alice")
    await connect(talk(url, look=True), screen)
    facts = printed(capsys)[0]
    assert (facts["authenticated"], facts["rtt_ms"]) == (False, None)
    with pytest.raises(WireError, match="wants credentials") as caught:
        await send(talk(url), SendOptions((SUBMIT,)), screen)
    assert caught.value.exit_code == ExitCode.ACCESS
    with pytest.raises(WireError, match="AUTH_FAILED") as caught:
        await connect(talk(url, token="wrong"), screen)
    assert caught.value.exit_code == ExitCode.ACCESS


async def test_a_token_does_not_travel_in_cleartext_over_a_network(
    monkeypatch: pytest.MonkeyPatch, open_door: OpenDoor, tokens: Path, screen: Screen
) -> None:
    url = await open_door(tokens=tokens)
    monkeypatch.setattr("pixwire.wire.transport.Target.private", False)
    with pytest.raises(InputError, match="would travel in cleartext"):
        await connect(talk(url, token=TOKEN), screen)
    assert await connect(talk(url, token=TOKEN, insecure_token=True), screen) == 0


# ---------------------------------------------------------------------- strangers


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "this is an HTTP server: it answered 'HTTP/1.1 400 Bad Request'"),
        (b"\x15\x03\x01\x00\x02\x02\x46", r"this is TLS \(protocol version\): use a pixwires:// URL"),
        (b"SSH-2.0-OpenSSH_9\r\n", "this is an SSH server"),
        (b"-ERR unknown command\r\n", "this looks like Redis"),
        (b"\0\0\x12\x04\0\0\0\0\0" + bytes(18), "this is an HTTP/2 server"),
        (b"xyzzy", "does not speak PXW: it began with 78 79 7a 7a 79"),
        (b"", "closed the connection without a word"),
        (HELLO[:8] + b"\xc0" * 20, "speaks PXW, but not as PXW/1 asks: a frame begins with 0xC0"),
        (HELLO[:8], "closed the connection in the middle of the handshake"),
        (b"\x89PXW\x02\x02\0\0", "the server speaks versions 2 to 2"),
    ],
)
async def test_servers_that_are_none(answer: bytes, message: str, stranger: Stranger, screen: Screen) -> None:
    with pytest.raises(WireError, match=message) as caught:
        await connect(talk(await stranger(answer)), screen)
    assert caught.value.exit_code == ExitCode.CONNECTION


async def test_silence_is_told_and_asked_about_once(stranger: Stranger, screen: Screen) -> None:
    with pytest.raises(WireError, match=r"not one byte came within 0\.1 s") as caught:
        await connect(talk(await stranger(None), timeout=0.1), screen)
    assert caught.value.exit_code == ExitCode.TIMEOUT


async def test_a_server_that_waits_for_a_line_is_found_out(screen: Screen) -> None:
    """An HTTP server that reads lines is silent about eight odd bytes without one."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\n")
        writer.write(b"HTTP/1.0 400 Bad request syntax\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"pixwire://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with pytest.raises(WireError, match=r"this is an HTTP server: it answered 'HTTP/1\.0 400"):
        await connect(talk(url, timeout=0.2), screen)
    server.close()


async def test_nobody_and_the_wrong_transport(open_door: OpenDoor, pki: Pki, tmp_path: Path, screen: Screen) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        with pytest.raises(WireError, match=rf"nobody listens on 127\.0\.0\.1:{port}"):
            await connect(talk(f"pixwire://127.0.0.1:{port}"), screen)
    with pytest.raises(WireError, match="there is no socket"):
        await connect(talk(f"pixwire+unix://{tmp_path}/none"), screen)
    with pytest.raises(InputError, match="not a usable server URL"):
        await connect(talk("gopher://x"), screen)
    plain, secure = await open_door(), await open_door(tls=pki.server())
    with pytest.raises(WireError) as caught:
        await connect(talk(plain.replace("pixwire:", "pixwires:")), screen)
    assert "use a pixwire:// URL" in caught.value.hint
    with pytest.raises(WireError, match=r"TLS|without a word"):
        await connect(talk(secure.replace("pixwires:", "pixwire:")), screen)
    with pytest.raises(WireError, match="a certificate that is not trusted") as caught:
        await connect(talk(secure), screen)
    assert "--ca FILE" in caught.value.hint
    (tmp_path / "junk.pem").write_text("no PEM")
    for options, words in (
        (TlsOptions(ca=tmp_path / "none.pem"), "none.pem': No such file"),
        (TlsOptions(ca=tmp_path / "junk.pem"), "junk.pem': there is no certificate in it"),
        (TlsOptions(cert=tmp_path / "junk.pem"), "junk.pem': no certificate, or no key"),
        (TlsOptions(cert=pki.certificate, key=pki.ca), "no key that belongs to it"),
    ):
        with pytest.raises(InputError, match=f"cannot use .*{words}") as wrong:
            await connect(talk(secure, tls=options), screen)
        assert "_ssl.c" not in wrong.value.message


# ---------------------------------------------------------------------- send


async def test_send_prints_answers_as_json_lines(url: str, screen: Screen, capsys: pytest.CaptureFixture[str]) -> None:
    code = await send(talk(url), SendOptions(('{"type": "STATUS", "head": {"job": "x"}}',)), screen)
    assert code == ExitCode.NOT_FOUND
    (answer,) = printed(capsys)
    assert (answer["item"], answer["from"], answer["name"], answer["stream"]) == ("frame", "S", "ERROR", 1)
    assert answer["head"]["name"] == "JOB_NOT_FOUND"


async def test_send_waits_until_every_stream_has_ended(
    url: str, jobs: MemoryJobs, screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    sending = asyncio.create_task(send(talk(url), SendOptions((SUBMIT,), deadline=LONG), screen))
    await jobs.until(lambda: jobs.open_watches == 1)
    jobs.change("j", JobState.RUNNING)
    assert not sending.done()
    jobs.change("j", JobState.SUCCEEDED, IMAGE)
    assert await sending == 0
    assert [line["head"]["state"] for line in printed(capsys)] == ["queued", "running", "succeeded"]


async def test_send_gives_credit_so_that_a_whole_image_comes(
    url: str, jobs: MemoryJobs, screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    orders = (SUBMIT.replace(', "watch": true', ""), '{"wait": "end"}', '{"type": "FETCH", "head": {"job": "j"}}')
    await send(talk(url), SendOptions(orders[:1], deadline=LONG), screen)
    jobs.change("j", JobState.SUCCEEDED, IMAGE)
    small = talk(url, settings={"stream_window": 65536, "connection_window": 65536})
    assert await send(small, SendOptions(orders, deadline=LONG), Screen(as_json=True, tails=True)) == 0
    data = [bytes.fromhex(line["tail"]) for line in printed(capsys) if line["name"] == "DATA"]
    assert b"".join(data) == IMAGE


async def test_send_broken_bytes_and_see_the_goaway(
    url: str, screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    code = await send(talk(url), SendOptions(hex=("c2 00 00 00",), deadline=LONG), screen)
    assert code == ExitCode.CONNECTION
    assert [line["name"] for line in printed(capsys)] == ["GOAWAY"]


async def test_send_without_a_handshake(url: str, screen: Screen, capsys: pytest.CaptureFixture[str]) -> None:
    what = SendOptions(hex=((HELLO + STATUS).hex(),), handshake=False, half_close=True, wait="eof", deadline=LONG)
    assert await send(talk(url), what, screen) == ExitCode.NOT_FOUND
    assert [line.get("name", line["item"]) for line in printed(capsys)] == ["preface", "WELCOME", "ERROR"]


async def test_send_ends_at_its_deadline_and_says_what_is_missing(url: str, jobs: MemoryJobs, screen: Screen) -> None:
    with pytest.raises(WireError, match=r"within 0.2 s stream 1 has not ended") as caught:
        await send(talk(url), SendOptions((SUBMIT,), deadline=0.2), screen)
    assert caught.value.exit_code == ExitCode.TIMEOUT


async def test_send_quiet_and_echo(url: str, screen: Screen, capsys: pytest.CaptureFixture[str]) -> None:
    what = SendOptions(('{"type": "CREDIT", "head": {"n": 1}}',), wait="quiet", echo=True, deadline=LONG)
    assert await send(talk(url), what, screen) == 0
    assert [(line["from"], line["name"]) for line in printed(capsys)] == [("C", "CREDIT")]


async def test_send_names_the_line_that_is_wrong(url: str, tmp_path: Path, screen: Screen) -> None:
    path = tmp_path / "frames"
    path.write_text('# nothing\n\n{"type": "PING", "tail": "12345678"}\n{"type": "PNG"}\n')
    with pytest.raises(InputError, match=r"frames, line 4: type must be"):
        await send(talk(url), SendOptions((f"@{path}",)), screen)
    with pytest.raises(InputError, match="wait must be end, quiet or eof"):
        await send(talk(url), SendOptions(('{"wait": "long"}',)), screen)
    with pytest.raises(InputError, match="nothing to send"):
        await send(talk(url), SendOptions(), screen)


# ---------------------------------------------------------------------- ping, grease, replay


async def test_ping_under_load(url: str, jobs: MemoryJobs, screen: Screen, capsys: pytest.CaptureFixture[str]) -> None:
    await send(talk(url), SendOptions((SUBMIT.replace(', "watch": true', ""),), deadline=LONG), screen)
    jobs.change("j", JobState.SUCCEEDED, IMAGE)
    capsys.readouterr()
    for probe in ("ping", "status"):
        what = PingOptions(5, probe, under_load=True, job="j")  # type: ignore[arg-type]
        assert await ping(talk(url), what, screen) == 0
        (found,) = printed(capsys)
        assert found["idle"]["count"] == found["under_load"]["count"] == 5
        assert found["idle"]["min"] <= found["idle"]["p50"] <= found["idle"]["p99"] <= found["idle"]["max"]
        assert found["load"]["bytes"] > 0
    await ping(talk(url), PingOptions(3, job="j", under_load=True), Screen(as_json=False))
    assert "under load" in capsys.readouterr().out
    with pytest.raises(WireError, match="cannot fetch job nope: JOB_NOT_FOUND") as caught:
        await ping(talk(url), PingOptions(3, job="nope", under_load=True), screen)
    assert caught.value.exit_code == ExitCode.NOT_FOUND


async def test_many_pings_are_paced(
    open_door: OpenDoor, jobs: MemoryJobs, screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    url = await open_door(min_ping_s=0.001)
    await send(talk(url), SendOptions((SUBMIT.replace(', "watch": true', ""),), deadline=LONG), screen)
    jobs.change("j", JobState.SUCCEEDED, b"image")
    capsys.readouterr()
    assert await ping(talk(url), PingOptions(80, under_load=True, job="j"), screen) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["under_load"]["count"] == 80
    assert "one per 1 ms (min_ping_ms of WELCOME)" in err


@pytest.mark.req("PXW-EXT-009")
async def test_grease_is_survived_by_our_server(url: str, screen: Screen, capsys: pytest.CaptureFixture[str]) -> None:
    assert await grease(talk(url), 2, screen) == 0
    *kinds, summary = printed(capsys)
    assert summary == {"kinds": len(kinds), "failed": 0}
    assert all(kind["survived"] for kind in kinds)


async def test_grease_tells_who_does_not_survive(
    stranger: Stranger, screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await grease(talk(await stranger(HELLO[:8])), 1, screen) == ExitCode.FAILED
    *kinds, summary = printed(capsys)
    assert summary["failed"] == len(kinds)
    assert "WELCOME was expected" in kinds[0]["problem"]


async def test_grease_asks_a_silent_server_once(
    stranger: Stranger, screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(WireError, match="ordinary client: silence") as caught:
        await grease(talk(await stranger(None), timeout=0.2), 1, screen)
    assert caught.value.exit_code is ExitCode.TIMEOUT
    assert printed(capsys) == []


async def recorded(url: str, path: Path) -> None:
    """A capture of a session through a proxy."""
    records: list[Any] = []
    async with Proxy(url, observe=records.append) as proxy:
        orders = (SUBMIT.replace(', "watch": true', ""), '{"wait": "end"}', '{"type": "STATUS", "head": {"job": "j"}}')
        await send(talk(proxy.url), SendOptions(orders, deadline=LONG), Screen(as_json=True))
        passage = await proxy.accepted()
        await passage.ended.wait()
    path.write_text(dump(Capture(tuple(records))))


async def test_replay(
    url: str, open_door: OpenDoor, jobs: MemoryJobs, tmp_path: Path, screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    path, again = tmp_path / "s.pxwcap", tmp_path / "again.pxwcap"
    await recorded(url, path)
    capsys.readouterr()
    fresh = ReplayOptions(url, LONG, output=again, changes=Changes(job_suffix="-2"))
    assert await replay(str(path), fresh, DiffOptions(), screen) == 0
    assert printed(capsys) == [{"differences": 0}]
    assert again.read_text().startswith('{"pxwcap": 1')
    assert await replay(str(path), ReplayOptions(url, LONG), DiffOptions(), screen) == ExitCode.FAILED
    differences = printed(capsys)
    assert [found["what"] for found in differences[:-1]] == ["RESULT head.duplicate"]
    with pytest.raises(InputError, match="has no connection 9"):
        await replay(str(path), ReplayOptions(url, only=9), DiffOptions(), screen)


def base64_of(token: str, path: Path) -> str:
    """The token where it would be, in the bytes of a capture."""
    return token if token.encode() in parse(path.read_bytes()).connections()[0].sent("C") else ""


async def test_replay_with_a_token_of_its_own(
    open_door: OpenDoor, tokens: Path, tmp_path: Path, screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    """The recorded one is masked."""
    from pixwire.wire.record import Recorder

    url, path = await open_door(tokens=tokens), tmp_path / "s.pxwcap"
    with path.open("w") as file:
        async with Proxy(url, observe=Recorder(file.write, {})) as proxy:
            await connect(talk(proxy.url, token=TOKEN), screen)
            passage = await proxy.accepted()
            await passage.ended.wait()
    assert TOKEN not in path.read_text() + base64_of(TOKEN, path)
    capsys.readouterr()
    again = tmp_path / "again.pxwcap"
    what = ReplayOptions(url, LONG, output=again, changes=Changes(token=TOKEN))
    assert await replay(str(path), what, DiffOptions(), screen) == 0
    assert TOKEN not in again.read_text() + base64_of(TOKEN, again)
    assert await replay(str(path), ReplayOptions(url, LONG), DiffOptions(), screen) == ExitCode.FAILED


def test_a_submit_of_the_tests_is_the_protocol_s() -> None:
    assert frame(Submit("j", "txt2img", PARAMS), 1, end=True)[4] == 0x10
