"""TLS over real sockets: that it works, and what is said when it does not."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aio_support import BIG, spawn
from certificates import Authority
from scripted_server import ScriptedServer
from shells import Shell

import pixwire
from pixwire import errors
from pixwire.net.tls import TlsOptions, make_context
from pixwire.url import parse_url
from pixwire_protocol.messages import Submit
from pixwire_protocol.registry import ALPN

pytestmark = pytest.mark.usefixtures("tidy")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.new(tmp_path_factory.mktemp("ca"))


@pytest.fixture
async def secure(tidy: None, authority: Authority) -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer(context=authority.server("127.0.0.1", "localhost")) as server:
        yield server


async def test_images_over_tls(shell: Shell, secure: ScriptedServer, authority: Authority) -> None:
    assert secure.url.startswith("pixwires://")
    async with shell.connect(secure.url, cafile=authority.cafile) as client:
        task = spawn(client.generate("x"))
        request = await secure.next(Submit)
        tls = request.peer.transport.get_extra_info("ssl_object")
        assert tls.selected_alpn_protocol() == ALPN
        assert tls.version() in ("TLSv1.2", "TLSv1.3")
        request.accept()
        request.succeed([BIG])
        assert (await task).bytes == BIG


async def test_a_context_of_the_user(shell: Shell, secure: ScriptedServer, authority: Authority) -> None:
    context = ssl.create_default_context(cafile=str(authority.cafile))
    async with shell.connect(secure.url, ssl=context) as client:
        assert await client.ping() >= 0


@pytest.mark.req("PXW-CON-018")
def test_one_protocol_is_offered(authority: Authority) -> None:
    for options in (TlsOptions(cafile=authority.cafile), TlsOptions(context=ssl.create_default_context())):
        context = make_context(parse_url("pixwires://localhost"), options)
        assert context is not None
        sent = ssl.MemoryBIO()
        with pytest.raises(ssl.SSLWantReadError):
            context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost").do_handshake()
        offer = bytes([0, 16, 0, 8, 0, 6, 5]) + ALPN.encode()  # the extension with a list of one name
        assert offer in sent.read()


@pytest.mark.req("PXW-CON-021")
async def test_the_server_is_told_its_name_and_the_protocol(shell: Shell, tidy: None, authority: Authority) -> None:
    names: list[str | None] = []
    context = authority.server("localhost", alpn=(ALPN, "h2"))
    context.sni_callback = lambda _, name, __: names.append(name)
    async with ScriptedServer(context=context) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        async with shell.connect(url, cafile=authority.cafile):
            tls = server.peers[0].transport.get_extra_info("ssl_object")
            assert tls.selected_alpn_protocol() == ALPN
    assert names == ["localhost"]
    async with ScriptedServer(context=authority.server("localhost", alpn=("h2", "http/1.1"))) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        with pytest.raises(errors.ConnectError, match="does not speak PXW/1"):
            await shell.connect(url, cafile=authority.cafile)


async def test_a_client_certificate(shell: Shell, tidy: None, authority: Authority, tmp_path: Path) -> None:
    certfile, keyfile = authority.client(tmp_path, "alice")
    async with ScriptedServer(context=authority.server("127.0.0.1", clients=True)) as server:
        async with shell.connect(server.url, cafile=authority.cafile, certfile=certfile, keyfile=keyfile) as client:
            assert await client.ping() >= 0
            shown = server.peers[0].transport.get_extra_info("peercert")
            assert ("DNS", "alice") in shown["subjectAltName"]
        with pytest.raises(errors.ConnectError, match=r"client certificate"):
            await shell.connect(server.url, cafile=authority.cafile)


@pytest.mark.req("PXW-CON-022")
async def test_nobody_trusts_the_authority(shell: Shell, secure: ScriptedServer) -> None:
    with pytest.raises(errors.ConnectError, match="not known here; name the authority's certificate as cafile"):
        await shell.connect(secure.url)


@pytest.mark.req("PXW-CON-022")
async def test_the_certificate_is_for_another_host(shell: Shell, tidy: None, authority: Authority) -> None:
    async with ScriptedServer(context=authority.server("example.org")) as server:
        with pytest.raises(errors.ConnectError, match="not for the IP address"):
            await shell.connect(server.url, cafile=authority.cafile)
        with pytest.raises(errors.ConnectError, match="another host name"):
            await shell.connect(server.url.replace("127.0.0.1", "localhost"), cafile=authority.cafile)


async def test_a_tls_server_without_alpn(shell: Shell, tidy: None, authority: Authority) -> None:
    async with ScriptedServer(context=authority.server("127.0.0.1", alpn=())) as server:
        with pytest.raises(errors.ConnectError, match="does not speak PXW/1"):
            await shell.connect(server.url, cafile=authority.cafile)
        assert not server.peers or not server.peers[0].connection.peer, "not even a HELLO was sent"


async def test_a_cleartext_server(shell: Shell, server: ScriptedServer) -> None:
    server.mute = False
    with pytest.raises(errors.ConnectError, match="does not answer in TLS"):
        await shell.connect(server.url.replace("pixwire", "pixwires"))
    server.faults.clear()


async def test_a_tls_server_asked_in_cleartext(shell: Shell, secure: ScriptedServer) -> None:
    with pytest.raises(errors.ConnectError, match=r"TLS server.*pixwires://"):
        await shell.connect(secure.url.replace("pixwires", "pixwire"))


class Talker(asyncio.Protocol):
    """A server of another protocol: answers the first bytes with its own."""

    def __init__(self, words: bytes) -> None:
        self.words = words

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(self.words)
        self.transport.close()


HTTP = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("scheme", ["pixwire", "pixwires"])
async def test_an_http_server(shell: Shell, tidy: None, scheme: str) -> None:
    make: Callable[[], Talker] = lambda: Talker(HTTP)  # noqa: E731
    loop = asyncio.get_running_loop()
    server = await loop.create_server(make, "127.0.0.1", 0)
    async with server:
        url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        says = "looks like an HTTP server" if scheme == "pixwire" else "does not answer in TLS"
        with pytest.raises(errors.ConnectError, match=says):
            await shell.connect(url)


async def test_an_unknown_host(shell: Shell) -> None:
    with pytest.raises(errors.ConnectError, match=r"host name 'nowhere\.invalid' is not known"):
        await shell.connect("pixwire://nowhere.invalid")


async def test_nobody_listens_there(shell: Shell) -> None:
    async with ScriptedServer() as server:
        url = server.url
    with pytest.raises(errors.ConnectError, match=r"connection refused: nobody listens on port \d+ there"):
        await shell.connect(url)


WRONG: list[tuple[str, dict[str, Any], str, str]] = [
    ("pixwire://localhost", {"cafile": "ca.pem"}, "ssl", "pixwires://"),
    ("pixwires://localhost", {"cafile": "/nowhere.pem"}, "cafile", "No such file"),
    ("pixwires://localhost", {"cafile": __file__}, "cafile", "holds no certificate"),
    ("pixwires://localhost", {"certfile": __file__}, "certfile", "PEM file"),
    ("pixwires://localhost", {"keyfile": __file__}, "keyfile", "certfile"),
    ("pixwires://localhost", {"ssl": ssl.create_default_context(), "cafile": "x"}, "ssl", "certificates already"),
]


@pytest.mark.parametrize("make", [pixwire.connect, pixwire.Client])
@pytest.mark.parametrize(("url", "arguments", "field", "says"), WRONG)
def test_options_that_do_not_fit(make: Any, url: str, arguments: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        make(url, **arguments)
    assert caught.value.field == field
    assert says in str(caught.value)
